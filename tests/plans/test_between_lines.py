"""Before and after a flown line: who moves the motor, where the next line is judged from, what a cut costs."""

import math
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.utils import Msg, RunEngineInterrupted
from ophyd.sim import SynSignal
from scripted import Scripted
from simple import Documents

from ebl_autonomy import VOCS
from ebl_autonomy.plans import FlyLine, Sweep, optimize
from ebl_autonomy.sim_devices import Clock, SimFlyer, SimMotor

ROWS = 4
LINES = VOCS(variables={"x": [-4.0, 4.0]}, objectives={"flux": "MAXIMIZE"})


class Bench:
    """A motor that flies half a millimetre to either side of where a proposal puts it."""

    def __init__(self, speed: float = math.inf, **more: Any) -> None:
        clock = Clock(speed)
        self.x = SimMotor("x", clock, (-5.0, 5.0), egu="mm", velocity=50.0, settle_time=0.0)
        self.triggers = 0
        self.at_trigger: Any = lambda number: None
        self.flyer = SimFlyer("line", self.x, SynSignal(name="flux", func=self.measure), clock)
        self.acquisition = FlyLine([self.flyer], [self.x], Sweep("x", -0.5, 0.5, ROWS, 0.4, relative=True), **more)

    def measure(self) -> float:
        self.triggers += 1
        self.at_trigger(self.triggers)
        return 1.0 + float(self.x.position)


def proposing(*positions: float) -> Scripted:
    return Scripted([{"x": position} for position in positions], LINES)


def test_the_flyer_alone_moves_the_motor_that_flies(RE: RunEngine, docs: Documents) -> None:
    bench = Bench()
    moved: list[Any] = []

    def note(msg: Msg) -> None:
        if msg.command == "set":
            moved.append(msg.obj)

    RE.msg_hook = note
    RE(optimize([], [bench.x], proposing(1.0, 2.0), max_points=9, measure=bench.acquisition, finish="stay"))
    assert len(docs.events["primary"]) == 2 * ROWS
    assert moved == []


def test_the_next_line_is_judged_from_where_the_one_before_has_ended(RE: RunEngine, docs: Documents) -> None:
    bench = Bench()
    # From the end of the first line, at 0.5, the second begins 2.0 away, and the third 1.1.
    envelope = {"max_step": {"x": 1.9}}
    agent = proposing(0.0, -1.0, 2.1)
    RE(optimize([], [bench.x], agent, max_points=99, measure=bench.acquisition, envelope=envelope, finish="stay"))
    assert [gone["rule"] for gone in docs.events["abandoned"]] == ["step"]
    positions = [row["x"] for row in docs.events["primary"]]
    assert positions == pytest.approx([-0.375, -0.125, 0.125, 0.375, 1.725, 1.975, 2.225, 2.475])


def test_a_line_that_a_pause_cuts_counts_as_no_failure(RE: RunEngine, docs: Documents) -> None:
    bench = Bench(speed=4.0, when_cut="abandon")
    bench.at_trigger = lambda number: RE.request_pause() if number == 3 else None
    plan = optimize(
        [], [bench.x], proposing(0.0, 1.0), max_points=99, measure=bench.acquisition, max_failures=1, finish="stay"
    )
    with pytest.raises(RunEngineInterrupted):
        RE(plan)
    result = RE.resume().plan_result
    assert (result.accepted, result.abandoned) == (1, 1)
    assert [gone["rule"] for gone in docs.events["abandoned"]] == ["cut"]
    assert docs.stop["exit_status"] == "success"
