"""A user's measuring stub may contain complete bluesky steps: readings, nested runs, moves, many rows."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import plans as bp
from bluesky.utils import RunEngineInterrupted
from ophyd.sim import SynAxis, SynGauss
from simple import ENVELOPE, Documents, sobol, truth

from ebl_autonomy import VOCS
from ebl_autonomy.agents import SobolAgent
from ebl_autonomy.data import Connection, read_run
from ebl_autonomy.errors import BadInputError, MeasurementError
from ebl_autonomy.plans import UserStub, optimize


class Staged(SynGauss):
    """A detector that refuses to be staged twice, and counts its stagings."""

    stages = 0

    def stage(self) -> Any:
        self.stages += 1
        return super().stage()


def bench_with(motors: Any) -> Staged:
    return Staged("det", motors[0], "mx", center=0.5, Imax=1.0)


def agent() -> SobolAgent:
    bounds = {"mx": [-2.0, 2.0], "my": [-2.0, 2.0]}
    return SobolAgent(VOCS(variables=bounds, objectives={"best": "MAXIMIZE"}))


def test_trigger_and_read_keeps_its_events_beside_ours(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        reading = yield from bps.trigger_and_read(detectors)
        return {"bowl": reading["bowl"]["value"]}

    RE(optimize([bowl], motors, sobol(), max_points=4, measure=measure, envelope=ENVELOPE))
    rows, beside = docs.events["primary"], docs.events["measured_primary"]
    assert [row["bowl"] for row in rows] == [row["bowl"] for row in beside]
    assert [row["proposal_id"] for row in rows] == [row["proposal_id"] for row in beside]
    assert len({row["proposal_id"] for row in rows}) == 4


def test_a_scan_with_a_run_of_its_own_may_stand_in_the_stub(RE: RunEngine, docs: Documents, bench: Any) -> None:
    _, motors = bench
    det, fine = bench_with(motors), SynAxis(name="fine")

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        values: list[float] = []
        uid = yield from bp.scan(detectors, fine, 0.0, 1.0, 3, per_step=step_into(values))
        assert uid
        return {"best": max(values)}

    result = RE(optimize([det], motors, agent(), max_points=3, measure=measure, envelope=ENVELOPE)).plan_result
    assert result.accepted == 3
    assert det.stages == 1
    starts = [doc for name, doc in docs.all if name == "start"]
    ours, *nested = starts
    assert [start["plan_name"] for start in nested] == ["scan"] * 3
    links = [start["ebl_proposal"] for start in nested]
    rows = [row for row in docs.events["primary"] if "proposal_id" in row]
    assert links == [{"run": ours["uid"], "proposal_id": row["proposal_id"]} for row in rows]
    stops = {doc["run_start"]: doc["exit_status"] for name, doc in docs.all if name == "stop"}
    assert stops == {start["uid"]: "success" for start in starts}
    assert [row["best"] for row in rows] == pytest.approx([det_at(row["mx"]) for row in rows])


def det_at(x: float) -> float:
    return math.exp(-((x - 0.5) ** 2) / 2.0)


def step_into(values: list[float]) -> Any:
    def one_step(detectors: Any, step: Any, pos_cache: Any) -> Any:
        yield from bps.move_per_step(step, pos_cache)
        reading = yield from bps.trigger_and_read([*detectors, *step])
        values.append(reading["det"]["value"])

    return one_step


@pytest.mark.integration
def test_both_runs_are_in_tiled(RE: RunEngine, docs: Documents, bench: Any, tiled: Connection) -> None:
    _, motors = bench
    det, fine = bench_with(motors), SynAxis(name="fine")

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        values: list[float] = []
        yield from bp.scan(detectors, fine, 0.0, 1.0, 3, per_step=step_into(values))
        return {"best": max(values)}

    RE(optimize([det], motors, agent(), max_points=2, measure=measure, envelope=ENVELOPE))
    assert tiled.flush()
    uids = [doc["uid"] for name, doc in docs.all if name == "start"]
    assert all(len(tiled.client[uid]["primary"].base["internal"].read()) == 3 for uid in uids[1:])
    record = read_run(uids[0], tiled.client)
    assert [r["best"] for r in record.results] == [row["best"] for row in docs.events["primary"] if "best" in row]


def test_a_run_that_the_stub_leaves_open_is_closed(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.open_run(md={"sample": "left open"})
        return {"bowl": 1.0}

    RE(optimize([bowl], motors, sobol(), max_points=2, measure=measure, envelope=ENVELOPE))
    stops = [doc for name, doc in docs.all if name == "stop"]
    assert [doc["exit_status"] for doc in stops] == ["success"] * 3
    assert docs.all[-1][1]["run_start"] == docs.start["uid"]  # ours is the last to be closed


def test_a_failure_inside_a_run_of_the_stub_is_retried_and_both_runs_are_whole(
    RE: RunEngine, docs: Documents, bench: Any
) -> None:
    bowl, motors = bench
    calls = []

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        calls.append(point)
        uid = yield from bps.open_run(md={"sample": "s"})
        assert uid
        yield from bps.create("primary")
        yield from bps.read(motors[0])
        if len(calls) == 2:
            raise RuntimeError("shutter")
        yield from bps.save()
        yield from bps.close_run()
        return {"bowl": truth(point["mx"], point["my"])}

    result = RE(optimize([bowl], motors, sobol(), max_points=2, measure=measure, envelope=ENVELOPE)).plan_result
    assert (result.accepted, result.abandoned, len(calls)) == (2, 0, 3)
    assert [row["attempt"] for row in docs.events["primary"] if "attempt" in row] == [1, 2]
    statuses = [doc["exit_status"] for name, doc in docs.all if name == "stop"]
    assert sorted(statuses) == ["fail", "success", "success", "success"]


def test_moves_of_the_stub_pass_the_gate_and_are_not_forgotten(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    mx = motors[0]
    sets: list[float] = []
    was = mx.set
    mx.set = lambda value, **kw: (sets.append(value), was(value, **kw))[1]

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.mv(mx, 1.75)
        yield from bps.mv(mx, point["mx"])
        return {"bowl": 1.0}

    envelope = {**ENVELOPE, "forbidden": [{"box": {"mx": (1.9, 2.0)}, "sweep": True}], "max_step": {"mx": 9.0}}
    RE(optimize([bowl], motors, sobol(), max_points=3, measure=measure, envelope=envelope, finish="stay"))
    points = [row["mx"] for row in docs.events["decisions"]]
    assert sets == [value for point in points for value in ([point] if point != 0.0 else []) + [1.75, point]]

    def astray(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.mv(mx, 1.95)
        return {"bowl": 1.0}

    docs.events.clear()
    with pytest.raises(Exception, match=r"25 proposals in a row were refused.*lies in the forbidden region"):
        RE(optimize([bowl], motors, sobol(), max_points=30, measure=astray, envelope=envelope, finish="stay"))
    assert 1.95 not in sets


def test_a_list_of_outcomes_is_many_rows(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    steered = sobol()

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        rows = []
        for shift in (0.0, 0.25):
            yield from bps.mv(motors[0], 0.5 * point["mx"] + shift)
            yield from bps.trigger(bowl, wait=True)
            reading = yield from bps.read(bowl)
            rows.append({"mx": motors[0].position, "bowl": reading["bowl"]["value"]})
        return rows

    stub = UserStub(measure, [bowl], positions_from_rows=["mx"])
    result = RE(optimize([], motors, steered, max_points=6, measure=stub, envelope=ENVELOPE)).plan_result
    assert (result.accepted, result.rows) == (3, 6)
    rows = docs.events["primary"]
    assert [row["row_in_proposal"] for row in rows] == [0, 1] * 3
    for row, told in zip(rows, steered.results, strict=True):
        assert told["bowl"] == row["bowl"] == truth(row["mx"], row["my"])
        assert told["mx"] == row["mx"]
    asked = {d["proposal_id"]: d for d in docs.events["decisions"]}
    assert all(row["my"] == asked[row["proposal_id"]]["my"] for row in rows)


def test_one_row_now_and_many_then_is_refused(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    calls = []

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.null()
        calls.append(point)
        return {"bowl": 1.0} if len(calls) == 1 else [{"bowl": 1.0}]

    with pytest.raises(BadInputError, match="always do one"):
        RE(optimize([bowl], motors, sobol(), max_points=3, measure=measure, envelope=ENVELOPE))


@pytest.mark.parametrize("answer", [[], [1.0], "bowl", 3.0])
def test_an_answer_that_is_no_row_is_refused(RE: RunEngine, bench: Any, answer: Any) -> None:
    bowl, motors = bench

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.null()
        return answer

    with pytest.raises(BadInputError, match="must return a mapping"):
        RE(optimize([bowl], motors, sobol(), max_points=3, measure=measure, envelope=ENVELOPE))


def test_a_pause_inside_the_stub_repeats_it_whole(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    calls = []

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        calls.append(point)
        if len(calls) == 2:
            yield from bps.pause()
        reading = yield from bps.trigger_and_read(detectors)
        return {"bowl": reading["bowl"]["value"]}

    with pytest.raises(RunEngineInterrupted):
        RE(optimize([bowl], motors, sobol(), max_points=3, measure=measure, envelope=ENVELOPE))
    RE.resume()
    assert len(calls) == 4
    rows = docs.events["primary"]
    assert len({row["proposal_id"] for row in rows}) == len(rows) == 3
    assert [row["attempt"] for row in rows] == [1, 2, 1]


def test_a_stub_that_keeps_failing_ends_the_run(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.null()
        raise RuntimeError("no sample")

    with pytest.raises(MeasurementError, match="no sample"):
        RE(optimize([bowl], motors, sobol(), max_points=9, measure=measure, envelope=ENVELOPE, max_failures=2))
