"""The size and the place of a beam in an image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from ebl_autonomy.space import FloatArray

__all__ = ["beam_statistics", "width_at_half_maximum"]


def beam_statistics(
    image: npt.NDArray[Any], dark: float, pixel_um: float, full_scale: float, hot: npt.NDArray[np.bool_] | None = None
) -> dict[str, Any]:
    """Size and place of a beam in an image.

    The width is where the projection on an axis crosses half of its maximum, interpolated between pixels: unlike a
    second moment it is not pulled by the noise of a mostly dark frame.

    Parameters
    ----------
    image : array, shape (rows, columns)
        Counts; rows are y, columns are x.
    dark : float
        Mean counts of a pixel without beam.
    pixel_um : float
        Size of a pixel at the sample, µm.
    full_scale : float
        Counts at which a pixel saturates.
    hot : array of bool, shape (rows, columns), optional
        Pixels to leave out.

    Returns
    -------
    dict
        ``total`` and ``peak`` (counts above dark), ``centroid_x/y`` and ``fwhm_x/y`` (µm, from the image's centre),
        ``spot_area`` (µm², the area of the ellipse of the two widths), ``saturated_fraction``, ``valid`` (1 or 0) and
        ``state`` (``"ok"``, ``"no beam"``, ``"off sensor"``, ``"saturated"``). What cannot be told is NaN.
    """
    mask = hot if hot is not None else np.zeros(image.shape, dtype=bool)
    columns, rows = np.zeros(image.shape[1]), np.zeros(image.shape[0])
    peak, saturated = _project(image, mask, dark, full_scale, columns, rows)
    total = float(columns.sum())
    # A projection sums one pixel per row: its noise without beam is known, and a beam must stand out of it.
    noise = math.sqrt(max(dark, 1.0) * image.shape[0])
    found = max(columns.max(), rows.max()) > 6.0 * noise
    result: dict[str, Any] = {
        "total": total,
        "peak": float(peak),
        **dict.fromkeys(("centroid_x", "centroid_y", "fwhm_x", "fwhm_y", "spot_area"), math.nan),
        "saturated_fraction": saturated / image.size,
        "valid": 0,
        "state": "no beam",
    }
    if not found:
        return result
    (x, wide), (y, high) = width_at_half_maximum(columns), width_at_half_maximum(rows)
    result["centroid_x"], result["centroid_y"] = x * pixel_um, y * pixel_um
    if math.isnan(wide) or math.isnan(high):
        result["state"] = "off sensor"
        return result
    if saturated:
        result["state"] = "saturated"
        return result
    fwhm_x, fwhm_y = wide * pixel_um, high * pixel_um
    result.update(fwhm_x=fwhm_x, fwhm_y=fwhm_y, spot_area=math.pi / 4.0 * fwhm_x * fwhm_y, valid=1, state="ok")
    return result


def width_at_half_maximum(projection: FloatArray) -> tuple[float, float]:
    """Centroid and full width at half maximum of a beam's projection on one axis.

    Parameters
    ----------
    projection : array, shape (pixels,)
        Counts above dark.

    Returns
    -------
    centroid, width : float
        In pixels, the centroid from the middle of the axis. If the beam reaches beyond an end of the axis, the width is
        NaN and the brightest pixel stands for the centroid.
    """
    top = int(np.argmax(projection))
    half = 0.5 * float(projection[top])
    left, right = _crossing(projection, top, -1, half), _crossing(projection, top, 1, half)
    if math.isnan(left) or math.isnan(right):
        return float(top) + 0.5 - projection.size / 2.0, math.nan
    # A beam's tails lie within one width of either crossing; what is further away is noise.
    low, high = max(int(2 * left - right), 0), min(int(2 * right - left) + 2, projection.size)
    part = np.maximum(projection[low:high], 0.0)
    centre = float((part * (np.arange(low, high) + 0.5)).sum() / part.sum())
    return centre - projection.size / 2.0, right - left


def _crossing(projection: FloatArray, top: int, step: int, half: float) -> float:
    """Where the projection falls below `half`, in pixels, walking from `top` by `step`; NaN if it never does."""
    i = top
    while 0 <= i + step < projection.size:
        if projection[i + step] < half:
            share = (projection[i] - half) / (projection[i] - projection[i + step])
            return i + step * float(share)
        i += step
    return math.nan


@njit(cache=True)
def _project(image, mask, dark, full_scale, columns, rows):  # type: ignore[no-untyped-def]
    peak, saturated = 0.0, 0
    for i in range(image.shape[0]):
        for k in range(image.shape[1]):
            if mask[i, k]:
                continue
            value = float(image[i, k])
            if value >= full_scale:
                saturated += 1
            value -= dark
            peak = max(peak, value)
            columns[k] += value
            rows[i] += value
    return peak, saturated
