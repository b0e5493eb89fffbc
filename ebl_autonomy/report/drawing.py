"""What the figures of a report and the live figure have in common: colours, style, scales, and the way to SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ebl_autonomy.space import FloatArray

__all__ = ["BLUE", "GREEN", "GREY", "ORANGE", "PALE", "RED", "STYLE", "SUSPECT_MARK", "spans_decades", "svg"]

# Okabe and Ito's palette: told apart by colour-blind readers, and in grey.
BLUE, ORANGE, GREEN, RED, GREY, PALE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#7a7a7a", "#9cc3dd"

SUSPECT_MARK: Final[Any] = {"marker": "s", "ls": "", "ms": 6, "mfc": "none", "color": RED, "label": "suspect"}
"""The style of readings that the agent takes for outliers."""

STYLE: Final[Any] = {
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


def spans_decades(values: Sequence[float] | FloatArray) -> bool:
    """Whether values are shown on a logarithmic axis."""
    given = np.asarray(values, dtype=float)
    finite = given[np.isfinite(given)]
    return bool(len(finite) and finite.min() > 0.0 and finite.max() > 30.0 * finite.min())


def svg(figure: Figure) -> str:
    """A figure as SVG text that may stand inside HTML."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure)
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]  # without the XML prologue, which HTML does not allow inside
