"""The time that moves of motors take, and the order of points that takes the least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ebl_autonomy.scales import FloatArray

__all__ = ["AxisTravel", "Travel"]


@dataclass(frozen=True)
class AxisTravel:
    """The motion profile of one motor: the trapezoidal profile of an EPICS motor record, plus settling.

    Attributes
    ----------
    velocity : float
        In motor units per second; must be positive.
    acceleration_s : float
        Seconds until the motor reaches its velocity.
    settle_s : float
        Seconds of rest after a move.
    backlash : float
        Overshoot of a move in the negative direction (if negative: the positive direction), in motor units; the motor
        then returns by the same distance.
    """

    velocity: float
    acceleration_s: float = 0.0
    settle_s: float = 0.0
    backlash: float = 0.0

    def seconds(self, distance: FloatArray | float) -> FloatArray:
        """Duration of moves by the signed `distance` (motor units), in seconds; an array of the same shape."""
        distance = np.asarray(distance, dtype=float)
        path = np.abs(distance) + np.where(distance * (self.backlash or 1.0) < 0.0, 2.0 * abs(self.backlash), 0.0)
        moving = np.where(
            path >= self.velocity * self.acceleration_s,  # reaches full speed
            path / self.velocity + self.acceleration_s,
            2.0 * np.sqrt(path * self.acceleration_s / self.velocity),
        )
        return np.where(distance == 0.0, 0.0, moving + self.settle_s)


class Travel:
    """Duration of moves from point to point for a set of motors that move at the same time.

    Parameters
    ----------
    axes : mapping of str to AxisTravel
        Motion profiles by motor. The moves of all other motors are assumed to take no time.
    """

    def __init__(self, axes: Mapping[str, AxisTravel]) -> None:
        self.axes = dict(axes)

    def seconds(self, start: Mapping[str, float], stop: Mapping[str, float]) -> float:
        """Seconds until the slowest motor arrives; `start` and `stop` in motor units."""
        times = (axis.seconds(float(stop[name]) - float(start[name])) for name, axis in self.axes.items())
        return float(max(times, default=0.0))

    def seconds_each(self, start: Mapping[str, float], stops: Mapping[str, FloatArray]) -> FloatArray:
        """Seconds from `start` to each of n stops, shape (n,); `stops` holds an array of shape (n,) per motor."""
        times = [axis.seconds(stops[name] - float(start[name])) for name, axis in self.axes.items()]
        count = len(next(iter(stops.values())))
        return np.max(np.stack(times), axis=0) if times else np.zeros(count)

    def order(self, start: Mapping[str, float], points: Sequence[Mapping[str, float]]) -> list[int]:
        """Order in which to visit `points` from `start`: nearest neighbour in seconds, then improved by 2-opt.

        The tour never takes longer than the given order.

        Returns
        -------
        list of int
            A permutation of ``range(len(points))``.
        """
        left = list(range(len(points)))
        route: list[int] = []
        here = start
        while left:
            nearest = min(left, key=lambda i: self.seconds(here, points[i]))
            left.remove(nearest)
            route.append(nearest)
            here = points[nearest]
        return self._improved(start, points, route)

    def _improved(
        self, start: Mapping[str, float], points: Sequence[Mapping[str, float]], route: list[int]
    ) -> list[int]:
        def length(candidate: list[int]) -> float:
            stops = [start, *(points[i] for i in candidate)]
            return sum(self.seconds(a, b) for a, b in pairwise(stops))

        given = list(range(len(points)))
        best = min(route, given, key=length)  # a nearest-neighbour tour can be longer than the given order
        shortest = length(best)
        better = len(route) < 50  # one 2-opt pass computes n^2 tour lengths: too slow for many points
        while better:
            better = False
            for i in range(len(best) - 1):
                for j in range(i + 2, len(best) + 1):
                    candidate = best[:i] + best[i:j][::-1] + best[j:]
                    if (candidate_length := length(candidate)) < shortest - 1e-12:
                        best, shortest, better = candidate, candidate_length, True
        return best
