"""A flown line is one proposal with many rows: bound by id, pausable between lines, abandoned as a whole when cut."""

import math
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.run_engine import call_in_bluesky_event_loop
from bluesky.utils import RunEngineInterrupted
from ophyd.sim import NullStatus, SynAxis
from simple import Documents

from ebl_autonomy import VOCS
from ebl_autonomy.agents import SobolAgent
from ebl_autonomy.data import Connection, past_results, read_run
from ebl_autonomy.errors import BadInputError, MeasurementError
from ebl_autonomy.plans import FlyLine, Line, Sweep, explore, optimize
from ebl_autonomy.sim_devices import Clock, SimFlyer, SimMotor
from ebl_autonomy.steering import restore_session

ROWS = 7


class Field:
    """A detector that reads a function of the two motors without delay."""

    name, parent = "field", None

    def __init__(self, x: SimMotor, y: SimMotor) -> None:
        self.x, self.y, self.value = x, y, math.nan
        self.fail_at = -1
        self.count = 0

    def trigger(self) -> Any:
        self.count += 1
        if self.count == self.fail_at:
            raise RuntimeError("readout")
        self.value = strength(self.x.position, self.y.position)
        return None

    def read(self) -> dict[str, Any]:
        return {"field": {"value": self.value, "timestamp": time.time()}}

    def describe(self) -> dict[str, Any]:
        return {"field": {"source": "test", "dtype": "number", "shape": []}}


def strength(x: float, y: float) -> float:
    return x * x + 10.0 * y


def stage(speed: float = math.inf) -> tuple[SimMotor, SimMotor, SimFlyer, Field]:
    clock = Clock(speed)
    x, y = (SimMotor(n, clock, (-5.0, 5.0), egu="mm", velocity=50.0, settle_time=0.0) for n in ("x", "y"))
    field = Field(x, y)
    return x, y, SimFlyer("line", x, field, clock), field


def agent_of_lines(**more: Any) -> SobolAgent:
    """An agent that chooses y; x is read along each line."""
    variables = {"y": [-1.0, 1.0], "x": {"type": "ContextualVariable"}}
    return SobolAgent(VOCS(variables=variables, objectives={"field": "MAXIMIZE"}, **more))


def acquisition(flyer: SimFlyer, x: SimMotor, **more: Any) -> FlyLine:
    return FlyLine([flyer], [x], Sweep("x", -2.0, 2.0, rows=ROWS, seconds=0.7), **more)


def check_bound(docs: Documents, lines: int) -> None:
    """Check that each line has its rows in order, and that each row holds the reading of its position."""
    rows = docs.events["primary"]
    assert len(rows) == lines * ROWS
    asked = {d["proposal_id"]: d["y"] for d in docs.events["decisions"]}
    for start in range(0, len(rows), ROWS):
        line = rows[start : start + ROWS]
        assert {row["proposal_id"] for row in line} == {line[0]["proposal_id"]}
        assert [row["row_in_proposal"] for row in line] == list(range(ROWS))
        assert [row["x"] for row in line] == pytest.approx(np.linspace(-2, 2, 2 * ROWS + 1)[1::2])
    for row in rows:
        assert row["y"] == asked[row["proposal_id"]]
        assert row["field"] == strength(row["x"], row["y"])
        raw = docs.events["line"][row["row_in_stream"] - 1]
        assert (raw["x"], raw["field"]) == (row["x"], row["field"])


def test_one_proposal_is_many_rows_that_the_agent_is_told_of(RE: RunEngine, docs: Documents) -> None:
    x, y, flyer, _ = stage()
    agent = agent_of_lines()
    plan = optimize([], [y], agent, max_points=3 * ROWS, measure=acquisition(flyer, x), finish="stay")
    result = RE(plan).plan_result
    assert (result.accepted, result.rows) == (3, 3 * ROWS)
    check_bound(docs, 3)
    assert [(r["x"], r["y"], r["field"]) for r in agent.results] == [
        (row["x"], row["y"], row["field"]) for row in docs.events["primary"]
    ]
    fresh = SobolAgent(agent.vocs)
    fresh.ingest(list(agent.results))
    assert agent.suggest(1) == fresh.suggest(1)  # no proposal is pending
    assert result.left_at == {"y": y.position, "x": 2.0}
    assert RE.state == "idle"


def test_lines_through_chosen_points_tell_where_each_row_was(RE: RunEngine, docs: Documents) -> None:
    x, y, flyer, _ = stage()
    agent = SobolAgent(VOCS(variables={"x": [-2.0, 2.0], "y": [-1.0, 1.0]}, observables=["field"]))
    sweep = Sweep("x", -0.5, 0.5, rows=ROWS, seconds=0.5, relative=True)
    RE(explore([], [x, y], agent, max_points=2 * ROWS, measure=FlyLine([flyer], [x], sweep)))
    for row, result in zip(docs.events["primary"], agent.results, strict=True):
        assert (result["x"], result["field"]) == (row["x"], strength(row["x"], row["y"]))
    assert len({result["x"] for result in agent.results}) == 2 * ROWS
    assert (x.position, y.position) == (0.0, 0.0)  # explore returns the motors to the start
    fresh = SobolAgent(agent.vocs)
    fresh.ingest(list(agent.results))
    assert agent.suggest(1) == fresh.suggest(1)  # flown proposals are not pending


def test_derivations_see_each_row(RE: RunEngine, docs: Documents) -> None:
    x, y, flyer, _ = stage()
    agent = SobolAgent(VOCS(variables={"y": [-1.0, 1.0]}, objectives={"twice": "MINIMIZE"}))
    derive = {"twice": lambda readings: 2.0 * readings["field"]}
    RE(optimize([], [y], agent, max_points=ROWS, measure=acquisition(flyer, x), derive=derive))
    rows = docs.events["primary"]
    assert [row["twice"] for row in rows] == [2.0 * row["field"] for row in rows]
    assert [r["twice"] for r in agent.results] == [row["twice"] for row in rows]


@pytest.mark.parametrize(
    ("envelope", "rule"),
    [
        ({"limits": {"x": (-1.0, 1.0)}}, "limits"),
        ({"max_step": {"x": 1.0}}, "step"),
        ({"forbidden": [{"box": {"x": (0.2, 0.3), "y": (-2.0, 2.0)}}]}, "forbidden"),
    ],
)
def test_the_gate_judges_the_whole_line(RE: RunEngine, docs: Documents, envelope: Any, rule: str) -> None:
    x, y, flyer, field = stage()
    with pytest.raises(Exception, match="25 proposals in a row were refused"):
        RE(optimize([], [y], agent_of_lines(), max_points=90, measure=acquisition(flyer, x), envelope=envelope))
    assert {gone["rule"] for gone in docs.events["abandoned"]} == {rule}
    assert (field.count, x.position, y.position) == (0, 0.0, 0.0)


def test_a_line_that_is_no_point_of_a_forbidden_box_is_flown(RE: RunEngine, docs: Documents) -> None:
    x, y, flyer, _ = stage()
    envelope = {"forbidden": [{"box": {"x": (0.2, 0.3), "y": (2.0, 3.0)}}]}
    RE(optimize([], [y], agent_of_lines(), max_points=2 * ROWS, measure=acquisition(flyer, x), envelope=envelope))
    check_bound(docs, 2)


@pytest.mark.parametrize("budget", [{"envelope": {"max_points": 3 * ROWS - 1}}, {"max_points": 3 * ROWS - 1}])
def test_a_line_that_would_exceed_a_budget_is_not_begun(RE: RunEngine, docs: Documents, budget: Any) -> None:
    x, y, flyer, _ = stage()
    options = {"max_points": 99 * ROWS, **budget}
    result = RE(optimize([], [y], agent_of_lines(), measure=acquisition(flyer, x), **options)).plan_result
    assert result.accepted == 2
    assert f"{2 * ROWS} points" in result.stop_reason
    check_bound(docs, 2)


def test_the_dose_of_every_row_counts(RE: RunEngine, docs: Documents) -> None:
    x, y, flyer, _ = stage()
    envelope = {"max_dose": 1.5 * ROWS, "dose_key": "dose"}
    plan = optimize(
        [], [y], agent_of_lines(), max_points=99 * ROWS, measure=acquisition(flyer, x), envelope=envelope,
        derive={"dose": lambda readings: 1.0},
    )  # fmt: skip
    assert RE(plan).plan_result.accepted == 2


@pytest.mark.integration
@pytest.mark.parametrize("when_cut", ["abandon", "repeat"])
def test_a_line_that_a_pause_cuts_is_abandoned_whole_or_flown_again(
    RE: RunEngine, docs: Documents, when_cut: str
) -> None:
    x, y, flyer, field = stage(speed=4.0)
    agent = agent_of_lines()
    pause_at = ROWS + 3
    trigger = field.trigger

    def pausing() -> None:
        trigger()
        if field.count == pause_at:
            RE.request_pause()

    field.trigger = pausing  # type: ignore[method-assign]
    measure = acquisition(flyer, x, when_cut=when_cut)
    with pytest.raises(RunEngineInterrupted):
        RE(optimize([], [y], agent, max_points=3 * ROWS, measure=measure, finish="stay"))
    RE.resume()
    check_bound(docs, 3)
    gone = docs.events["abandoned"]
    assert [(g["rule"], g["status"]) for g in gone] == ([("cut", "abandoned")] if when_cut == "abandon" else [])
    assert sum(math.isnan(r["field"]) for r in agent.results) == len(gone)
    assert docs.stop["exit_status"] == "success"


@pytest.mark.integration
def test_a_pause_between_lines_loses_and_repeats_nothing(RE: RunEngine, docs: Documents) -> None:
    x, y, flyer, field = stage(speed=4.0)
    trigger = field.trigger

    def pausing() -> None:
        trigger()
        if field.count == ROWS + 3:
            RE.request_pause(defer=True)  # takes effect at the next checkpoint, after the line

    field.trigger = pausing  # type: ignore[method-assign]
    with pytest.raises(RunEngineInterrupted):
        RE(optimize([], [y], agent_of_lines(), max_points=3 * ROWS, measure=acquisition(flyer, x)))
    assert len(docs.events["primary"]) == 2 * ROWS
    RE.resume()
    check_bound(docs, 3)
    assert field.count == 3 * ROWS
    assert docs.events["abandoned"] == []


def test_a_detector_that_fails_on_the_way_costs_its_line(RE: RunEngine, docs: Documents) -> None:
    x, y, flyer, field = stage()
    field.fail_at = ROWS + 3
    RE(optimize([], [y], agent_of_lines(), max_points=2 * ROWS, measure=acquisition(flyer, x)))
    (gone,) = docs.events["abandoned"]
    assert gone["rule"] == "cut"
    assert "readout" in gone["reason"]
    assert len(docs.events["primary"]) == 2 * ROWS
    assert gone["proposal_id"] not in {row["proposal_id"] for row in docs.events["primary"]}


class Counter:
    """Flies `x` and counts, but reports no positions; the motor gets through a `share` of the line."""

    name, parent = "counter", None

    def __init__(self, x: SynAxis, share: float) -> None:
        self.x, self.share = x, share
        self.line: Line | None = None

    def prepare(self, line: Line) -> Any:
        self.line = line
        return NullStatus()

    def kickoff(self) -> Any:
        assert self.line is not None
        start, stop = self.line.start["x"], self.line.stop["x"]
        self.x.sim_state["readback"] = start + self.share * (stop - start)
        return NullStatus()

    def complete(self) -> Any:
        return NullStatus()

    def describe_collect(self) -> dict[str, Any]:
        return {"raw": {"counts": {"source": "test", "dtype": "number", "shape": []}}}

    def collect(self) -> Any:
        assert self.line is not None
        for _ in range(self.line.rows):
            yield {"time": 0.0, "data": {"counts": 1.0}, "timestamps": {"counts": 0.0}}


@pytest.mark.parametrize("ends", [(-1.0, 1.0), (1.0, -1.0)])
@pytest.mark.parametrize(("share", "accepted"), [(0.3, 0), (0.95, 1), (1.05, 1)])
def test_a_motor_that_stops_on_a_line_has_no_rows_where_it_never_was(
    RE: RunEngine, docs: Documents, ends: tuple[float, float], share: float, accepted: int
) -> None:
    x, y = SynAxis(name="x"), SynAxis(name="y")
    agent = SobolAgent(VOCS(variables={"y": [-1.0, 1.0]}, objectives={"counts": "MAXIMIZE"}))
    line = FlyLine([Counter(x, share)], [x], Sweep("x", *ends, rows=ROWS, seconds=20.0))
    envelope = {"limits": {"x": (-2.0, 2.0), "y": (-2.0, 2.0)}}
    plan = optimize([], [y], agent, max_points=ROWS, measure=line, envelope=envelope, finish="stay", max_failures=1)
    if accepted:
        assert RE(plan).plan_result.rows == ROWS
        return
    with pytest.raises(MeasurementError, match=r"no flyer reports where the rows were"):
        RE(plan)
    assert docs.events["primary"] == []
    assert [gone["rule"] for gone in docs.events["abandoned"]] == ["cut"]


def test_wrong_lines_are_refused_before_anything_moves(RE: RunEngine) -> None:
    x, y, flyer, field = stage()
    with pytest.raises(BadInputError, match="cannot be kicked off"):
        FlyLine([field], [x], Sweep("x", 0.0, 1.0, 3, 1.0))
    with pytest.raises(ValueError, match="same motors"):
        Line({"x": 0.0}, {"y": 1.0}, 3, 1.0)
    with pytest.raises(BadInputError, match=r"has its own"):
        RE(optimize([field], [y], agent_of_lines(), max_points=3, measure=acquisition(flyer, x)))  # type: ignore[list-item]
    assert field.count == 0


@pytest.mark.integration
def test_lines_in_tiled_are_read_back_and_taken_up(RE: RunEngine, docs: Documents, tiled: Connection) -> None:
    x, y, flyer, _ = stage()
    agent = agent_of_lines()
    RE(optimize([], [y], agent, max_points=3 * ROWS, measure=acquisition(flyer, x)))
    tiled.flush()
    record = read_run(docs.start["uid"], tiled.client)
    assert [len(proposal.rows) for proposal in record.proposals] == [ROWS] * 3
    assert record.results == agent.results
    assert [dict(r) for r in past_results(record.uid, agent.vocs, tiled.client)[1]] == [
        {name: value for name, value in result.items() if name in {*agent.vocs.variables, "field"}}
        for result in agent.results
    ]
    session = restore_session(record, max_points=4 * ROWS)
    (proposal,) = session.ask()
    assert proposal.proposal_id == "00003"
    assert dict(proposal.proposed) == agent.suggest(1)[0]
    assert session.rows == 3 * ROWS


@pytest.mark.integration
@pytest.mark.parametrize("images", [False, True])
def test_a_flyable_of_ophyd_async_writes_files_and_every_row_is_bound(
    RE: RunEngine, docs: Documents, tmp_path: Path, images: bool, tiled: Connection
) -> None:
    from ophyd_async.core import StaticFilenameProvider, StaticPathProvider
    from ophyd_async.sim import SimBlobDetector
    from ophyd_async.sim import SimMotor as AsyncMotor

    x, y = AsyncMotor("x", instant=True), AsyncMotor("y", instant=True)
    blob = SimBlobDetector(StaticPathProvider(StaticFilenameProvider("blob"), tmp_path), name="blob")
    for device in (x, y, blob):
        call_in_bluesky_event_loop(device.connect())
    outcome = "brightest" if images else "blob-sum"
    agent = SobolAgent(VOCS(variables={"y": [-1.0, 1.0]}, objectives={outcome: "MAXIMIZE"}))
    derive = {"brightest": lambda readings: float(np.max(readings["blob"]))} if images else None
    line = FlyLine([x, blob], [x], Sweep("x", -1.0, 1.0, rows=4, seconds=0.4))
    limits = {"limits": {"x": (-9.0, 9.0), "y": (-9.0, 9.0)}}
    result = RE(optimize([], [y], agent, max_points=8, measure=line, envelope=limits, derive=derive)).plan_result
    assert (result.accepted, result.rows) == (2, 8)
    rows = docs.events["primary"]
    assert [row["row_in_proposal"] for row in rows] == [0, 1, 2, 3] * 2
    assert [row["row_in_stream"] for row in rows] == list(range(1, 9))
    assert [row["x"] for row in rows] == pytest.approx([-0.75, -0.25, 0.25, 0.75] * 2)
    assert [r[outcome] for r in agent.results] == [row[outcome] for row in rows]
    assert all(math.isfinite(row[outcome]) and row[outcome] > 0.0 for row in rows)
    datums = [doc for name, doc in docs.all if name == "stream_datum"]
    assert sum(doc["indices"]["stop"] - doc["indices"]["start"] for doc in datums) == 2 * 8  # data and sum
    assert tiled.flush()
    record = read_run(docs.start["uid"], tiled.client)
    assert record.stop is not None
    assert record.results == agent.results


def test_a_flight_can_be_stopped() -> None:
    x, _, flyer, _ = stage(speed=1.0)
    flyer.prepare(Line({"x": -1.0}, {"x": 1.0}, 50, 20.0)).wait(timeout=60)
    flyer.kickoff()
    done = flyer.complete()
    threading.Timer(0.1, flyer.stop).start()
    with pytest.raises(RuntimeError, match="was stopped after"):
        done.wait(timeout=60)
    assert x.position < 1.0
