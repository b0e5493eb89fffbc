"""Boxes around masks: where a fine scan goes, in motor units."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ebl_autonomy.analysis.regions.maps import Maps
from ebl_autonomy.analysis.regions.patches import Patch

__all__ = ["Box", "Boxes", "Interval", "box_around", "clipped", "parts_of"]

Interval = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle in motor units, each side from low to high.

    Attributes
    ----------
    x, y : (low, high)
    clipped : bool
        Whether a limit of the stage has cut it.
    """

    x: Interval
    y: Interval
    clipped: bool = False

    @property
    def area(self) -> float:
        return (self.x[1] - self.x[0]) * (self.y[1] - self.y[0])

    def meets(self, other: Box) -> bool:
        """Whether the two have more in common than an edge."""
        return all(a[0] < b[1] and b[0] < a[1] for a, b in ((self.x, other.x), (self.y, other.y)))

    def without(self, other: Box) -> Box | None:
        """What `other` leaves of this box; None if nothing, and the box itself if what is left is no box."""
        if not self.meets(other):
            return self
        x, y = _left(self.x, other.x), _left(self.y, other.y)
        if y is None:  # covered over its whole height
            return None if x is None else replace(self, x=x)
        return replace(self, y=y) if x is None else self

    def joined(self, other: Box) -> Box:
        """The smallest box around both."""
        x, y = (
            (min(mine[0], theirs[0]), max(mine[1], theirs[1]))
            for mine, theirs in ((self.x, other.x), (self.y, other.y))
        )
        return Box(x, y, self.clipped or other.clipped)


def _left(side: Interval, other: Interval) -> Interval | None:
    """What an overlapping interval leaves of a side; None if nothing, and the side itself if that is in two pieces."""
    if other[0] <= side[0]:
        return (other[1], side[1]) if other[1] < side[1] else None
    return (side[0], other[0]) if side[1] <= other[1] else side


class Boxes:
    """Many boxes, each with the seconds that a unit of its area takes: which of them meet another, or join it best.

    Parameters
    ----------
    overhead_s : float
        Seconds that a scan takes beside those of its area.
    """

    def __init__(self, overhead_s: float = 0.0) -> None:
        self._overhead = overhead_s
        self._table = np.empty((16, 5))
        self._number = 0

    def insert(self, at: int, box: Box, density: float = 1.0) -> None:
        """Add one with the number `at`; those behind it move down."""
        if self._number == len(self._table):
            self._table = np.concatenate([self._table, np.empty_like(self._table)])
        self._table[at + 1 : self._number + 1] = self._table[at : self._number]
        self._table[at] = (*box.x, *box.y, density)
        self._number += 1

    def drop(self, number: int) -> None:
        """Remove one; those behind it move up."""
        self._table[number : self._number - 1] = self._table[number + 1 : self._number]
        self._number -= 1

    def meeting(self, box: Box) -> list[int]:
        """The numbers of those that have more in common with a box than an edge."""
        return [int(number) for number in np.flatnonzero(self._meets(box))]

    def best_to_join(self, box: Box, density: float) -> int | None:
        """The number of the one to scan together with a box: that which saves most; None if none saves anything.

        Overlapping boxes save area. Others save time, if the overhead of a scan is more than that of the area between
        them; a scan of both takes as long for each unit of area as the slower of the two.
        """
        left, right, low, high, densities = self._table[: self._number].T
        across = np.maximum(right, box.x[1]) - np.minimum(left, box.x[0])
        joined = across * (np.maximum(high, box.y[1]) - np.minimum(low, box.y[0]))
        areas = (right - left) * (high - low)
        alone = densities * areas + density * box.area + self._overhead
        saved = alone - np.maximum(densities, density) * joined
        pays = self._meets(box) & (joined <= (1.0 + 1e-9) * (areas + box.area))
        if self._overhead:
            pays |= saved >= 0.0
        return int(np.argmax(np.where(pays, saved, -math.inf))) if pays.any() else None

    def _meets(self, box: Box) -> np.ndarray:
        left, right, low, high, _ = self._table[: self._number].T
        return np.asarray((left < box.x[1]) & (right > box.x[0]) & (low < box.y[1]) & (high > box.y[0]))


def box_around(maps: Maps, patch: Patch, margin: tuple[float, float]) -> Box:
    """The box around a part of the map, whole pixels, and a margin (motor units) on every side."""
    rows, columns = patch.window
    sides = []
    for axis, side, size, more in zip((maps.x, maps.y), (columns, rows), maps.pixel, margin, strict=True):
        ends = axis[[side.start, side.stop - 1]]
        sides.append((float(ends.min()) - 0.5 * size - more, float(ends.max()) + 0.5 * size + more))
    return Box(sides[0], sides[1])


def clipped(box: Box, x: Interval | None, y: Interval | None) -> Box | None:
    """The part of a box inside the limits of the stage; None if there is no such part."""
    sides = []
    for side, limits in ((box.x, x), (box.y, y)):
        low, high = (-math.inf, math.inf) if limits is None else limits
        sides.append((max(side[0], low), min(side[1], high)))
    if any(low >= high for low, high in sides):
        return None
    cut = box.clipped or tuple(sides) != (box.x, box.y)
    return replace(box, x=sides[0], y=sides[1], clipped=cut)


def parts_of(patch: Patch, padding: tuple[float, float], saving: float, most: int) -> list[Patch]:
    """A part of the map in pieces whose boxes together are smaller than its own.

    Each piece is cut across, where the boxes of the two halves are smallest, as long as a cut saves enough. An oblique
    or bent thing needs several boxes, because one would be mostly empty.

    Parameters
    ----------
    patch : Patch
    padding : (float, float)
        Pixels that a box adds on each side, along x and y.
    saving : float
        Least share of a piece's box that a cut must save.
    most : int
        Number of pieces at most.
    """
    pieces = [patch]
    cuts = [_best_cut(patch, padding)]
    while len(pieces) < most:
        best = max(range(len(cuts)), key=lambda number: cuts[number][0])
        saved, axis, at = cuts[best]
        if saved < saving * _size(pieces[best].mask.shape, padding):
            break
        halves = pieces[best].cut(axis, at)
        pieces[best : best + 1] = halves
        cuts[best : best + 1] = [_best_cut(half, padding) for half in halves]
    return pieces


def _size(shape: tuple[int, ...], padding: tuple[float, float]) -> float:
    """Pixels of the box around a mask of this shape."""
    return float((shape[0] + 2 * padding[1]) * (shape[1] + 2 * padding[0]))


def _best_cut(patch: Patch, padding: tuple[float, float]) -> tuple[float, int, int]:
    """Pixels saved by the best cut, its axis, and the first row or column after it."""
    whole = _size(patch.mask.shape, padding)
    best = (-math.inf, 0, 0)
    for axis in (0, 1):
        for at in range(1, patch.mask.shape[axis]):
            first, second = np.split(patch.mask, [at], axis=axis)
            saved = whole - sum(_size(_extent(half), padding) for half in (first, second))
            best = max(best, (saved, -axis, -at))
    return best[0], -best[1], -best[2]


def _extent(mask: np.ndarray) -> tuple[int, int]:
    """Rows and columns of the box around the pixels of a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
