"""Axes of one pseudo positioner as motors: they move together, and none moves without being judged."""

import threading
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from ophyd import Component, PseudoPositioner, PseudoSingle, SoftPositioner
from ophyd.pseudopos import pseudo_position_argument, real_position_argument
from scripted import Point, Scripted, at
from simple import Bowl, Documents, truth

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import make_gate, move_motors, optimize

STEPS = 5


class Jack(SoftPositioner):
    """Takes some time for a move, in a few steps."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.moves: list[threading.Thread] = []

    def _setup_move(self, position: float, status: Any) -> None:
        start = self.position
        self._started_moving = self._moving = True

        def move() -> None:
            for i in range(1, STEPS + 1):
                self._set_position(start + (position - start) * i / STEPS)
            self._done_moving()

        self.moves.append(threading.Timer(0.01, move))
        self.moves[-1].start()


class Table(PseudoPositioner):
    """The height and the tilt of a table on two jacks."""

    mx = Component(PseudoSingle, limits=(-3.0, 3.0), name="mx")
    my = Component(PseudoSingle, limits=(-3.0, 3.0), name="my")
    front = Component(Jack, name="front")
    back = Component(Jack, name="back", limits=(-2.5, 2.5))

    @pseudo_position_argument
    def forward(self, pseudo: Any) -> Any:
        return self.RealPosition(front=pseudo.mx + pseudo.my, back=pseudo.mx - pseudo.my)

    @real_position_argument
    def inverse(self, real: Any) -> Any:
        return self.PseudoPosition(mx=0.5 * (real.front + real.back), my=0.5 * (real.front - real.back))

    def by_hand(self, mx: float, my: float) -> None:
        """Move the jacks, without the table's knowledge."""
        self.front.set(mx + my).wait(timeout=5)
        self.back.set(mx - my).wait(timeout=5)


@pytest.fixture
def table() -> Any:
    table = Table(name="table")
    for jack in (table.front, table.back):
        jack._set_position(0.0)
    for axis in (table.mx, table.my):
        axis.name = axis.attr_name
        axis.readback.name, axis.setpoint.name = axis.attr_name, f"{axis.attr_name}_setpoint"
    table.track = []
    table.subscribe(lambda value, **_: table.track.append(tuple(value)), event_type=table.SUB_READBACK, run=False)
    yield table
    for jack in (table.front, table.back):
        for move in jack.moves:
            move.join(timeout=5)


def test_both_axes_are_measured_where_they_were_asked(RE: RunEngine, docs: Documents, table: Any) -> None:
    asked = [at(0.5, 0.5), at(0.5, -0.5), at(-1.0, 1.0), at(0.25, 0.75)]
    plan = optimize([Bowl(table.mx, table.my)], [table.mx, table.my], Scripted(asked), max_points=4, finish="return")
    assert RE(plan).plan_result.accepted == 4
    rows = docs.events["primary"]
    assert [(row["mx"], row["my"]) for row in rows] == [(point["mx"], point["my"]) for point in asked]
    assert [row["bowl"] for row in rows] == [truth(row["mx"], row["my"]) for row in rows]
    assert tuple(table.position) == (0.0, 0.0)


def test_an_axis_that_was_moved_by_hand_is_not_sent_back_by_the_other(RE: RunEngine, table: Any) -> None:
    class Handy(Scripted):
        def suggest(self, num_points: int | None = None) -> list[Point]:
            if len(self.points) == 1:
                table.by_hand(0.0, 1.5)
                table.track.clear()
            return super().suggest(num_points)

    agent = Handy([at(0.0, 0.5), at(1.0, 1.5)])
    envelope = {"forbidden": [{"box": {"my": (0.6, 0.9)}}]}
    bowl = Bowl(table.mx, table.my)
    plan = optimize([bowl], [table.mx, table.my], agent, max_points=2, envelope=envelope, finish="stay")
    assert RE(plan).plan_result.accepted == 2
    assert len(table.track) >= STEPS
    assert min(my for _, my in table.track) > 0.95  # not 1.5: the jacks are not in step


@pytest.mark.parametrize(("step", "admitted"), [(0.3, True), (0.8, False)])
def test_a_stub_may_move_both_axes_through_the_gate(
    RE: RunEngine, docs: Documents, table: Any, step: float, admitted: bool
) -> None:
    def measure(detectors: Any, point: Point) -> Any:
        yield from bps.mv(table.mx, step, table.my, step)
        yield from bps.mv(table.mx, 0.0, table.my, 0.0)
        return {"bowl": 1.0}

    motors = [table.mx, table.my]
    envelope = {"forbidden": [{"box": {"mx": (0.4, 0.6)}}]}
    plan = optimize([], motors, Scripted([at(0.0)]), max_points=1, measure=measure, envelope=envelope, finish="stay")
    result = RE(plan).plan_result
    assert result.accepted == admitted, docs.events["abandoned"]
    assert (len(table.track) > 0) is admitted


def test_an_axis_that_a_stub_moves_does_not_drag_the_other(RE: RunEngine, table: Any) -> None:
    def measure(detectors: Any, point: Point) -> Any:
        table.by_hand(0.0, 1.0)
        table.track.clear()
        yield from bps.mv(table.mx, 0.5)
        return {"bowl": 1.0}

    motors = [table.mx, table.my]
    plan = optimize([], motors, Scripted([at(0.0, 0.2)]), max_points=1, measure=measure, finish="stay", retries=0)
    assert RE(plan).plan_result.abandoned == 1  # the stub has left both elsewhere
    assert tuple(table.position) == (0.5, 1.0)


def test_an_axis_that_is_not_steered_stays(RE: RunEngine, table: Any) -> None:
    table.by_hand(0.0, 1.0)
    RE(move_motors({"mx": table.mx}, {"mx": 0.5}, 10.0))
    assert tuple(table.position) == (0.5, 1.0)


def test_a_move_of_one_axis_leaves_a_known_other_where_it_stands(RE: RunEngine, table: Any) -> None:
    table.set((0.0, 0.5)).wait(timeout=5)
    table.by_hand(0.0, 1.0)
    motors = {"mx": table.mx, "my": table.my}

    def plan() -> Any:
        gate = yield from make_gate(list(motors.values()))
        yield from move_motors(motors, {"mx": 0.5}, 10.0, gate)

    RE(plan())
    assert tuple(table.position) == (0.5, 1.0)


def test_a_point_that_a_real_axis_refuses_is_refused_by_the_pair(RE: RunEngine, docs: Documents, table: Any) -> None:
    agent = Scripted([at(-1.5, 1.5), at(0.5, 0.5)])
    bowl = Bowl(table.mx, table.my)
    result = RE(optimize([bowl], [table.mx, table.my], agent, max_points=1, finish="stay")).plan_result
    assert (result.refused, result.accepted) == (1, 1)
    assert docs.events["abandoned"][0]["rule"] == "limits"
    assert "'mx' itself refuses -1.5, motor 'my' itself refuses 1.5" in docs.events["abandoned"][0]["reason"]


def test_a_pseudo_axis_and_its_real_one_are_not_steered_together(RE: RunEngine, table: Any) -> None:
    table.back.name = "my"
    with pytest.raises(BadInputError, match="pseudo axes or the real ones"):
        RE(optimize([Bowl(table.mx, table.back)], [table.mx, table.back], Scripted([at(0.5, 0.5)]), max_points=1))
