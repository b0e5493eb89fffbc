"""The figures of a report, as SVG text; matplotlib's objects without pyplot, so that no screen is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ebl_autonomy.records import PhaseMapsRecord, Recommendation, RunRecord, to_float
from ebl_autonomy.report.contents import Contents
from ebl_autonomy.report.drawing import BLUE, GREEN, GREY, ORANGE, PALE, RED, STYLE, SUSPECT_MARK, spans_decades, svg
from ebl_autonomy.report.map_figures import map_figures
from ebl_autonomy.report.motor_axes import fit_to_variable
from ebl_autonomy.report.phase_figures import phase_figure
from ebl_autonomy.report.slice_figures import slice_figures
from ebl_autonomy.report.summary import RowsInOrder
from ebl_autonomy.report.wording import with_unit
from ebl_autonomy.space import Space

__all__ = ["figures"]

MANY = 2000
"""Points above this number are drawn as an image, so that the page stays small."""


def figures(
    record: RunRecord, told: Contents, pixel_um: float | None = None, best: float | None = None
) -> dict[str, str]:
    """Every figure that the run has data for: title to SVG.

    Parameters
    ----------
    record : RunRecord
    told : Contents
        Of the same run.
    pixel_um : float, optional
        Size of an image's pixel, µm; pixels are shown without it.
    best : float, optional
        The best possible value of the objective, if it is known.
    """
    drawn: dict[str, str] = {}
    if isinstance(record, PhaseMapsRecord):
        return _phases(record)
    rows, points = RowsInOrder(record, told.suspects), told.summary.points
    with mpl.rc_context(STYLE):
        images = [(key, values) for key, values in record.baseline.items() if len(values) and np.ndim(values[0]) == 2]
        for key, values in images:
            drawn[f"Beam before and after ({key})"] = svg(_beam(values, pixel_um))
        if points and told.objectives:
            title = "Objective against points" if len(told.objectives) == 1 else "Each objective against points"
            drawn[title] = svg(_objectives(record, rows, told, best))
        if len(told.objectives) == 2 and len(told.front) > 1:
            drawn["Front: what no other point betters in all objectives"] = svg(_front(record, rows, told))
        drawn |= slice_figures(record, rows, told)
        drawn |= map_figures(record, rows, told)
        if points:
            drawn["Where each motor went"] = svg(_motors(record, rows.space))
        if compared := _predicted_and_measured(record):
            drawn["Model against measurement"] = svg(_model(compared))
        if points:
            drawn["Where the time went"] = svg(_time(told.summary.seconds))
    return drawn


def _phases(record: PhaseMapsRecord) -> dict[str, str]:
    """The phases of each region: title to SVG."""
    x, y = (with_unit(name, record.metadata.units) for name in record.metadata.motors)
    return {
        f"Phases of {one.label}": svg(phase_figure(one.x, one.y, one.amounts, motors=(x, y)))
        for one in record.phase_maps
        if one.amounts
    }


def _beam(images: Any, pixel_um: float | None) -> Figure:
    frames = [np.asarray(images[0], dtype=float), np.asarray(images[-1], dtype=float)]
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    size = pixel_um or 1.0
    # A hot pixel must not set the scale: each frame is shown up to its own 99.99th percentile, marked in its title.
    for k, (frame, title) in enumerate(zip(frames, ("before", "after"), strict=True)):
        axes = figure.add_subplot(1, 2, k + 1)
        dark = float(np.median(frame))
        top = max(float(np.percentile(frame, 99.99)) - dark, 1.0)
        h, w = frame.shape
        extent = (-w / 2 * size, w / 2 * size, h / 2 * size, -h / 2 * size)
        axes.imshow(frame - dark, cmap="magma", vmin=0.0, vmax=top, extent=extent, interpolation="nearest")
        axes.set_title(f"{title}: peak {top:,.0f} counts")
        axes.set_xlabel("x (µm)" if pixel_um else "x (pixels)")
        if k == 0:
            axes.set_ylabel("y (µm)" if pixel_um else "y (pixels)")
        _zoom(axes, frame - dark, top, extent, size)
    return figure


def _zoom(axes: Axes, frame: Any, top: float, extent: Any, size: float) -> None:
    """An inset on the spot if it is small in the frame."""
    h, w = frame.shape
    smooth = np.add.reduce([np.roll(np.roll(frame, i, 0), k, 1) for i in (-1, 0, 1) for k in (-1, 0, 1)])
    row, column = np.unravel_index(int(np.argmax(smooth)), frame.shape)
    if (frame > 0.5 * top).sum() > 0.01 * frame.size:
        return
    half = max(int(0.07 * w), 8)
    x, y = (column + 0.5 - w / 2) * size, (row + 0.5 - h / 2) * size
    # In the corner that is farthest from the spot.
    inset = axes.inset_axes((0.60 if column < w / 2 else 0.02, 0.60 if row > h / 2 else 0.02, 0.38, 0.38))
    inset.imshow(frame, cmap="magma", vmin=0.0, vmax=top, extent=extent, interpolation="nearest")
    inset.set_xlim(x - half * size, x + half * size)
    inset.set_ylim(y + half * size, y - half * size)
    inset.set_xticks([])
    inset.set_yticks([])
    for spine in inset.spines.values():
        spine.set(visible=True, edgecolor="white", linewidth=0.8)
    axes.indicate_inset_zoom(inset, edgecolor="white", alpha=0.8)


def _objectives(record: RunRecord, rows: RowsInOrder, told: Contents, best: float | None) -> Figure:
    """One panel for each objective, one above the other."""
    count = len(told.objectives)
    figure = Figure(figsize=(7.2, 0.7 + 2.5 * count), layout="constrained")
    panels = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    known: dict[str, Any] = {}
    for i, axes in enumerate(panels):
        _objective(axes, record, rows, told, i, best if i == 0 else None)
        known |= {str(label): handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    panels[-1].set_xlabel("point")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[-1].set_xlim(0.5, max(len(rows), 10) + 0.5)
    figure.legend(known.values(), known.keys(), ncols=4, loc="outside upper center")
    return figure


def _objective(
    axes: Axes, record: RunRecord, rows: RowsInOrder, told: Contents, which: int, best: float | None
) -> None:
    name, sign = rows.space.objectives[which], float(rows.space.signs[which])
    values = np.array([to_float(result[name]) for result in rows.results])
    points = np.arange(1, len(values) + 1)
    valid = np.isfinite(values)
    suspect = valid & rows.suspect(name)
    shown, broken = valid & rows.feasible & ~suspect, valid & ~rows.feasible & ~suspect
    axes.plot(points[shown], values[shown], "o", ms=4, color=GREY, alpha=0.7, label="read")
    if broken.any():
        axes.plot(points[broken], values[broken], "x", ms=5, color=RED, label="breaks a constraint")
    if suspect.any():
        axes.plot(points[suspect], values[suspect], **SUSPECT_MARK)
    if shown.any():
        gains = np.where(shown, sign * values, -np.inf)
        so_far = np.maximum.accumulate(gains)
        so_far[np.isneginf(so_far)] = math.nan
        axes.plot(points, sign * so_far, drawstyle="steps-post", lw=1.8, color=BLUE, label="best reading so far")
        at_best = int(np.argmax(gains))
        axes.plot(points[at_best], values[at_best], "*", ms=11, color=ORANGE, label="best reading")
    at = _row_of(rows, told.recommended)
    mean, std = told.objectives[which].recommended, told.objectives[which].std
    if at is not None and mean is not None:
        label = "recommended, ± σ" if told.recommended is not None and told.recommended.std else "recommended"
        axes.errorbar(points[at], mean, yerr=std or 0.0, fmt="D", ms=6, mfc="none", capsize=3, color=GREEN, label=label)
    if best is not None:
        axes.axhline(best, color=GREEN, lw=1.0, ls="--", label="best possible")
    if spans_decades(values):
        axes.set_yscale("log")
    if (~valid).any():
        foot = np.full((~valid).sum(), 0.02)
        axes.plot(points[~valid], foot, "|", ms=9, color=RED, transform=axes.get_xaxis_transform(), label="invalid")
    axes.set_ylabel(with_unit(name, record.metadata.units))


def _row_of(rows: RowsInOrder, recommended: Recommendation | None) -> int | None:
    """The row at the recommended point; None if it was not measured."""
    if recommended is None:
        return None
    names = rows.space.names
    return next((i for i, r in enumerate(rows.results) if all(r[n] == recommended.point.get(n) for n in names)), None)


def _front(record: RunRecord, rows: RowsInOrder, told: Contents) -> Figure:
    """The front of two objectives, with the compromise."""
    first, second = rows.space.objectives
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.add_subplot()
    x, y = (np.array([to_float(result[name]) for result in rows.results]) for name in (first, second))
    suspect = rows.suspect(first, second)
    shown, broken = rows.feasible & ~suspect, ~rows.feasible & ~suspect
    axes.plot(x[shown], y[shown], "o", ms=4, color=GREY, alpha=0.7, label="read")
    if broken.any():
        axes.plot(x[broken], y[broken], "x", ms=5, color=RED, label="breaks a constraint")
    if suspect.any():
        axes.plot(x[suspect], y[suspect], **SUSPECT_MARK)
    _errorbars(axes, told.front, first, second, fmt="o", ms=4, color=BLUE, ecolor=PALE, label="front, ± σ")
    if told.recommended is not None:
        compromise = [told.recommended]
        _errorbars(
            axes, compromise, first, second,
            fmt="D", ms=8, mfc="none", capsize=3, color=GREEN, label="recommended: the compromise",
        )  # fmt: skip
    axes.set_xlabel(with_unit(first, record.metadata.units))
    axes.set_ylabel(with_unit(second, record.metadata.units))
    axes.set_xlim(*_around([one.outcome[first] for one in told.front]))
    axes.set_ylim(*_around([one.outcome[second] for one in told.front]))
    figure.legend(ncols=4, loc="outside upper center")
    return figure


def _around(values: Sequence[float]) -> tuple[float, float]:
    """Limits of an axis that show a front: rows that are far worse would squeeze it into a corner."""
    margin = 0.6 * (max(values) - min(values)) or 1.0
    return min(values) - margin, max(values) + margin


def _errorbars(axes: Axes, points: Sequence[Recommendation], first: str, second: str, **style: Any) -> None:
    """Points at what the model says of them, or else at what was read there."""
    x, y = ([one.mean.get(name, one.outcome[name]) for one in points] for name in (first, second))
    xerr, yerr = ([one.std.get(name, 0.0) for one in points] for name in (first, second))
    axes.errorbar(x, y, xerr=xerr, yerr=yerr, lw=0.8, ls="none", **style)


def _motors(record: RunRecord, space: Space) -> Figure:
    names = [name for name in record.metadata.motors if name in record.rows]
    columns = min(len(names), 4) or 1
    lines = math.ceil(len(names) / columns) or 1
    figure = Figure(figsize=(7.2, 1.5 * lines + 0.5), layout="constrained")
    for k, name in enumerate(names):
        axes = figure.add_subplot(lines, columns, k + 1)
        values = [to_float(v) for v in record.rows[name]]
        many = len(values) > MANY
        axes.plot(range(1, len(values) + 1), values, "-", lw=0.2 if many else 0.6, color=GREY, rasterized=many)
        axes.plot(range(1, len(values) + 1), values, ".", ms=1 if many else 3, color=BLUE, rasterized=many)
        low, high = record.metadata.limits.get(name, (None, None))
        if name in space.names:
            fit_to_variable(axes, "y", space, name, margin=0.04)
        elif low is not None and high is not None:
            axes.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
        for end in (low, high):
            if end is not None:
                axes.axhline(end, color=RED, lw=0.6, ls=":")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.set_title(with_unit(name, record.metadata.units), fontsize=8)
        axes.tick_params(labelsize=7)
    return figure


def _predicted_and_measured(record: RunRecord) -> dict[str, list[tuple[float, float, float]]]:
    """Mean, standard deviation and reading of each proposal, by outcome; at most three outcomes.

    Proposals with several rows are left out: what was predicted for one point is not what was read along a line.
    """
    alone = [p for p in record.proposals if len(p.rows) == 1]
    found = {}
    for name in record.metadata.outcomes:
        told = [
            (p.decision.mean[name], p.decision.std.get(name, 0.0), to_float(p.results[0][name]))
            for p in alone
            if name in p.decision.mean
        ]
        if finite := [one for one in told if all(math.isfinite(value) for value in one)]:
            found[name] = finite
    return dict(list(found.items())[:3])


def _model(compared: Mapping[str, Sequence[tuple[float, float, float]]]) -> Figure:
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    for k, (name, told) in enumerate(compared.items()):
        axes = figure.add_subplot(1, max(len(compared), 2), k + 1)
        mean, std, measured = (np.array(v) for v in zip(*told, strict=True))
        log = bool(mean.min() > 0 and measured.min() > 0 and measured.max() > 30 * measured.min())
        if len(mean) > MANY:
            axes.plot(mean, measured, ".", ms=1, color=BLUE, alpha=0.4, rasterized=True)
        else:
            axes.errorbar(mean, measured, xerr=std, fmt="o", ms=3, lw=0.6, color=BLUE, ecolor=PALE)
        low, high = min(mean.min(), measured.min()), max(mean.max(), measured.max())
        axes.plot([low, high], [low, high], color=GREY, lw=0.8)
        if log:
            axes.set_xscale("log")
            axes.set_yscale("log")
        within = float((np.abs(measured - mean) <= 2.0 * std).mean())
        axes.set_title(f"{name}\n{100 * within:.0f} % within 2σ,\nnoise not counted", fontsize=8)
        axes.set_xlabel("predicted")
        axes.set_ylabel("measured")
    return figure


def _time(seconds: Mapping[str, float]) -> Figure:
    parts = {name: seconds.get(name, 0.0) for name in ("deciding", "moving", "measuring")}
    if "total" in seconds:
        parts["everything else"] = max(seconds["total"] - sum(parts.values()), 0.0)
    figure = Figure(figsize=(7.2, 1.6), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(list(parts), list(parts.values()), color=[BLUE, ORANGE, GREEN, GREY][: len(parts)], height=0.65)
    axes.invert_yaxis()
    for k, value in enumerate(parts.values()):
        axes.text(value, k, f" {value:.3g} s", va="center", fontsize=8)
    axes.margins(x=0.12)
    axes.set_xlabel("wall seconds")
    return figure
