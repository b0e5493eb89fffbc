"""Before and after a flown line: who moves the motor, where the next line is judged from, what a cut costs."""

import contextlib
import functools
import math
import threading
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.utils import Msg, RunEngineInterrupted, TransitionError
from ophyd.sim import SynSignal
from scripted import Scripted
from simple import Documents

from ebl_autonomy import VOCS
from ebl_autonomy.plans import FlyLine, Sweep, optimize
from ebl_autonomy.plans.rewriting import StandIn
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
        if msg.command == "set" and not isinstance(msg.obj, StandIn):  # which moves nothing
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


class Encoded(SimMotor):
    """A motor whose position is read under another name."""

    def read(self) -> dict[str, Any]:
        return {key.replace("x", "x_encoder"): value for key, value in super().read().items()}

    def describe(self) -> dict[str, Any]:
        return {key.replace("x", "x_encoder"): value for key, value in super().describe().items()}


def test_rows_are_where_a_readback_of_another_name_was(RE: RunEngine, docs: Documents) -> None:
    clock = Clock(math.inf)
    x = Encoded("x", clock, (-5.0, 5.0), egu="mm", velocity=50.0, settle_time=0.0)
    flyer = SimFlyer("line", x, SynSignal(name="flux", func=lambda: 1.0), clock)
    lines = FlyLine([flyer], [x], Sweep("x", -0.5, 0.5, ROWS, 0.4, relative=True))
    agent = proposing(1.0)
    RE(optimize([], [x], agent, max_points=ROWS, measure=lines, finish="stay"))
    rows = docs.events["primary"]
    assert len(rows) == ROWS
    assert [row["x"] for row in rows] == [row["x_encoder"] for row in rows] == [told["x"] for told in agent.told]


def test_a_target_may_be_reached_anywhere_on_a_line(RE: RunEngine, docs: Documents) -> None:
    bench = Bench()
    until = {"target": 1.3}  # at 0.375, in the last row of the first line
    plan = optimize(
        [], [bench.x], proposing(0.0, 1.0), max_points=99, measure=bench.acquisition, until=until, finish="stay"
    )
    result = RE(plan).plan_result
    assert (result.accepted, result.rows) == (1, ROWS)
    assert result.stop_reason == "target: flux = 1.375"


def test_pauses_while_rows_are_written_lose_none_and_repeat_none(RE: RunEngine, docs: Documents) -> None:
    """Each pause falls upon one of the next messages, which one is not known."""
    bench = Bench(when_cut="repeat")
    asked: set[int] = set()

    def pause() -> None:
        with contextlib.suppress(TransitionError):  # it is paused already, or the run is over
            RE.request_pause()

    def hook(msg: Msg) -> None:
        written = len(docs.events["primary"])
        if msg.command == "collect" and written not in asked:
            asked.add(written)
            threading.Thread(target=pause, daemon=True).start()

    RE.msg_hook = hook
    positions = [0.5 * k for k in range(8)]
    call: Any = functools.partial(
        RE, optimize([], [bench.x], proposing(*positions), max_points=99, measure=bench.acquisition, finish="stay")
    )
    while not any(name == "stop" for name, _ in docs.all):
        try:
            call()
        except RunEngineInterrupted:
            call = RE.resume
    rows = docs.events["primary"]
    along = [-0.375, -0.125, 0.125, 0.375]
    assert [row["x"] for row in rows] == pytest.approx([x + step for x in positions for step in along])
    assert [row["flux"] for row in rows] == [1.0 + row["x"] for row in rows]
    assert docs.events["abandoned"] == []
