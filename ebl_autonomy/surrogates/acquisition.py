"""The acquisition function over several Gaussian processes, its gradient, and the ascent to its maximum, compiled.

The acquisition is the log expected improvement of the objective, or the log expected hypervolume improvement of two,
plus the log-probabilities that each constraint holds and that the measurement is valid (Gardner et al. 2014, ICML,
"Bayesian optimization with inequality constraints"). As long as no point is feasible, it is the log-probabilities
alone. With caution, a constraint that is not likely to hold counts many times more. A point that might break a hard
limit, with the confidence that is asked for, is worth less than any other.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numba import njit

from ebl_autonomy.surrogates.covariance import add, correlations, dot, slope_factor
from ebl_autonomy.surrogates.improvement import FAR, log_ehvi, log_ei, log_mass

__all__ = ["UNSAFE", "Criteria", "ModelStack", "climb", "means", "posterior", "screen", "values"]

LEAST_VARIANCE: Final = 1e-12
LIKELY: Final = math.log(0.9)
"""Log-probability that a constraint holds above which caution has no effect."""
UNSAFE: Final = -1e12
"""The acquisition of a point that might break a hard limit, minus the excess, so that no ascent steps there."""


class ModelStack(NamedTuple):
    """The models of all outcomes, as the compiled functions take them; a column each, and one for validity.

    Attributes
    ----------
    active : ndarray of int
        The columns on which the decision depends.
    X : ndarray, shape (columns, >= n, d)
    W : ndarray, shape (columns, >= n, >= n)
    alpha, noise : ndarray, shape (columns, >= n)
        See `covariance`. Column c has its ``counts[c]`` observations in the first rows.
    counts : ndarray of int, shape (columns,)
    inverse_scales : ndarray, shape (columns, d)
    caps : ndarray, shape (d,)
        See `covariance`.
    means : ndarray, shape (columns,)
        Constant means.
    kind : int
        `covariance.RBF` or `covariance.MATERN52`.
    """

    active: np.ndarray
    X: np.ndarray
    W: np.ndarray
    alpha: np.ndarray
    noise: np.ndarray
    counts: np.ndarray
    inverse_scales: np.ndarray
    caps: np.ndarray
    means: np.ndarray
    kind: int


class Criteria(NamedTuple):
    """What a point is judged by: the goal in terms of the columns' latent values.

    Attributes
    ----------
    shares : ndarray, shape (objectives, columns)
        Weights: each objective is a weighted sum of latent values, such that more is better. Usually one column has a
        weight. Several have one where the objective is composite, such as the logarithms of two widths whose product is
        to be minimised (Astudillo and Frazier 2019, ICML). The sum of Gaussian variables is Gaussian, and exact.
    low, high : ndarray, shape (columns,)
        Constraints; infinite where there is none.
    hard_low, hard_high : ndarray, shape (columns,)
        Hard limits: `sigmas` standard deviations must lie between the mean and the limit.
    sigmas : float
    best : float
        The best value so far of a single objective; -inf if nothing is feasible yet.
    strips : ndarray, shape (k, 3)
        The front of two objectives, see `hypervolume.strips`; no rows if nothing is feasible yet.
    noise : ndarray, shape (columns,)
        The variance of one measurement, see `_resolved`.
    caution : ndarray, shape (columns,)
        Weight of the log-probability that a constraint holds, in addition to 1, as far as it is below `LIKELY`.
    """

    shares: np.ndarray
    low: np.ndarray
    high: np.ndarray
    hard_low: np.ndarray
    hard_high: np.ndarray
    sigmas: float
    best: float
    strips: np.ndarray
    noise: np.ndarray
    caution: np.ndarray


@njit(cache=True, nogil=True, error_model="numpy")
def posterior(
    points: np.ndarray, stack: ModelStack, c: int, k: np.ndarray, v: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> None:
    """Latent means and variances of model c at `points`, shape (s, d).

    Correlations ``k`` with the observations, and ``v = W k``, shape (s, n) each, are kept for gradients. Each row of W
    is read once for all points, because reading W takes most of the time with a thousand observations.
    """
    s, n, W = points.shape[0], stack.counts[c], stack.W[c]
    for p in range(s):
        correlations(points[p], stack.X[c], n, stack.inverse_scales[c], stack.caps, stack.kind, k[p])
        mean[p] = stack.means[c] + dot(k[p], stack.alpha[c], n)
        variance[p] = 1.0
    for j in range(n):
        for p in range(s):
            z = dot(W[j], k[p], j + 1)
            v[p, j] = z
            variance[p] -= z * z
    for p in range(s):
        variance[p] = max(variance[p], LEAST_VARIANCE)


@njit(cache=True, nogil=True, error_model="numpy")
def means(points: np.ndarray, stack: ModelStack, c: int, mean: np.ndarray) -> None:
    """Latent means of model c at `points`, shape (s, d), without the variances, which take n times as long."""
    n = stack.counts[c]
    k = np.empty(n)
    for p in range(points.shape[0]):
        correlations(points[p], stack.X[c], n, stack.inverse_scales[c], stack.caps, stack.kind, k)
        mean[p] = stack.means[c] + dot(k, stack.alpha[c], n)


@njit(cache=True, nogil=True, error_model="numpy")
def values(
    points: np.ndarray,
    stack: ModelStack,
    criteria: Criteria,
    with_gradient: bool,
    k: np.ndarray,
    v: np.ndarray,
    value: np.ndarray,
    gradient: np.ndarray,
) -> None:
    """The acquisition at `points`, shape (s, d), into `value`, shape (s,), and its gradient into `gradient`, (s, d).

    k and v are work space of shape (columns, s, >= n).
    """
    s, d = points.shape
    columns = stack.counts.shape[0]
    m, s2 = np.zeros((columns, s)), np.zeros((columns, s))
    by_mean, by_variance = np.zeros((columns, s)), np.zeros((columns, s))
    gradient[:] = 0.0
    for c in stack.active:
        posterior(points, stack, c, k[c], v[c], m[c], s2[c])
    for p in range(s):
        value[p] = _combine(stack.active, m[:, p], s2[:, p], criteria, by_mean[:, p], by_variance[:, p])
    if not with_gradient:
        return
    for c in stack.active:
        n, X, W, inverse_scales = stack.counts[c], stack.X[c], stack.W[c], stack.inverse_scales[c]
        caps = stack.caps
        # The gradient is the sum of dk/dx weighted by alpha dvalue/dmean - 2 (Wᵀ v) dvalue/dvariance. The weights
        # overwrite k.
        for p in range(s):
            for i in range(n):
                k[c, p, i] = by_mean[c, p] * stack.alpha[c, i]
        for j in range(n):
            for p in range(s):
                add(k[c, p], -2.0 * by_variance[c, p] * v[c, p, j], W[j], j + 1)
        for p in range(s):
            for i in range(n):
                r2 = 0.0
                for j in range(d):
                    z = min(abs(points[p, j] - X[i, j]), caps[j]) * inverse_scales[j]
                    r2 += z * z
                pull = -k[c, p, i] * slope_factor(r2, stack.kind)
                for j in range(d):
                    gradient[p, j] += pull * (points[p, j] - X[i, j]) * inverse_scales[j] * inverse_scales[j]
    for j in range(d):
        if stack.caps[j] < math.inf:
            gradient[:, j] = 0.0  # there is nothing between the values of a category


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _resolved(variance: float, noise: float) -> tuple[float, float]:
    """The variance by which one measurement is expected to move the posterior mean, and its derivative in `variance`.

    With this variance, the expected improvement is that of the posterior mean after the measurement, instead of that of
    the unknown truth. A point where noise would hide any gain is then worth no measurement (the knowledge gradient with
    one alternative: Scott, Frazier and Powell 2011, SIAM J. Optim. 21, 996). Without noise, the two are the same.
    """
    share = variance / (variance + noise)
    return variance * share, share * (2.0 - share)


@njit(cache=True, nogil=True, error_model="numpy")
def _combine(
    active: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    criteria: Criteria,
    by_mean: np.ndarray,
    by_variance: np.ndarray,
) -> float:
    """The acquisition from the columns' latent means and variances, and its derivatives in them."""
    total, risk = 0.0, 0.0
    m1, v1, m2, v2 = 0.0, 0.0, 0.0, 0.0
    two = criteria.shares.shape[0] == 2
    for c in active:
        std = math.sqrt(variance[c])
        risk += max(criteria.hard_low[c] - (mean[c] - criteria.sigmas * std), 0.0)
        risk += max(mean[c] + criteria.sigmas * std - criteria.hard_high[c], 0.0)
        gain, in_mean, in_std = log_mass(mean[c], std, criteria.low[c], criteria.high[c])
        if gain < LIKELY:
            gain += criteria.caution[c] * (gain - LIKELY)
            in_mean *= 1.0 + criteria.caution[c]
            in_std *= 1.0 + criteria.caution[c]
        total += gain
        by_mean[c] = in_mean
        by_variance[c] = in_std / (2.0 * std)
        m1 += criteria.shares[0, c] * mean[c]
        resolved, _ = _resolved(variance[c], criteria.noise[c])
        v1 += criteria.shares[0, c] ** 2 * resolved
        if two:
            m2 += criteria.shares[1, c] * mean[c]
            v2 += criteria.shares[1, c] ** 2 * resolved
    if risk > 0.0:
        by_mean[:] = 0.0
        by_variance[:] = 0.0
        return UNSAFE - risk
    std1 = math.sqrt(max(v1, LEAST_VARIANCE))
    if two and criteria.strips.shape[0]:
        std2 = math.sqrt(max(v2, LEAST_VARIANCE))
        gain, in_m1, in_s1, in_m2, in_s2 = log_ehvi(m1, std1, m2, std2, criteria.strips)
        total += gain
        for c in active:
            by_mean[c] += criteria.shares[0, c] * in_m1 + criteria.shares[1, c] * in_m2
            _, slope = _resolved(variance[c], criteria.noise[c])
            by_variance[c] += slope * criteria.shares[0, c] ** 2 * in_s1 / (2.0 * std1)
            by_variance[c] += slope * criteria.shares[1, c] ** 2 * in_s2 / (2.0 * std2)
    elif not two and criteria.best > -FAR:
        gain, in_mean, in_std = log_ei(m1, std1, criteria.best)
        total += gain
        for c in active:
            by_mean[c] += criteria.shares[0, c] * in_mean
            _, slope = _resolved(variance[c], criteria.noise[c])
            by_variance[c] += slope * criteria.shares[0, c] ** 2 * in_std / (2.0 * std1)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def screen(points: np.ndarray, stack: ModelStack, criteria: Criteria, value: np.ndarray) -> None:
    """A cheap guess of the acquisition at `points`, shape (s, d), into `value`, shape (s,).

    Means are exact. Each variance is the one that the nearest observation alone would leave, an upper bound.
    """
    columns = stack.counts.shape[0]
    k = np.empty(stack.X.shape[1])
    mean, variance = np.zeros(columns), np.zeros(columns)
    by_mean, by_variance = np.zeros(columns), np.zeros(columns)
    for p in range(points.shape[0]):
        for c in stack.active:
            n = stack.counts[c]
            correlations(points[p], stack.X[c], n, stack.inverse_scales[c], stack.caps, stack.kind, k)
            nearest = 0.0
            for i in range(n):
                nearest = max(nearest, k[i] * k[i] / (1.0 + stack.noise[c, i]))
            mean[c] = stack.means[c] + dot(k, stack.alpha[c], n)
            variance[c] = max(1.0 - nearest, 1e-8)
        value[p] = _combine(stack.active, mean, variance, criteria, by_mean, by_variance)


@njit(cache=True, nogil=True, error_model="numpy")
def climb(
    points: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    iterations: int,
    stack: ModelStack,
    criteria: Criteria,
    value: np.ndarray,
) -> None:
    """Move `points` uphill between `low` and `high`, shape (s, d) each, in place; their acquisition goes into `value`.

    Projected gradients with Barzilai and Borwein's step (Birgin, Martínez and Raydan 2000, SIAM J. Optim. 10, 1196), in
    coordinates in which the region is a cube. All points take their steps together.
    """
    s, d = points.shape
    n = stack.X.shape[1]
    k, v = np.empty((stack.counts.shape[0], s, n)), np.empty((stack.counts.shape[0], s, n))
    gradient, trial_gradient = np.empty((s, d)), np.empty((s, d))
    trial, trial_value = np.empty((s, d)), np.empty(s)
    side2, step = (high - low) ** 2, np.empty(s)
    values(points, stack, criteria, True, k, v, value, gradient)
    for p in range(s):
        longest = 1e-300
        for j in range(d):
            longest = max(longest, abs(gradient[p, j]) * math.sqrt(side2[p, j]))
        step[p] = 0.1 / longest
    for _iteration in range(iterations):
        moved = 0.0
        for p in range(s):
            for j in range(d):
                x = points[p, j] + step[p] * gradient[p, j] * side2[p, j]
                trial[p, j] = min(max(x, low[p, j]), high[p, j])
                if side2[p, j] > 0.0:
                    moved = max(moved, (trial[p, j] - points[p, j]) ** 2 / side2[p, j])
        if moved < 1e-12:
            break
        values(trial, stack, criteria, True, k, v, trial_value, trial_gradient)
        for p in range(s):
            if not trial_value[p] > value[p]:
                step[p] *= 0.2
                continue
            ss, sy = 0.0, 0.0
            for j in range(d):
                if side2[p, j] > 0.0:
                    dx = trial[p, j] - points[p, j]
                    ss += dx * dx / side2[p, j]
                    sy += dx * (gradient[p, j] - trial_gradient[p, j])
                points[p, j] = trial[p, j]
                gradient[p, j] = trial_gradient[p, j]
            value[p] = trial_value[p]
            step[p] = ss / sy if sy > 1e-12 * ss else 2.0 * step[p]
