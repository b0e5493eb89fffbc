"""Options of regions that are refused before anything is measured."""

from __future__ import annotations

from collections.abc import Iterable

from ebl_autonomy.analysis.regions.boxes import Interval
from ebl_autonomy.analysis.regions.features import feature_names
from ebl_autonomy.analysis.regions.options import Region, RegionOptions, pair
from ebl_autonomy.analysis.regions.rules import Feature
from ebl_autonomy.errors import BadInputError, unknown_text

__all__ = ["check_margin", "check_names"]


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
        for name in ("area", "eccentricity"):
            if name not in given:
                raise BadInputError(f"options.rank.to: the example lacks the feature {name!r}: give those of a region")
        if not any(f"{one}_net" in given for one in known):
            raise BadInputError(
                f"options.rank.to: the example has none of the channels {known}: give a region of these"
            )
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
