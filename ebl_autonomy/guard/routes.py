"""The way to a target: straight if that is allowed, else around the forbidden regions, in steps that are short enough.

The whole way is planned and judged before the first step, so that motors are never left half-way by a refusal.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from ebl_autonomy.guard.envelope import Interval, Region

__all__ = ["detour", "waypoints"]

Point = dict[str, float]

CLEARANCE: Final = 0.1
"""Distance that a way around a region keeps from it, as a share of the region's width; less in a narrow passage."""
MOST_CORNERS: Final = 20_000
"""Number of corners of possible ways beyond which no way is searched for."""


def waypoints(start: Mapping[str, float], stop: Mapping[str, float], max_step: Mapping[str, float]) -> list[Point]:
    """Points on the straight path from `start` (excluded) to `stop` (included), at most `max_step` apart."""
    distances = [abs(stop[name] - start[name]) / most for name, most in max_step.items() if name in stop]
    steps = max([1, *(math.ceil(share * (1.0 - 1e-9)) for share in distances)])
    way = [{name: start[name] + (stop[name] - start[name]) * k / steps for name in stop} for k in range(1, steps)]
    return [*way, dict(stop)]


def detour(
    here: Mapping[str, float],
    goal: Mapping[str, float],
    regions: Sequence[Region],
    limits: Mapping[str, Interval],
    values: Mapping[str, Collection[float]],
    is_clear: Callable[[Point, Point], bool],
) -> list[Point] | None:
    """The corners of a short way around `regions`, the goal included; None if there is no way.

    The corners lie on a grid just outside the regions' faces. Between two corners one motor moves at a time, or
    several if the box around both corners is clear. Dijkstra's algorithm (Numer. Math. 1, 269, 1959) finds the way
    with the least travel in units of each motor's range of corners.

    Parameters
    ----------
    here, goal : mapping of str to float
        Positions, in motor units. Only the motors of `goal` move.
    regions : sequence of Region
    limits : mapping of str to (low, high)
        The motors' limits, in motor units; an open side is infinite.
    values : mapping of str to collection of float
        The values of motors that may stop nowhere else.
    is_clear : callable
        Whether the motors may move from one point to another.
    """
    names = [name for name in goal if any(name in region.box for region in regions)]
    axes = {
        name: sorted({here[name], goal[name], *(values.get(name) or _beside(name, regions, limits[name]))})
        for name in names
    }
    if math.prod(len(values) for values in axes.values()) > MOST_CORNERS:
        return None
    still = {name: value for name, value in here.items() if name not in names}

    def point(corner: Iterable[int]) -> Point:
        return {**still, **{name: axes[name][i] for name, i in zip(names, corner, strict=True)}}

    spans = [max(axes[name]) - min(axes[name]) or 1.0 for name in names]
    first = tuple(axes[name].index(here[name]) for name in names)
    last = tuple(axes[name].index(goal[name]) for name in names)
    if first == last:
        return None  # the motors stand in a region, or only a motor that no region names is in the way
    came_from: dict[tuple[int, ...], tuple[int, ...]] = {}
    cost = {first: 0.0}
    done: set[tuple[int, ...]] = set()
    order = itertools.count()
    queue = [(0.0, next(order), first)]
    while queue:
        spent, _, corner = heapq.heappop(queue)
        if corner == last:
            break
        if corner in done:
            continue
        done.add(corner)
        for k, name in enumerate(names):
            for i in (corner[k] - 1, corner[k] + 1):
                if not 0 <= i < len(axes[name]):
                    continue
                other = (*corner[:k], i, *corner[k + 1 :])
                total = spent + abs(axes[name][i] - axes[name][corner[k]]) / spans[k]
                if other not in done and total < cost.get(other, math.inf) and is_clear(point(corner), point(other)):
                    cost[other], came_from[other] = total, corner
                    heapq.heappush(queue, (total, next(order), other))
    else:
        return None
    way = [last]
    while way[-1] != first:
        way.append(came_from[way[-1]])
    corners = _straightened([dict(here), *(point(corner) for corner in reversed(way[:-1]))], is_clear)
    rest = {name: goal[name] for name in goal if name not in names}  # motors that no region names go last
    legs = [{name: corner[name] for name in names} for corner in corners]
    return [*legs, {**legs[-1], **rest}] if rest else legs


def _beside(name: str, regions: Sequence[Region], limit: Interval) -> set[float]:
    """Positions of one motor just outside the regions, within its limits."""
    boxes = [region.box[name] for region in regions if name in region.box]
    edges = {edge for box in boxes for edge in box} | {end for end in limit if math.isfinite(end)}
    found = set()
    for low, high in boxes:
        width = high - low
        if not 0.0 < width < math.inf:  # of a plane, or of a box with an open side
            width = max(1.0, *(abs(edge) for edge in (low, high) if math.isfinite(edge)), 0.0)
        away = CLEARANCE * width
        below = max((edge for edge in edges if edge < low), default=-math.inf)
        above = min((edge for edge in edges if edge > high), default=math.inf)
        found |= {low - min(away, 0.5 * (low - below)), high + min(away, 0.5 * (above - high))}
    return {value for value in found if math.isfinite(value) and limit[0] <= value <= limit[1]}


def _straightened(corners: Sequence[Point], is_clear: Callable[[Point, Point], bool]) -> list[Point]:
    """The corners without those that can be cut, the first one (the start) excluded."""
    kept, i = [], 0
    while i < len(corners) - 1:
        i = next(k for k in range(len(corners) - 1, i, -1) if k == i + 1 or is_clear(corners[i], corners[k]))
        kept.append(corners[i])
    return kept
