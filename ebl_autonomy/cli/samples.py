"""The samples of the demos, and what is true of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.guard import Line
from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.sim_devices import SimMicroprobe, SimSample
from ebl_autonomy.space import FloatArray

__all__ = ["FEW", "grid_of", "raster_seconds", "sample_of", "survey_of", "true_counts"]

KINDS: Final = ("cells", "particles", "grains")
STEP: Final = "step_um"
SIZE: Final = (100, 100)
"""Rows and columns of pixels of the procedural samples."""
FEW: Final[Mapping[str, Mapping[str, Any]]] = {"cells": {"count": 5}, "particles": {"count": 8}}
"""Options of the procedural samples of surveys: with room between the objects."""
COARSE: Final = 4.0
"""Pixels of the sample along the side of a pixel of a coarse map."""


def sample_of(name: str, seed: int, options: Mapping[str, Mapping[str, Any]] | None = None) -> SimSample:
    """A sample by its name, or from a file.

    Parameters
    ----------
    name : str
        ``cells``, ``particles``, ``grains``, or the path of an ``.npz`` file. Each array of two dimensions in the file
        is the map of an element, in counts per second; ``step_um`` is the size of a pixel, 1 µm by default.
    seed : int
        Of a sample that is not from a file.
    options : mapping, optional
        Of the procedural samples, by name.

    Raises
    ------
    BadInputError
        If there is no such sample, or the file holds no maps or invalid ones.
    """
    if name in KINDS:
        made: SimSample = getattr(SimSample, name)(seed, **{"shape": SIZE, **(options or {}).get(name, {})})
        return made
    if not name.endswith(".npz"):
        raise BadInputError(f"--sample={name!r}: use one of {list(KINDS)}, or the path of an .npz file with maps")
    path = Path(name)
    if not path.is_file():
        raise BadInputError(f"--sample={name!r}: there is no such file")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (ValueError, BadZipFile) as error:
        raise BadInputError(f"--sample={name!r} is no file of arrays: {error}") from error
    maps = {key: values for key, values in arrays.items() if values.ndim == 2 and values.dtype.kind in "uif"}
    if not maps:
        held = ", ".join(f"{key} {values.shape}" for key, values in arrays.items()) or "nothing"
        raise BadInputError(
            f"--sample={name!r} holds no array of two dimensions, but {held}: write one with "
            "numpy.savez('sample.npz', Fe=map_in_counts_per_second, step_um=0.1)"
        )
    return SimSample.from_maps(maps, step_um=arrays.get(STEP, np.array(1.0)).tolist())


def grid_of(sample: SimSample, factor: float = 1.0) -> PixelGrid:
    """The pixels of a sample, or pixels that are `factor` times as large."""
    return PixelGrid.of_step(*sample.area_um, [factor * step for step in sample.step_um])


def survey_of(probe: SimMicroprobe, fly: bool) -> dict[str, Any]:
    """What the surveys of the demos have in common: arguments of `roi_survey` and `characterise`."""
    sample = probe.sample
    grid = grid_of(sample)
    return {
        "detectors": [*probe.detectors, probe.clock],
        "x": probe.x,
        "y": probe.y,
        "channels": [f"xrf_{name}" for name in sample.maps],
        "area": {probe.x.name: list(grid.x), probe.y.name: list(grid.y)},
        "coarse_step": COARSE * grid.step[0],
        "regions": {"together": True},
        "i0": "i0",
        "live": "xrf_live_time",
        "dwell": probe.dwell,
        "flyers": [probe.flyer] if fly else [],
    }


def true_counts(probe: SimMicroprobe, grid: PixelGrid, dwell_s: float) -> dict[str, FloatArray]:
    """What the fluorescence detector would count without noise, by event key; each of the shape of the grid."""
    rates = probe.expected(grid.centres_x[None, :], grid.centres_y[:, None])
    elements = list(probe.sample.maps)
    seen = 1.0 + probe.xrf.dead_time_s * sum(rates[name] for name in elements)
    return {f"xrf_{name}": dwell_s * rates[name] / seen for name in elements}


def raster_seconds(probe: SimMicroprobe, grid: PixelGrid, dwell_s: float, flies: bool) -> float:
    """Seconds of the microprobe's clock that a raster over all pixels takes: those of its first two rows, as often.

    The microprobe measures these rows, so give one that nobody else uses.
    """
    probe.dwell.set(dwell_s)
    probe.x.set(float(grid.centres_x[0]))
    probe.y.set(float(grid.centres_y[0]))
    probe.clock.spend(0.0)
    began, rows = probe.clock.now(), min(2, grid.shape[0])
    for row in range(rows):
        probe.y.set(float(grid.centres_y[row]))
        if flies:
            ends = grid.x if row % 2 == 0 else grid.x[::-1]
            start, stop = ({probe.x.name: end} for end in ends)
            probe.flyer.prepare(Line(start, stop, rows=grid.shape[1], seconds=grid.shape[1] * dwell_s))
            probe.flyer.kickoff()
            continue
        for x in grid.centres_x if row % 2 == 0 else grid.centres_x[::-1]:
            probe.x.set(float(x))
            for detector in probe.detectors:
                detector.trigger()
            for detector in probe.detectors:
                detector.read()
    return (probe.clock.now() - began) / rows * grid.shape[0]
