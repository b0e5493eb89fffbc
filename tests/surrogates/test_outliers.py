"""Readings that lie are found and hardly count; real peaks, steps and repeated readings are no outliers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebl_autonomy.surrogates.base import Goal, Observations, SafetyLimits, SearchRegion
from ebl_autonomy.surrogates.numba_surrogate import NumbaSurrogate

pytestmark = pytest.mark.integration

seeds = st.integers(0, 10**6)


def conditioned(
    X: np.ndarray, y: np.ndarray, fitted_to: int | None = None, hard: SafetyLimits | None = None
) -> NumbaSurrogate:
    data = Observations(X, y[:, None], np.full((len(y), 1), math.nan))
    surrogate = NumbaSurrogate(X.shape[1], 1, hard=hard)
    surrogate.fit(data.first(len(y) if fitted_to is None else fitted_to))
    surrogate.condition_on(data)
    return surrogate


def smooth(X: np.ndarray) -> np.ndarray:
    return np.asarray(2.0 + np.sin(3.0 * X).sum(axis=1))


def rows(surrogate: NumbaSurrogate) -> list[int]:
    return [suspect.row for suspect in surrogate.suspects(0)]


@settings(deadline=None, max_examples=30)
@given(
    seed=seeds, factor=st.sampled_from([0.1, 3.0, 10.0, 100.0]), late=st.booleans(), noise=st.sampled_from([0, 0.02])
)
def test_a_reading_that_is_far_off_is_found_and_changes_little(
    seed: int, factor: float, late: bool, noise: float
) -> None:
    rng = np.random.default_rng(seed)
    X = rng.random((40, 2))
    honest = smooth(X) + noise * rng.standard_normal(40)
    wrong = 37 if late else 12
    y = honest.copy()
    y[wrong] *= factor
    surrogate = conditioned(X, y, 35 if late else None)
    assert wrong in rows(surrogate)
    assert len(rows(surrogate)) <= 2
    found = next(suspect for suspect in surrogate.suspects(0) if suspect.row == wrong)
    assert found.mean == pytest.approx(honest[wrong], abs=0.5)
    assert found.variance > 0.0
    assert (found.sigmas > 0.0) == (factor > 1.0)
    at = rng.random((50, 2))
    assert np.median(np.abs(surrogate.predict(at)[0][:, 0] - smooth(at))) < 0.05


@settings(deadline=None, max_examples=30)
@given(seed=seeds, n=st.integers(12, 60), d=st.integers(1, 3), early=st.booleans())
def test_smooth_readings_without_outliers_are_not_suspected(seed: int, n: int, d: int, early: bool) -> None:
    rng = np.random.default_rng(seed)
    X = rng.random((n, d))
    surrogate = conditioned(X, smooth(X) + 0.03 * rng.standard_normal(n), n - 5 if early else None)
    assert len(rows(surrogate)) <= n // 20


@settings(deadline=None, max_examples=20)
@given(seed=seeds, height=st.sampled_from([3.0, 1e5]), late=st.booleans())
def test_repeated_readings_that_agree_are_not_suspected(seed: int, height: float, late: bool) -> None:
    """A peak on a dark field that was measured twice."""
    rng = np.random.default_rng(seed)
    X = rng.random((30, 2))
    y = 0.01 * rng.standard_normal(30)
    X[27] = X[25] + 1e-4
    y[[25, 27]] = height * np.array([1.0, 1.001])
    assert not {25, 27} & set(rows(conditioned(X, y, 24 if late else None)))


@settings(deadline=None, max_examples=15)
@given(seed=seeds, width=st.sampled_from([0.05, 0.1]))
def test_a_narrow_peak_that_was_climbed_is_not_suspected(seed: int, width: float) -> None:
    rng = np.random.default_rng(seed)
    X = np.clip(0.5 + width * rng.standard_normal((30, 2)) * np.linspace(4.0, 0.3, 30)[:, None], 0.0, 1.0)
    y = 1e5 * np.exp(-0.5 * np.sum(((X - 0.5) / width) ** 2, axis=1))
    assert not rows(conditioned(X, y))


@settings(deadline=None, max_examples=15)
@given(seed=seeds)
def test_rows_one_by_one_or_all_at_once_give_the_same_model_bit_for_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.random((50, 2))
    y = smooth(X)
    y[[5, 33, 34, 41, 48]] *= rng.choice([0.1, 5.0], 5)
    X[43], y[43] = X[41], y[41]  # repeated and confirmed: no outlier any more
    data = Observations(X, y[:, None], np.full((50, 1), math.nan))
    one_by_one, at_once = NumbaSurrogate(2, 1), NumbaSurrogate(2, 1)
    for surrogate in (one_by_one, at_once):
        surrogate.fit(data.first(30))
    for n in range(30, 51):
        one_by_one.standardized_residuals(data.first(n))
        one_by_one.condition_on(data.first(n))
    at_once.condition_on(data)
    assert rows(at_once)
    assert not {41, 43} & set(rows(at_once))
    assert one_by_one.suspects(0) == at_once.suspects(0)
    goal, region = Goal(0, 1.0), SearchRegion(np.zeros(2), np.ones(2))
    proposed = [surrogate.propose(goal, region, 1, np.empty((0, 2)), 0)[0] for surrogate in (one_by_one, at_once)]
    assert np.array_equal(*proposed)
    one_by_one.condition_on(data.first(45))  # fewer rows again
    at_once.condition_on(data.first(45))
    assert one_by_one.suspects(0) == at_once.suspects(0)


def test_readings_of_an_outcome_with_a_hard_limit_are_never_suspected() -> None:
    rng = np.random.default_rng(0)
    X = rng.random((30, 2))
    y = smooth(X)
    y[9] *= 10.0
    assert not rows(conditioned(X, y, hard=SafetyLimits(((0, -math.inf, 50.0),))))
    assert rows(conditioned(X, y)) == [9]


def test_heavy_tails_cost_little_accuracy() -> None:
    """The noise that is inferred is that of the bulk of the readings."""
    errors = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X = rng.random((80, 2))
        surrogate = conditioned(X, smooth(X) + 0.05 * rng.standard_t(2, 80))
        at = rng.random((100, 2))
        errors.append(float(np.sqrt(np.mean((surrogate.predict(at)[0][:, 0] - smooth(at)) ** 2))))
    assert np.median(errors) < 0.06
