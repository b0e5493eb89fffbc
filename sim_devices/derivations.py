"""Example derivations: outcomes computed from a row's readings, registered by name through an entry point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ebl_autonomy.analysis import beam_statistics
from ebl_autonomy.sim_devices.camera import SimCamera

__all__ = ["beam_width"]


def beam_width(readings: Mapping[str, Any]) -> float:
    """Geometric mean of the beam's two widths.

    Parameters
    ----------
    readings : mapping of str to any
        One row's readings, with an array of shape (rows, columns) under ``camera_image``.

    Returns
    -------
    float
        FWHM in µm; NaN if the image shows no beam.

    Raises
    ------
    KeyError
        If the row holds no ``camera_image``.
    """
    image = np.asarray(readings["camera_image"], dtype=float)
    beam = beam_statistics(image, float(np.median(image)), SimCamera.pixel_um, float("inf"))
    return float(np.sqrt(beam["fwhm_x"] * beam["fwhm_y"]))
