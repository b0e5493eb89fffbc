"""Which segments of a map may become regions, with their features and confidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ebl_autonomy.analysis.regions.evidence import Evidence
from ebl_autonomy.analysis.regions.features import features_of
from ebl_autonomy.analysis.regions.maps import Maps
from ebl_autonomy.analysis.regions.options import RegionOptions
from ebl_autonomy.analysis.regions.patches import Patch, Windows
from ebl_autonomy.analysis.regions.rules import Rule
from ebl_autonomy.analysis.regions.scene import Scene
from ebl_autonomy.analysis.regions.segmentation import Segment, Segmentation, segment, segment_together
from ebl_autonomy.errors import BadInputError

__all__ = ["Candidate", "allowed_by_rules", "by_channel", "candidates_of"]


@dataclass(frozen=True)
class Candidate:
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


def by_channel(segments: Sequence[Segment], shape: tuple[int, int]) -> dict[str, list[Segment]]:
    found: dict[str, list[Segment]] = {}
    for one in segments:
        if one.patch.shape != shape:
            raise BadInputError(
                f"a segment of {one.channel!r} has a mask of shape {one.patch.shape}: give a bool array of {shape}"
            )
        found.setdefault(one.channel, []).append(one)
    return found


def candidates_of(
    maps: Maps, options: RegionOptions, given: Mapping[str, Sequence[Segment]] | None = None
) -> tuple[dict[str, Segmentation], list[Candidate]]:
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
    candidates = [Candidate(part, features_of(maps, evidence, part.patch, free), part.confidence) for part in segments]
    return segmentations, candidates


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


def allowed_by_rules(candidates: list[Candidate], scene: Scene, options: RegionOptions) -> list[Candidate]:
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
