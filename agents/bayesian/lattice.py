"""Discrete variables: the nearest values that a search may not miss, and the points that are worth another measurement.

A box around the best point can be narrower than the distance of two allowed values. Every point in it then snaps to the
best point, which would be measured again and again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from itertools import product
from types import MappingProxyType
from typing import Final

import numpy as np

from ebl_autonomy.space import ROUNDING, FloatArray, Space

__all__ = ["Lattice", "untried_value", "with_next_values"]

WHEEL: Final = 12
"""Largest number of values that are all tried: those of a filter wheel need not follow any order."""
REPEATS: Final = 3
"""Number of measurements of one point under noise, while others are unknown."""
LISTED: Final = 2048
"""Largest number of points that are all candidates; of more points, as many are drawn."""
FARTHEST: Final = 3
"""Largest number of steps along one variable from a point around which candidates are drawn."""

Index = tuple[int, ...]
NOTHING: Final[Mapping[int, float]] = MappingProxyType({})


def with_next_values(
    low: FloatArray,
    high: FloatArray,
    centre: FloatArray,
    ladders: Mapping[int, FloatArray],
    tried: FloatArray,
    unordered: Collection[int] = (),
) -> tuple[FloatArray, FloatArray]:
    """A box that reaches, along each discrete variable, the neighbours of its centre and the next untried values.

    Where the values have no order, no value is nearer than another, and the box holds all of them.

    Parameters
    ----------
    low, high, centre : FloatArray, shape (d,)
        In searched coordinates.
    ladders : mapping of int to FloatArray
        The allowed coordinates of each discrete variable, ascending.
    tried : FloatArray, shape (n, d)
        Points of the results.
    unordered : collection of int
        The axes of the variables whose values have no order.

    Returns
    -------
    low, high : FloatArray, shape (d,)
        The given corners, moved outwards where necessary.
    """
    low, high = low.copy(), high.copy()
    for axis, ladder in ladders.items():
        if axis in unordered:
            low[axis], high[axis] = ladder[0], ladder[-1]
            continue
        new = np.abs(ladder[:, None] - tried[None, :, axis]).min(axis=1, initial=np.inf) > ROUNDING
        below, above = ladder < centre[axis] - ROUNDING, ladder > centre[axis] + ROUNDING
        for values in (ladder[below], ladder[below & new]):
            low[axis] = min(low[axis], values[-1]) if len(values) else low[axis]
        for values in (ladder[above], ladder[above & new]):
            high[axis] = max(high[axis], values[0]) if len(values) else high[axis]
    return low, high


def untried_value(
    centre: FloatArray,
    ladders: Mapping[int, FloatArray],
    tried: FloatArray,
    reach: FloatArray,
    unordered: Mapping[int, float] = NOTHING,
) -> tuple[int, float] | None:
    """Axis and coordinate of the untried value nearest to the centre, of a variable with few values; None if none is.

    A value that was only tried far from the centre, where there may have been nothing to see, comes after those that
    were tried nowhere. Of a variable without order, the value comes first that was not tried for the longest time.

    Parameters
    ----------
    centre, ladders, tried
        As for `with_next_values`.
    reach : FloatArray, shape (d,)
        Largest distance from the centre, along each of the other variables, at which a value counts as tried.
    unordered : mapping of int to float
        The axes of the variables whose values have no order, and the distance of neighbouring values, which is that of
        any two.
    """
    distance = np.abs(tried - centre)
    for axis, spacing in unordered.items():
        distance[:, axis] = np.minimum(distance[:, axis], spacing)
    close = distance <= reach + ROUNDING
    found = []
    for axis, ladder in ladders.items():
        alike = np.delete(close, axis, axis=1).all(axis=1)
        for value in ladder if len(ladder) <= WHEEL else ():
            known = np.abs(tried[:, axis] - value) <= ROUNDING
            if not (known & alike).any():
                away, since = abs(value - centre[axis]), 0
                if axis in unordered:
                    away, since = 0.0, int(np.flatnonzero(known)[-1]) if known.any() else -1
                found.append((bool(known.any()), away, since, axis, float(value)))
    return min(found)[3:] if found else None


class Lattice:
    """The allowed points of a space whose variables are all discrete, and the number of measurements of each.

    Parameters
    ----------
    space : Space
    known : FloatArray, shape (n, d)
        The points of the unit cube that are measured or pending; those that are not allowed do not count.
    """

    def __init__(self, space: Space, known: FloatArray) -> None:
        self.ladders = [space.ladder(name) for name in space.names]
        self._unordered = [name in space.unordered for name in space.names]
        self.size = math.prod(len(ladder) for ladder in self.ladders)
        indices = self._indices(known)
        off = np.abs(self._units(indices) - known).max(axis=1)
        self._known: list[Index | None] = [
            tuple(index) if distance <= ROUNDING else None
            for index, distance in zip(indices.tolist(), off.tolist(), strict=True)
        ]
        self._counts = Counter(index for index in self._known if index is not None)

    def is_new(self, point: FloatArray) -> bool:
        """Whether the allowed point nearest to `point`, shape (d,), is neither measured nor pending."""
        (index,) = self._indices(point[None]).tolist()
        return tuple(index) not in self._counts

    def repeats(self, values: FloatArray, std: FloatArray) -> int:
        """The number of measurements that a point is worth while others are unknown.

        One if measurements of the same point agree; `REPEATS` if they differ, or have a standard deviation; two if
        nothing is known of the noise, which the first repetition then shows.

        Parameters
        ----------
        values, std : FloatArray, shape (n, m)
            Outcomes of the first n known points, and their standard deviations; NaN if unknown.
        """
        if np.nan_to_num(std).any():
            return REPEATS
        first: dict[Index, FloatArray] = {}
        repeated = False
        for index, value in zip(self._known[: len(values)], values, strict=True):
            if index is None:
                continue
            if index in first and not np.array_equal(first[index], value, equal_nan=True):
                return REPEATS
            repeated |= index in first
            first[index] = value
        waiting = any(count > 1 for count in self._counts.values())
        return 1 if repeated or waiting else 2

    def new(self, rng: np.random.Generator) -> FloatArray | None:
        """A random point that is neither measured nor pending, shape (d,); None if there is none."""
        found = [index for index in self._within(self._everywhere(), [], rng) if index not in self._counts]
        return self._units(np.array([found[int(rng.integers(len(found)))]]))[0] if found else None

    def candidates(
        self, low: FloatArray, high: FloatArray, near: FloatArray, rng: np.random.Generator, repeats: float
    ) -> FloatArray:
        """Points to choose the next measurement from, shape (k, d).

        New points inside the box, and known ones whose neighbours are all known, up to `repeats` measurements each.
        Without any, new points from everywhere; when all are known, any in the box.

        Parameters
        ----------
        low, high : FloatArray, shape (d,)
            Opposite corners of the box, in the unit cube.
        near : FloatArray, shape (m, d)
            Points around which candidates are drawn, if there are too many to list.
        rng : numpy.random.Generator
        repeats : float
            See `repeats`; infinite if a measurement does not hold for long.
        """
        ranges = [
            np.flatnonzero((ladder >= a - ROUNDING) & (ladder <= b + ROUNDING))
            for ladder, a, b in zip(self.ladders, low, high, strict=True)
        ]
        inside = self._within(ranges, self._indices(near).tolist(), rng)
        found = [index for index in inside if self._is_worth(index, repeats)]
        if not found and len(self._counts) < self.size:
            found = [index for index in self._within(self._everywhere(), [], rng) if index not in self._counts]
        return self._units(np.array(found or inside))

    def _is_worth(self, index: Index, repeats: float) -> bool:
        count = self._counts.get(index, 0)
        return count == 0 or (count < repeats and all(other in self._counts for other in self._neighbours(index)))

    def _neighbours(self, index: Index) -> list[Index]:
        """The points that differ in one variable: by one step, or by any if its values have no order."""
        found = []
        for axis, here in enumerate(index):
            size = len(self.ladders[axis])
            others = range(size) if self._unordered[axis] else range(max(here - 1, 0), min(here + 2, size))
            found += [(*index[:axis], there, *index[axis + 1 :]) for there in others if there != here]
        return found

    def _everywhere(self) -> list[np.ndarray]:
        return [np.arange(len(ladder)) for ladder in self.ladders]

    def _within(self, ranges: list[np.ndarray], near: list[list[int]], rng: np.random.Generator) -> list[Index]:
        """Points with indices in `ranges`: all of them, or as many as are listed, half of them around `near`."""
        if math.prod(map(len, ranges)) <= LISTED:
            return [tuple(index) for index in product(*(axis.tolist() for axis in ranges))]
        drawn = np.stack([rng.choice(axis, LISTED) for axis in ranges], axis=1)
        if near:
            half = LISTED // 2
            centres = np.array(near)[rng.integers(len(near), size=half)]
            axis = rng.integers(len(ranges), size=(half, 2))
            for column in (0, 1):
                steps = rng.integers(-FARTHEST, FARTHEST + 1, size=half)
                centres[np.arange(half), axis[:, column]] += steps
            for unordered in np.flatnonzero(self._unordered):
                changed = (axis == unordered).any(axis=1)
                centres[changed, unordered] = rng.choice(ranges[unordered], int(changed.sum()))
            first, last = np.array([(values[0], values[-1]) for values in ranges]).T
            drawn[:half] = np.clip(centres, first, last)
        return [tuple(index) for index in np.unique(drawn, axis=0).tolist()]

    def _indices(self, units: FloatArray) -> np.ndarray:
        """The indices of the nearest allowed points, int, shape (n, d)."""
        indices = np.empty(units.shape, dtype=int)
        for axis, ladder in enumerate(self.ladders):
            indices[:, axis] = np.argmin(np.abs(units[:, axis, None] - ladder[None, :]), axis=1)
        return indices

    def _units(self, indices: np.ndarray) -> FloatArray:
        return np.stack([ladder[indices[:, axis]] for axis, ladder in enumerate(self.ladders)], axis=1)
