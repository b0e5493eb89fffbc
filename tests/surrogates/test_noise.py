"""Noise is inferred from nothing to more than the signal, is not taken for drift, and the far field stays open."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebl_autonomy.surrogates.base import InputLayout, Observations
from ebl_autonomy.surrogates.numba_surrogate import NumbaSurrogate

GROWTH = 1.2


def hill(X: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-0.5 * np.sum(((X - 0.6) / 0.3) ** 2, axis=1)))


def searched(seed: int, n: int, d: int) -> np.ndarray:
    """Points as a search leaves them: some all over the domain, more of them about the top."""
    rng = np.random.default_rng([seed, n, d])
    X = rng.random((n, d))
    X[n // 3 :] = np.clip(0.6 + 0.15 * rng.standard_normal((n - n // 3, d)), 0.0, 1.0)
    return X


def fitted(X: np.ndarray, y: np.ndarray, clock: bool = False) -> NumbaSurrogate:
    """A surrogate that was fitted as the values came."""
    n, d = X.shape
    surrogate = NumbaSurrogate(InputLayout(d, 0, clock), 1)
    inputs = np.hstack([X, np.arange(n)[:, None] / 50.0]) if clock else X
    data = Observations(inputs, y[:, None], np.full((n, 1), math.nan))
    size = 2 * d + 1
    while size < n:
        surrogate.fit(data.first(size))
        size = math.ceil(GROWTH * size)
    surrogate.fit(data)
    surrogate.condition_on(data)
    return surrogate


@pytest.mark.integration
@pytest.mark.parametrize("std", [0.02, 0.1, 0.3])
def test_white_noise_is_not_taken_for_drift(std: float) -> None:
    drifts = 0
    for seed in range(12):
        X = searched(seed, 45, 3)
        y = hill(X) + std * np.random.default_rng(seed).standard_normal(45)
        drifts += bool(np.isfinite(fitted(X, y, clock=True).length_scales(0)[3]))
    assert drifts <= 1


def test_a_drift_that_begins_late_is_suspected_by_the_next_fit_and_modelled_by_the_one_after() -> None:
    n, still = 34, 26
    X = np.random.default_rng(1).random((n, 1))
    moved = 0.05 * np.maximum(np.arange(n) - still, 0)
    y = np.exp(-0.5 * ((X[:, 0] - 0.3 - moved) / 0.15) ** 2)
    data = Observations(np.column_stack([X[:, 0], np.arange(n) / 50.0]), y[:, None], np.full((n, 1), 1e-4))
    surrogate = NumbaSurrogate(InputLayout(1, 0, clock=True), 1)
    surrogate.fit(data.first(still))
    surrogate.condition_on(data.first(still))
    assert surrogate.drift_evidence(0) < 0.0
    assert np.isinf(surrogate.length_scales(0)[1])
    for size in (n - 1, n):
        surrogate.fit(data.first(size))
        surrogate.condition_on(data.first(size))
        assert surrogate.drift_evidence(0) > 5.0
        assert np.isfinite(surrogate.length_scales(0)[1]) == (size == n)


@pytest.mark.parametrize(("clock", "drift", "evidence"), [(False, "auto", -math.inf), (True, "on", math.inf)])
def test_a_drift_that_is_given_or_impossible_needs_no_evidence(clock: bool, drift: str, evidence: float) -> None:
    surrogate = NumbaSurrogate(InputLayout(1, 0, clock), 1, drift=drift)
    X = np.linspace(0.0, 1.0, 8)[:, None]
    data = Observations(np.hstack([X, X]) if clock else X, np.sin(3.0 * X), np.full((8, 1), math.nan))
    assert surrogate.drift_evidence(0) == -math.inf  # before the first fit
    surrogate.fit(data)
    assert surrogate.drift_evidence(0) == evidence


@pytest.mark.integration
@pytest.mark.parametrize("std", [0.03, 0.1, 0.3])
def test_the_noise_is_inferred_within_a_factor_of_two(std: float) -> None:
    noises = []
    for seed in range(9):
        X = searched(seed, 60, 2)
        y = hill(X) + std * np.random.default_rng(seed).standard_normal(60)
        noises.append(fitted(X, y).diagnose(0).noise)
    assert 0.5 * std < np.median(noises) < 2.0 * std


@pytest.mark.integration
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6), width=st.floats(0.02, 0.1))
def test_the_prior_deviation_exceeds_the_spread_of_clustered_results(seed: int, width: float) -> None:
    rng = np.random.default_rng(seed)
    X = np.clip(0.5 + width * rng.standard_normal((25, 2)), 0.0, 1.0)
    y = 3.0 * X[:, 0] - X[:, 1] + 0.5 * (X**2).sum(axis=1)
    hyperparameters = fitted(X, y)._gps.models[0].hyperparameters
    assert hyperparameters is not None
    assert hyperparameters.transform.whole_scale > 1.1 * y.std()
