"""Axes of variables, on the scale on which an agent searches them: the same in reports and in the live figure."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, StrMethodFormatter

from ebl_autonomy.report.drawing import spans_decades
from ebl_autonomy.space import FloatArray, Space

__all__ = ["fit_to_variable", "mean_map"]

MARGIN: Final = 0.02
"""Share of a domain that is shown beyond each of its ends."""
MOST_TICKS: Final = 12
"""Discrete variables with more values than this have ordinary ticks."""


def fit_to_variable(axes: Axes, which: Literal["x", "y"], space: Space, name: str, margin: float = MARGIN) -> None:
    """Give an axis the domain and the scale of a variable; a discrete one has a tick at each of its values."""
    i = space.names.index(name)
    axis, set_scale, set_limits = (
        (axes.xaxis, axes.set_xscale, axes.set_xlim) if which == "x" else (axes.yaxis, axes.set_yscale, axes.set_ylim)
    )
    logarithmic = _is_logarithmic(space, name)
    if logarithmic:
        set_scale("log")
    if name in space.choices:
        values = np.sort(space.choices[name])
        ends = _edges(values, logarithmic)[[0, -1]]
        if len(values) <= MOST_TICKS:
            axis.set_major_locator(FixedLocator(values.tolist()))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_locator(NullLocator())
    else:
        ends = _scaled(np.array([space.low[i], space.high[i]]), logarithmic)
        ends = _unscaled(ends + margin * np.ptp(ends) * np.array([-1.0, 1.0]), logarithmic)
        if logarithmic:
            axis.set_minor_formatter(NullFormatter())
    set_limits(*map(float, ends))


def mean_map(
    axes: Axes,
    space: Space,
    names: tuple[str, str],
    values: tuple[FloatArray, FloatArray],
    mean: FloatArray,
    **style: Any,
) -> QuadMesh:
    """A model's mean over two variables in colour: smooth, or in fields if one of the variables is discrete.

    Parameters
    ----------
    names : tuple of str
    values : tuple of FloatArray, shapes (n,) and (k,)
        The positions of each variable, ascending.
    mean : FloatArray, shape (n, k)
    style
        Passed on to `pcolormesh`.
    """
    if not space.choices:
        return axes.pcolormesh(*values, mean.T, shading="gouraud", **style)
    edges = [_edges(each, _is_logarithmic(space, name)) for name, each in zip(names, values, strict=True)]
    return axes.pcolormesh(*edges, mean.T, shading="flat", **style)


def _is_logarithmic(space: Space, name: str) -> bool:
    """Whether a variable is shown by its logarithm: those that are searched so, and choices over decades."""
    if name in space.choices:
        return spans_decades(np.asarray(space.choices[name], dtype=float))
    return bool(space.logarithmic[space.names.index(name)])


def _edges(values: FloatArray, logarithmic: bool) -> FloatArray:
    """The borders of the fields around n ascending values, shape (n + 1,)."""
    scaled = _scaled(values, logarithmic)
    steps = np.diff(scaled) if len(scaled) > 1 else np.ones(1)
    inner = 0.5 * (scaled[1:] + scaled[:-1])
    return _unscaled(np.concatenate([[scaled[0] - 0.5 * steps[0]], inner, [scaled[-1] + 0.5 * steps[-1]]]), logarithmic)


def _scaled(values: FloatArray, logarithmic: bool) -> FloatArray:
    return np.log10(values) if logarithmic else np.asarray(values, dtype=float)


def _unscaled(values: FloatArray, logarithmic: bool) -> FloatArray:
    return np.asarray(10.0**values if logarithmic else values)
