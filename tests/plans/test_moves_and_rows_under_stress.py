"""What beamlines do to a run: motors are moved in a pause, stubs misbehave, flights are cut, boxes are in the way."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.utils import RunEngineInterrupted
from ophyd.sim import NullStatus
from simple import ENVELOPE, Documents, sobol, truth, vocs

from ebl_autonomy import VOCS
from ebl_autonomy.agents import SobolAgent
from ebl_autonomy.errors import NoMoreProposals, RefusedError
from ebl_autonomy.guard import Envelope, Gate, Move
from ebl_autonomy.plans import FlyLine, Line, Sweep, optimize
from ebl_autonomy.sim_devices import Clock, SimFlyer, SimMotor

BOX = {"box": {"mx": (0.4, 0.6), "my": (0.4, 0.6)}}
ROWS = 5
AGENT_OF_LINES = VOCS(variables={"y": [-1.0, 1.0]}, objectives={"height": "MAXIMIZE"})


class Listed:
    """Proposes the points of a list."""

    def __init__(self, known: VOCS, points: Sequence[Mapping[str, float]]) -> None:
        self.vocs, self.points = known, list(points)
        self.told: list[dict[str, Any]] = []

    def suggest(self, count: int) -> list[dict[str, float]]:
        if not self.points:
            raise NoMoreProposals("the list is over")
        now, self.points = self.points[:count], self.points[count:]
        return [dict(point) for point in now]

    def ingest(self, results: list[dict[str, Any]]) -> None:
        self.told += results


class Height:
    """A detector that reads a motor, at once."""

    name, parent = "height", None

    def __init__(self, y: SimMotor) -> None:
        self.y = y
        self.count = 0
        self.fail_at = -1

    def trigger(self) -> Any:
        self.count += 1
        if self.count == self.fail_at:
            raise RuntimeError("readout")

    def read(self) -> dict[str, Any]:
        return {"height": {"value": self.y.position, "timestamp": 0.0}}

    def describe(self) -> dict[str, Any]:
        return {"height": {"source": "test", "dtype": "number", "shape": []}}


def flight(speed: float) -> tuple[SimMotor, SimMotor, SimFlyer, Height]:
    clock = Clock(speed)
    x, y = (SimMotor(n, clock, (-5.0, 5.0), egu="mm", velocity=50.0, settle_time=0.0) for n in ("x", "y"))
    height = Height(y)
    return x, y, SimFlyer("line", x, height, clock), height


class ShortFlyer:
    """Records fewer rows than its line has, or documents in the stream it is told."""

    parent = None
    name = "short"

    def __init__(self, stream: str, missing: int) -> None:
        self.stream, self.missing = stream, missing
        self.line: Line | None = None

    def prepare(self, line: Line) -> Any:
        self.line = line
        return NullStatus()

    def kickoff(self) -> Any:
        return NullStatus()

    def complete(self) -> Any:
        return NullStatus()

    def describe_collect(self) -> dict[str, Any]:
        key = {"source": "test", "dtype": "number", "shape": []}
        return {self.stream: {"x": key, "height": key}}

    def collect(self) -> Any:
        assert self.line is not None
        for i in range(self.line.rows - self.missing):
            data = {"x": float(i), "height": 1.0}
            yield {"time": 0.0, "data": data, "timestamps": dict.fromkeys(data, 0.0)}


def lines(flyer: Any, x: Any, seconds: float = 0.5) -> FlyLine:
    return FlyLine([flyer], [x], Sweep("x", -2.0, 2.0, rows=ROWS, seconds=seconds))


def test_a_motor_that_stands_in_a_forbidden_interval_counts() -> None:
    gate = Gate(None, Envelope.of({**ENVELOPE, "forbidden": [BOX]}), {"mx": None, "my": None})
    with pytest.raises(RefusedError, match="forbidden"):
        gate.check_move(Move({"my": 0.5}, {"mx": 0.5, "my": 0.0}))


def test_two_motors_that_a_stub_moves_together_are_judged_together(RE: RunEngine, bench: Any) -> None:
    bowl, (mx, my) = bench

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.mv(mx, 1.0, my, 1.0)
        return {"bowl": 1.0}

    agent = Listed(vocs(), [{"mx": 0.0, "my": 0.0}])
    envelope = {**ENVELOPE, "forbidden": [{**BOX, "sweep": True}]}
    plan = optimize([bowl], [mx, my], agent, max_points=1, measure=measure, envelope=envelope, finish="stay")
    assert RE(plan).plan_result.refused == 1
    assert my.position == 0.0  # mx alone may go: its own way is clear


def test_a_stub_does_not_reach_a_steered_motor_by_its_child(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.mv(motors[0].setpoint, 9.0)
        return {"bowl": 1.0}

    agent = Listed(vocs(), [{"mx": 0.0, "my": 0.0}])
    plan = optimize([bowl], motors, agent, max_points=1, measure=measure, envelope=ENVELOPE, finish="stay")
    assert RE(plan).plan_result.refused == 1
    assert motors[0].position == 0.0


def test_a_motor_that_the_user_moves_in_a_pause_is_brought_back(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    pause = threading.Thread(target=RE.request_pause, args=(True,))

    def pause_once(count: int) -> None:
        if count == 2:
            pause.start()
            pause.join(timeout=0.2)

    bowl.fail = pause_once
    agent = Listed(vocs(), [{"mx": 0.1 * i, "my": 0.5} for i in range(4)])
    with pytest.raises(RunEngineInterrupted):
        RE(optimize([bowl], motors, agent, max_points=4, envelope=ENVELOPE, finish="stay"))
    motors[1].set(-1.5)
    RE.resume()
    assert [row["my"] for row in docs.events["primary"]] == [0.5] * 4
    assert [told["bowl"] for told in agent.told] == [truth(told["mx"], told["my"]) for told in agent.told]


def test_a_row_holds_no_outcome_of_an_earlier_row(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    calls: list[Any] = []

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.null()
        calls.append(point)
        return {"bowl": 1.0, "extra": 5.0} if len(calls) == 1 else {"bowl": 1.0}

    RE(optimize([bowl], motors, sobol(), max_points=3, measure=measure, envelope=ENVELOPE, finish="stay"))
    assert [row["extra"] == 5.0 for row in docs.events["primary"]] == [True, False, False]


def test_an_event_that_the_stub_leaves_open_is_dropped(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    calls: list[Any] = []

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        calls.append(point)
        yield from bps.create("mine")
        yield from bps.read(bowl)
        if len(calls) == 1:
            raise RuntimeError("shutter")
        yield from bps.save()
        return {"bowl": 1.0}

    plan = optimize([bowl], motors, sobol(), max_points=2, measure=measure, envelope=ENVELOPE, finish="stay")
    assert RE(plan).plan_result.accepted == 2


def test_lines_are_flown_in_batches(RE: RunEngine, docs: Documents) -> None:
    x, y, flyer, _ = flight(float("inf"))
    RE(optimize([], [y], SobolAgent(AGENT_OF_LINES), max_points=4 * ROWS, batch=2, measure=lines(flyer, x)))
    assert len({row["proposal_id"] for row in docs.events["primary"]}) == 4


@pytest.mark.integration
def test_a_stopped_flight_ends_before_the_motors_go_back(RE: RunEngine, docs: Documents) -> None:
    x, y, flyer, height = flight(1.0)
    trigger = height.trigger
    pause = threading.Thread(target=RE.request_pause)

    def pausing() -> None:
        trigger()
        if height.count == 2:
            pause.start()

    height.trigger = pausing  # type: ignore[method-assign]
    plan = optimize([], [y], SobolAgent(AGENT_OF_LINES), max_points=ROWS, measure=lines(flyer, x, 2.0), finish="return")
    with pytest.raises(RunEngineInterrupted):
        RE(plan)
    RE.stop()
    for thread in threading.enumerate():
        if thread.name == "line-flight":
            thread.join(timeout=60)
    assert (height.count < ROWS, x.position) == (True, 0.0)
    assert docs.events["primary"] == []


def test_the_way_to_the_recommended_point_heeds_where_flown_motors_stand(RE: RunEngine) -> None:
    x, y, flyer, _ = flight(float("inf"))

    def line(point: Mapping[str, float]) -> Line:
        ends = (-2.0, 0.0) if point["y"] > 0.0 else (0.0, 2.0)
        return Line({"x": ends[0]}, {"x": ends[1]}, ROWS, 0.5)

    envelope = {"forbidden": [{"box": {"x": (1.5, 2.5), "y": (0.4, 0.6)}}]}
    agent = Listed(AGENT_OF_LINES, [{"y": 0.5}, {"y": -0.5}])
    RE(optimize([], [y], agent, max_points=2 * ROWS, measure=FlyLine([flyer], [x], line), envelope=envelope))
    assert not (1.5 <= x.position <= 2.5 and 0.4 <= y.position <= 0.6)


@pytest.mark.parametrize("missing", [2, -2])
def test_a_line_of_another_number_of_rows_is_not_accepted(RE: RunEngine, docs: Documents, missing: int) -> None:
    x, y, _, _ = flight(float("inf"))
    measure = lines(ShortFlyer("raw", missing), x)
    plan = optimize([], [y], SobolAgent(AGENT_OF_LINES), max_points=ROWS, measure=measure, max_failures=1)
    with pytest.raises(Exception, match=rf"{ROWS - missing}.*{ROWS}"):
        RE(plan)
    assert docs.events["primary"] == []


def test_a_detector_that_fails_in_flight_fails_the_flight() -> None:
    _, _, flyer, height = flight(50.0)
    height.fail_at = 2
    flyer.prepare(Line({"x": -1.0}, {"x": 1.0}, ROWS, 1.0)).wait(timeout=60)
    flyer.kickoff()
    with pytest.raises(RuntimeError, match="readout"):
        flyer.complete().wait(timeout=60)
