"""The trust region grows after successes, shrinks after failures, and restarts when it is too small."""

from typing import Any

import numpy as np
import pytest

from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.agents.bayesian.trust_region import TrustRegion, improvements


def after(flags: str, dim: int = 2) -> TrustRegion:
    """The region after improvements (+) and failures (-)."""
    region = TrustRegion()
    for flag in flags:
        region = region.after(flag == "+", dim)
    return region


def test_three_improvements_in_a_row_double_the_side_up_to_the_domain() -> None:
    assert [after("+" * n).side for n in range(10)] == [0.25] * 3 + [0.5] * 3 + [1.0] * 4
    assert after("++-++-++").side == 0.25, "in a row"


def test_failures_in_a_row_halve_the_side() -> None:
    assert [after("-" * n).side for n in range(9)] == [0.25] * 4 + [0.125] * 4 + [0.0625]
    assert after("---+---").side == 0.25, "in a row"
    assert after("-" * 6, dim=7).side == 0.25
    assert after("-" * 7, dim=7).side == 0.125, "as many as there are dimensions"


def test_a_region_that_is_spent_becomes_the_domain() -> None:
    assert after("-" * 12).side == 0.03125
    assert after("-" * 16) == TrustRegion(side=1.0)


def test_sides_are_in_proportion_to_the_length_scales_within_a_factor_of_four() -> None:
    centre = np.array([0.5, 0.5])
    low, high = TrustRegion(0.2).box(centre, np.array([1.0, 4.0]))
    assert high - low == pytest.approx([0.1, 0.4])
    assert 0.5 * (low + high) == pytest.approx(centre)
    low, high = TrustRegion(0.2).box(centre, np.array([1e-3, 1e3]))
    assert high - low == pytest.approx([0.05, 0.8])
    low, high = TrustRegion(0.2).box(np.array([0.0, 1.0]), np.ones(2))
    assert (low.tolist(), high.tolist()) == ([0.0, 0.9], [0.1, 1.0])


def test_what_is_an_improvement() -> None:
    nan = float("nan")
    assert improvements([1.0, 1.0, 2.0, 1.5, nan, 3.0]) == [True, False, True, False, False, True]
    assert improvements([nan, -1.0, -1.0 + 1e-12]) == [False, True, False]


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("offset", [0.0, 1e9, -1e9])
def test_an_improvement_depends_neither_on_the_unit_nor_on_an_offset(scale: float, offset: float) -> None:
    scores = np.array([0.1, 0.5, 0.5, 0.50001, 0.2, float("nan"), 0.7])
    assert improvements(scale * (offset + scores)) == [True, True, False, True, False, False, True]


def test_rounding_is_no_improvement() -> None:
    assert improvements([0.0, 1.0, float(np.nextafter(1.0, 2.0))]) == [True, True, False]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gain", [1.0, 0.0])
def test_the_agents_region_follows_its_successes(seed: int, gain: float) -> None:
    """With results that improve or not independently of the point, so that only their order counts."""
    vocs: dict[str, Any] = {"variables": {"x": [0.0, 1.0], "y": [0.0, 1.0]}, "objectives": {"f": "MAXIMIZE"}}
    agent = BayesianAgent(vocs, seed=seed, drift="off")
    sides = []
    for i in range(13):
        (point,) = agent.suggest(1)
        sides.append(agent.decisions()[0].reason.removeprefix("log-EI within ").removesuffix(" of the domain"))
        # The opening phases end with the fifth result; only later results count.
        agent.ingest([{**point, "f": float(min(i, 4)) + gain * max(i - 4, 0), "f_std": 1e-3}])
    doubled, halved = ["0.25"] * 3 + ["0.5"] * 3 + ["1"] * 2, ["0.25"] * 4 + ["0.125"] * 4
    expected = doubled if gain else halved
    assert len([side for side in sides[5:] if not side.startswith("elsewhere")]) >= 4
    assert all(side == size or side.startswith("elsewhere") for side, size in zip(sides[5:], expected, strict=True))


@pytest.mark.parametrize("batch", [4, 8])
def test_a_batch_is_one_trial(batch: int) -> None:
    agent = BayesianAgent({"variables": {"x": [0.0, 1.0], "y": [0.0, 1.0]}, "objectives": {"f": "MAXIMIZE"}}, seed=1)
    rng = np.random.default_rng(1)
    sides = []
    for _ in range(5):
        points = agent.suggest(batch)
        sides += [d.reason for d in agent.decisions() if d.reason.startswith("log-EI within")][:1]
        # The start is the best, so all proposals fail.
        agent.ingest(
            [{**p, "f": 1.0 - (p["x"] - 0.5) ** 2 - (p["y"] - 0.5) ** 2 + 1e-3 * rng.normal()} for p in points]
        )
    assert len(sides) > 2
    assert all(reason.startswith("log-EI within 0.25 of") for reason in sides[:3])
