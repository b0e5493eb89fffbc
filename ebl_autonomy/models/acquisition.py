"""The acquisition function over several Gaussian processes, its gradient, and the search for its maximum, compiled.

The value of a point is log EI of the objective plus the log-probabilities that every constraint holds and that the
measurement is valid (Gardner et al. 2014, ICML, "Bayesian optimization with inequality constraints"). log EI is
computed without cancellation (Ament et al. 2023, NeurIPS, "Unexpected improvements to expected improvement", section
4.1). As long as no point is feasible, the probabilities alone lead.

Models are stacked: column c has `counts[c]` observations in X[c], W[c] and alpha[c] (see `kernels`), a share in the
objective, `weights[c]`, and the limits `low[c]`, `high[c]` on its latent value, infinite where there is none. The
objective is the weighted sum of the latent values: of one column alone, or of several, such as the logarithms of widths
whose product is wanted (a composite objective: Astudillo and Frazier 2019, ICML; a sum stays Gaussian, and exact).
`active` are the columns that have a share or a limit.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from ebl_autonomy.models.kernels import add, correlations, dot, slope_factor

__all__ = ["climb", "log_ei", "log_mass", "posterior", "screen", "values"]

SQRT2: Final = math.sqrt(2.0)
SQRT2PI: Final = math.sqrt(2.0 * math.pi)
TAIL: Final = -3.0
"""Below this many standard deviations the tail is computed by continued fractions."""
LEAST_VARIANCE: Final = 1e-12
FAR: Final = 1e100


@njit(cache=True, nogil=True, error_model="numpy")
def _fraction(t: float, first: int) -> float:
    """The continued fraction t + first / (t + (first + 1) / (t + ...)).

    With first = 1 it is phi(t) / Q(t), the inverse of Mills' ratio (Abramowitz and Stegun 1964, 26.2.14); 60 terms give
    double precision for t >= 3.
    """
    tail = t
    for k in range(60, first - 1, -1):
        tail = t + k / tail
    return tail


@njit(cache=True, nogil=True, error_model="numpy")
def _phi(u: float) -> float:
    return math.exp(-0.5 * u * u) / SQRT2PI


@njit(cache=True, nogil=True, error_model="numpy")
def _cdf(u: float) -> float:
    return 0.5 * math.erfc(-u / SQRT2)


@njit(cache=True, nogil=True, error_model="numpy")
def _log_cdf(u: float) -> float:
    if u > TAIL:
        return math.log(_cdf(u))
    return -0.5 * u * u - math.log(SQRT2PI) - math.log(_fraction(-u, 1))


@njit(cache=True, nogil=True, error_model="numpy")
def log_ei(mean: float, std: float, best: float) -> tuple[float, float, float]:
    """log E[max(f - best, 0)] for f ~ N(mean, std²), with its derivatives in mean and std."""
    u = (mean - best) / std
    if u > TAIL:
        phi, cdf = _phi(u), _cdf(u)
        h = phi + u * cdf
        return math.log(std) + math.log(h), cdf / (std * h), phi / (std * h)
    t = -u
    # phi + u cdf = phi (1 - t R) with Mills' ratio R = 1 / (t + c): 1 - t R = c / (t + c), and nothing cancels.
    c = 1.0 / _fraction(t, 2)
    share = c / (t + c)
    value = math.log(std) - 0.5 * u * u - math.log(SQRT2PI) + math.log(share)
    return value, 1.0 / ((t + c) * share * std), 1.0 / (share * std)


@njit(cache=True, nogil=True, error_model="numpy")
def log_mass(mean: float, std: float, low: float, high: float) -> tuple[float, float, float]:
    """log P(low <= g <= high) for g ~ N(mean, std²), with its derivatives in mean and std; ends may be infinite."""
    a = (low - mean) / std if low > -FAR else -math.inf
    b = (high - mean) / std if high < FAR else math.inf
    if a > 0.0:  # the mass lies in the upper tail: mirror it, where differences are exact
        value, by_mean, by_std = _log_mass_lower(-b, -a, std)
        return value, -by_mean, by_std
    return _log_mass_lower(a, b, std)


@njit(cache=True, nogil=True, error_model="numpy")
def _log_mass_lower(a: float, b: float, std: float) -> tuple[float, float, float]:
    """`log_mass` between the scaled ends a < b, where a <= 0."""
    if b == math.inf and a == -math.inf:
        return 0.0, 0.0, 0.0
    if b == math.inf:
        value = _log_cdf(-a)
    else:
        upper = _log_cdf(b)
        value = upper
        if a > -math.inf:
            value += math.log(max(-math.expm1(_log_cdf(a) - upper), 1e-300))
    by_mean, by_std = 0.0, 0.0
    if a > -math.inf:
        density = math.exp(-0.5 * a * a - math.log(SQRT2PI) - value)
        by_mean += density / std
        by_std += density * a / std
    if b < math.inf:
        density = math.exp(-0.5 * b * b - math.log(SQRT2PI) - value)
        by_mean -= density / std
        by_std -= density * b / std
    return value, by_mean, by_std


@njit(cache=True, nogil=True, error_model="numpy")
def posterior(
    points: np.ndarray,
    X: np.ndarray,
    W: np.ndarray,
    alpha: np.ndarray,
    n: int,
    inverse_scales: np.ndarray,
    mean: float,
    kind: int,
    k: np.ndarray,
    v: np.ndarray,
    means: np.ndarray,
    variances: np.ndarray,
) -> None:
    """Latent means and variances of one model at `points`, shape (s, d); k and v, shape (s, n), are left for gradients.

    Each row of W is read once for all points, because at a thousand observations reading it is what takes the time.
    """
    s = points.shape[0]
    for p in range(s):
        correlations(points[p], X, n, inverse_scales, kind, k[p])
        means[p] = mean + dot(k[p], alpha, n)
        variances[p] = 1.0
    for j in range(n):
        for p in range(s):
            z = dot(W[j], k[p], j + 1)
            v[p, j] = z
            variances[p] -= z * z
    for p in range(s):
        variances[p] = max(variances[p], LEAST_VARIANCE)


@njit(cache=True, nogil=True, error_model="numpy")
def values(
    points: np.ndarray,
    active: np.ndarray,
    X: np.ndarray,
    W: np.ndarray,
    alpha: np.ndarray,
    counts: np.ndarray,
    inverse_scales: np.ndarray,
    means: np.ndarray,
    weights: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    sign: float,
    best: float,
    kind: int,
    with_gradient: bool,
    k: np.ndarray,
    v: np.ndarray,
    value: np.ndarray,
    gradient: np.ndarray,
) -> None:
    """The acquisition at `points`, shape (s, d), into `value`, shape (s,), and its gradient into `gradient`, (s, d).

    `best` is the incumbent, in the sense in which more is better (times `sign`), or -inf if nothing is feasible yet. k
    and v are work space of shape (columns, s, >= n).
    """
    s, d = points.shape
    columns = counts.shape[0]
    m, s2 = np.zeros((columns, s)), np.zeros((columns, s))
    by_mean, by_variance = np.zeros((columns, s)), np.zeros((columns, s))
    gradient[:] = 0.0
    for c in active:
        posterior(points, X[c], W[c], alpha[c], counts[c], inverse_scales[c], means[c], kind, k[c], v[c], m[c], s2[c])
    for p in range(s):
        value[p] = _combine(active, m[:, p], s2[:, p], weights, low, high, sign, best, by_mean[:, p], by_variance[:, p])
    if not with_gradient:
        return
    for c in active:
        n = counts[c]
        # What k is weighed by in the gradient: alpha dv/dmean - 2 (Wᵀ v) dv/dvariance; it takes the place of k.
        for p in range(s):
            for i in range(n):
                k[c, p, i] = by_mean[c, p] * alpha[c, i]
        for j in range(n):
            for p in range(s):
                add(k[c, p], -2.0 * by_variance[c, p] * v[c, p, j], W[c, j], j + 1)
        for p in range(s):
            for i in range(n):
                r2 = 0.0
                for j in range(d):
                    z = (points[p, j] - X[c, i, j]) * inverse_scales[c, j]
                    r2 += z * z
                pull = -k[c, p, i] * slope_factor(r2, kind)
                for j in range(d):
                    gradient[p, j] += pull * (points[p, j] - X[c, i, j]) * inverse_scales[c, j] * inverse_scales[c, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _combine(
    active: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    weights: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    sign: float,
    best: float,
    by_mean: np.ndarray,
    by_variance: np.ndarray,
) -> float:
    """The acquisition from the columns' latent means and variances, with its derivatives in them."""
    total, objective, spread = 0.0, 0.0, 0.0
    for c in active:
        std = math.sqrt(variance[c])
        gain, in_mean, in_std = log_mass(mean[c], std, low[c], high[c])
        total += gain
        by_mean[c] = in_mean
        by_variance[c] = in_std / (2.0 * std)
        objective += weights[c] * mean[c]
        spread += weights[c] * weights[c] * variance[c]
    if best > -FAR:
        std = math.sqrt(max(spread, LEAST_VARIANCE))
        gain, in_mean, in_std = log_ei(sign * objective, std, best)
        total += gain
        for c in active:
            by_mean[c] += sign * weights[c] * in_mean
            by_variance[c] += weights[c] * weights[c] * in_std / (2.0 * std)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def screen(
    points: np.ndarray,
    active: np.ndarray,
    X: np.ndarray,
    alpha: np.ndarray,
    counts: np.ndarray,
    inverse_scales: np.ndarray,
    means: np.ndarray,
    weights: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    noise: np.ndarray,
    sign: float,
    best: float,
    kind: int,
    value: np.ndarray,
) -> None:
    """A cheap guess of the acquisition, to choose which of many points are worth an exact one.

    Means are exact; the variance is the one that the nearest observation alone would leave, which is an upper bound.
    """
    columns = counts.shape[0]
    k = np.empty(X.shape[1])
    mean, variance = np.zeros(columns), np.zeros(columns)
    by_mean, by_variance = np.zeros(columns), np.zeros(columns)
    for p in range(points.shape[0]):
        for c in active:
            n = counts[c]
            correlations(points[p], X[c], n, inverse_scales[c], kind, k)
            nearest = 0.0
            for i in range(n):
                nearest = max(nearest, k[i] * k[i] / (1.0 + noise[c, i]))
            mean[c] = means[c] + dot(k, alpha[c], n)
            variance[c] = max(1.0 - nearest, 1e-8)
        value[p] = _combine(active, mean, variance, weights, low, high, sign, best, by_mean, by_variance)


@njit(cache=True, nogil=True, error_model="numpy")
def climb(
    points: np.ndarray,
    box_low: np.ndarray,
    box_high: np.ndarray,
    iterations: int,
    active: np.ndarray,
    X: np.ndarray,
    W: np.ndarray,
    alpha: np.ndarray,
    counts: np.ndarray,
    inverse_scales: np.ndarray,
    means: np.ndarray,
    weights: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    sign: float,
    best: float,
    kind: int,
    value: np.ndarray,
) -> None:
    """Take each of `points`, shape (s, d), uphill inside the box, in place; `value` is what they reach.

    Projected gradients with Barzilai and Borwein's step (Birgin, Martínez and Raydan 2000, SIAM J. Optim. 10, 1196), in
    coordinates in which the box is a cube; all points take their steps together.
    """
    s, d = points.shape
    n = X.shape[1]
    k, v = np.empty((counts.shape[0], s, n)), np.empty((counts.shape[0], s, n))
    gradient, trial_gradient = np.empty((s, d)), np.empty((s, d))
    trial, trial_value = np.empty((s, d)), np.empty(s)
    side2, step = np.empty(d), np.empty(s)
    for j in range(d):
        side2[j] = (box_high[j] - box_low[j]) ** 2
    values(
        points,
        active,
        X,
        W,
        alpha,
        counts,
        inverse_scales,
        means,
        weights,
        low,
        high,
        sign,
        best,
        kind,
        True,
        k,
        v,
        value,
        gradient,
    )
    for p in range(s):
        longest = 1e-300
        for j in range(d):
            longest = max(longest, abs(gradient[p, j]) * math.sqrt(side2[j]))
        step[p] = 0.1 / longest
    for _iteration in range(iterations):
        moved = 0.0
        for p in range(s):
            for j in range(d):
                x = points[p, j] + step[p] * gradient[p, j] * side2[j]
                trial[p, j] = min(max(x, box_low[j]), box_high[j])
                if side2[j] > 0.0:
                    moved = max(moved, (trial[p, j] - points[p, j]) ** 2 / side2[j])
        if moved < 1e-12:
            break
        values(
            trial,
            active,
            X,
            W,
            alpha,
            counts,
            inverse_scales,
            means,
            weights,
            low,
            high,
            sign,
            best,
            kind,
            True,
            k,
            v,
            trial_value,
            trial_gradient,
        )
        for p in range(s):
            if not trial_value[p] > value[p]:
                step[p] *= 0.2
                continue
            ss, sy = 0.0, 0.0
            for j in range(d):
                if side2[j] > 0.0:
                    dx = trial[p, j] - points[p, j]
                    ss += dx * dx / side2[j]
                    sy += dx * (gradient[p, j] - trial_gradient[p, j])
                points[p, j] = trial[p, j]
                gradient[p, j] = trial_gradient[p, j]
            value[p] = trial_value[p]
            step[p] = ss / sy if sy > 1e-12 * ss else 2.0 * step[p]
