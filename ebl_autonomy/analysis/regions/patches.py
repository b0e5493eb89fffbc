"""Parts of a map, each kept as a small mask in its window: a map of speckle has thousands of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

__all__ = ["EIGHT", "Patch", "Window", "Windows", "patches_of"]

EIGHT = np.ones((3, 3), dtype=bool)
"""Neighbours of a pixel, those at its corners too."""
Window = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class Patch:
    """Some pixels of a map; at least one.

    Attributes
    ----------
    shape : (ny, nx)
        Of the map.
    window : (slice, slice)
        The rows and columns that hold all of the pixels, and no more.
    mask : bool array
        Of the shape of the window.
    """

    shape: tuple[int, int]
    window: Window
    mask: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray | Patch) -> Patch:
        """The true pixels of a map, shape (ny, nx), at least one; a patch is one already."""
        return mask if isinstance(mask, Patch) else cls._within(mask.shape, (0, 0), mask)

    @classmethod
    def _within(cls, shape: tuple[int, ...], corner: tuple[int, int], mask: np.ndarray) -> Patch:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        inner = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        top, left = corner
        window = np.s_[top + rows[0] : top + rows[-1] + 1, left + columns[0] : left + columns[-1] + 1]
        return cls((int(shape[0]), int(shape[1])), window, mask[inner])

    @classmethod
    def of_window(cls, shape: tuple[int, int], window: Window) -> Patch:
        """All pixels of a window."""
        return cls(shape, window, np.ones([side.stop - side.start for side in window], dtype=bool))

    @property
    def whole(self) -> np.ndarray:
        """The mask of the map, shape (ny, nx)."""
        mask = np.zeros(self.shape, dtype=bool)
        mask[self.window] = self.mask
        return mask

    @cached_property
    def pixels(self) -> int:
        """How many they are."""
        return int(np.count_nonzero(self.mask))

    def of_map(self, values: np.ndarray) -> np.ndarray:
        """The values of a map, shape (ny, nx), in the pixels."""
        return np.asarray(values[self.window][self.mask])

    def add_to(self, mask: np.ndarray) -> None:
        """Set the pixels in a mask of the map."""
        mask[self.window] |= self.mask

    def common(self, other: Patch) -> int:
        """How many pixels both have."""
        (mine, its), (mine_across, its_across) = (
            _overlap(a, b) for a, b in zip(self.window, other.window, strict=True)
        )
        return int(np.count_nonzero(self.mask[mine, mine_across] & other.mask[its, its_across]))

    def with_only(self, other: Patch) -> Patch:
        """The pixels that both have; at least one."""
        (mine, its), (mine_across, its_across) = (
            _overlap(a, b) for a, b in zip(self.window, other.window, strict=True)
        )
        corner = self.window[0].start + mine.start, self.window[1].start + mine_across.start
        return self._within(self.shape, corner, self.mask[mine, mine_across] & other.mask[its, its_across])

    def joined(self, *others: Patch) -> Patch:
        """The pixels of all."""
        every = (self, *others)
        window = _around([one.window for one in every])
        mask = np.zeros([side.stop - side.start for side in window], dtype=bool)
        top, left = (side.start for side in window)
        for one in every:
            rows, columns = one.window
            mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] |= one.mask
        return Patch(self.shape, window, mask)

    def cut(self, axis: int, at: int) -> tuple[Patch, Patch]:
        """The pixels before the row (axis 0) or column (axis 1) `at` of the window, and the others; some of each."""
        corner = [side.start for side in self.window]
        beyond = list(corner)
        beyond[axis] += at
        first, second = np.split(self.mask, [at], axis=axis)
        return (
            self._within(self.shape, (corner[0], corner[1]), first),
            self._within(self.shape, (beyond[0], beyond[1]), second),
        )

    def around(self, pixels: int) -> tuple[Window, np.ndarray]:
        """A window with so many pixels more on each side, as far as the map goes, and the mask in it."""
        rows, columns = (
            slice(max(side.start - pixels, 0), min(side.stop + pixels, size))
            for side, size in zip(self.window, self.shape, strict=True)
        )
        mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=bool)
        top, left = self.window[0].start - rows.start, self.window[1].start - columns.start
        mask[top : top + self.mask.shape[0], left : left + self.mask.shape[1]] = self.mask
        return (rows, columns), mask


class Windows:
    """The windows of many patches: which of them meet another."""

    def __init__(self, patches: Sequence[Patch] = ()) -> None:
        self._bounds = np.empty((max(len(patches), 16), 4), dtype=np.int64)
        self._number = 0
        for patch in patches:
            self.append(patch)

    def append(self, patch: Patch) -> None:
        if self._number == len(self._bounds):
            self._bounds = np.concatenate([self._bounds, np.empty_like(self._bounds)])
        self._bounds[self._number] = _bounds(patch.window)
        self._number += 1

    def drop(self, number: int) -> None:
        """Forget one; it meets none any more, and the others keep their numbers."""
        self._bounds[number] = (0, 0, 0, 0)

    def meeting(self, window: Window) -> list[int]:
        """The numbers of those whose windows have a pixel in common with a window."""
        top, bottom, left, right = _bounds(window)
        known = self._bounds[: self._number]
        meets = (known[:, 0] < bottom) & (known[:, 1] > top) & (known[:, 2] < right) & (known[:, 3] > left)
        return [int(number) for number in np.flatnonzero(meets)]


def patches_of(mask: np.ndarray) -> Iterator[Patch]:
    """The connected parts of a mask of the map, in the order of their first pixels."""
    labels, _ = ndimage.label(mask, EIGHT)
    for number, window in enumerate(ndimage.find_objects(labels), 1):
        yield Patch((int(mask.shape[0]), int(mask.shape[1])), window, labels[window] == number)


def _bounds(window: Window) -> tuple[int, int, int, int]:
    return window[0].start, window[0].stop, window[1].start, window[1].stop


def _around(windows: Sequence[Window]) -> Window:
    rows, columns = zip(*windows, strict=True)
    top, left = min(side.start for side in rows), min(side.start for side in columns)
    bottom, right = max(side.stop for side in rows), max(side.stop for side in columns)
    return slice(top, bottom), slice(left, right)


def _overlap(mine: slice, its: slice) -> tuple[slice, slice]:
    """What two sides have in common, counted from the beginning of each."""
    low, high = max(mine.start, its.start), max(min(mine.stop, its.stop), max(mine.start, its.start))
    return slice(low - mine.start, high - mine.start), slice(low - its.start, high - its.start)
