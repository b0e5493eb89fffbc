"""Axes of one pseudo positioner as motors: they move together, and none moves without being judged."""

import threading
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import plans as bp
from ophyd import Component, PseudoPositioner, PseudoSingle, SoftPositioner
from ophyd.pseudopos import pseudo_position_argument, real_position_argument
from ophyd.sim import SynAxis
from scripted import Point, Scripted, at
from simple import Bowl, Documents, truth

from ebl_autonomy import VOCS
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import make_gate, move_motors, optimize
from ebl_autonomy.records import Recommendation

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
        self.front.set(mx + my).wait(timeout=60)
        self.back.set(mx - my).wait(timeout=60)


def named(table: Any) -> Any:
    """The table, with axes that are called mx and my."""
    for axis in (table.mx, table.my):
        axis.name = axis.attr_name
        axis.readback.name, axis.setpoint.name = axis.attr_name, f"{axis.attr_name}_setpoint"
    return table


@pytest.fixture
def table() -> Any:
    table = Table(name="table")
    for jack in (table.front, table.back):
        jack._set_position(0.0)
    named(table)
    table.track = []
    table.subscribe(lambda value, **_: table.track.append(tuple(value)), event_type=table.SUB_READBACK, run=False)
    yield table
    for jack in (table.front, table.back):
        for move in jack.moves:
            move.join(timeout=60)


def test_both_axes_are_measured_where_they_were_asked(RE: RunEngine, docs: Documents, table: Any) -> None:
    asked = [at(0.5, 0.5), at(0.5, -0.5), at(-1.0, 1.0), at(0.25, 0.75)]
    plan = optimize([Bowl(table.mx, table.my)], [table.mx, table.my], Scripted(asked), max_points=4, finish="return")
    assert RE(plan).plan_result.accepted == 4
    rows = docs.events["primary"]
    assert [(row["mx"], row["my"]) for row in rows] == [(point["mx"], point["my"]) for point in asked]
    assert [row["bowl"] for row in rows] == [truth(row["mx"], row["my"]) for row in rows]
    assert tuple(table.position) == (0.0, 0.0)


def test_while_the_end_of_one_move_is_told_another_positioner_may_begin() -> None:
    """Of what closes the race in ophyd's positioners: an axis that waits for another one would wait for ever."""
    one, other = (SoftPositioner(name=name, init_pos=0.0) for name in ("one", "other"))
    begins = threading.Thread(target=other.set, args=(1.0,), daemon=True)
    begun: list[bool] = []

    def told(**_: Any) -> None:
        begins.start()
        begins.join(timeout=60)
        begun.append(not begins.is_alive())

    one.subscribe(told, event_type=one.SUB_DONE, run=False)
    one.set(1.0).wait(timeout=200)
    assert begun == [True]
    assert other.position == 1.0


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
    table.set((0.0, 0.5)).wait(timeout=60)
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


class QuickTable(Table):
    """A table whose jacks move at once: of moves in quick succession, ophyd loses a status where threads overlap."""

    front = Component(SoftPositioner, init_pos=0.0)
    back = Component(SoftPositioner, init_pos=0.0, limits=(-2.5, 2.5))


class Hexapod(PseudoPositioner):
    """Three pseudo axes on three legs; the inverse is rounded, as a controller's display is."""

    x = Component(PseudoSingle)
    y = Component(PseudoSingle)
    z = Component(PseudoSingle)
    leg0 = Component(SoftPositioner, limits=(-6.0, 6.0), init_pos=0.0)
    leg1 = Component(SoftPositioner, limits=(-6.0, 6.0), init_pos=0.0)
    leg2 = Component(SoftPositioner, limits=(-6.0, 6.0), init_pos=0.0)

    @pseudo_position_argument
    def forward(self, pseudo: Any) -> Any:
        return self.RealPosition(pseudo.z + pseudo.x, pseudo.z - pseudo.x, pseudo.z + pseudo.y)

    @real_position_argument
    def inverse(self, real: Any) -> Any:
        x, z = 0.5 * (real.leg0 - real.leg1), 0.5 * (real.leg0 + real.leg1)
        return self.PseudoPosition(*(round(value, 4) + 0.0 for value in (x, real.leg2 - z, z)))


class Energy(PseudoPositioner):
    """One pseudo axis on one real one, as a monochromator has it."""

    energy = Component(PseudoSingle, limits=(1.0, 9.0), egu="keV")
    bragg = Component(SoftPositioner, limits=(0.2, 2.0), init_pos=1.0)

    @pseudo_position_argument
    def forward(self, pseudo: Any) -> Any:
        return self.RealPosition(2.0 / pseudo.energy)

    @real_position_argument
    def inverse(self, real: Any) -> Any:
        return self.PseudoPosition(2.0 / real.bragg)


@pytest.fixture
def hexapod() -> Hexapod:
    return Hexapod(name="hexapod")


class Sum:
    """A detector that reads the sum of the squares of what devices stand at."""

    name = "bowl"
    parent = None

    def __init__(self, *motors: Any) -> None:
        self.motors = motors

    def read(self) -> dict[str, Any]:
        value = sum((motor.position - 0.25) ** 2 for motor in self.motors)
        return {"bowl": {"value": value, "timestamp": 0.0}}

    def describe(self) -> dict[str, Any]:
        return {"bowl": {"source": "test", "dtype": "number", "shape": []}}


def agent_of(points: list[dict[str, float]], low: float = -2.0, high: float = 2.0) -> Scripted:
    variables = {name: [low, high] for name in points[0]}
    return Scripted(points, VOCS(variables=variables, objectives={"bowl": "MINIMIZE"}))


def hexapod_points(*points: tuple[float, float]) -> list[dict[str, float]]:
    return [{"hexapod_x": x, "hexapod_y": y} for x, y in points]


def test_a_third_axis_keeps_its_position_wherever_a_hand_had_moved_it(
    RE: RunEngine, docs: Documents, hexapod: Any
) -> None:
    hexapod.set((0.0, 0.0, 0.5)).wait(timeout=60)
    for leg in (hexapod.leg0, hexapod.leg1, hexapod.leg2):  # z is 1 now, and its last target 0.5
        leg.set(1.0).wait(timeout=60)
    agent = agent_of(hexapod_points((0.3333333, 0.5), (0.3333333, -1.0), (-1.0, -1.0), (0.1234567, 0.7654321)))
    plan = optimize([Sum(hexapod.x, hexapod.y)], [hexapod.x, hexapod.y], agent, max_points=4, finish="return")
    result = RE(plan).plan_result
    assert result.accepted == 4
    assert [row["hexapod_x"] for row in docs.events["primary"]] == [0.3333, 0.3333, -1.0, 0.1235]
    assert tuple(hexapod.position) == (0.0, 0.0, 1.0)
    assert hexapod.leg2.position == 1.0


def test_axes_and_an_independent_motor_move_together(RE: RunEngine, docs: Documents, table: Any) -> None:
    mz = SynAxis(name="mz")
    points = [
        {"mx": 0.5, "mz": 1.0, "my": 0.25},
        {"mx": 0.5, "mz": -1.0, "my": 0.25},
        {"mx": -1.0, "mz": -1.0, "my": 1.0},
    ]
    agent = agent_of(points)
    motors = [table.mx, mz, table.my]
    result = RE(optimize([Sum(*motors)], motors, agent, max_points=3, finish="return")).plan_result
    assert result.accepted == 3
    assert [{name: row[name] for name in points[0]} for row in docs.events["primary"]] == points
    assert (*table.position, mz.position) == (0.0, 0.0, 0.0)


def test_the_real_axes_are_motors_like_any_others(RE: RunEngine, docs: Documents, table: Any) -> None:
    points = [{"table_front": 0.5, "table_back": -0.5}, {"table_front": 1.5, "table_back": 2.6}]
    table.front.name, table.back.name = "table_front", "table_back"
    agent = agent_of(points, -3.0, 3.0)
    motors = [table.front, table.back]
    result = RE(optimize([Sum(*motors)], motors, agent, max_points=3, finish="return")).plan_result
    assert (result.accepted, result.refused) == (1, 1)  # 2.6 is beyond the limit of the back jack
    assert (table.front.position, table.back.position) == (0.0, 0.0)


def test_a_stub_may_scan_the_axes_with_a_plan_of_bluesky(RE: RunEngine, docs: Documents) -> None:
    table = named(QuickTable(name="table"))
    seen: list[tuple[float, float]] = []

    def measure(detectors: Any, point: Point) -> Any:
        x, y = point["mx"], point["my"]
        yield from bp.grid_scan(detectors, table.mx, x, x + 0.2, 2, table.my, y, y + 0.2, 2)
        yield from bp.list_scan(detectors, table.my, [y + 0.1, y])
        yield from bps.abs_set(table, mx=x, my=y, wait=True)
        seen.append(tuple(table.position))
        return {"bowl": 1.0}

    motors = [table.mx, table.my]
    agent = Scripted([at(0.5, -0.5), at(1.9, 0.0)])
    envelope = {"limits": {"mx": (-2.0, 2.0), "my": (-2.0, 2.0)}}
    plan = optimize(
        [Sum(*motors)], motors, agent, max_points=2, measure=measure, envelope=envelope, finish="stay", retries=0
    )
    result = RE(plan).plan_result
    assert seen == [(0.5, -0.5)]
    assert (result.accepted, result.refused) == (1, 1)  # the second grid goes to mx = 2.1
    assert "mx = 2.1 is outside its limits" in docs.events["abandoned"][0]["reason"]


@pytest.mark.parametrize("how", ["axis", "parent"])
def test_a_stub_may_scan_an_axis_beside_those_that_are_steered(
    RE: RunEngine, docs: Documents, hexapod: Any, how: str
) -> None:
    seen: list[tuple[float, ...]] = []

    def measure(detectors: Any, point: Point) -> Any:
        for z in (0.5, 1.0):
            if how == "axis":
                yield from bps.mv(hexapod.z, z)
            else:
                yield from bps.mv(hexapod, {"z": z})
            seen.append(tuple(hexapod.position))
        return {"bowl": 1.0}

    agent = agent_of(hexapod_points((0.5, -0.5), (-0.5, 0.25)))
    plan = optimize([], [hexapod.x, hexapod.y], agent, max_points=2, measure=measure, finish="stay", retries=0)
    assert RE(plan).plan_result.accepted == 2
    assert seen == [(0.5, -0.5, 0.5), (0.5, -0.5, 1.0), (-0.5, 0.25, 0.5), (-0.5, 0.25, 1.0)]


@pytest.mark.parametrize("target", ["front", (2.0, 2.0)])
def test_a_stub_that_would_move_what_it_must_not_is_refused_before_anything_moves(
    RE: RunEngine, docs: Documents, table: Any, target: Any
) -> None:
    def measure(detectors: Any, point: Point) -> Any:
        table.track.clear()
        if target == "front":
            yield from bps.mv(table.front, 0.5)
        else:
            yield from bps.mv(table.mx, target[0], table.my, target[1])  # the front jack would go to 4
        return {"bowl": 1.0}

    table.front._limits = (-3.5, 3.5)
    motors = [table.mx, table.my]
    plan = optimize([], motors, Scripted([at(0.5, 0.5)]), max_points=1, measure=measure, finish="stay", retries=1)
    result = RE(plan).plan_result
    assert (result.accepted, result.refused, result.abandoned) == (0, 1, 0)
    assert docs.events["abandoned"][0]["rule"] == "limits"
    assert table.track == []


def test_the_last_walk_moves_one_axis_alone(RE: RunEngine, table: Any) -> None:
    agent = Scripted([at(0.5, 0.5), at(1.0, 0.5)])
    agent.best = lambda: Recommendation(at(0.25, 0.5), {})  # type: ignore[attr-defined]
    result = RE(optimize([Bowl(table.mx, table.my)], [table.mx, table.my], agent, max_points=2)).plan_result
    assert result.left_where == "are at the recommended point"
    assert tuple(table.position) == (0.25, 0.5)
    assert [round(my, 9) for _, my in table.track[-STEPS:]][-1] == 0.5


@pytest.mark.parametrize("name", ["energy", "energy_energy"])
def test_a_positioner_with_one_axis_is_a_motor(RE: RunEngine, docs: Documents, name: str) -> None:
    energy = Energy(name="energy")
    agent = agent_of([{name: 4.0}, {name: 2.5}, {name: 9.5}], 1.0, 10.0)
    result = RE(optimize([Sum(energy.energy)], [energy], agent, max_points=3, finish="return")).plan_result
    assert (result.accepted, result.refused) == (2, 1)
    assert [row[name] for row in docs.events["primary"]] == [4.0, 2.5]
    assert docs.start["ebl_autonomy"]["limits"] == {name: [1.0, 9.0]}
    assert docs.start["ebl_autonomy"]["units"] == {name: "keV"}
    assert energy.position.energy == 2.0


def test_what_has_several_positions_or_moves_another_motor_is_refused(RE: RunEngine, hexapod: Any) -> None:
    def run(*motors: Any) -> None:
        agent = agent_of([{motor.name: 0.5 for motor in motors}])
        RE(optimize([Sum()], list(motors), agent, max_points=1))

    with pytest.raises(BadInputError, match=r"'hexapod' has the axes \['hexapod_x', 'hexapod_y', 'hexapod_z'\]"):
        run(hexapod)
    with pytest.raises(BadInputError, match=r"'hexapod_x', 'hexapod_leg0'\] move.* pseudo axes or the real ones"):
        run(hexapod.x, hexapod.leg0)
    mx = SynAxis(name="mx")
    with pytest.raises(BadInputError, match=r"'mx_setpoint' is a part of 'mx': give one"):
        run(mx, mx.setpoint)
