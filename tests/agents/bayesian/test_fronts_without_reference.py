"""Two objectives without a reference: the ends of the front are worth points before many feasible points are known."""

import numpy as np
import pytest

from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.surrogates import hypervolume

pytestmark = pytest.mark.integration


def missing_area(seed: int, points: int) -> float:
    """The share of the area of a front between two peaks that is missing; the feasible region is an ellipsoid."""
    rng = np.random.default_rng([seed, 99])
    ends = rng.uniform(0.15, 0.85, (2, 4))
    half, widths = 0.5 * np.abs(ends[0] - ends[1]) + 0.06, rng.uniform(0.2, 0.5, (2, 4))

    def objectives(at: np.ndarray) -> np.ndarray:
        near = [((at - end) ** 2 / width**2).sum(axis=-1) for end, width in zip(ends, widths, strict=True)]
        return np.stack([-np.sqrt(0.05 + near[0]), np.exp(-0.5 * near[1])], axis=-1)

    def load(at: np.ndarray) -> np.ndarray:
        return np.asarray(0.5 * (((at - ends.mean(axis=0)) / half) ** 2).sum(axis=-1))

    dense = ends[0] + rng.random((20_000, 4)) * (ends[1] - ends[0]) + 0.03 * rng.standard_normal((20_000, 4))
    dense = objectives(dense[load(dense) <= 1.0])
    dense = dense[hypervolume.front(dense)]
    corner = dense.min(axis=0) - 0.1 * np.ptp(dense, axis=0)
    vocs = {
        "variables": {name: [0.0, 1.0] for name in "abcd"},
        "objectives": {"f": "MAXIMIZE", "g": "MAXIMIZE"},
        "constraints": {"load": ["LESS_THAN", 1.0]},
    }
    agent, found = BayesianAgent(vocs, seed=seed), []
    for _ in range(points):
        (point,) = agent.suggest(1)
        at = np.array([point[name] for name in "abcd"])
        f, g = objectives(at)
        if load(at) <= 1.0:
            found.append([f, g])
        agent.ingest([{**point, "f": f, "g": g, "load": float(load(at))}])
    area = hypervolume.volume(np.array(found).reshape(-1, 2), corner)
    return 1.0 - area / hypervolume.volume(dense, corner)


def test_the_ends_of_a_front_are_found() -> None:
    missing = [missing_area(seed, 40) for seed in range(5)]
    assert np.median(missing) < 0.035
    assert max(missing) < 0.06
