"""The covariance of `SpectrumModel`, compiled: what an absorption edge looks like, as priors of a Gaussian process."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit

EV_PER_K2: Final = 3.81
"""Energy of a photoelectron with wave number 1/Angstrom, in eV: hbar^2 / (2 m)."""
PEAKS_EV: Final = 16.0
"""How far ahead of the edge peaks are expected, in eV."""
FOOT_EV: Final = 3.0
"""How far ahead of the edge its amplitude begins, in eV."""
SOFT_EV: Final = 1.5
"""Width of the transitions between these regions, in eV."""
FAR_AHEAD: Final = 0.05
"""Amplitude farther ahead than the peaks, as a share of that of the peaks."""
FADING_EV: Final = 40.0
"""Distance behind the edge over which the amplitude fades, in eV."""
JITTER: Final = 1e-9

COUNT: Final = 8
EDGE, AT_EDGE, AHEAD, GROWTH, WIDTH, PEAKS, AMPLITUDE, NOISE = range(COUNT)
"""Places of the hyper-parameters: the edge in eV, and the logarithms of the seven others.

They are the correlation length at the edge and far ahead of it, in eV; the growth of the length with k, in eV
Angstrom; the width of the step, in eV; the amplitude of peaks ahead of the edge, as a share of that behind it; that
amplitude, and the noise, as shares of the range of the spectrum.
"""
WARPED, AMPLITUDES, LINES = 0, 1, 2
"""Columns of the features: the warped energy, the amplitude, and from the third on the functions of the mean."""
LINES_STD: Final = np.array([3.0, 0.5, 1.0, 0.5])
"""Prior standard deviations of the mean's coefficients: constant, slope in 1/(100 eV), step, slope behind the step."""


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(x, -50.0), 50.0)))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _soft_plus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@njit(cache=True, nogil=True, error_model="numpy")
def features(parameters: Any, energies: Any) -> Any:
    """What the covariance of n energies consists of, shape (n, 6).

    The warped energy is the integral of one over the correlation length, which is ``hypot(at_edge, growth * k)`` behind
    the edge and goes over from ``ahead`` to ``at_edge`` where peaks are expected.
    """
    edge = parameters[EDGE]
    at_edge, ahead = math.exp(parameters[AT_EDGE]), math.exp(parameters[AHEAD])
    growth, width = math.exp(parameters[GROWTH]), math.exp(parameters[WIDTH])
    peaks, amplitude = math.exp(parameters[PEAKS]), math.exp(parameters[AMPLITUDE])
    found = np.empty((len(energies), 6))
    bend = growth * growth / EV_PER_K2
    at_foot = 2.0 * _soft_plus(PEAKS_EV / 2.0)
    for i in range(len(energies)):
        above = energies[i] - edge
        if above > 0.0:
            found[i, 0] = 2.0 / bend * (math.sqrt(at_edge * at_edge + bend * above) - at_edge)
        else:
            near = 2.0 * _soft_plus((above + PEAKS_EV) / 2.0) - at_foot
            found[i, 0] = above / ahead + (1.0 / at_edge - 1.0 / ahead) * near
        foot = _logistic((above + FOOT_EV) / SOFT_EV)
        in_peaks = FAR_AHEAD + (1.0 - FAR_AHEAD) * _logistic((above + PEAKS_EV) / SOFT_EV)
        fading = 1.0 / math.sqrt(1.0 + max(above, 0.0) / FADING_EV)
        found[i, 1] = amplitude * (peaks * in_peaks * (1.0 - foot) + fading * foot)
        step = 0.5 + math.atan(above / width) / math.pi
        found[i, 2] = LINES_STD[0]
        found[i, 3] = LINES_STD[1] * above / 100.0
        found[i, 4] = LINES_STD[2] * step
        found[i, 5] = LINES_STD[3] * step * above / 100.0
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def covariance(a: Any, b: Any) -> Any:
    """Covariance of energies with features of shape (n, 6) and (k, 6), shape (n, k)."""
    found = np.empty((len(a), len(b)))
    for i in range(len(a)):
        for j in range(len(b)):
            distance = math.sqrt(5.0) * abs(a[i, 0] - b[j, 0])
            correlation = (1.0 + distance + distance * distance / 3.0) * math.exp(-distance)
            value = a[i, 1] * b[j, 1] * correlation
            for line in range(2, 6):
                value += a[i, line] * b[j, line]
            found[i, j] = value
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def factor(features_: Any, noise: float, told: Any) -> Any:
    """Cholesky factor of the covariance of n readings, shape (n, n); `told` are their known variances, shape (n,)."""
    found = covariance(features_, features_)
    for i in range(len(found)):
        found[i, i] += noise + told[i] + JITTER
    return np.linalg.cholesky(found)


@njit(cache=True, nogil=True, error_model="numpy")
def cost(parameters: Any, energies: Any, scaled: Any, told: Any) -> float:
    """Negative logarithm of the likelihood of readings, shape (n, k), without its constant."""
    low = factor(features(parameters, energies), math.exp(2.0 * parameters[NOISE]), told)
    n, k = scaled.shape
    total = 0.0
    white = np.empty(n)
    for i in range(n):
        total += k * math.log(low[i, i])
    for column in range(k):
        for i in range(n):
            value = scaled[i, column]
            for j in range(i):
                value -= low[i, j] * white[j]
            white[i] = value / low[i, i]
            total += 0.5 * white[i] * white[i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def slope(parameters: Any, energies: Any, scaled: Any, told: Any) -> Any:
    """Cost and its gradient by finite differences, shape (9,)."""
    found = np.empty(COUNT + 1)
    found[0] = cost(parameters, energies, scaled, told)
    moved = parameters.copy()
    for i in range(COUNT):
        moved[i] = parameters[i] + 1e-5
        up = cost(moved, energies, scaled, told)
        moved[i] = parameters[i] - 1e-5
        found[i + 1] = (up - cost(moved, energies, scaled, told)) / 2e-5
        moved[i] = parameters[i]
    return found
