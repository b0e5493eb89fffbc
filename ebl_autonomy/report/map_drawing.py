"""How maps are drawn, the same in reports and in the live view. It needs no pyplot, so that any thread may draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.report.drawing import RED
from ebl_autonomy.report.wording import with_unit
from ebl_autonomy.space import FloatArray

__all__ = [
    "BLANK",
    "draw_field",
    "draw_points",
    "draw_regions",
    "draw_route",
    "draw_scale",
    "height_over_width",
    "is_stacked",
    "shape_axes",
    "shown_range",
]

BLANK: Final = "#e8eaec"
"""Colour of what was not measured."""
MANY: Final = 2000
"""Marks above this number are drawn as an image, so that a page with them stays small."""
OUTLYING: Final = 0.5
"""Percent of the values at either end that may lie outside of the scale of colours, such as hot pixels."""
FREE: Final = 0.7
"""Height over width of axes whose scales differ."""
STRIP: Final = 0.25
"""The same of a map of one row."""
LONG: Final = 6.0
"""Maps that are longer than this are drawn with axes of different scales: a true strip would be too thin to read."""

MOST_LABELS: Final = 8
"""Regions beyond this number have their rank only; the table tells the rest."""
LONG_LABEL: Final = 12
"""Most characters of a label that is drawn."""


class Box(Protocol):
    """A region; see `ebl_autonomy.report.map_contents.RegionBox`."""

    @property
    def label(self) -> str: ...
    @property
    def x(self) -> tuple[float, float]: ...
    @property
    def y(self) -> tuple[float, float]: ...


def shown_range(values: FloatArray) -> tuple[float, float] | None:
    """The values between which colours change; None if there is no finite value."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = (float(end) for end in np.percentile(finite, [OUTLYING, 100.0 - OUTLYING]))
    whole = float(finite.min()), float(finite.max())
    # A few bright pixels are what a map is for: only those that would hide all others are left out.
    if whole[1] - whole[0] < 3.0 * (high - low) or low == high:
        low, high = whole
    return (low, high) if low < high else (low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0))


def draw_field(
    axes: Axes,
    pixels: PixelGrid,
    values: FloatArray,
    label: str,
    *,
    cmap: str = "viridis",
    ends: tuple[float, float] | None = None,
    bar: bool = True,
) -> None:
    """A map in colour with its scale; blank where it is not known.

    Parameters
    ----------
    values : FloatArray, shape (rows, columns)
    label : str
        Of the scale of colours.
    ends : (low, high), optional
        Of the scale; by default those of the values.
    bar : bool
        Whether to draw the scale.
    """
    axes.set_facecolor(BLANK)
    ends = ends or shown_range(values)
    axes.set_xlim(*pixels.x)
    axes.set_ylim(*pixels.y)
    if ends is None:
        axes.text(0.5, 0.5, "no valid reading", transform=axes.transAxes, ha="center", va="center", fontsize=8)
        return
    shown = axes.imshow(
        np.ma.masked_invalid(values),
        origin="lower",
        extent=(*pixels.x, *pixels.y),
        cmap=colormaps[cmap],
        vmin=ends[0],
        vmax=ends[1],
        interpolation="nearest",
        aspect="auto",
    )
    if bar and axes.figure is not None:
        finite = values[np.isfinite(values)]
        above, below = bool((finite > ends[1]).any()), bool((finite < ends[0]).any())
        extend = {(True, True): "both", (True, False): "max", (False, True): "min"}.get((above, below), "neither")
        draw_scale(axes, shown, label, extend=extend)


def draw_scale(axes: Axes, shown: Any, label: str, **style: Any) -> None:
    """A scale of colours beside axes, as high as they are, also where their aspect is fixed."""
    figure = axes.figure
    assert figure is not None
    scale = figure.colorbar(shown, cax=axes.inset_axes((1.02, 0.0, 0.035, 1.0)), **style)
    scale.set_label(label, fontsize=8, color="#333333")
    scale.ax.tick_params(labelsize=7, color="#555555", labelcolor="#555555")
    outline: Any = scale.outline
    outline.set_visible(False)
    formatter: Any = scale.formatter
    formatter.set_powerlimits((-3, 5))
    scale.ax.yaxis.get_offset_text().set_fontsize(7)


def shape_axes(axes: Axes, pixels: PixelGrid, names: tuple[str, str], units: Mapping[str, str]) -> None:
    """Labels with units; one scale for both axes if they have the same unit."""
    x, y = names
    axes.set_xlabel(with_unit(x, units), fontsize=8, color="#333333")
    axes.set_ylabel(with_unit(y, units), fontsize=8, color="#333333")
    axes.tick_params(labelsize=7, color="#555555", labelcolor="#555555")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    for spine in axes.spines.values():
        spine.set(visible=True, edgecolor="#555555", linewidth=0.6)
    if _is_true(pixels, names, units):
        axes.set_aspect("equal")


def height_over_width(pixels: PixelGrid, names: tuple[str, str], units: Mapping[str, str]) -> float:
    """Of the axes of a map."""
    if _is_true(pixels, names, units):
        return 1.0 / _length(pixels)
    return FREE if min(pixels.shape) > 1 or pixels.shape[1] == 1 else STRIP


def is_stacked(pixels: PixelGrid, names: tuple[str, str], units: Mapping[str, str]) -> bool:
    """Whether two maps are better one above the other than side by side."""
    return height_over_width(pixels, names, units) < 0.58


def draw_points(axes: Axes, x: FloatArray, y: FloatArray, *, pixels: PixelGrid, label: str = "") -> None:
    """Where the map was measured, in small points that leave it visible."""
    inside = np.isfinite(x) & np.isfinite(y)
    size = _size_of(int(inside.sum()))
    axes.plot(
        x[inside], y[inside], ".", ms=size, mfc="white", mec="black", mew=min(0.3, 0.15 * size), alpha=0.85,
        rasterized=bool(inside.sum() > MANY), label=label,
    )  # fmt: skip
    axes.set_xlim(*pixels.x)
    axes.set_ylim(*pixels.y)


def draw_route(axes: Axes, x: FloatArray, y: FloatArray, owners: Sequence[int], pixels: PixelGrid) -> Any:
    """The rows in the order in which they were measured, as colour; the rows of a fly line are joined.

    Parameters
    ----------
    x, y : FloatArray, shape (n,)
    owners : sequence of int, length n
        Whose row it is: rows with the same number are those of one line.

    Returns
    -------
    ScalarMappable or None
        For the scale of colours, which counts rows from 1; None without a row.
    """
    axes.set_facecolor("white")
    axes.set_xlim(*pixels.x)
    axes.set_ylim(*pixels.y)
    inside = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if not len(inside):
        return None
    number, whose = np.arange(1, len(x) + 1), np.asarray(owners)
    ends: Any = {"cmap": colormaps["plasma"], "norm": Normalize(1, max(len(x), 2))}
    at = np.column_stack([x, y])
    joined = inside[1:][(whose[inside[1:]] == whose[inside[:-1]]) & (np.diff(inside) == 1)]
    if len(joined):
        segments = LineCollection(
            list(np.stack([at[joined - 1], at[joined]], axis=1)), array=number[joined], linewidths=1.2,
            rasterized=len(joined) > MANY, capstyle="round", **ends,
        )  # fmt: skip
        axes.add_collection(segments)
    in_lines = np.isin(inside, joined) | np.isin(inside, joined - 1)
    alone = inside[~in_lines]
    shown: Any = segments if len(joined) else None
    if len(alone):
        size = max(_size_of(len(alone)) * 1.6, 1.2) ** 2
        shown = axes.scatter(
            x[alone], y[alone], c=number[alone], s=size, linewidths=0.0, rasterized=len(alone) > MANY, **ends
        )
    return shown


def draw_regions(axes: Axes, regions: Sequence[Box]) -> None:
    """The boxes of regions with their labels, or with their ranks alone if a label is too long or there are many."""
    labelled = len(regions) <= MOST_LABELS and all(len(one.label) <= LONG_LABEL for one in regions)
    for rank, one in enumerate(regions, 1):
        (left, right), (low, high) = sorted(one.x), sorted(one.y)
        box = Rectangle((left, low), right - left, high - low, fill=False, edgecolor=RED, linewidth=1.2)
        box.set_path_effects([patheffects.withStroke(linewidth=2.4, foreground="white")])
        axes.add_patch(box)
        text = _short(rank, one.label) if labelled else str(rank)
        at_top = high > 0.9 * axes.get_ylim()[1] + 0.1 * axes.get_ylim()[0]
        at_right = left > 0.7 * axes.get_xlim()[1] + 0.3 * axes.get_xlim()[0]
        axes.annotate(
            text,
            (right if at_right else left, low if at_top else high),
            xytext=(0, -2 if at_top else 2),
            textcoords="offset points",
            ha="right" if at_right else "left",
            va="top" if at_top else "bottom",
            fontsize=7,
            color=RED,
            fontweight="bold",
            path_effects=[patheffects.withStroke(linewidth=2.0, foreground="white")],
            annotation_clip=True,
        )


def _short(rank: int, label: str) -> str:
    """The rank and the label of a region, without saying the rank twice."""
    return label if label.split()[-1:] == [str(rank)] else f"{rank}: {label}" if label else str(rank)


def _size_of(count: int) -> float:
    """Size of a mark, points, by the number of marks."""
    return float(np.clip(60.0 / np.sqrt(max(count, 1)), 0.9, 4.0))


def _length(pixels: PixelGrid) -> float:
    """Width over height."""
    return (pixels.x[1] - pixels.x[0]) / (pixels.y[1] - pixels.y[0])


def _is_true(pixels: PixelGrid, names: tuple[str, str], units: Mapping[str, str]) -> bool:
    """Whether the axes have one scale: their unit is the same, and the map is no thin strip."""
    unit = units.get(names[0], "")
    length = _length(pixels)
    return bool(unit) and unit == units.get(names[1], "") and 1.0 / LONG <= length <= LONG
