"""Points in, and ways through, a forbidden region."""

from __future__ import annotations

from collections.abc import Mapping

from ebl_autonomy.errors import RefusedError
from ebl_autonomy.guard.envelope import Region

__all__ = ["because", "check_inside", "check_straight", "check_sweep", "named"]


def check_inside(region: Region, target: Mapping[str, float]) -> None:
    """Refuse a point in `region`."""
    if region.contains(target):
        raise RefusedError(
            "forbidden",
            f"{named(region, target)} lies in the forbidden region {region.box}{because(region)}",
        )


def check_sweep(region: Region, here: Mapping[str, float], target: Mapping[str, float]) -> None:
    """Refuse a move whose bounding box meets `region`: motors at different speeds may pass anywhere in that box."""
    if all(
        name in target
        and min(target[name], here.get(name, target[name])) <= high
        and max(target[name], here.get(name, target[name])) >= low
        for name, (low, high) in region.box.items()
    ):
        raise RefusedError(
            "forbidden",
            f"the way to {named(region, target)} may cross the region {region.box}{because(region)}",
        )


def check_straight(region: Region, start: Mapping[str, float], stop: Mapping[str, float]) -> None:
    """Refuse a straight line through `region`: it crosses if the times at which each axis is inside overlap."""
    enter, leave = 0.0, 1.0
    for name, (low, high) in region.box.items():
        if name not in start:
            return
        begin, span = start[name], stop[name] - start[name]
        if span == 0.0:
            if not low <= begin <= high:
                return
            continue
        times = sorted(((low - begin) / span, (high - begin) / span))
        enter, leave = max(enter, times[0]), min(leave, times[1])
    if enter <= leave:
        raise RefusedError(
            "forbidden",
            f"the line from {named(region, start)} to {named(region, stop)} crosses the region "
            f"{region.box}{because(region)}",
        )


def named(region: Region, point: Mapping[str, float]) -> dict[str, float]:
    """The coordinates of a point that `region` names."""
    return {name: point[name] for name in region.box}


def because(region: Region) -> str:
    """The reason that the user gave for `region`, in parentheses."""
    return f" ({region.reason})" if region.reason else ""
