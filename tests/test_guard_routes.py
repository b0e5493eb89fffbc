"""The way to a target: every step is admitted, it ends at the target, or nothing moves."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebl_autonomy.errors import RefusedError
from ebl_autonomy.guard import Envelope, Gate, Region
from ebl_autonomy.guard.routes import detour

LIMITS = {"x": (-1.0, 1.0), "y": (-1.0, 1.0), "z": (-1.0, 1.0)}

numbers = st.floats(-1.0, 1.0).map(lambda value: round(value, 3))
points = st.fixed_dictionaries(dict.fromkeys(LIMITS, numbers))
intervals = st.tuples(numbers, numbers).map(lambda ends: (min(ends), max(ends)))
boxes = st.dictionaries(st.sampled_from(sorted(LIMITS)), intervals, min_size=1, max_size=3)


def crosses(box: dict[str, tuple[float, float]], here: dict[str, float], there: dict[str, float]) -> bool:
    """Whether the smallest box around two points meets `box`."""
    return all(min(here[n], there[n]) <= high and max(here[n], there[n]) >= low for n, (low, high) in box.items())


@given(here=points, goal=points, regions=st.lists(boxes, max_size=3), step=st.none() | st.floats(0.2, 1.0))
def test_a_way_is_allowed_from_step_to_step_and_ends_at_the_goal(
    here: dict[str, float], goal: dict[str, float], regions: list[dict[str, tuple[float, float]]], step: float | None
) -> None:
    envelope = Envelope(forbidden=[Region(box=box) for box in regions], max_step={} if step is None else {"x": step})
    gate = Gate(None, envelope, LIMITS)
    try:
        way = [here, *({**here, **one.target} for one in gate.plan_route(here, goal))]
    except RefusedError:
        assert any(crosses(box, here, goal) for box in regions)
        return
    assert way[-1] == goal
    for before, after in pairwise(way):
        assert not any(crosses(box, before, after) for box in regions)
        assert step is None or abs(after["x"] - before["x"]) <= step * (1.0 + 1e-9)


@given(
    low=st.floats(-0.8, 0.0), width=st.floats(0.01, 0.6), gap=st.floats(1e-3, 0.5), side=st.sampled_from([-1.0, 1.0])
)
def test_a_gap_between_two_regions_is_found(low: float, width: float, gap: float, side: float) -> None:
    here, goal = {"x": -0.9, "y": side * 0.7, "z": 0.0}, {"x": 0.9, "y": side * 0.7, "z": 0.5}
    regions = [
        Region(box={"x": (low, low + width), "y": (-1.0, -0.5 * gap)}),
        Region(box={"x": (low, low + width), "y": (0.5 * gap, 1.0)}),
    ]
    way = Gate(None, Envelope(forbidden=regions), LIMITS).plan_route(here, goal)
    assert way[-1].target == {"x": 0.9, "y": side * 0.7, "z": 0.5}
    assert any(abs(step.target["y"]) < 0.5 * gap for step in way)


@given(
    edge=st.floats(-0.5, 0.5),
    above=st.booleans(),
    limits=st.sampled_from([(None, None), (-1.0, None), (None, 1.0), (-1.0, 1.0)]),
)
def test_a_way_around_a_region_with_an_open_side_ends_nowhere_far(
    edge: float, above: bool, limits: tuple[float | None, float | None]
) -> None:
    box = (edge, None) if above else (None, edge)
    far = edge + 0.2 if above else edge - 0.2
    envelope = Envelope.of({"limits": {"y": limits}, "forbidden": [{"box": {"x": (-0.1, 0.1), "y": box}}]})
    gate = Gate(None, envelope, {"x": (-1.0, 1.0), "y": None})
    way = gate.plan_route({"x": -0.5, "y": far}, {"x": 0.5, "y": far})
    assert way[-1].target == {"x": 0.5, "y": far}
    assert all(abs(step.target["y"] - edge) <= 1.0 for step in way)


@given(start=st.floats(-900.0, 900.0), stop=st.floats(-900.0, 900.0), step=st.sampled_from([0.1, 0.3, 1.0 / 3.0, 7.7]))
def test_no_step_of_a_straight_way_is_refused_for_rounding(start: float, stop: float, step: float) -> None:
    gate = Gate(None, Envelope(max_step={"x": step}), {"x": (-1e3, 1e3)})
    way = gate.plan_route({"x": start}, {"x": stop})
    assert way[-1].target == {"x": stop}


def test_a_motor_that_is_not_to_move_stays_on_a_way_round() -> None:
    region = Region(box={"x": (-0.1, 0.1), "y": (-0.1, 0.1)})
    gate = Gate(None, Envelope(forbidden=[region]), LIMITS)
    with pytest.raises(RefusedError, match="no way leads around it"):
        gate.plan_route({"x": -0.5, "y": 0.0, "z": 0.0}, {"x": 0.5})


def test_a_discrete_motor_stops_only_at_its_values() -> None:
    from ebl_autonomy import VOCS

    vocs = VOCS(variables={"x": {1.0, 2.0, 3.0, 4.0}, "y": [-1.0, 1.0]}, objectives={"f": "MINIMIZE"})
    envelope = Envelope(forbidden=[Region(box={"x": (1.5, 3.5), "y": (-0.2, 0.2)})], max_step={"y": 0.25})
    gate = Gate(vocs, envelope, {"x": (0.0, 5.0), "y": (-1.0, 1.0)})
    way = gate.plan_route({"x": 1.0, "y": 0.0}, {"x": 4.0, "y": 0.0})
    assert {step.target["x"] for step in way} <= {1.0, 2.0, 3.0, 4.0}
    assert way[-1].target == {"x": 4.0, "y": 0.0}


def test_too_many_corners_are_no_way() -> None:
    here, goal = dict.fromkeys("abcdef", 0.0), dict.fromkeys("abcdef", 1.0)
    regions = [Region(box=dict.fromkeys("abcdef", (0.1 * k, 0.1 * k + 0.01))) for k in range(1, 9)]
    assert detour(here, goal, regions, dict.fromkeys("abcdef", (-1.0, 2.0)), {}, lambda *_: True) is None
