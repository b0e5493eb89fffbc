"""The VOCS as arrays: the round trip through JSON, the unit cube, constraints, and the order of travel."""

import copy
import json
import math
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import (
    VOCS,
    AxisTravel,
    BestSoFar,
    Limit,
    Space,
    Travel,
    make_vocs,
    outcome_names,
    violation,
    vocs_dict,
)

FULL: dict[str, Any] = {
    "variables": {
        "pitch": [-50.0, 50.0],
        "filter": {"type": "DiscreteVariable", "values": [0, 2, 5]},
        "current": {"type": "ContextualVariable"},
        "height": {"type": "ContinuousVariable", "domain": [0.0, 1e-3], "default_value": 2e-4},
    },
    "objectives": {"area": "MINIMIZE"},
    "constraints": {"total": ["GREATER_THAN", 1e4], "width": ["LESS_THAN", 5.0], "centre": ["BOUNDS", -1.0, 1.0]},
    "constants": {"sample": "Si", "energy": 12.4},
    "observables": ["temperature"],
}


def space(**variables: Any) -> Space:
    return Space(make_vocs({"variables": variables, "objectives": {"f": "MINIMIZE"}}))


def test_a_vocs_survives_strict_json() -> None:
    vocs = make_vocs(FULL)
    text = json.dumps(vocs_dict(vocs), allow_nan=False)
    assert make_vocs(json.loads(text)) == vocs
    assert vocs_dict(make_vocs(json.loads(text))) == json.loads(text)
    assert list(make_vocs(json.loads(text)).variables) == list(FULL["variables"])


def test_numpy_numbers_and_types_become_json() -> None:
    vocs = VOCS(
        variables={"x": [np.float64(0), np.int64(1)], "n": {np.int64(1), np.int64(3)}},
        objectives={"f": "MINIMIZE"},
        observables={"o": float},
    )
    dump = json.loads(json.dumps(vocs_dict(vocs), allow_nan=False))
    assert dump["variables"]["n"]["values"] == [1, 3]
    assert dump["observables"]["o"]["dtype"] == "float"
    assert list(Space(make_vocs(dump)).low) == [0.0, 1.0]


def test_make_vocs_leaves_the_callers_alone() -> None:
    fields = copy.deepcopy(FULL)
    make_vocs(fields)
    assert fields == FULL
    vocs = make_vocs(FULL)
    make_vocs(vocs).variables["pitch"].default_value = 1.0
    assert vocs.variables["pitch"].default_value is None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "variables"),
        ({"variables": {"x": [1.0, 0.0]}}, "Bounds"),
        ({"variables": {"x": [0.0]}}, "two elements"),
        ({"variables": {"x": [0, 1]}, "objectives": {"f": "SMALLEST"}}, "SMALLEST"),
        ({"variables": {"x": [0, 1]}, "constraints": {"c": []}}, "not a VOCS"),
        ({"variables": {"x": [0, 1]}, "constraints": {"c": ["LESS_THAN"]}}, "LESS_THAN"),
        ({"variables": {"x": [0, 1]}, "goal": 1}, "goal"),
        (3, "not a VOCS"),
        ("sobol", "not a VOCS"),
    ],
)
def test_what_is_no_vocs_is_refused_with_the_field(fields: Any, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        make_vocs(fields)


def test_a_space_knows_its_parts() -> None:
    s = Space(make_vocs(FULL))
    assert s.names == ["pitch", "filter", "height"]
    assert s.context == ["current"]
    assert s.dim == 3
    assert s.constants == {"sample": "Si", "energy": 12.4}
    assert outcome_names(s.vocs) == ["area", "total", "width", "centre", "temperature"]
    assert list(s.low) == [-50.0, 0.0, 0.0]
    assert list(s.high) == [50.0, 5.0, 1e-3]
    assert s.standing() == {"pitch": 0.0, "filter": 2.0, "height": 2e-4}


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"current": "CONTEXTUAL"}, "no variable to choose"),
        ({"x": [0.0, math.inf]}, "finite"),
        ({"x": [-1.7e308, 1.7e308]}, "finite"),
        ({"n": {"a", "b"}}, "not a number"),
        ({"n": {4.0}}, "constant"),
        (
            {"x": {"type": "ContinuousVariable", "domain": [0, 1], "default_value": 1.5}},
            r"1\.5, outside \[0\.0, 1\.0\]",
        ),
        ({"x": {"type": "ContinuousVariable", "domain": [0, 1], "default_value": math.nan}}, "outside"),
    ],
)
def test_what_cannot_be_searched_is_refused(variables: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        space(**variables)


def test_exploring_is_refused() -> None:
    with pytest.raises(BadInputError, match="EXPLORE"):
        Space(make_vocs({"variables": {"x": [0, 1]}, "objectives": {"f": "EXPLORE"}}))


def test_constraints_hold_as_gest_api_says() -> None:
    vocs = make_vocs(FULL)
    s = Space(vocs)
    for name, values in {"total": [9e3, 1e4, 1.1e4], "width": [4.9, 5.0, 5.1], "centre": [-1.0, 1.0, 1.01]}.items():
        for value in values:
            assert s.limits[name].holds(value) == vocs.constraints[name].check(value), (name, value)
    good = {"total": 2e4, "width": 1.0, "centre": 0.0}
    assert s.feasible(good)
    assert not s.feasible({**good, "centre": math.nan})
    assert not s.feasible({"total": 2e4})


def test_violations_add_up_in_units_of_the_first_distance_to_each_end() -> None:
    limits = [Limit(2.0, math.inf), Limit(-1.0, 4.0, strict=True)]
    values = [[2.0, 4.0], [1.0, 6.0], [3.0, -3.0], [math.nan, 0.0], [0.0, math.nan], [-2.0, 10.0]]
    expected = [0.0, 1 / 2 + 2 / 4, 2 / 7, math.inf, math.inf, 4 / 5 + 6 / 8]
    assert violation(limits, np.array(values)).tolist() == pytest.approx(expected)
    assert violation([], np.zeros((2, 0))).tolist() == [0.0, 0.0]
    assert violation([Limit(-math.inf, 0.0)], np.array([[-1.0], [1.0], [3.0]])).tolist() == [0.0, 0.5, 0.75]


@given(
    values=st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=8),
    scales=st.tuples(*[st.integers(-40, 40).map(lambda exponent: 2.0**exponent)] * 2),
    offsets=st.tuples(*[st.integers(-(10**9), 10**9)] * 2),
)
def test_a_violation_depends_on_no_unit_and_no_later_result(
    values: list[tuple[int, int]], scales: tuple[float, float], offsets: tuple[int, int]
) -> None:
    ends = [(2.0, 7.0), (-math.inf, 3.0)]
    here = violation([Limit(*end) for end in ends], np.array(values, dtype=float))
    others = [Limit(*(s * (end + o) for end in pair)) for pair, s, o in zip(ends, scales, offsets, strict=True)]
    there = violation(others, np.array(scales) * (np.array(offsets) + np.array(values)))
    assert there.tolist() == here.tolist()
    for n in range(len(values)):
        assert violation([Limit(*end) for end in ends], np.array(values[:n], dtype=float).reshape(n, 2)).tolist() == (
            here[:n].tolist()
        )


def test_scores_are_such_that_more_is_better() -> None:
    assert Space(make_vocs(FULL)).score({"area": 3.0}) == -3.0
    assert Space(make_vocs({"variables": {"x": [0, 1]}, "objectives": {"f": "MAXIMIZE"}})).score({"f": 3.0}) == 3.0
    assert math.isnan(Space(make_vocs(FULL)).score({}))
    assert math.isnan(Space(make_vocs({"variables": {"x": [0, 1]}, "observables": ["f"]})).score({"f": 3.0}))


bounds = (
    st.tuples(st.floats(-1e6, 1e6, allow_nan=False), st.floats(1e-9, 1e6, allow_nan=False, exclude_min=True))
    .map(lambda pair: [pair[0], pair[0] + pair[1]])
    .filter(lambda pair: pair[1] > pair[0])
)


@settings(deadline=None)
@given(
    domains=st.lists(bounds, min_size=1, max_size=4),
    values=st.sets(st.integers(-100, 100), min_size=2, max_size=6),
    unit=st.lists(st.floats(0.0, 1.0), min_size=5, max_size=5),
)
def test_points_of_the_cube_are_in_the_domain_and_go_there_and_back(
    domains: list[list[float]], values: set[int], unit: list[float]
) -> None:
    s = space(**{f"x{i}": domain for i, domain in enumerate(domains)}, n=values)
    u = np.array(unit[: s.dim] if s.dim <= 5 else unit)
    (point,) = s.points(u)
    assert list(point) == s.names
    for name, low, high in zip(s.names, s.low, s.high, strict=True):
        assert low <= point[name] <= high
    assert point["n"] in values
    nearest = min(abs(point["n"] - v) for v in values)
    assert nearest == 0.0
    (again,) = s.points(s.unit([point]))
    for i, name in enumerate(s.names):
        assert again[name] == pytest.approx(point[name], rel=1e-9, abs=1e-9 * (s.high[i] - s.low[i]))
    width = s.high - s.low
    resolution = 4e-16 * np.maximum(np.abs(s.low), np.abs(s.high)) / width + 1e-12
    assert (np.abs(s.unit([point])[0][:-1] - u[:-1]) <= resolution[:-1]).all()
    assert np.array_equal(s.snap(u), s.unit([point]))


@settings(deadline=None)
@given(
    domains=st.lists(bounds, min_size=4, max_size=4),
    values=st.sets(st.integers(-100, 100), min_size=2, max_size=6),
    unit=st.lists(st.floats(-2.0, 3.0), min_size=5, max_size=5),
)
@example([[0.0, 1.0]] * 4, {0, 1}, [1.0 + 1e-6, 1.2, -1e-6, 0.5, 1.0 + 1e-6])
@example([[1e6, 1e6 + 1e-9]] * 4, {0, 1}, [1.0 + 2e-9, -2e-9, 0.5, 0.5, -0.1])
def test_what_lies_outside_the_cube_lies_outside_the_domain(
    domains: list[list[float]], values: set[int], unit: list[float]
) -> None:
    s = space(**{f"x{i}": domain for i, domain in enumerate(domains)}, n=values)
    (point,) = s.points(np.array(unit))
    for u, name, low, high in zip(unit, s.names, s.low, s.high, strict=True):
        assert (point[name] < low) == (u < -1e-9), name
        assert (point[name] > high) == (u > 1.0 + 1e-9), name
    (snapped,) = s.points(s.snap(np.array(unit)))
    assert all(low <= snapped[name] <= high for name, low, high in zip(s.names, s.low, s.high, strict=True))
    assert snapped["n"] in values


def test_what_lies_outside_by_rounding_goes_to_the_bound() -> None:
    s = space(x=[2e-6, 5e-6], n={0.0, 1.0, 10.0})
    assert s.points(np.array([1.0 + 1e-9, 1.0 + 1e-9])) == [{"x": 5e-6, "n": 10.0}]
    assert s.points(np.array([[-1e-9, -1e-9], [0.0, 0.0]])) == [{"x": 2e-6, "n": 0.0}] * 2


def test_no_points_are_an_empty_array() -> None:
    assert space(x=[0, 1], y=[0, 1]).unit([]).shape == (0, 2)


def test_discrete_values_snap_to_the_nearest() -> None:
    s = space(n={0.0, 1.0, 10.0})
    # Neighbours are equally distant, whatever their values.
    assert [p["n"] for p in s.points(np.array([[0.24], [0.26], [0.5], [0.76], [1.0]]))] == [0.0, 1.0, 1.0, 10.0, 10.0]
    assert s.unit([{"n": n} for n in (0.0, 0.5, 1.0, 10.0, 19.0, -2.0)])[:, 0].tolist() == [0, 0.25, 0.5, 1, 1.5, -1]


def test_a_move_takes_what_a_trapezoidal_profile_takes() -> None:
    axis = AxisTravel(velocity=2.0, acceleration_s=0.5, settle_s=0.1, backlash=1.0)
    assert axis.seconds(0.0) == 0.0
    assert axis.seconds(10.0) == pytest.approx(10.0 / 2.0 + 0.5 + 0.1)
    assert axis.seconds(-10.0) == pytest.approx(12.0 / 2.0 + 0.5 + 0.1)  # overshoots and returns
    assert axis.seconds(0.25) == pytest.approx(2.0 * math.sqrt(0.25 * 0.5 / 2.0) + 0.1)  # never reaches full speed
    travel = Travel({"x": axis, "y": AxisTravel(1.0)})
    assert travel.seconds({"x": 0.0, "y": 0.0}, {"x": 10.0, "y": 3.0}) == pytest.approx(5.6)
    assert Travel({}).seconds({"x": 0.0}, {"x": 5.0}) == 0.0


axes = st.builds(AxisTravel, st.floats(0.1, 10), st.floats(0, 1), st.floats(0, 1), st.floats(-1, 1))
places = st.fixed_dictionaries({"x": st.floats(-10, 10), "y": st.floats(-10, 10)})


def test_an_order_that_begins_with_the_nearest_is_improved() -> None:
    travel = Travel({"x": AxisTravel(velocity=1.0)})
    stops = [{"x": x} for x in (4.0, -0.9, 1.0, -3.0)]
    route = [{"x": 0.0}, *(stops[i] for i in travel.order({"x": 0.0}, stops))]
    # Nearest neighbour (-0.9, 1, 4, -3) takes 12.8 s, the given order 14.8 s, and one side before the other 10 s.
    assert sum(travel.seconds(a, b) for a, b in pairwise(route)) == pytest.approx(10.0)


@settings(deadline=None, max_examples=150)
@given(x=axes, y=axes, start=places, points=st.lists(places, max_size=7))
def test_the_order_of_travel_is_a_permutation_that_no_reversal_makes_shorter(
    x: AxisTravel, y: AxisTravel, start: dict[str, float], points: list[dict[str, float]]
) -> None:
    travel = Travel({"x": x, "y": y})
    order = travel.order(start, points)
    assert sorted(order) == list(range(len(points)))

    def length(route: list[dict[str, float]]) -> float:
        return sum(travel.seconds(a, b) for a, b in pairwise([start, *route]))

    route = [points[i] for i in order]
    assert length(route) <= length(points) + 1e-9
    for i, j in combinations(range(len(route) + 1), 2):
        turned = route[:i] + route[i:j][::-1] + route[j:]
        assert length(route) <= length(turned) + 1e-9, "2-opt: no part of it is better run through backwards"


def test_the_best_so_far_is_finite_feasible_and_strictly_better() -> None:
    best = BestSoFar(Space(make_vocs(FULL)))
    good = {"total": 2e4, "width": 1.0, "centre": 0.0}
    assert math.isnan(best.value)
    taken = [
        best.take({"area": area, **good, **more})
        for area, more in [
            (math.nan, {}),
            (-math.inf, {}),
            (1.0, {"total": 1.0}),
            (9.0, {}),
            (9.0, {}),
            (1.0, {"width": math.nan}),
            (4.0, {}),
            (5.0, {}),
        ]
    ]
    assert taken == [False, False, False, True, False, False, True, False]
    assert (best.value, best.score) == (4.0, -4.0)


def test_without_an_objective_nothing_is_best() -> None:
    best = BestSoFar(Space(make_vocs({"variables": {"x": [0.0, 1.0]}, "observables": ["f"]})))
    assert not best.take({"f": 1.0})
    assert math.isnan(best.value)
