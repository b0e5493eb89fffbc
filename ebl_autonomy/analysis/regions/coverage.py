"""The boxes that hold the most for the time that there is: each box costs its pixels, and the overhead of a scan."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from ebl_autonomy.analysis.regions.patches import Window
from ebl_autonomy.scales import FloatArray

__all__ = ["MOST", "covering"]

LARGEST: Final = 160
"""Rows or columns of the map in which boxes are sought; of larger ones, neighbours are added up."""
MOST: Final = 200
"""Boxes at most."""
HALVINGS: Final = 10
"""Steps of the search for the price of time."""


def covering(
    worth: FloatArray, budget: float, overhead: float = 0.0, margin: tuple[float, float] = (0.0, 0.0)
) -> list[Window]:
    """Windows that together hold as much as they can of what is worth measuring.

    One after the other, the window is taken that holds most beyond what its time could hold elsewhere, at a price for
    the time (a Lagrange multiplier) that makes the windows take what there is.

    Parameters
    ----------
    worth : FloatArray, shape (ny, nx)
        Of each pixel, at least 0; such as the area of a phase that is expected in it.
    budget : float
        Time for all windows, in units of that of one pixel.
    overhead : float
        Time of each window beside its pixels, in the same unit.
    margin : (float, float)
        Pixels that are measured around a window too, at each side, along x and y.

    Returns
    -------
    list of (slice, slice)
        The one that holds most for its time first; none if the budget is too small for any.
    """
    block = math.ceil(max(worth.shape) / LARGEST)
    pooled = _pooled(worth, block)
    time = overhead / block**2, margin[0] / block, margin[1] / block
    if not pooled.any():
        return []
    dear = float(pooled.max())  # no pixel is worth as much
    cheap, most, best = dear * 1e-3, 0.0, np.empty((0, 4), dtype=np.int64)
    everything = (1.0 - 1e-9) * float(pooled.sum())
    for _ in range(HALVINGS):
        price = math.sqrt(cheap * dear)
        found, held, is_all = _covering(pooled, price, *time, budget / block**2, MOST)
        if held >= (1.0 - 1e-9) * most:
            most, best = held, found
        if len(found) == MOST or (is_all and held < everything):
            dear = price  # larger boxes hold more
        else:  # there is no time for so much, or a higher price may hold as much in less
            cheap = price
    ny, nx = worth.shape
    return [
        (slice(top * block, min(bottom * block, ny)), slice(left * block, min(right * block, nx)))
        for top, bottom, left, right in best.tolist()
    ]


def _pooled(values: FloatArray, block: int) -> FloatArray:
    """Sums over blocks of so many pixels squared."""
    ny, nx = (math.ceil(size / block) for size in values.shape)
    padded = np.pad(values, [(0, ny * block - values.shape[0]), (0, nx * block - values.shape[1])])
    return np.ascontiguousarray(padded.reshape(ny, block, nx, block).sum(axis=(1, 3)))


@njit(cache=True, nogil=True, error_model="numpy")
def _covering(
    worth: FloatArray, price: float, overhead: float, across: float, down: float, budget: float, most: int
) -> tuple[np.ndarray, float, bool]:  # pragma: no cover - compiled
    """The windows that pay at a price for the time of a pixel, what they hold, and whether there was time for all.

    What a window took is worth nothing to others, so that only the best ones that meet it are sought again.
    """
    value = worth - price
    windows = np.empty((most, 4), dtype=np.int64)
    number, left, held = 0, budget, 0.0
    sums, found = _best_of_each(value, left - overhead, across, down)
    while number < most:
        first = int(np.argmax(sums))
        top, bottom, begin, end = found[first]
        time = overhead + (bottom - top + 2.0 * down) * (end - begin + 2.0 * across)
        gain = sums[first] + price * (bottom - top) * (end - begin)
        if gain <= price * time:
            break
        windows[number] = found[first]
        number += 1
        left -= time
        held += gain
        value[top:bottom, begin:end] = -price
        for row in range(len(sums)):
            other = found[row]
            meets = other[0] < bottom and other[1] > top and other[2] < end and other[3] > begin
            if meets or not _fits(other, left - overhead, across, down):
                sums[row], found[row] = _best_from(value, row, left - overhead, across, down)
    sums, found = _best_of_each(value, np.inf, across, down)
    first = int(np.argmax(sums))
    top, bottom, begin, end = found[first]
    time = overhead + (bottom - top + 2.0 * down) * (end - begin + 2.0 * across)
    more = sums[first] + price * (bottom - top) * (end - begin)
    return windows[:number], held, more <= price * time


@njit(cache=True, nogil=True, error_model="numpy")
def _fits(window: np.ndarray, time: float, across: float, down: float) -> bool:  # pragma: no cover - compiled
    """Whether there is time for a window with its margins."""
    return bool(window[3] - window[2] <= time / (window[1] - window[0] + 2.0 * down) - 2.0 * across)


@njit(cache=True, nogil=True, error_model="numpy")
def _best_of_each(
    value: FloatArray, time: float, across: float, down: float
) -> tuple[FloatArray, np.ndarray]:  # pragma: no cover - compiled
    """For each row, the window beginning there with the largest sum; see `_best_from`."""
    sums, windows = np.empty(len(value)), np.empty((len(value), 4), dtype=np.int64)
    for row in range(len(value)):
        sums[row], windows[row] = _best_from(value, row, time, across, down)
    return sums, windows


@njit(cache=True, nogil=True, error_model="numpy")
def _best_from(
    value: FloatArray, top: int, time: float, across: float, down: float
) -> tuple[float, np.ndarray]:  # pragma: no cover - compiled
    """The largest sum in windows from a row down, of those for which there is time with their margins, and the window.

    Of consecutive rows, the columns are added up; the best run of so many columns at most ends where their running sum
    is farthest above its lowest value before, which a queue of lowest values gives. Empty, with a sum of 0, if all are
    negative.
    """
    ny, nx = value.shape
    best, window = 0.0, np.array([top, top, 0, 0])
    running, queue = np.zeros(nx + 1), np.empty(nx + 1, dtype=np.int64)
    sums = np.zeros(nx)
    for bottom in range(top, ny):
        widest = min(time / (bottom + 1 - top + 2.0 * down) - 2.0 * across, float(nx))
        if widest < 1.0:
            break
        first, last = 0, 0
        for column in range(nx):
            sums[column] += value[bottom, column]
            while last > first and running[queue[last - 1]] >= running[column]:
                last -= 1
            queue[last] = column
            last += 1
            if column + 1 - queue[first] > widest:
                first += 1
            running[column + 1] = running[column] + sums[column]
            if running[column + 1] - running[queue[first]] > best:
                best = running[column + 1] - running[queue[first]]
                window = np.array([top, bottom + 1, queue[first], column + 1])
    return best, window
