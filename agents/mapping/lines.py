"""The stretch of a row that is worth the most per second, for a fly line; compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

__all__ = ["Segment", "best_segments"]


class Segment(NamedTuple):
    """A stretch of a row of the lattice.

    Attributes
    ----------
    row, first, last : int
        Of the lattice; the last column belongs to it.
    worth : float
    """

    row: int
    first: int
    last: int
    worth: float


def best_segments(worth: np.ndarray, rate: float, pixel_s: float) -> list[Segment]:
    """Of each row, the stretch whose worth exceeds by the most what its time is worth elsewhere.

    Parameters
    ----------
    worth : ndarray, shape (rows, columns)
        What each pixel adds to a line, 0 or more.
    rate : float
        Worth per second elsewhere.
    pixel_s : float
        Seconds per pixel of the lattice.
    """
    first, last, total = _best_segments(worth, rate * pixel_s)
    return [Segment(row, int(first[row]), int(last[row]), float(total[row])) for row in range(len(worth))]


@njit(cache=True, nogil=True, error_model="numpy")
def _best_segments(worth: np.ndarray, cost: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, columns = worth.shape
    first, last, total = np.zeros(rows, np.int64), np.zeros(rows, np.int64), np.zeros(rows)
    for i in range(rows):
        best, running, start = -np.inf, 0.0, 0
        for j in range(columns):
            if running <= 0.0:
                running, start = 0.0, j
            running += worth[i, j] - cost
            if running > best:
                best, first[i], last[i] = running, start, j
        for j in range(first[i], last[i] + 1):
            total[i] += worth[i, j]
    return first, last, total
