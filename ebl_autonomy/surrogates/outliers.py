"""Readings that lie: rows that are far more probable with a noise variance of their own, compiled.

Relevance pursuit (Ament et al. 2024, NeurIPS, "Robust Gaussian processes via relevance pursuit"): row i has an extra
variance, 0 for nearly all rows. Given all other rows, the most likely extra variance is ``max(0, r² - s²)`` with the
leave-one-out residual r and variance s². It must gain more nats than an outlier costs a priori. Rows are taken
greedily, and given up as soon as others explain them. Only rows that are `judged` can become outliers.

Two readings at the same place that agree are witnesses for each other: outliers err independently. The likelihood alone
does not see that where all readings before were dark, because a beam is impossible on the scale of their noise.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from ebl_autonomy.surrogates.covariance import constant_mean, correlations, dot, extend, solve

__all__ = ["judge_latest", "pursue"]

LEAST_GAIN: Final = 1e-3
"""Nats below which the pursuit does not go on."""
SAME_PLACE: Final = 0.97
"""Two readings are at the same place if the signal correlates by as much."""
ABOUT_AS_NEAR: Final = 4.0
"""Readings are about as near as the nearest if they lack at most so many times as much of full correlation."""
ROUNDING: Final = 1e-6
AGREEMENT: Final = 0.2
"""Two readings agree if they deviate from all others in the same direction and by amounts that differ by this share."""


@njit(cache=True, nogil=True, error_model="numpy")
def _improvement(r2: float, s2: float, now: float, cost: float, least: float) -> tuple[float, float]:
    """The best extra variance of one row, and the nats that it gains over the present one, `now`."""
    best, value = 0.0, 0.5 * (math.log(s2) + r2 / s2)
    if r2 > max(s2, least * least):
        with_own = 0.5 * (math.log(r2) + 1.0) + cost
        if with_own < value:
            best, value = r2 - s2, with_own
    present = 0.5 * (math.log(s2 + now) + r2 / (s2 + now)) + (cost if now > 0.0 else 0.0)
    return best, present - value


@njit(cache=True, nogil=True, error_model="numpy")
def _has_witness(
    row: int,
    X: np.ndarray,
    inverse_scales: np.ndarray,
    caps: np.ndarray,
    kind: int,
    precision: np.ndarray,
    alpha: np.ndarray,
) -> bool:
    """Whether the nearest other reading is at the same place and deviates likewise from all but these two.

    If several are about as near, most of them must.
    """
    m = len(alpha)
    k = np.empty(m)
    correlations(X[row], X, m, inverse_scales, caps, kind, k)
    k[row] = -1.0
    nearest = k.max()
    votes = 0
    for j in range(m):
        if k[j] < SAME_PLACE or 1.0 - k[j] > ABOUT_AS_NEAR * (1.0 - nearest) + ROUNDING:
            continue
        # The inverse of the block of the two rows times alpha, up to its determinant.
        own = precision[j, j] * alpha[row] - precision[row, j] * alpha[j]
        other = precision[row, row] * alpha[j] - precision[row, j] * alpha[row]
        agrees = own * other > 0.0 and abs(own - other) < AGREEMENT * max(abs(own), abs(other))
        votes += 1 if agrees else -1
    return votes > 0


@njit(cache=True, nogil=True, error_model="numpy")
def _descend(
    X: np.ndarray,
    inverse_scales: np.ndarray,
    caps: np.ndarray,
    kind: int,
    precision: np.ndarray,
    alpha: np.ndarray,
    extra: np.ndarray,
    judged: np.ndarray,
    cost: float,
    least: float,
    most: int,
) -> bool:
    """Change `extra`, shape (m,), row by row to where no change of one row gains; whether anything was changed.

    Parameters
    ----------
    X, inverse_scales, caps, kind
        See `pursue`.
    precision : ndarray, shape (m, m)
        Inverse of the covariance, `extra` included, or a diagonal block of it; overwritten.
    alpha : ndarray, shape (m,)
        Its product with the residuals; overwritten.
    extra : ndarray, shape (m,)
    judged : bool ndarray, shape (m,)
        Whether each row may become an outlier.
    cost : float
        Nats that each outlier must gain.
    least : float
        The least residual of an outlier, in prior standard deviations.
    most : int
        The largest number of outliers.
    """
    m = len(alpha)
    changed, acquitted = False, ~judged
    for _ in range(4 * m):
        row, most_gained, chosen = -1, LEAST_GAIN, 0.0
        full = np.count_nonzero(extra) >= most
        for i in range(m):
            s2 = max(1.0 / precision[i, i] - extra[i], 1e-12)
            r = alpha[i] / precision[i, i]
            best, gained = _improvement(r * r, s2, extra[i], cost, least)
            if gained > most_gained and not ((full or acquitted[i]) and extra[i] == 0.0):
                row, most_gained, chosen = i, gained, best
        if row < 0:
            break
        if chosen > 0.0 and _has_witness(row, X, inverse_scales, caps, kind, precision, alpha):
            acquitted[row] = True
            if extra[row] == 0.0:
                continue
            chosen = 0.0
        delta = chosen - extra[row]
        share = delta / (1.0 + delta * precision[row, row])
        column, a = precision[row].copy(), alpha[row]
        for i in range(m):
            alpha[i] -= share * a * column[i]
            for j in range(m):
                precision[i, j] -= share * column[i] * column[j]
        extra[row] = chosen
        changed = True
    return changed


@njit(cache=True, nogil=True, error_model="numpy")
def pursue(
    X: np.ndarray,
    y: np.ndarray,
    noise: np.ndarray,
    inverse_scales: np.ndarray,
    caps: np.ndarray,
    kind: int,
    extra: np.ndarray,
    judged: np.ndarray,
    cost: float,
    least: float,
    most: int,
) -> bool:
    """Find the outliers among n observations under given hyper-parameters; whether `extra` was changed.

    Parameters
    ----------
    X, y, noise : ndarray, shapes (n, d), (n,) and (n,)
        Inputs, latent values, and their variances without the extra ones.
    inverse_scales, caps : ndarray, shape (d,)
        See `covariance.correlations`.
    kind : int
        `covariance.RBF` or `covariance.MATERN52`.
    extra : ndarray, shape (n,)
        Extra variances, changed in place.
    judged, cost, least, most
        See `_descend`.
    """
    n = len(y)
    W, alpha, precision = np.zeros((n, n)), np.empty(n), np.zeros((n, n))
    extend(X, noise + extra, inverse_scales, caps, kind, 0, n, W)
    solve(W, n, y - constant_mean(W, n, y), alpha)
    for k in range(n):
        for i in range(k + 1):
            for j in range(k + 1):
                precision[i, j] += W[k, i] * W[k, j]
    return _descend(X, inverse_scales, caps, kind, precision, alpha, extra, judged, cost, least, most)


@njit(cache=True, nogil=True, error_model="numpy")
def judge_latest(
    X: np.ndarray,
    W: np.ndarray,
    y: np.ndarray,
    mean: float,
    inverse_scales: np.ndarray,
    caps: np.ndarray,
    kind: int,
    first: int,
    n: int,
    extra: np.ndarray,
    judged: np.ndarray,
    cost: float,
    least: float,
    most: int,
) -> None:
    """Find the outliers among the rows from `first` to `n`, given all before, from the inverse factor alone.

    The diagonal block of the precision that belongs to the last rows depends on the last rows of the factor only.

    Parameters
    ----------
    X : ndarray, shape (>= n, d)
    W : ndarray, shape (>= n, >= n)
        The inverse factor, in which rows from `first` on have no extra variance.
    y : ndarray, shape (>= n,)
    mean : float
    inverse_scales, caps, kind
        See `pursue`.
    first, n : int
    extra : ndarray, shape (>= n,)
        Extra variances, 0 from `first` on; changed in place.
    judged : bool ndarray, shape (n,)
    cost, least, most
        See `_descend`.
    """
    m = n - first
    whitened, residual = np.empty(m), y[:n] - mean
    for k in range(m):
        whitened[k] = dot(W[first + k], residual, first + k + 1)
    precision, alpha = np.zeros((m, m)), np.zeros(m)
    for k in range(m):
        row = W[first + k, first:n]
        for i in range(k + 1):
            alpha[i] += row[i] * whitened[k]
            for j in range(k + 1):
                precision[i, j] += row[i] * row[j]
    _descend(
        X[first:n], inverse_scales, caps, kind, precision, alpha, extra[first:n], judged[first:n], cost, least, most
    )
