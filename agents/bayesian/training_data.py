"""Results and past experiments in the form that a model takes, and the inputs of points to measure now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from ebl_autonomy.agents.bayesian.coordinates import Coordinates
from ebl_autonomy.agents.bayesian.result_table import ResultTable
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import FloatArray, Space
from ebl_autonomy.surrogates.base import InputLayout, Observations

__all__ = ["CLOCK_UNIT", "TrainingData"]

CLOCK_UNIT: Final = 50.0
"""The clock's unit, in measurements."""
MOST_PASTS: Final = 6
"""Each past is one more input of the model, and its points are rows."""
PAST_POINTS: Final = 150
"""How many points of a past experiment are taken: the best half, and others evenly from the rest."""


class TrainingData:
    """Results by columns, with what a model knows beside the motors.

    Parameters
    ----------
    space : Space
    outcomes : sequence of str
        Which outcomes are modelled, in the order of the columns of Y.
    coordinates : Coordinates
    timed : bool
        Whether when a point was measured is one of the inputs.
    clock : str, optional
        The outcome that is the time, in any unit; without it measurements are counted.
    """

    def __init__(
        self, space: Space, outcomes: Sequence[str], coordinates: Coordinates, timed: bool, clock: str | None
    ) -> None:
        self._space, self._coordinates, self._timed = space, coordinates, timed
        self._outcomes = list(outcomes)
        self._extra = [clock] if timed and clock else []
        self.table = ResultTable(space, self._outcomes, self._extra)
        """The present."""
        self.pasts: dict[str, Observations] = {}
        """Past experiments by label, their X holding searched coordinates and context in its own units."""

    @property
    def inputs(self) -> InputLayout:
        """What the columns of X are."""
        return InputLayout(self._space.dim, len(self._space.context), self._timed, len(self.pasts))

    @property
    def searched(self) -> FloatArray:
        """Where the present results were measured, in searched coordinates, shape (n, d)."""
        return self._coordinates.search(self.table.unit)

    def add_past(self, label: str, results: Sequence[Mapping[str, Any]], merits: FloatArray) -> None:
        """Take a past experiment; `merits`, shape (n,), say which of its points are worth most.

        Raises
        ------
        BadInputError
            If there are too many already, or one of that label.
        """
        if label in self.pasts:
            raise BadInputError(f"the past experiment {label!r} is known already: give another one another label")
        if len(self.pasts) >= MOST_PASTS:
            raise BadInputError(
                f"{label!r} would be past experiment number {len(self.pasts) + 1}: give the {MOST_PASTS} that are most "
                "like the present one"
            )
        table = ResultTable(self._space, self._outcomes, self._extra)
        table.extend(results)
        rows = _worth_keeping(merits)
        known = np.hstack([self._coordinates.search(table.unit), table.context])
        self.pasts[label] = Observations(known[rows], table.Y[rows], table.std[rows] ** 2)

    def observations(self, count: int, scaled_at: int) -> Observations:
        """Past experiments, and the first `count` results, as they would be if there were no more.

        Context and time are scaled as the first `scaled_at` results were: a model whose inputs change with every result
        would have to be made anew for each.
        """
        pasts, table, d = list(self.pasts.values()), self.table, self._space.dim
        own, scale = slice(count), self._context_scale(count, scaled_at)
        blocks = [self._rows(p.X[:, :d], p.X[:, d:], np.zeros(len(p.X)), i, scale) for i, p in enumerate(pasts)]
        blocks.append(self._rows(self.searched[own], table.context[own], self._times(count, scaled_at), None, scale))
        return Observations(
            np.vstack(blocks),
            np.vstack([*(past.Y for past in pasts), table.Y[own]]),
            np.vstack([*(past.Yvar for past in pasts), table.std[own] ** 2]),
            sum(len(past.X) for past in pasts),
        )

    def inputs_now(self, searched: FloatArray, context: FloatArray, scaled_at: int) -> FloatArray:
        """Model inputs of points to measure now, from searched coordinates, (n, d), and context, (c,) or (n, c)."""
        n, known = len(searched), len(self.table)
        context = np.broadcast_to(context, (n, len(self._space.context)))
        scale = self._context_scale(known, scaled_at)
        return self._rows(searched, context, np.full(n, self._time(scaled_at)), None, scale)

    def given_inputs(self, context: FloatArray, scaled_at: int) -> dict[int, float]:
        """The inputs that are not chosen for a measurement now, by column."""
        row = self.inputs_now(np.zeros((1, self._space.dim)), context, scaled_at)[0]
        return {i: float(row[i]) for i in range(self._space.dim, len(row))}

    def _rows(
        self,
        searched: FloatArray,
        context: FloatArray,
        times: FloatArray,
        past: int | None,
        scale: tuple[FloatArray, FloatArray],
    ) -> FloatArray:
        low, span = scale
        context = _filled(context, low + 0.5 * span)
        tasks = np.zeros((len(searched), len(self.pasts)))
        if past is not None:
            tasks[:, past] = 1.0
        return np.hstack([searched, (context - low) / span, *([times[:, None]] if self._timed else []), tasks])

    def _context_scale(self, count: int, scaled_at: int) -> tuple[FloatArray, FloatArray]:
        """Least value and span of what was seen of each contextual variable in the first `scaled_at` results.

        Of the first `count`, if those do not say.
        """
        low, high = self._context_range(scaled_at)
        if not (high > low).all():
            low, high = self._context_range(count)
        return low, np.where(high > low, high - low, 1.0)

    def _context_range(self, count: int) -> tuple[FloatArray, FloatArray]:
        d, width = self._space.dim, len(self._space.context)
        seen = np.vstack([*(past.X[:, d:] for past in self.pasts.values()), self.table.context[:count]])
        seen = seen[np.isfinite(seen).all(axis=1)]
        return (seen.min(axis=0), seen.max(axis=0)) if len(seen) else (np.zeros(width), np.zeros(width))

    def _times(self, n: int, scaled_at: int) -> FloatArray:
        """When the first n results were measured, shape (n,), in `CLOCK_UNIT`: by the pace of the first `scaled_at`."""
        readings = self._clock_readings(n)
        if readings is None:
            return np.arange(n) / CLOCK_UNIT
        early = self._clock_readings(scaled_at)
        pace = float(np.median(np.diff(readings if early is None else early)))
        times: FloatArray = (readings - readings[0]) / ((pace if pace > 0.0 else 1.0) * CLOCK_UNIT)
        return times

    def _clock_readings(self, n: int) -> FloatArray | None:
        """What the clock read at the first n results, shape (n,), gaps filled; None if it was read less than twice."""
        if not self._extra or n < 2:
            return None
        readings = self.table.extra[:n, 0]
        known = np.isfinite(readings)
        if known.sum() < 2:
            return None
        return np.interp(np.arange(n), np.flatnonzero(known), readings[known])

    def _time(self, scaled_at: int) -> float:
        """The time of the next measurement."""
        times = self._times(len(self.table), scaled_at)
        return float(times[-1]) + 1.0 / CLOCK_UNIT if len(times) else 0.0


def _filled(values: FloatArray, otherwise: FloatArray) -> FloatArray:
    """`values`, shape (n, c), where what was not measured is taken to be as it was before, or `otherwise`."""
    if np.isfinite(values).all():
        return values
    filled, before = np.array(values, dtype=float), otherwise
    for row in filled:
        row[:] = np.where(np.isfinite(row), row, before)
        before = row
    return filled


def _worth_keeping(merits: FloatArray) -> np.ndarray:
    """Which rows of a past experiment to take, in their order."""
    n = len(merits)
    if n <= PAST_POINTS:
        return np.arange(n)
    order = np.argsort(-np.nan_to_num(merits, nan=-np.inf), kind="stable")
    half = PAST_POINTS // 2
    rest = np.sort(order[half:])
    evenly = rest[np.linspace(0, len(rest) - 1, PAST_POINTS - half).round().astype(int)]
    return np.sort(np.concatenate([order[:half], evenly]))
