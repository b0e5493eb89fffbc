"""From a coarse map to a ranked list of regions with suggested fine scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ebl_autonomy.analysis.regions.candidates import allowed_by_rules, by_channel, candidates_of
from ebl_autonomy.analysis.regions.checks import check_names
from ebl_autonomy.analysis.regions.clusters import Population, memberships_of
from ebl_autonomy.analysis.regions.maps import Maps
from ebl_autonomy.analysis.regions.options import RegionOptions, Regions
from ebl_autonomy.analysis.regions.phases import phases_in
from ebl_autonomy.analysis.regions.placing import placed_in_time, placed_whole, region_of
from ebl_autonomy.analysis.regions.ranking import ranked_by
from ebl_autonomy.analysis.regions.scene import Scene
from ebl_autonomy.analysis.regions.segmentation import Segment
from ebl_autonomy.errors import validated
from ebl_autonomy.scales import FloatArray

__all__ = ["feature_table", "find_regions"]


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
    given = by_channel(segments or (), maps.shape)
    segmentations, candidates = candidates_of(maps, chosen, None if segments is None else given)
    if not candidates:
        return Regions((), reason or "; ".join(one.reason for one in segmentations.values()) or "no segments")
    scene = Scene({**{name: one.segments for name, one in segmentations.items()}, **given}, maps.shape, maps.pixel)
    allowed = allowed_by_rules(candidates, scene, chosen)
    if not allowed:
        rules = " nor ".join(f"'{rule}'" for rule in chosen.rules)
        return Regions((), f"{len(candidates)} regions were found, and none satisfies {rules}: loosen the rule")
    tables = [one.features for one in allowed]
    pooled = [*tables, *(table for one in earlier for table in _table_of(one, chosen))]
    population = Population.of(pooled)
    memberships = memberships_of(population, chosen.clusters, chosen.seed)
    ranked = ranked_by(
        [replace(one, memberships=tuple(map(float, row))) for one, row in zip(allowed, memberships, strict=False)],
        population,
        chosen.rank,
    )
    if chosen.time_share is not None:
        placed, reason = placed_in_time(maps, ranked, expected, chosen, measured.typical_s)
    else:
        placed, reason = placed_whole(maps, ranked, chosen, measured.typical_s)
    best = placed[: chosen.max_regions]
    return Regions([region_of(maps, one, number, chosen) for number, one in enumerate(best, 1)], reason)


def feature_table(maps: Maps, options: RegionOptions | Mapping[str, Any] | None = None) -> list[dict[str, float]]:
    """The features of all regions of a map, for the kinds of later ones (``earlier=`` of `find_regions`)."""
    chosen = validated(RegionOptions, options, "options")
    check_names(maps.channels, chosen)
    segments = None
    if chosen.phases is not None:
        segments = by_channel(
            phases_in(maps, maps, chosen.phases, chosen.level, chosen.min_pixels).segments, maps.shape
        )
    _, candidates = candidates_of(maps, chosen, segments)
    return [one.features for one in candidates]


def _on_finer_pixels(options: RegionOptions) -> RegionOptions:
    """The same options where a pixel has become `refine` times smaller."""
    factor = options.refine
    scales = tuple(size * factor + (size * factor + 1) % 2 for size in options.scales)
    return options.model_copy(update={"scales": scales, "min_pixels": options.min_pixels * factor**2, "refine": 1})


def _table_of(one: Maps | Sequence[Mapping[str, float]], options: RegionOptions) -> list[Mapping[str, float]]:
    if isinstance(one, Maps):
        return list(feature_table(one, options))
    return list(one)
