"""The pixels of a map: a rectangle in motor units, divided into equal cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.scales import FloatArray

__all__ = ["PixelGrid"]

Interval = tuple[float, float]

MOST: Final = 100_000_000
"""Most pixels of a grid: more is a step in a wrong unit."""


@dataclass(frozen=True)
class PixelGrid:
    """Equal cells that fill a rectangle; a pixel is measured at its centre, and a fly line runs from edge to edge.

    Attributes
    ----------
    x, y : (low, high)
        The edges of the rectangle, in motor units.
    shape : (int, int)
        Numbers of pixels along y and along x, as of the array that holds a map.

    Raises
    ------
    BadInputError
        If an interval is empty or not finite, or the numbers of pixels are not positive.
    """

    x: Interval
    y: Interval
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        for name, (low, high) in (("x", self.x), ("y", self.y)):
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise BadInputError(f"{name}=({low!r}, {high!r}): give two finite numbers, the lower one first")
        if len(self.shape) != 2 or min(self.shape) < 1 or math.prod(self.shape) > MOST:
            raise BadInputError(f"shape={self.shape!r}: give two positive numbers of pixels, {MOST:,} pixels at most")

    @classmethod
    def of_step(cls, x: Interval, y: Interval, step: float | Sequence[float]) -> PixelGrid:
        """The grid whose pixels have this size, as nearly as whole pixels fill the rectangle; one pixel at least.

        Parameters
        ----------
        x, y : (low, high)
            The edges of the rectangle, in motor units.
        step : float or (float, float)
            Size of a pixel, along both axes or along x and along y, in motor units.

        Raises
        ------
        BadInputError
            If a step is not a positive number, or the rectangle is not valid.
        """
        steps = np.broadcast_to(np.asarray(step, dtype=float), (2,)) if np.size(step) in (1, 2) else np.full(2, np.nan)
        if not (np.isfinite(steps).all() and (steps > 0.0).all()):
            raise BadInputError(f"step={step!r}: give a positive number, or one for x and one for y, in motor units")
        counts = [max(1, round((high - low) / float(size))) for (low, high), size in zip((x, y), steps, strict=True)]
        return cls((float(x[0]), float(x[1])), (float(y[0]), float(y[1])), (counts[1], counts[0]))

    @property
    def size(self) -> int:
        """Number of pixels."""
        return math.prod(self.shape)

    @property
    def step(self) -> tuple[float, float]:
        """Size of a pixel along x and along y, in motor units."""
        return (self.x[1] - self.x[0]) / self.shape[1], (self.y[1] - self.y[0]) / self.shape[0]

    @cached_property
    def edges_x(self) -> FloatArray:
        """Edges of the pixels along x, ascending, shape (nx + 1,); the ends are exactly those of the rectangle."""
        return np.linspace(*self.x, self.shape[1] + 1)

    @cached_property
    def edges_y(self) -> FloatArray:
        """Edges of the pixels along y, ascending, shape (ny + 1,)."""
        return np.linspace(*self.y, self.shape[0] + 1)

    @cached_property
    def centres_x(self) -> FloatArray:
        """Centres of the pixels along x, ascending, shape (nx,)."""
        return 0.5 * (self.edges_x[:-1] + self.edges_x[1:])

    @cached_property
    def centres_y(self) -> FloatArray:
        """Centres of the pixels along y, ascending, shape (ny,)."""
        return 0.5 * (self.edges_y[:-1] + self.edges_y[1:])

    def indices(self, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Row and column of the pixels that hold n positions; -1 for both if a position is outside the rectangle.

        Parameters
        ----------
        x, y : array-like, shape (n,)
            In motor units. A position that is outside by less than a thousandth of a pixel counts as inside.

        Returns
        -------
        row, column : arrays of int, shape (n,)
        """
        found = []
        inside = np.ones(np.shape(x), dtype=bool)
        for values, (low, _), size, count in zip((x, y), (self.x, self.y), self.step, self.shape[::-1], strict=True):
            place = (np.asarray(values, dtype=float) - low) / size
            inside &= (place >= -1e-3) & (place <= count + 1e-3)
            found.append(np.clip(np.nan_to_num(np.floor(place), nan=-1.0), 0, count - 1).astype(np.int64))
        column, row = (np.where(inside, one, -1) for one in found)
        return row, column

    def numbers(self, x: npt.ArrayLike, y: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The pixels that hold n positions, counted row by row, shape (n,); -1 outside. See `indices`."""
        row, column = self.indices(x, y)
        return np.where(row < 0, -1, row * self.shape[1] + column)

    def mean(self, x: npt.ArrayLike, y: npt.ArrayLike, values: npt.ArrayLike) -> FloatArray:
        """The mean of the readings in each pixel, shape `shape`; NaN in a pixel without any.

        The only place that turns readings into a map. A reading on the edge of two pixels belongs to the one above or
        to the right of it, and at the end of the rectangle to the last one. Readings outside, or without a position,
        and NaN readings do not count.

        Parameters
        ----------
        x, y : array-like, shape (n,)
            Where they were read, in motor units.
        values : array-like, shape (n,)
        """
        pixel, given = self.numbers(x, y), np.asarray(values, dtype=float)
        read = (pixel >= 0) & np.isfinite(given)
        count = np.bincount(pixel[read], minlength=self.size)
        total = np.bincount(pixel[read], given[read], minlength=self.size)
        return np.where(count > 0, total / np.maximum(count, 1), math.nan).reshape(self.shape)

    def snake(self) -> npt.NDArray[np.int64]:
        """The numbers of the pixels, counted row by row, in the order of a snake: each second row backwards."""
        numbers = np.arange(self.size).reshape(self.shape)
        numbers[1::2] = numbers[1::2, ::-1].copy()
        return numbers.ravel()

    def centres(self, numbers: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """The centres of n pixels, which are counted row by row: x and y in motor units, shape (n,) each."""
        row, column = np.divmod(np.asarray(numbers, dtype=np.int64), self.shape[1])
        return self.centres_x[column], self.centres_y[row]
