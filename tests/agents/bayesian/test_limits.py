"""Limits on outcomes: a few points break them, until it is known where they hold."""

import numpy as np
import pytest

from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.records import Decision

VOCS = {
    "variables": {"x": [-1.0, 1.0], "y": [-1.0, 1.0], "z": [-1.0, 1.0]},
    "objectives": {"flux": "MAXIMIZE"},
    "constraints": {"heat": ["LESS_THAN", 1.0]},
}


def searched(seed: int, points: int) -> tuple[np.ndarray, np.ndarray, list[Decision]]:
    """The flux and the heat of each point, without noise, where most flux means most heat; and the decisions."""
    rng = np.random.default_rng(seed)
    agent = BayesianAgent(VOCS, seed=seed)
    peak, cold = rng.uniform(0.3, 0.7, 3) * rng.choice([-1.0, 1.0], 3), rng.uniform(-0.2, 0.2, 3)
    edge = 0.5 * np.linalg.norm(peak - cold)
    flux, heat, decisions = [], [], []
    for _ in range(points):
        (point,) = agent.suggest(1)
        decisions.append(agent.decisions()[0])
        at = np.array([point[name] for name in "xyz"])
        flux.append(float(np.exp(-0.5 * np.sum((at - peak) ** 2) / 0.5**2)))
        heat.append(float(np.linalg.norm(at - cold) / edge))
        read = {"flux": flux[-1] + 0.01 * rng.standard_normal(), "heat": heat[-1] + 0.02 * rng.standard_normal()}
        agent.ingest([{**point, **read, "flux_std": 0.01, "heat_std": 0.02}])
    best = np.exp(-0.5 * edge**2 / 0.5**2)  # on the way from the cold point to the peak
    return np.array(flux) / best, np.array(heat), decisions


@pytest.mark.integration
def test_few_points_break_a_limit_that_is_known() -> None:
    flux, heat = zip(*(searched(seed, 50)[:2] for seed in range(6)), strict=True)
    late = np.array(heat)[:, 20:]
    assert (late > 1.0).mean() < 0.5  # the best point lies on the limit, so readings decide
    assert (late > 1.02).mean() < 0.1  # by more than the noise
    assert all(f[h <= 1.0].max() > 0.95 for f, h in zip(flux, heat, strict=True))


@pytest.mark.integration
def test_no_point_elsewhere_is_expected_to_break_a_limit() -> None:
    _, _, decisions = searched(3, 60)
    away = [decision for decision in decisions if decision.reason.startswith("elsewhere: ")]
    assert away
    assert all(decision.mean["heat"] <= 1.0 for decision in away)
