"""Prediction of a map from the measured pixels around each pixel; compiled.

Ordinary kriging (Cressie 1993, "Statistics for Spatial Data", 3.2) on the neighbours of `lists`: a Gaussian process
with an unknown constant mean, of which each prediction sees its neighbours only (Datta et al. 2016, JASA 111, 800).

The variance of a stationary process depends on where it was measured alone, and says of an empty corner what it says of
a grain. Here the variance belongs to the place: it is that of the neighbours, inferred from how well the process
explains them, with the map's own variance as prior. Under a conjugate prior the posterior is a Student's t process
(Shah et al. 2014, AISTATS).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from ebl_autonomy.surrogates.neighbours.lists import SLOTS

__all__ = ["predict"]

LEAST: Final = 1e-12


@njit(cache=True, nogil=True, error_model="numpy")
def predict(
    pixels: np.ndarray,
    count: int,
    columns: int,
    neighbours: np.ndarray,
    values: np.ndarray,
    exposures: np.ndarray,
    poisson: bool,
    nugget: float,
    variance: float,
    prior: float,
    table: np.ndarray,
    include_own: bool,
    mean: np.ndarray,
    var: np.ndarray,
) -> None:
    m_max = SLOTS + 1
    A = np.empty((m_max, m_max))
    v = np.empty(m_max)
    noise = np.empty(m_max)
    k = np.empty(m_max)
    one = np.empty(m_max)
    site = np.empty(m_max, np.int64)
    for number in range(count):
        q = pixels[number]
        row, column = q // columns, q % columns
        m = 0
        if include_own and exposures[q] > 0.0:
            site[m] = q
            m += 1
        for j in range(SLOTS):
            p = neighbours[q, j]
            if p >= 0 and exposures[p] > 0.0:
                site[m] = p
                m += 1
        if m == 0:
            mean[q], var[q] = np.nan, np.inf
            continue
        level = 0.0
        for i in range(m):
            v[i] = values[site[i]]
            level += v[i]
        level /= m
        spread, noisy = 0.0, 0.0
        for i in range(m):
            spread += (v[i] - level) ** 2
            if poisson:
                noise[i] = max(0.5 * (v[i] + level), 1e-9) / exposures[site[i]]
            else:
                noise[i] = 0.0
            noise[i] += nugget / exposures[site[i]]
            noisy += noise[i]
        s0 = (prior * variance + max(spread - noisy * (m - 1) / m, 0.0)) / (prior + m - 1)
        s0 = max(s0, LEAST * variance)
        for i in range(m):
            ri, ci = site[i] // columns, site[i] % columns
            for j in range(i):
                A[i, j] = s0 * table[abs(ri - site[j] // columns), abs(ci - site[j] % columns)]
            A[i, i] = s0 * (1.0 + 1e-8) + noise[i]
            k[i] = s0 * table[abs(ri - row), abs(ci - column)]
            one[i] = 1.0
        # in place: A = L L', k -> L^-1 k, v -> L^-1 v, one -> L^-1 1
        kk, kv, k1, v1, vv, ones = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(m):
            for j in range(i):
                t = A[i, j]
                for h in range(j):
                    t -= A[i, h] * A[j, h]
                A[i, j] = t / A[j, j]
            t, a, b, c = A[i, i], k[i], v[i] - level, one[i]
            for h in range(i):
                t -= A[i, h] * A[i, h]
                a -= A[i, h] * k[h]
                b -= A[i, h] * v[h]
                c -= A[i, h] * one[h]
            d = math.sqrt(max(t, 1e-12 * s0))
            A[i, i] = d
            k[i], v[i], one[i] = a / d, b / d, c / d
            kk += k[i] * k[i]
            kv += k[i] * v[i]
            k1 += k[i] * one[i]
            v1 += v[i] * one[i]
            vv += v[i] * v[i]
            ones += one[i] * one[i]
        shift = v1 / ones
        misfit = max(vv - v1 * v1 / ones, 0.0)
        scale = (prior + misfit) / (prior + m - 1)
        mean[q] = level + shift + kv - shift * k1
        var[q] = scale * (max(s0 - kk, 0.0) + (1.0 - k1) ** 2 / ones)
