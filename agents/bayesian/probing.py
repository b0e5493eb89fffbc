"""Looking around where the beamline stands, motor by motor, and further if there is nothing to be seen.

A motor is probed twice: one step to a side, and then on in that direction if it was better, else to the other side. As
long as nothing has been seen that differs from anything else, each motor is probed four times, further away: where all
is dark there is no slope to follow, and light is found soonest along the motors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ebl_autonomy.space import FloatArray

__all__ = ["Probing", "first_light"]

DARK_STEPS = (0.15, 0.32)
"""Shares of the domain: a beam whose acceptance is a fifth of a motor's range is not missed between them."""
DISTINCT = 4.0
"""Two values tell of something if they differ by so many standard deviations."""


def first_light(values: FloatArray, std: FloatArray) -> int:
    """How many results it took until something was seen; more than there are, if nothing has been.

    Parameters
    ----------
    values : FloatArray, shape (n,)
        Of the objective; NaN where the measurement was invalid.
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


class Probing:
    """The first phase of a search, replayed over the results there are.

    Parameters
    ----------
    points : FloatArray, shape (n, d)
        Results in the unit cube, in order; the first is where the beamline stood.
    merits : sequence of float
        One per result, more is better; NaN where invalid.
    light : int
        See `first_light`.
    step : float
        Share of the domain, for probes where there is something to see.
    """

    def __init__(self, points: FloatArray, merits: Sequence[float] | FloatArray, light: int, step: float) -> None:
        self._points = points
        self._merits = np.array(merits, dtype=float)
        self._light = light
        self._step = step

    def next(self, made: int, start: FloatArray) -> FloatArray | None:
        """The point of proposal number `made` (the start is number 0), shape (d,); None if looking around is over."""
        return next((point for number, point in self._replay(start) if number == made), None)

    def over(self, made: int, start: FloatArray) -> int:
        """How many of the first `made` proposals belong to this phase."""
        for number, _ in self._replay(start):
            if number >= made:
                return made
        return number + 1

    def _replay(self, start: FloatArray) -> Iterator[tuple[int, FloatArray]]:
        """All proposals after the start, as far as the results go, and beyond them as if none were better."""
        number = 0
        for axis in range(len(start)):
            tried = list[float]()
            while len(tried) < (2 if self._sees(number + 1) and tried else 2 * len(DARK_STEPS)):
                number += 1
                point, signed = self._probe(number, axis, tried, start)
                yield number, point
                tried.append(signed)

    def _sees(self, number: int) -> bool:
        """Whether something had been seen when proposal `number` was made."""
        return self._light <= min(number, len(self._points))

    def _probe(self, number: int, axis: int, tried: list[float], start: FloatArray) -> tuple[FloatArray, float]:
        known = min(number, len(self._points))
        merits = self._merits[:known]
        seen = self._sees(number)
        base = start
        if seen and known and not np.isnan(merits).all():
            base = self._points[int(np.nanargmax(merits))]
        inwards = 1.0 if base[axis] <= 0.5 else -1.0  # towards the middle there is always room
        if not tried:
            signed = inwards * (self._step if seen else DARK_STEPS[0])
        elif not seen:
            signed = -tried[-1] if len(tried) % 2 else inwards * DARK_STEPS[len(tried) // 2]
        else:
            # Only a result can have been better: a probe whose result is not known yet counts as no better.
            better = known == number and np.nanargmax(np.nan_to_num(merits, nan=-np.inf)) == number - 1
            signed = np.sign(tried[-1]) * self._step * (1.0 if better else -1.0)
        point = base.copy()
        point[axis] = np.clip(base[axis] + signed, 0.0, 1.0)
        return point, float(signed)
