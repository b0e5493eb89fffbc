"""The first points or lines of a map, spread evenly, before anything is known."""

from __future__ import annotations

import math

import numpy as np

from ebl_autonomy.agents.mapping.choosing import Choice
from ebl_autonomy.pixels import PixelGrid

__all__ = ["even_lines", "even_pixels"]

LEAST = 10
"""The smallest number of first points."""
LARGE = 300
"""A lattice of more pixels is measured in parts; a smaller one row by row, with the shortest way."""
MOST_IN_A_PART = 128
"""Most pixels of the first part."""
LEAST_LINES = 4
APART = 2.0
"""Distance of the first lines, in units of the distance of the first points: a line has no gaps."""


def even_pixels(rows: np.ndarray, columns: np.ndarray, grid: PixelGrid, share: float, seed: int) -> list[int]:
    """Pixels on a hexagonal lattice, the densest one for the gaps that it leaves, row by row and to and fro.

    A large lattice begins with one of its parts that is spread over the whole map, so that a run with fewer points than
    the lattice has is no map of a corner. Each further part doubles the density along both axes, or along the longer
    one of a narrow map.

    Parameters
    ----------
    rows, columns : ndarray of int
        The part of the map that is measured: consecutive numbers.
    grid : PixelGrid
    share : float
        Share of the pixels.
    seed : int
        Shifts the lattice by up to a quarter of its spacing.
    """
    wanted = min(max(LEAST, math.ceil(share * len(rows) * len(columns))), len(rows) * len(columns))
    width, height = len(columns) * grid.step[0], len(rows) * grid.step[1]
    count_y = round(math.sqrt(wanted * height / width * 2.0 / math.sqrt(3.0)))
    count_y = min(max(count_y, 1, math.ceil(wanted / len(columns))), len(rows))
    count_x = min(max(math.ceil(wanted / count_y), 1), len(columns))
    shift = np.random.default_rng(seed).uniform(-0.25, 0.25, 2)
    pixels: dict[int, None] = {}
    apart = (1, 1)
    parts = [apart]
    large = count_y * count_x > LARGE
    while large and math.ceil(count_y / apart[0]) * math.ceil(count_x / apart[1]) > MOST_IN_A_PART:
        apart = _doubled(apart[0], count_y), _doubled(apart[1], count_x)
        parts.append(apart)
    for apart_y, apart_x in reversed(parts):
        for turn, i in enumerate(range(apart_y // 2, count_y, apart_y)):
            row = _place(i + 0.5 + shift[0], count_y, rows)
            places = [j + 0.25 + 0.5 * (i % 2) + 0.5 * shift[1] for j in range(apart_x // 2, count_x, apart_x)]
            for place in places if turn % 2 == 0 else places[::-1]:
                pixels.setdefault(row * grid.shape[1] + _place(place, count_x, columns))
    return list(pixels)


def even_lines(rows: np.ndarray, columns: np.ndarray, grid: PixelGrid, share: float, seed: int) -> list[Choice]:
    """Whole rows at equal distances, to and fro; see `even_pixels`."""
    apart = APART / math.sqrt(share)
    count = min(max(LEAST_LINES, round(len(rows) / apart)), len(rows))
    shift = float(np.random.default_rng(seed).uniform(-0.25, 0.25))
    lines = []
    for i, row in enumerate(sorted({_place(i + 0.5 + shift, count, rows) for i in range(count)})):
        first, last = int(columns[0]), int(columns[-1])
        begin = first if i % 2 == 0 else last
        lines.append(Choice(row * grid.shape[1] + begin, (last - first + 1) * (1 if i % 2 == 0 else -1)))
    return lines


def _doubled(apart: int, count: int) -> int:
    """Twice the distance of the places of a part, unless too few places are left for it."""
    return 2 * apart if 2 * apart <= count else apart


def _place(number: float, count: int, numbers: np.ndarray) -> int:
    index = math.floor(number / count * len(numbers))
    return int(numbers[min(max(index, 0), len(numbers) - 1)])
