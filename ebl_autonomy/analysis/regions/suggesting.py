"""What a fine scan of a region should be: its step and its dwell time."""

from __future__ import annotations

import math

import numpy as np

from ebl_autonomy.analysis.regions.boxes import Box
from ebl_autonomy.analysis.regions.candidates import Candidate
from ebl_autonomy.analysis.regions.maps import Maps
from ebl_autonomy.analysis.regions.options import RegionOptions, pair
from ebl_autonomy.analysis.regions.rules import Feature
from ebl_autonomy.scales import FloatArray

__all__ = ["fine_dwell", "fine_step"]


def fine_step(maps: Maps, box: Box, options: RegionOptions) -> tuple[float, float]:
    """The step along x and y, in motor units: as given, half a beam, or a part of the box and of a pixel.

    Boxes that share a time have one step, so that a part of the area takes that part of the time.
    """
    if options.step is not None:
        return pair(options.step)
    if options.beam is not None:
        beam = pair(options.beam)
        return 0.5 * beam[0], 0.5 * beam[1]
    if options.time_share is not None:
        return 0.5 * maps.pixel[0], 0.5 * maps.pixel[1]
    sides = [side[1] - side[0] for side in (box.x, box.y)]
    step = min(side for side in sides if side > 0.0) / options.points_across if max(sides) > 0.0 else math.inf
    return min(step, 0.5 * maps.pixel[0]), min(step, 0.5 * maps.pixel[1])


def fine_dwell(maps: Maps, one: Candidate, options: RegionOptions) -> tuple[float | None, str]:
    """Seconds until the weakest channel that matters is as precise as wanted in each fine pixel, and that channel."""
    if not maps.timed:
        return None, ""
    names = options.dwell_channels or _that_matter(one, options)
    live_share = _live_share(maps)
    needed = {}
    for name in names:
        if name in maps.std or f"{name}_net" not in one.features:
            continue
        net, mean = max(one.features[f"{name}_net"], one.features[f"{name}_net_std"]), one.features[f"{name}_mean"]
        if net > 0.0 and mean > 0.0:
            needed[name] = mean / (options.precision * net) ** 2 / live_share
    if not needed:
        return None, ""
    weakest = max(needed, key=lambda name: needed[name])
    low, high = options.dwell_limits or (0.0, math.inf)
    return min(max(needed[weakest], low), high), weakest


def _that_matter(one: Candidate, options: RegionOptions) -> list[str]:
    names = list(one.segment.channels)
    if options.rank.by == "ratio":
        names += (options.rank.of or "").split("/")
    if one.rule is not None:
        limits = [part.feature for part in one.rule.parts() if isinstance(part, Feature)]
        names += [name for limit in limits if "/" in limit for name in limit.split("/")]
    return list(dict.fromkeys(names))


def _live_share(maps: Maps) -> float:
    """Live seconds per second of dwell time."""
    if maps.live is None or maps.dwell_s is None:
        return 1.0
    live: FloatArray = np.asarray(maps.live, dtype=float)
    dwell: FloatArray = np.asarray(maps.dwell_s, dtype=float)
    known = np.isfinite(live) & np.isfinite(dwell) & (live > 0.0) & (dwell > 0.0)
    return float(np.median(live[known] / dwell[known])) if known.any() else 1.0
