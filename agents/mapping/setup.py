"""The mapping agent's VOCS and options as numbers; refuses what does not fit together."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace

import numpy as np

from ebl_autonomy.agents.mapping.options import MappingOptions
from ebl_autonomy.errors import BadInputError, unknown_text
from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.space import AxisTravel, FloatArray, Space, Travel, outcome_names

__all__ = ["Setup", "travel_of"]

DEFAULT_PIXELS = 100
"""Pixels along each axis of a map without a step."""


@dataclass(frozen=True)
class Setup:
    """What is mapped, and how.

    Attributes
    ----------
    axes : (str, str)
        The variables that are the fast axis (x) and the slow one (y).
    grid : PixelGrid
    channels : list of str
    poisson : list of bool
        Of each channel, whether it counts.
    weights, thresholds : FloatArray, shape (channels,)
        A threshold is NaN where a channel has none.
    dwells : (float, float) or None
        The shortest and the longest dwell time, in seconds.
    lines : (float, float) or None
        The domain of the length of a line, in motor units.
    """

    axes: tuple[str, str]
    grid: PixelGrid
    channels: list[str]
    poisson: list[bool]
    weights: FloatArray
    thresholds: FloatArray
    dwells: tuple[float, float] | None
    lines: tuple[float, float] | None

    @classmethod
    def of(cls, options: MappingOptions, space: Space) -> Setup:
        """Derive the setup from the options.

        Raises
        ------
        BadInputError
            The message names the option and the remedy.
        """
        channels = outcome_names(space.vocs)
        _check_names(options, channels, space.names)
        axes = [name for name in space.names if name not in (options.dwell, options.line)]
        if len(axes) != 2:
            raise BadInputError(
                f"a map needs two axes, the fast one first; the VOCS has {axes}. A dwell time or the length of a line "
                "is named by dwell= or line="
            )
        bounds = {
            name: (float(low), float(high)) for name, low, high in zip(space.names, space.low, space.high, strict=True)
        }
        spans = [bounds[name][1] - bounds[name][0] for name in axes]
        step = [span / DEFAULT_PIXELS for span in spans] if options.step is None else options.step
        counting = options.counts if isinstance(options.counts, list) else channels if options.counts else []
        thresholds = options.threshold if isinstance(options.threshold, dict) else {}
        common = options.threshold if isinstance(options.threshold, float) else np.nan
        return cls(
            axes=(axes[0], axes[1]),
            grid=PixelGrid.of_step(bounds[axes[0]], bounds[axes[1]], step),
            channels=channels,
            poisson=[name in counting for name in channels],
            weights=np.array([options.weights.get(name, 1.0) for name in channels]),
            thresholds=np.array([thresholds.get(name, common) for name in channels], dtype=float),
            dwells=None,
            lines=None,
        ).within(options, space)

    def within(self, options: MappingOptions, space: Space) -> Setup:
        """The same map, with the dwell times and lengths of lines that `space` allows.

        Raises
        ------
        BadInputError
            If a dwell time may be 0, or a length may not.
        """
        bounds = {
            name: (float(low), float(high)) for name, low, high in zip(space.names, space.low, space.high, strict=True)
        }
        dwells = bounds[options.dwell] if options.dwell else None
        if dwells is not None and not dwells[0] > 0.0:
            raise BadInputError(f"the shortest {options.dwell!r} is {dwells[0]:g} s: it must be positive")
        lines = bounds[options.line] if options.line else None
        if lines is not None and not lines[0] <= 0.0 <= lines[1]:
            raise BadInputError(f"{options.line!r} lies within {lines}: the domain must include 0, which is a point")
        return replace(self, dwells=dwells, lines=lines)


def travel_of(options: MappingOptions) -> Travel:
    """The motion profiles in the options."""
    return Travel({name: AxisTravel(**axis) for name, axis in options.travel.items()})


def _check_names(options: MappingOptions, channels: list[str], variables: list[str]) -> None:
    thresholds = list(options.threshold) if isinstance(options.threshold, dict) else []
    counts = options.counts if isinstance(options.counts, list) else []
    for option, names in (("counts", counts), ("weights", list(options.weights)), ("threshold", thresholds)):
        for name in names:
            if name not in channels:
                raise BadInputError(f"{option} names {name!r}: {unknown_text(name, channels, 'channels')}")
    for option, given in (("dwell", options.dwell), ("line", options.line)):
        if given is not None and given not in variables:
            raise BadInputError(f"{option}={given!r}: {unknown_text(given, variables, 'variables')}")
    if options.dwell is not None and options.dwell == options.line:
        raise BadInputError(f"dwell and line both name {options.dwell!r}: give each a variable of its own")
    if options.aim == "boundary" and (options.threshold is None or options.threshold == {}):
        raise BadInputError("aim='boundary' needs threshold=, the level that the boundary separates")
    if options.weights and not any(options.weights.get(name, 1.0) > 0.0 for name in channels):
        raise BadInputError(f"weights={options.weights}: give at least one channel a positive weight")
    fields = [field.name for field in dataclasses.fields(AxisTravel)]
    for name, axis in options.travel.items():
        if name not in variables:
            raise BadInputError(f"travel names {name!r}: {unknown_text(name, variables, 'variables')}")
        for key in axis:
            if key not in fields:
                raise BadInputError(f"travel.{name}.{key}: {unknown_text(key, fields)}")
        if not axis.get("velocity", 0.0) > 0.0:
            raise BadInputError(f"travel of {name!r} has the velocity {axis.get('velocity')!r}: it must be positive")
