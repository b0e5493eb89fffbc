"""Size and position of a beam in an image."""

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
    """Size and position of a beam in an image.

    The width is the full width at half maximum of the projection on an axis, interpolated between pixels. Unlike a
    second moment, the width is not biased by the noise of a mostly dark frame.

    Parameters
    ----------
    image : array, shape (rows, columns)
        Counts; rows are y, columns x.
    dark : float
        Mean counts of a pixel without beam.
    pixel_um : float
        Size of a pixel at the sample, µm.
    full_scale : float
        Counts at which a pixel saturates.
    hot : array of bool, shape (rows, columns), optional
        Pixels to ignore.

    Returns
    -------
    dict
        ``total`` and ``peak`` (counts above dark); ``centroid_x/y`` (µm from the image's centre); ``fwhm_x/y`` (µm);
        ``spot_area`` (µm², of the ellipse whose axes are the two widths); ``saturated_fraction``; ``valid`` (1 or 0);
        ``state`` (``"ok"``, ``"no beam"``, ``"off sensor"`` or ``"saturated"``). An undetermined length or area is NaN.
    """
    mask = hot if hot is not None else np.zeros(image.shape, dtype=bool)
    columns, rows = np.zeros(image.shape[1]), np.zeros(image.shape[0])
    peak, saturated = _project(image, mask, dark, full_scale, columns, rows)
    total = float(columns.sum())
    # Without beam, the noise of a projection follows from the dark counts of the pixels that it sums.
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
        In pixels; the centroid is relative to the middle of the axis. If the beam extends beyond an end of the axis,
        the width is NaN and the centroid is the brightest pixel.
    """
    top = int(np.argmax(projection))
    half = 0.5 * float(projection[top])
    left, right = _crossing(projection, top, -1, half), _crossing(projection, top, 1, half)
    if math.isnan(left) or math.isnan(right):
        return float(top) + 0.5 - projection.size / 2.0, math.nan
    # The tails of a beam lie within one width of the crossings; pixels further away hold noise.
    low, high = max(int(2 * left - right), 0), min(int(2 * right - left) + 2, projection.size)
    part = np.maximum(projection[low:high], 0.0)
    centre = float((part * (np.arange(low, high) + 0.5)).sum() / part.sum())
    return centre - projection.size / 2.0, right - left


def _crossing(projection: FloatArray, top: int, step: int, half: float) -> float:
    """The pixel position where the projection first falls below `half`, from `top` in direction `step`; else NaN."""
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
