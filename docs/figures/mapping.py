"""Draws the picture of a map in README.md out of the run of ``ebl-autonomy demo map``.

    python docs/figures/mapping.py    # writes docs/images/map.png

The picture says of itself, in its PNG text, which command it is of and what that run found.
"""

from __future__ import annotations

import argparse
import inspect
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ebl_autonomy import connect, read_run
from ebl_autonomy.cli.demo_map import DWELL_S, MapResult, run_demo_map
from ebl_autonomy.cli.demos import demo_map
from ebl_autonomy.cli.measuring import Storage
from ebl_autonomy.cli.samples import grid_of, sample_of, true_counts
from ebl_autonomy.records import RunRecord, to_float
from ebl_autonomy.report import report_contents
from ebl_autonomy.sim_devices import SimMicroprobe

IMAGES = Path(__file__).parents[1] / "images"
CHANNEL = "xrf_K"
"""The strongest one."""


def command() -> dict[str, Any]:
    """The options of ``ebl-autonomy demo map`` without arguments."""
    defaults = {name: one.default for name, one in inspect.signature(demo_map).parameters.items()}
    return {name: defaults[name] for name in ("sample", "seed", "share", "points", "fly")}


def draw(record: RunRecord, found: MapResult) -> Figure:
    """The truth, the measured points, the map, and its uncertainty, of one channel."""
    sample = sample_of(found.sample, found.seed)
    truth = true_counts(SimMicroprobe(sample), grid_of(sample), DWELL_S)[CHANNEL]
    told = report_contents(record).map
    assert told is not None
    assert told.images is not None
    mean, std = told.images.mean[CHANNEL], told.images.std[CHANNEL]
    high = float(truth.max())
    extent = (*told.x_range, *told.y_range)
    shown: Any = {"origin": "lower", "extent": extent, "interpolation": "nearest"}
    figure = Figure(figsize=(9.6, 2.7), layout="constrained", dpi=100)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 4)
    panels[0].imshow(truth, cmap="viridis", vmin=0.0, vmax=high, **shown)
    x, y = ([to_float(value) for value in record.rows[name]] for name in (told.x, told.y))
    values = np.array([to_float(value) for value in record.rows[CHANNEL]])
    panels[1].set_facecolor("#e8eaec")
    panels[1].scatter(x, y, c=values, s=3.0, cmap="viridis", vmin=0.0, vmax=high, linewidths=0)
    panels[1].set(xlim=told.x_range, ylim=told.y_range, aspect="equal")
    panels[2].imshow(mean, cmap="viridis", vmin=0.0, vmax=high, **shown)
    panels[3].imshow(std, cmap="cividis", vmin=0.0, **shown)
    titles = ("truth", f"measured: {100.0 * found.points / found.pixels:.0f} % of the pixels", "map", "uncertainty")
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=IMAGES / "map.png")
    parser.add_argument("--points", type=int, default=command()["points"], help="fewer, for a trial")
    arguments = parser.parse_args()
    options = {**command(), "points": arguments.points}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        found = run_demo_map(**options, output=Path(folder) / "report", storage=Storage(directory=data), quiet=True)
        with connect(None, directory=data) as tiled:
            record = read_run(found.uid, tiled.client)
    told = {"points": found.points, "pixels": found.pixels, "mean": found.mean.model_dump()}
    text = {"Description": json.dumps({"options": options, "found": told})}
    draw(record, found).savefig(arguments.output, metadata=text)
    print(f"{arguments.output}: {text['Description']}")


if __name__ == "__main__":
    main()
