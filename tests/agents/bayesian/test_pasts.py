"""The correlation of a past experiment with the present one, from its prior and the measurements."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ebl_autonomy.agents import BayesianAgent, SobolAgent

ONE: dict[str, Any] = {"variables": {"x": [-1.0, 1.0], "y": [-1.0, 1.0]}, "objectives": {"f": "MINIMIZE"}}
Function = Callable[[float, float], float]


def present(x: float, y: float) -> float:
    return (x - 0.4) ** 2 + 2.0 * (y + 0.3) ** 2


def shifted(x: float, y: float) -> float:
    return present(x + 0.2, y - 0.2)


def elsewhere(x: float, y: float) -> float:
    return present(x + 1.2, y - 1.1)


def unrelated(x: float, y: float) -> float:
    return math.sin(9.0 * x) * math.cos(7.0 * y)


def trust(past: Function, count: int, noise: float, seed: int) -> float:
    """Correlation of a past of 40 points with a present of `count` points; all points are random and noisy."""
    rng = np.random.default_rng(seed)

    def measured(function: Function, n: int, sequence: int) -> list[dict[str, Any]]:
        points = SobolAgent(ONE, seed=sequence + seed).suggest(n)
        return [{**p, "f": function(p["x"], p["y"]) + noise * rng.standard_normal()} for p in points]

    agent = BayesianAgent(ONE, seed=0, drift="off")
    agent.ingest_prior(measured(past, 40, 100), "past")
    agent.ingest(measured(present, count, 200))
    return agent.explain().pasts["past"]


@pytest.mark.parametrize("seed", range(8))
def test_two_noisy_measurements_leave_a_past_about_as_trusted_as_beforehand(seed: int) -> None:
    assert 0.8 < trust(present, 2, noise=0.3, seed=seed) < 0.96


@pytest.mark.parametrize("seed", range(8))
def test_a_few_exact_measurements_that_agree_make_a_past_certain(seed: int) -> None:
    assert trust(present, 6, noise=0.02, seed=seed) > 0.99


@pytest.mark.parametrize("seed", range(8))
def test_three_exact_measurements_that_disagree_lower_the_trust_and_leave_some(seed: int) -> None:
    assert 0.03 < trust(elsewhere, 3, noise=0.02, seed=seed) < 0.5


@pytest.mark.parametrize("seed", range(8))
def test_a_past_that_says_nothing_of_the_present_is_left_out(seed: int) -> None:
    assert trust(unrelated, 10, noise=0.02, seed=seed) == 0.0


@pytest.mark.parametrize("seed", range(8))
def test_noise_is_no_reason_to_leave_out_a_past_that_holds_roughly(seed: int) -> None:
    assert trust(shifted, 6, noise=0.3, seed=seed) > 0.6
