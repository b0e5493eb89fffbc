"""What the measurement of a pixel is worth, on the lattice of a field; compiled."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from ebl_autonomy.surrogates.neighbours import NeighbourField

__all__ = ["AIMS", "Gains"]

AIMS: Final = {"reconstruction": 0, "edges": 1, "boundary": 2, "rare": 3}
LEAST_SLOPE: Final = 0.02
"""Share of its own variance that counts as a change where a map is flat, so that edges are looked for everywhere."""
LEAST_NOISE: Final = 1e-3
"""Smallest variance of a measurement's noise, as a share of the channel's variance, for the aim "rare"; of a channel
that counts it is one count."""
DOUBT: Final = 3
"""Power of the odds that a measurement succeeds. A region without valid results is never known, so it would for ever
be worth the most."""
EVENLY: Final = 1e-9
"""Worth of an area where nothing varies, so that an empty map is measured evenly."""


class Gains:
    """The worth of each pixel of a field's lattice, lowered around the pixels that will be measured.

    A measurement informs the pixels that are nearer to it than to any other one. Their number grows like the squared
    distance to the nearest measurement, by which the worth of the pixel itself is multiplied.

    Parameters
    ----------
    field : NeighbourField
        Up to date; see its `update`.
    weights : ndarray, shape (channels,)
    exposure : float
        The exposure of the measurement that is weighed.
    aim : str
        One of `AIMS`.
    thresholds : ndarray, shape (channels,)
        NaN where a channel has none.

    Attributes
    ----------
    worth : ndarray, shape (rows, columns)
        Of the lattice, in shares of the channels' variances times an area; negative where nothing may be measured.
    gaps : ndarray, shape (rows, columns)
        The area alone, whatever is expected there.
    distance : ndarray, shape (rows, columns)
        To the nearest measured pixel.
    stride : int
        Pixels per step of the lattice.
    """

    def __init__(
        self, field: NeighbourField, weights: np.ndarray, exposure: float, aim: str, thresholds: np.ndarray
    ) -> None:
        self._field = field
        self.stride = field.stride
        self.distance = np.ascontiguousarray(field.on_lattice(field.distance))
        far = float(np.hypot(field.shape[0] * field.step[1], field.shape[1] * field.step[0]))
        self.distance[~np.isfinite(self.distance)] = far
        each = np.zeros(self.distance.shape)
        for c, process in enumerate(field.processes):
            if process is not None and weights[c] > 0.0 and field.total[c] > 0.0:
                _add(
                    field.on_lattice(field.mean[c]),
                    field.on_lattice(field.variance[c]),
                    self.distance,
                    float(weights[c]),
                    float(field.trust[c]),
                    float(field.total[c]),
                    process.nugget,
                    process.poisson,
                    exposure,
                    AIMS[aim],
                    float(thresholds[c]),
                    self.stride * field.step[0],
                    self.stride * field.step[1],
                    each,
                )
        self.gaps = self.distance**2
        self.worth = (each + EVENLY) * self.gaps

    def pixel(self, flat: int) -> int:
        """The pixel of a number of the lattice."""
        row, column = divmod(int(flat), self.worth.shape[1])
        pixel: int = row * self.stride * self._field.shape[1] + column * self.stride
        return pixel

    def doubt(self, away: np.ndarray) -> None:
        """Lower the worth where a measurement will probably fail.

        Parameters
        ----------
        away : ndarray, shape (rows, columns)
            Distance to the nearest pixel where nothing valid was measured.
        """
        near, far = away**2, self.distance**2
        valid = near / np.maximum(near + far, np.finfo(float).tiny)
        doubt = np.minimum(near, far) / np.maximum(far, np.finfo(float).tiny) * valid**DOUBT
        self.worth *= doubt
        self.gaps *= doubt

    def forbid(self, free: np.ndarray) -> None:
        """Leave out the pixels where `free`, shape (all pixels,), is False."""
        for worth in (self.worth, self.gaps):
            worth[~self._field.on_lattice(free)] = -1.0

    def claim(self, pixel: int, length: int = 0) -> None:
        """Lower the worth around a pixel that will be measured, or a line of `length` pixels, as if it had been."""
        row, column = divmod(pixel, self._field.shape[1])
        end = column + length - (length > 0) + (length < 0)
        first, last = min(column, end), max(column, end)
        for worth in (self.worth, self.gaps):
            _claim(worth, self.distance, row, first, last, self.stride, self._field.step[0], self._field.step[1])


@njit(cache=True, nogil=True, error_model="numpy")
def _add(
    mean: np.ndarray,
    variance: np.ndarray,
    distance: np.ndarray,
    weight: float,
    trust: float,
    total: float,
    nugget: float,
    poisson: bool,
    exposure: float,
    aim: int,
    threshold: float,
    step_x: float,
    step_y: float,
    out: np.ndarray,
) -> None:
    """Add the worth of each pixel in one channel, before it is multiplied by an area."""
    rows, columns = mean.shape
    for i in range(rows):
        for j in range(columns):
            if distance[i, j] == 0.0 or not math.isfinite(variance[i, j]):
                continue
            v, expected = trust * variance[i, j], mean[i, j]
            noise = (nugget + (max(expected, 0.0) if poisson else 0.0)) / exposure
            gained = v * v / (v + noise) if v > 0.0 else 0.0
            if aim == 0:
                out[i, j] += weight * gained / total
            elif aim == 1:
                up, down, left, right = max(i - 1, 0), min(i + 1, rows - 1), max(j - 1, 0), min(j + 1, columns - 1)
                slope_x = (mean[i, right] - mean[i, left]) / (step_x * max(right - left, 1))
                slope_y = (mean[down, j] - mean[up, j]) / (step_y * max(down - up, 1))
                change = (slope_x**2 + slope_y**2) * distance[i, j] ** 2
                out[i, j] += weight * math.sqrt(gained * (change + LEAST_SLOPE * v)) / total
            elif aim == 2:
                if math.isfinite(threshold) and v > 0.0:
                    # Probability that the pixel lies on the other side than predicted.
                    out[i, j] += weight * 0.5 * math.erfc(abs(expected - threshold) / math.sqrt(2.0 * v))
            else:
                # Information: what stands out of the noise counts, not what is bright.
                least = 1.0 / exposure if poisson else LEAST_NOISE * total
                out[i, j] += weight * math.log1p(v / (noise + least))


@njit(cache=True, nogil=True, error_model="numpy")
def _claim(
    worth: np.ndarray,
    distance: np.ndarray,
    row: int,
    first: int,
    last: int,
    stride: int,
    step_x: float,
    step_y: float,
) -> None:
    rows, columns = worth.shape
    for i in range(rows):
        dy = (i * stride - row) * step_y
        for j in range(columns):
            if worth[i, j] > 0.0:
                column = j * stride
                dx = (column - min(max(column, first), last)) * step_x
                share = (dx * dx + dy * dy) / (distance[i, j] * distance[i, j])
                if share == 0.0:
                    worth[i, j] = -1.0
                elif share < 1.0:  # the variance falls like the distance, the area like its square
                    worth[i, j] *= share * math.sqrt(share)
