"""Features of the Bayesian agent beyond one objective on a stable beamline."""

import json
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from ebl_autonomy.agents import BayesianAgent, SobolAgent
from ebl_autonomy.errors import AgentError, BadInputError
from ebl_autonomy.space import AxisTravel, Travel
from ebl_autonomy.surrogates import hypervolume

pytestmark = pytest.mark.integration  # whole searches

SQUARE: dict[str, Any] = {"x": [-1.0, 1.0], "y": [-1.0, 1.0]}
ONE: dict[str, Any] = {"variables": SQUARE, "objectives": {"f": "MINIMIZE"}}
Measure = Callable[[dict[str, Any], int], dict[str, float]]


def run(agent: Any, n: int, measure: Measure) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for i in range(n):
        (point,) = agent.suggest(1)
        results.append({**point, **measure(point, i)})
        agent.ingest(results[-1:])
    return results


def bowl(p: dict[str, Any], x: float = 0.4, y: float = -0.3) -> float:
    return float((p["x"] - x) ** 2 + 2.0 * (p["y"] - y) ** 2)


def steep(p: dict[str, Any], _: int = 0) -> dict[str, float]:
    return {"f": bowl(p)}


def points_to(results: list[dict[str, Any]], target: float) -> int:
    reached = [i + 1 for i, r in enumerate(results) if r["f"] <= target]
    return reached[0] if reached else 1000


# -- several objectives --------------------------------------------------------------------------------------------

TWO: dict[str, Any] = {"variables": SQUARE, "objectives": {"f": "MINIMIZE", "g": "MAXIMIZE"}}


def rivals(p: dict[str, Any], _: int = 0) -> dict[str, float]:
    return {"f": bowl(p), "g": -bowl(p, -0.4, 0.3)}


def gained(results: list[dict[str, Any]]) -> float:
    return hypervolume.volume(np.array([[-r["f"], r["g"]] for r in results]), np.array([-2.0, -2.0]))


def test_two_objectives_give_a_front_that_is_better_than_a_spread() -> None:
    agent = BayesianAgent(TWO, seed=0)
    results = run(agent, 30, rivals)
    assert "log-EHVI" in agent.decisions()[0].reason
    assert gained(results) > 1.02 * gained(run(SobolAgent(ONE, seed=0), 30, rivals))
    front = agent.front()
    assert len(front) >= 8
    f, g = ([best.outcome[name] for best in front] for name in ("f", "g"))
    assert f == sorted(f, reverse=True)  # a better f means a worse g
    assert g == sorted(g, reverse=True)
    assert agent.best().point in [best.point for best in front]


def test_the_reference_point_bounds_what_is_worth_something() -> None:
    agent = BayesianAgent(TWO, seed=0, reference={"f": 0.3, "g": -5.0})
    late = run(agent, 25, rivals)[8:]
    assert np.mean([r["f"] < 0.3 for r in late]) > 0.6
    with pytest.raises(BadInputError, match="'g'"):
        BayesianAgent(TWO, reference={"f": 0.3})


@pytest.mark.filterwarnings("ignore")  # botorch's advice on scaling
def test_three_objectives_are_botorchs_and_the_decision_says_so() -> None:
    agent = BayesianAgent({**TWO, "objectives": {**TWO["objectives"], "h": "MINIMIZE"}}, seed=0)
    run(agent, 6, lambda p, i: {**rivals(p), "h": p["x"] ** 2})
    assert agent.decisions()[0].model_version.startswith("botorch")
    assert agent.front()
    with pytest.raises(BadInputError, match="botorch"):
        BayesianAgent({**TWO, "objectives": {**TWO["objectives"], "h": "MINIMIZE"}}, engine="numba")


# -- drift ---------------------------------------------------------------------------------------------------------


def walking(p: dict[str, Any], i: int) -> dict[str, float]:
    return {"f": bowl(p, -0.5 + 0.015 * i, 0.4 - 0.01 * i), "f_std": 0.01}


def test_it_follows_an_optimum_that_walks() -> None:
    agent = BayesianAgent(ONE, seed=0)
    late = [r["f"] for r in run(agent, 60, walking)[30:]]
    still = [r["f"] for r in run(BayesianAgent(ONE, seed=0, drift="off"), 60, walking)[30:]]
    assert np.mean(late) < 0.5 * np.mean(still)
    drift = agent.drift()
    assert drift.active
    assert 3.0 < drift.holds_for < 300.0


def test_nothing_drifts_where_nothing_does() -> None:
    rng = np.random.default_rng(0)
    agent = BayesianAgent(ONE, seed=0)
    run(agent, 40, lambda p, i: {"f": bowl(p) + 0.01 * rng.standard_normal()})
    assert not agent.drift().active


def test_it_says_when_measuring_again_pays() -> None:
    agent = BayesianAgent(ONE, seed=0, drift="on")
    run(agent, 30, steep)
    assert not agent.drift().realign
    # The beam drifts away while the motors stand: repeated measurements of the best point become worse.
    best = agent.best().point
    for i in range(8):
        agent.ingest([{**best, "f": bowl(best) + 0.1 * i}])
    assert agent.drift().lost > 0.05
    assert agent.drift().realign


def test_what_is_not_feasible_is_not_where_one_stands() -> None:
    vocs = {**ONE, "constraints": {"g": ["GREATER_THAN", 0.0]}}
    agent = BayesianAgent(vocs, seed=0, drift="on")
    for i in range(30):
        (point,) = agent.suggest(1)
        agent.ingest([{**point, **walking(point, i), "g": 1.0}])
    estimate = agent.drift()
    agent.ingest([{"x": 1.0, "y": -1.0, "f": -1.0, "f_std": 0.01, "g": -1.0}])  # better, but infeasible
    assert agent.drift().lost == pytest.approx(estimate.lost, abs=0.2)
    for _ in range(60):
        agent.ingest([{**agent.suggest(1)[0], "f": math.nan, "g": math.nan}])
    assert math.isnan(agent.drift().lost)
    assert "no feasible point was measured lately" in str(agent.explain())


def test_noise_is_no_loss() -> None:
    rng = np.random.default_rng(0)
    agent = BayesianAgent(ONE, seed=0, drift="on")
    run(agent, 30, lambda p, i: {"f": bowl(p) + 0.02 * rng.standard_normal()})
    assert not agent.drift().realign


def test_the_clock_may_be_measured() -> None:
    vocs = {**ONE, "observables": ["hours"]}
    agent = BayesianAgent(vocs, seed=0, clock="hours")
    late = run(agent, 60, lambda p, i: {**walking(p, i), "hours": 0.2 * i if i % 7 else math.nan})[30:]
    assert np.mean([r["f"] for r in late]) < 0.1
    with pytest.raises(BadInputError, match="minutes"):
        BayesianAgent(vocs, clock="minutes")


# -- hard limits ---------------------------------------------------------------------------------------------------

CLIFF: dict[str, Any] = {**ONE, "observables": ["flux"]}
SAFE: dict[str, Any] = {"hard": {"flux": ["GREATER_THAN", 0.3]}}


def cliff(p: dict[str, Any], _: int = 0) -> dict[str, float]:
    """The unconstrained optimum lies where there is no flux."""
    return {"f": bowl(p, 0.9, 0.0), "flux": 1.0 / (1.0 + math.exp(8.0 * (p["x"] - 0.3)))}


@pytest.mark.parametrize("seed", range(5))
def test_hard_limits_are_not_broken_and_still_something_is_gained(seed: int) -> None:
    agent = BayesianAgent(CLIFF, seed=seed, **SAFE)
    agent.start_from({"x": -0.4, "y": 0.3})
    results = run(agent, 40, cliff)
    assert agent.violations() == 0
    assert agent.best().outcome["f"] < 0.5 * results[0]["f"]
    careless = BayesianAgent(CLIFF, seed=seed)
    careless.start_from({"x": -0.4, "y": 0.3})
    assert sum(r["flux"] <= 0.3 for r in run(careless, 40, cliff)) > 0


def test_batches_and_points_under_way_vouch_for_nothing() -> None:
    for seed in range(3):
        agent = BayesianAgent(CLIFF, seed=seed, **SAFE)
        agent.start_from({"x": -0.4, "y": 0.3})
        out: list[dict[str, Any]] = agent.suggest(4)  # proposes the start until it is measured
        for _ in range(10):
            agent.ingest([{**point, **cliff(point)} for point in out[:2]])
            out = out[2:] + agent.suggest(2)
        assert agent.violations() == 0


def test_no_past_vouches_for_the_present() -> None:
    """In the past experiment, the cliff was further away."""
    before = [
        {**p, "f": bowl(p, 0.9, 0.0), "flux": 1.0 / (1.0 + math.exp(8.0 * (p["x"] - 0.8)))}
        for p in SobolAgent(ONE, seed=3).suggest(40)
    ]
    agent = BayesianAgent(CLIFF, seed=0, **SAFE)
    agent.start_from({"x": -0.4, "y": 0.3})
    agent.ingest_prior(before, "before")
    run(agent, 25, cliff)
    assert agent.violations() == 0


def test_discrete_values_are_judged_as_they_will_be_measured() -> None:
    steps = {"type": "DiscreteVariable", "values": [round(-1.0 + 0.2 * i, 1) for i in range(11)]}
    agent = BayesianAgent({**CLIFF, "variables": {**SQUARE, "x": steps}}, seed=0, **SAFE)
    agent.start_from({"x": -0.4, "y": 0.3})
    for _ in range(25):
        (point,) = agent.suggest(1)
        (decision,) = agent.decisions()
        if decision.reason == "log-EI":
            assert decision.mean["flux"] - 2.0 * decision.std["flux"] >= 0.3 - 1e-9
        agent.ingest([{**point, **cliff(point)}])
    assert agent.violations() == 0


def test_a_start_that_could_not_be_measured_is_measured_again() -> None:
    agent = BayesianAgent(CLIFF, seed=0, **SAFE)
    agent.start_from({"x": -0.4, "y": 0.3})
    for _ in range(2):
        (point,) = agent.suggest(1)
        assert (point["x"], point["y"]) == pytest.approx((-0.4, 0.3))
        agent.ingest([{**point, "f": math.nan, "flux": math.nan}])
    run(agent, 10, cliff)
    assert agent.best().feasible


def test_a_start_that_breaks_a_hard_limit_is_not_gone_on_from() -> None:
    agent = BayesianAgent(CLIFF, **SAFE)
    agent.start_from({"x": 0.9, "y": 0.0})
    with pytest.raises(AgentError, match="hard limit"):
        run(agent, 2, cliff)
    assert agent.violations() == 1
    with pytest.raises(BadInputError, match="tide"):
        BayesianAgent(CLIFF, hard={"tide": ["LESS_THAN", 1.0]})


def test_violations_are_counted_and_reported() -> None:
    agent = BayesianAgent(CLIFF, **SAFE)
    run(agent, 8, cliff)
    agent.ingest([{"x": 0.9, "y": 0.0, **cliff({"x": 0.9, "y": 0.0})}])  # the motors were moved by hand
    assert agent.violations() == 1
    assert "broken 1 time" in str(agent.explain())


# -- travel --------------------------------------------------------------------------------------------------------

SLOW = Travel({"x": AxisTravel(velocity=0.02), "y": AxisTravel(velocity=2.0)})


def seconds(results: list[dict[str, Any]]) -> float:
    return sum(SLOW.seconds(a, b) for a, b in pairwise(results))


def test_what_takes_long_must_gain_much() -> None:
    took = {"plain": 0.0, "minding": 0.0}
    for seed in (2, 3, 1):
        plain, minding = BayesianAgent(ONE, seed=seed), BayesianAgent(ONE, seed=seed)
        minding.set_travel(SLOW, 0.5)
        took["plain"] += seconds(run(plain, 20, steep))
        quick = run(minding, 20, steep)
        took["minding"] += seconds(quick)
        assert minding.best().outcome["f"] < 0.01
    assert took["minding"] < 0.8 * took["plain"]
    again = BayesianAgent.from_config(json.loads(json.dumps(minding.config())))
    again.ingest(quick)
    assert again.suggest(1) == minding.suggest(1)  # the travel times are part of the configuration


def test_travel_that_makes_no_sense_is_refused() -> None:
    for travel, says in (
        ({"z": {"velocity": 1.0}}, "'z'"),
        ({"x": {"speed": 1.0}}, "speed"),
        ({"x": {"velocity": 0.0}}, "positive"),
    ):
        with pytest.raises(BadInputError, match=says):
            BayesianAgent(ONE, travel=travel)


def test_travel_is_learnt_before_the_first_proposal_or_not_at_all() -> None:
    agent = BayesianAgent(ONE)
    agent.suggest(1)
    agent.set_travel(SLOW, 0.5)
    assert agent.config()["options"]["travel"] == {}


# -- past experiments ----------------------------------------------------------------------------------------------


def past(x: float, y: float, n: int = 40) -> list[dict[str, Any]]:
    return [{**p, "f": math.log(0.01 + bowl(p, x, y))} for p in SobolAgent(ONE, seed=3).suggest(n)]


def present(p: dict[str, Any], _: int = 0) -> dict[str, float]:
    return {"f": math.log(0.01 + bowl(p))}


def test_a_past_that_holds_saves_points() -> None:
    cold, warm = BayesianAgent(ONE, seed=0), BayesianAgent(ONE, seed=0)
    warm.ingest_prior(past(0.42, -0.28), "yesterday")
    target = math.log(0.02)
    early = run(warm, 5, present)
    assert warm.explain().pasts["yesterday"] > 0.5
    assert points_to(early, target) < points_to(run(cold, 25, present), target)


def test_a_past_that_does_not_hold_is_discounted() -> None:
    target = math.log(0.02)
    cold, misled = BayesianAgent(ONE, seed=0), BayesianAgent(ONE, seed=0)
    misled.ingest_prior(past(-0.8, 0.8), "another sample")
    needed = points_to(run(misled, 40, present), target)
    assert needed <= 2 * points_to(run(cold, 40, present), target)
    assert misled.explain().pasts["another sample"] < 0.5
    assert "discounted" in str(misled.explain())


def test_an_agent_with_a_past_is_still_a_function_of_what_it_was_told() -> None:
    one = BayesianAgent(ONE, seed=0)
    one.ingest_prior(past(0.3, 0.0))
    results = run(one, 12, present)
    other = BayesianAgent(ONE, seed=0)
    other.ingest_prior(past(0.3, 0.0))
    other.ingest(results[:5])
    other.ingest(results[5:])
    assert one.suggest(1) == other.suggest(1)


def test_pasts_that_cannot_be_taken() -> None:
    agent = BayesianAgent(ONE)
    with pytest.raises(BadInputError, match="no results"):
        agent.ingest_prior([], "empty")
    with pytest.raises(BadInputError, match="lacks"):
        agent.ingest_prior([{"x": 0.0, "y": 0.0}])
    for i in range(6):
        agent.ingest_prior(past(0.0, 0.0, 4), f"run {i}")
    with pytest.raises(BadInputError, match="known already"):
        agent.ingest_prior(past(0.0, 0.0, 4), "run 0")
    with pytest.raises(BadInputError, match="numba"):
        BayesianAgent(ONE, engine="botorch").ingest_prior(past(0.0, 0.0, 4))
    with pytest.raises(BadInputError, match="number 7"):
        agent.ingest_prior(past(0.0, 0.0, 4), "run 6")


# -- prior means ---------------------------------------------------------------------------------------------------


def knows(points: Any) -> Any:
    """`present` with a constant offset and a small shift."""
    return np.log(0.01 + (points[:, 0] - 0.37) ** 2 + 2.0 * (points[:, 1] + 0.32) ** 2) + 0.2


def wrong(points: Any) -> Any:
    return 3.0 * points[:, 0]


def test_a_prior_mean_saves_points_and_a_wrong_one_costs_few() -> None:
    target = math.log(0.02)
    needed = {
        name: points_to(run(BayesianAgent(ONE, seed=0, prior_mean=mean), 40, present), target)
        for name, mean in (("none", None), ("right", knows), ("wrong", wrong))
    }
    assert needed["right"] <= 6
    assert needed["right"] < needed["none"]
    assert needed["wrong"] <= 2 * needed["none"]


def test_a_torch_module_is_a_prior_mean() -> None:
    import torch

    class Twin(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.optimum = torch.nn.Parameter(torch.tensor([0.37, -0.32]))  # single precision, as networks have

        def forward(self, points: Any) -> Any:
            scale = torch.tensor([1.0, 2.0])
            return torch.log(0.01 + (scale * (points - self.optimum) ** 2).sum(dim=1))

    agent = BayesianAgent(ONE, seed=0, prior_mean=Twin())
    assert points_to(run(agent, 12, present), math.log(0.02)) <= 6
    with pytest.raises(BadInputError, match="no name to import it by"):
        BayesianAgent.from_config(agent.config())


def test_a_prior_mean_goes_with_everything_else() -> None:
    vocs = {
        "variables": {**SQUARE, "current": "CONTEXTUAL"},
        "objectives": {"f": "MINIMIZE"},
        "constraints": {"g": ["GREATER_THAN", -0.5]},
        "observables": ["hours"],
    }
    agent = BayesianAgent(vocs, seed=0, prior_mean=knows, clock="hours")
    results = run(agent, 10, lambda p, i: {**present(p), "g": p["x"], "hours": float(i), "current": 400.0 - i})
    assert points_to(results, math.log(0.02)) <= 6
    assert all(math.isfinite(value) for value in agent.best().mean.values())


def test_prior_means_have_names() -> None:
    agent = BayesianAgent(ONE, seed=0, prior_mean=f"{__name__}:knows")
    config = json.loads(json.dumps(agent.config()))
    assert config == BayesianAgent(ONE, seed=0, prior_mean=knows).config()
    assert BayesianAgent.from_config(config).suggest(2) == agent.suggest(2)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("nothing_of_that_name", "registered"),
        ("no.such.module:f", "cannot be imported"),
        (3.0, "must be callable"),
        (lambda points: np.zeros((len(points), 7)), "shape"),
    ],
)
def test_prior_means_that_are_none(given: Any, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        BayesianAgent(ONE, prior_mean=given)


# -- explaining ----------------------------------------------------------------------------------------------------


def test_it_explains_itself() -> None:
    rng = np.random.default_rng(0)
    agent = BayesianAgent(ONE, seed=0)
    with pytest.raises(AgentError, match="no model yet"):
        agent.explain()
    run(agent, 30, lambda p, i: {"f": 10.0 + p["x"] + 0.05 * rng.standard_normal()})
    agent.suggest(1)
    explanation = agent.explain()
    (model,) = explanation.models
    assert model.noise == pytest.approx(0.05, rel=0.6)
    assert model.error == pytest.approx(0.05, rel=0.6)
    assert model.share_explained > 0.95
    assert 0.4 < model.within(1) <= 1.0
    assert model.within(2) > 0.85
    assert model.length_scales["x"] < model.length_scales["y"]  # only x matters
    assert len(model.measured) == 30
    text = str(explanation)
    assert "leave-one-out" in text
    assert "latest proposal" in text


def test_options_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(BadInputError, match="composite"):
        BayesianAgent({**TWO, "observables": ["a"]}, composite={"a": 1.0})
    with pytest.raises(BadInputError, match="numba"):
        BayesianAgent(CLIFF, engine="botorch", **SAFE)
    with pytest.raises(BadInputError, match="driftt"):
        BayesianAgent(ONE, driftt="on")
