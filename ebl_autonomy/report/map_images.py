"""The maps of a run as arrays: what its agent knows of them, or else the pixels that were measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from ebl_autonomy.agents.protocols import Maps
from ebl_autonomy.data.mapped import Mapped, Measured
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.space import FloatArray

__all__ = ["Images", "errors_of"]

EVEN = 0.01
"""Largest difference of two steps of an axis that is evenly spaced, as a share of the step."""


@dataclass(frozen=True, eq=False)
class Images:
    """The map of each channel, on pixels in ascending order of both axes.

    Attributes
    ----------
    pixels : PixelGrid
    mean : dict of str to FloatArray, shape (rows, columns)
        NaN where nothing is known.
    std : dict of str to FloatArray, shape (rows, columns)
        Empty if these are the measured pixels.
    """

    pixels: PixelGrid
    mean: dict[str, FloatArray]
    std: dict[str, FloatArray] = field(default_factory=dict)

    @classmethod
    def measured(cls, mapped: Mapped, rows: Measured) -> Self:
        """The measured pixels."""
        pixels = mapped.pixels(rows)
        return cls(pixels, rows.on(pixels))

    @classmethod
    def of_agent(cls, agent: Maps, mapped: Mapped) -> Self:
        """What an agent knows of its maps.

        Raises
        ------
        BadInputError
            If the axes are not evenly spaced, or a map has another shape than they have.
        """
        own = getattr(agent, "pixels", None)
        axes, turned = [], []
        for name, given in zip((mapped.x, mapped.y), agent.axes(), strict=True):
            centres = np.asarray(given, dtype=float)
            turned.append(len(centres) > 1 and centres[-1] < centres[0])
            axes.append(_edges(name, centres[::-1] if turned[-1] else centres, mapped.domain.get(name)))
        shape = (axes[1][1], axes[0][1])
        same = isinstance(own, PixelGrid) and own.shape == shape
        pixels = own if isinstance(own, PixelGrid) and same else PixelGrid(axes[0][0], axes[1][0], shape)
        mean, std = {}, {}
        for name, pair in agent.map().items():
            if name not in mapped.channels:
                continue
            both = [np.asarray(one, dtype=float) for one in pair]
            if any(one.shape != shape for one in both):
                raise BadInputError(f"the map of {name!r} has shape {both[0].shape}, its axes have {shape}")
            mean[name], std[name] = (one[:: -1 if turned[1] else 1, :: -1 if turned[0] else 1] for one in both)
        return cls(pixels, mean, std)


def errors_of(agent: Any) -> dict[str, float]:
    """The error of each channel that an agent predicts of its maps or spectra; empty if it predicts none."""
    ask = getattr(agent, "predicted_error", None)
    told = ask() if callable(ask) else {}
    return {str(name): float(value) for name, value in told.items() if np.isfinite(value)}


def _edges(name: str, centres: FloatArray, domain: tuple[float, float] | None) -> tuple[tuple[float, float], int]:
    """The ends of an axis, and its number of pixels; a single pixel fills the domain."""
    if centres.ndim != 1 or not len(centres) or not np.isfinite(centres).all():
        raise BadInputError(f"the axis {name!r} of the agent's map is no list of finite numbers: {centres!r}")
    if len(centres) == 1:
        low, high = domain or (centres[0] - 0.5, centres[0] + 0.5)
        return (float(low), float(high)), 1
    steps = np.diff(centres)
    step = float(steps.mean())
    if not step > 0.0 or np.abs(steps - step).max() > EVEN * step:
        raise BadInputError(f"the axis {name!r} of the agent's map is not evenly spaced: {centres.tolist()[:5]} …")
    return (float(centres[0]) - 0.5 * step, float(centres[-1]) + 0.5 * step), len(centres)
