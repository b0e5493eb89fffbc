"""A small sample on a microprobe, whose scans tests can know row by row."""

import math
from typing import Any

import numpy as np
from simple import Documents

from ebl_autonomy.sim_devices import SimMicroprobe, SimSample

SHAPE = (8, 12)
STEP = 1.0
WIDTH, HEIGHT = SHAPE[1] * STEP, SHAPE[0] * STEP
ENERGIES = np.linspace(7100.0, 7160.0, 61)
REFERENCES = {
    "low": np.where(ENERGIES > 7115.0, 1.0, 0.05),
    "high": np.where(ENERGIES > 7125.0, 1.0, 0.05) + 0.4 * np.exp(-0.5 * ((ENERGIES - 7130.0) / 2.0) ** 2),
}


def sample(**more: Any) -> SimSample:
    """Two bright squares: at the lower left of the phase "low", at the upper right of the phase "high"."""
    rates = {"Fe": np.full(SHAPE, 50.0), "Cr": np.zeros(SHAPE)}
    phases = {name: np.zeros(SHAPE) for name in REFERENCES}
    for name, rows, columns in (("low", slice(1, 3), slice(1, 4)), ("high", slice(5, 7), slice(8, 11))):
        rates["Fe"][rows, columns] = 20_000.0
        phases[name][rows, columns] = 0.8
    rates["Cr"][5:7, 8:11] = 5_000.0
    # Pixel edges at whole numbers of µm.
    return SimSample.from_maps(
        rates, step_um=STEP, origin_um=(0.5, 0.5), phases=phases, spectra=(ENERGIES, REFERENCES), **more
    )


def microprobe(speed: float = math.inf, **more: Any) -> SimMicroprobe:
    return SimMicroprobe(sample(), seed=1, speed=speed, dwell_s=0.02, **more)


def area(width: float = WIDTH, height: float = HEIGHT) -> dict[str, list[float]]:
    return {"sample_x": [0.0, width], "sample_y": [0.0, height]}


def starts(docs: Documents) -> list[dict[str, Any]]:
    """The start documents, in order."""
    return [doc for name, doc in docs.all if name == "start"]
