"""The figures of maps and spectra in a report, as SVG text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ebl_autonomy.analysis.rasters import even_raster, rebuilt
from ebl_autonomy.data.mapped import Mapped, Measured
from ebl_autonomy.records import RunRecord
from ebl_autonomy.report.contents import Contents
from ebl_autonomy.report.drawing import BLUE, GREY, ORANGE, PALE, svg
from ebl_autonomy.report.map_contents import DRAWN, MapSection, RasterScore
from ebl_autonomy.report.map_drawing import (
    draw_field,
    draw_points,
    draw_regions,
    draw_route,
    draw_scale,
    height_over_width,
    is_stacked,
    shape_axes,
    shown_range,
)
from ebl_autonomy.report.map_images import Images
from ebl_autonomy.report.motor_axes import fit_to_variable
from ebl_autonomy.report.spectrum_contents import SpectrumSection
from ebl_autonomy.report.summary import RowsInOrder
from ebl_autonomy.report.wording import number, with_unit

__all__ = ["map_figures"]

WIDTH = 7.2
COMPARED = 3
"""Channels whose maps are compared with a raster's."""


def map_figures(record: RunRecord, rows: RowsInOrder, told: Contents) -> dict[str, str]:
    """The maps or the spectra of a run, and how they were measured: title to SVG."""
    mapped = Mapped.of(record.start, record.metadata, rows.space)
    if mapped is None or not len(rows):
        return {}
    measured = mapped.measured(rows.results)
    if told.spectrum is not None:
        return {
            f"Spectrum of {name}": svg(_spectrum(record, rows, told.spectrum, measured, i))
            for i, name in enumerate(mapped.channels[:DRAWN])
        }
    if told.map is None:
        return {}
    images = told.map.images or Images.measured(mapped, measured)  # a content that was read from JSON has none
    drawn = {}
    for name in mapped.channels[:DRAWN]:
        title = f"Map of {name}" + (" and its uncertainty" if name in images.std else "")
        drawn[title] = svg(_channel(record, told.map, images, measured, name))
    drawn["Where it was measured, in order"] = svg(_route(record, told.map, images, measured, rows.owners))
    compared = {
        one.channel: [two for two in told.map.rasters if two.channel == one.channel] for one in told.map.rasters
    }
    for name, scores in list(compared.items())[:COMPARED]:
        drawn[f"{name}: this map and an even raster"] = svg(_compared(record, told.map, images, name, scores))
    return drawn


def _panels(record: RunRecord, told: MapSection, images: Images, count: int, columns: int) -> tuple[Figure, list[Any]]:
    """A figure with room for some maps, each with its labels and a scale of colours."""
    ratio = height_over_width(images.pixels, (told.x, told.y), record.metadata.units)
    lines, room = math.ceil(count / columns), max(columns, 2 if ratio > 1.0 else 1)  # a tall map fills no page alone
    width = (WIDTH - 0.5) / room - 0.7
    height = lines * (float(np.clip(width * ratio, 0.8, 7.0)) + 0.45) + 0.3
    figure = Figure(figsize=(WIDTH, height), layout="compressed", dpi=150)
    panels = figure.subplots(lines, room, squeeze=False, sharex=True, sharey=True)
    kept = panels[:, :columns].ravel().tolist()
    for axes in {*panels.ravel().tolist()} - {*kept[:count]}:
        axes.set_visible(False)
    return figure, kept[:count]


def _channel(record: RunRecord, told: MapSection, images: Images, rows: Measured, name: str) -> Figure:
    units, names = record.metadata.units, (told.x, told.y)
    count = 2 if name in images.std else 1
    columns = 1 if is_stacked(images.pixels, names, units) else count
    figure, panels = _panels(record, told, images, count, columns)
    mean = images.mean.get(name, np.full(images.pixels.shape, math.nan))
    draw_field(panels[0], images.pixels, mean, with_unit(name, units))
    panels[0].set_title("mean" if name in images.std else "mean of the readings in each pixel", fontsize=8)
    draw_regions(panels[0], told.regions)
    if name in images.std:
        draw_field(panels[1], images.pixels, images.std[name], f"σ of {with_unit(name, units)}", cmap="cividis")
        read = rows.inside & np.isfinite(rows.values[name])
        draw_points(panels[1], rows.x[read], rows.y[read], pixels=images.pixels)
        panels[1].set_title("σ, and the measured points", fontsize=8)
    for axes in panels:
        shape_axes(axes, images.pixels, names, units)
        axes.label_outer()
    return figure


def _route(record: RunRecord, told: MapSection, images: Images, rows: Measured, owners: Sequence[int]) -> Figure:
    figure, (axes,) = _panels(record, told, images, 1, 1)
    shown = draw_route(axes, rows.x, rows.y, owners, images.pixels)
    draw_regions(axes, told.regions)
    shape_axes(axes, images.pixels, (told.x, told.y), record.metadata.units)
    if shown is not None:
        draw_scale(axes, shown, "row", ticks=MaxNLocator(nbins=6, integer=True))
    return figure


def _compared(record: RunRecord, told: MapSection, images: Images, name: str, scores: Sequence[RasterScore]) -> Figure:
    """The truth if it is known, the run's map, and what an even raster of as many points, or as much time, shows."""
    units, pixels = record.metadata.units, images.pixels
    true = told.truth.get(name)
    reference = images.mean[name] if true is None else true
    maps = [("truth", true)] if true is not None else []
    own = "" if scores[0].own_nrmse is None else f"\n{_scored(scores[0].own_nrmse, scores[0].own_similarity)}"
    maps.append((f"this run{own}", images.mean[name]))
    for one in scores:
        what = "as many points" if one.of == "points" else "the same time"
        found = even_raster(pixels.shape, one.points)
        against = "" if true is not None else "off by "  # the run's own map, as far as anybody knows
        text = f"raster, {what} ({one.points:,})\n{against}{_scored(one.nrmse, one.similarity)}"
        maps.append((text, rebuilt(np.asarray(reference), *found)))
    ends = shown_range(np.asarray(reference))
    columns = 2 if len(maps) in (2, 4) or is_stacked(pixels, (told.x, told.y), units) else 3
    figure, panels = _panels(record, told, images, len(maps), columns)
    for k, (axes, (title, values)) in enumerate(zip(panels, maps, strict=True)):
        bar = (k + 1) % columns == 0 or k == len(maps) - 1
        draw_field(axes, pixels, np.asarray(values), with_unit(name, units), ends=ends, bar=bar)
        axes.set_title(title, fontsize=8)
        shape_axes(axes, pixels, (told.x, told.y), units)
        axes.label_outer()
    return figure


def _scored(error: float | None, alike: float | None) -> str:
    return f"NRMSE {number(error, 2)}, SSIM {number(alike, 3)}"


def _spectrum(record: RunRecord, rows: RowsInOrder, told: SpectrumSection, measured: Measured, which: int) -> Figure:
    units, one = record.metadata.units, told.channels[which]
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    values = measured.values[one.name]
    if one.mean:
        x, mean, std = (np.array(v, dtype=float) for v in (told.values, one.mean, one.std))
        axes.fill_between(x, mean - 2.0 * std, mean + 2.0 * std, color=PALE, alpha=0.6, lw=0, label="agent, ± 2σ")
        axes.plot(x, mean, color=BLUE, lw=1.2)
    read = np.flatnonzero(np.isfinite(measured.x) & np.isfinite(values))
    if not one.mean and len(read):
        order = read[np.argsort(measured.x[read], kind="stable")]
        axes.plot(measured.x[order], values[order], "-", lw=0.7, color=GREY, alpha=0.7)
    if one.edge is not None:
        edge = number(one.edge, 7)
        axes.axvline(one.edge, color=ORANGE, lw=1.0, ls="--", label=f"edge: {edge} {units.get(told.x, '')}".rstrip())
    if len(read):
        shown = axes.scatter(
            measured.x[read], values[read], c=read + 1, s=16, cmap="plasma", vmin=1, vmax=max(len(values), 2),
            edgecolors="white", linewidths=0.4, zorder=3, label="read", rasterized=len(read) > 2000,
        )  # fmt: skip
        draw_scale(axes, shown, "row", ticks=MaxNLocator(nbins=6, integer=True))
    fit_to_variable(axes, "x", rows.space, told.x)
    axes.set_xlabel(with_unit(told.x, units), fontsize=8)
    axes.set_ylabel(with_unit(one.name, units), fontsize=8)
    axes.tick_params(labelsize=7)
    figure.legend(ncols=4, loc="outside upper center")
    return figure
