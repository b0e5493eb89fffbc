"""Exact Gaussian processes, compiled: correlations, factors that grow by rows, and the fit of hyper-parameters.

Nothing here calls BLAS. Therefore results depend neither on the number of threads nor on where in memory an array lies,
and a factor that grew row by row equals, bit for bit, the one that is computed at once. Hot loops allocate nothing.

Notation: X has shape (n, d); K is the covariance of n observations, in units of the prior variance; W is the inverse of
its lower Cholesky factor, kept in the first n rows of an array of at least that size; alpha = K⁻¹ (y - mean).
Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", chapters 2 and 5.

``caps``, shape (d,), are the largest distances that count along each input: infinite, but for categories (a filter, a
crystal) the distance of neighbouring values. All values of a category are then equally far from each other, and r² has
the term 0 or 1 per squared length scale: the exchangeable kernel of Wan et al. 2021, ICML, "Think global and act local"
(eq. 2), in the product form of all other inputs. Length scales of categories are in units of their caps.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

__all__ = [
    "MATERN52",
    "NOISE_BOUNDS",
    "RBF",
    "SCALE_BOUNDS",
    "add",
    "constant_mean",
    "correlations",
    "dot",
    "extend",
    "fit",
    "negative_log_posterior",
    "slope_factor",
    "solve",
]

RBF: Final = 0
MATERN52: Final = 1

SQRT5: Final = math.sqrt(5.0)
LOG_2PI: Final = math.log(2.0 * math.pi)

SCALE_BOUNDS: Final = (0.01, 100.0)
"""Bounds of a length scale, in units of the domain."""
NOISE_BOUNDS: Final = (1e-6, 100.0)
"""Bounds of the inferred noise variance, in units of the prior variance."""
PIVOT: Final = 1e-10
"""The smallest squared pivot: the share of its prior variance that a repeated point is left with."""

# The compiler may reorder sums to suit the machine's vector units. The order is then fixed for all calls.
_FAST: Final = {"reassoc", "contract", "nsz", "arcp"}


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def correlation(r2: float, kind: int) -> float:
    """The correlation k(r), with k(0) = 1, from the squared scaled distance r²."""
    if kind == RBF:
        return math.exp(-0.5 * r2)
    r = math.sqrt(5.0 * r2)
    return (1.0 + r + r * r / 3.0) * math.exp(-r)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def slope_factor(r2: float, kind: int) -> float:
    """-2 dk/d(r²), in which nothing is divided by r: ``dk/dx_j = -slope_factor(r²) (x_j - x'_j) / l_j²``."""
    if kind == RBF:
        return math.exp(-0.5 * r2)
    r = math.sqrt(5.0 * r2)
    return 5.0 / 3.0 * (1.0 + r) * math.exp(-r)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def correlations(
    x: np.ndarray, X: np.ndarray, n: int, inverse_scales: np.ndarray, caps: np.ndarray, kind: int, out: np.ndarray
) -> None:
    """out[i] = k(x, X[i]) for i < n."""
    d = x.shape[0]
    for i in range(n):
        r2 = 0.0
        for j in range(d):
            z = min(abs(x[j] - X[i, j]), caps[j]) * inverse_scales[j]
            r2 += z * z
        out[i] = correlation(r2, kind)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def dot(a: np.ndarray, b: np.ndarray, n: int) -> float:
    """The scalar product of the first n elements."""
    total = 0.0
    for i in range(n):
        total += a[i] * b[i]
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def add(out: np.ndarray, factor: float, a: np.ndarray, n: int) -> None:
    """out += factor a, for the first n elements."""
    for i in range(n):
        out[i] += factor * a[i]


@njit(cache=True, nogil=True, error_model="numpy")
def extend(
    X: np.ndarray,
    noise: np.ndarray,
    inverse_scales: np.ndarray,
    caps: np.ndarray,
    kind: int,
    start: int,
    stop: int,
    W: np.ndarray,
) -> float:
    """Compute rows `start` to `stop` of W from the rows before them.

    Parameters
    ----------
    X : ndarray, shape (>= stop, d)
    noise : ndarray, shape (>= stop,)
        Variances.
    inverse_scales, caps : ndarray, shape (d,)
    kind : int
        `RBF` or `MATERN52`.
    start, stop : int
    W : ndarray, shape (>= stop, >= stop)
        Written in place.

    Returns
    -------
    float
        The contribution of these rows to the log-determinant of K.
    """
    log_determinant = 0.0
    k, row = np.empty(stop), np.empty(stop)
    for i in range(start, stop):
        correlations(X[i], X, i, inverse_scales, caps, kind, k)
        for j in range(i):
            row[j] = 0.0
        pivot = 1.0 + noise[i]
        for j in range(i):
            v = dot(W[j], k, j + 1)
            pivot -= v * v
            add(row, v, W[j], j + 1)
        pivot = math.sqrt(max(pivot, PIVOT))
        for j in range(i):
            W[i, j] = -row[j] / pivot
        W[i, i] = 1.0 / pivot
        log_determinant += 2.0 * math.log(pivot)
    return log_determinant


@njit(cache=True, nogil=True, error_model="numpy")
def solve(W: np.ndarray, n: int, y: np.ndarray, out: np.ndarray) -> None:
    """out = K⁻¹ y."""
    for i in range(n):
        out[i] = 0.0
    for j in range(n):
        add(out, dot(W[j], y, j + 1), W[j], j + 1)


@njit(cache=True, nogil=True, error_model="numpy")
def constant_mean(W: np.ndarray, n: int, y: np.ndarray) -> float:
    """The constant mean under which y is most likely, by generalised least squares."""
    above, below = 0.0, 0.0
    for j in range(n):
        ones, seen = 0.0, 0.0
        for i in range(j + 1):
            ones += W[j, i]
            seen += W[j, i] * y[i]
        above += ones * seen
        below += ones * ones
    return above / max(below, 1e-300)


@njit(cache=True, nogil=True, error_model="numpy")
def negative_log_posterior(
    theta: np.ndarray,
    X: np.ndarray,
    y: np.ndarray,
    given_noise: np.ndarray,
    infers_noise: bool,
    caps: np.ndarray,
    kind: int,
    scale_prior: np.ndarray,
    noise_prior: tuple[float, float],
    signal_prior: float,
    gradient: np.ndarray,
    work: np.ndarray,
) -> float:
    """Minus log p(y | theta) p(theta), with the most likely constant mean, and its gradient.

    The covariance of y is ``s² (R + noise I) + diag(given_noise)`` with the correlations R and the signal's standard
    deviation s. The priors are log-normal densities of the length scales and of the noise variance ``s² noise``, not of
    their logarithms, and a log-normal density of s with median 1.

    Parameters
    ----------
    theta : ndarray, shape (d + 2,)
        Logarithms of the length scales, of the noise variance in units of s², and of s. The noise variance is ignored
        unless `infers_noise`.
    X, y : ndarray, shapes (n, d) and (n,)
    given_noise : ndarray, shape (n,)
        Known variances of the values, in units of y².
    infers_noise : bool
    caps : ndarray, shape (d,)
    kind : int
        `RBF` or `MATERN52`.
    scale_prior : ndarray, shape (d, 2)
        Mean and standard deviation of the logarithm of each length scale; a deviation of 0 stands for no prior.
    noise_prior : (mean, standard deviation)
        Likewise of the noise variance, in units of y².
    signal_prior : float
        Standard deviation of the logarithm of s; s is not inferred if it is 0, and must then be 1.
    gradient : ndarray, shape (d + 2,)
        Written in place.
    work : ndarray, shape (2, n, n)
        Overwritten.
    """
    n, d = X.shape
    inverse_scales, noise = np.empty(d), np.empty(n)
    for j in range(d):
        inverse_scales[j] = math.exp(-theta[j])
    inferred = math.exp(theta[d]) if infers_noise else 0.0
    per_signal = math.exp(-theta[d + 1])
    for i in range(n):
        noise[i] = inferred + given_noise[i] * per_signal * per_signal
    W, inverse = work[0], work[1]
    log_determinant = extend(X, noise, inverse_scales, caps, kind, 0, n, W)
    residual, alpha = y * per_signal, np.empty(n)
    residual -= constant_mean(W, n, residual)
    solve(W, n, residual, alpha)
    value: float = 0.5 * (dot(residual, alpha, n) + log_determinant + n * LOG_2PI) + n * theta[d + 1]
    for i in range(n):
        for j in range(i + 1):
            inverse[i, j] = 0.0
    for k in range(n):
        for i in range(k + 1):
            add(inverse[i], W[k, i], W[k], i + 1)
    gradient[:] = 0.0
    by_noise, by_signal = 0.0, 0.0
    for i in range(n):
        for k in range(i):
            r2 = 0.0
            for j in range(d):
                z = min(abs(X[i, j] - X[k, j]), caps[j]) * inverse_scales[j]
                r2 += z * z
            weight = (inverse[i, k] - alpha[i] * alpha[k]) * slope_factor(r2, kind)
            for j in range(d):
                z = min(abs(X[i, j] - X[k, j]), caps[j]) * inverse_scales[j]
                gradient[j] += weight * z * z
        weight = inverse[i, i] - alpha[i] * alpha[i]
        by_noise += 0.5 * weight * inferred
        by_signal += 1.0 - residual[i] * alpha[i] - weight * (noise[i] - inferred)
    for j in range(d):
        if scale_prior[j, 1] > 0.0:
            z = (theta[j] - scale_prior[j, 0]) / scale_prior[j, 1]
            value += 0.5 * z * z + theta[j]
            gradient[j] += z / scale_prior[j, 1] + 1.0
    if infers_noise:
        level = theta[d] + 2.0 * theta[d + 1]
        z = (level - noise_prior[0]) / noise_prior[1]
        value += 0.5 * z * z + level
        by_noise += z / noise_prior[1] + 1.0
        by_signal += 2.0 * (z / noise_prior[1] + 1.0)
        gradient[d] = by_noise
    if signal_prior > 0.0:
        z = theta[d + 1] / signal_prior
        value += 0.5 * z * z
        gradient[d + 1] = by_signal + z / signal_prior
    return value


@njit(cache=True, nogil=True, error_model="numpy")
def fit(
    theta: np.ndarray,
    X: np.ndarray,
    y: np.ndarray,
    given_noise: np.ndarray,
    infers_noise: bool,
    caps: np.ndarray,
    kind: int,
    scale_prior: np.ndarray,
    noise_prior: tuple[float, float],
    signal_prior: float,
    low: np.ndarray,
    high: np.ndarray,
    iterations: int,
    H: np.ndarray,
) -> float:
    """Minimise `negative_log_posterior` over `theta` by projected BFGS.

    Nocedal and Wright 2006, "Numerical Optimization", chapter 6. The search ends when a step gains less than 1e-4 nats,
    which changes no decision.

    scipy's L-BFGS-B reaches the same optima of the same function, and better ones if parameters stand at their bounds.
    In fits that agents made it took 5 times the CPU time for 10 observations and 1.4 times for 400. Besides, it needs
    the interpreter's lock between evaluations, for which a fit in the background and the RunEngine would compete.

    Parameters
    ----------
    theta : ndarray, shape (d + 2,)
        Where the search starts; overwritten by where it ends. It stays there if the value at the start is not finite.
    X, y, given_noise, infers_noise, caps, kind, scale_prior, noise_prior, signal_prior
        See `negative_log_posterior`.
    low, high : ndarray, shape (d + 2,)
        Bounds of theta.
    iterations : int
        The largest number of steps.
    H : ndarray, shape (d + 2, d + 2)
        Inverse Hessian at the end of an earlier call that made only part of the steps, or zeros; overwritten likewise.

    Returns
    -------
    float
        The value at theta.
    """
    p, n = theta.shape[0], X.shape[0]
    work = np.zeros((2, n, n))
    gradient, trial_gradient, trial = np.empty(p), np.empty(p), np.empty(p)
    direction = np.empty(p)
    s, t, Ht = np.empty(p), np.empty(p), np.empty(p)
    value = negative_log_posterior(
        theta, X, y, given_noise, infers_noise, caps, kind, scale_prior, noise_prior, signal_prior, gradient, work
    )
    first = H[0, 0] == 0.0
    if first:
        for i in range(p):
            H[i, i] = 1.0
    for _ in range(iterations):
        for i in range(p):
            total = 0.0
            for j in range(p):
                total -= H[i, j] * gradient[j]
            direction[i] = total
        slope, longest = 0.0, 0.0
        for i in range(p):
            if (theta[i] <= low[i] and direction[i] < 0.0) or (theta[i] >= high[i] and direction[i] > 0.0):
                direction[i] = 0.0
            slope += direction[i] * gradient[i]
            longest = max(longest, abs(direction[i]))
        if not slope < -1e-9:
            if first:
                break
            H[:] = 0.0
            for i in range(p):
                H[i, i] = 1.0
            first = True
            continue
        step = min(1.0, (0.5 if first else 2.0) / longest)  # no logarithm changes by more at once
        gained = -1.0
        for _backtrack in range(10):
            for i in range(p):
                trial[i] = min(max(theta[i] + step * direction[i], low[i]), high[i])
            reached: float = negative_log_posterior(
                trial,
                X,
                y,
                given_noise,
                infers_noise,
                caps,
                kind,
                scale_prior,
                noise_prior,
                signal_prior,
                trial_gradient,
                work,
            )
            if math.isfinite(reached) and reached <= value + 1e-4 * step * slope:
                gained = value - reached
                break
            step *= 0.3
        if gained < 0.0:
            if first:
                break
            H[:] = 0.0
            for i in range(p):
                H[i, i] = 1.0
            first = True
            continue
        st, tt = 0.0, 0.0
        for i in range(p):
            s[i] = trial[i] - theta[i]
            t[i] = trial_gradient[i] - gradient[i]
            st += s[i] * t[i]
            tt += t[i] * t[i]
            theta[i] = trial[i]
            gradient[i] = trial_gradient[i]
        value = reached
        if gained < 1e-4:
            break
        if st > 1e-10 * math.sqrt(tt):
            if first:
                for i in range(p):
                    H[i, i] = st / tt
            tHt = 0.0
            for i in range(p):
                total = 0.0
                for j in range(p):
                    total += H[i, j] * t[j]
                Ht[i] = total
                tHt += t[i] * total
            for i in range(p):
                for j in range(p):
                    H[i, j] += (1.0 + tHt / st) * s[i] * s[j] / st - (Ht[i] * s[j] + s[i] * Ht[j]) / st
            first = False
    if first:
        H[:] = 0.0
    return value
