"""The figures of maps hold all of their labels, whatever the shape of the map."""

from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.report import map_drawing, map_figures
from ebl_autonomy.report.drawing import STYLE


@pytest.mark.parametrize("ratio", [0.1, 0.4, 0.7, 0.8, 0.9, 1.0, 1.5])
@pytest.mark.parametrize("count", [1, 2])
def test_no_label_is_cut_at_the_edge(ratio: float, count: int) -> None:
    units = {"x": "um", "y": "um"}
    record: Any = SimpleNamespace(metadata=SimpleNamespace(units=units))
    told: Any = SimpleNamespace(x="x", y="y")
    pixels = PixelGrid((0.0, 15.0), (0.0, 15.0 * ratio), (max(1, int(25 * ratio)), 25))
    images: Any = SimpleNamespace(pixels=pixels)
    with mpl.rc_context(STYLE):
        figure, panels = map_figures._panels(record, told, images, count, count)
        for axes in panels:
            map_drawing.draw_field(axes, pixels, 1e3 * np.random.default_rng(0).random(pixels.shape), "c (counts)")
            map_drawing.shape_axes(axes, pixels, ("x", "y"), units)
            axes.set_title("mean of the readings in each pixel")
            axes.label_outer()
        FigureCanvasAgg(figure)
        figure.canvas.draw()
        box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert 0.0 <= box.x0 <= box.x1 <= width
    assert 0.0 <= box.y0 <= box.y1 <= height
