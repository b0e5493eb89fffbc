"""The measured pixels around every pixel of a map, kept up to date as pixels are measured; compiled.

The neighbours of a pixel are the nearest measured pixels in each of eight directions, a few per direction. So a line of
neighbouring pixels does not hide what was measured on the other side (octant search of geostatistics: Deutsch and
Journel 1998, "GSLIB", II.4). A new site changes the lists of the pixels around it only, on average
``SLOTS / n`` of the map with n sites, so the cost falls as the map fills.

The order of two sites at the same distance is that of their pixels. Therefore the lists depend on the set of measured
pixels only, and not on their order.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

__all__ = ["PER_SECTOR", "SECTORS", "SLOTS", "insert", "nearest", "sector_table"]

SECTORS: Final = 8
PER_SECTOR: Final = 2
SLOTS: Final = SECTORS * PER_SECTOR
"""The largest number of neighbours of a pixel, itself not counted."""
EMPTY_RINGS: Final = 3
"""Rings of pixels without a change after which an insertion ends. The changed region is nearly star-shaped."""


def sector_table(shape: tuple[int, int], step: tuple[float, float]) -> np.ndarray:
    """The direction of every offset of pixels.

    Parameters
    ----------
    shape : (rows, columns)
    step : (x, y)
        Size of a pixel, in motor units.

    Returns
    -------
    ndarray of int8, shape (2 rows - 1, 2 columns - 1)
        Entry ``[dy + rows - 1, dx + columns - 1]`` is the sector of an offset. The axes and the diagonals lie in the
        middle of a sector.
    """
    rows, columns = shape
    dy = np.arange(1 - rows, rows)[:, None] * step[1]
    dx = np.arange(1 - columns, columns)[None, :] * step[0]
    sectors = np.round(np.arctan2(dy, dx) / (2.0 * np.pi / SECTORS)).astype(np.int64) % SECTORS
    return np.asarray(sectors, dtype=np.int8)


@njit(cache=True, nogil=True, error_model="numpy")
def insert(
    pixel: int,
    columns: int,
    sectors: np.ndarray,
    squares: np.ndarray,
    neighbours: np.ndarray,
    changed: np.ndarray,
) -> int:
    """Add a measured pixel to the lists of the pixels around it, or find those that hold it already.

    Parameters
    ----------
    pixel : int
        Number of the pixel, row by row.
    columns : int
        Pixels of a row.
    sectors : ndarray of int8
        From `sector_table`.
    squares : ndarray, shape (rows, columns)
        Squared distance of each offset, in any unit.
    neighbours : ndarray of int32, shape (pixels, SLOTS)
        The neighbours of each pixel by sector, nearest first; -1 where there is none. Changed in place.
    changed : ndarray of int32, shape (>= pixels,)
        Receives the pixels whose lists hold the new one.

    Returns
    -------
    int
        Number of these pixels.
    """
    pixels = neighbours.shape[0]
    rows = pixels // columns
    row, column = pixel // columns, pixel % columns
    count, empty = 0, 0
    furthest = max(max(row, rows - 1 - row), max(column, columns - 1 - column))
    for ring in range(1, furthest + 1):
        before = count
        top, bottom, left, right = row - ring, row + ring, column - ring, column + ring
        for i in range(max(top, 0), min(bottom, rows - 1) + 1):
            whole = i in (top, bottom)
            j = max(left, 0) if whole else left
            while j <= min(right, columns - 1):
                if j >= 0 and _take(
                    i * columns + j, pixel, row - i, column - j, rows, columns, sectors, squares, neighbours
                ):
                    changed[count] = i * columns + j
                    count += 1
                j = j + 1 if whole or j == right else right
        empty = empty + 1 if count == before else 0
        if empty == EMPTY_RINGS:
            break
    return count


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _take(
    here: int,
    site: int,
    dy: int,
    dx: int,
    rows: int,
    columns: int,
    sectors: np.ndarray,
    squares: np.ndarray,
    neighbours: np.ndarray,
) -> bool:
    """Put `site`, at the offset (dy, dx) from pixel `here`, into its list; whether it is in there."""
    first = sectors[dy + rows - 1, dx + columns - 1] * PER_SECTOR
    square = squares[abs(dy), abs(dx)]
    row, column = here // columns, here % columns
    place = PER_SECTOR
    while place > 0:
        other = neighbours[here, first + place - 1]
        if other >= 0:
            if other == site:
                return True
            theirs = squares[abs(other // columns - row), abs(other % columns - column)]
            if theirs < square or (theirs == square and other < site):
                break
        place -= 1
    if place == PER_SECTOR:
        return False
    for i in range(PER_SECTOR - 1, place, -1):
        neighbours[here, first + i] = neighbours[here, first + i - 1]
    neighbours[here, first + place] = site
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def nearest(
    pixels: np.ndarray, columns: int, squares: np.ndarray, neighbours: np.ndarray, distance: np.ndarray
) -> None:
    """Write the distance of each of `pixels`, shape (n,), to its nearest neighbour into `distance`; see `insert`."""
    for q in pixels:
        least = np.inf
        for j in range(0, SLOTS, PER_SECTOR):
            p = neighbours[q, j]
            if p >= 0:
                least = min(least, squares[abs(p // columns - q // columns), abs(p % columns - q % columns)])
        distance[q] = np.sqrt(least)
