"""The Bayesian agent is reproducible, starts at the present position, and supports each feature of a VOCS."""

import json
import math
from typing import Any

import numpy as np
import pytest

from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.surrogates.conditioning import ConditionedModels

XY: dict[str, Any] = {"x": [-1.0, 4.0], "y": [-2.0, 2.0]}
PLAIN: dict[str, Any] = {"variables": XY, "objectives": {"f": "MINIMIZE"}}
FEASIBLE: dict[str, Any] = {**PLAIN, "constraints": {"g": ["GREATER_THAN", 2.5]}}
BEST = (1.9, 0.68)


def valley(p: dict[str, Any]) -> float:
    return float((p["x"] - 1.9) ** 2 + 4.0 * (p["y"] - 0.3 - 0.2 * p["x"]) ** 2)


def measured(p: dict[str, Any]) -> dict[str, Any]:
    return {**p, "f": valley(p), "g": p["x"]}


def run(agent: BayesianAgent, n: int, measure: Any = measured) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for _ in range(n):
        (point,) = agent.suggest(1)
        results.append(measure(point))
        agent.ingest(results[-1:])
    return results


def test_how_the_results_came_in_makes_no_difference() -> None:
    one_by_one = BayesianAgent(PLAIN, seed=3)
    results = run(one_by_one, 12)
    at_once = BayesianAgent(PLAIN, seed=3)
    at_once.ingest(results)
    in_parts = BayesianAgent(PLAIN, seed=3)
    for part in (results[:5], results[5:6], results[6:]):
        in_parts.ingest(part)
    assert one_by_one.suggest(1) == at_once.suggest(1) == in_parts.suggest(1)


@pytest.mark.parametrize("aims", [{"f": "MINIMIZE"}, {"f": "MINIMIZE", "g": "MAXIMIZE"}])
def test_the_best_point_is_known_from_means_alone(aims: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The variances of all points take n times as long, 2 s at 2000 points."""
    agent = BayesianAgent({**PLAIN, "objectives": aims})
    results = run(agent, 14)
    predicted = agent.predict(results)
    asked = list[int]()
    with_variances = ConditionedModels.latent

    def noted(models: ConditionedModels, column: int, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked.append(len(X))
        return with_variances(models, column, X)

    monkeypatch.setattr(ConditionedModels, "latent", noted)
    best = agent.best()
    assert set(asked) == {1}, "the recommended point alone"
    if len(aims) == 1:
        assert best.mean["f"] == pytest.approx(predicted["f"][0].min())


def test_the_first_point_is_where_the_beamline_stands() -> None:
    agent = BayesianAgent(PLAIN)
    agent.start_from({"x": 3.25, "y": -1.5})
    assert agent.suggest(1) == [{"x": 3.25, "y": -1.5, "_id": 0}]
    assert agent.decisions()[0].reason == "start"
    given = BayesianAgent(
        {**PLAIN, "variables": {**XY, "x": {"type": "ContinuousVariable", "domain": [-1.0, 4.0], "default_value": 0.5}}}
    )
    given.start_from({"x": 3.25, "y": -1.5})
    assert given.suggest(1) == [{"x": 0.5, "y": -1.5, "_id": 0}]
    elsewhere = BayesianAgent(PLAIN, seed=1, start="random")
    elsewhere.start_from({"x": 3.25, "y": -1.5})
    assert elsewhere.suggest(1) != [{"x": 3.25, "y": -1.5}]


def test_it_finds_the_bottom_of_a_tilted_valley_and_says_what_it_expects_there() -> None:
    agent = BayesianAgent(PLAIN, seed=0)
    run(agent, 25)
    best = agent.best()
    assert best.outcome["f"] < 0.02
    assert best.feasible
    assert best.mean["f"] == pytest.approx(best.outcome["f"], abs=0.2)
    assert best.std["f"] < 0.5
    prediction = agent.predict([{"x": BEST[0], "y": BEST[1]}, {"x": -1.0, "y": -2.0}])
    mean, std = prediction["f"]
    assert mean.shape == std.shape == (2,)
    assert mean[0] < mean[1]


@pytest.mark.integration
def test_it_ends_inside_the_constraints() -> None:
    agent = BayesianAgent(FEASIBLE, seed=0)
    agent.start_from({"x": 0.0, "y": 0.0})  # g is 0 here, which is infeasible
    run(agent, 25)
    best = agent.best()
    assert best.feasible
    assert best.point["x"] >= 2.5  # the free optimum lies at 1.9
    assert best.outcome["f"] < 0.6  # the constrained optimum is 0.36


@pytest.mark.integration
@pytest.mark.parametrize(
    ("constraint", "low", "high"), [(["LESS_THAN", 1.0], -math.inf, 1.0), (["BOUNDS", 2.4, 3.0], 2.4, 3.0)]
)
def test_constraints_from_above_and_from_both_sides(constraint: list[Any], low: float, high: float) -> None:
    agent = BayesianAgent({**PLAIN, "constraints": {"g": constraint}}, seed=1)
    run(agent, 20)
    best = agent.best()
    assert best.feasible
    assert low <= best.point["x"] <= high


@pytest.mark.integration
def test_an_invalid_measurement_teaches_where_not_to_go_and_nothing_about_the_objective() -> None:
    def half_blind(p: dict[str, Any]) -> dict[str, Any]:
        return {**measured(p), "f": math.nan if p["x"] > 2.2 else valley(p)}

    agent = BayesianAgent(PLAIN, seed=0)
    agent.start_from({"x": 0.5, "y": -1.0})
    results = run(agent, 30, half_blind)
    chosen = results[2 * len(XY) + 1 :]
    blind = sum(math.isnan(r["f"]) for r in chosen)
    assert blind <= 0.35 * len(chosen)  # it learns to stay where measurements are valid
    assert agent.best().outcome["f"] < 0.05
    mean, _ = agent.predict([{"x": 2.1, "y": 0.72}])["f"]
    assert mean[0] < 1.0  # the objective's model contains no penalty


def test_without_a_single_valid_point_it_goes_on_looking_in_a_growing_box() -> None:
    agent = BayesianAgent(PLAIN, seed=0)
    results = run(agent, 30, lambda p: {**p, "f": math.nan})
    spread = [max(abs(r["x"] - 1.5) / 5.0, abs(r["y"]) / 4.0) for r in results]
    assert max(spread[-10:]) > max(spread[5:10])
    assert agent.decisions()[0].reason == "find the beam"
    assert agent.predict([{"x": 0.0, "y": 0.0}]) == {}


def test_known_uncertainties_are_used() -> None:
    results = [
        {"x": x, "y": 0.0, "f": f, "f_std": s}
        for x, f, s in [(0.0, 1.0, 1e-3), (1.0, 5.0, 3.0), (2.0, 1.0, 1e-3), (3.0, 1.0, 1e-3), (-1.0, 1.0, 1e-3)]
    ]
    agent = BayesianAgent(PLAIN)
    agent.ingest(results)
    mean, _ = agent.predict([{"x": 0.0, "y": 0.0}, {"x": 1.0, "y": 0.0}])["f"]
    assert mean[0] == pytest.approx(1.0, abs=0.1)
    assert mean[1] < 4.0  # the uncertain value has little weight


@pytest.mark.integration
def test_discrete_variables_take_their_values_only() -> None:
    vocs = {**PLAIN, "variables": {**XY, "n": {"type": "DiscreteVariable", "values": [0, 1, 4]}}}
    agent = BayesianAgent(vocs, seed=0)
    results = run(agent, 25, lambda p: {**p, "f": valley(p) + (p["n"] - 1) ** 2})
    assert {r["n"] for r in results} <= {0, 1, 4}
    assert agent.best().point["n"] == 1


def test_a_contextual_variable_is_modelled_and_held_at_its_latest_value() -> None:
    vocs = {**PLAIN, "variables": {**XY, "t": {"type": "ContextualVariable"}}}
    agent = BayesianAgent(vocs, seed=0)
    for k in range(20):
        (point,) = agent.suggest(1)
        agent.ingest([{**point, "t": float(k), "f": valley(point) + 3.0 * math.sin(k)}])
    (point,) = agent.suggest(1)
    assert point["t"] == 19.0
    early, late = (agent.predict([{"x": 1.9, "y": 0.68, "t": t}])["f"][0][0] for t in (11.0, 14.0))
    assert early < late  # sin(11) = -1, sin(14) = 1: the model knows that the context matters


def test_a_batch_holds_different_points_and_minds_what_is_pending() -> None:
    agent = BayesianAgent(PLAIN, seed=0)
    run(agent, 8)
    first, second = agent.suggest(3), agent.suggest(2)
    points = np.array([[p["x"], p["y"]] for p in (*first, *second)])
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)[~np.eye(5, dtype=bool)]
    assert gaps.min() > 1e-3
    assert len(agent.decisions()) == 2


def test_the_best_point_is_told_with_all_that_is_known() -> None:
    agent = BayesianAgent(FEASIBLE, seed=0)
    for _ in range(20):
        (point,) = agent.suggest(1)
        agent.ingest([{**point, "f": valley(point), "g": point["x"]}])
        known = BayesianAgent(FEASIBLE, seed=0)
        known.ingest(agent.results)
        assert agent.best() == agent.best() == known.best()


@pytest.mark.integration
@pytest.mark.parametrize("batch", [1, 2, 5, 8, 13])
def test_under_limits_the_box_and_the_domain_take_turns(batch: int) -> None:
    agent = BayesianAgent(FEASIBLE, seed=0)
    run(agent, 8)
    reasons = []
    for _ in range(10):
        agent.ingest([{**p, "f": valley(p), "g": p["x"]} for p in agent.suggest(batch)])
        reasons += [decision.reason for decision in agent.decisions()]
    within = sum(reason.startswith("log-EI within") for reason in reasons)
    assert 0.1 <= within / len(reasons) <= 0.8
    everywhere = [reason for reason in reasons if reason == "log-EI" or reason.startswith("elsewhere: ")]
    assert len(everywhere) == len(reasons) - within


def test_decisions_say_what_was_expected_and_why() -> None:
    agent = BayesianAgent(FEASIBLE, seed=0)
    run(agent, 8)
    agent.suggest(1)
    (decision,) = agent.decisions()
    assert set(decision.mean) == set(decision.std) == {"f", "g"}
    assert math.isfinite(decision.acquisition)
    assert "log-EI" in decision.reason
    assert decision.model_version


def test_a_configuration_goes_round() -> None:
    agent = BayesianAgent(FEASIBLE, seed=5, look_around=0.2, trust_region=False)
    config = json.loads(json.dumps(agent.config()))
    assert BayesianAgent.from_config(config).config() == agent.config()
    given = {"seed": 5, "look_around": 0.2, "trust_region": False}
    assert config["options"] == {**BayesianAgent.Options().model_dump(), **given}
