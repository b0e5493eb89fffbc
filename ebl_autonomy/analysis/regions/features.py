"""What is measured on a region: its shape in motor units, and its rates, background and ratios by channel."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from ebl_autonomy.analysis.regions.evidence import Evidence
from ebl_autonomy.analysis.regions.maps import Maps
from ebl_autonomy.analysis.regions.patches import Patch
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


def shape_of(maps: Maps, patch: Patch) -> dict[str, float]:
    """Position, size and shape of a part of the map, in motor units.

    Returns
    -------
    dict of str to float
        ``x``, ``y`` (centre), ``area``, ``pixels``, ``perimeter``, ``major``, ``minor`` (axes of the ellipse with the
        same second moments), ``eccentricity`` (0 of a circle, towards 1 of a line) and ``solidity`` (share of its
        convex hull).
    """
    width, height = maps.pixel
    rows, columns = np.nonzero(patch.mask)
    row, column = (
        side.start + float(places.mean()) for side, places in zip(patch.window, (rows, columns), strict=True)
    )
    major, minor = _axes(columns * width, rows * height)
    return {
        "x": float(np.interp(column, np.arange(len(maps.x)), maps.x)),
        "y": float(np.interp(row, np.arange(len(maps.y)), maps.y)),
        "area": patch.pixels * width * height,
        "pixels": float(patch.pixels),
        "perimeter": _perimeter(patch.mask, width, height),
        "major": major,
        "minor": minor,
        "eccentricity": math.sqrt(max(1.0 - (minor / major) ** 2, 0.0)) if major > 0.0 else 0.0,
        "solidity": _solidity(patch.mask),
    }


def features_of(
    maps: Maps, evidence: Mapping[str, Evidence], mask: np.ndarray | Patch, free: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """All features of a region.

    Parameters
    ----------
    maps : Maps
    evidence : mapping of str to Evidence
        Of the single pixels of each channel.
    mask : bool array, shape (ny, nx), or Patch
        The region.
    free : mapping of str to bool array, shape (ny, nx)
        Where each channel was measured and has no segment: what its local background is made of.

    Returns
    -------
    dict of str to float
        The shape (see `shape_of`). Of each channel in which the region was measured, ``<channel>_mean``, ``_max`` and
        ``_sum`` (counts per second at the median I0, summed over the pixels), ``_background`` (mean rate around the
        region), ``_net`` (mean without background) and ``_net_std``. Of each pair of such channels, ``<a>/<b>``, the
        ratio of the net rates, and ``<a>/<b>_std``; a net rate below its standard deviation counts as that.
    """
    patch = Patch.of(mask)
    features = shape_of(maps, patch)
    net: dict[str, tuple[float, float]] = {}
    rings = surroundings(patch, [free[name] for name in evidence])
    for (name, whole), (window, ring) in zip(evidence.items(), rings, strict=True):
        one = whole.part(patch.window)
        mean, std = one.within(patch.mask)
        if not math.isfinite(mean):
            continue
        background, background_std = whole.part(window).within(ring) if ring.any() else (0.0, 0.0)
        net[name] = mean - background, math.hypot(std, background_std)
        inside = one.rate[patch.mask & one.known]
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


def _axes(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The full axes of the ellipse with the second moments of these points, the longer one first."""
    xx, yy, xy = float(x.var()), float(y.var()), float(((x - x.mean()) * (y - y.mean())).mean())
    middle, spread = 0.5 * (xx + yy), math.hypot(0.5 * (xx - yy), xy)
    return 4.0 * math.sqrt(middle + spread), 4.0 * math.sqrt(max(middle - spread, 0.0))


def _solidity(mask: np.ndarray) -> float:
    if mask.all():  # a lone pixel, a line, a box
        return 1.0
    from skimage.morphology import convex_hull_image

    filled = float(np.count_nonzero(mask))
    return filled / max(float(np.count_nonzero(convex_hull_image(mask))), filled)
