"""Boxes around masks: where a fine scan goes, in motor units."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ebl_autonomy.analysis.regions.maps import Maps

__all__ = ["Box", "Interval", "box_around", "clipped", "parts_of"]

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


def box_around(maps: Maps, mask: np.ndarray, margin: tuple[float, float]) -> Box:
    """The box around the pixels of a mask, whole pixels, and a margin (motor units) on every side."""
    rows, columns = np.nonzero(mask)
    sides = []
    for axis, indices, size, more in zip((maps.x, maps.y), (columns, rows), maps.pixel, margin, strict=True):
        ends = axis[[indices.min(), indices.max()]]
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


def parts_of(mask: np.ndarray, padding: tuple[float, float], saving: float, most: int) -> list[np.ndarray]:
    """A mask in parts whose boxes together are smaller than its own.

    Each part is cut across, where the boxes of the two halves are smallest, as long as a cut saves enough. An oblique
    or bent thing needs several boxes, because one would be mostly empty.

    Parameters
    ----------
    mask : bool array, shape (ny, nx)
    padding : (float, float)
        Pixels that a box adds on each side, along x and y.
    saving : float
        Least share of a part's box that a cut must save.
    most : int
        Number of parts at most.
    """
    parts = [mask]
    while len(parts) < most:
        cuts = [(*_best_cut(part, padding), part) for part in parts]
        saved, axis, at, part = max(cuts, key=lambda cut: cut[0])
        if saved < saving * _size(part, padding):
            break
        where = next(i for i, one in enumerate(parts) if one is part)
        first, second = part.copy(), part.copy()
        lower, upper = [slice(None)] * 2, [slice(None)] * 2
        lower[axis], upper[axis] = slice(at, None), slice(None, at)
        first[tuple(lower)] = False
        second[tuple(upper)] = False
        parts[where : where + 1] = [first, second]
    return parts


def _size(mask: np.ndarray, padding: tuple[float, float]) -> float:
    """Pixels of the box around a mask; 0 for an empty one."""
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    if not len(rows):
        return 0.0
    return float((np.ptp(rows) + 1 + 2 * padding[1]) * (np.ptp(columns) + 1 + 2 * padding[0]))


def _best_cut(mask: np.ndarray, padding: tuple[float, float]) -> tuple[float, int, int]:
    """Pixels saved by the best cut, its axis, and the first row or column after it."""
    whole = _size(mask, padding)
    best = (-math.inf, 0, 0)
    for axis in (0, 1):
        used = np.nonzero(mask.any(axis=1 - axis))[0]
        for at in range(used[0] + 1, used[-1] + 1):
            first, second = np.split(mask, [at], axis=axis)
            saved = whole - _size(first, padding) - _size(second, padding)
            best = max(best, (saved, -axis, -at))
    return best[0], -best[1], -best[2]
