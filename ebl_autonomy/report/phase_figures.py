"""The figure of the chemical phases of a region."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from ebl_autonomy.report.drawing import STYLE
from ebl_autonomy.space import FloatArray

__all__ = ["phase_figure"]

WIDTH = 7.2


def phase_figure(
    x: FloatArray,
    y: FloatArray,
    amounts: Mapping[str, FloatArray],
    truth: Mapping[str, FloatArray] | None = None,
    motors: tuple[str, str] = ("x", "y"),
) -> Figure:
    """A map of each phase; below it, the truth.

    Parameters
    ----------
    x, y : FloatArray, shape (nx,) and (ny,)
        Centres of the pixels, in motor units, ascending.
    amounts : mapping of str to FloatArray, shape (ny, nx)
    truth : mapping of str to FloatArray, shape (ny, nx), optional
        The true amounts of the same phases.
    motors : (str, str)
        Names of the two axes.
    """
    kinds = {"found": amounts, **({} if truth is None else {"truth": truth})}
    values = np.concatenate([one[name].ravel() for one in kinds.values() for name in amounts])
    finite = values[np.isfinite(values)]
    high = max(float(finite.max()), 1e-12) if finite.size else 1.0
    half = [0.5 * (abs(one[-1] - one[0]) / max(len(one) - 1, 1) or 1.0) for one in (x, y)]
    extent = (x[0] - half[0], x[-1] + half[0], y[0] - half[1], y[-1] + half[1])
    ratio = float(np.clip((extent[3] - extent[2]) / (extent[1] - extent[0]), 0.3, 2.5))
    with mpl.rc_context(STYLE):
        height = len(kinds) * ((WIDTH - 1.2) / max(len(amounts), 2) * ratio + 0.3) + 0.4
        figure = Figure(figsize=(WIDTH, height), layout="constrained", dpi=150)
        panels = figure.subplots(len(kinds), len(amounts), squeeze=False, sharex=True, sharey=True)
        for line, (kind, maps) in zip(panels, kinds.items(), strict=True):
            for axes, name in zip(line, amounts, strict=True):
                image = axes.imshow(
                    maps[name], origin="lower", extent=extent, vmin=0.0, vmax=high, cmap="viridis",
                    interpolation="nearest",
                )  # fmt: skip
                axes.set_title(name if truth is None else f"{name}, {kind}")
        figure.supxlabel(motors[0], fontsize=9)
        figure.supylabel(motors[1], fontsize=9)
        figure.colorbar(image, ax=panels.ravel().tolist(), label="amount", shrink=0.8)
    return figure
