"""Moves at the very edge of what is allowed, and moves that nobody may make."""

from typing import Any

import pytest
from bluesky import RunEngine
from ophyd.sim import SynAxis

from ebl_autonomy import VOCS
from ebl_autonomy.errors import RefusedError
from ebl_autonomy.guard import Envelope, Gate, Line, Move, Region
from ebl_autonomy.plans.stubs import carry_out

LIMITS = {"a": (-2.0, 2.0), "b": (-2.0, 2.0)}
BOX = {"a": (-0.5, 0.5), "b": (-0.5, 0.5)}


def gate(envelope: dict[str, Any] | None = None, vocs: VOCS | None = None) -> Gate:
    return Gate(vocs, Envelope.of(envelope), LIMITS)


@pytest.mark.parametrize("edge", [-0.5, 0.5])
@pytest.mark.parametrize("along", ["a", "b"])
@pytest.mark.parametrize("direction", [-1.0, 1.0])
def test_a_way_along_the_edge_of_a_swept_region_is_refused(edge: float, along: str, direction: float) -> None:
    across = "b" if along == "a" else "a"
    here, there = {along: -direction, across: edge}, {along: direction, across: edge}
    beside = {**there, across: edge * 1.001}
    guarded = gate({"forbidden": [Region(box=BOX, sweep=True)]})
    with pytest.raises(RefusedError, match="may cross"):
        guarded.check_move(Move(there, here))
    assert guarded.check_move(Move(beside, {**here, across: edge * 1.001})).target == beside


@pytest.mark.parametrize("edge", [-0.5, 0.5])
@pytest.mark.parametrize("along", ["a", "b"])
def test_a_line_along_the_edge_of_a_region_is_refused(edge: float, along: str) -> None:
    across = "b" if along == "a" else "a"
    line = Line({along: -1.0}, {along: 1.0}, rows=2, seconds=1.0)
    guarded = gate({"forbidden": [Region(box=BOX)]})
    with pytest.raises(RefusedError, match="crosses the region"):
        guarded.check_move(Move({across: edge}, {}, line))
    guarded.check_move(Move({across: edge * 1.001}, {}, line))


@pytest.mark.parametrize("position", [-2.0, 2.0])
def test_limits_and_domain_hold_with_their_ends(position: float) -> None:
    vocs = VOCS(variables={"a": [-2.0, 2.0], "b": [-1.0, 1.0]}, objectives={"f": "MINIMIZE"})
    target = {"a": position, "b": position / 2.0}
    assert gate(vocs=vocs).check_move(Move(target, {})).target == target


def test_the_domain_binds_every_move_unless_it_is_said_not_to() -> None:
    vocs = VOCS(variables={"a": [-1.0, 1.0], "b": [-1.0, 1.0]}, objectives={"f": "MINIMIZE"})
    with pytest.raises(RefusedError) as refusal:
        gate(vocs=vocs).check_move(Move({"a": 1.5}, {}))
    assert refusal.value.rule == "domain"
    assert gate(vocs=vocs).check_move(Move({"a": 1.5}, {}, bound_by_domain=False)).target == {"a": 1.5}


@pytest.mark.parametrize(
    "move",
    [Move({"c": 0.0}, {}), Move({}, {}, Line({"c": 0.0}, {"c": 1.0}, rows=1, seconds=1.0))],
    ids=["move", "line"],
)
def test_motors_that_a_gate_does_not_know_do_not_pass_it(move: Move) -> None:
    with pytest.raises(RefusedError, match=r"\['c'\] are not among the motors"):
        gate().check_move(move)


def test_a_step_is_judged_to_the_beginning_of_the_line() -> None:
    stepping = gate({"max_step": {"a": 1.2}})
    line = Line({"a": 0.5}, {"a": 1.0}, rows=1, seconds=1.0, overrun={"a": 0.1})  # which begins at 0.4
    stepping.check_move(Move({"a": 0.75}, {"a": -0.75}, line))
    with pytest.raises(RefusedError) as refusal:
        stepping.check_move(Move({"a": 0.75}, {"a": -0.85}, line))
    assert refusal.value.rule == "step"


def test_a_move_that_was_judged_without_its_beginning_is_not_made(RE: RunEngine) -> None:
    motor = SynAxis(name="a")
    moved: list[float] = []
    motor.subscribe(lambda value, **_: moved.append(value), run=False)
    unknown = gate().check_move(Move({"a": 1.0}, {}))
    with pytest.raises(ValueError, match=r"\['a'\] was judged without"):
        RE(carry_out({"a": motor}, unknown, 1.0))
    assert moved == []
    RE(carry_out({"a": motor}, gate().check_move(Move({"a": 1.0}, {"a": 0.0})), 1.0))
    assert motor.position == 1.0
