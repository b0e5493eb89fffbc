"""Prediction of a map from the measured pixels around each pixel; compiled.

Ordinary kriging (Cressie 1993, "Statistics for Spatial Data", 3.2) on the neighbours of `lists`: a Gaussian process
with an unknown constant mean, of which each prediction sees its neighbours only (Datta et al. 2016, JASA 111, 800).

The variance of a stationary process depends on where it was measured alone, and says of an empty corner what it says of
a grain. Here the variance belongs to the place: it is that of the neighbours, inferred from how well the process
explains them, with the map's own variance as prior. Under a conjugate prior the posterior is a Student's t process
(Shah et al. 2014, AISTATS). The nearest neighbours count most for it, so that a place beside a bright measurement is
less certain than one beside a dark one.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numba import njit

from ebl_autonomy.surrogates.neighbours.lists import SLOTS

__all__ = ["LEAST_RATE", "NEARNESS", "PRIOR", "ROUGH", "SMOOTH", "Process", "noise_variance", "predict"]

ROUGH: Final = 0
"""Exponential correlation (Matérn 1/2): values change at random from pixel to pixel."""
SMOOTH: Final = 1
"""Matérn 3/2: slopes persist."""

PRIOR: Final = 0.1
"""Weight of the map's variance against that of the neighbours, in measurements without noise."""
LEAST: Final = 1e-12
"""Smallest variance of a place, as a share of the map's."""
NEARNESS: Final = 3.0
"""Power of the inverse distance by which a neighbour tells how much the map varies at a place. With equal weights, one
bright measurement among many dark ones would say little of its surroundings, and a small grain would not be followed to
its edges."""
MOST_PRIOR: Final = 1e3
FEW: Final = 10.0
"""A count that tells its own noise no better than its surroundings do."""
JITTER: Final = 1e-8
LEAST_RATE: Final = 1e-9
"""Smallest expectation of a count, for its noise."""
SQRT3: Final = math.sqrt(3.0)


class Process(NamedTuple):
    """The hyper-parameters of a channel.

    Attributes
    ----------
    kind : int
        `ROUGH` or `SMOOTH`.
    inverse_scale : float
        Inverse of the length scale.
    spread : float
        Variance of the map.
    poisson : bool
        Whether a measurement has the variance of a count.
    nugget : float
        Variance of the other noise of a measurement of unit exposure.
    """

    kind: int
    inverse_scale: float
    spread: float
    poisson: bool
    nugget: float


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def noise_variance(expected: float, exposure: float, process: Process) -> float:
    """Variance of a measurement per unit of exposure, where `expected` is expected."""
    counted = max(expected, LEAST_RATE) if process.poisson else 0.0
    return (counted + process.nugget) / exposure


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _correlation(distance: float, process: Process) -> float:
    z = distance * process.inverse_scale
    if process.kind == ROUGH:
        return math.exp(-z)
    return (1.0 + SQRT3 * z) * math.exp(-SQRT3 * z)


@njit(cache=True, nogil=True, error_model="numpy")
def predict(
    pixels: np.ndarray,
    distances: np.ndarray,
    neighbours: np.ndarray,
    values: np.ndarray,
    exposures: np.ndarray,
    process: Process,
    own: bool,
    mean: np.ndarray,
    variance: np.ndarray,
) -> None:
    """Predict some pixels of one channel.

    Parameters
    ----------
    pixels : ndarray of int, shape (n,)
    distances : ndarray, shape (rows, columns)
        Distance of each offset of pixels.
    neighbours : ndarray of int32, shape (all pixels, SLOTS)
        See `lists.insert`.
    values, exposures : ndarray, shape (all pixels,)
        Measurements; an exposure of 0 stands for none.
    process : Process
    own : bool
        Whether the measurement of the pixel itself counts. Without it, the prediction is one that leaves it out.
    mean, variance : ndarray, shape (all pixels,)
        Written at `pixels`; the variance is that of the map, without the noise of a measurement. The mean of a
        channel that counts is 0 or more. Without any measured neighbour, NaN and infinity.
    """
    A, site = np.empty((SLOTS + 1, SLOTS + 1)), np.empty(SLOTS + 1, np.int64)
    k, y, one = np.empty(SLOTS + 1), np.empty(SLOTS + 1), np.empty(SLOTS + 1)
    noise = np.empty(SLOTS + 1)
    columns = distances.shape[1]
    pixel = max(distances[0, min(1, columns - 1)], distances[min(1, len(distances) - 1), 0])
    for q in pixels:
        row, column = q // columns, q % columns
        m = 0
        if own and exposures[q] > 0.0:
            site[0], m = q, 1
        for j in range(SLOTS):
            p = neighbours[q, j]
            if p >= 0 and exposures[p] > 0.0:
                site[m], m = p, m + 1
        if m == 0:
            mean[q], variance[q] = np.nan, np.inf
            continue
        level = 0.0
        for i in range(m):
            y[i] = values[site[i]]
            level += y[i] / m
        scatter, noisy, near, weights = 0.0, 0.0, 0.0, 0.0
        for i in range(m):
            y[i] -= level
            scatter += y[i] * y[i]
            # By itself a low count would pass for precise, and pull the mean down: its surroundings tell its noise.
            count = max(level, 0.0) * exposures[site[i]]
            noise[i] = noise_variance(level + y[i] * count / (count + FEW), exposures[site[i]], process)
            noisy += noise[i]
            away = distances[abs(site[i] // columns - row), abs(site[i] % columns - column)]
            weight = 1.0 / max(away, pixel) ** NEARNESS
            near += weight * (y[i] * y[i] - noise[i])
            weights += weight
        # The noisier the measurements, the less their scatter tells of the map's own.
        prior = min(PRIOR * (1.0 + noisy / (m * process.spread)) ** 2, MOST_PRIOR)
        s = (prior * process.spread + max(scatter - noisy * (m - 1) / m, 0.0)) / (prior + m - 1)
        s = max(s, LEAST * process.spread)
        # How much more the map varies right here than among all neighbours; a measured pixel has its own noise only.
        local = 1.0
        if site[0] != q:
            local = (prior * process.spread + (m - 1) * max(near / weights, 0.0)) / ((prior + m - 1) * s)
        # A = L Lᵀ is the covariance of the measurements; k, y and one become L⁻¹k, L⁻¹y and L⁻¹1.
        kk, ky, k1, y1, yy, ones = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(m):
            row_i, column_i = site[i] // columns, site[i] % columns
            pivot = s * (1.0 + JITTER) + noise[i]
            k[i] = s * _correlation(distances[abs(row_i - row), abs(column_i - column)], process)
            one[i] = 1.0
            for j in range(i):
                p = site[j]
                t = s * _correlation(distances[abs(row_i - p // columns), abs(column_i - p % columns)], process)
                for h in range(j):
                    t -= A[i, h] * A[j, h]
                t /= A[j, j]
                A[i, j] = t
                pivot -= t * t
                k[i] -= t * k[j]
                y[i] -= t * y[j]
                one[i] -= t * one[j]
            root = math.sqrt(max(pivot, JITTER * s))
            A[i, i] = root
            k[i], y[i], one[i] = k[i] / root, y[i] / root, one[i] / root
            kk += k[i] * k[i]
            ky += k[i] * y[i]
            k1 += k[i] * one[i]
            y1 += y[i] * one[i]
            yy += y[i] * y[i]
            ones += one[i] * one[i]
        shift = y1 / ones
        misfit = max(yy - y1 * shift, 0.0)
        expected = level + shift + ky - shift * k1
        mean[q] = max(expected, 0.0) if process.poisson else expected  # no rate is negative
        variance[q] = local * (prior + misfit) / (prior + m - 1) * (max(s - kk, 0.0) + (1.0 - k1) ** 2 / ones)
