"""Example derivations: outcomes computed from a row's readings, found by name through the entry point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ebl_autonomy.analysis import beam_statistics
from ebl_autonomy.sim_devices.camera import SimCamera

__all__ = ["beam_width"]


def beam_width(readings: Mapping[str, Any]) -> float:
    """Geometric mean of the beam's two widths, µm, from the image under ``camera_image``; NaN if there is no beam."""
    image = np.asarray(readings["camera_image"], dtype=float)
    beam = beam_statistics(image, float(np.median(image)), SimCamera.pixel_um, float("inf"))
    return float(np.sqrt(beam["fwhm_x"] * beam["fwhm_y"]))
