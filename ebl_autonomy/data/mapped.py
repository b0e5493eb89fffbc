"""What a run without an objective measures: a map over two motors, a spectrum over one, or neither.

The list of runs, the report, the progress bar and the live view all ask here, so that they agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.records import NORMALISERS, SURVEY, RunMetadata, to_float
from ebl_autonomy.space import FloatArray, Space

__all__ = ["Mapped", "Measured"]

MOST_CELLS: Final = 200
"""Cells along an axis where the run does not say what its pixels are."""
NO_AXES: Final = ("dwell", "line")
"""Options of a mapping agent that name variables which are no axes of the map."""

NO_CHANNELS: Final = ("i0", "live")
"""Options of an agent that name outcomes which are no channels of the map."""


@dataclass(frozen=True)
class Mapped:
    """The axes and the channels of a map or a spectrum.

    Attributes
    ----------
    x, y : str
        The variables along the axes of the map, x along its rows; `y` is empty for a spectrum.
    channels : tuple of str
        The outcomes that are mapped.
    domain : dict of str to (low, high)
        Of each axis, in motor units; without an axis that is measured only, whose ends the rows tell.
    grid : PixelGrid or None
        The pixels of the map, if the run says what they are.
    dwell : str
        The variable that is the exposure of a row, s; empty if there is none.
    normalisers : tuple of str
        The outcomes by which the channels are normalised, such as I0 and the live time. They are no channels.
    """

    x: str
    y: str
    channels: tuple[str, ...]
    domain: dict[str, tuple[float, float]]
    grid: PixelGrid | None = None
    dwell: str = ""
    normalisers: tuple[str, ...] = ()

    @classmethod
    def of(cls, start: Mapping[str, Any], metadata: RunMetadata, space: Space) -> Self | None:
        """What the run measures; None if it has an objective, or other variables than the axes of a map.

        Parameters
        ----------
        start : mapping
            The run's start document. A raster says its ``shape`` and ``extents``, slow axis first.
        metadata : RunMetadata
        space : Space
            Of the same run.
        """
        options = metadata.agent.get("options") or {}
        no_axes = {str(options[key]) for key in NO_AXES if options.get(key)}
        axes = [name for name in space.names if name not in no_axes]
        apart = _normalisers(start, options)
        channels = tuple(name for name in metadata.outcomes if name not in apart)
        if space.objectives or not channels:
            return None
        normalisers = tuple(name for name in metadata.outcomes if name in apart)
        domain = {
            name: (float(low), float(high)) for name, low, high in zip(space.names, space.low, space.high, strict=True)
        }
        dwell = str(options.get("dwell") or "")
        dwell = dwell if dwell in space.names else ""
        along, measured = [*axes, *space.context], _raster_of(start)
        if measured is not None and len(along) >= 2 and len(axes) in (1, 2):
            ordered = [name for name in space.vocs.variables if name in along][:2]
            return cls(ordered[1], ordered[0], channels, domain, measured, dwell, normalisers)
        if len(axes) == 1 and metadata.acquisition == "fly line" and len(space.context) == 1:
            return cls(space.context[0], axes[0], channels, domain, None, dwell, normalisers)
        if len(axes) == 1:
            return cls(axes[0], "", channels, domain, None, dwell, normalisers)
        plain = all(name not in space.choices and not space.logarithmic[space.names.index(name)] for name in axes)
        if len(axes) != 2 or not plain:
            return None
        grid = _grid_of(options, [domain[name] for name in axes])
        return cls(axes[0], axes[1], channels, domain, grid, dwell, normalisers)

    @property
    def is_map(self) -> bool:
        """Whether there are two axes."""
        return bool(self.y)

    def measured(self, results: Sequence[Mapping[str, Any]]) -> Measured:
        """The positions and the channels of n results as arrays."""
        names = [self.x, *([self.y] if self.y else []), *self.channels]
        columns = {name: np.array([to_float(one.get(name)) for one in results], dtype=float) for name in names}
        y = columns[self.y] if self.y else np.zeros(len(results))
        return Measured(columns[self.x], y, {name: columns[name] for name in self.channels})

    def pixels(self, rows: Measured) -> PixelGrid:
        """The pixels of the map; cells that hold about one row each, if the run does not say what its pixels are."""
        if self.grid is not None:
            return self.grid
        count = max(1, min(MOST_CELLS, math.isqrt(max(int(rows.inside.sum()), 1))))
        ends = [self.domain.get(name) or _ends(v[np.isfinite(v)]) for name, v in ((self.x, rows.x), (self.y, rows.y))]
        return PixelGrid(ends[0], ends[1], (count, count))


@dataclass(frozen=True, eq=False)
class Measured:
    """The rows of a map or a spectrum, in the order in which they were measured.

    Attributes
    ----------
    x, y : FloatArray, shape (n,)
        Positions in motor units; y is 0 for a spectrum.
    values : dict of str to FloatArray, shape (n,)
        By channel; NaN where it was not measured.
    """

    x: FloatArray
    y: FloatArray
    values: dict[str, FloatArray]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def inside(self) -> np.ndarray:
        """Whether each row has a position, shape (n,)."""
        return np.isfinite(self.x) & np.isfinite(self.y)

    @property
    def valid(self) -> np.ndarray:
        """Whether each row has a position and a value of at least one channel, shape (n,)."""
        finite = [np.isfinite(one) for one in self.values.values()]
        return np.asarray(self.inside & np.logical_or.reduce(finite, axis=0))

    def on(self, pixels: PixelGrid) -> dict[str, FloatArray]:
        """The mean of the readings in each pixel, by channel, shape (rows, columns); NaN where there are none."""
        return {name: pixels.mean(self.x, self.y, values) for name, values in self.values.items()}

    def numbers_on(self, pixels: PixelGrid) -> set[int]:
        """The pixels with at least one valid row, counted row by row."""
        numbers = pixels.numbers(self.x, self.y)
        return set(numbers[(numbers >= 0) & self.valid].tolist())


def _normalisers(start: Mapping[str, Any], options: Mapping[str, Any]) -> set[str]:
    """The outcomes that are no channels, as the agent's options or the start document of a survey's scan say."""
    survey = start.get(SURVEY)
    told = survey.get(NORMALISERS) if isinstance(survey, Mapping) else None
    named = [options.get(key) for key in NO_CHANNELS]
    return {str(name) for name in [*(told if isinstance(told, Sequence) else []), *named] if isinstance(name, str)}


def _raster_of(start: Mapping[str, Any]) -> PixelGrid | None:
    """The pixels of a raster, which its start document says."""
    try:
        (ny, nx), extents = start["shape"], start["extents"]
        y, x = (sorted(map(float, ends)) for ends in extents)
        return PixelGrid((x[0], x[1]), (y[0], y[1]), (int(ny), int(nx)))
    except (KeyError, TypeError, ValueError, BadInputError):  # of a plan of somebody else
        return None


def _grid_of(options: Mapping[str, Any], domain: Sequence[tuple[float, float]]) -> PixelGrid | None:
    """The pixels of an agent's map, by its options: the size of a pixel, or the numbers of points of a grid."""
    try:
        if options.get("step") is not None:
            return PixelGrid.of_step(domain[0], domain[1], options["step"])
        if options.get("points_per_axis") is None:
            return None
        nx, ny = np.broadcast_to(np.asarray(options["points_per_axis"], dtype=int), (2,)).tolist()
        x, y = (_around(ends, count) for ends, count in zip(domain, (nx, ny), strict=True))
        return PixelGrid(x, y, (ny, nx))
    except (TypeError, ValueError, BadInputError):  # an option of the same name of somebody else's agent
        return None


def _around(ends: tuple[float, float], count: int) -> tuple[float, float]:
    """The edges of pixels whose first and last centres are at the ends of a domain."""
    half = 0.5 * (ends[1] - ends[0]) / (count - 1) if count > 1 else 0.0
    return ends[0] - half, ends[1] + half


def _ends(values: FloatArray) -> tuple[float, float]:
    """An interval around all values that is not empty."""
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)
