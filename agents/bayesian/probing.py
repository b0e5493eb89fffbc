"""Probes around the start, motor by motor, which extend further until an outcome responds.

Each motor is probed twice: one step to one side, then another step in the same direction if the first was better, else
one to the other side. Until an outcome responds, each motor is probed four times and further away: there is no slope to
follow, and a search along the motors finds a signal most quickly.

Of many motors most may not matter, and then two probes of each tell the model little: it infers from points in general
position which ones matter. So the sequence ends as soon as half of the motors, of the first three at least, have shown
nothing.

A discrete variable is probed at allowed values that are new: the one whose distance is nearest to the step. If none is
left, its remaining probes are left out. If its values have no order, there is no side to step to: as many of its other
values are probed as the model needs to see how much they differ.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from ebl_autonomy.space import ROUNDING, FloatArray

__all__ = ["ProbeSequence", "first_signal"]

FAR_STEPS: Final = (0.15, 0.32)
"""Far steps, as shares of the domain; they do not miss a beam whose acceptance is a fifth of a motor's range."""
CATEGORIES: Final = 5
"""The largest number of values of a variable without order that are probed: all others of a small wheel."""
MANY: Final = 8
"""Of more motors than this, the probes may end early."""
LEAST_PROBED: Final = 3
"""Number of motors that are probed at least."""
SILENT: Final = 0.05
"""A motor has shown nothing if its probes change the merit by less than this share of the range of all merits."""
DISTINCT: Final = 4.0
"""Difference between two values, in standard deviations, that counts as a response."""


def first_signal(values: FloatArray, std: FloatArray) -> int:
    """Number of results until an outcome responded; n + 1 without a response.

    Parameters
    ----------
    values : FloatArray, shape (n,)
        Values of the outcome; NaN for an invalid measurement. One valid and one invalid value are a response too.
    std : FloatArray, shape (n,)
        Standard deviations of the values; NaN if unknown, in which case any difference counts as a response.
    """
    least = most = None
    invalid = False
    for k, (value, s) in enumerate(zip(values, np.nan_to_num(std), strict=True)):
        if np.isnan(value):
            invalid = True
        else:
            least = (value, s) if least is None or value + s < sum(least) else least
            most = (value, s) if most is None or value - s > most[0] - most[1] else most
        if least is not None and most is not None:
            differ = most[0] - least[0] > DISTINCT * np.hypot(most[1], least[1])
            if differ or invalid:
                return k + 1
    return len(values) + 1


class ProbeSequence:
    """The probes of one search, replayed over the present results.

    Parameters
    ----------
    points : FloatArray, shape (n, d)
        Points of the results in searched coordinates, in order; the first is the start.
    merits : sequence of float
        Merit of each result, more is better; NaN if invalid.
    seen_at : int
        Number of results until a response; see `first_signal`.
    step : float
        Step of the probes after a response, as a share of the domain.
    ladders : mapping of int to FloatArray, optional
        The allowed coordinates of each discrete variable, by axis.
    longest : float
        Largest step along a discrete variable, as a share of the domain. If it is finite, a variable without order is
        not probed, because its values are not near each other.
    unordered : collection of int
        The axes of discrete variables whose values have no order.
    first : int
        Number of the proposal that is the first probe.
    every : int
        Until an outcome responds, one of so many proposals is a probe.
    """

    def __init__(
        self,
        points: FloatArray,
        merits: Sequence[float] | FloatArray,
        seen_at: int,
        step: float,
        ladders: Mapping[int, FloatArray] | None = None,
        longest: float = np.inf,
        unordered: Collection[int] = (),
        *,
        first: int = 1,
        every: int = 1,
    ) -> None:
        self._points = points
        self._merits = np.array(merits, dtype=float)
        self._seen_at = seen_at
        self._step = step
        self._ladders = ladders or {}
        self._longest = longest
        self._first, self._every = first, every
        self._unordered = frozenset(unordered)

    def point(self, number: int, start: FloatArray) -> FloatArray | None:
        """The point of proposal `number` (the start is number 0), shape (d,); None after the end of the sequence."""
        return next((point for other, point in self._replay(start) if other == number), None)

    def end(self, known: int, start: FloatArray) -> int:
        """Number of the first proposal after the sequence; `known` if the sequence is longer than `known` proposals."""
        last = self._first - 1
        for number, _ in self._replay(start):
            if number >= known:
                return known
            last = number
        return last + 1

    def _replay(self, start: FloatArray) -> Iterator[tuple[int, FloatArray]]:
        """All proposals after the start; a probe without a result counts as not better."""
        number = self._next(self._first - 1)
        silent: list[bool] = []
        for axis in range(len(start)):
            if len(start) > MANY and len(silent) >= LEAST_PROBED and 2 * sum(silent) >= len(silent):
                return
            if axis in self._unordered:
                for point in self._others(number, axis, start):
                    yield number, point
                    number = self._next(number)
                continue
            tried = list[float]()
            at = list[float]()
            first = number
            while len(tried) < (2 if self._has_seen(number) and tried else 2 * len(FAR_STEPS)):
                probe = self._probe(number, axis, tried, at, start)
                if probe is None:
                    break
                point, signed = probe
                yield number, point
                number = self._next(number)
                tried.append(signed)
                at.append(float(point[axis]))
            silent.append(self._was_silent(first, number))

    def _was_silent(self, first: int, stop: int) -> bool:
        """Whether the probes from `first` to `stop` have shown nothing; not before all their results are known."""
        if stop > len(self._merits) or not self._has_seen(first) or first == stop:
            return False
        base, probes = np.nanmax(self._merits[:first], initial=-np.inf), self._merits[first:stop]
        span = np.nanmax(self._merits[:stop], initial=-np.inf) - np.nanmin(self._merits[:stop], initial=np.inf)
        return bool((np.abs(probes - base) < SILENT * span).all())

    def _next(self, number: int) -> int:
        """Number of the next probe after proposal `number`."""
        number += 1
        while not self._has_seen(number) and (number - self._first) % self._every:
            number += 1
        return number

    def _has_seen(self, number: int) -> bool:
        """Whether an outcome had responded when proposal `number` was made."""
        return self._seen_at <= min(number, len(self._points))

    def _base(self, number: int, start: FloatArray) -> FloatArray:
        """The point, shape (d,), from which proposal `number` steps: the best so far, once an outcome has responded."""
        merits = self._merits[: min(number, len(self._points))]
        if not self._has_seen(number) or np.isnan(merits).all():
            return start
        return np.asarray(self._points[int(np.nanargmax(merits))])

    def _others(self, number: int, axis: int, start: FloatArray) -> list[FloatArray]:
        """Points, shape (d,) each, at other values of a variable without order; the first is proposal `number`."""
        if np.isfinite(self._longest):
            return []
        base = self._base(number, start)
        others = [value for value in self._ladders[axis] if abs(value - base[axis]) > ROUNDING]
        points = np.tile(base, (min(len(others), CATEGORIES), 1))
        points[:, axis] = others[: len(points)]
        return list(points)

    def _probe(
        self, number: int, axis: int, tried: list[float], at: list[float], start: FloatArray
    ) -> tuple[FloatArray, float] | None:
        """One probe, shape (d,), and its signed step; None if a discrete variable has no value left to probe.

        `tried` and `at` hold the steps and the coordinates of the motor's earlier probes.
        """
        known = min(number, len(self._points))
        merits = self._merits[:known]
        seen = self._has_seen(number)
        base = self._base(number, start)
        inwards = 1.0 if base[axis] <= 0.5 + ROUNDING else -1.0  # there is always room towards the middle
        if not tried:
            signed = inwards * (self._step if seen else FAR_STEPS[0])
        elif not seen:
            signed = -tried[-1] if len(tried) % 2 else inwards * FAR_STEPS[len(tried) // 2]
        else:
            # A probe without a result counts as not better.
            better = known == number and np.nanargmax(np.nan_to_num(merits, nan=-np.inf)) == number - 1
            signed = np.sign(tried[-1]) * self._step * (1.0 if better else -1.0)
        point = base.copy()
        if axis in self._ladders:
            along = (np.abs(np.delete(self._points[:known] - base, axis, axis=1)) <= ROUNDING).all(axis=1)
            measured = self._points[:known][along, axis]
            value = self._next_value(self._ladders[axis], base[axis], float(signed), [*at, *measured])
            if value is None:
                return None
            point[axis] = value
            return point, float(value - base[axis])
        point[axis] = np.clip(base[axis] + signed, 0.0, 1.0)
        return point, float(signed)

    def _next_value(self, ladder: FloatArray, here: float, signed: float, at: list[float]) -> float | None:
        """The allowed value about a step of `signed` from `here` that is not known; the other way if there is none."""
        known = np.array([here, *at])
        free = ladder[np.abs(ladder[:, None] - known[None, :]).min(axis=1) > ROUNDING]
        free = free[np.abs(free - here) <= self._longest]
        ahead = free[(free - here) * signed > 0.0]
        left = ahead if len(ahead) else free
        return float(left[int(np.argmin(np.abs(np.abs(left - here) - abs(signed))))]) if len(left) else None
