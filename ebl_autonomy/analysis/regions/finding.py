"""From a coarse map to a ranked list of regions with suggested fine scans."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from ebl_autonomy.analysis.regions.boxes import Box, box_around, clipped, parts_of
from ebl_autonomy.analysis.regions.clusters import Population, memberships_of
from ebl_autonomy.analysis.regions.evidence import Evidence
from ebl_autonomy.analysis.regions.features import features_of
from ebl_autonomy.analysis.regions.maps import Maps
from ebl_autonomy.analysis.regions.options import Rank, Region, RegionOptions, Regions, pair
from ebl_autonomy.analysis.regions.rules import Feature, Rule
from ebl_autonomy.analysis.regions.scene import Scene
from ebl_autonomy.analysis.regions.segmentation import Segment, Segmentation, segment, segment_together
from ebl_autonomy.errors import BadInputError, unknown_text, validated
from ebl_autonomy.scales import FloatArray

__all__ = ["feature_table", "find_regions"]

NEIGHBOURS: Final = 3
"""Number of similar regions that a rare one is far from."""
SAVING: Final = 0.1
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
    def mask(self) -> np.ndarray:
        return self.segment.mask


def find_regions(
    maps: Maps,
    options: RegionOptions | Mapping[str, Any] | None = None,
    *,
    earlier: Sequence[Maps | Sequence[Mapping[str, float]]] = (),
) -> Regions:
    """The regions of a map that are worth a fine scan, the best first.

    Rates are counts per live second at the median I0. Each channel is segmented (see `segment`), the rules choose among
    the segments, features and soft memberships follow, and `rank` orders what is left.

    Parameters
    ----------
    maps : Maps
    options : RegionOptions or mapping, optional
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
    _check_names(maps, chosen)
    segmentations, candidates = _candidates(maps, chosen)
    if not candidates:
        return Regions((), "; ".join(one.reason for one in segmentations.values() if one.reason))
    scene = Scene({name: one.segments for name, one in segmentations.items()}, maps.shape, maps.pixel)
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
    regions, outside = _with_boxes(maps, ranked, chosen)
    reason = "" if not outside else f"{outside} regions lie outside of the limits of the stage and were left out"
    return Regions(regions[: chosen.max_regions], reason)


def feature_table(maps: Maps, options: RegionOptions | Mapping[str, Any] | None = None) -> list[dict[str, float]]:
    """The features of all regions of a map, for the kinds of later ones (``earlier=`` of `find_regions`)."""
    chosen = validated(RegionOptions, options, "options")
    _, candidates = _candidates(maps, chosen)
    return [one.features for one in candidates]


def _check_names(maps: Maps, options: RegionOptions) -> None:
    known = set(maps.channels)
    named: dict[str, Iterable[str]] = {
        "options.channels": options.channels or (),
        "options.dwell_channels": options.dwell_channels or (),
        "options.rules": [name for rule in options.rules for name in rule.channels],
        "options.rank": (options.rank.of or "").split("/") if options.rank.by == "ratio" else (),
    }
    for key, names in named.items():
        for name in names:
            if name not in known:
                raise BadInputError(f"{key}: channel {name!r} is {unknown_text(name, sorted(known), 'channels')}")


def _segmented(maps: Maps, channel: str, options: RegionOptions) -> Segmentation:
    return segment(
        maps,
        channel,
        scales=options.scales,
        false_alarms=options.false_alarms,
        level=options.level,
        min_pixels=options.min_pixels,
        min_confidence=options.min_confidence,
        saturation=options.saturation,
    )


def _candidates(maps: Maps, options: RegionOptions) -> tuple[dict[str, Segmentation], list[_Candidate]]:
    """The segmentation of every channel that matters, and the segments to choose from."""
    wanted = list(options.channels or maps.channels)
    subjects = [rule.subject for rule in options.rules]
    needed = dict.fromkeys([*wanted, *(name for rule in options.rules for name in rule.channels)])
    evidence = {name: Evidence.of(maps, name) for name in maps.channels}
    segmentations = {name: _segmented(maps, name, options) for name in needed}
    if options.together and not options.rules:
        segments = segment_together([segmentations[name] for name in wanted])
    else:
        chosen = dict.fromkeys(subjects or wanted)
        segments = tuple(part for name in chosen for part in segmentations[name].segments)
        segments = _merged(segments, options.merge) if not options.rules else segments
    taken = {
        name: segmentations[name].mask if name in segmentations else np.zeros(maps.shape, dtype=bool)
        for name in maps.channels
    }
    candidates = []
    for part in segments:
        features = features_of(maps, evidence, part.mask, taken)
        candidates.append(_Candidate(part, features, part.confidence))
    return segmentations, candidates


def _merged(segments: Sequence[Segment], share: float) -> tuple[Segment, ...]:
    """Segments of several channels that are the same thing, as one."""
    merged: list[Segment] = []
    for new in segments:
        one = new
        again = True
        while again:
            again = False
            for i, other in enumerate(merged):
                common = float((one.mask & other.mask).sum())
                if common >= share * max(one.mask.sum(), other.mask.sum()):
                    names = dict.fromkeys([*other.channel.split("+"), *one.channel.split("+")])
                    one = Segment("+".join(names), one.mask | other.mask, max(one.confidence, other.confidence))
                    del merged[i]
                    again = True
                    break
        merged.append(one)
    return tuple(merged)


def _allowed(candidates: list[_Candidate], scene: Scene, options: RegionOptions) -> list[_Candidate]:
    """The candidates for which a rule holds, each with the rule that holds most surely."""
    if not options.rules:
        return candidates
    allowed = []
    for one in candidates:
        found = []
        for rule in options.rules:
            if rule.subject == one.segment.channel:
                verdict = scene.judge(rule, one.mask, one.features)
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
    if rank.by == "ratio":
        if rank.of not in features:  # not measured here
            return replace(one, score=-math.inf if not rank.ascending else math.inf, confidence=0.0)
        std = features[f"{rank.of}_std"] * (-1.0 if rank.ascending else 1.0)
        return replace(one, score=features[str(rank.of)] - std)
    if rank.by == "feature":
        if rank.of not in features:
            raise BadInputError(
                f"options.rank: feature {rank.of!r}: {unknown_text(rank.of, sorted(features), 'features')}"
            )
        return replace(one, score=features[str(rank.of)])
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


def _with_boxes(maps: Maps, ranked: list[_Candidate], options: RegionOptions) -> tuple[list[Region], int]:
    """The regions with their boxes, and how many lie outside of the limits."""
    margin = pair(options.margin) if options.margin is not None else (0.5 * maps.pixel[0], 0.5 * maps.pixel[1])
    padding = (margin[0] / maps.pixel[0], margin[1] / maps.pixel[1])
    placed: list[tuple[_Candidate, np.ndarray, Box]] = []
    outside = 0
    for one in ranked:
        masks = parts_of(one.mask, padding, SAVING, options.parts) if options.parts > 1 else [one.mask]
        boxes = [clipped(box_around(maps, mask, margin), options.limits.x, options.limits.y) for mask in masks]
        outside += all(box is None for box in boxes)
        placed += [(one, mask, box) for mask, box in zip(masks, boxes, strict=True) if box is not None]
    regions = []
    for number, (one, mask, box, others) in enumerate(_without_doubles(placed), 1):
        regions.append(_region(maps, one, mask, box, others, number, options))
    return regions, outside


def _without_doubles(
    placed: list[tuple[_Candidate, np.ndarray, Box]],
) -> list[tuple[_Candidate, np.ndarray, Box, int]]:
    """Overlapping boxes as one, where one box is no more to measure than the two; in the order of the better."""
    left: list[tuple[_Candidate, np.ndarray, Box, int]] = []
    for one, mask, box in placed:
        now = (one, mask, box, 0)
        again = True
        while again:
            again = False
            for i, (better, other_mask, other, more) in enumerate(left):
                if box.meets(other) and box.joined(other).area <= (1.0 + 1e-9) * (box.area + other.area):
                    box = box.joined(other)
                    now = (better, now[1] | other_mask, box, more + now[3] + (better is not now[0]))
                    del left[i]
                    # The merged one takes the better one's place.
                    left.insert(i, now)
                    if _meets_another(left, i):
                        del left[i]
                        again = True
                    break
            else:
                left.append(now)
    return left


def _meets_another(left: list[tuple[_Candidate, np.ndarray, Box, int]], i: int) -> bool:
    box = left[i][2]
    return any(
        box.meets(other) and box.joined(other).area <= (1.0 + 1e-9) * (box.area + other.area)
        for k, (_, _, other, _) in enumerate(left)
        if k != i
    )


def _region(
    maps: Maps, one: _Candidate, mask: np.ndarray, box: Box, others: int, number: int, options: RegionOptions
) -> Region:
    memberships = np.array(one.memberships)
    dwell, weakest = _dwell(maps, one, options)
    region = Region(
        label=f"{one.segment.channel} {number}",
        channel=one.segment.channel,
        x=box.x,
        y=box.y,
        clipped=box.clipped,
        area=one.features["area"],
        pixels=int(one.features["pixels"]),
        features=one.features,
        cluster=int(np.argmax(memberships)),
        memberships=one.memberships,
        confidence=one.confidence,
        score=one.score,
        reason=_reason(one, box, others, options.rank, weakest),
        step=_step(maps, box, options),
        dwell_s=dwell,
    )
    return region.with_mask(mask)


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
    return min(step, maps.pixel[0]), min(step, maps.pixel[1])


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
    names = one.segment.channel.split("+")
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
