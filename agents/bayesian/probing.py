"""The probes around the start, motor by motor, and further out where nothing has responded yet.

A motor is probed twice: one step to a side, and then on in that direction if it was better, else to the other side. As
long as no outcome has responded to anything, each motor is probed four times, further away: there is no slope to follow
yet, and a signal is found soonest along the motors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from ebl_autonomy.space import FloatArray

__all__ = ["ProbeSequence", "first_signal"]

FAR_STEPS: Final = (0.15, 0.32)
"""Shares of the domain: a beam whose acceptance is a fifth of a motor's range is not missed between them."""
DISTINCT: Final = 4.0
"""How many standard deviations two values must differ by to be different."""


def first_signal(values: FloatArray, std: FloatArray) -> int:
    """How many results it took until an outcome responded; more than there are, if it has not.

    Parameters
    ----------
    values : FloatArray, shape (n,)
        Of the outcome; NaN where the measurement was invalid. A valid one beside an invalid one is a response too.
    std : FloatArray, shape (n,)
        Their standard deviations; NaN where unknown: then any difference counts.
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
    """The probes of one search, replayed over the results there are.

    Parameters
    ----------
    points : FloatArray, shape (n, d)
        Results in the unit cube, in order; the first is where the beamline stood.
    merits : sequence of float
        One per result, more is better; NaN where invalid.
    seen_at : int
        How many results it took to see a response: see `first_signal`.
    step : float
        Share of the domain, for probes where there is a response.
    """

    def __init__(self, points: FloatArray, merits: Sequence[float] | FloatArray, seen_at: int, step: float) -> None:
        self._points = points
        self._merits = np.array(merits, dtype=float)
        self._seen_at = seen_at
        self._step = step

    def point(self, number: int, start: FloatArray) -> FloatArray | None:
        """The point of proposal `number` (the start is number 0), shape (d,); None if the sequence is over by then."""
        return next((point for other, point in self._replay(start) if other == number), None)

    def end(self, known: int, start: FloatArray) -> int:
        """The number of the first proposal after the sequence; `known` if it is not over by then."""
        for number, _ in self._replay(start):
            if number >= known:
                return known
        return number + 1

    def _replay(self, start: FloatArray) -> Iterator[tuple[int, FloatArray]]:
        """All proposals after the start, as far as the results go, and beyond them as if none were better."""
        number = 0
        for axis in range(len(start)):
            tried = list[float]()
            while len(tried) < (2 if self._has_seen(number + 1) and tried else 2 * len(FAR_STEPS)):
                number += 1
                point, signed = self._probe(number, axis, tried, start)
                yield number, point
                tried.append(signed)

    def _has_seen(self, number: int) -> bool:
        """Whether there had been a response when proposal `number` was made."""
        return self._seen_at <= min(number, len(self._points))

    def _probe(self, number: int, axis: int, tried: list[float], start: FloatArray) -> tuple[FloatArray, float]:
        """One probe, shape (d,), and its signed step; `tried` are the steps of the motor's probes before it."""
        known = min(number, len(self._points))
        merits = self._merits[:known]
        seen = self._has_seen(number)
        base = start
        if seen and known and not np.isnan(merits).all():
            base = self._points[int(np.nanargmax(merits))]
        inwards = 1.0 if base[axis] <= 0.5 else -1.0  # towards the middle there is always room
        if not tried:
            signed = inwards * (self._step if seen else FAR_STEPS[0])
        elif not seen:
            signed = -tried[-1] if len(tried) % 2 else inwards * FAR_STEPS[len(tried) // 2]
        else:
            # Only a result can have been better: a probe whose result is not known yet counts as no better.
            better = known == number and np.nanargmax(np.nan_to_num(merits, nan=-np.inf)) == number - 1
            signed = np.sign(tried[-1]) * self._step * (1.0 if better else -1.0)
        point = base.copy()
        point[axis] = np.clip(base[axis] + signed, 0.0, 1.0)
        return point, float(signed)
