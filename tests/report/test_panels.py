"""The panels of the live figure: a discrete variable is drawn as single values, and no glitch is on a front."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from ebl_autonomy.analysis import slice_through
from ebl_autonomy.report.panels import draw_front, draw_line
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


def labelled(axes: Any, label: str) -> Any:
    return next(line for line in axes.lines if line.get_label().startswith(label))


@pytest.mark.parametrize(("count", "which"), [(2, 0), (2, 1), (2, "dose"), (3, 0), (3, 1), (3, 2), (3, "dose")])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_no_glitch_of_any_objective_or_constraint_is_on_the_front(count: int, sign: float, which: Any) -> None:
    """The third of four points would be on the front for its suspect outcome alone; the fourth is bettered."""
    names = ["f", "g", "h"][:count]
    goal = "MAXIMIZE" if sign > 0.0 else "MINIMIZE"
    space = Space(make_vocs({"variables": {"w": [0.0, 1.0]}, "objectives": dict.fromkeys(names, goal),
                             "constraints": {"dose": ["LESS_THAN", 10.0]}}))  # fmt: skip
    glitch = [1.5, 1.5, 1.5] if which == "dose" else [1000.0 if i == which else 0.5 for i in range(3)]
    outcomes = [[1.0, 2.0, 1.0], [2.0, 1.0, 1.0], glitch, [0.75, 0.75, 0.75]]
    rows = ResultsInOrder(space)
    for i, values in enumerate(outcomes):
        result = {"w": 0.1 * i, "dose": 1.0, **{name: sign * v for name, v in zip(names, values, strict=False)}}
        name = which if which == "dose" else names[which]
        rows.append(result, suspects=[name] if i == 2 else ())
    axes = Figure().add_subplot()
    draw_front(axes, rows, names[:2])
    front = labelled(axes, "front: 2 points")
    assert sorted(zip(front.get_xdata(), front.get_ydata(), strict=True)) == sorted(
        [(sign * 1.0, sign * 2.0), (sign * 2.0, sign * 1.0)]
    )
    suspect = labelled(axes, "suspect")
    assert [*suspect.get_xdata(), *suspect.get_ydata()] == [sign * glitch[0], sign * glitch[1]]
    assert len(labelled(axes, "read").get_xdata()) == 3
    assert rows.best_row == 1
