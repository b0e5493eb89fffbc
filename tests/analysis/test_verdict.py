"""The verdict on a search: on problems whose answer is known, with few points, and how often it errs."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebl_autonomy.agents import BayesianAgent, SobolAgent
from ebl_autonomy.analysis.response import response_factor
from ebl_autonomy.analysis.verdict import FASTEST_DRIFT, FLAT, RESPONDS, judge, judge_front
from ebl_autonomy.space import FloatArray

pytestmark = pytest.mark.integration  # seconds: reports, fits of models, or many runs

Function = Callable[[FloatArray], float]

SURE = {"converged", "still improving"}
"""The kinds that claim to know the response."""


def bowl(x: FloatArray) -> float:
    return float(4.0 * np.mean((x - 0.4) ** 2))


def ridge(x: FloatArray) -> float:
    """Narrow in the sum of the first and last variable, and flat elsewhere."""
    return float(1.0 - np.exp(-8.0 * (x[0] + x[-1] - 0.9) ** 2))


def scattered(function: Function, d: int, n: int, noise: float = 0.0, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Random points of the cube, and noisy readings of a function there."""
    rng = np.random.default_rng(seed)
    unit = rng.random((n, d))
    return unit, np.array([function(x) for x in unit]) + noise * rng.standard_normal(n)


def searched(
    function: Function,
    d: int,
    n: int,
    noise: float = 0.0,
    seed: int = 0,
    drift: float = 0.0,
    agent: Any = BayesianAgent,
) -> tuple[FloatArray, FloatArray]:
    """The points of an agent that minimises a function, and their readings, which rise by `drift` during the run."""
    rng = np.random.default_rng([seed, 7])
    names = [f"m{i}" for i in range(d)]
    optimizer = agent({"variables": {n: [0.0, 1.0] for n in names}, "objectives": {"f": "MINIMIZE"}}, seed=seed)
    unit, values = [], []
    for k in range(n):
        (point,) = optimizer.suggest(1)
        unit.append([point[name] for name in names])
        values.append(function(np.array(unit[-1])) + noise * rng.standard_normal() + drift * k / n)
        optimizer.ingest([{**point, "f": values[-1]}])
    return np.array(unit), np.array(values)


# -- problems whose answer is known ----------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_search_that_found_the_bottom_of_a_bowl_has_converged(d: int) -> None:
    unit, values = searched(bowl, d, 10 + 8 * d, noise=0.005)
    verdict = judge(unit, values, -1.0)
    assert verdict.kind == "converged"
    assert verdict.progress.factor > RESPONDS
    assert verdict.progress.best is not None
    assert bowl(unit[verdict.progress.best]) < 0.02
    assert abs(verdict.progress.value - bowl(unit[verdict.progress.best])) < 4.0 * verdict.progress.uncertainty + 0.005
    assert verdict.progress.late_share < 0.02
    assert verdict.progress.noise == pytest.approx(0.005, rel=1.0)


def test_a_search_on_its_way_down_still_improves() -> None:
    line = np.linspace(0.1, 0.7, 15)[:, None]
    verdict = judge(line, (line[:, 0] - 0.95) ** 2, -1.0)
    assert verdict.kind == "still improving"
    assert verdict.progress.late_share > 0.1
    assert verdict.progress.late_gain == pytest.approx(0.464**2 - 0.25**2, abs=0.06)  # from the 10th to the 15th point
    assert verdict.progress.left > 0.0
    mirrored = judge(line, -((line[:, 0] - 0.95) ** 2), 1.0)
    assert mirrored.kind == "still improving"
    assert mirrored.progress.late_gain == pytest.approx(verdict.progress.late_gain, rel=0.01)


@pytest.mark.parametrize("drift", [0.0, 5.0])
@pytest.mark.parametrize("d", [1, 2])
def test_noise_alone_is_flat_also_if_it_drifts(d: int, drift: float) -> None:
    kinds = Counter(
        judge(unit, values + drift * np.linspace(0.0, 1.0, len(values)), -1.0).kind
        for unit, values in (scattered(lambda _: 5.0, d, 60, noise=1.0, seed=seed) for seed in range(10))
    )
    assert kinds["flat"] >= 6, kinds  # the others are noisy: chance has made them look a little like a response
    assert not SURE & set(kinds), kinds


@pytest.mark.parametrize("points", [scattered, searched])
def test_what_is_told_of_a_flat_run_is_its_noise_and_no_drift_within_a_few_points(points: Any) -> None:
    told = [judge(*points(lambda _: 5.0, 2, 25, noise=0.3, seed=seed), -1.0) for seed in range(9)]
    flat = [verdict.progress for verdict in told if verdict.kind == "flat"]
    assert len(flat) >= 3
    assert all(0.5 < progress.noise / 0.3 < 1.6 for progress in flat), [progress.noise for progress in flat]
    assert all(progress.drift_points >= FASTEST_DRIFT for progress in flat)


def test_a_slow_drift_is_not_the_noise_of_a_flat_run() -> None:
    unit, values = scattered(lambda _: 5.0, 1, 60, noise=1.0, seed=2)
    verdict = judge(unit, values + 20.0 * np.linspace(0.0, 1.0, 60), -1.0)
    assert verdict.kind == "flat"
    assert 0.7 < verdict.progress.noise < 1.4


def test_a_constant_is_flat_and_an_outlier_is_not() -> None:
    unit = np.random.default_rng(0).random((30, 2))
    assert judge(unit, np.full(30, 3.0), 1.0).kind == "flat"
    values = np.random.default_rng(1).standard_normal(30)
    values[17] = 200.0  # a glitch, or a peak that one point hit: the readings cannot tell
    verdict = judge(unit, values, 1.0)
    assert verdict.kind == "noisy"
    assert verdict.progress.outliers == 1


@pytest.mark.parametrize("n", [400, 1001])
@pytest.mark.parametrize("kept", [1, 3])
def test_of_many_rows_the_few_that_satisfy_the_constraints_are_not_thinned_out(n: int, kept: int) -> None:
    unit, values = scattered(bowl, 1, n)
    feasible = np.zeros(n, dtype=bool)
    feasible[np.arange(kept) * 7 + 100] = True  # none of which is among evenly spaced ones
    verdict = judge(unit, values, -1.0, feasible=feasible)
    best = np.flatnonzero(feasible)[np.argmin(values[feasible])]
    assert verdict.progress.best == best
    assert verdict.progress.value == pytest.approx(values[best], abs=1e-2)
    assert math.isfinite(verdict.progress.left_share)


def test_a_response_within_the_noise_is_never_taken_for_known() -> None:
    kinds = Counter(judge(*scattered(bowl, 2, 30, noise=0.8, seed=seed), -1.0).kind for seed in range(8))
    assert not SURE & set(kinds), kinds


def test_a_drift_under_a_response_is_told_from_it() -> None:
    unit, values = scattered(bowl, 2, 60, noise=0.02, seed=3)
    verdict = judge(unit, values + 1.5 * np.linspace(0.0, 1.0, 60), -1.0)
    assert verdict.progress.factor > RESPONDS
    assert np.isfinite(verdict.progress.drift_points)
    assert np.isinf(judge(unit, values, -1.0).progress.drift_points)


def test_a_best_point_at_a_limit_is_told_unless_the_variable_does_not_matter() -> None:
    unit, values = searched(lambda x: x[0] + (x[1] - 0.5) ** 2, 3, 35, noise=0.005)
    at_limit = judge(unit, values, -1.0).progress.at_limit
    assert at_limit is not None
    assert at_limit[0] == -1
    assert 1 not in at_limit
    assert 2 not in at_limit  # it has no influence, wherever it stands
    assert 0 not in (judge(unit, values, -1.0, discrete=[0]).progress.at_limit or {})


def test_rows_that_break_constraints_count_as_readings_but_not_as_the_best() -> None:
    unit, values = searched(bowl, 2, 30, noise=0.005)
    feasible = unit[:, 0] > 0.6
    verdict = judge(unit, values, -1.0, feasible=feasible)
    assert verdict.progress.feasible == int(feasible.sum())
    assert verdict.progress.best is None or feasible[verdict.progress.best]
    assert judge(unit, values, -1.0, feasible=np.zeros(30, dtype=bool)).kind == "infeasible"


def test_a_current_that_falls_is_no_response_to_the_motors() -> None:
    rng = np.random.default_rng(2)
    current = 400.0 - np.arange(40.0)[:, None]
    unit = rng.random((40, 2))
    values = current[:, 0] / 100.0 + 0.02 * rng.standard_normal(40)
    assert judge(unit, values, 1.0, context=current).kind not in SURE


@pytest.mark.parametrize("n", [0, 1, 2, 4])
def test_a_few_points_are_too_few(n: int) -> None:
    verdict = judge(*scattered(bowl, 2, n), -1.0)
    assert verdict.kind == "too few points"
    assert verdict.progress.points == n


# -- several objectives ----------------------------------------------------------------------------------------------


def test_of_several_objectives_the_growth_of_the_front_decides() -> None:
    unit, _ = scattered(bowl, 2, 45, seed=1)
    goals = np.stack([np.sum((unit - 0.3) ** 2, axis=1), -np.sum((unit - 0.7) ** 2, axis=1)], axis=1)
    signs = np.array([-1.0, 1.0])
    steps = np.linspace(0.3, 0.7, 12)
    on_front = np.stack([steps, steps], axis=1)
    best = np.stack([np.sum((on_front - 0.3) ** 2, axis=1), -np.sum((on_front - 0.7) ** 2, axis=1)], axis=1)
    order = np.random.default_rng(0).permutation(45)
    early = judge_front(np.vstack([on_front, unit[order]]), np.vstack([best, goals[order]]), signs)
    assert early.kind == "converged"
    assert early.late_share < 0.01
    poor = np.argsort(goals[:, 0] - goals[:, 1])[-30:]
    late = judge_front(np.vstack([unit[poor], on_front]), np.vstack([goals[poor], best]), signs)
    assert late.kind == "still improving"
    assert late.late_share > 0.1
    assert len(late.each) == 2


def test_noise_in_several_objectives_is_flat_and_enlarges_no_front() -> None:
    rng = np.random.default_rng(5)
    verdict = judge_front(rng.random((40, 1)), rng.standard_normal((40, 3)), np.ones(3))
    assert verdict.kind in ("flat", "noisy")
    assert verdict.late_share < 0.02
    assert judge_front(rng.random((9, 1)), np.full((9, 2), np.nan), np.ones(2)).kind == "infeasible"


def test_one_objective_is_judged_as_by_itself() -> None:
    unit, values = scattered(bowl, 2, 20, noise=0.01)
    assert judge_front(unit, values[:, None], np.array([-1.0])).each == (judge(unit, values, -1.0),)


# -- properties ------------------------------------------------------------------------------------------------------

numbers = st.one_of(st.floats(-1e3, 1e3), st.just(np.nan), st.sampled_from([0.0, 1.0, -1e12, 1e12, 1e-12, np.inf]))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3), st.lists(numbers, max_size=9), st.sampled_from([-1.0, 1.0]), st.randoms(use_true_random=False)
)
def test_any_readings_have_a_verdict(d: int, readings: list[float], sign: float, random: Any) -> None:
    unit = np.array([[random.choice([0.0, 1.0, random.random()]) for _ in range(d)] for _ in readings])
    verdict = judge(unit.reshape(len(readings), d), np.array(readings, dtype=float), sign)
    progress = verdict.progress
    assert (progress.points, progress.valid) == (len(readings), int(np.isfinite(readings).sum()))
    assert verdict.kind in {"too few points", "infeasible", "flat", "noisy", "still improving", "converged"}
    assert progress.best is None or np.isfinite(readings[progress.best])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 12), st.floats(1e-6, 1e6), st.floats(0.0, 1e3))
def test_the_factor_does_not_depend_on_units_or_on_the_order_of_variables(
    seed: int, n: int, scale: float, offset: float
) -> None:
    unit, values = scattered(bowl, 3, n, noise=0.1, seed=seed)
    values = values - 10.0  # negative, so that no logarithm is taken
    plain = np.log(response_factor(unit, values))
    assert np.log(response_factor(unit, scale * (values - offset))) == pytest.approx(plain, abs=1e-4)
    assert np.log(response_factor(unit[:, [2, 0, 1]], values)) == pytest.approx(plain, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_a_clear_response_is_seen_and_its_shuffled_readings_are_not(seed: int) -> None:
    unit, values = scattered(bowl, 1, 14, noise=1e-3, seed=seed)
    assert response_factor(unit, values) > RESPONDS
    shuffled = np.random.default_rng(seed).permutation(values)
    assert response_factor(unit, shuffled) < response_factor(unit, values)


# -- how often it errs -----------------------------------------------------------------------------------------------


def test_without_a_response_the_factor_rarely_passes_however_the_points_were_chosen() -> None:
    """By Ville's inequality at most 1 of 20; the agents here follow the noise, and stop when they like."""
    passed = 0
    for seed in range(60):
        unit, values = searched(lambda _: 5.0, 1 + seed % 3, 24, noise=1.0, seed=seed, drift=4.0 * (seed % 2))
        passed += max(response_factor(unit[:n], values[:n]) for n in (6, 12, 24)) > RESPONDS
    assert passed <= 3


@pytest.mark.parametrize("agent", [BayesianAgent, SobolAgent])
def test_converged_is_rarely_said_of_what_has_not(agent: Any) -> None:
    """Of what is called converged, at most one in ten may still gain more than a twentieth of the range nearby."""
    wrong, said = [], 0
    for seed in range(6):
        for d, noise in ((1, 0.05), (2, 0.002), (3, 0.02), (4, 0.05)):
            for function in (bowl, ridge):
                unit, values = searched(function, d, 36, noise=noise, seed=seed, agent=agent)
                true = np.array([function(x) for x in unit])
                for n in (12, 24, 36):
                    verdict = judge(unit[:n], values[:n], -1.0)
                    if verdict.kind != "converged" or verdict.progress.best is None:
                        continue
                    said += 1
                    here = unit[verdict.progress.best]
                    around = np.clip(here + np.random.default_rng(0).uniform(-0.1, 0.1, (2000, d)), 0.0, 1.0)
                    missed = function(here) - min(function(x) for x in around)
                    if missed > 0.05 * np.ptp(true):
                        wrong.append((function.__name__, d, noise, seed, n, missed / np.ptp(true)))
    assert said >= 10
    assert len(wrong) <= 0.1 * said, wrong


def test_flat_is_rarely_said_of_a_response_above_the_noise() -> None:
    kinds = Counter(
        judge(*searched(function, d, n, noise=0.05, seed=seed), -1.0).kind
        for function in (bowl, ridge)
        for d in (1, 2, 4)
        for n in (10, 25)
        for seed in range(5)
    )
    assert kinds["flat"] <= 0.05 * kinds.total(), kinds
    assert FLAT > 1.0
