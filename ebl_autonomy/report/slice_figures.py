"""Figures of slices of the model through the recommended point."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ebl_autonomy.records import RunRecord, to_float
from ebl_autonomy.report.contents import Contents, ModelSlice
from ebl_autonomy.report.drawing import BLUE, GREEN, GREY, ORANGE, PALE, RED, svg
from ebl_autonomy.report.motor_axes import fit_to_variable, mean_map
from ebl_autonomy.report.summary import RowsInOrder
from ebl_autonomy.report.wording import with_unit
from ebl_autonomy.space import FloatArray

__all__ = ["slice_figures"]

COLUMNS = 4


def slice_figures(record: RunRecord, rows: RowsInOrder, told: Contents) -> dict[str, str]:
    """One figure for each objective and each constrained outcome that the model predicts: title to SVG."""
    along = [one for one in told.model.slices if len(one.names) == 1]
    over = [one for one in told.model.slices if len(one.names) == 2]
    drawn = {}
    for outcome in dict.fromkeys([*rows.space.objectives, *rows.space.limits]):
        if along and all(outcome in one.mean for one in along):
            title = f"Model of {outcome}, through the recommended point"
            drawn[title] = svg(_figure(record, rows, told, outcome, along, over))
    return drawn


def _figure(
    record: RunRecord,
    rows: RowsInOrder,
    told: Contents,
    outcome: str,
    along: list[ModelSlice],
    over: list[ModelSlice],
) -> Figure:
    count = len(along) + len(over)
    columns = min(count, COLUMNS)
    lines = math.ceil(count / columns)
    figure = Figure(figsize=(7.2, (2.0 if columns > 3 else 2.5) * lines + 0.5), layout="constrained")
    first: Axes | None = None
    known: dict[str, Any] = {}
    for k, one in enumerate(along):
        axes = figure.add_subplot(lines, columns, k + 1, sharey=first)
        _along(axes, record, rows, told, outcome, one)
        if k % columns == 0:
            axes.set_ylabel(with_unit(outcome, record.metadata.units), fontsize=8)
        else:
            axes.tick_params(labelleft=False)
        first = first or axes
    for k, one in enumerate(over, len(along)):
        _over(figure, figure.add_subplot(lines, columns, k + 1), record, rows, told, outcome, one)
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            known.setdefault(label, handle)
    figure.legend(known.values(), known.keys(), ncols=5, loc="outside upper center")
    return figure


def _along(axes: Axes, record: RunRecord, rows: RowsInOrder, told: Contents, outcome: str, one: ModelSlice) -> None:
    (name,), (x,) = one.names, one.values
    mean, std = np.array(one.mean[outcome]), np.array(one.std[outcome])
    if name in rows.space.choices:
        axes.errorbar(x, mean, yerr=2.0 * std, fmt="o", ms=4, lw=0.8, color=BLUE, ecolor=PALE, label="model, ± 2σ")
    else:
        axes.fill_between(x, mean - 2.0 * std, mean + 2.0 * std, color=PALE, alpha=0.6, lw=0, label="model, ± 2σ")
        axes.plot(x, mean, color=BLUE, lw=1.2)
    if len(rows.space.names) == 1:  # with more motors, readings are not on the slice
        at, read = _column(rows, name), _column(rows, outcome)
        axes.plot(at, read, ".", ms=4, color=GREY, label="read")
    limit = rows.space.limits.get(outcome)
    ends = [end for end in (limit.low, limit.high) if math.isfinite(end)] if limit is not None else []
    for k, end in enumerate(ends):
        axes.axhline(end, color=ORANGE, lw=0.9, ls="--", label="" if k else "limit of the constraint")
    if told.recommended is not None and name in told.recommended.point:
        axes.axvline(told.recommended.point[name], color=GREEN, lw=0.9, label="recommended")
    fit_to_variable(axes, "x", rows.space, name)
    axes.set_xlabel(with_unit(name, record.metadata.units), fontsize=8)
    axes.tick_params(labelsize=7)


def _over(
    figure: Figure, axes: Axes, record: RunRecord, rows: RowsInOrder, told: Contents, outcome: str, one: ModelSlice
) -> None:
    (first, second), space = one.names, rows.space
    values, mean = (np.array(one.values[0]), np.array(one.values[1])), np.array(one.mean[outcome])
    least = outcome in space.objectives and space.signs[space.objectives.index(outcome)] < 0
    cmap = "viridis_r" if least else "viridis"  # bright is good
    shown = mean_map(axes, space, (first, second), values, mean, cmap=cmap, rasterized=True)
    read: dict[str, Any] = {"mfc": "white", "mec": "black", "mew": 0.4, "alpha": 0.8}
    axes.plot(_column(rows, first), _column(rows, second), "o", ms=2.5, clip_on=False, label="read, in the map", **read)
    if told.recommended is not None:
        at = told.recommended.point
        ring: dict[str, Any] = {"ms": 6, "mfc": "none", "mec": RED, "mew": 1.4, "clip_on": False}
        axes.plot([at[first]], [at[second]], "D", label="recommended, in the map", **ring)
    figure.colorbar(shown, ax=axes, label=with_unit(outcome, record.metadata.units)).ax.tick_params(labelsize=7)
    fit_to_variable(axes, "x", space, first, margin=0.0)
    fit_to_variable(axes, "y", space, second, margin=0.0)
    axes.set_xlabel(with_unit(first, record.metadata.units), fontsize=8)
    axes.set_ylabel(with_unit(second, record.metadata.units), fontsize=8)
    axes.tick_params(labelsize=7)


def _column(rows: RowsInOrder, name: str) -> FloatArray:
    return np.array([to_float(result[name]) for result in rows.results], dtype=float)
