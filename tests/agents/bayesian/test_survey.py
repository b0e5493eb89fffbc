"""The survey and the search in the dark: what the first points of the whole domain tell, and that none is wasted."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.agents.bayesian import survey
from ebl_autonomy.agents.bayesian.options import BayesianOptions
from ebl_autonomy.agents.bayesian.state import SearchState
from ebl_autonomy.space import Space, make_vocs

Measure = Callable[[np.ndarray], dict[str, float]]


def motors(dim: int, **more: Any) -> dict[str, Any]:
    return {
        "variables": {f"m{i}": [-2.0, 3.0] for i in range(dim)},
        "objectives": {"f": "MAXIMIZE"},
        **more,
    }


def steps(dim: int, size: int, *, ordered: bool = True) -> dict[str, Any]:
    values = list(range(size))
    variable = {"type": "DiscreteVariable", "values": values, "default_value": 0, "ordered": ordered}
    return {"variables": {f"m{i}": dict(variable) for i in range(dim)}, "objectives": {"f": "MAXIMIZE"}}


def far(unit: np.ndarray) -> dict[str, float]:
    """A slope: the start, in the middle, is worse than a half of the domain."""
    return {"f": float(unit.sum())}


def near(unit: np.ndarray) -> dict[str, float]:
    """A peak at the start."""
    return {"f": -float(((unit - 0.5) ** 2).sum())}


def dark(unit: np.ndarray) -> dict[str, float]:
    return {"f": 2.5}


def searched(agent: BayesianAgent, measure: Measure, n: int, batch: int = 1) -> list[str]:
    """The reasons of the proposals, batch by batch, until n were measured."""
    reasons = list[str]()
    while len(agent.results) < n:
        points = agent.suggest(batch)
        reasons += [decision.reason for decision in agent.decisions()]
        agent.ingest([{**p, **measure(unit)} for p, unit in zip(points, agent.space.unit(points), strict=True)])
    return reasons


def all_differ(agent: BayesianAgent, reasons: list[str]) -> bool:
    """Whether no two results are at the same place, but for those that the model may measure again."""
    units = agent.space.unit(agent.results)
    spread = units[[not reason.startswith("log-EI") for reason in reasons]]
    return len(np.unique(spread.round(9), axis=0)) == len(spread)


# -- what the surroundings are -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("merits", "responded", "expected"),
    [
        ([], False, None),
        ([1.0, 0.0], True, None),
        ([1.0, 1.0, 1.0], False, survey.DARK),
        ([math.nan] * 3, False, survey.DARK),
        ([1.0, 0.0, 0.5], True, survey.NARROW),
        ([1.0, math.nan, 0.5], True, survey.NARROW),
        ([1.0, math.nan, math.nan], True, survey.NARROW),
        ([1.0, 0.5, 1.1], True, survey.BROAD),
        ([1.0, 1.0, 0.0], True, survey.BROAD),
        ([1.0, math.nan, 90.0], True, survey.BROAD),
        ([math.nan, 0.0, 0.5], True, survey.BROAD),
        ([math.nan, math.nan, 0.5], True, survey.BROAD),
        ([1.0, 0.0, 0.5, 90.0], True, survey.NARROW),  # what comes later changes nothing
    ],
)
def test_what_the_first_points_tell(merits: list[float], responded: bool, expected: str | None) -> None:
    assert survey.surroundings(np.array(merits), responded) == expected


readings = st.lists(st.integers(-50, 50) | st.just(math.nan), min_size=3, max_size=3)


@given(
    merits=readings,
    responded=st.booleans(),
    unit=st.sampled_from([2.0**k for k in (-40, -3, 0, 11, 40)]),
    offset=st.integers(-1000, 1000),
)
def test_what_they_tell_depends_on_neither_unit_nor_offset(
    merits: list[float], responded: bool, unit: float, offset: int
) -> None:
    told = survey.surroundings(np.array(merits), responded)
    assert survey.surroundings((np.array(merits) + offset) * unit, responded) == told


@given(merits=readings, responded=st.booleans())
def test_what_they_tell_does_not_depend_on_the_order_of_the_far_points(merits: list[float], responded: bool) -> None:
    start, a, b = merits
    told = survey.surroundings(np.array(merits), responded)
    assert survey.surroundings(np.array([start, b, a]), responded) == told


@given(
    values=st.lists(st.integers(-9, 9), min_size=3, max_size=3),
    unit=st.sampled_from([1e-12, 1.0, 1e9]),
    order=st.permutations(range(3)),
    off=st.sampled_from([0.0, 4e-3, -1e-2]),
)
def test_the_start_is_known_whichever_measurement_ends_first(
    values: list[int], unit: float, order: list[int], off: float
) -> None:
    assume(len(set(values)) > 1)
    agent = BayesianAgent(motors(2), seed=4)
    points = agent.suggest(3)
    results = [
        {**p, "m0": p["m0"] + 5.0 * off, "f": value * unit} for p, value in zip(points, values, strict=True)
    ]  # motors read slightly off the points
    agent.ingest([results[i] for i in order])
    expected = survey.NARROW if values[0] > max(values[1:]) else survey.BROAD
    assert agent._state.surroundings == expected


# -- its points ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 5, 9, 30])
def test_one_by_one_as_many_points_as_the_surroundings_deserve(dim: int) -> None:
    broad = BayesianAgent(motors(dim), seed=1)
    first = [0.0] + [1.0] * (survey.points(dim) + 1)
    reasons = searched(broad, lambda unit: {"f": first[len(broad.results)]}, 2 + survey.points(dim))
    assert reasons[:-1] == ["start", *["survey"] * survey.points(dim)]
    assert reasons[-1].startswith("log-EI")
    reasons = searched(BayesianAgent(motors(dim), seed=1), near, 5)
    assert reasons == ["start", "survey", "survey", "look around", "look around"]


@pytest.mark.integration
@pytest.mark.parametrize("measure", [far, near, dark])
@pytest.mark.parametrize(("dim", "batch"), [(1, 8), (1, 24), (2, 8), (3, 16), (6, 8), (6, 24)])
def test_a_batch_before_any_result_is_a_survey_without_a_point_twice(dim: int, batch: int, measure: Measure) -> None:
    agent = BayesianAgent(motors(dim), seed=2)
    reasons = searched(agent, measure, 2 * batch, batch)
    assert reasons[:batch] == ["start", *["survey"] * (batch - 1)]
    assert "survey" not in reasons[batch:]
    reasons += searched(agent, measure, 4 * batch, batch)
    assert all_differ(agent, reasons)


@pytest.mark.parametrize("off", [0.0, 3e-3])
@pytest.mark.parametrize("dim", [1, 2, 4])
def test_no_point_of_the_sequence_is_proposed_twice(dim: int, off: float) -> None:
    """However many points the opening took, and although the motors read slightly off them."""
    agent = BayesianAgent(motors(dim), seed=7)
    proposed = agent.suggest(40)
    agent.ingest([{**p, "m0": p["m0"] + 5.0 * off, "f": 1.0} for p in proposed])
    for _ in range(60):
        (point,) = agent.suggest(1)
        agent.ingest([{**point, "m0": point["m0"] + 5.0 * off, "f": 1.0}])
        proposed.append(point)
    units = agent.space.unit(proposed)
    assert len(np.unique(units.round(9), axis=0)) == len(units)


def test_asynchronous_points_of_the_survey_differ() -> None:
    agent = BayesianAgent(motors(3), seed=3)
    out, why = list[dict[str, Any]](), dict[int, str]()
    for i in range(46):
        out += agent.suggest(1)
        why[out[-1]["_id"]] = agent.decisions()[0].reason
        if i >= 6:  # seven are out, and the second oldest ends first
            point = out.pop(1)
            agent.ingest([{**point, **far(agent.space.unit([point])[0])}])
    reasons = [why[result["_id"]] for result in agent.results]
    assert all_differ(agent, reasons)
    assert list(why.values()).count("survey") <= 8  # those before the third result, all seven that are out among them
    assert sum(reason.startswith("log-EI") for reason in reasons) > 5


@pytest.mark.integration
@pytest.mark.parametrize(("dim", "size"), [(1, 2), (1, 3), (2, 3), (3, 3), (2, 7)])
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("measure", [far, near, dark])
def test_on_a_lattice_no_point_is_measured_twice_before_all_are_known(
    dim: int, size: int, batch: int, ordered: bool, measure: Measure
) -> None:
    agent = BayesianAgent(steps(dim, size, ordered=ordered), seed=5)
    opening = searched(agent, measure, min(size**dim, survey.points(dim) + 1), batch)
    count = len([reason for reason in opening if reason in ("start", "survey")])
    places = agent.space.unit(agent.results[: min(count, size**dim)])
    assert len(np.unique(places.round(9), axis=0)) == len(places)
    searched(agent, measure, size**dim + 6, batch)  # and it goes on where all points are known
    assert all(agent.space.holds(result) for result in agent.results)


@pytest.mark.parametrize(("dim", "size"), [(2, 3), (3, 3), (2, 5)])
def test_a_probe_is_not_where_the_survey_was(dim: int, size: int) -> None:
    for seed in range(6):
        agent = BayesianAgent(steps(dim, size), seed=seed)
        agent.start_from({f"m{i}": size // 2 for i in range(dim)})
        reasons = searched(agent, near, 3 + dim)
        probes = [i for i, reason in enumerate(reasons) if reason == "look around"]
        units = agent.space.unit(agent.results)
        for i in probes:
            assert (np.abs(units[:i] - units[i]).max(axis=1) > 1e-9).all()


# -- where there is none -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vocs", "options", "more"),
    [
        (motors(2), {}, {"f_std": 0.1}),
        (motors(2), {"look_around": 0.0}, {}),
        (motors(2, objectives={"f": "MAXIMIZE", "g": "MINIMIZE"}), {}, {"g": 1.0}),
        (motors(2, observables=["g"]), {"hard": {"g": ["GREATER_THAN", 0.0]}}, {"g": 1.0}),
        (motors(2, constraints={"g": ["LESS_THAN", 3.0]}), {}, {"g": 1.0}),
        (motors(2, observables=["g", "h"]), {"composite": {"g": 1.0, "h": -1.0}}, {"g": 1.0, "h": 2.0}),
    ],
)
def test_without_a_survey(vocs: dict[str, Any], options: dict[str, Any], more: dict[str, float]) -> None:
    agent = BayesianAgent(vocs, seed=1, **options)
    reasons = searched(agent, lambda unit: {**near(unit), **more}, 20)
    assert "survey" not in reasons
    batches = BayesianAgent(vocs, seed=1, **options)
    searched(batches, lambda unit: {**near(unit), **more}, 1)
    batches.suggest(8)
    assert "survey" not in [decision.reason for decision in batches.decisions()]


def test_a_past_replaces_the_survey() -> None:
    agent = BayesianAgent(motors(2), seed=1)
    rng = np.random.default_rng(0)
    agent.ingest_prior([{"m0": 5.0 * a - 2.0, "m1": 5.0 * b - 2.0, "f": a + b} for a, b in rng.random((12, 2))], "old")
    assert searched(agent, far, 3)[:2] == ["start", "best of the past"]


def test_a_random_start_is_surveyed_too() -> None:
    assert searched(BayesianAgent(motors(2), seed=1, start="random"), far, 3) == ["random start", "survey", "survey"]


# -- in the dark ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("measure", [dark, lambda _: {"f": math.nan}])
@pytest.mark.parametrize(("dim", "n", "reached"), [(1, 20, 0.08), (2, 40, 0.2), (4, 60, 0.42)])
def test_the_search_in_the_dark_covers_the_domain(
    dim: int, n: int, reached: float, measure: Measure, seed: int
) -> None:
    """A probe and a point of the whole domain take turns, so a beam is found wherever it is."""
    agent = BayesianAgent(motors(dim), seed=seed)
    reasons = searched(agent, measure, n)
    assert set(reasons) == {"start", "survey", "look around", "find the beam"}
    assert not any(a == b == "look around" for a, b in itertools.pairwise(reasons))
    units = agent.space.unit(agent.results)
    targets = np.random.default_rng(seed).random((500, dim))
    distance = np.abs(targets[:, None, :] - units[None, :, :]).max(axis=2).min(axis=1)
    assert np.quantile(distance, 0.95) < reached


@pytest.mark.parametrize("start", [0.0, 0.1, 0.5, 1.0])
def test_the_growing_box_ends_at_the_domain(start: float) -> None:
    """Points outside would all be measured at its faces, which say little of what is inside."""
    agent = BayesianAgent(motors(2), seed=1, look_around=0.0)
    agent.start_from({"m0": 5.0 * start - 2.0, "m1": 5.0 * start - 2.0})
    units = agent.space.unit(agent.suggest(80)[1:])
    assert ((units > 0.0) & (units < 1.0)).all()


@pytest.mark.parametrize("size", [3, 6])
def test_values_without_order_are_drawn_equally_often(size: int) -> None:
    vocs = {
        "variables": {
            "a": [0.0, 1.0],
            "wheel": {"type": "DiscreteVariable", "values": list(range(size)), "ordered": False, "default_value": 0},
        },
        "objectives": {"f": "MAXIMIZE"},
    }
    state = SearchState(Space(make_vocs(vocs)), BayesianOptions())
    drawn = [survey.new_point(state, 1, i, np.empty((0, 2))) for i in range(64)]
    values = [point["wheel"] for unit in drawn if unit is not None for point in state.space.points(unit)]
    counts = np.bincount(np.array(values, dtype=int), minlength=size)
    assert abs(counts - 64 / size).max() <= 3
