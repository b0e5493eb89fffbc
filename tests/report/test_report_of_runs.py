"""What a plan returns, its run read back, and the report say the same, also of runs with many rows."""

import math
from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine
from ophyd.sim import NullStatus, SynAxis

from ebl_autonomy import VOCS, read_run
from ebl_autonomy.agents import BayesianAgent, SobolAgent
from ebl_autonomy.data import Connection
from ebl_autonomy.plans import FlyLine, RunResult, Sweep, explore, optimize
from ebl_autonomy.records import RunRecord
from ebl_autonomy.report import Summary, summarise, write_report
from ebl_autonomy.sim_devices import Clock, SimFlyer, SimMotor

pytestmark = pytest.mark.integration

ROWS, SECONDS = 5, 0.4
LIMITS = {"limits": {"mx": (-2.0, 2.0), "my": (-2.0, 2.0)}}


class Field:
    """A detector that reads x² + 10 y at once."""

    name, parent = "field", None

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y, self.value = x, y, math.nan

    def trigger(self) -> NullStatus:
        self.value = self.x.position**2 + 10.0 * self.y.position
        return NullStatus()

    def read(self) -> dict[str, Any]:
        return {"field": {"value": self.value, "timestamp": 0.0}}

    def describe(self) -> dict[str, Any]:
        return {"field": {"source": "test", "dtype": "number", "shape": []}}


def check_agree(result: RunResult, record: RunRecord, summary: Summary) -> None:
    assert summary.recommended == record.recommended == result.recommended
    assert summary.best_reading == result.best_reading
    assert tuple(summary.front) == record.front == result.front
    assert summary.left_at == record.left_at == result.left_at
    assert (summary.points, summary.accepted) == (result.rows, result.accepted)


def test_the_seconds_of_a_flown_line_count_once(RE: RunEngine, tiled: Connection, tmp_path: Path) -> None:
    clock = Clock(1.0)
    x, y = (SimMotor(n, clock, (-5.0, 5.0), egu="mm", velocity=500.0, settle_time=0.0) for n in ("x", "y"))
    flyer = SimFlyer("line", x, Field(x, y), clock)
    variables = {"y": [-1.0, 1.0], "x": {"type": "ContextualVariable"}}
    agent = SobolAgent(VOCS(variables=variables, objectives={"field": "MAXIMIZE"}))
    line = FlyLine([flyer], [x], Sweep("x", -2.0, 2.0, rows=ROWS, seconds=SECONDS))
    result = RE(optimize([], [y], agent, max_points=3 * ROWS, measure=line)).plan_result
    tiled.flush()
    record = read_run(result.uid, tiled.client)
    summary = summarise(record)
    check_agree(result, record, summary)
    assert (summary.points, summary.accepted, summary.invalid) == (3 * ROWS, 3, 0)
    # What the rows of a line have in common is the line's: the wall time of the run is no shorter than its parts.
    parts = [summary.seconds[name] for name in ("deciding", "moving", "measuring")]
    assert summary.seconds["measuring"] >= 3 * SECONDS
    assert sum(parts) <= summary.seconds["total"]
    assert summary.seconds_to_target is not None
    assert summary.seconds_to_target <= summary.seconds["total"]
    best = max(record.results, key=lambda row: row["field"])
    assert summary.best_point == {"x": best["x"], "y": best["y"]}
    assert f"{3 * ROWS}</b><span>points of 3 proposals" in write_report(record, tmp_path).read_text()


def test_the_best_point_of_a_line_through_variables_is_where_its_row_was(RE: RunEngine, tiled: Connection) -> None:
    clock = Clock(math.inf)
    x, y = (SimMotor(n, clock, (-5.0, 5.0), egu="mm", velocity=50.0, settle_time=0.0) for n in ("x", "y"))
    flyer = SimFlyer("line", x, Field(x, y), clock)
    agent = SobolAgent(VOCS(variables={"x": [-2.0, 2.0], "y": [-1.0, 1.0]}, objectives={"field": "MINIMIZE"}))
    line = FlyLine([flyer], [x], Sweep("x", -0.5, 0.5, rows=ROWS, seconds=0.1, relative=True))
    result = RE(optimize([], [x, y], agent, max_points=4 * ROWS, measure=line, finish="stay")).plan_result
    tiled.flush()
    record = read_run(result.uid, tiled.client)
    summary = summarise(record)
    check_agree(result, record, summary)
    assert summary.best == min(row["field"] for row in record.results)
    assert summary.best == summary.best_point["x"] ** 2 + 10.0 * summary.best_point["y"]


def test_a_run_that_explores_has_no_best(RE: RunEngine, tiled: Connection, tmp_path: Path) -> None:
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    variables = {name: [-2.0, 2.0] for name in ("mx", "my")}
    agent = SobolAgent(VOCS(variables=variables, observables=["field"]))
    field = Field(*motors)
    result = RE(explore([field], motors, agent, max_points=4, batch=2, envelope=LIMITS)).plan_result
    tiled.flush()
    record = read_run(result.uid, tiled.client)
    summary = summarise(record)
    check_agree(result, record, summary)
    assert (summary.points, summary.invalid, summary.best, summary.best_reading) == (4, 0, None, None)
    assert summary.start_point == summary.left_at
    text = write_report(record, tmp_path).read_text()
    assert "Explore with sobol" in text
    assert "What was found" not in text


def test_of_two_objectives_the_front_is_told_with_its_compromise(
    RE: RunEngine, tiled: Connection, tmp_path: Path
) -> None:
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    vocs = VOCS(
        variables={name: [-2.0, 2.0] for name in ("mx", "my")}, objectives={"size": "MINIMIZE", "flux": "MAXIMIZE"}
    )
    derive = {
        "size": lambda row: (row["mx"] - 0.5) ** 2 + row["my"] ** 2,
        "flux": lambda row: -((row["mx"] + 0.5) ** 2) - row["my"] ** 2,
    }
    agent = BayesianAgent(vocs, seed=1)
    plan = optimize([Field(*motors)], motors, agent, max_points=16, derive=derive, envelope=LIMITS)
    result = RE(plan).plan_result
    tiled.flush()
    record = read_run(result.uid, tiled.client)
    summary = summarise(record)
    check_agree(result, record, summary)
    assert len(summary.front) > 1
    assert summary.recommended is not None
    assert summary.recommended.std["size"] > 0.0
    text = write_report(record, tmp_path).read_text()
    assert text.count("<td>compromise</td>") == 1
    assert "Front: what no other point betters in all objectives" in text


def test_a_run_that_failed_has_its_readings_and_the_best_of_them(
    RE: RunEngine, tiled: Connection, tmp_path: Path
) -> None:
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    vocs = VOCS(variables={name: [-2.0, 2.0] for name in ("mx", "my")}, objectives={"field": "MINIMIZE"})

    class Dies(SobolAgent):
        def suggest(self, num_points: int | None = None) -> Any:
            if len(self.results) == 3:
                raise RuntimeError("the agent died")
            return super().suggest(num_points)

    uids: list[str] = []
    RE.subscribe(lambda _, doc: uids.append(doc["uid"]), "start")
    with pytest.raises(RuntimeError, match="the agent died"):
        RE(optimize([Field(*motors)], motors, Dies(vocs), max_points=9, envelope=LIMITS))
    tiled.flush()
    record = read_run(uids[0], tiled.client)
    summary = summarise(record)
    assert (summary.status, summary.points, summary.left_where) == ("fail", 3, "stayed")
    assert summary.recommended is not None
    assert summary.recommended.outcome["field"] == summary.best
    assert summary.left_at == {motor.name: motor.position for motor in motors}
    assert summary.best == min(row["field"] for row in record.results)
    assert "the agent died" in write_report(record, tmp_path).read_text()
