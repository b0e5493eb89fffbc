"""The figures of a report, as SVG text; matplotlib's objects without pyplot, so that no screen is needed."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ebl_autonomy.records import ROW, RunRecord
from ebl_autonomy.report.summary import Summary, best_so_far, objective_values, space_of

__all__ = ["figures"]

# Okabe and Ito's palette: told apart by colour-blind readers, and in grey.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#7a7a7a"

_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": "#333333",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "ebl",
    "svg.fonttype": "path",
}


def figures(
    record: RunRecord, summary: Summary, pixel_um: float | None = None, best: float | None = None
) -> dict[str, str]:
    """Every figure that the run has data for: title to SVG.

    Parameters
    ----------
    record : RunRecord
    summary : Summary
    pixel_um : float, optional
        Size of an image's pixel, µm; pixels are shown without it.
    best : float, optional
        The best possible value of the objective, if it is known.
    """
    drawn: dict[str, str] = {}
    with mpl.rc_context(_STYLE):
        images = [(key, values) for key, values in record.baseline.items() if len(values) and np.ndim(values[0]) == 2]
        for key, values in images:
            drawn[f"Beam before and after ({key})"] = _svg(_beam(values, pixel_um))
        if summary.points:
            if summary.objective:
                drawn["Objective against points"] = _svg(_objective(record, summary, best))
            drawn["Where each motor went"] = _svg(_motors(record))
        if any(p.decision.mean for p in record.proposals):
            drawn["Model against measurement"] = _svg(_model(record))
        if summary.points:
            drawn["Where the time went"] = _svg(_time(summary.seconds))
    return drawn


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


def _objective(record: RunRecord, summary: Summary, best: float | None) -> Figure:
    space = space_of(record)
    values, (curve, index) = objective_values(record, space), best_so_far(record, space)
    points = np.arange(1, len(values) + 1)
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.add_subplot()
    valid = np.isfinite(values)
    feasible = np.array(
        [
            space.feasible({n: _float(record.rows[n][i]) for n in space.limits if n in record.rows})
            for i in range(len(values))
        ]
    )
    shown = valid & feasible
    axes.plot(points[shown], values[shown], "o", ms=4, color=GREY, alpha=0.7, label="measured")
    if (valid & ~feasible).any():
        axes.plot(
            points[valid & ~feasible], values[valid & ~feasible], "x", ms=5, color=RED, label="breaks a constraint"
        )
    axes.plot(points, curve, "-", drawstyle="steps-post", lw=1.8, color=BLUE, label="best so far")
    if index is not None:
        axes.plot(points[index], values[index], "*", ms=11, color=ORANGE, label="best")
    if best is not None:
        axes.axhline(best, color=GREEN, lw=1.0, ls="--", label="best possible")
    finite = values[valid]
    if len(finite) and finite.min() > 0 and finite.max() > 30 * finite.min():
        axes.set_yscale("log")
    if (~valid).any():
        foot = np.full((~valid).sum(), 0.02)
        axes.plot(points[~valid], foot, "|", ms=9, color=RED, transform=axes.get_xaxis_transform(), label="invalid")
    unit = record.metadata.units.get(summary.objective, "")
    axes.set_xlabel("point")
    axes.set_ylabel(f"{summary.objective} ({unit})" if unit else summary.objective)
    axes.legend(ncols=3, loc="upper right" if space.signs[0] < 0 else "lower right")
    return figure


def _motors(record: RunRecord) -> Figure:
    names = [name for name in record.metadata.motors if name in record.rows]
    columns = min(len(names), 4) or 1
    lines = math.ceil(len(names) / columns) or 1
    figure = Figure(figsize=(7.2, 1.5 * lines + 0.5), layout="constrained")
    for k, name in enumerate(names):
        axes = figure.add_subplot(lines, columns, k + 1)
        values = [_float(v) for v in record.rows[name]]
        axes.plot(range(1, len(values) + 1), values, "-", lw=0.6, color=GREY)
        axes.plot(range(1, len(values) + 1), values, ".", ms=3, color=BLUE)
        if name in record.metadata.limits:
            low, high = record.metadata.limits[name]
            axes.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
            axes.axhline(low, color=RED, lw=0.6, ls=":")
            axes.axhline(high, color=RED, lw=0.6, ls=":")
        unit = record.metadata.units.get(name, "")
        axes.set_title(f"{name} ({unit})" if unit else name, fontsize=8)
        axes.tick_params(labelsize=7)
    return figure


def _model(record: RunRecord) -> Figure:
    ids = {proposal: i for i, proposal in enumerate(record.rows.get(ROW.proposal_id, []))}
    names = [n for n in record.metadata.outcomes if any(n in p.decision.mean for p in record.proposals)][:3]
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    for k, name in enumerate(names):
        axes = figure.add_subplot(1, max(len(names), 2), k + 1)
        pairs = [
            (p.decision.mean[name], p.decision.std.get(name, 0.0), _float(record.rows[name][ids[p.proposal_id]]))
            for p in record.proposals
            if p.proposal_id in ids and name in p.decision.mean
        ]
        pairs = [pair for pair in pairs if all(math.isfinite(v) for v in pair)]
        if not pairs:
            axes.set_title(f"{name}: nothing to compare")
            continue
        mean, std, measured = (np.array(v) for v in zip(*pairs, strict=True))
        log = bool(mean.min() > 0 and measured.min() > 0 and measured.max() > 30 * measured.min())
        axes.errorbar(mean, measured, xerr=std, fmt="o", ms=3, lw=0.6, color=BLUE, ecolor="#9cc3dd")
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
        axes.text(value, k, f" {value:.1f} s", va="center", fontsize=8)
    axes.margins(x=0.12)
    axes.set_xlabel("wall seconds")
    return figure


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    FigureCanvasSVG(figure)
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]  # without the XML prologue, which HTML does not allow inside


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)
