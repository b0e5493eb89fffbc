"""Boxes around regions: all of each region, or what is worth a share of the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ebl_autonomy.analysis.regions.boxes import Box, Boxes, Interval, box_around, clipped, parts_of
from ebl_autonomy.analysis.regions.candidates import Candidate
from ebl_autonomy.analysis.regions.coverage import MOST, covering
from ebl_autonomy.analysis.regions.maps import Maps
from ebl_autonomy.analysis.regions.options import Rank, Region, RegionOptions, pair
from ebl_autonomy.analysis.regions.patches import Patch, Windows
from ebl_autonomy.analysis.regions.suggesting import fine_dwell, fine_step
from ebl_autonomy.scales import FloatArray

__all__ = ["Placed", "placed_in_time", "placed_whole", "region_of"]

SAVING: Final = 0.03
"""Least share of a box that cutting it in two must save: each box costs a move and its margins."""


@dataclass(frozen=True)
class Placed:
    """A candidate, or a part of it, with its box; `others` are the worse candidates in the same box.

    `density` is the time that a scan of it takes for each unit of area: seconds, or 1 if the dwell time is not known.
    """

    candidate: Candidate
    patch: Patch
    box: Box
    density: float
    others: frozenset[int] = frozenset()

    def with_(self, other: Placed) -> Placed:
        """Both in one box, as the better one's."""
        worse = {id(other.candidate)} - {id(self.candidate)}
        return Placed(
            self.candidate,
            self.patch.joined(other.patch),
            self.box.joined(other.box),
            max(self.density, other.density),
            self.others | other.others | worse,
        )


def placed_whole(
    maps: Maps, ranked: list[Candidate], options: RegionOptions, typical_s: float | None
) -> tuple[list[Placed], str]:
    """The regions with boxes that hold all of them, and what was left out.

    Parameters
    ----------
    maps : Maps
    ranked : list of Candidate
    options : RegionOptions
    typical_s : float or None
        Seconds for a pixel whose dwell time has no suggestion. If they are None, nothing can be compared with the
        overhead of a scan, which then does not count.
    """
    margin, padding = _margins(maps, options)
    placed: list[Placed] = []
    outside = 0
    for one in ranked:
        patches = parts_of(one.patch, padding, SAVING, options.parts) if options.parts > 1 else [one.patch]
        boxes = [clipped(box_around(maps, patch, margin), options.limits.x, options.limits.y) for patch in patches]
        outside += all(box is None for box in boxes)
        placed += [
            Placed(one, patch, box, _density(maps, one, box, options, typical_s))
            for patch, box in zip(patches, boxes, strict=True)
            if box is not None
        ]
    left = _joined(placed, _overhead_s(options, typical_s))
    if options.parts > 1:  # in parts anyway, so what was measured for a better region need not be measured again
        left = _without_overlaps(left)
    return left, _outside(outside) if outside else ""


def placed_in_time(
    maps: Maps,
    ranked: list[Candidate],
    expected: Mapping[str, FloatArray],
    options: RegionOptions,
    typical_s: float | None,
) -> tuple[list[Placed], str]:
    """Boxes that hold as much as possible of the regions in a share of the time of the whole map, by their best region.

    Of each channel, they hold the same share as nearly as that pays: a pixel counts by its probability to belong to the
    channel, over what is expected of it in the whole map.

    Parameters
    ----------
    maps, ranked, options, typical_s
        As for `placed_whole`.
    expected : mapping of str to FloatArray, shape (ny, nx)
        Of some channels, the probability of each pixel to belong to it.
    """
    margin, padding = _margins(maps, options)
    worth = np.zeros(maps.shape)
    for name in dict.fromkeys(one.segment.channel for one in ranked):
        own = np.zeros(maps.shape)
        for one in ranked:
            if one.segment.channel == name:
                inside = own[one.patch.window]
                np.maximum(inside, one.confidence, out=inside, where=one.patch.mask)
        if name in expected:
            own = expected[name] if not options.rules else np.where(own > 0.0, expected[name], 0.0)
        worth += own / max(float(own.sum()), 1e-300)
    reached = np.outer(_within(maps.y, options.limits.y), _within(maps.x, options.limits.x))
    worth[~reached] = 0.0
    assert options.time_share is not None
    seconds = [_density(maps, one, box_around(maps, one.patch, margin), options, typical_s) for one in ranked]
    pixel = float(np.median(seconds)) * maps.pixel[0] * maps.pixel[1]
    overhead = _overhead_s(options, typical_s) / pixel
    placed: list[Placed] = []
    windows = Windows([one.patch for one in ranked])
    chosen = covering(worth, options.time_share * worth.size, overhead, padding)
    for window in chosen:
        block = Patch.of_window(maps.shape, window)
        inside_it = [ranked[number] for number in windows.meeting(window) if ranked[number].patch.common(block)]
        box = clipped(box_around(maps, block, margin), options.limits.x, options.limits.y)
        if inside_it and box is not None:
            best, *others = inside_it
            patch = block.with_only(best.patch.joined(*(one.patch for one in others)))
            worse = frozenset(id(one) for one in others)
            placed.append(Placed(best, patch, box, _density(maps, best, box, options, typical_s), worse))
    order = {id(one): number for number, one in enumerate(ranked)}
    placed = _without_overlaps(sorted(placed, key=lambda one: order[id(one.candidate)]))
    held = {id(one.candidate) for one in placed} | {number for one in placed for number in one.others}
    left_out = [one for one in ranked if id(one) not in held]
    outside = sum(not (reached[one.patch.window] & one.patch.mask).any() for one in left_out)
    reasons = [_outside(outside)] if outside else []
    if len(left_out) > outside:
        why = f"found no place in {MOST} boxes" if len(chosen) == MOST else "are not worth their part of the time"
        reasons.append(f"{len(left_out) - outside} regions {why} and were left out")
    return placed, "; ".join(reasons)


def _outside(number: int) -> str:
    return f"{number} regions lie outside of the limits of the stage and were left out"


def _within(places: FloatArray, limit: Interval | None) -> np.ndarray:
    return np.full(len(places), True) if limit is None else (places >= limit[0]) & (places <= limit[1])


def _overhead_s(options: RegionOptions, typical_s: float | None) -> float:
    return options.overhead_s if options.pixel_s is not None or typical_s is not None else 0.0


def _margins(maps: Maps, options: RegionOptions) -> tuple[tuple[float, float], tuple[float, float]]:
    """The margin of boxes along x and y, in motor units and in pixels."""
    margin = pair(options.margin) if options.margin is not None else (0.5 * maps.pixel[0], 0.5 * maps.pixel[1])
    return margin, (margin[0] / maps.pixel[0], margin[1] / maps.pixel[1])


def _density(maps: Maps, one: Candidate, box: Box, options: RegionOptions, typical_s: float | None) -> float:
    """Seconds that a fine scan takes for each unit of area; 1 if nobody knows its dwell time."""
    seconds = options.pixel_s if options.pixel_s is not None else fine_dwell(maps, one, options)[0] or typical_s
    step = fine_step(maps, box, options)
    return 1.0 if not seconds else seconds / (step[0] * step[1])


def _joined(placed: Sequence[Placed], overhead_s: float) -> list[Placed]:
    """Boxes as one, where one scan takes no longer than two; at the place of the better."""
    left: list[Placed] = []
    boxes = Boxes(overhead_s)
    for new in placed:
        one, at = new, len(left)
        while (number := boxes.best_to_join(one.box, one.density)) is not None:
            other = left.pop(number)
            boxes.drop(number)
            before = number < at
            better, worse = (other, one) if before else (one, other)
            one, at = better.with_(worse), number if before else at
        left.insert(at, one)
        boxes.insert(at, one.box, one.density)
    return left


def _without_overlaps(placed: Sequence[Placed]) -> list[Placed]:
    """Boxes without what better ones cover, as far as boxes are left."""
    left: list[Placed] = []
    boxes = Boxes()
    for one in placed:
        box: Box | None = one.box
        for number in boxes.meeting(one.box):
            box = None if box is None else box.without(left[number].box)
        if box is not None:
            left.append(replace(one, box=box))
            boxes.insert(len(left) - 1, box)
    return left


def region_of(maps: Maps, placed: Placed, number: int, options: RegionOptions) -> Region:
    one, box = placed.candidate, placed.box
    dwell, weakest = fine_dwell(maps, one, options)
    region = Region(
        label=f"{one.segment.channel} {number}",
        channel=one.segment.channel,
        channels=one.segment.channels,
        x=box.x,
        y=box.y,
        clipped=box.clipped,
        area=one.features["area"],
        pixels=int(one.features["pixels"]),
        features=one.features,
        cluster=int(np.argmax(one.memberships)),
        memberships=one.memberships,
        confidence=one.confidence,
        score=one.score,
        reason=_reason(one, box, len(placed.others), options.rank, weakest),
        step=fine_step(maps, box, options),
        dwell_s=dwell,
    )
    return region.with_patch(placed.patch)


def _reason(one: Candidate, box: Box, others: int, rank: Rank, weakest: str) -> str:
    of = f" {rank.of}" if rank.of is not None else f" {rank.cluster}" if rank.cluster is not None else ""
    parts = [f"{one.segment.channel} above its background with confidence {one.segment.confidence:.2g}"]
    if one.rule is not None:
        parts.append(f"'{one.rule}' holds")
    if rank.by != "confidence":
        parts.append(f"{rank.by}{of} {one.score:.3g}")
    if others:
        parts.append(f"{others} other region{'s' * (others > 1)} in the same box")
    if box.clipped:
        parts.append("cut by the limits of the stage")
    if weakest:
        parts.append(f"dwell time for {weakest}")
    return "; ".join(parts)
