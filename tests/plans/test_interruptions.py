"""Pauses, suspenders and failures: each proposal ends as one row with the right values, or with a reason."""

import asyncio
import contextlib
import itertools
import math
import random
import threading
import time
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.suspenders import SuspendBoolLow
from bluesky.utils import Msg, RunEngineInterrupted, TransitionError
from ophyd import Signal
from ophyd.sim import SynAxis
from ophyd.status import Status
from scripted import pause_in_exposure
from simple import ENVELOPE, Bowl, Documents, sobol, truth

from ebl_autonomy.data import Connection, read_run
from ebl_autonomy.errors import DeviceFailedError, MeasurementError
from ebl_autonomy.plans import make_gate, move_motors, optimize


def check_rows(docs: Documents, count: int) -> None:
    """Check that each decided proposal has one row with the values of its point."""
    rows = docs.events["primary"]
    ids = [row["proposal_id"] for row in rows]
    assert len(ids) == len(set(ids)) == count
    points = {d["proposal_id"]: d for d in docs.events["decisions"]}
    for row in rows:
        point = points[row["proposal_id"]]
        assert (row["mx"], row["my"]) == (point["mx"], point["my"])
        assert row["bowl"] == truth(point["mx"], point["my"])
    numbers = [doc["seq_num"] for name, doc in docs.all if name == "event" and "proposal_id" in doc["data"]]
    assert numbers  # there were documents to check


@pytest.mark.integration
@pytest.mark.parametrize("seed", range(2))
def test_twenty_random_pauses_leave_one_right_row_per_proposal_in_tiled(
    RE: RunEngine, docs: Documents, slow_bench: Any, seed: int, tiled: Connection
) -> None:
    bowl, motors = slow_bench
    agent = sobol(seed)
    rng = random.Random(seed)
    # At messages and not at times, so that all pauses come during the run, however slow the machine is.
    pauses = {message: rng.uniform(0.0, 0.03) for message in rng.sample(range(20, 600), 20)}
    messages, asked = itertools.count(), []

    def pause(after: float) -> None:
        time.sleep(after)  # into the move or the exposure that the message began
        with contextlib.suppress(TransitionError):  # it has been paused by another, or is over
            RE.request_pause(defer=rng.random() < 0.3)
            asked.append(after)

    def hook(_: Msg) -> None:
        if (after := pauses.get(next(messages))) is not None:
            threading.Thread(target=pause, args=(after,), daemon=True).start()

    RE.msg_hook = hook  # type: ignore[assignment]
    with contextlib.suppress(RunEngineInterrupted):
        RE(optimize([bowl], motors, agent, max_points=40, envelope=ENVELOPE))
    while RE.state == "paused":
        with contextlib.suppress(RunEngineInterrupted):
            RE.resume()
    RE.msg_hook = None
    assert len(asked) >= 10  # several may fall into one pause
    check_rows(docs, 40)
    assert docs.stop["exit_status"] == "success"
    rows = {row["proposal_id"]: row["bowl"] for row in docs.events["primary"]}
    points = {d["proposal_id"]: d for d in docs.events["decisions"]}
    known = {(r["mx"], r["my"]): r["bowl"] for r in agent.results}
    assert {(points[i]["mx"], points[i]["my"]): value for i, value in rows.items()} == known  # the agent knows the rows
    table = tiled.client[docs.start["uid"]]["primary"].base["internal"].read()
    stored = dict(zip(table["proposal_id"], table["bowl"], strict=True))
    assert len(table) == len(stored) == 40
    assert stored == rows  # and Tiled stores them


@pytest.mark.integration
def test_a_suspender_that_trips_in_mid_run_loses_and_repeats_nothing(
    RE: RunEngine, docs: Documents, slow_bench: Any
) -> None:
    bowl, motors = slow_bench
    beam = Signal(name="beam", value=1)
    RE.install_suspender(SuspendBoolLow(beam, sleep=0))

    def trip() -> None:
        for _ in range(4):
            time.sleep(0.12)
            beam.put(0)
            time.sleep(0.05)
            beam.put(1)

    tripper = threading.Thread(target=trip, daemon=True)
    tripper.start()
    RE(optimize([bowl], motors, sobol(), max_points=30, envelope=ENVELOPE))
    tripper.join(timeout=60)
    check_rows(docs, 30)


class Thermometer:
    """A slow reading that requests a pause the first time."""

    name, parent = "hall", None

    def __init__(self, RE: RunEngine) -> None:
        self._pause: Any = RE.request_pause

    async def read(self) -> dict[str, Any]:
        if self._pause is not None:
            threading.Thread(target=self._pause, daemon=True).start()
            self._pause = None
        await asyncio.sleep(0.1)
        return {"hall": {"value": 20.0, "timestamp": time.time()}}

    async def describe(self) -> dict[str, Any]:
        return {"hall": {"source": "test", "dtype": "number", "shape": []}}


def test_a_pause_while_the_baseline_is_read_is_seen(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    with pytest.raises(RunEngineInterrupted):
        RE(optimize([bowl], motors, sobol(), max_points=3, baseline=[Thermometer(RE)], envelope=ENVELOPE))
    RE.resume()
    check_rows(docs, 3)
    assert [row["hall"] for row in docs.events["start_and_end"]] == [20.0, 20.0]


@pytest.mark.parametrize(("how", "status"), [("abort", "abort"), ("stop", "success")])
def test_ending_a_paused_run_records_the_open_proposal(
    RE: RunEngine, docs: Documents, slow_bench: Any, how: str, status: str
) -> None:
    bowl, motors = slow_bench
    pause_in_exposure(RE, bowl, 4)
    with pytest.raises(RunEngineInterrupted):
        RE(optimize([bowl], motors, sobol(), max_points=1000, envelope=ENVELOPE))
    getattr(RE, how)()
    assert len(docs.events["abandoned"]) == 1
    assert docs.stop["exit_status"] == status
    decided = {d["proposal_id"] for d in docs.events["decisions"]}
    rows = {r["proposal_id"] for r in docs.events["primary"]}
    gone = {r["proposal_id"]: r for r in docs.events["abandoned"]}
    assert decided == rows | set(gone)
    assert not rows & set(gone)
    assert all("the run ended" in r["reason"] for r in gone.values())


def test_a_bench_at_rest_has_told_of_all_that_it_began(slow_bench: Any) -> None:
    """Unfinished moves and exposures of an aborted run must not call the RunEngine's loop after it is closed."""
    bowl, motors = slow_bench
    bowl.seconds, motors[0].seconds = 0.2, 60.0
    told: list[Any] = []
    begun = [motors[0].set(1.0), bowl.trigger()]
    for status in begun:
        status.add_callback(told.append)
    for device in (motors[0], bowl):
        device.rest()
    assert told == begun


def test_a_detector_that_fails_once_is_retried(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: RuntimeError("readout") if n == 3 else None
    result = RE(optimize([bowl], motors, sobol(), max_points=6, envelope=ENVELOPE)).plan_result
    check_rows(docs, 6)
    assert result.abandoned == 0
    assert [row["attempt"] for row in docs.events["primary"]] == [1, 1, 2, 1, 1, 1]


def test_a_detector_that_keeps_failing_abandons_the_point_with_the_reason(
    RE: RunEngine, docs: Documents, bench: Any
) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: RuntimeError("readout") if n in (3, 4) else None
    result = RE(optimize([bowl], motors, sobol(), max_points=6, envelope=ENVELOPE)).plan_result
    assert (result.accepted, result.abandoned) == (6, 1)
    (gone,) = docs.events["abandoned"]
    assert gone["status"] == "abandoned"
    assert gone["attempts"] == 2
    assert "readout" in gone["reason"]


def test_a_dead_beamline_ends_the_run_as_failed(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: RuntimeError("dead")
    with pytest.raises(Exception, match="5 proposals in a row could not be measured"):
        RE(optimize([bowl], motors, sobol(), max_points=60, envelope=ENVELOPE))
    assert docs.stop["exit_status"] == "fail"
    assert len(docs.events["abandoned"]) == 5


def test_a_motor_that_never_arrives_is_stopped_and_the_point_abandoned(
    RE: RunEngine, docs: Documents, slow_bench: Any
) -> None:
    bowl, motors = slow_bench
    motors[0].seconds = 60.0
    stopped = []
    stop = motors[0].stop
    motors[0].stop = lambda **kw: (stopped.append(kw), stop(**kw))
    with pytest.raises(Exception, match="2 proposals in a row"):
        RE(
            optimize(
                [bowl], motors, sobol(), max_points=3, envelope=ENVELOPE, move_timeout_s=0.1, retries=0, max_failures=2
            )
        )
    assert stopped
    assert all("DeviceTimeoutError" in row["reason"] for row in docs.events["abandoned"])
    assert docs.events["primary"] == []


@pytest.mark.integration
def test_an_agent_is_told_what_a_batch_measured_before_it_failed(
    RE: RunEngine, docs: Documents, bench: Any, tiled: Connection
) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: RuntimeError("dead") if n > 5 else None
    agent = sobol()
    with pytest.raises(Exception, match="1 proposals in a row"):
        RE(optimize([bowl], motors, agent, max_points=9, batch=4, envelope=ENVELOPE, max_failures=1))
    measured = [r["bowl"] for r in agent.results if not math.isnan(r["bowl"])]
    assert sorted(measured) == sorted(row["bowl"] for row in docs.events["primary"])
    assert len(measured) == 5
    assert len(agent.results) == 6  # those, and the failed point; none for the untried points
    kept = read_run(docs.stop["run_start"], tiled.client).results
    assert sorted(r["mx"] for r in kept) == sorted(r["mx"] for r in agent.results)
    assert sum(math.isnan(r["bowl"]) for r in kept) == 1


def late(value: float) -> Any:
    status = Status()
    threading.Timer(0.55, status.set_finished).start()
    return status


def raising(value: float) -> Any:
    raise ConnectionError("no PV")


def out_of_patience(value: float) -> Any:
    raise TimeoutError("put to mx.VAL timed out")


def failing(value: float) -> Any:
    status = Status()
    status.set_exception(RuntimeError("following error"))
    return status


@pytest.mark.integration
@pytest.mark.parametrize(
    ("how", "says"),
    [
        (late, r"DeviceTimeoutError: not at \{'mx': [-.0-9]+\} within 0.5 s"),
        (raising, "DeviceFailedError: mx failed: ConnectionError: no PV"),
        (out_of_patience, "DeviceFailedError: mx failed: TimeoutError: put to mx.VAL timed out"),
        (failing, "DeviceFailedError: mx failed: RuntimeError: following error"),
    ],
    ids=["late", "raising", "out of patience", "failing"],
)
def test_a_motor_that_breaks_down_is_named_and_what_was_measured_is_kept(
    RE: RunEngine, docs: Documents, bench: Any, how: Any, says: str
) -> None:
    bowl, motors = bench
    agent = sobol()
    mend = motors[0].set
    motors[0].set = lambda value: (mend if len(docs.events["primary"]) < 3 else how)(value)
    ends = rf"3 proposals in a row could not be measured \(3 times because of mx\), the last because: {says}.*Repair mx"
    with pytest.raises(MeasurementError, match=ends):
        RE(optimize([bowl], motors, agent, max_points=9, envelope=ENVELOPE, move_timeout_s=0.5, max_failures=3))
    assert docs.stop["exit_status"] == "fail"
    assert [row["bowl"] for row in docs.events["primary"]] == [r["bowl"] for r in agent.results[:3]]
    assert [math.isnan(r["bowl"]) for r in agent.results] == [False] * 3 + [True] * 3


def test_a_detector_that_breaks_down_is_named(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    bowl.trigger = lambda: failing(0.0)
    with pytest.raises(MeasurementError, match=r"2 times because of bowl\).*bowl failed: RuntimeError"):
        RE(optimize([bowl], motors, sobol(), max_points=9, envelope=ENVELOPE, max_failures=2))


def test_a_failure_of_an_earlier_step_is_not_laid_upon_the_motors(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    slow = Status()
    bowl.trigger = lambda: slow
    motors[0].set = late
    threading.Timer(0.05, slow.set_exception, (RuntimeError("readout"),)).start()

    def plan() -> Any:
        gate = yield from make_gate([motors[0]], {"limits": {"mx": (-2.0, 2.0)}})
        yield Msg("trigger", bowl, group="earlier")
        yield from move_motors({"mx": motors[0]}, {"mx": 1.0}, 0.1, gate)

    with pytest.raises(DeviceFailedError, match="a device failed: RuntimeError: readout"):
        RE(plan())


def test_nan_is_an_accepted_but_invalid_row(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: float("nan") if n == 2 else None
    agent = sobol()
    result = RE(optimize([bowl], motors, agent, max_points=4, envelope=ENVELOPE)).plan_result
    assert result.accepted == 4
    assert [row["valid"] for row in docs.events["primary"]] == [True, False, True, True]
    assert docs.events["primary"][1]["invalid_reason"] == "bowl is nan"
    assert [r["bowl"] != r["bowl"] for r in agent.results] == [False, True, False, False]


class SingleExposure(Bowl):
    """Like a camera of areaDetector: a trigger during an exposure is lost, and the end of that exposure answers it."""

    def __init__(self, *motors: Any) -> None:
        super().__init__(*motors)
        self.exposing = False
        self.lost = 0

    def trigger(self) -> Any:
        self.triggers += 1
        if self.exposing:
            self.lost += 1
        self.exposing = True
        status = Status(self)

        def end() -> None:
            self.exposing = False
            status.set_finished()

        timer = threading.Timer(0.2, end)
        timer.daemon = True
        timer.start()
        self._exposures.append(timer)
        self.value = truth(self.mx.position, self.my.position)
        return status


def test_a_detector_is_not_triggered_again_before_a_cut_exposure_has_ended(RE: RunEngine, docs: Documents) -> None:
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    camera = SingleExposure(*motors)
    expose = camera.trigger

    def trigger() -> Any:
        status = expose()
        if camera.triggers == 2:
            threading.Timer(0.05, RE.request_pause).start()
        return status

    camera.trigger = trigger  # type: ignore[method-assign]
    with pytest.raises(RunEngineInterrupted):
        RE(optimize([camera], motors, sobol(), max_points=3, envelope=ENVELOPE, finish="stay"))
    RE.resume()
    camera.rest()
    assert (len(docs.events["primary"]), camera.triggers, camera.lost) == (3, 4, 0)
