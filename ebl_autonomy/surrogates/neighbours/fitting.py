"""Inference of a channel's hyper-parameters, and of how far its predicted variances can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Final, NamedTuple

import numpy as np

from ebl_autonomy.surrogates.neighbours.kriging import LEAST_RATE, ROUGH, SMOOTH, Process, predict

__all__ = ["Errors", "fit", "left_out", "trust"]

SCALES: Final = (1.5, 2.5, 4.0, 6.5, 10.0, 16.0, 26.0, 42.0, 68.0)
"""Length scales that are tried, in pixels."""
NUGGETS: Final = (0.0, 1e-3, 4e-3, 0.016, 0.06, 0.25, 0.6)
"""Noise variances that are tried, as shares of the variance of the measurements."""
FIRST_NUGGET: Final = 4
ALIKE: Final = 1.03
"""Ratio of squared errors up to which two predictions are equally good."""
MOST_SITES: Final = 400
"""Measurements that are left out to compare hyper-parameters."""
LEAST_SPREAD: Final = 1e-3
"""Smallest variance of a map, as a share of the variance of its measurements."""
LEAST_EXCESS: Final = 0.05
"""The smallest share of the squared errors that is not noise."""
LEAST_SEQUENCE: Final = 30
RECENT: Final = 0.5
"""Share of the measurements, the latest ones, that judge the predictions which were made before them."""


class Errors(NamedTuple):
    """Predictions of n measurements by others: squared errors less noise, squared errors, and predicted variances."""

    excess: np.ndarray
    squared: np.ndarray
    variance: np.ndarray


def left_out(
    sites: np.ndarray,
    distances: np.ndarray,
    neighbours: np.ndarray,
    values: np.ndarray,
    exposures: np.ndarray,
    process: Process,
) -> Errors:
    """The errors of predicting each of the measured pixels `sites`, shape (n,), from its neighbours."""
    mean, variance = np.empty_like(values), np.empty_like(values)
    predict(sites, distances, neighbours, values, exposures, process, False, mean, variance)
    known = np.isfinite(mean[sites])
    sites = sites[known]
    mean, variance, measured = mean[sites], variance[sites], values[sites]
    squared = (measured - mean) ** 2
    counted = np.maximum(0.5 * (measured + mean), LEAST_RATE) if process.poisson else 0.0
    return Errors(squared - (counted + process.nugget) / exposures[sites], squared, variance)


def fit(
    distances: np.ndarray,
    neighbours: np.ndarray,
    values: np.ndarray,
    exposures: np.ndarray,
    poisson: bool,
    areas: np.ndarray,
) -> Process:
    """The hyper-parameters that predict the measurements best when each is left out in turn.

    The squared error decides, because it is what the map is measured for; a likelihood would give each empty pixel the
    say of a bright one. Arguments as of `kriging.predict`; at least one pixel must be measured. `areas`, shape (all
    pixels,), are those for which the measured pixels speak: measurements gather where a map varies, so that by
    themselves they would make it vary too much.
    """
    sites = np.flatnonzero(exposures > 0.0)
    weights = areas[sites] / np.sum(areas[sites])
    level = float(np.sum(weights * values[sites]))
    scatter = float(np.sum(weights * (values[sites] - level) ** 2))
    counted = float(np.sum(weights * np.maximum(values[sites], 0.0) / exposures[sites])) if poisson else 0.0
    spread = max(scatter - counted, LEAST_SPREAD * scatter, np.finfo(float).tiny)
    chosen = sites[np.linspace(0, len(sites) - 1, min(len(sites), MOST_SITES)).astype(np.int64)]
    pixel = float(np.min(distances[distances > 0.0], initial=np.inf))
    extent = float(distances[-1, -1])
    pixel = pixel if np.isfinite(pixel) else 1.0
    scales = [scale * pixel for scale in SCALES if scale * pixel <= extent] or [SCALES[0] * pixel]

    tried: dict[Process, tuple[float, float]] = {}
    """Mean squared error, and the negative log-likelihood of the errors."""

    def best(candidates: Sequence[Process]) -> Process:
        for one in candidates:
            errors = left_out(chosen, distances, neighbours, values, exposures, one)
            expected = errors.variance + errors.squared - errors.excess
            misfit = np.log(expected) + errors.squared / expected
            tried[one] = (float(np.sum(errors.squared)), float(np.sum(misfit)))
        return min(candidates, key=lambda one: tried[one][0])

    def shapes(nugget: float) -> list[Process]:
        return [Process(kind, 1.0 / scale, spread, poisson, nugget) for kind, scale in product((ROUGH, SMOOTH), scales)]

    if poisson:
        return best(shapes(0.0))
    noise = float(np.var(values[sites]) * np.median(exposures[sites]))
    first = best(shapes(NUGGETS[FIRST_NUGGET] * noise))
    noisy = best([first._replace(nugget=share * noise) for share in NUGGETS])
    last = best(shapes(noisy.nugget))
    # A smooth process with little noise may predict like a rough one with much: the spread of the errors tells them
    # apart.
    alike = [one for one, (squared, _) in tried.items() if squared <= ALIKE * tried[last][0]]
    return min(alike or [last], key=lambda one: tried[one][1])


def trust(left: Errors, ahead: Errors, weight_ahead: np.ndarray) -> float:
    """The factor by which predicted variances fall short of squared errors.

    Parameters
    ----------
    left : Errors
        Each measurement, left out in turn. Where a measurement surprised, others have been made around it since, so
        these errors are too small where much is hidden.
    ahead : Errors
        The measurements in order, each predicted from those before it.
    weight_ahead : ndarray, shape (n,)
        The area for which each of these spoke.
    """
    factor = _ratio(left, np.ones(len(left.variance)))
    count = len(ahead.variance)
    if count < LEAST_SEQUENCE:
        return factor
    recent = slice(count - max(int(RECENT * count), LEAST_SEQUENCE), None)
    latest = Errors(ahead.excess[recent], ahead.squared[recent], ahead.variance[recent])
    return max(factor, _ratio(latest, weight_ahead[recent]))


def _ratio(errors: Errors, weights: np.ndarray) -> float:
    predicted = float(np.sum(weights * errors.variance))
    least = LEAST_EXCESS * float(np.sum(weights * errors.squared))
    found = max(float(np.sum(weights * errors.excess)), least)
    return found / predicted if predicted > 0.0 and found > 0.0 else 1.0
