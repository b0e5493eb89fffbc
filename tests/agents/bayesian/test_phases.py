"""The phases of a search: the phase that decides, for each configuration and each state."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ebl_autonomy.agents import BayesianAgent, SobolAgent
from ebl_autonomy.agents.bayesian.model_based import ModelBased
from ebl_autonomy.agents.bayesian.options import BayesianOptions
from ebl_autonomy.agents.bayesian.phases import Request
from ebl_autonomy.agents.bayesian.state import SearchState
from ebl_autonomy.errors import AgentError
from ebl_autonomy.space import Space, make_vocs

ONE: dict[str, Any] = {"variables": {"x": [-1.0, 1.0], "y": [-1.0, 1.0]}, "objectives": {"f": "MINIMIZE"}}
TWO: dict[str, Any] = {**ONE, "objectives": {"f": "MINIMIZE", "g": "MAXIMIZE"}}
FLUX: dict[str, Any] = {**ONE, "observables": ["flux"]}
SAFE: dict[str, Any] = {"hard": {"flux": ["GREATER_THAN", 0.3]}}
Measure = Callable[[dict[str, Any]], dict[str, float]]


def bowl(p: dict[str, Any]) -> float:
    return float((p["x"] - 0.4) ** 2 + 2.0 * (p["y"] + 0.3) ** 2)


def bright(p: dict[str, Any]) -> dict[str, float]:
    return {"f": bowl(p), "g": -bowl({"x": -p["x"], "y": -p["y"]}), "flux": 0.5 - 0.1 * p["x"]}


def told(p: dict[str, Any]) -> dict[str, float]:
    """As `bright`, with readings that tell their noise."""
    return {**bright(p), "f_std": 1e-3, "g_std": 1e-3, "flux_std": 1e-3}


def near_a_peak(p: dict[str, Any]) -> dict[str, float]:
    """The start is better than all that is far away."""
    return {**bright(p), "f": -math.exp(-20.0 * bowl({"x": p["x"] + 0.3, "y": p["y"] - 0.2}))}


def no_objective(p: dict[str, Any]) -> dict[str, float]:
    return {**bright(p), "f": math.nan}


def dark(p: dict[str, Any]) -> dict[str, float]:
    return {"f": 1.0, "f_std": 0.1, "g": math.nan, "flux": 1.0}


def searched(agent: BayesianAgent, n: int, measure: Measure) -> list[str]:
    """The reasons of the first n proposals, each measured before the next; without the size of the trust region."""
    reasons = []
    for _ in range(n):
        (point,) = agent.suggest(1)
        reasons.extend(decision.reason.split(" within")[0] for decision in agent.decisions())
        agent.ingest([{**point, **measure(point)}])
    return reasons


def started_far_away(**options: Any) -> BayesianAgent:
    agent = BayesianAgent(ONE, **options)
    agent.start_from({"x": -0.9, "y": 0.9})
    return agent


def with_past(measure: Measure, **options: Any) -> BayesianAgent:
    agent = BayesianAgent(ONE, **options)
    agent.ingest_prior([{**p, **measure(p)} for p in SobolAgent(ONE, seed=3).suggest(20)], "before")
    return agent


@pytest.mark.parametrize(
    ("agent", "measure", "expected"),
    [
        (lambda: BayesianAgent(ONE), told, ["start", *["look around"] * 4, "log-EI"]),
        (started_far_away, bright, ["start", *["survey"] * 3, "log-EI"]),
        (lambda: BayesianAgent(ONE), near_a_peak, ["start", *["survey"] * 2, *["look around"] * 4, "log-EI"]),
        (lambda: BayesianAgent(ONE, start="random"), told, ["random start", *["look around"] * 4, "log-EI"]),
        (lambda: BayesianAgent(ONE, look_around=0.0), bright, ["start", *["look nearby"] * 4, "log-EI"]),
        (lambda: BayesianAgent(ONE), dark, ["start", *["look around"] * 8, *["find the beam"] * 3]),
        (lambda: BayesianAgent(ONE, look_around=0.0), dark, ["start", *["look nearby"] * 4, "find the beam"]),
        (lambda: BayesianAgent(TWO), bright, ["start", "spread", "spread", "log-EHVI"]),
        (lambda: BayesianAgent(TWO), dark, ["start", *["spread"] * 5]),
        (lambda: with_past(bright), bright, ["start", "best of the past", "log-EI"]),
        (lambda: with_past(bright), dark, ["start", "best of the past", "log-EI"]),
        (lambda: with_past(bright, look_around=0.0), bright, ["start", "best of the past", "log-EI"]),
        (lambda: with_past(no_objective), bright, ["start", "survey", "log-EI"]),
        (
            lambda: with_past(no_objective),
            no_objective,
            ["start", "survey", "survey", *["look around", "find the beam"] * 8, "find the beam"],
        ),
        (lambda: BayesianAgent(FLUX, **SAFE), bright, ["start", *["look around"] * 4, "log-EI"]),
        (
            lambda: BayesianAgent(FLUX, **SAFE, start="random", look_around=0.0),
            no_objective,
            ["start", *["look around"] * 4, *["the safest known point once more"] * 2],
        ),
    ],
)
def test_phases_follow_one_another(agent: Callable[[], BayesianAgent], measure: Measure, expected: list[str]) -> None:
    assert searched(agent(), len(expected), measure) == expected


def test_a_batch_goes_through_phases() -> None:
    agent = BayesianAgent(ONE, seed=0)
    searched(agent, 3, told)
    agent.suggest(4)
    reasons = [decision.reason for decision in agent.decisions()]
    assert reasons[:2] == ["look around"] * 2
    assert all(reason.startswith("log-EI") for reason in reasons[2:])


def test_the_best_of_the_past_is_its_best_valid_and_feasible_point() -> None:
    agent = BayesianAgent({**ONE, "constraints": {"g": ["GREATER_THAN", 0.0]}})
    past = [
        {"x": 0.1, "y": 0.2, "f": 3.0, "g": 1.0},
        {"x": 0.3, "y": 0.4, "f": 1.0, "g": -1.0},
        {"x": 0.5, "y": 0.6, "f": math.nan, "g": 1.0},
        {"x": 0.7, "y": 0.8, "f": 2.0, "g": 1.0},
    ]
    agent.ingest_prior(past, "before")
    agent.suggest(1)
    assert agent.suggest(1)[0] == pytest.approx({"x": 0.7, "y": 0.8, "_id": 1})


@pytest.mark.parametrize("seed", range(4))
def test_blind_search_covers_more_and_more_of_the_domain(seed: int) -> None:
    agent = BayesianAgent(ONE, seed=seed, look_around=0.0)
    agent.start_from({"x": -0.5, "y": 0.5})
    points = agent.suggest(120)[1:]
    off = np.array([max(abs(p["x"] + 0.5), abs(p["y"] - 0.5)) for p in points]) / 2.0
    assert (off[:2] <= 0.1 * 1.5).all()
    assert off[:5].max() < off[-60:].max()
    assert off[-60:].max() > 0.6, "the far corner lies 0.75 of the domain away"


def test_where_the_start_breaks_a_hard_limit_nothing_is_proposed() -> None:
    agent = BayesianAgent(FLUX, **SAFE)
    (point,) = agent.suggest(1)
    agent.ingest([{**point, "f": 0.0, "flux": 0.2}])
    with pytest.raises(AgentError, match=r"broke a hard limit \(.*'flux': 0\.2.*GREATER_THAN.*hold"):
        agent.suggest(1)


def test_safe_search_repeats_the_point_furthest_from_the_limit() -> None:
    agent = BayesianAgent(FLUX, **SAFE)
    searched(agent, 5, no_objective)
    best = max(agent.results, key=lambda result: result["flux"])
    assert agent.suggest(1)[0] == pytest.approx({"x": best["x"], "y": best["y"], "_id": 5})


@pytest.mark.parametrize("seed", range(5))
def test_it_looks_around_the_point_that_is_expected_to_be_the_best_not_the_luckiest_reading(seed: int) -> None:
    """One reading is far above all others, but its large uncertainty is known."""
    rng = np.random.default_rng(seed)
    agent = BayesianAgent(ONE, seed=seed)
    points = [{"x": x, "y": y} for x, y in np.vstack([[0.4, -0.3], rng.uniform(-1.0, 1.0, (14, 2))])]
    good = [{**p, "f": bowl(p) + 0.001 * rng.standard_normal(), "f_std": 0.001} for p in points]
    agent.ingest([*good[1:], {"x": -0.8, "y": 0.8, "f": -9.0, "f_std": 30.0}, good[0]])
    # No result of the model-based phase is better than the lucky one, so the region has shrunk.
    points = agent.suggest(4)
    near = ["within" in decision.reason for decision in agent.decisions()]
    assert sum(near) >= 2, "the others look elsewhere, because the best point is known"
    for point in np.array(points)[near]:
        assert math.hypot(point["x"] - 0.4, point["y"] + 0.3) < 0.5


def test_a_point_is_priced_from_where_the_motors_will_stand() -> None:
    options = BayesianOptions(travel={"x": {"velocity": 0.1}}, measure_s=1.0)
    state = SearchState(Space(make_vocs(ONE)), options)
    state.add([{**p, "f": bowl(p)} for p in SobolAgent(ONE, seed=1).suggest(12)])
    x = state.results[-1]["x"]
    at = np.array([[0.0, 0.5, 0.0], [1.0, 0.5, 0.0]])  # x = -1 and 1

    def seconds(pending: list[Any], same_call: list[np.ndarray]) -> Any:
        request = Request(12, 1, pending, same_call, np.random.default_rng(0))
        region, _ = ModelBased(options).region(state, request)
        return region.seconds

    assert seconds([], [])(at, None) == pytest.approx([1.0 + (x + 1.0) / 0.1, 1.0 + (1.0 - x) / 0.1])
    out = {"x": 0.0, "y": 0.0}
    assert seconds([out], [])(at, None) == pytest.approx([11.0, 11.0])
    behind = seconds([out], [np.array([0.5, 0.5]), np.array([1.0, 0.5])])
    assert behind(at, None) == pytest.approx([21.0, 1.0])
    assert behind(at, at[0]) == pytest.approx([1.0, 21.0])
