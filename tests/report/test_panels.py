"""The panels of the live figure draw a discrete variable as single values."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from ebl_autonomy.analysis import slice_through
from ebl_autonomy.report.panels import draw_line
from ebl_autonomy.report.sofar import ResultsInOrder
from ebl_autonomy.space import Space, make_vocs


def predicted(points: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {"f": (np.array([point["w"] for point in points], dtype=float), np.full(len(points), 0.1))}


@pytest.mark.parametrize(
    ("variable", "lines"),
    [
        ([0.0, 4.0], True),
        ({"type": "DiscreteVariable", "values": [0, 1, 4]}, False),
        ({"type": "DiscreteVariable", "values": [0, 1, 4], "ordered": False}, False),
    ],
)
def test_nothing_is_drawn_between_values(variable: Any, lines: bool) -> None:
    space = Space(make_vocs({"variables": {"w": variable}, "objectives": {"f": "MAXIMIZE"}}))
    rows = ResultsInOrder(space)
    rows.append({"w": 1.0, "f": 1.0})
    axes = Figure().add_subplot()
    draw_line(axes, rows, "w", "f", ("w", "f"), slice_through(predicted, space, {"w": 1.0}, ["w"]))
    through_all = [line for line in axes.lines if len(np.atleast_1d(line.get_xdata())) >= 3]
    assert through_all, "the model is shown"
    assert any(line.get_linestyle() != "None" for line in through_all) is lines
