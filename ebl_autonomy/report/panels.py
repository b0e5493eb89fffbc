"""The panels of the live figure. They use neither pyplot nor global settings, so that any thread may draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ebl_autonomy.analysis.slices import Slice
from ebl_autonomy.report.drawing import BLUE, GREEN, GREY, ORANGE, RED, SUSPECT_MARK, spans_decades
from ebl_autonomy.report.motor_axes import fit_to_variable, mean_map
from ebl_autonomy.report.sofar import ResultsInOrder
from ebl_autonomy.space import FloatArray
from ebl_autonomy.surrogates.hypervolume import undominated

__all__ = ["LEGEND", "draw_front", "draw_line", "draw_map", "draw_objective", "grid_of", "legend", "tidy"]

LEGEND: Final[Any] = {"ncols": 5, "frameon": False, "fontsize": 7, "handletextpad": 0.4, "columnspacing": 1.2}
"""The style of every legend."""
BROKEN: Final = "breaks a constraint"


def draw_objective(axes: Axes, rows: ResultsInOrder, label: str) -> None:
    """The objective against points, with the best reading so far."""
    tidy(axes, "point", label)
    values = np.array(rows.values, dtype=float)
    points, valid = np.arange(1, len(rows) + 1), np.isfinite(values)
    _readings(axes, points, values, rows, valid, np.array(rows.doubted, dtype=bool))
    if rows.best_row is not None:
        axes.plot(points, rows.best_values, "-", drawstyle="steps-post", lw=1.8, color=BLUE, label="best so far")
        axes.plot(points[rows.best_row], values[rows.best_row], "*", ms=11, color=ORANGE, label="best")
    if not valid.all():
        foot = np.full(np.count_nonzero(~valid), 0.03)
        axes.plot(points[~valid], foot, "|", ms=9, color=RED, transform=axes.get_xaxis_transform(), label="invalid")
    if spans_decades(values):
        axes.set_yscale("log")
    axes.set_xlim(0.5, max(len(rows), 10) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if len(rows):
        legend(axes)


def _readings(
    axes: Axes,
    x: Any,
    y: Any,
    rows: ResultsInOrder,
    valid: Any,
    doubted: NDArray[np.bool_],
    broken_label: str | None = BROKEN,
) -> NDArray[np.bool_]:
    """Draw the valid readings: those that count, which are returned, those that are suspect or break a constraint."""
    feasible = np.array(rows.feasible, dtype=bool)
    kept: NDArray[np.bool_] = valid & feasible & ~doubted
    axes.plot(x[kept], y[kept], "o", ms=4, color=GREY, alpha=0.7, label="read")
    if (suspect := valid & doubted).any():
        axes.plot(x[suspect], y[suspect], **SUSPECT_MARK)
    if (broken := valid & ~feasible & ~doubted).any():
        axes.plot(x[broken], y[broken], "x", ms=5, color=RED, label=broken_label)
    return kept


def draw_front(axes: Axes, rows: ResultsInOrder, labels: Sequence[str]) -> None:
    """The first two objectives against each other, with the points that no other one betters in all objectives.

    A result of which any objective is suspect is on no front: it would better all others in that objective.
    """
    tidy(axes, *labels)
    space = rows.space
    outcomes: FloatArray = np.array(
        [[result[name] for name in space.objectives] for result in rows.results], dtype=float
    )
    outcomes = outcomes.reshape(len(rows), len(space.objectives))
    valid = np.isfinite(outcomes).all(axis=1)
    kept = _readings(axes, outcomes[:, 0], outcomes[:, 1], rows, valid, rows.suspect(*space.objectives))
    if kept.any():
        counting = outcomes[kept]
        front = counting[undominated(counting * space.signs)]
        front = front[np.argsort(front[:, 0])]
        axes.plot(front[:, 0], front[:, 1], "o-", ms=5, lw=0.8, color=BLUE, label=f"front: {len(front)} points")
        legend(axes)


def draw_line(
    axes: Axes, rows: ResultsInOrder, name: str, objective: str, labels: Sequence[str], along: Slice | None
) -> None:
    """The objective against one motor: the model through the point that it recommends, and what was read.

    Readings are shown if they lie on the slice, as those of a single motor do, or if there is no model to show.
    """
    tidy(axes, *labels)
    if along is not None:
        (x,), mean, std = along.values, along.mean[objective], along.std[objective]
        if name in rows.space.choices:  # there is nothing between the values
            axes.errorbar(x, mean, yerr=2.0 * std, fmt="o", ms=4, lw=0.8, color=BLUE, label="model ± 2 σ")
        else:
            axes.fill_between(x, mean - 2.0 * std, mean + 2.0 * std, color=BLUE, alpha=0.18, lw=0, label="model ± 2 σ")
            axes.plot(x, mean, "-", lw=1.4, color=BLUE, label="model")
        here = along.point[name]
        axes.axvline(here, lw=0.8, ls=":", color=GREY)
        recommended = float(np.interp(here, x, mean))
        axes.plot(here, recommended, "D", ms=6, mfc="none", color=GREEN, label="recommended so far")
    if along is None or rows.space.dim == 1:
        x, values = np.array([result[name] for result in rows.results]), np.array(rows.values)
        doubted = np.array(rows.doubted, dtype=bool)
        _readings(axes, x, values, rows, np.isfinite(values), doubted, None)  # the panel of the objective names them
        if rows.best_row is not None:
            axes.plot(x[rows.best_row], values[rows.best_row], "*", ms=10, color=ORANGE, label="best")
    fit_to_variable(axes, "x", rows.space, name)


def draw_map(axes: Axes, rows: ResultsInOrder, objective: str, labels: Sequence[str], over: Slice | None) -> None:
    """The objective over two motors: the model's mean in colour, or the readings in colour if there is no model."""
    first, second, label = labels
    tidy(axes, first, second)
    names, space = rows.space.names, rows.space
    x, y = (np.array([result[name] for result in rows.results], dtype=float) for name in names)
    values, feasible = np.array(rows.values, dtype=float), np.array(rows.feasible, dtype=bool)
    doubted = np.array(rows.doubted, dtype=bool)
    kept = feasible & ~doubted
    shown: Any = None
    norm = LogNorm() if spans_decades(values[~doubted] if over is None else over.mean[objective]) else None
    cmap = "viridis" if space.signs[0] > 0 else "viridis_r"  # bright is good
    if over is not None:
        on_axes = (names[0], names[1]), (over.values[0], over.values[1])
        shown = mean_map(axes, space, *on_axes, over.mean[objective], cmap=cmap, norm=norm)
        axes.plot(x[kept], y[kept], "o", ms=4, mfc="white", mec="black", mew=0.6, alpha=0.8, label="read")
    elif (seen := np.isfinite(values) & kept).any():
        shown = axes.scatter(
            x[seen], y[seen], c=values[seen], s=28, cmap=cmap, norm=norm, edgecolors=GREY, linewidths=0.5
        )
    if doubted.any():
        axes.plot(x[doubted], y[doubted], **SUSPECT_MARK)
    if (broken := ~feasible & ~doubted).any():
        axes.plot(x[broken], y[broken], "x", ms=5, color=RED, label="breaks a constraint, or invalid")
    if rows.best_row is not None:
        axes.plot(x[rows.best_row], y[rows.best_row], "*", ms=13, color=ORANGE, mec="black", mew=0.6, label="best")
    if shown is not None and axes.figure is not None:
        bar = axes.figure.colorbar(shown, ax=axes)
        bar.set_label(label, fontsize=8)
        bar.ax.tick_params(labelsize=7)
    fit_to_variable(axes, "x", space, names[0], margin=0.0)
    fit_to_variable(axes, "y", space, names[1], margin=0.0)


def tidy(axes: Axes, x: str, y: str) -> None:
    """Labels in the figure's own style."""
    axes.set_xlabel(x, fontsize=8, color="#333333")
    axes.set_ylabel(y, fontsize=8, color="#333333")
    axes.tick_params(labelsize=7, color="#555555", labelcolor="#555555")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_edgecolor("#555555")


def legend(axes: Axes) -> None:
    """A legend above the axes, where it covers neither data nor the power of ten of the scale at the left."""
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, **LEGEND)


def grid_of(count: int) -> tuple[int, int]:
    """Rows and columns for a number of panels."""
    lines = max(math.ceil(count / 4), 1)
    return lines, math.ceil(count / lines)
