"""Where the search nearby pays no more, the search looks elsewhere; `explain` says what it looked for."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.agents.bayesian.elsewhere import why_exhausted
from ebl_autonomy.agents.bayesian.explanation import ELSEWHERE, Elsewhere

Measure = Callable[[np.ndarray], dict[str, float]]
Results = list[dict[str, Any]]
NO_GAIN = "no gain is expected here"


def motors(dim: int, **more: Any) -> dict[str, Any]:
    return {"variables": {f"m{i}": [-1.0, 1.0] for i in range(dim)}, "objectives": {"f": "MAXIMIZE"}, **more}


def hill(unit: np.ndarray) -> dict[str, float]:
    return {"f": float(np.exp(-0.5 * ((unit - 0.45) ** 2).sum() / 0.2**2))}


def false_hill(seed: int, dim: int) -> tuple[Measure, np.ndarray, np.ndarray]:
    """A hill at the start and one ten times higher far away, narrower than their distance; the start and the peak."""
    rng = np.random.default_rng(seed)
    start = rng.choice([0.2, 0.8], dim) + rng.uniform(-0.05, 0.05, dim)
    peak = 1.0 - start + rng.uniform(-0.05, 0.05, dim)

    def measure(unit: np.ndarray) -> dict[str, float]:
        low, high = (float(np.exp(-0.5 * ((unit - at) ** 2).sum() / 0.2**2)) for at in (start, peak))
        return {"f": 0.1 * low + high}

    return measure, start, peak


def searched(
    agent: BayesianAgent, measure: Measure, n: int, batch: int = 1, **told: float
) -> tuple[Results, list[str]]:
    """The results, and the reason of each."""
    results, reasons = list[dict[str, Any]](), list[str]()
    while len(agent.results) < n:
        points = agent.suggest(batch)
        reasons += [decision.reason for decision in agent.decisions()]
        units = agent.space.unit(points)
        results += [{**p, **measure(unit), **told} for p, unit in zip(points, units, strict=True)]
        agent.ingest(results[-batch:])
    return results, reasons


def away(reasons: list[str]) -> list[int]:
    return [i for i, reason in enumerate(reasons) if reason.startswith("elsewhere: ")]


# -- when ----------------------------------------------------------------------------------------------------------


@pytest.mark.integration
@pytest.mark.parametrize("told", [{}, {"f_std": 0.002}])
@pytest.mark.parametrize("seed", range(5))
def test_a_higher_hill_far_from_the_start_is_found(seed: int, told: dict[str, float]) -> None:
    measure, start, peak = false_hill(seed, 3)
    agent = BayesianAgent(motors(3), seed=seed)
    agent.start_from({f"m{i}": 2.0 * at - 1.0 for i, at in enumerate(start)})
    noise = np.random.default_rng(seed)
    _, reasons = searched(agent, lambda unit: {"f": measure(unit)["f"] + 0.002 * noise.standard_normal()}, 110, **told)
    assert away(reasons)
    best = agent.space.unit([agent.best().point])[0]
    assert measure(best)["f"] > 0.9, f"the peak at {peak} is 1 high, the hill at the start 0.1"


@pytest.mark.integration
@pytest.mark.parametrize("told", [{}, {"f_std": 0.02}])
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_a_hill_that_moves_is_followed_soon_and_never_looked_away_from(seed: int, told: dict[str, float]) -> None:
    rng = np.random.default_rng(seed)
    turn = 2.0 * np.pi * rng.random()
    agent, moving = BayesianAgent(motors(2), seed=seed), []

    def measure(unit: np.ndarray) -> dict[str, float]:
        moving.append(agent.drift().active)
        peak = 0.5 + (0.012 * len(agent.results) - 0.1) * np.array([np.cos(turn), np.sin(turn)])
        noise = 0.02 * rng.standard_normal()
        return {"f": float(np.exp(-0.5 * ((unit - peak) ** 2).sum() / 0.13**2) + noise)}

    _, reasons = searched(agent, measure, 40, **told)
    assert not away(reasons)
    assert moving.index(True) <= 16


@pytest.mark.integration
@pytest.mark.parametrize("dim", [1, 2, 4])
@pytest.mark.parametrize("batch", [1, 5, 8])
def test_at_most_half_of_the_proposals_look_elsewhere_and_each_says_why(dim: int, batch: int) -> None:
    rng = np.random.default_rng(1)
    agent = BayesianAgent(motors(dim), seed=1)
    results, reasons = searched(agent, lambda u: {"f": hill(u)["f"] + 0.01 * rng.standard_normal()}, 64, batch)
    found = away(reasons)
    assert found
    # In a batch, proposals that would be the same point again look elsewhere too.
    assert len(found) <= (0.5 if batch == 1 else 0.75) * len(reasons)
    assert all(
        reasons[i] == f"elsewhere: {NO_GAIN}" or reasons[i].endswith("points brought nothing better") for i in found
    )
    opening = next(i for i, reason in enumerate(reasons) if reason.startswith("log-EI"))
    assert found[0] > opening
    # They spread over the domain: their mean distance from the best point is that of random points, not of the box.
    units = agent.space.unit(results)
    best = agent.space.unit([agent.best().point])[0]
    assert np.abs(units[found] - best).max(axis=1).mean() > 0.2


@pytest.mark.parametrize("batch", [8, 24])
def test_a_batch_is_not_one_point_many_times_where_nothing_is_to_be_won(batch: int) -> None:
    """A slope without noise: once its corner is known, nothing is better than the corner."""
    agent = BayesianAgent(motors(2), seed=1)
    results, reasons = searched(agent, lambda unit: {"f": float(unit.sum())}, 4 * batch, batch)
    assert away(reasons)
    for first in range(0, 4 * batch, batch):
        units = agent.space.unit(results[first : first + batch])
        assert len(np.unique(units.round(6), axis=0)) == batch


@pytest.mark.parametrize(
    ("vocs", "options", "more"),
    [
        (motors(2), {"drift": "on"}, {}),
        (motors(2, objectives={"f": "MAXIMIZE", "g": "MINIMIZE"}), {}, {"g": 1.0}),
        (motors(2, observables=["g"]), {"hard": {"g": ["GREATER_THAN", 0.0]}}, {"g": 1.0}),
    ],
)
def test_it_never_looks_elsewhere_under_drift_hard_limits_or_for_a_front(
    vocs: dict[str, Any], options: dict[str, Any], more: dict[str, float]
) -> None:
    agent = BayesianAgent(vocs, seed=0, **options)
    _, reasons = searched(agent, hill, 40, **more)
    assert not away(reasons)


def test_without_anything_feasible_there_is_no_better_place_to_look() -> None:
    agent = BayesianAgent(motors(2, constraints={"g": ["GREATER_THAN", 0.0]}), seed=0)
    _, reasons = searched(agent, lambda unit: {**hill(unit), "g": -1.0 - float(unit[0] ** 2)}, 24)
    assert not away(reasons)
    assert not agent.best().feasible
    assert str(agent.explain().elsewhere).endswith("all of them are invalid, infeasible or suspect")


def test_an_improvement_brings_the_search_back() -> None:
    agent = BayesianAgent(motors(2), seed=3)
    searched(agent, hill, 40)
    state = agent._state
    assert why_exhausted(state, -math.inf, 0) == NO_GAIN
    assert why_exhausted(state, 5.0, 0).endswith("points brought nothing better")
    assert why_exhausted(state, 5.0, 40) == "", "an improvement is still expected, and the search has just begun"
    agent.ingest([{"m0": 0.9, "m1": -0.9, "f": 3.0}, {"m0": 0.91, "m1": -0.9, "f": 3.1}])
    assert why_exhausted(agent._state, 5.0, 0) == ""


# -- a function of the results -------------------------------------------------------------------------------------


@pytest.mark.integration
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("kind", ["plain", "lattice", "wheel"])
def test_the_same_results_lead_to_the_same_turns(kind: str, batch: int) -> None:
    vocs = motors(2)
    if kind != "plain":
        wheel = {"type": "DiscreteVariable", "values": list(range(9)), "ordered": kind == "lattice"}
        vocs["variables"] = {"m0": wheel, "m1": wheel if kind == "lattice" else [-1.0, 1.0]}
    agent = BayesianAgent(vocs, seed=2)
    results, reasons = searched(agent, hill, 42, batch)
    assert away(reasons)
    for n in range(28, 42):
        told = [BayesianAgent.from_config(json.loads(json.dumps(agent.config()))) for _ in range(2)]
        told[0].ingest(results[:n])
        for result in results[:n]:
            told[1].ingest([result])
        proposed = [(other.suggest(3), [d.reason for d in other.decisions()]) for other in told]
        assert proposed[0] == proposed[1]
        if batch == 1:
            expected, reason = results[n], reasons[n]
            assert proposed[0][0][0] == pytest.approx({name: expected[name] for name in ("m0", "m1", "_id")})
            assert proposed[0][1][0] == reason


# -- many motors ---------------------------------------------------------------------------------------------------


@pytest.mark.integration
@pytest.mark.parametrize("seed", range(3))
def test_of_twenty_motors_four_are_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matter = sorted(int(i) for i in rng.choice(20, 4, replace=False))
    peak = rng.choice([0.2, 0.8], 4)
    agent = BayesianAgent(motors(20), seed=seed)
    agent.start_from({f"m{i}": 1.0 - 2.0 * at for i, at in zip(matter, peak, strict=True)})  # on the other side

    def measure(unit: np.ndarray) -> dict[str, float]:
        signal = float(np.exp(-((unit[matter] - peak) ** 2).sum() / 0.7**2))
        return {"f": signal + 0.002 * rng.standard_normal()}

    results, reasons = searched(agent, measure, 60)
    assert next(i for i, reason in enumerate(reasons) if reason.startswith("log-EI")) <= 10
    (model,) = agent.explain().models
    assert not set(model.without_influence) & {f"m{i}" for i in matter}
    assert len(model.without_influence) >= 12
    assert f"hardly any influence: {', '.join(model.without_influence)}" in str(agent.explain())
    best = agent.space.unit([agent.best().point])[0]
    assert measure(best)["f"] > 0.9
    assert len(results) == 60


# -- what explain says ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elsewhere", "said"),
    [
        (
            Elsewhere(0, math.nan, 7),
            "nothing was measured more than a quarter of the domain away from the best point yet",
        ),
        (Elsewhere(3, math.nan, 7), "3 of 7 results .*; all of them are invalid, infeasible or suspect"),
        (Elsewhere(3, 0.25, 7), "3 of 7 results .*; the best of them reads 0.25"),
    ],
)
def test_what_is_said_of_elsewhere(elsewhere: Elsewhere, said: str) -> None:
    assert re.search(said, str(elsewhere))


@pytest.mark.parametrize("sense", ["MAXIMIZE", "MINIMIZE"])
def test_what_lies_elsewhere_is_counted_and_the_best_of_it_named(sense: str) -> None:
    sign = 1.0 if sense == "MAXIMIZE" else -1.0
    vocs = motors(2, objectives={"f": sense}, constraints={"g": ["GREATER_THAN", 0.0]})
    agent = BayesianAgent(vocs, seed=0)
    near = [(0.0, 0.0, 1.0, 1.0), (0.1, 0.0, 0.9, 1.0), (0.0, -0.1, 0.8, 1.0), (0.2, 0.2, 0.7, 1.0)]
    far = [(0.9, 0.0, 0.3, 1.0), (-0.9, 0.3, 0.2, 1.0), (0.0, 0.9, 0.6, -1.0), (0.9, 0.9, math.nan, 1.0)]
    rows = [{"m0": a, "m1": b, "f": sign * f, "g": g} for a, b, f, g in near]
    agent.ingest(rows)
    explained = agent.explain().elsewhere
    assert explained is not None
    assert (explained.results, explained.of) == (0, 4)
    assert math.isnan(explained.best)
    agent.ingest([{"m0": a, "m1": b, "f": sign * f, "g": g} for a, b, f, g in far])
    explained = agent.explain().elsewhere
    assert explained is not None
    assert (explained.results, explained.of) == (4, 8)
    assert explained.best == pytest.approx(sign * 0.3), "the infeasible and the invalid ones do not count"
    assert "4 of 8 results" in str(agent.explain())


@pytest.mark.parametrize("size", [3, 6, 9])
def test_another_value_without_order_is_elsewhere_however_near_its_number(size: int) -> None:
    wheel = {"type": "DiscreteVariable", "values": list(range(size)), "ordered": False}
    agent = BayesianAgent({"variables": {"wheel": wheel, "a": [0.0, 1.0]}, "objectives": {"f": "MAXIMIZE"}})
    agent.ingest([{"wheel": w, "a": 0.5 + 0.1 * ELSEWHERE * w, "f": 1.0 - w} for w in range(3)])
    explained = agent.explain().elsewhere
    assert explained is not None
    assert explained.results == 2


def test_several_objectives_have_no_elsewhere() -> None:
    agent = BayesianAgent(motors(2, objectives={"f": "MAXIMIZE", "g": "MINIMIZE"}), seed=0)
    searched(agent, lambda unit: {**hill(unit), "g": float(unit[0])}, 8)
    assert agent.explain().elsewhere is None
    assert "elsewhere" not in str(agent.explain())


@pytest.mark.integration
@pytest.mark.parametrize(
    ("vocs", "options", "measure"),
    [
        (motors(1), {}, hill),
        (motors(30), {}, hill),
        (motors(2), {"coordinates": {"sum": {"m0": 1, "m1": 1}, "difference": {"m0": 1, "m1": -1}}}, hill),
        (
            motors(2, objectives={"f": "MINIMIZE"}, observables=["a", "b"]),
            {"composite": {"a": 1.0, "b": 1.0}},
            lambda unit: (lambda a, b: {"a": a, "b": b, "f": a * b})(*(0.1 + (unit - 0.3) ** 2)),
        ),
        (
            {
                "variables": {
                    "m0": {"type": "ContinuousVariable", "domain": [1e-6, 10.0], "log_scale": True},
                    "m1": {"type": "DiscreteVariable", "values": [0, 1, 2]},
                },
                "objectives": {"f": "MAXIMIZE"},
            },
            {},
            hill,
        ),
        (motors(2), {}, lambda unit: {"f": math.nan} if unit[0] > 0.6 else hill(unit)),
        (motors(2), {}, lambda _: {"f": 1.0}),
    ],
    ids=["one motor", "thirty motors", "coordinates", "composite", "decades and steps", "hole", "flat"],
)
@pytest.mark.parametrize("batch", [1, 12])
def test_any_problem_is_searched_and_explained(
    vocs: dict[str, Any], options: dict[str, Any], measure: Measure, batch: int
) -> None:
    agent = BayesianAgent(vocs, seed=1, **options)
    results, _ = searched(agent, measure, 36, batch)
    assert all(agent.space.holds(result) for result in results)
    explained = agent.explain().elsewhere
    assert explained is not None
    assert f"{explained.results} of {len(results)} results" in str(agent.explain())
    assert explained.results > 0


def knowing(f: Callable[[float, float], float], seed: int, **options: Any) -> BayesianAgent:
    """An agent that knows 40 points, half of them close together."""
    vocs = {"variables": {"x": [-1.0, 1.0], "y": [-1.0, 1.0]}, "objectives": {"f": "MAXIMIZE"}}
    agent, rng = BayesianAgent(vocs, seed=seed, **options), np.random.default_rng(seed)
    for i in range(40):
        x, y = rng.uniform(-1.0, 1.0, 2) * (0.05 if i % 2 else 1.0)
        agent.ingest([{"x": x, "y": y, "f": f(x, y) + 0.01 * rng.standard_normal()}])
    return agent


@pytest.mark.parametrize("seed", [0, 1, 3])  # where the model tells that it is noise
def test_where_all_is_noise_each_point_looks_elsewhere(seed: int) -> None:
    agent = knowing(lambda x, y: 5.0, seed)
    points = agent.suggest(2)
    assert {d.reason for d in agent.decisions()} == {"elsewhere: nothing has responded beyond the noise"}
    assert math.dist(*([p["x"], p["y"]] for p in points)) > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_a_slope_beyond_the_noise_is_a_response(seed: int) -> None:
    agent = knowing(lambda x, y: 0.1 * x, seed)
    agent.suggest(2)
    assert not any("beyond the noise" in d.reason for d in agent.decisions())


def test_a_search_that_follows_a_drift_does_not_look_elsewhere_for_a_response() -> None:
    agent = knowing(lambda x, y: 5.0, 0, drift="on")
    agent.suggest(2)
    assert not any("beyond the noise" in d.reason for d in agent.decisions())
