"""The improvement that a point is expected to bring, and the probability that it satisfies a constraint.

The compiled functions return logarithms and their derivatives, computed without cancellation (Ament et al. 2023,
NeurIPS, "Unexpected improvements to expected improvement", section 4.1). An ascent thus has a slope to follow even
where the value itself would underflow. All predictions are normal distributions.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

__all__ = ["FAR", "expected_improvement", "log_ehvi", "log_ei", "log_mass"]

SQRT2: Final = math.sqrt(2.0)
SQRT2PI: Final = math.sqrt(2.0 * math.pi)
TAIL: Final = -3.0
"""Below this many standard deviations, the tail is computed by continued fractions."""
FAR: Final = 1e100
"""Ends beyond this count as infinite."""
CERTAIN: Final = 40.0
"""This many standard deviations above the best value, the expected improvement is the difference of mean and best: the
tail of the normal distribution that lies below the best value vanishes in double precision."""


def expected_improvement(mean: float, std: float, best: float) -> float:
    """E[max(f - best, 0)] for f ~ N(mean, std²), where more is better.

    Jones, Schonlau and Welch 1998, J. Global Optim. 13, 455, eq. 15.

    Parameters
    ----------
    mean, std : float
        Prediction at the point. A std of 0 or NaN stands for a value that is known.
    best : float
        The best value so far, in the unit of the mean.

    Returns
    -------
    float
        In the same unit; infinite if `mean` or `best` is not finite, that is, before anything is known.
    """
    if not (math.isfinite(mean) and math.isfinite(best)):
        return math.inf
    gain = mean - best
    if not std > 0.0 or gain > CERTAIN * std:
        return max(gain, 0.0)
    return math.exp(log_ei(mean, std, best)[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _fraction(t: float, first: int) -> float:
    """The continued fraction t + first / (t + (first + 1) / (t + ...)).

    With first = 1 it is phi(t) / Q(t), the inverse of Mills' ratio (Abramowitz and Stegun 1964, 26.2.14). 60 terms give
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
    """log E[max(f - best, 0)] for f ~ N(mean, std²), and its derivatives in mean and std."""
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
    """log P(low <= g <= high) for g ~ N(mean, std²), and its derivatives in mean and std; ends may be infinite."""
    a = (low - mean) / std if low > -FAR else -math.inf
    b = (high - mean) / std if high < FAR else math.inf
    if a > 0.0:  # mirror the upper tail to the lower one, where differences are exact
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
def log_ehvi(
    mean1: float, std1: float, mean2: float, std2: float, strips: np.ndarray
) -> tuple[float, float, float, float, float]:
    """log of the expected hypervolume improvement of two independent objectives, both to be maximised.

    The area that (y1, y2) would add is the sum over strips (from, to, height) of ``(min(y1, to) - from)⁺ (y2 -
    height)⁺``. The expectation of the second factor is an expected improvement, that of the first the difference of two
    (Yang et al. 2019, J. Global Optim. 75, 3, "Efficient computation of expected hypervolume improvement").

    Parameters
    ----------
    mean1, std1, mean2, std2 : float
        Predictions of the two objectives.
    strips : ndarray, shape (k, 3)
        See `hypervolume.strips`.

    Returns
    -------
    value : float
    by_mean1, by_std1, by_mean2, by_std2 : float
        Derivatives of the value.
    """
    top, total = -math.inf, 0.0
    m1, s1, m2, s2 = 0.0, 0.0, 0.0, 0.0
    for i in range(strips.shape[0]):
        part, in_m1, in_s1 = log_ei(mean1, std1, strips[i, 0])
        if strips[i, 1] < FAR:
            beyond, beyond_m, beyond_s = log_ei(mean1, std1, strips[i, 1])
            share = math.exp(beyond - part)
            if not share < 1.0 - 1e-12:
                continue  # narrower than double precision resolves
            part += math.log1p(-share)
            in_m1 = (in_m1 - share * beyond_m) / (1.0 - share)
            in_s1 = (in_s1 - share * beyond_s) / (1.0 - share)
        above, in_m2, in_s2 = log_ei(mean2, std2, strips[i, 2])
        value = part + above
        if value > top:
            shrink = math.exp(top - value)
            total, m1, s1, m2, s2 = total * shrink, m1 * shrink, s1 * shrink, m2 * shrink, s2 * shrink
            top = value
        weight = math.exp(value - top)
        total += weight
        m1 += weight * in_m1
        s1 += weight * in_s1
        m2 += weight * in_m2
        s2 += weight * in_s2
    return top + math.log(total), m1 / total, s1 / total, m2 / total, s2 / total
