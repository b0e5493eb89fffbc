"""Results and past experiments as observations of a model, and the model inputs of points to measure now."""

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
"""Unit of the time input, in measurements."""
MOST_PASTS: Final = 6
"""Largest number of past experiments; each adds an input and rows to the model."""
PAST_POINTS: Final = 150
"""Largest number of points of a past experiment: half are its best points, half are evenly spaced over the rest."""


class TrainingData:
    """Results by columns, and the model inputs: motors, context, time and past experiments.

    Parameters
    ----------
    space : Space
    outcomes : sequence of str
        The modelled outcomes, in the order of the columns of Y.
    coordinates : Coordinates
    timed : bool
        Whether the time of a measurement is an input.
    clock : str, optional
        Outcome that holds the time, in any unit; by default, the number of the measurement is the time.
    """

    def __init__(
        self, space: Space, outcomes: Sequence[str], coordinates: Coordinates, timed: bool, clock: str | None
    ) -> None:
        self._space, self._coordinates, self._timed = space, coordinates, timed
        self._outcomes = list(outcomes)
        self._extra = [clock] if timed and clock else []
        self.table = ResultTable(space, self._outcomes, self._extra)
        """Results of the present experiment."""
        self.pasts: dict[str, Observations] = {}
        """Past experiments by label; X holds searched coordinates, then context in its own units."""

    @property
    def inputs(self) -> InputLayout:
        """The layout of the columns of X."""
        categories = sorted((self._coordinates.names.index(name), gap) for name, gap in self._space.unordered.items())
        return InputLayout(self._space.dim, len(self._space.context), self._timed, len(self.pasts), tuple(categories))

    @property
    def searched(self) -> FloatArray:
        """Points of the present results in searched coordinates, shape (n, d)."""
        return self._coordinates.search(self.table.unit)

    def add_past(self, label: str, results: Sequence[Mapping[str, Any]], merits: FloatArray) -> None:
        """Add a past experiment; `merits`, shape (n,), rank its points, more is better.

        Raises
        ------
        BadInputError
            If there are too many past experiments, or the label is known already.
        """
        if label in self.pasts:
            raise BadInputError(f"the past experiment {label!r} is known already: give this one another label")
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
        """Past experiments and the first `count` results, independent of later results.

        The first `scaled_at` results define the scale of context and time. The scale is fixed between fits, because a
        model would have to be rebuilt whenever its inputs change.
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
        """Inputs, shape (n, inputs), of points measured now at `searched`, (n, d), and `context`, (c,) or (n, c)."""
        n, known = len(searched), len(self.table)
        context = np.broadcast_to(context, (n, len(self._space.context)))
        scale = self._context_scale(known, scaled_at)
        return self._rows(searched, context, np.full(n, self._time(scaled_at)), None, scale)

    def given_inputs(self, context: FloatArray, scaled_at: int) -> dict[int, float]:
        """Inputs of a measurement now that are not chosen, by column; `context` of shape (c,)."""
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
        """Least value and range of each contextual variable, shape (c,) each.

        They come from past experiments and the first `scaled_at` results, or the first `count` results if a variable is
        constant in those.
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
        """Times of the first n results, shape (n,), in `CLOCK_UNIT`, by the pace of the first `scaled_at` results."""
        readings = self._clock_readings(n)
        if readings is None:
            return np.arange(n) / CLOCK_UNIT
        early = self._clock_readings(scaled_at)
        pace = float(np.median(np.diff(readings if early is None else early)))
        times: FloatArray = (readings - readings[0]) / ((pace if pace > 0.0 else 1.0) * CLOCK_UNIT)
        return times

    def _clock_readings(self, n: int) -> FloatArray | None:
        """Clock readings of the first n results, shape (n,), gaps interpolated; None with fewer than two readings."""
        if not self._extra or n < 2:
            return None
        readings = self.table.extra[:n, 0]
        known = np.isfinite(readings)
        if known.sum() < 2:
            return None
        return np.interp(np.arange(n), np.flatnonzero(known), readings[known])

    def _time(self, scaled_at: int) -> float:
        """Time of the next measurement, in `CLOCK_UNIT`."""
        times = self._times(len(self.table), scaled_at)
        return float(times[-1]) + 1.0 / CLOCK_UNIT if len(times) else 0.0


def _filled(values: FloatArray, otherwise: FloatArray) -> FloatArray:
    """`values`, shape (n, c), with each missing value replaced by the one before, or by `otherwise`, shape (c,)."""
    if np.isfinite(values).all():
        return values
    filled, before = np.array(values, dtype=float), otherwise
    for row in filled:
        row[:] = np.where(np.isfinite(row), row, before)
        before = row
    return filled


def _worth_keeping(merits: FloatArray) -> np.ndarray:
    """Indices of the rows of a past experiment to keep, in ascending order."""
    n = len(merits)
    if n <= PAST_POINTS:
        return np.arange(n)
    order = np.argsort(-np.nan_to_num(merits, nan=-np.inf), kind="stable")
    half = PAST_POINTS // 2
    rest = np.sort(order[half:])
    evenly = rest[np.linspace(0, len(rest) - 1, PAST_POINTS - half).round().astype(int)]
    return np.sort(np.concatenate([order[:half], evenly]))
