"""An agent that searches a part of its domain: proposals and recommendations inside, results from everywhere."""

import json
import math
from typing import Any

import numpy as np
import pytest

from ebl_autonomy.agents import Agent, BayesianAgent, BoundsAware, CoordinateScanAgent, GridAgent, SobolAgent
from ebl_autonomy.errors import AgentError, BadInputError
from ebl_autonomy.space import Space, make_vocs

FIELDS: dict[str, Any] = {
    "variables": {
        "x": [-10.0, 10.0],
        "y": [0.0, 1e-3],
        "wheel": {"type": "DiscreteVariable", "values": [1, 2, 3, 4, 6]},
    },
    "objectives": {"f": "MINIMIZE"},
}
PART: dict[str, tuple[float, float]] = {"x": (2.0, 7.0), "wheel": (2.0, 5.0), "y": (-math.inf, 4e-4)}
AGENTS: list[type[Agent]] = [BayesianAgent, CoordinateScanAgent, GridAgent, SobolAgent]


def measured(point: dict[str, Any]) -> dict[str, Any]:
    """An outcome whose optimum, x = -4, y = 9e-4, wheel = 6, is far outside the part."""
    far = (point["x"] + 4.0) ** 2 / 100.0 + (1e3 * point["y"] - 0.9) ** 2 + 0.1 * (point["wheel"] - 6.0) ** 2
    return {**point, "f": far}


def inside(point: Any) -> bool:
    return 2.0 <= point["x"] <= 7.0 and 0.0 <= point["y"] <= 4e-4 and point["wheel"] in (2.0, 3.0, 4.0)


def searched(agent: Agent, n: int) -> list[dict[str, Any]]:
    results = []
    for _ in range(n):
        (point,) = agent.suggest(1)
        results.append(measured(point))
        agent.ingest(results[-1:])
    return results


@pytest.mark.parametrize("kind", AGENTS)
def test_everything_proposed_and_recommended_lies_inside(kind: type[Agent]) -> None:
    agent = kind(FIELDS, seed=1)
    assert isinstance(agent, BoundsAware)
    agent.start_from({"x": -9.0, "y": 9e-4, "wheel": 6.0})
    agent.search_within(PART)
    agent.ingest([measured({"x": -4.0, "y": 9e-4, "wheel": 6.0})])  # the best of all, but out of reach
    with pytest.raises(AgentError, match="inside"):
        agent.best()
    results = searched(agent, 20)
    assert all(inside(point) for point in results)
    assert inside(agent.best().point)
    assert agent.best().outcome["f"] == min(result["f"] for result in results)


@pytest.mark.parametrize("kind", AGENTS)
def test_positions_read_slightly_outside_answer_their_proposals(kind: type[Agent]) -> None:
    agent = kind(FIELDS, seed=1)
    agent.search_within(PART)
    for _ in range(12):
        (point,) = agent.suggest(1)
        agent.ingest([measured({**point, "x": point["x"] - 0.01})])
    assert inside(agent.best().point)
    assert all(map(inside, agent.suggest(1)))


@pytest.mark.parametrize("options", [{}, {"look_around": 0.0}, {"start": "random"}, {"trust_region": False}])
def test_every_phase_of_the_bayesian_agent_stays_inside(options: dict[str, Any]) -> None:
    agent = BayesianAgent(FIELDS, seed=2, **options)
    past = [measured(p) for p in SobolAgent(FIELDS, seed=5).suggest(30)]
    agent.ingest_prior(past, "before")  # of the whole domain, and the best of it outside
    agent.search_within(PART)
    assert agent.pasts == ["before"]
    assert all(map(inside, searched(agent, 12)))
    assert all(map(inside, agent.suggest(4)))
    assert all(inside(best.point) for best in agent.front())


def test_the_search_ends_at_the_border_nearest_to_an_optimum_outside() -> None:
    agent = BayesianAgent({**FIELDS, "variables": {"x": [-10.0, 10.0], "y": [0.0, 1e-3]}})
    agent.search_within({"x": (2.0, 7.0)})
    for _ in range(20):
        (point,) = agent.suggest(1)
        agent.ingest([{**point, "f": (point["x"] + 4.0) ** 2 + (1e3 * point["y"] - 0.7) ** 2}])
    best = agent.best().point
    assert best["x"] == pytest.approx(2.0, abs=0.05)
    assert best["y"] == pytest.approx(7e-4, abs=1e-4)


def test_hard_limits_and_coordinates_stay_inside_too() -> None:
    fields: dict[str, Any] = {
        "variables": {"up": [0.0, 10.0], "down": [0.0, 10.0]},
        "objectives": {"f": "MINIMIZE"},
        "observables": ["flux"],
    }
    turned = {"height": {"up": 0.5, "down": 0.5}, "pitch": {"up": 1.0, "down": -1.0}}
    for options in ({"coordinates": turned}, {"hard": {"flux": ["GREATER_THAN", -100.0]}}):
        agent = BayesianAgent(fields, seed=0, **options)
        agent.search_within({"up": (4.0, 6.0), "down": (1.0, 3.0)})
        agent.ingest([{"up": 9.0, "down": 9.0, "f": -5.0, "flux": 50.0}])
        for _ in range(12):
            (point,) = agent.suggest(1)
            assert 4.0 <= point["up"] <= 6.0, point
            assert 1.0 <= point["down"] <= 3.0, point
            agent.ingest([{**point, "f": (point["up"] - 9.0) ** 2 + (point["down"] - 9.0) ** 2, "flux": point["up"]}])


def test_a_grid_keeps_its_number_of_points() -> None:
    agent = GridAgent({"variables": {"x": [-10.0, 10.0]}, "objectives": {"f": "MINIMIZE"}}, points_per_axis=6)
    agent.search_within({"x": (2.0, 7.0)})
    assert [point["x"] for point in agent.suggest(6)] == pytest.approx([2.0, 3.0, 4.0, 5.0, 6.0, 7.0])


def test_a_scan_covers_the_part() -> None:
    agent = CoordinateScanAgent({"variables": {"x": [-10.0, 10.0]}, "objectives": {"f": "MINIMIZE"}}, points=6)
    agent.search_within({"x": (2.0, 7.0)})
    (start,) = agent.suggest(1)
    agent.ingest([{**start, "f": 1.0}])
    assert [point["x"] for point in agent.suggest(6)] == pytest.approx([2.0, 3.0, 4.0, 5.0, 6.0, 7.0])


def test_the_start_is_the_point_inside_nearest_to_the_position_whichever_is_told_first() -> None:
    starts = []
    for first in (True, False):
        agent = BayesianAgent(FIELDS)
        if first:
            agent.search_within(PART)
        agent.start_from({"x": -9.0, "y": 1e-4, "wheel": 6.0})
        if not first:
            agent.search_within(PART)
        starts += agent.suggest(1)
    assert starts[0] == starts[1]
    assert starts[0] == {"x": 2.0, "y": pytest.approx(1e-4), "wheel": 4.0, "_id": 0}


@pytest.mark.parametrize("kind", AGENTS)
def test_the_same_part_and_results_give_the_same_proposal(kind: type[Agent]) -> None:
    agent = kind(FIELDS, seed=4)
    agent.start_from({"x": 9.0, "y": 1e-4, "wheel": 1.0})
    agent.search_within(PART)
    results = searched(agent, 12)
    again = kind.from_config(json.loads(json.dumps(agent.config())))
    again.ingest(results)
    again.search_within(PART)
    assert again.suggest(1) == agent.suggest(1)


def test_each_call_replaces_the_one_before() -> None:
    agent, fresh = BayesianAgent(FIELDS), BayesianAgent(FIELDS)
    agent.search_within({"x": (2.0, 3.0)})
    agent.search_within({})
    assert agent.suggest(1) == fresh.suggest(1)


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        ({"z": (0.0, 1.0)}, r"\['z'\], which are not variables"),
        ({"x": (10.0, 12.0)}, "nothing of the domain"),
        ({"x": (11.0, 12.0)}, "nothing of the domain"),
        ({"x": (5.0, 4.0)}, "must not exceed"),
        ({"x": (math.nan, 4.0)}, "must not exceed"),
        ({"x": (1.0, 2.0, 3.0)}, "give .low, high. as numbers"),
        ({"x": 3.0}, "give .low, high. as numbers"),
        ({"x": (None, 3.0)}, "give .low, high. as numbers"),
        ({"wheel": (4.5, 5.5)}, "no value of discrete variable 'wheel'"),
    ],
)
@pytest.mark.parametrize("kind", AGENTS)
def test_bounds_that_leave_nothing_are_refused(kind: type[Agent], bounds: Any, says: str) -> None:
    agent = kind(FIELDS)
    with pytest.raises(BadInputError, match=says):
        agent.search_within(bounds)
    assert agent.suggest(1) == kind(FIELDS).suggest(1)


def test_a_part_is_not_changed_while_proposals_are_out() -> None:
    agent = SobolAgent(FIELDS)
    points = agent.suggest(2)
    with pytest.raises(BadInputError, match="2 proposals are pending"):
        agent.search_within(PART)
    agent.withdraw(points)
    agent.search_within(PART)
    assert all(map(inside, agent.suggest(2)))


def test_a_wheel_of_which_one_value_is_left_stays_there() -> None:
    agent = BayesianAgent(FIELDS)
    agent.search_within({"wheel": (3.0, 3.0)})
    assert {point["wheel"] for point in searched(agent, 8)} == {3.0}


def test_a_part_of_a_space_is_a_space() -> None:
    space = Space(make_vocs(FIELDS))
    part = space.within(PART)
    assert part.low.tolist() == [2.0, 0.0, 2.0]
    assert part.high.tolist() == [7.0, 4e-4, 4.0]
    assert part.choices["wheel"].tolist() == [2.0, 3.0, 4.0]
    assert space.choices["wheel"].tolist() == [1.0, 2.0, 3.0, 4.0, 6.0]
    assert space.low.tolist() == [-10.0, 0.0, 1.0]
    corners = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    assert part.points(corners) == [{"x": 2.0, "y": 0.0, "wheel": 2.0}, {"x": 7.0, "y": 4e-4, "wheel": 4.0}]
    assert part.unit(part.points(corners)).tolist() == corners.tolist()
    assert part.holds({"x": 3.0, "y": 0.0, "wheel": 3.0})
    assert not part.holds({"x": 3.0, "y": 0.0, "wheel": 6.0})
    assert not part.holds({"x": 1.0, "y": 0.0, "wheel": 3.0})
