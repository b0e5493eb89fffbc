"""Variables whose values have no order: the names of the values have no influence on what is decided."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebl_autonomy.agents import Agent, BayesianAgent, CoordinateScanAgent, GridAgent, SobolAgent
from ebl_autonomy.agents.bayesian.lattice import Lattice, with_next_values
from ebl_autonomy.agents.bayesian.probing import ProbeSequence
from ebl_autonomy.records import ELSEWHERE
from ebl_autonomy.space import Space, make_vocs

Objective = Callable[[dict[str, Any]], float]


def wheel(size: int, start: float = 0.0) -> dict[str, Any]:
    return {"type": "DiscreteVariable", "values": list(range(size)), "default_value": start, "ordered": False}


def motor(start: float = 0.5) -> dict[str, Any]:
    return {"type": "ContinuousVariable", "domain": [0.0, 1.0], "default_value": start}


def searched(agent: Agent, objective: Objective, n: int) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for _ in range(n):
        (point,) = agent.suggest(1)
        results.append({**point, "f": objective(point)})
        agent.ingest(results[-1:])
    return results


@pytest.mark.integration
@settings(max_examples=15, deadline=None)
@given(size=st.integers(3, 7), seed=st.integers(0, 99), data=st.data())
def test_other_names_of_the_values_change_nothing_but_the_names(size: int, seed: int, data: st.DataObject) -> None:
    renamed = data.draw(st.permutations(range(size)))
    rng = np.random.default_rng(seed)
    heights = rng.random(size)
    points = [{"w": float(i % size), "a": rng.random(), "b": rng.random()} for i in range(3 * size)]
    variables = {"w": wheel(size, 0.0), "a": motor(), "b": motor()}
    other = {**variables, "w": wheel(size, float(renamed[0]))}
    decided = []
    for given_variables, name in ((variables, range(size)), (other, renamed)):
        agent = BayesianAgent({"variables": given_variables, "objectives": {"f": "MAXIMIZE"}}, seed=seed)
        results = [
            {
                **point,
                "w": float(name[int(point["w"])]),
                "f": heights[int(point["w"])] - (point["a"] - 0.3) ** 2 - (point["b"] - 0.6) ** 2,
            }
            for point in points
        ]
        agent.ingest(results)
        (proposal,) = agent.suggest(1)
        at = [{"w": float(name[i]), "a": 0.4, "b": 0.2} for i in range(size)]
        (decision,) = agent.decisions()
        decided.append((proposal, decision.reason, agent.best().point, *agent.predict(at)["f"]))
    (first, reason, best, mean, std), (second, other_reason, other_best, other_mean, other_std) = decided
    assert other_best == {**best, "w": renamed[int(best["w"])]}
    assert other_mean == pytest.approx(mean, rel=1e-7)
    assert other_std == pytest.approx(std, rel=1e-5)
    assert other_reason == reason
    if reason.startswith(ELSEWHERE):
        return  # at a value that is drawn, whatever its name is
    assert second["w"] == renamed[int(first["w"])]
    assert [second[name] for name in "ab"] == pytest.approx([first[name] for name in "ab"], abs=1e-4)


@pytest.mark.integration
@settings(max_examples=10, deadline=None)
@given(size=st.integers(2, 9), batch=st.integers(1, 4), seed=st.integers(0, 99))
def test_every_proposal_is_an_allowed_value(size: int, batch: int, seed: int) -> None:
    heights = np.random.default_rng(seed).random(size)
    variables = {"a": motor(0.1), "w": wheel(size), "n": {"type": "DiscreteVariable", "values": [1, 2, 5]}}
    agent = BayesianAgent({"variables": variables, "objectives": {"f": "MINIMIZE"}}, seed=seed)
    for _ in range(24 // batch):
        points = agent.suggest(batch)
        assert all(agent.space.holds(point) for point in points)
        agent.ingest([{**p, "f": heights[int(p["w"])] + (p["a"] - 0.7) ** 2 + p["n"]} for p in points])


@pytest.mark.integration
@pytest.mark.parametrize("size", [3, 5, 6])
@pytest.mark.parametrize("seed", range(4))
def test_the_best_value_is_found_though_it_looks_bad_near_the_start(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    best = 1 + int(rng.integers(size - 1))
    heights = np.where(np.arange(size) == best, 1.0, 0.6 * rng.random(size))
    centres = np.where(np.arange(size) == best, 0.65, 0.3)  # the start is near the others' optimum

    def signal(point: dict[str, Any]) -> float:
        value = int(point["w"])
        off = (point["a"] - centres[value]) ** 2 + (point["b"] - 0.5) ** 2
        return float(heights[value] / (1.0 + off / 0.05))

    variables = {"w": wheel(size), "a": motor(0.2), "b": motor(0.4)}
    agent = BayesianAgent({"variables": variables, "objectives": {"f": "MAXIMIZE"}}, seed=seed)
    searched(agent, signal, 80)
    assert agent.best().point["w"] == best
    assert signal(agent.best().point) > 0.95


@pytest.mark.integration
@pytest.mark.parametrize("sizes", [(7,), (4, 3)])
def test_wheels_alone_are_tried_completely_before_anything_repeats(sizes: tuple[int, ...]) -> None:
    heights = np.random.default_rng(3).random(sizes)
    variables = {f"w{i}": wheel(size) for i, size in enumerate(sizes)}
    agent = BayesianAgent({"variables": variables, "objectives": {"f": "MAXIMIZE"}})
    results = searched(agent, lambda p: float(heights[tuple(int(p[name]) for name in variables)]), math.prod(sizes) + 1)
    visited = [tuple(result[name] for name in variables) for result in results]
    assert len(set(visited)) == math.prod(sizes), "one repetition, which shows that there is no noise"


def test_a_box_holds_all_values_without_order() -> None:
    ladders = {0: np.linspace(0.0, 1.0, 6), 1: np.linspace(0.0, 1.0, 6)}
    centre = np.array([0.4, 0.4, 0.4])
    low, high = with_next_values(centre - 0.01, centre + 0.01, centre, ladders, ladders[0][:, None] + np.zeros(3), [1])
    assert low == pytest.approx([0.2, 0.0, 0.39])
    assert high == pytest.approx([0.6, 1.0, 0.41])


def test_all_other_values_are_neighbours() -> None:
    space = Space(make_vocs({"variables": {"w": wheel(4), "v": wheel(2)}, "objectives": {"f": "MINIMIZE"}}))
    everything = space.unit([{"w": w, "v": v} for w in range(4) for v in range(2)])
    box = np.zeros(2), np.ones(2)
    rng = np.random.default_rng(0)
    # (0, 0) has the neighbours (1, 0), (2, 0), (3, 0) and (0, 1); it is worth another measurement if all are known.
    apart = Lattice(space, everything[[0, 2, 1]]).candidates(*box, everything[:1], rng, 2)
    assert not (apart == everything[0]).all(axis=1).any()
    known = Lattice(space, everything[[0, 1, 2, 4, 6]]).candidates(*box, everything[:1], rng, 2)
    assert (known == everything[0]).all(axis=1).any()


def test_the_other_values_are_probed_where_the_best_result_is() -> None:
    ladder = np.linspace(0.0, 1.0, 4)
    start = np.array([0.5, ladder[1]])
    points, merits = [start], [1.0]

    def sequence(longest: float = math.inf) -> ProbeSequence:
        return ProbeSequence(np.array(points), merits, 1, 0.1, {1: ladder}, longest, {1})

    while (probe := sequence().point(len(points), start)) is not None:
        points.append(probe)
        merits.append(-abs(probe[0] - 0.6) - probe[1])
    on_wheel = [point for point in points[1:] if point[1] != ladder[1]]
    assert sorted(point[1] for point in on_wheel) == pytest.approx([0.0, ladder[2], 1.0])
    assert len({point[0] for point in on_wheel}) == 1
    points, merits = [start], [1.0]
    assert sequence(longest=0.5).end(9, start) == 3, "under hard limits no value is near: only the motor is probed"


@pytest.mark.parametrize("kind", [SobolAgent, GridAgent, CoordinateScanAgent])
def test_other_agents_try_every_value(kind: type[Agent]) -> None:
    agent = kind({"variables": {"w": wheel(11, 4.0), "a": motor()}, "objectives": {"f": "MAXIMIZE"}})
    results = searched(agent, lambda p: float(p["w"] == 7) - (p["a"] - 0.2) ** 2, 55)
    assert {result["w"] for result in results} == set(range(11))
    if kind is CoordinateScanAgent:
        assert agent.best().point["w"] == 7


@pytest.mark.integration
def test_an_explanation_says_that_there_is_no_order() -> None:
    agent = BayesianAgent({"variables": {"w": wheel(4), "a": motor()}, "objectives": {"f": "MAXIMIZE"}})
    searched(agent, lambda p: [0.1, 0.9, 0.4, 0.2][int(p["w"])] - (p["a"] - 0.3) ** 2, 12)
    explained = agent.explain()
    assert "without order, all values equally far from each other: w" in str(explained)
    assert "a" not in explained.models[0].unordered


@pytest.mark.integration
@pytest.mark.parametrize("motors", [0, 1])
def test_botorch_searches_values_without_order_too(motors: int) -> None:
    heights = [0.2, 0.9, 0.1, 0.6, 0.3]
    variables = {"w": wheel(5), **({"a": motor(0.4)} if motors else {})}
    agent = BayesianAgent({"variables": variables, "objectives": {"f": "MAXIMIZE"}}, engine="botorch", look_around=0.0)
    results = searched(agent, lambda p: heights[int(p["w"])] - (p.get("a", 0.5) - 0.5) ** 2, 9)
    assert agent.best().point["w"] == 1
    assert len({result["w"] for result in results}) >= 3
    assert all(scale > 0.0 for scale in agent.explain().models[0].length_scales.values())
