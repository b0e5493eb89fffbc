"""How well a raster of few points shows a map: the measure of adaptive maps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from skimage.metrics import structural_similarity

from ebl_autonomy.scales import FloatArray

__all__ = ["even_raster", "nrmse", "rebuilt", "similarity"]

WINDOW = 7
"""Side of the window of the structural similarity, in pixels."""


def even_raster(shape: tuple[int, int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of the even raster of at most `count` points that leaves the smallest gaps.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the map.
    count : int
        Positive.

    Returns
    -------
    rows, columns : arrays of int
        The pixels are at their crossings.
    """
    ny, nx = shape
    lines = np.arange(1, min(ny, count) + 1)
    points = np.minimum(nx, count // lines)
    best = int(np.argmin((ny / lines) ** 2 + (nx / points) ** 2))
    rows, columns = (
        ((np.arange(n) + 0.5) * size / n).astype(int) for n, size in ((lines[best], ny), (points[best], nx))
    )
    return rows, columns


def rebuilt(sampled: FloatArray, rows: np.ndarray, columns: np.ndarray) -> FloatArray:
    """A map from the pixels of a raster: linear between them, and constant beyond the outer ones.

    Parameters
    ----------
    sampled : FloatArray, shape (ny, nx)
        Used at the pixels of the raster only.
    rows, columns : arrays of int, ascending
        See `even_raster`.
    """
    ny, nx = sampled.shape
    lines = np.array([np.interp(np.arange(nx), columns, sampled[row, columns]) for row in rows])
    return np.array([np.interp(np.arange(ny), rows, lines[:, column]) for column in range(nx)]).T


def nrmse(found: FloatArray, truth: FloatArray) -> float:
    """The root of the mean squared error as a share of the standard deviation of the truth; NaN for a flat truth.

    Pixels where either is NaN do not count.
    """
    known = np.isfinite(found) & np.isfinite(truth)
    spread = float(np.std(truth[known])) if known.any() else 0.0
    return float(np.sqrt(np.mean((found[known] - truth[known]) ** 2))) / spread if spread > 0.0 else math.nan


def similarity(found: FloatArray, truth: FloatArray) -> float:
    """Structural similarity (Wang et al. 2004), 1 for the same map; NaN for a flat truth, holes, or under 3 pixels."""
    side = min(WINDOW, *(size - 1 + size % 2 for size in truth.shape))
    if side < 3 or not (np.isfinite(found).all() and np.isfinite(truth).all()):
        return math.nan
    spread = float(np.ptp(truth))
    if spread == 0.0:
        return math.nan
    compare: Any = structural_similarity
    return float(compare(truth, found, data_range=spread, win_size=side))
