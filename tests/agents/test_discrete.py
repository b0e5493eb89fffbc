"""Discrete variables: neighbours are always reached, and a point is measured again only for a reason."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ebl_autonomy.agents import Agent, BayesianAgent, CoordinateScanAgent, SobolAgent
from ebl_autonomy.agents.bayesian.lattice import Lattice, untried_value, with_next_values
from ebl_autonomy.agents.bayesian.probing import ProbeSequence
from ebl_autonomy.space import Space, make_vocs

pytestmark = pytest.mark.integration  # seconds: reports, fits of models, or many runs

Objective = Callable[[dict[str, Any]], float]


def wheel(values: Sequence[float], start: float | None = None) -> dict[str, Any]:
    return {"type": "DiscreteVariable", "values": list(values), "default_value": start}


def searched(agent: Agent, objective: Objective, n: int, noise: float = 0.0, batch: int = 1) -> list[dict[str, Any]]:
    rng = np.random.default_rng(7)
    results: list[dict[str, Any]] = []
    while len(results) < n:
        new = [{**p, "f": objective(p) + noise * rng.standard_normal()} for p in agent.suggest(batch)]
        agent.ingest(new)
        results += new
    return results


def repeated_too_early(points: Sequence[tuple[float, ...]], size: int) -> int:
    """Number of measurements of a known point while others were unknown."""
    return sum(point in points[:i] and len(set(points[:i])) < size for i, point in enumerate(points))


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("size", [2, 3, 4, 7, 12])
@pytest.mark.parametrize("kind", [BayesianAgent, CoordinateScanAgent])
def test_the_best_value_of_a_wheel_is_found_from_every_start(kind: type[Agent], size: int, noise: float) -> None:
    for seed in range(10):
        best, start = 1 + (7 * seed + 2) % size, 1 + seed % size
        agent = kind({"variables": {"w": wheel(range(1, size + 1), start)}, "objectives": {"f": "MINIMIZE"}}, seed=seed)
        results = searched(agent, lambda p, best=best: 4.0 * ((p["w"] - best) / size) ** 2, 3 * size, noise)
        visited = [(result["w"],) for result in results]
        assert visited[0] == (start,)
        assert (best,) in visited
        if not noise:
            assert agent.best().point["w"] == best
            # One repetition at most, which shows that there is no noise.
            assert repeated_too_early(visited, size) <= 1


def test_the_wheel_of_four_positions() -> None:
    for kind in (BayesianAgent, CoordinateScanAgent):
        agent = kind({"variables": {"w": wheel([1, 2, 3, 4], 1)}, "objectives": {"f": "MINIMIZE"}})
        points = [result["w"] for result in searched(agent, lambda p: (p["w"] - 3.0) ** 2, 4)]
        assert points[0] == 1.0
        assert sorted(points) == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("table", ["smooth", "any order"])
@pytest.mark.parametrize("size", [2, 4, 6, 12])
def test_with_a_continuous_motor_too(size: int, table: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    best = 1 + int(rng.integers(size))
    heights = [((w - best) / size) ** 2 for w in range(1, size + 1)]
    if table == "any order":
        heights = rng.permutation(np.linspace(0.0, 1.0, size)).tolist()
    variables = {"w": wheel(range(1, size + 1), 1), "y": [-1.0, 1.0]}
    agent = BayesianAgent({"variables": variables, "objectives": {"f": "MINIMIZE"}}, seed=seed)
    results = searched(agent, lambda p: heights[int(p["w"]) - 1] + 2.0 * (p["y"] - 0.3) ** 2, max(3 * size, 12))
    assert agent.best().point["w"] == 1 + int(np.argmin(heights))
    points = Counter((result["w"], result["y"]) for result in results)
    assert max(points.values()) <= 3


@pytest.mark.parametrize("best", [1, 2, 3, 5])
@pytest.mark.parametrize("start", [-10.0, 9.0])
def test_values_that_showed_nothing_at_a_bad_start_are_tried_again_in_the_light(best: int, start: float) -> None:
    through = {w: 1.0 / (1.0 + (3 * (w - best)) % 5) for w in range(1, 6)}  # in no order; 1 at the best
    variables = {
        "w": wheel(range(1, 6), 4),
        "m": {"type": "ContinuousVariable", "domain": [-10.0, 10.0], "default_value": start},
    }

    def light(point: dict[str, Any]) -> float:
        return through[int(point["w"])] * math.exp(-((point["m"] + math.copysign(4.0, start)) ** 2) / 8.0)

    for seed in range(3):
        agent = BayesianAgent({"variables": variables, "objectives": {"f": "MAXIMIZE"}}, seed=seed)
        searched(agent, light, 45)
        assert agent.best().point["w"] == best
        assert light(agent.best().point) > 0.95


def test_a_value_is_tried_again_only_if_it_was_tried_far_away() -> None:
    ladders = {0: np.array([0.0, 0.5, 1.0])}
    centre, reach = np.array([0.5, 0.8]), np.array([0.05, 0.1])
    tried = np.array([[0.5, 0.8], [0.0, 0.1]])
    assert untried_value(centre, ladders, tried, reach) == (0, 1.0), "tried nowhere"
    tried = np.vstack([tried, [1.0, 0.1]])
    assert untried_value(centre, ladders, tried, reach) == (0, 0.0), "tried far away"
    tried = np.vstack([tried, [[0.0, 0.85], [1.0, 0.72]]])
    assert untried_value(centre, ladders, tried, reach) is None


@pytest.mark.parametrize("seed", range(5))
def test_a_scan_finds_the_value_of_the_wheel_with_a_motor(seed: int) -> None:
    variables = {"w": wheel([1, 2, 3, 4], 1 + seed % 4), "y": [-1.0, 1.0]}
    agent = CoordinateScanAgent({"variables": variables, "objectives": {"f": "MINIMIZE"}}, seed=seed)
    results = searched(agent, lambda p: (p["w"] - 3.0) ** 2 + (p["y"] - 0.25) ** 2, 40)
    assert agent.best().point == {"w": 3.0, "y": pytest.approx(0.25, abs=0.03)}
    scans = [i for i, result in enumerate(results[1:], 1) if result["w"] != results[i - 1]["w"]]
    assert len(scans) < 12, "each pass after the first needs two points of the wheel"


@pytest.mark.parametrize(
    "values", [[1, 10, 100], [0.001, 1, 2, 5000], [-3.5, -0.25, 0.0, 1e-3, 7.0], [1e-9, 2e-9, 5e-9], [-400, 3, 4, 5]]
)
@pytest.mark.parametrize("kind", [BayesianAgent, CoordinateScanAgent, SobolAgent])
def test_values_may_be_anywhere(kind: type[Agent], values: list[float]) -> None:
    for best in values:
        agent = kind({"variables": {"w": wheel(values, values[0])}, "objectives": {"f": "MINIMIZE"}})
        results = searched(agent, lambda p, best=best: abs(values.index(p["w"]) - values.index(best)), 3 * len(values))
        assert {result["w"] for result in results} == set(map(float, values))
        assert agent.best().point["w"] == best


@pytest.mark.parametrize("dtype", [int, "int", "int64", np.int32])
def test_integers_of_a_motor(dtype: Any) -> None:
    variables = {"n": {"type": "ContinuousVariable", "domain": [-10.4, 89.5], "dtype": dtype, "default_value": 5.0}}
    agent = BayesianAgent({"variables": variables, "objectives": {"f": "MINIMIZE"}}, seed=3)
    results = searched(agent, lambda p: ((p["n"] - 63.0) / 50.0) ** 2, 25)
    assert all(result["n"].is_integer() and -10 <= result["n"] <= 89 for result in results)
    assert agent.best().point["n"] == 63.0
    assert repeated_too_early([(result["n"],) for result in results], 100) <= 1


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("engine", ["numba", pytest.param("botorch", marks=pytest.mark.integration)])
def test_two_wheels(engine: str, noise: float) -> None:
    variables = {"a": wheel(range(8), 0), "b": wheel([0.5, 1.0, 4.0], 4.0)}
    agent = BayesianAgent({"variables": variables, "objectives": {"f": "MINIMIZE"}}, seed=1, engine=engine)
    results = searched(agent, lambda p: ((p["a"] - 6.0) / 8.0) ** 2 + 0.1 * (p["b"] - 1.0) ** 2, 24, noise)
    assert agent.best().point == {"a": 6.0, "b": 1.0}
    points = [(result["a"], result["b"]) for result in results]
    assert repeated_too_early(points, 24) <= (1 if not noise else 8)
    assert max(Counter(points).values()) <= 3


@pytest.mark.parametrize(
    "options", [{}, {"look_around": 0.0}, {"start": "random"}, {"trust_region": False}, {"look_around": 0.5}]
)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("response", [lambda p: p["a"] + p["b"], lambda p: 1.0, lambda p: math.nan])
def test_every_phase_tries_new_points(options: dict[str, Any], batch: int, response: Objective) -> None:
    fields = {"variables": {"a": wheel(range(4)), "b": wheel([1, 2, 7])}, "objectives": {"f": "MINIMIZE"}}
    results = searched(BayesianAgent(fields, seed=2, **options), response, 12, batch=batch)
    points = [(result["a"], result["b"]) for result in results]
    assert repeated_too_early(points, 12) <= 1


def test_two_objectives_of_a_wheel() -> None:
    fields = {"variables": {"w": wheel(range(9))}, "objectives": {"f": "MINIMIZE", "g": "MAXIMIZE"}}
    agent = BayesianAgent(fields, seed=0)
    points = []
    for _ in range(9):
        (point,) = agent.suggest(1)
        points.append((point["w"],))
        agent.ingest([{**point, "f": (point["w"] - 3.0) ** 2, "g": -((point["w"] - 5.0) ** 2)}])
    assert repeated_too_early(points, 9) <= 1
    assert {best.point["w"] for best in agent.front()} >= {3.0, 4.0, 5.0}


def test_noise_is_a_reason_to_measure_again() -> None:
    agent = BayesianAgent({"variables": {"w": wheel(range(3))}, "objectives": {"f": "MINIMIZE"}}, seed=0)
    results = searched(agent, lambda p: abs(p["w"] - 1.0), 20, noise=0.3)
    counts = Counter(result["w"] for result in results)
    assert counts[1.0] > 5
    assert agent.best().point["w"] == 1.0


def test_a_hard_limit_bounds_the_steps_along_a_wheel() -> None:
    """Nothing is known of the next filter, and the user vouches for smaller steps only."""
    fields = {
        "variables": {"w": wheel([1, 2, 3], 2), "y": [0.0, 1.0]},
        "objectives": {"f": "MINIMIZE"},
        "observables": ["flux"],
    }
    agent = BayesianAgent(fields, hard={"flux": ["GREATER_THAN", 0.5]})
    for _ in range(6):
        (point,) = agent.suggest(1)
        assert point["w"] == 2.0
        agent.ingest([{**point, "f": point["y"], "flux": 1.0 + 0.1 * point["y"]}])


@pytest.mark.parametrize("size", [4, 30])
def test_quasi_random_points_of_a_wheel_repeat_only_when_all_are_known(size: int) -> None:
    fields = {"variables": {"a": wheel(range(size)), "b": wheel([0, 1])}, "objectives": {"f": "MINIMIZE"}}
    agent = SobolAgent(fields, seed=1)
    points = [(p["a"], p["b"]) for p in searched(agent, lambda p: 0.0, 2 * size)]
    assert len(set(points)) == 2 * size
    assert len(agent.suggest(3)) == 3


# -- parts -----------------------------------------------------------------------------------------------------


def test_a_box_reaches_the_neighbours_and_the_next_untried_values() -> None:
    ladders = {1: np.array([0.0, 0.2, 0.4, 0.6, 1.0])}
    centre, tried = np.array([0.5, 0.4]), np.array([[0.5, 0.2], [0.5, 0.4], [0.1, 0.6]])
    low, high = with_next_values(centre - 0.01, centre + 0.01, centre, ladders, tried)
    assert low.tolist() == [0.49, 0.0]
    assert high.tolist() == [0.51, 1.0]
    low, high = with_next_values(centre - 0.01, centre + 0.01, centre, ladders, tried[1:2])
    assert (low[1], high[1]) == (0.2, 0.6)


def test_probes_of_a_wheel_are_its_values_each_once() -> None:
    ladder = np.linspace(0.0, 1.0, 4)
    start = np.array([0.0])
    probes = ProbeSequence(start[None], [1.0], 1, 0.1, {0: ladder})
    assert [probes.point(k, start) for k in range(1, 4)] == [ladder[1], ladder[2], None]
    assert probes.end(99, start) == 3
    dark = ProbeSequence(start[None], [1.0], 99, 0.1, {0: ladder[[0, 3]]})
    assert [dark.point(k, start) for k in range(1, 3)] == [ladder[3], None]


def test_a_point_is_worth_repeating_while_the_noise_is_unknown_or_known_to_be_there() -> None:
    space = Space(make_vocs({"variables": {"w": wheel([1, 2, 3])}, "objectives": {"f": "MINIMIZE"}}))
    at = {w: space.unit([{"w": w}]) for w in (1, 2, 3)}
    unknown = np.full((2, 1), math.nan)
    assert Lattice(space, np.vstack([at[1], at[2]])).repeats(np.array([[1.0], [2.0]]), unknown) == 2
    assert Lattice(space, np.vstack([at[1], at[2], at[2]])).repeats(np.array([[1.0], [2.0]]), unknown) == 1, "pending"
    assert Lattice(space, np.vstack([at[2], at[2]])).repeats(np.array([[2.0], [2.0]]), unknown) == 1
    assert Lattice(space, np.vstack([at[2], at[2]])).repeats(np.array([[2.0], [2.1]]), unknown) == 3
    assert Lattice(space, at[1]).repeats(np.array([[1.0]]), np.array([[0.1]])) == 3
