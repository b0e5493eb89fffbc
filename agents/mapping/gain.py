"""What the measurement of a pixel is worth."""

from __future__ import annotations

import numpy as np
from numba import njit

from ebl_autonomy.surrogates.neighbours import NeighbourField

__all__ = ["claim", "reconstruction"]


def reconstruction(field: NeighbourField, weights: np.ndarray) -> np.ndarray:
    """Expected reduction of the squared error of the maps, shape (pixels,); -1 where a pixel is not predicted.

    A measurement informs the pixels that are nearer to it than to any other one: an area like the squared distance to
    the nearest one.
    """
    total = np.zeros(field.pixels)
    for c, weight in enumerate(weights):
        if weight > 0.0:
            total += weight / field.spread[c] * field.variance[c]
    gains = total * field.distance**2
    return np.where(np.isfinite(gains), gains, -1.0)


def claim(gains: np.ndarray, field: NeighbourField, pixel: int) -> None:
    """Lower the gains around a pixel that will be measured, as if it had been."""
    _claim(gains, field.distance, pixel, field.shape[1], field.step[0], field.step[1])


@njit(cache=True, nogil=True, error_model="numpy")
def _claim(gains: np.ndarray, distance: np.ndarray, pixel: int, columns: int, step_x: float, step_y: float) -> None:
    rows = gains.shape[0] // columns
    row, column = pixel // columns, pixel % columns
    for i in range(rows):
        dy = (i - row) * step_y
        for j in range(columns):
            q = i * columns + j
            if gains[q] > 0.0:
                dx = (j - column) * step_x
                share = (dx * dx + dy * dy) / (distance[q] * distance[q])
                if share < 1.0:
                    gains[q] *= share * np.sqrt(share)
    gains[pixel] = -1.0
