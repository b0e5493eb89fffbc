"""Maps of several channels on one grid, with what each pixel was exposed to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy import ndimage

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.scales import FloatArray

__all__ = ["Maps", "are_counts"]

EVEN: Final = 0.25
"""Largest deviation of a distance between neighbouring columns from their mean, as a share of it. Stages jitter."""
ON_A_GRID: Final = 1.5
"""Points lie on a grid if the grid has at most so many nodes per point."""


@dataclass(frozen=True, eq=False)
class Maps:
    """What was measured on a grid: one map per channel, with the axes and the exposure of each pixel.

    A pixel is not measured in a channel if the channel is NaN there, or if its live time or I0 is not positive. A
    detector without live time counts nothing, however much light it sees.

    Attributes
    ----------
    channels : mapping of str to FloatArray, shape (ny, nx)
        Counts, or values with a standard deviation (see `std`).
    x, y : FloatArray, shape (nx,) and (ny,)
        Positions of columns and rows in motor units, evenly spaced, ascending or descending.
    i0 : FloatArray, shape (ny, nx), optional
        Incident intensity in any unit; rates are those at its median.
    live : FloatArray, shape (ny, nx), or float, optional
        Live time of the detector in seconds. Without it, the dwell time is used.
    dwell_s : FloatArray, shape (ny, nx), or float, optional
        Dwell time of each pixel in seconds. Without any time, a pixel's exposure is 1, and rates are counts per pixel.
    weight : FloatArray, shape (ny, nx), or float, optional
        Exposure of each pixel beyond time and I0, for example the number of points that were added up in it.
    std : mapping of str to float, FloatArray or None
        The channels that are values and not counts, with their standard deviation in their own unit, per pixel or for
        all; None to estimate it from the map. I0 and live time do not apply to them.

    Raises
    ------
    BadInputError
        If shapes differ, an axis is not evenly spaced, or counts are negative.
    """

    channels: Mapping[str, FloatArray]
    x: FloatArray
    y: FloatArray
    i0: FloatArray | None = None
    live: FloatArray | float | None = None
    dwell_s: FloatArray | float | None = None
    weight: FloatArray | float | None = None
    std: Mapping[str, FloatArray | float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            object.__setattr__(self, name, _axis(name, getattr(self, name)))
        if not self.channels:
            raise BadInputError("channels={}: give at least one map, as {name: array of shape (ny, nx)}")
        maps = {name: self._map(f"channel {name!r}", values) for name, values in self.channels.items()}
        object.__setattr__(self, "channels", maps)
        for name in ("i0", "live", "dwell_s", "weight"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, self._map(name, getattr(self, name)))
        if unknown := sorted(set(self.std) - set(maps)):
            raise BadInputError(f"std names {unknown}, which are no channels: the channels are {sorted(maps)}")
        std = {
            name: None if given is None else self._map(f"std of {name!r}", given) for name, given in self.std.items()
        }
        object.__setattr__(self, "std", std)
        for name, values in maps.items():
            if name not in std and np.nanmin(values, initial=0.0) < 0.0:
                raise BadInputError(
                    f"channel {name!r} has the negative value {np.nanmin(values):g}, which are no counts: give the raw "
                    f"counts, or the standard deviation of the values in std={{{name!r}: ...}}"
                )

    @classmethod
    def from_points(
        cls,
        columns: Mapping[str, Sequence[float] | FloatArray],
        x: str,
        y: str,
        channels: Sequence[str],
        *,
        i0: str | None = None,
        live: str | None = None,
        dwell: str | None = None,
        std: Mapping[str, float | None] | None = None,
        step: float | tuple[float, float] | None = None,
    ) -> Maps:
        """Maps of measured points in any order: a grid with gaps, or scattered points.

        Points on a grid keep its rows and columns. Scattered points are binned: counts and exposures of the points in
        one pixel are added up, and pixels without a point are not measured.

        Parameters
        ----------
        columns : mapping of str to sequence of n floats
            The table of points.
        x, y : str
            The columns with the positions, in motor units.
        channels : sequence of str
        i0, live, dwell : str, optional
            The columns with incident intensity, live time (s) and dwell time (s).
        std : mapping, optional
            The channels that are values and not counts; see `Maps`.
        step : float or (x, y), optional
            Size of the pixels in motor units. Without it, that of the grid, or such that a pixel holds one scattered
            point on average.

        Raises
        ------
        BadInputError
            If a column is missing or there is no point with a position.
        """
        needed = [x, y, *channels, *(name for name in (i0, live, dwell) if name is not None)]
        if missing := [name for name in needed if name not in columns]:
            raise BadInputError(f"the points lack {missing}: they have {sorted(columns)}")
        table = {name: np.asarray(columns[name], dtype=float) for name in needed}
        placed = np.isfinite(table[x]) & np.isfinite(table[y])
        if not placed.any():
            raise BadInputError(f"none of {len(placed)} points has a position in {x!r} and {y!r}: measure some first")
        table = {name: column[placed] for name, column in table.items()}
        steps = None if step is None else np.broadcast_to(np.asarray(step, dtype=float), 2)
        xs, ys = _grid(table[x], table[y], steps)
        column, row = _nearest(xs, table[x]), _nearest(ys, table[y])
        return cls._binned(table, (row, column), xs, ys, channels, i0, live or dwell, std or {})

    @classmethod
    def _binned(
        cls,
        table: Mapping[str, FloatArray],
        at: tuple[np.ndarray, np.ndarray],
        xs: FloatArray,
        ys: FloatArray,
        channels: Sequence[str],
        i0: str | None,
        time: str | None,
        std: Mapping[str, float | None],
    ) -> Maps:
        shape = (len(ys), len(xs))
        exposure = np.ones(len(at[0])) if time is None else table[time].copy()
        if i0 is not None:
            exposure = exposure * _relative(table[i0])
        exposure = np.where(np.isfinite(exposure) & (exposure > 0.0), exposure, 0.0)
        maps: dict[str, FloatArray] = {}
        exposed = np.zeros(shape)
        np.add.at(exposed, at, exposure)
        spread: dict[str, FloatArray | float | None] = {}
        for name in channels:
            values = table[name]
            known = np.isfinite(values) & ((exposure > 0.0) | (name in std))
            total, number, light = np.zeros(shape), np.zeros(shape), np.zeros(shape)
            np.add.at(total, (at[0][known], at[1][known]), values[known])
            np.add.at(number, (at[0][known], at[1][known]), 1.0)
            np.add.at(light, (at[0][known], at[1][known]), exposure[known])
            if name in std:
                maps[name] = np.where(number > 0.0, total / np.maximum(number, 1.0), np.nan)
                given = std[name]
                spread[name] = None if given is None else given / np.sqrt(np.maximum(number, 1.0))
            else:  # a point without this channel has exposed the others only
                share = np.divide(exposed, light, out=np.ones(shape), where=light > 0.0)
                maps[name] = np.where(number > 0.0, total * share, np.nan)
        return cls(maps, xs, ys, std=spread, **{"live" if time is not None else "weight": exposed})

    # -- geometry ----------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return len(self.y), len(self.x)

    @property
    def pixel(self) -> tuple[float, float]:
        """Width and height of a pixel in motor units, positive. A single column is as wide as the rows are high."""
        sizes = [abs(axis[-1] - axis[0]) / (len(axis) - 1) if len(axis) > 1 else None for axis in (self.x, self.y)]
        width, height = sizes
        return float(width or height or 1.0), float(height or width or 1.0)

    def refined(self, factor: int) -> Maps:
        """The same map on pixels that are `factor` times smaller, interpolated linearly.

        Counts and exposures are interpolated separately and shared out, so the rates run smoothly from one measured
        pixel to the next, and a region's total counts and their noise stay what was measured. Neighbouring small pixels
        are not independent: judge windows at least as large as a measured pixel.

        Raises
        ------
        BadInputError
            If `factor` is not a positive whole number.
        """
        if isinstance(factor, bool) or int(factor) != factor or factor < 1:
            raise BadInputError(f"refined({factor!r}): give a positive whole number")
        if factor == 1:
            return self
        places = [(np.arange(len(axis) * factor) + 0.5) / factor - 0.5 for axis in (self.y, self.x)]
        x, y = (_finer(axis, place) for axis, place in zip((self.x, self.y), places[::-1], strict=True))
        grid = np.stack(np.meshgrid(*places, indexing="ij"))

        def shared(values: FloatArray) -> FloatArray:
            return np.asarray(ndimage.map_coordinates(values, grid, order=1, mode="nearest"))

        channels: dict[str, FloatArray] = {}
        std: dict[str, FloatArray | float | None] = {}
        exposures = {name: self.exposure(name) for name in self.channels}
        most: FloatArray = np.max(np.stack([exposures[n] for n in self.channels]), axis=0)
        fine = shared(most) / factor**2
        for name, values in self.channels.items():
            weight = shared(exposures[name])
            total = shared(np.where(exposures[name] > 0.0, values, 0.0))
            known = weight > 1e-9
            mean = np.divide(total, weight, out=np.full(weight.shape, np.nan), where=known)
            if name not in self.std:
                channels[name] = mean * fine
                continue
            channels[name] = mean
            noise = self.std[name]
            if noise is None:
                std[name] = factor * estimated_std(np.where(exposures[name] > 0.0, values, np.nan))
            else:
                std[name] = factor * np.divide(
                    shared(np.where(exposures[name] > 0.0, noise, 0.0)),
                    weight,
                    out=np.full(weight.shape, np.nan),
                    where=known,
                )
        if all(name in self.std for name in self.channels):
            return Maps(channels, x, y, std=std)
        return Maps(channels, x, y, std=std, **{"live" if self.timed else "weight": fine})

    # -- exposure ----------------------------------------------------------------------------------------------

    @property
    def timed(self) -> bool:
        """Whether rates are per second."""
        return self.dwell_s is not None or self.live is not None

    @property
    def typical_s(self) -> float | None:
        """Median dwell time of a pixel, or live time, in seconds; None if nobody knows it."""
        given = self.dwell_s if self.dwell_s is not None else self.live
        times: FloatArray = np.asarray(np.nan if given is None else given, dtype=float)
        known = times[np.isfinite(times) & (times > 0.0)]
        return float(np.median(known)) if known.size else None

    def exposure(self, channel: str) -> FloatArray:
        """Live seconds of each pixel at the median I0, shape (ny, nx); 0 where the channel was not measured.

        Without any time, 1 at the median I0. Of values that are no counts, 1 where measured.
        """
        known = np.isfinite(self.channels[channel])
        if channel in self.std:
            return known.astype(float)
        given = self.live if self.live is not None else self.dwell_s
        exposure: FloatArray = np.ones(self.shape) if given is None else np.asarray(given, dtype=float)
        if self.i0 is not None:
            exposure = exposure * _relative(self.i0)
        if self.weight is not None:
            exposure = exposure * self.weight
        return np.where(known & np.isfinite(exposure) & (exposure > 0.0), exposure, 0.0)

    def rate(self, channel: str) -> FloatArray:
        """Counts per live second at the median I0 (or values), shape (ny, nx); NaN where not measured."""
        exposure = self.exposure(channel)
        values = self.channels[channel]
        if channel in self.std:
            return np.where(exposure > 0.0, values, np.nan)
        rate: FloatArray = np.divide(values, exposure, out=np.full(self.shape, np.nan), where=exposure > 0.0)
        return rate

    def _map(self, what: str, given: FloatArray | float) -> FloatArray:
        values: FloatArray = np.asarray(given, dtype=float)
        if values.ndim == 0 and not what.startswith("channel"):
            values = np.broadcast_to(values, self.shape)
        if values.shape != self.shape:
            raise BadInputError(
                f"{what} has the shape {values.shape}, the axes have {len(self.y)} rows and {len(self.x)} columns: "
                f"give an array of shape {self.shape}"
            )
        return values


def _axis(name: str, given: FloatArray) -> FloatArray:
    axis = np.asarray(given, dtype=float)
    if axis.ndim != 1 or not len(axis) or not np.isfinite(axis).all():
        raise BadInputError(f"{name} has the shape {axis.shape}: give the finite positions of its columns or rows")
    steps = np.diff(axis)
    if len(steps) and not (steps.mean() and (np.abs(steps / steps.mean() - 1.0) <= EVEN).all()):
        raise BadInputError(
            f"{name} is not evenly spaced (steps of {steps.min():g} to {steps.max():g}): use Maps.from_points"
        )
    return axis


def _finer(axis: FloatArray, places: FloatArray) -> FloatArray:
    """Positions at fractional indices, beyond the ends too."""
    if len(axis) == 1:
        raise BadInputError("a map of one row or column cannot be refined: between what would it be interpolated?")
    step = (axis[-1] - axis[0]) / (len(axis) - 1)
    return np.asarray(axis[0] + step * places)


def are_counts(values: FloatArray) -> bool:
    """Whether the finite values of a channel are whole numbers and none is negative, as counts are."""
    known = values[np.isfinite(values)]
    return bool((known >= 0.0).all() and (known == np.rint(known)).all())


def estimated_std(values: FloatArray) -> float:
    """Standard deviation of the noise of a map, shape (ny, nx), from differences of neighbours.

    The median takes the differences of the sample itself for what they are, unless they are everywhere.
    """
    steps = np.concatenate([np.diff(values, axis=axis).ravel() for axis in (0, 1)])
    steps = steps[np.isfinite(steps)]
    return float(1.4826 * np.median(np.abs(steps)) / math.sqrt(2.0)) if len(steps) else 0.0


def _relative(i0: FloatArray) -> FloatArray:
    """I0 over its median; NaN where there was no beam."""
    lit: FloatArray = np.where(np.isfinite(i0) & (i0 > 0.0), i0, np.nan)
    return np.asarray(lit / np.nanmedian(lit)) if np.isfinite(lit).any() else lit


def _nearest(axis: FloatArray, values: FloatArray) -> np.ndarray:
    """The place of the nearest position on an ascending, evenly spaced axis, shape of `values`."""
    step = (axis[-1] - axis[0]) / (len(axis) - 1) if len(axis) > 1 else 1.0
    return np.asarray(np.clip(np.rint((values - axis[0]) / step), 0, len(axis) - 1), dtype=np.int64)


def _grid(x: FloatArray, y: FloatArray, steps: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """The columns and rows of points."""
    if steps is None:
        columns, rows = _levels(x), _levels(y)
        if columns is not None and rows is not None and len(columns) * len(rows) <= max(ON_A_GRID * len(x), 1.0):
            return columns, rows
        spans = np.array([np.ptp(x), np.ptp(y)])
        side = math.sqrt(max(float(np.prod(spans)), 0.0) / len(x)) or float(spans.max()) / max(len(x) - 1, 1) or 1.0
        return _cells(x, side), _cells(y, side)
    return _cells(x, float(steps[0])), _cells(y, float(steps[1]))


def _cells(values: FloatArray, step: float) -> FloatArray:
    if not (math.isfinite(step) and step > 0.0):
        raise BadInputError(f"step={step!r}: the size of a pixel must be positive, in motor units")
    low, high = float(values.min()), float(values.max())
    number = max(round((high - low) / step), 0) + 1
    return np.asarray(0.5 * (low + high) + step * (np.arange(number) - 0.5 * (number - 1)))


def _levels(values: FloatArray) -> FloatArray | None:
    """The evenly spaced positions around which the values lie; None if they lie everywhere."""
    ordered = np.sort(values)
    gaps = np.diff(ordered)
    span = float(np.ptp(values))
    if not span:
        return ordered[:1]
    # Within a column, positions differ by the jitter of the stage; from column to column by the step.
    sizes = np.sort(np.maximum(gaps, 1e-9 * span))
    jump = int(np.argmax(sizes[1:] / sizes[:-1])) if len(sizes) > 1 else -1
    between = gaps >= sizes[jump + 1] if len(sizes) > 1 and sizes[jump + 1] > 3.0 * sizes[jump] else gaps > 0.0
    levels = np.array([part.mean() for part in np.split(ordered, np.flatnonzero(between) + 1)])
    distances = np.diff(levels)
    # A column that was left out wholly makes a distance of several steps.
    step = float(np.median(distances))
    numbers = np.rint((levels - levels[0]) / step)
    if (np.abs((levels - levels[0]) - numbers * step) > EVEN * step).any() or (np.diff(numbers) < 1.0).any():
        return None
    slope = (levels[-1] - levels[0]) / numbers[-1]
    return np.asarray(levels[0] + slope * np.arange(int(numbers[-1]) + 1))
