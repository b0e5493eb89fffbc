"""The panels of the live figure for a run without an objective: the maps, or the spectra, as far as they are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from ebl_autonomy.agents.protocols import Maps
from ebl_autonomy.data.mapped import Mapped, Measured
from ebl_autonomy.report.drawing import BLUE, GREY, ORANGE, RED
from ebl_autonomy.report.map_drawing import draw_field, draw_points, is_stacked, shape_axes
from ebl_autonomy.report.map_images import Images, errors_of
from ebl_autonomy.report.motor_axes import fit_to_variable
from ebl_autonomy.report.panels import legend, tidy
from ebl_autonomy.report.spectrum_contents import Curves
from ebl_autonomy.report.wording import number, with_unit
from ebl_autonomy.space import Space

__all__ = ["MapOrSpectrum", "draw_mapped"]

MOST: Final = 4
"""Channels that are drawn."""
SAMPLES: Final = 201
"""Positions at which a spectrum is drawn."""
LATEST: Final = 50
"""Most rows that are marked as the latest."""


@dataclass(frozen=True)
class MapOrSpectrum:
    """What an agent knows of the map or the spectrum that it measures.

    Attributes
    ----------
    images : Images or None
    curves : Curves or None
    errors : dict of str to float
        That it expects, by channel.
    """

    images: Images | None = None
    curves: Curves | None = None
    errors: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of_agent(cls, agent: Any, mapped: Mapped) -> Self:
        """Ask an agent; whatever its methods raise is raised."""
        if not mapped.is_map:
            return cls(curves=Curves.of_agent(agent, mapped, SAMPLES), errors=errors_of(agent))
        images = Images.of_agent(agent, mapped) if isinstance(agent, Maps) else None
        if images is not None and not any(np.isfinite(one).any() for one in images.mean.values()):
            images = None
        return cls(images=images, errors=errors_of(agent))

    def in_words(self, mapped: Mapped) -> str:
        """The errors that the agent expects; empty if it expects none."""
        told = [f"{name} {number(self.errors[name], 2)}" for name in mapped.channels[:MOST] if name in self.errors]
        return f"expected error {', '.join(told)}" if told else ""


def draw_mapped(
    figure: Figure | SubFigure,
    mapped: Mapped,
    space: Space,
    rows: Measured,
    known: MapOrSpectrum,
    units: Mapping[str, str],
    latest: int,
) -> None:
    """One panel for each channel.

    Parameters
    ----------
    figure : Figure
    mapped, space, rows
        Of the same run.
    known : MapOrSpectrum
        Without maps, the measured pixels are drawn; without spectra, the readings alone.
    units : mapping of str to str
    latest : int
        Number of rows, counted from the end, that are marked.
    """
    if not len(rows):
        return
    channels, recent = mapped.channels[:MOST], slice(max(len(rows) - min(latest, LATEST), 0), len(rows))
    if not mapped.is_map:
        panels = figure.subplots(len(channels), 1, squeeze=False, sharex=True)[:, 0]
        for name, axes in zip(channels, panels, strict=True):
            tidy(axes, with_unit(mapped.x, units) if axes is panels[-1] else "", with_unit(name, units))
            _spectrum(axes, mapped, rows, known, name, recent)
        fit_to_variable(panels[0], "x", space, mapped.x)
        return
    images = known.images or Images.measured(mapped, rows)
    names = (mapped.x, mapped.y)
    lines = _lines(len(channels), is_stacked(images.pixels, names, units))
    grid = figure.subplots(lines, math.ceil(len(channels) / lines), squeeze=False, sharex=True, sharey=True).ravel()
    for name, axes in zip(channels, grid[: len(channels)], strict=True):
        values = images.mean.get(name, np.full(images.pixels.shape, math.nan))
        draw_field(axes, images.pixels, values, with_unit(name, units))
        if known.images is not None:
            draw_points(axes, rows.x, rows.y, pixels=images.pixels, label="measured")
        axes.plot(rows.x[recent], rows.y[recent], "o", ms=5, mfc="none", mec=RED, mew=1.0, label="latest")
        shape_axes(axes, images.pixels, names, units)
        axes.label_outer()
    legend(grid[0])
    for unused in grid[len(channels) :]:
        unused.set_visible(False)


def _lines(count: int, wide: bool) -> int:
    """Rows of panels: two maps stand side by side, or one above the other if they are wide."""
    if count <= 1:
        return 1
    return 2 if count == MOST or wide else 1


def _spectrum(axes: Axes, mapped: Mapped, rows: Measured, known: MapOrSpectrum, name: str, recent: slice) -> None:
    curves, values = known.curves, rows.values[name]
    if curves is not None and name in curves.mean:
        mean, std = curves.mean[name], curves.std[name]
        axes.fill_between(
            curves.x, mean - 2.0 * std, mean + 2.0 * std, color=BLUE, alpha=0.18, lw=0, label="model ± 2 σ"
        )
        axes.plot(curves.x, mean, "-", lw=1.4, color=BLUE, label="model")
        if name in curves.edge:
            axes.axvline(curves.edge[name], lw=1.0, ls="--", color=ORANGE, label=f"edge {number(curves.edge[name], 7)}")
    read = np.isfinite(values) & np.isfinite(rows.x)
    axes.plot(rows.x[read], values[read], "o", ms=4, color=GREY, alpha=0.8, label="read")
    axes.plot(rows.x[recent], values[recent], "o", ms=7, mfc="none", mec=RED, mew=1.0, label="latest")
    legend(axes)
