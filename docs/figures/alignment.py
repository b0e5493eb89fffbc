"""Draws the picture in README.md out of the run of the command that README.md shows.

    python docs/figures/alignment.py    # writes docs/images/alignment.png

The picture says of itself, in its PNG text, which command it is of and what that run found; a test compares this with
the command's defaults and with the simulated beamline.
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
from ebl_autonomy.cli.demo import DemoResult, run_demo
from ebl_autonomy.cli.demos import demo
from ebl_autonomy.cli.measuring import Storage
from ebl_autonomy.records import RunRecord, to_float

IMAGES = Path(__file__).parents[1] / "images"
HALF_WIDTH = 30
"""Of what is shown of the beam, pixels."""


def command() -> dict[str, Any]:
    """The options of ``ebl-autonomy demo`` without arguments, which is what ``make demo`` runs."""
    defaults = {name: one.default for name, one in inspect.signature(demo).parameters.items()}
    return {name: defaults[name] for name in ("tier", "seed", "agent", "points")}


def draw(record: RunRecord, found: DemoResult) -> Figure:
    """The beam before and after, and the objective against points."""
    figure = Figure(figsize=(9.6, 3.2), layout="constrained", dpi=100)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3, width_ratios=[1, 1, 2])
    # Of hot pixels, of which there are some elsewhere, the scale knows nothing.
    frames = [np.asarray(frame, dtype=float) for frame in record.baseline["camera_frame"]]
    for axes, title, frame in zip(panels, ("before", "after"), frames, strict=False):
        y, x = np.unravel_index(np.argmax(_smooth(frame)), frame.shape)
        axes.imshow(frame, cmap="inferno", vmin=0.0, vmax=max(float(_smooth(one).max()) for one in frames))
        axes.set_xlim(x - HALF_WIDTH, x + HALF_WIDTH)
        axes.set_ylim(y + HALF_WIDTH, y - HALF_WIDTH)
        axes.set_title(title)
        axes.set_xticks([])
        axes.set_yticks([])
    values = np.array([to_float(value) for value in record.rows["camera_spot_area"]])
    axes, points = panels[2], np.arange(1, len(values) + 1)
    axes.plot(points, values, "o", color="0.6", markersize=4, label="read")
    axes.axhline(found.spot_area_best, color="tab:green", linestyle="--", linewidth=1, label="best possible")
    if found.recommended is not None:
        mean = found.recommended.mean.get("camera_spot_area", found.recommended.outcome["camera_spot_area"])
        axes.axhline(mean, color="tab:blue", linewidth=1, label="recommended")
    axes.set_xlabel("point")
    axes.set_ylabel("spot area (µm²)")
    axes.legend(frameon=False)
    return figure


def _smooth(frame: Any) -> Any:
    """The mean of each pixel and its neighbours, in which a hot pixel is not the brightest."""
    return sum(np.roll(frame, (i, j), axis=(0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=IMAGES / "alignment.png")
    parser.add_argument("--points", type=int, default=command()["points"], help="fewer, for a trial")
    arguments = parser.parse_args()
    options = {**command(), "points": arguments.points}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        found = run_demo(**options, output=Path(folder) / "report", storage=Storage(directory=data), quiet=True)
        with connect(None, directory=data) as tiled:
            record = read_run(found.uid, tiled.client)
    told = {name: getattr(found, name) for name in ("points", "spot_area_before", "spot_area_after", "spot_area_best")}
    text = {"Description": json.dumps({"options": options, "found": told})}
    draw(record, found).savefig(arguments.output, metadata=text)
    print(f"{arguments.output}: {text['Description']}")


if __name__ == "__main__":
    main()
