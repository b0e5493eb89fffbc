"""What is measured on a region: its shape in motor units, and its rates, background and ratios by channel."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from ebl_autonomy.analysis.regions.evidence import Evidence
from ebl_autonomy.analysis.regions.maps import Maps
from ebl_autonomy.analysis.regions.segmentation import surroundings

__all__ = ["feature_names", "features_of", "shape_of"]

SHAPE: Final = ("x", "y", "area", "pixels", "perimeter", "major", "minor", "eccentricity", "solidity")
RATES: Final = ("mean", "max", "sum", "background", "net", "net_std")


def feature_names(channels: Iterable[str]) -> list[str]:
    """The names of all features that a region can have in a map with these channels; see `features_of`."""
    channels = list(channels)
    ratios = [f"{a}/{b}" for a in channels for b in channels if a != b]
    rates = [f"{name}_{rate}" for name in channels for rate in RATES]
    return [*SHAPE, *rates, *ratios, *(f"{ratio}_std" for ratio in ratios)]


def shape_of(maps: Maps, mask: np.ndarray) -> dict[str, float]:
    """Position, size and shape of a mask, in motor units.

    Returns
    -------
    dict of str to float
        ``x``, ``y`` (centre), ``area``, ``pixels``, ``perimeter``, ``major``, ``minor`` (axes of the ellipse with the
        same second moments), ``eccentricity`` (0 of a circle, towards 1 of a line) and ``solidity`` (share of its
        convex hull).
    """
    from skimage.measure import regionprops

    width, height = maps.pixel
    (found,) = regionprops(mask.astype(np.uint8), spacing=(height, width))
    row, column = found.centroid[0] / height, found.centroid[1] / width
    major, minor = float(found.axis_major_length), float(found.axis_minor_length)
    return {
        "x": float(np.interp(column, np.arange(len(maps.x)), maps.x)),
        "y": float(np.interp(row, np.arange(len(maps.y)), maps.y)),
        "area": float(mask.sum()) * width * height,
        "pixels": float(mask.sum()),
        "perimeter": _perimeter(mask, width, height),
        "major": major,
        "minor": minor,
        "eccentricity": math.sqrt(max(1.0 - (minor / major) ** 2, 0.0)) if major > 0.0 else 0.0,
        "solidity": _solidity(mask),
    }


def features_of(
    maps: Maps, evidence: Mapping[str, Evidence], mask: np.ndarray, taken: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """All features of a region.

    Parameters
    ----------
    maps : Maps
    evidence : mapping of str to Evidence
        Of the single pixels of each channel.
    mask : bool array, shape (ny, nx)
    taken : mapping of str to bool array, shape (ny, nx)
        All segments of each channel; its local background leaves them out.

    Returns
    -------
    dict of str to float
        The shape (see `shape_of`). Of each channel in which the region was measured, ``<channel>_mean``, ``_max`` and
        ``_sum`` (counts per second at the median I0, summed over the pixels), ``_background`` (mean rate around the
        region), ``_net`` (mean without background) and ``_net_std``. Of each pair of such channels, ``<a>/<b>``, the
        ratio of the net rates, and ``<a>/<b>_std``; a net rate below its standard deviation counts as that.
    """
    features = shape_of(maps, mask)
    net: dict[str, tuple[float, float]] = {}
    for name, one in evidence.items():
        mean, std = one.within(mask)
        if not math.isfinite(mean):
            continue
        ring = surroundings(one, mask, taken[name] | mask)
        background, background_std = one.within(ring) if ring.any() else (0.0, 0.0)
        net[name] = mean - background, math.hypot(std, background_std)
        inside = one.rate[mask & one.known]
        features |= {
            f"{name}_mean": mean,
            f"{name}_max": float(inside.max()),
            f"{name}_sum": float(inside.sum()),
            f"{name}_background": background,
            f"{name}_net": net[name][0],
            f"{name}_net_std": net[name][1],
        }
    for a, (over, over_std) in net.items():
        for b, (under, under_std) in net.items():
            if a != b:
                top, bottom = max(over, over_std), max(under, under_std, 1e-300)
                ratio = top / bottom
                features[f"{a}/{b}"] = ratio
                features[f"{a}/{b}_std"] = ratio * math.hypot(over_std / max(top, 1e-300), under_std / bottom)
    return features


def _perimeter(mask: np.ndarray, width: float, height: float) -> float:
    """Length of the pixels' outer edges, scaled such that a large circle has its own perimeter."""
    padded = np.pad(mask.astype(np.int8), 1)
    upright = float(np.abs(np.diff(padded, axis=1)).sum()) * height
    level = float(np.abs(np.diff(padded, axis=0)).sum()) * width
    return 0.25 * math.pi * (upright + level)


def _solidity(mask: np.ndarray) -> float:
    from skimage.morphology import convex_hull_image

    rows, columns = np.nonzero(mask)
    if min(np.ptp(rows), np.ptp(columns)) == 0:
        return 1.0
    part = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return float(part.sum() / max(convex_hull_image(part).sum(), part.sum()))
