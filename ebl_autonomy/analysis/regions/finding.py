"""From a coarse map to a ranked list of regions with suggested fine scans."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from ebl_autonomy.analysis.regions.boxes import Box, Boxes, Interval, box_around, clipped, parts_of
from ebl_autonomy.analysis.regions.clusters import Population, memberships_of
from ebl_autonomy.analysis.regions.coverage import covering
from ebl_autonomy.analysis.regions.evidence import Evidence
from ebl_autonomy.analysis.regions.features import feature_names, features_of
from ebl_autonomy.analysis.regions.maps import Maps
from ebl_autonomy.analysis.regions.options import Rank, Region, RegionOptions, Regions, pair
from ebl_autonomy.analysis.regions.patches import Patch, Windows
from ebl_autonomy.analysis.regions.phases import phases_in
from ebl_autonomy.analysis.regions.rules import Feature, Rule
from ebl_autonomy.analysis.regions.scene import Scene
from ebl_autonomy.analysis.regions.segmentation import Segment, Segmentation, segment, segment_together
from ebl_autonomy.errors import BadInputError, unknown_text, validated
from ebl_autonomy.scales import FloatArray

__all__ = ["check_margin", "check_names", "feature_table", "find_regions"]

NEIGHBOURS: Final = 3
"""Number of similar regions that a rare one is far from."""
SAVING: Final = 0.03
"""Least share of a box that cutting it in two must save: each box costs a move and its margins."""


@dataclass(frozen=True)
class _Candidate:
    """A region before it has a rank."""

    segment: Segment
    features: dict[str, float]
    confidence: float
    degree: float = 1.0
    rule: Rule | None = None
    score: float = 0.0
    memberships: tuple[float, ...] = (1.0,)

    @property
    def patch(self) -> Patch:
        return self.segment.patch


@dataclass(frozen=True)
class _Placed:
    """A candidate, or a part of it, with its box; `others` are the worse candidates in the same box.

    `density` is the time that a scan of it takes for each unit of area: seconds, or 1 if the dwell time is not known.
    """

    candidate: _Candidate
    patch: Patch
    box: Box
    density: float
    others: frozenset[int] = frozenset()

    def with_(self, other: _Placed) -> _Placed:
        """Both in one box, as the better one's."""
        worse = {id(other.candidate)} - {id(self.candidate)}
        return _Placed(
            self.candidate,
            self.patch.joined(other.patch),
            self.box.joined(other.box),
            max(self.density, other.density),
            self.others | other.others | worse,
        )


def find_regions(
    maps: Maps,
    options: RegionOptions | Mapping[str, Any] | None = None,
    *,
    segments: Sequence[Segment] | None = None,
    earlier: Sequence[Maps | Sequence[Mapping[str, float]]] = (),
) -> Regions:
    """The regions of a map that are worth a fine scan, the best first.

    Rates are counts per live second at the median I0. Each channel is segmented (see `segment`), the rules choose among
    the segments, features and soft memberships follow, and `rank` orders what is left.

    Parameters
    ----------
    maps : Maps
    options : RegionOptions or mapping, optional
    segments : sequence of Segment, optional
        What to choose from, in place of the segments of the channels: of a segmentation of your own, on the pixels of
        the map (refined, if `refine` is more than 1). Rules may name their channels too, as subjects and otherwise.
    earlier : sequence of Maps or of tables of features
        Earlier scans, whose regions count for kinds and rarity; tables as `feature_table` gives them.

    Returns
    -------
    Regions
        A list of `Region` with a ``reason`` if it is empty or something was left out.

    Raises
    ------
    BadInputError
        If an option is wrong, or names a channel or feature that there is not.
    """
    chosen = validated(RegionOptions, options, "options")
    check_names(maps.channels, chosen, [one.channel for one in segments or ()])
    measured, reason = maps, ""
    expected: Mapping[str, FloatArray] = {}
    if chosen.refine > 1 and min(maps.shape) > 1:
        maps, chosen = maps.refined(chosen.refine), _on_finer_pixels(chosen)
    if chosen.phases is not None and segments is None:
        phases = phases_in(measured, maps, chosen.phases, chosen.level, chosen.min_pixels)
        segments, reason, expected = phases.segments, phases.reason, phases.probabilities
    given = _by_channel(segments or (), maps.shape)
    segmentations, candidates = _candidates(maps, chosen, None if segments is None else given)
    if not candidates:
        return Regions((), reason or "; ".join(one.reason for one in segmentations.values()) or "no segments")
    scene = Scene({**{name: one.segments for name, one in segmentations.items()}, **given}, maps.shape, maps.pixel)
    allowed = _allowed(candidates, scene, chosen)
    if not allowed:
        rules = " nor ".join(f"'{rule}'" for rule in chosen.rules)
        return Regions((), f"{len(candidates)} regions were found, and none satisfies {rules}: loosen the rule")
    tables = [one.features for one in allowed]
    pooled = [*tables, *(table for one in earlier for table in _table_of(one, chosen))]
    population = Population.of(pooled)
    memberships = memberships_of(population, chosen.clusters, chosen.seed)
    ranked = _ranked(
        [replace(one, memberships=tuple(map(float, row))) for one, row in zip(allowed, memberships, strict=False)],
        population,
        chosen.rank,
    )
    if chosen.time_share is not None:
        placed, reason = _worth_their_time(maps, ranked, expected, chosen)
    else:
        placed, reason = _placed(maps, ranked, chosen)
    best = placed[: chosen.max_regions]
    return Regions([_region(maps, one, number, chosen) for number, one in enumerate(best, 1)], reason)


def feature_table(maps: Maps, options: RegionOptions | Mapping[str, Any] | None = None) -> list[dict[str, float]]:
    """The features of all regions of a map, for the kinds of later ones (``earlier=`` of `find_regions`)."""
    chosen = validated(RegionOptions, options, "options")
    check_names(maps.channels, chosen)
    segments = None
    if chosen.phases is not None:
        segments = _by_channel(
            phases_in(maps, maps, chosen.phases, chosen.level, chosen.min_pixels).segments, maps.shape
        )
    _, candidates = _candidates(maps, chosen, segments)
    return [one.features for one in candidates]


def _on_finer_pixels(options: RegionOptions) -> RegionOptions:
    """The same options where a pixel has become `refine` times smaller."""
    factor = options.refine
    scales = tuple(size * factor + (size * factor + 1) % 2 for size in options.scales)
    return options.model_copy(update={"scales": scales, "min_pixels": options.min_pixels * factor**2, "refine": 1})


def _by_channel(segments: Sequence[Segment], shape: tuple[int, int]) -> dict[str, list[Segment]]:
    found: dict[str, list[Segment]] = {}
    for one in segments:
        if one.patch.shape != shape:
            raise BadInputError(
                f"a segment of {one.channel!r} has a mask of shape {one.patch.shape}: give a bool array of {shape}"
            )
        found.setdefault(one.channel, []).append(one)
    return found


def check_names(channels: Iterable[str], options: RegionOptions, segments: Iterable[str] = ()) -> None:
    """Refuse options that name a channel or a feature that there is not.

    Parameters
    ----------
    channels : iterable of str
        The channels of the map.
    options : RegionOptions
    segments : iterable of str
        Channels of given segments, which rules may name too.

    Raises
    ------
    BadInputError
        The message gives the option and the channels.
    """
    known = sorted(channels)
    phases = options.phases
    in_rules = sorted({*known, *segments, *(phases.markers if phases is not None else ())})
    named: dict[str, Iterable[str | None]] = {
        "options.channels": options.channels or (),
        "options.dwell_channels": options.dwell_channels or (),
        "options.thresholds": options.thresholds,
        "options.rank": (options.rank.of or "").split("/") if options.rank.by == "ratio" else (),
        "options.phases.markers": phases.markers.values() if phases is not None else (),
        "options.phases.common": [phases.common] if phases is not None else (),
        "options.rules": [name for rule in options.rules for name in rule.channels],
    }
    for key, names in named.items():
        allowed = in_rules if key == "options.rules" else known
        for name in names:
            if name is not None and name not in allowed:
                raise BadInputError(f"{key}: channel {name!r} is {unknown_text(name, allowed, 'channels')}")
    if phases is not None:
        markers = [name for name in phases.markers.values() if name is not None]
        for name in phases.ratios:
            if name not in markers:
                raise BadInputError(f"options.phases.ratios: {name!r} is {unknown_text(name, markers, 'markers')}")
    if options.rank.to is not None:
        given = options.rank.to.features if isinstance(options.rank.to, Region) else options.rank.to
        for name in ("area", "eccentricity", *(f"{one}_net" for one in known)):
            if name not in given:
                raise BadInputError(f"options.rank.to: the example lacks the feature {name!r}: give those of a region")
    features = feature_names(known)
    limits = [part.feature for rule in options.rules for part in rule.parts() if isinstance(part, Feature)]
    ranked = [options.rank.of] if options.rank.by == "feature" else []
    for key, names in (("options.rules", limits), ("options.rank", ranked)):
        for name in names:
            if name not in features:
                raise BadInputError(f"{key}: feature {name!r} is {unknown_text(name, features, 'features')}")


def check_margin(options: RegionOptions, x: Interval, y: Interval) -> None:
    """Refuse a margin around regions that is as large as the area itself.

    Parameters
    ----------
    options : RegionOptions
    x, y : (low, high)
        The edges of the area, in motor units.

    Raises
    ------
    BadInputError
    """
    if options.margin is None:
        return
    for name, margin, (low, high) in zip("xy", pair(options.margin), (x, y), strict=True):
        if margin >= high - low:
            raise BadInputError(
                f"regions.margin={options.margin}: along {name}, the area is {high - low:g} wide, so that every box "
                "would be all of it: give a smaller one, in motor units"
            )


def _segmented(maps: Maps, channel: str, options: RegionOptions) -> Segmentation:
    return segment(
        maps,
        channel,
        scales=options.scales,
        false_alarms=options.false_alarms,
        level=options.level,
        threshold=options.thresholds.get(channel),
        min_pixels=options.min_pixels,
        min_confidence=options.min_confidence,
        saturation=options.saturation,
    )


def _candidates(
    maps: Maps, options: RegionOptions, given: Mapping[str, Sequence[Segment]] | None = None
) -> tuple[dict[str, Segmentation], list[_Candidate]]:
    """The segmentation of every channel that matters, and the segments to choose from."""
    wanted = list(options.channels or maps.channels)
    subjects = [rule.subject for rule in options.rules]
    named = [name for rule in options.rules for name in rule.channels if name not in (given or {})]
    needed = dict.fromkeys([*(wanted if given is None else ()), *named])
    evidence = {name: Evidence.of(maps, name) for name in maps.channels}
    segmentations = {name: _segmented(maps, name, options) for name in needed}
    segments: tuple[Segment, ...]
    if given is not None:
        parts = {**given, **{name: one.segments for name, one in segmentations.items()}}
        segments = tuple(part for name in dict.fromkeys(subjects or given) for part in parts[name])
    elif options.together and not options.rules:
        segments = segment_together([segmentations[name] for name in wanted])
    else:
        chosen = dict.fromkeys(subjects or wanted)
        segments = tuple(part for name in chosen for part in segmentations[name].segments)
        segments = _merged(segments, options.merge) if not options.rules else segments
    free = {
        name: one.known & ~segmentations[name].mask if name in segmentations else one.known
        for name, one in evidence.items()
    }
    candidates = [_Candidate(part, features_of(maps, evidence, part.patch, free), part.confidence) for part in segments]
    return segmentations, candidates


def _merged(segments: Sequence[Segment], share: float) -> tuple[Segment, ...]:
    """Segments of several channels that are the same thing, as one."""
    merged: list[Segment | None] = []
    windows = Windows()
    for new in segments:
        one = new
        while (same := _same(one, [(i, merged[i]) for i in windows.meeting(one.patch.window)], share)) is not None:
            number, other = same
            confidence = max(one.confidence, other.confidence)
            one = Segment.of_several([*other.channels, *one.channels], one.patch.joined(other.patch), confidence)
            merged[number] = None
            windows.drop(number)
        merged.append(one)
        windows.append(one.patch)
    return tuple(one for one in merged if one is not None)


def _same(one: Segment, others: Iterable[tuple[int, Segment | None]], share: float) -> tuple[int, Segment] | None:
    """The first of other segments that has enough in common with one to be the same thing."""
    for number, other in others:
        if other is not None:
            larger = max(one.patch.pixels, other.patch.pixels)
            if one.patch.common(other.patch) >= share * larger:
                return number, other
    return None


def _allowed(candidates: list[_Candidate], scene: Scene, options: RegionOptions) -> list[_Candidate]:
    """The candidates for which a rule holds, each with the rule that holds most surely."""
    if not options.rules:
        return candidates
    allowed = []
    for one in candidates:
        found = []
        for rule in options.rules:
            if rule.subject == one.segment.channel:
                verdict = scene.judge(rule, one.patch, one.features)
                if verdict.holds:
                    found.append((one.confidence * verdict.confidence, verdict.degree, rule))
        if found:
            confidence, degree, rule = max(found, key=lambda item: item[:2])
            allowed.append(replace(one, confidence=confidence, degree=degree, rule=rule))
    return allowed


def _table_of(one: Maps | Sequence[Mapping[str, float]], options: RegionOptions) -> list[Mapping[str, float]]:
    if isinstance(one, Maps):
        return list(feature_table(one, options))
    return list(one)


def _ranked(candidates: list[_Candidate], population: Population, rank: Rank) -> list[_Candidate]:
    """The candidates with their scores, the best first; equal ones by confidence, then area."""
    scored = [_scored(one, i, population, rank) for i, one in enumerate(candidates)]
    sign = 1.0 if rank.ascending else -1.0
    return sorted(scored, key=lambda one: (sign * one.score, -one.confidence, -one.features["area"]))


def _scored(one: _Candidate, i: int, population: Population, rank: Rank) -> _Candidate:
    features, confidence = one.features, one.confidence
    if rank.by in ("ratio", "feature"):
        if rank.of not in features:  # a channel was not measured here
            return replace(one, score=-math.inf if not rank.ascending else math.inf, confidence=0.0)
        std = features[f"{rank.of}_std"] * (-1.0 if rank.ascending else 1.0) if rank.by == "ratio" else 0.0
        return replace(one, score=features[str(rank.of)] - std)
    if rank.by == "rule":
        return replace(one, score=one.degree)
    if rank.by == "similarity":
        assert rank.to is not None
        example = rank.to.features if isinstance(rank.to, Region) else rank.to
        try:
            distance = float(population.distances(example)[i])
        except KeyError as error:
            raise BadInputError(
                f"options.rank: the example lacks the feature {error}: give a region's features"
            ) from error
        return replace(one, score=math.exp(-0.5 * distance**2))
    if rank.by == "rarity":
        distances = np.sort(np.delete(population.distances(features), i))[:NEIGHBOURS]
        return replace(one, score=float(distances.mean()) if len(distances) else 0.0)
    if rank.by == "cluster":
        assert rank.cluster is not None
        member = one.memberships[rank.cluster] if rank.cluster < len(one.memberships) else 0.0
        return replace(one, score=member, confidence=confidence * member)
    return replace(one, score=confidence)


def _placed(maps: Maps, ranked: list[_Candidate], options: RegionOptions) -> tuple[list[_Placed], str]:
    """The regions with boxes that hold all of them, and what was left out."""
    margin, padding = _margins(maps, options)
    placed: list[_Placed] = []
    outside = 0
    for one in ranked:
        patches = parts_of(one.patch, padding, SAVING, options.parts) if options.parts > 1 else [one.patch]
        boxes = [clipped(box_around(maps, patch, margin), options.limits.x, options.limits.y) for patch in patches]
        outside += all(box is None for box in boxes)
        placed += [
            _Placed(one, patch, box, _density(maps, one, box, options))
            for patch, box in zip(patches, boxes, strict=True)
            if box is not None
        ]
    left = _joined(placed, options.overhead_s)
    if options.parts > 1:  # in parts anyway, so what was measured for a better region need not be measured again
        left = _without_overlaps(left)
    return left, f"{outside} regions lie outside of the limits of the stage and were left out" if outside else ""


def _worth_their_time(
    maps: Maps, ranked: list[_Candidate], expected: Mapping[str, FloatArray], options: RegionOptions
) -> tuple[list[_Placed], str]:
    """Boxes that hold as much as possible of the regions in a share of the time of the whole map, by their best region.

    Of each channel, they hold the same share as nearly as that pays: a pixel counts by its probability to belong to the
    channel, over what is expected of it in the whole map.
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
    for axis, places, limit in ((1, maps.x, options.limits.x), (0, maps.y, options.limits.y)):
        if limit is not None:
            beyond = (places < limit[0]) | (places > limit[1])
            worth[(slice(None), beyond) if axis else beyond] = 0.0
    assert options.time_share is not None
    seconds = [_density(maps, one, box_around(maps, one.patch, margin), options) for one in ranked]
    pixel = float(np.median(seconds)) * maps.pixel[0] * maps.pixel[1]
    overhead = options.overhead_s / pixel if options.overhead_s else 0.0
    placed: list[_Placed] = []
    windows = Windows([one.patch for one in ranked])
    for window in covering(worth, options.time_share * worth.size, overhead, padding):
        block = Patch.of_window(maps.shape, window)
        inside_it = [ranked[number] for number in windows.meeting(window) if ranked[number].patch.common(block)]
        box = clipped(box_around(maps, block, margin), options.limits.x, options.limits.y)
        if inside_it and box is not None:
            best, *others = inside_it
            patch = block.with_only(best.patch.joined(*(one.patch for one in others)))
            worse = frozenset(id(one) for one in others)
            placed.append(_Placed(best, patch, box, _density(maps, best, box, options), worse))
    order = {id(one): number for number, one in enumerate(ranked)}
    placed = _without_overlaps(sorted(placed, key=lambda one: order[id(one.candidate)]))
    held = {id(one.candidate) for one in placed} | {number for one in placed for number in one.others}
    left_out = sum(id(one) not in held for one in ranked)
    return placed, f"{left_out} regions are not worth their part of the time and were left out" if left_out else ""


def _margins(maps: Maps, options: RegionOptions) -> tuple[tuple[float, float], tuple[float, float]]:
    """The margin of boxes along x and y, in motor units and in pixels."""
    margin = pair(options.margin) if options.margin is not None else (0.5 * maps.pixel[0], 0.5 * maps.pixel[1])
    return margin, (margin[0] / maps.pixel[0], margin[1] / maps.pixel[1])


def _density(maps: Maps, one: _Candidate, box: Box, options: RegionOptions) -> float:
    """Seconds that a fine scan takes for each unit of area; 1 if nobody knows its dwell time."""
    seconds = options.pixel_s if options.pixel_s is not None else _dwell(maps, one, options)[0]
    step = _step(maps, box, options)
    return 1.0 if not seconds else seconds / (step[0] * step[1])


def _joined(placed: Sequence[_Placed], overhead_s: float) -> list[_Placed]:
    """Boxes as one, where one scan takes no longer than two; at the place of the better."""
    left: list[_Placed] = []
    boxes = Boxes(overhead_s)
    for new in placed:
        one, at = new, len(left)
        while (number := boxes.best_to_join(one.box, one.density)) is not None:
            other = left.pop(number)
            boxes.drop(number)
            at -= number < at
            better, worse = (other, one) if number <= at else (one, other)
            one, at = better.with_(worse), min(at, number)
        left.insert(at, one)
        boxes.insert(at, one.box, one.density)
    return left


def _without_overlaps(placed: Sequence[_Placed]) -> list[_Placed]:
    """Boxes without what better ones cover, as far as boxes are left."""
    left: list[_Placed] = []
    boxes = Boxes()
    for one in placed:
        box: Box | None = one.box
        for number in boxes.meeting(one.box):
            box = None if box is None else box.without(left[number].box)
        if box is not None:
            left.append(replace(one, box=box))
            boxes.insert(len(left) - 1, box)
    return left


def _region(maps: Maps, placed: _Placed, number: int, options: RegionOptions) -> Region:
    one, box = placed.candidate, placed.box
    dwell, weakest = _dwell(maps, one, options)
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
        step=_step(maps, box, options),
        dwell_s=dwell,
    )
    return region.with_patch(placed.patch)


def _reason(one: _Candidate, box: Box, others: int, rank: Rank, weakest: str) -> str:
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


def _step(maps: Maps, box: Box, options: RegionOptions) -> tuple[float, float]:
    if options.step is not None:
        return pair(options.step)
    if options.beam is not None:
        beam = pair(options.beam)
        return 0.5 * beam[0], 0.5 * beam[1]
    sides = [side[1] - side[0] for side in (box.x, box.y)]
    step = min(side for side in sides if side > 0.0) / options.points_across if max(sides) > 0.0 else math.inf
    return min(step, 0.5 * maps.pixel[0]), min(step, 0.5 * maps.pixel[1])


def _dwell(maps: Maps, one: _Candidate, options: RegionOptions) -> tuple[float | None, str]:
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


def _that_matter(one: _Candidate, options: RegionOptions) -> list[str]:
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
