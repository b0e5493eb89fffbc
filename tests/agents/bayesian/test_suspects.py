"""Which readings are suspected: glitches are, beside past runs too; honest ones where there is no beam are not."""

import math

import numpy as np
import pytest

from ebl_autonomy.agents import BayesianAgent

pytestmark = pytest.mark.integration  # a model is fitted

VARIABLES = {"x": [-1.0, 1.0], "y": [-1.0, 1.0]}


def beam(x: float, y: float, rng: np.random.Generator, aperture: float) -> dict[str, float]:
    """A spot behind an aperture: outside, the camera sees its dark counts, and there is no area."""
    total, area = 1e5 * (1.0 + 0.02 * rng.normal()), 1.0 + 4.0 * (x - 0.2) ** 2 + 3.0 * (y + 0.1) ** 2
    if math.hypot(x, y) > aperture:
        return {"area": math.nan, "total": abs(20.0 * rng.normal()) + 1.0, "peak": 30.0 + rng.normal()}
    return {"area": area * (1.0 + 0.01 * rng.normal()), "total": total, "peak": total / area}


def spot(seed: int, n: int = 40, aperture: float = 0.8, **changed: float) -> BayesianAgent:
    """An agent that knows a spot, of whose last reading but five some factors are changed by a ratio."""
    vocs = {"variables": VARIABLES, "objectives": {"area": "MINIMIZE"}, "observables": ["total", "peak"]}
    agent = BayesianAgent(vocs, seed=seed, composite={"total": 1.0, "peak": -1.0})
    rng = np.random.default_rng(seed)
    for i in range(n):
        x, y = rng.uniform(-1.0, 1.0, 2)
        x, y = (0.4, 0.3) if i == n - 6 else (x, y)
        read = beam(x, y, rng, aperture)
        if i == n - 6:
            read |= {name: read[name] * ratio for name, ratio in changed.items()}
            read["area"] = read["total"] / read["peak"]
        agent.ingest([{"x": x, "y": y, **read}])
    return agent


@pytest.mark.parametrize("seed", range(3))
def test_points_without_a_beam_are_no_suspects(seed: int) -> None:
    agent = spot(seed)
    assert sum(math.isnan(result["area"]) for result in agent.results) > 5
    assert agent.suspects() == {}
    assert "suspect" not in str(agent.explain()).replace("or suspect", "")


@pytest.mark.parametrize(("factor", "ratio"), [("peak", 10.0), ("total", 0.1)])
def test_a_glitch_of_a_factor_makes_the_product_doubtful(factor: str, ratio: float) -> None:
    agent = spot(4, aperture=2.0, **{factor: ratio})
    assert agent.suspects() == {"area": [34], factor: [34]}
    assert agent.best().outcome["area"] > 0.9


def limited(at: tuple[float, float], load: float) -> BayesianAgent:
    """An agent that knows a hill under a load of at most 5, with one reading of the load."""
    vocs = {
        "variables": VARIABLES,
        "objectives": {"f": "MAXIMIZE"},
        "constraints": {"load": ["LESS_THAN", 5.0]},
    }
    agent, rng = BayesianAgent(vocs, seed=3), np.random.default_rng(3)
    for i in range(30):
        x, y = at if i == 26 else rng.uniform(-1.0, 1.0, 2)
        read = load if i == 26 else 2.0 + 4.0 * x + 0.01 * rng.normal()
        agent.ingest([{"x": x, "y": y, "f": math.exp(-(x**2) - y**2), "load": read}])
    return agent


@pytest.mark.parametrize(
    ("x", "load", "found"), [(-0.5, 20.0, {"load": [26]}), (0.95, 0.2, {"load": [26]}), (-0.5, -20.0, {})]
)
def test_a_glitch_of_a_constrained_outcome_matters_across_the_limit(
    x: float, load: float, found: dict[str, list[int]]
) -> None:
    assert limited((x, 0.1), load).suspects() == found


def hill(x: float, y: float, shift: float = 0.0) -> float:
    return 10.0 * math.exp(-0.5 * ((x - 0.3 - shift) ** 2 + (y + 0.2) ** 2) / 0.5**2)


def beside_past(seed: int, shift: float, glitch: float = 0.0, n: int = 26) -> BayesianAgent:
    """An agent with a past experiment, whose hill is shifted, and present results, one of them off by `glitch`."""
    agent = BayesianAgent({"variables": VARIABLES, "objectives": {"f": "MAXIMIZE"}}, seed=seed)
    rng = np.random.default_rng(seed)
    places = rng.uniform(-1.0, 1.0, (30, 2))
    agent.ingest_prior([{"x": x, "y": y, "f": hill(x, y, shift) + 0.05 * rng.normal()} for x, y in places])
    for i in range(n):
        x, y = (-0.7, 0.6) if i == n - 6 else rng.uniform(-1.0, 1.0, 2)
        reading = hill(x, y) + 0.05 * rng.normal()
        agent.ingest([{"x": x, "y": y, "f": reading + glitch * (i == n - 6)}])
    return agent


@pytest.mark.parametrize("shift", [0.0, 0.8])
@pytest.mark.parametrize("seed", range(2))
def test_a_glitch_is_suspected_beside_a_past_run_that_holds_or_does_not(seed: int, shift: float) -> None:
    agent = beside_past(seed, shift, glitch=60.0)
    assert agent.suspects() == {"f": [20]}
    (trust,) = agent.explain().pasts.values()
    assert (trust > 0.8) == (shift == 0.0)  # the glitch says nothing about the past
    best = agent.best().point
    assert hill(best["x"], best["y"]) > 8.0


@pytest.mark.parametrize("n", [7, 12, 26])
@pytest.mark.parametrize("shift", [0.0, 0.4, 0.8])
def test_honest_readings_that_contradict_a_past_run_are_no_suspects(shift: float, n: int) -> None:
    assert beside_past(1, shift, n=n).suspects() == {}


def test_results_at_once_are_judged_as_those_that_came_one_by_one() -> None:
    one_by_one = beside_past(0, 0.0, glitch=60.0)
    at_once = BayesianAgent(one_by_one.vocs, seed=0)
    rng = np.random.default_rng(0)
    places = rng.uniform(-1.0, 1.0, (30, 2))
    at_once.ingest_prior([{"x": x, "y": y, "f": hill(x, y) + 0.05 * rng.normal()} for x, y in places])
    at_once.ingest(list(one_by_one.results))
    assert at_once.suspects() == one_by_one.suspects()
    assert at_once.suggest(1) == one_by_one.suggest(1)
