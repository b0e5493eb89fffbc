"""Hyper-parameters are inferred as well as by scipy's L-BFGS-B, within their bounds, and alike in every thread."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.optimize import minimize

from ebl_autonomy.surrogates import covariance
from ebl_autonomy.surrogates.priors import NOISE_PRIOR, SIGNAL_PRIOR

ITERATIONS = 200
ENOUGH = 1e-2
"""Nats that no decision can tell: a fit ends when one step gains less than a hundredth of it."""


class Fit:
    """One fit of a random function of d inputs, of which the first matters most and the last not at all."""

    def __init__(self, seed: int, n: int, d: int, shortest: float = 0.01, known: bool = False) -> None:
        rng = np.random.default_rng(seed)
        self.X = rng.random((n, d))
        waves = np.append(rng.exponential(6.0, d - 1), 0.0)
        waves[0] += 6.0
        y = np.sin(self.X * waves).sum(axis=1) + 0.02 * rng.standard_normal(n)
        self.y = (y - y.mean()) / y.std()
        self.noise, self.infers = np.full(n, 1e-4 if known else 0.0), not known
        self.caps = np.full(d, math.inf)
        self.prior = np.array([(math.sqrt(2.0) + 0.5 * math.log(d), math.sqrt(3.0))] * d)
        self.low = np.log([shortest] * d + [covariance.NOISE_BOUNDS[0], 0.1])
        self.high = np.log([covariance.SCALE_BOUNDS[1]] * d + [covariance.NOISE_BOUNDS[1], 10.0])
        mode = np.append(self.prior[:, 0] - self.prior[:, 1] ** 2, [-5.0, 0.0])
        self.start = np.clip(mode, self.low, self.high)

    def ours(self, iterations: int = ITERATIONS) -> tuple[np.ndarray, float]:
        """What the compiled fit reaches, and its value."""
        theta = self.start.copy()
        curvature = np.zeros((len(theta), len(theta)))
        return theta, float(covariance.fit(theta, *self.data(), self.low, self.high, iterations, curvature))

    def data(self) -> tuple[object, ...]:
        """What is fitted, as the compiled functions take it."""
        return (
            self.X,
            self.y,
            self.noise,
            self.infers,
            self.caps,
            covariance.MATERN52,
            self.prior,
            NOISE_PRIOR,
            SIGNAL_PRIOR,
        )

    def theirs(self, start: np.ndarray) -> float:
        """The value that L-BFGS-B reaches from `start`."""
        work = np.zeros((2, len(self.y), len(self.y)))

        def value(theta: np.ndarray) -> tuple[float, np.ndarray]:
            gradient = np.empty_like(theta)
            return covariance.negative_log_posterior(theta, *self.data(), gradient, work), gradient

        bounds = np.stack([self.low, self.high], axis=1)
        found = minimize(value, start, method="L-BFGS-B", jac=True, bounds=bounds, options={"ftol": 1e-12})
        return float(found.fun)


def test_from_the_same_start_l_bfgs_b_reaches_no_more() -> None:
    fits = [Fit(seed, 40, 2 + seed % 6) for seed in range(40)]
    reached = [fit.ours() for fit in fits]
    assert all(
        (fit.low <= theta).all() and (theta <= fit.high).all() for fit, (theta, _) in zip(fits, reached, strict=True)
    )
    gaps = [value - fit.theirs(fit.start) for fit, (_, value) in zip(fits, reached, strict=True)]
    assert sorted(gaps)[-2] < ENOUGH, "one may end where a bound holds it up"


def test_fits_in_threads_are_those_of_one_thread_bit_for_bit() -> None:
    fits = [Fit(seed, 70, 4) for seed in range(6)]
    alone = [fit.ours() for fit in fits]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(Fit.ours, fits))
    for (theta, reached), (same, too) in zip(alone, together, strict=True):
        assert np.array_equal(theta, same)
        assert reached == too


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_fit_to_what_cannot_be_computed_leaves_its_start(broken: float) -> None:
    fit = Fit(0, 20, 2)
    fit.y[3] = broken
    theta, reached = fit.ours()
    assert np.array_equal(theta, fit.start)
    assert not math.isfinite(reached)
