"""What the figures of a report have in common: colours, style, labels, and the way to SVG."""

from __future__ import annotations

import io
from typing import Any, Final

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ebl_autonomy.records import RunRecord

__all__ = ["BLUE", "GREEN", "GREY", "ORANGE", "PALE", "RED", "STYLE", "svg", "with_unit"]

# Okabe and Ito's palette: told apart by colour-blind readers, and in grey.
BLUE, ORANGE, GREEN, RED, GREY, PALE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#7a7a7a", "#9cc3dd"

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


def with_unit(record: RunRecord, name: str) -> str:
    """The name of a motor or an outcome with its unit."""
    unit = record.metadata.units.get(name, "")
    return f"{name} ({unit})" if unit else name


def svg(figure: Figure) -> str:
    """A figure as SVG text that may stand inside HTML."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure)
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]  # without the XML prologue, which HTML does not allow inside
