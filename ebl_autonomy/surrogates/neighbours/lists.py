"""The measured pixels around every pixel of a map, kept up to date as pixels are measured; compiled.

The neighbours of a pixel are the nearest measured pixels in each of eight directions, a few per direction. So a line of
neighbouring pixels does not hide what was measured on the other side (octant search of geostatistics: Deutsch and
Journel 1998, "GSLIB", II.4). A new site changes the lists of the pixels around it only, on average
``SLOTS / n`` of the map with n sites, so the cost falls as the map fills.

The order of two sites at the same distance is that of their pixels.
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
FULL: Final = 0.05
"""An insertion ends after `EMPTY_RINGS` rings of pixels of which less than this share was changed. Beyond, the site
would fill narrow sectors only, at the edge of the map, from so far away that nearer sites hide it."""


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
    sectors: np.ndarray,
    distances: np.ndarray,
    neighbours: np.ndarray,
    reaches: np.ndarray,
    stale: np.ndarray,
    stride: int,
    rings: int,
    holders: np.ndarray,
) -> tuple[int, int]:
    """Add a measured pixel to the lists of the pixels around it, or find those that hold it already.

    Parameters
    ----------
    pixel : int
        Number of the pixel, row by row.
    sectors : ndarray of int8
        From `sector_table`.
    distances : ndarray, shape (rows, columns)
        Distance of each offset, in any unit.
    neighbours : ndarray of int32, shape (pixels, SLOTS)
        The neighbours of each pixel by sector, nearest first; -1 where there is none. Changed in place.
    reaches : ndarray of float32, shape (pixels, SLOTS)
        The distance of each neighbour; infinite where there is none. Changed in place.
    stale : ndarray of bool, shape (pixels,)
        Becomes True where a list holds the new pixel.
    stride : int
    rings : int
        0 for a new pixel. Of one that was added before, what was returned then: its lists may lie beyond rings that do
        not hold it, because nearer sites have hidden it since, so all these rings are looked at.
    holders : ndarray of int32, shape (>= pixels,)
        Receives those of these pixels whose row and column are multiples of `stride`.

    Returns
    -------
    count, rings : int
        Number of pixels in `holders`, and of the rings of pixels that were looked at.
    """
    rows, columns = distances.shape
    row, column = pixel // columns, pixel % columns
    count, kept, sparse = 0, 0, 0
    furthest = max(max(row, rows - 1 - row), max(column, columns - 1 - column))
    last = rings if rings > 0 else furthest
    for ring in range(1, last + 1):
        before, length = count, 0
        top, bottom, left, right = row - ring, row + ring, column - ring, column + ring
        for i in range(max(top, 0), min(bottom, rows - 1) + 1):
            whole = i in (top, bottom)
            j = max(left, 0) if whole else left
            while j <= min(right, columns - 1):
                if j >= 0:
                    length += 1
                    here = i * columns + j
                    first = sectors[row - i + rows - 1, column - j + columns - 1] * PER_SECTOR
                    distance = distances[abs(row - i), abs(column - j)]
                    if _take(pixel, np.float32(distance), first, neighbours[here], reaches[here]):
                        count += 1
                        stale[here] = True
                        if i % stride == 0 and j % stride == 0:
                            holders[kept] = here
                            kept += 1
                j = j + 1 if whole or j == right else right
        sparse = sparse + 1 if count - before <= FULL * length else 0
        if sparse == EMPTY_RINGS and rings == 0:
            last = ring
            break
    return kept, last


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _take(site: int, distance: np.float32, first: int, sites: np.ndarray, reaches: np.ndarray) -> bool:
    """Put `site` into the slots from `first` on, shapes (SLOTS,), if it is near enough; whether it is in there."""
    place = PER_SECTOR
    while place > 0:
        reach, other = reaches[first + place - 1], sites[first + place - 1]
        if other == site:
            return True
        if reach < distance or (reach == distance and other < site):
            break
        place -= 1
    if place == PER_SECTOR:
        return False
    for i in range(PER_SECTOR - 1, place, -1):
        sites[first + i], reaches[first + i] = sites[first + i - 1], reaches[first + i - 1]
    sites[first + place], reaches[first + place] = site, distance
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def nearest(pixels: np.ndarray, reaches: np.ndarray, exposures: np.ndarray, out: np.ndarray) -> None:
    """The distance of some pixels to the nearest measured one.

    Parameters
    ----------
    pixels : ndarray of int, shape (n,)
    reaches
        See `insert`.
    exposures : ndarray, shape (channels, all pixels)
        Positive where a channel is measured.
    out : ndarray, shape (all pixels,)
        Written at `pixels`: 0 if the pixel is measured, infinity without any.
    """
    for q in pixels:
        least = np.inf
        for c in range(exposures.shape[0]):
            if exposures[c, q] > 0.0:
                least = 0.0
        for j in range(0, SLOTS, PER_SECTOR):
            least = min(least, reaches[q, j])
        out[q] = least
