"""Streams that others write into a run: preprocessors, monitors, flyers and stubs beside our own."""

import math
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import plans as bp
from bluesky import preprocessors as bpp
from bluesky.utils import Msg, RunEngineInterrupted
from ophyd.sim import SynAxis, SynSignal, TrivialFlyer
from ophyd.status import Status
from scripted import Scripted, at
from simple import ENVELOPE, Bowl, Documents, truth

from ebl_autonomy.data import Connection, read_run
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import optimize
from ebl_autonomy.records import DECISIONS, LEFT, OUR_STREAMS, PRIMARY, START_AND_END
from ebl_autonomy.report import summarise

pytestmark = pytest.mark.integration  # seconds: reports, fits of models, or many runs

POINTS = [at(0.5, 0.0), at(1.0, 1.0), at(-1.0, 0.5)]


def plan(bowl: Bowl, motors: Any, **more: Any) -> Any:
    return optimize([bowl], motors, Scripted(list(POINTS)), max_points=3, envelope=ENVELOPE, **more)


def check_rows(docs: Documents, rows: int = 3) -> None:
    assert docs.stop["exit_status"] == "success"
    assert [row["bowl"] for row in docs.events[PRIMARY]] == [truth(p["mx"], p["my"]) for p in POINTS[:rows]]
    assert len(docs.events[DECISIONS]) == rows
    assert docs.events["abandoned"] == []
    assert len(docs.events[START_AND_END]) == 2
    assert len(docs.events[LEFT]) == 1


class Counter(SynSignal):
    """A signal that counts its triggers."""

    def __init__(self, name: str) -> None:
        self.triggers = 0
        super().__init__(name=name, func=self._count)

    def _count(self) -> float:
        self.triggers += 1
        return float(self.triggers)


def test_a_baseline_of_the_runengine_stands_beside_ours(
    RE: RunEngine, docs: Documents, tiled: Connection, bench: Any
) -> None:
    bowl, motors = bench
    other, hall = SynAxis(name="other"), Counter("hall")
    RE.preprocessors.append(bpp.SupplementalData(baseline=[other, motors[0], hall]))
    RE(bp.list_scan([bowl], motors[0], [0.0, 1.0]))
    docs.events.clear()
    uid = RE(plan(bowl, motors, baseline=[hall])).plan_result.uid
    check_rows(docs)
    assert len(docs.events["baseline"]) == 2
    record = read_run(uid, tiled.client)
    assert record.baseline["hall"] == [row["hall"] for row in docs.events[START_AND_END]]
    assert "other" not in record.baseline
    assert record.baseline["mx"] == [1.0, docs.events[LEFT][0]["mx"]]
    assert summarise(record).start_point == {"mx": 1.0, "my": 0.0}


def test_a_run_that_is_cut_before_our_readings_has_no_baseline_of_others(
    RE: RunEngine, tiled: Connection, bench: Any
) -> None:
    bowl, motors = bench
    dead = Counter("dead")
    dead.read = lambda: 1 / 0  # type: ignore[method-assign]
    RE.preprocessors.append(bpp.SupplementalData(baseline=[SynAxis(name="other")]))
    uids: list[str] = []
    RE.subscribe(lambda _, doc: uids.append(doc["uid"]), "start")
    with pytest.raises(Exception, match="dead"):
        RE(plan(bowl, motors, baseline=[dead]))
    assert read_run(uids[0], tiled.client).baseline == {}


def test_monitors_and_flyers_of_the_runengine_are_not_counted(
    RE: RunEngine, docs: Documents, tiled: Connection, bench: Any
) -> None:
    bowl, motors = bench
    supplement = bpp.SupplementalData(monitors=[motors[0].readback], flyers=[TrivialFlyer()])
    RE.preprocessors.append(supplement)
    uid = RE(plan(bowl, motors)).plan_result.uid
    check_rows(docs)
    assert docs.events["mx_monitor"]
    assert read_run(uid, tiled.client).rows["bowl"] == [row["bowl"] for row in docs.events[PRIMARY]]


@pytest.mark.parametrize(
    "wrapper",
    [
        lambda steps, motor: bpp.baseline_wrapper(steps, [motor]),
        lambda steps, motor: bpp.baseline_wrapper(steps, [motor], name="surroundings"),
        lambda steps, motor: bpp.monitor_during_wrapper(steps, [motor.readback]),
        lambda steps, _: bpp.fly_during_wrapper(steps, [TrivialFlyer()]),
    ],
)
def test_wrappers_around_the_plan_work(
    RE: RunEngine, docs: Documents, bench: Any, wrapper: Callable[[Any, Any], Any]
) -> None:
    bowl, motors = bench
    RE(wrapper(plan(bowl, motors), motors[1]))
    check_rows(docs)


def written_after_opening(stream: str, device: Any) -> Callable[[Iterable[Msg]], Any]:
    def preprocessor(steps: Any) -> Any:
        def insert(message: Msg) -> Any:
            return (
                (None, bps.trigger_and_read([device], name=stream)) if message.command == "open_run" else (None, None)
            )

        return (yield from bpp.plan_mutator(steps, insert))

    return preprocessor


@pytest.mark.parametrize("stream", sorted(OUR_STREAMS))
def test_a_stream_of_ours_that_others_write_is_named_before_anything_moves(
    RE: RunEngine, docs: Documents, bench: Any, stream: str
) -> None:
    bowl, motors = bench
    RE.preprocessors.append(written_after_opening(stream, SynSignal(name="ring", func=lambda: 300.0)))
    with pytest.raises(BadInputError, match=rf"'{stream}'.*'ring'"):
        RE(plan(bowl, motors))
    assert docs.stop["exit_status"] == "fail"
    assert (motors[0].position, bowl.triggers) == (0, 0)


@pytest.mark.parametrize("stream", ["ring_current", "measured_primary", "baseline"])
def test_any_other_stream_may_be_written_by_others(RE: RunEngine, docs: Documents, bench: Any, stream: str) -> None:
    bowl, motors = bench
    RE.preprocessors.append(written_after_opening(stream, SynSignal(name="ring", func=lambda: 300.0)))
    RE(plan(bowl, motors))
    check_rows(docs)
    assert len(docs.events[stream]) == 1


@pytest.mark.parametrize("stream", [PRIMARY, DECISIONS, "baseline", START_AND_END])
def test_a_stub_may_write_any_stream_beside_a_baseline_of_the_runengine(
    RE: RunEngine, docs: Documents, bench: Any, stream: str
) -> None:
    bowl, motors = bench
    RE.preprocessors.append(bpp.SupplementalData(baseline=[SynAxis(name="other")]))

    def measure(detectors: Any, point: Any) -> Any:
        reading = yield from bps.trigger_and_read(detectors, name=stream)
        return {"bowl": reading["bowl"]["value"]}

    RE(plan(bowl, motors, measure=measure))
    check_rows(docs)
    assert len(docs.events[f"measured_{stream}"]) == 3
    assert len(docs.events["baseline"]) == 2


def test_a_run_inside_a_stub_may_have_the_baseline_too(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    RE.preprocessors.append(bpp.SupplementalData(baseline=[SynAxis(name="other")]))

    def measure(detectors: Any, point: Any) -> Any:
        yield from bp.count(detectors, num=2)
        return {"bowl": detectors[0].value}

    result = RE(plan(bowl, motors, measure=measure)).plan_result
    assert (result.accepted, result.rows) == (3, 3)
    assert docs.stop["exit_status"] == "success"


class Pausing(Counter):
    """Requests a pause in its trigger number `at`, which ends only after the RunEngine has received it."""

    def __init__(self, RE: RunEngine, at: int) -> None:
        super().__init__("pausing")
        self._pause, self._at, self._begun = RE.request_pause, at, 0

    def trigger(self) -> Any:
        self._begun += 1
        if self._begun != self._at:
            return super().trigger()
        status = Status(self)
        expose = super().trigger

        def pause() -> None:
            self._pause()
            expose()
            status.set_finished()

        threading.Thread(target=pause, daemon=True).start()
        return status


@pytest.mark.parametrize("at_trigger", [1, 2, 3])
@pytest.mark.parametrize("whose", ["RunEngine", "plan"])
def test_a_pause_while_others_read_is_no_failure(
    RE: RunEngine, docs: Documents, bench: Any, whose: str, at_trigger: int
) -> None:
    bowl, motors = bench
    pausing = Pausing(RE, at_trigger)
    if whose == "RunEngine":
        RE.preprocessors.append(bpp.SupplementalData(baseline=[pausing]))
    try:
        RE(plan(bowl, motors, baseline=[pausing] if whose == "plan" else []))
    except RunEngineInterrupted:
        RE.resume()
    check_rows(docs)
    name = "baseline" if whose == "RunEngine" else START_AND_END
    readings = [row["pausing"] for row in docs.events[name]]
    assert len(readings) == 2
    assert all(math.isfinite(value) for value in readings)
