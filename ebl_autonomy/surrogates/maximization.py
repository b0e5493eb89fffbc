"""The search for the largest acquisition: a guess at many points, the exact value at some, an ascent from a few."""

from __future__ import annotations

import math
from itertools import product
from typing import Final

import numpy as np
from scipy.stats import qmc

from ebl_autonomy.space import ROUNDING, FloatArray
from ebl_autonomy.surrogates import acquisition
from ebl_autonomy.surrogates.acquisition import Criteria, ModelStack
from ebl_autonomy.surrogates.base import SearchRegion

__all__ = ["AcquisitionMaximizer", "combinations_of"]

SCREENED: Final = 512
"""The number of points at which the acquisition is guessed."""
KEPT: Final = 32
"""The number of them at which it is computed exactly."""
CLIMBERS: Final = 4
"""The number of them from which it is followed uphill."""
COMBINATIONS: Final = 64
"""The largest number of combinations of categories that are all screened; of more, as many are drawn."""
FEWEST: Final = 16
"""The smallest number of points that are screened of each combination."""
CLIMB_WORK: Final = 4_000_000
"""Multiplications that the ascent may take; it makes 8 to 30 iterations."""


class AcquisitionMaximizer:
    """Finds the points of one proposal within a region.

    Parameters
    ----------
    region : SearchRegion
    seed : int
        Of the candidate points.
    """

    def __init__(self, region: SearchRegion, seed: int) -> None:
        self._low, self._high = region.low.copy(), region.high.copy()
        for i, value in region.fixed.items():
            self._low[i] = self._high[i] = value
        self._near = 0.5 * (self._low + self._high)[None] if region.near is None else region.near
        self._seconds, self._project = region.seconds, region.project
        self._given = region.candidates
        self._region, self._categories = region, sorted(region.categories)
        self._rng = np.random.default_rng(seed)

    def best(self, stack: ModelStack, criteria: Criteria, after: FloatArray | None = None) -> tuple[FloatArray, float]:
        """The point with the largest acquisition per second.

        Parameters
        ----------
        stack : ModelStack
        criteria : Criteria
        after : FloatArray, shape (d,), optional
            The point that will be measured before this one.

        Returns
        -------
        point : FloatArray, shape (d,)
        acquisition : float
        """
        points = self.candidates()
        guess = np.empty(len(points))
        acquisition.screen(points, stack, criteria, guess)
        kept = self._chosen(points, guess - self._log_seconds(points, after), KEPT, KEPT // 2)
        value = _values(kept, stack, criteria)
        if self._given is not None:
            first = int(np.argmax(value - self._log_seconds(kept, after)))
            return kept[first].copy(), float(value[first])
        climbers = self._chosen(kept, value - self._log_seconds(kept, after), CLIMBERS, CLIMBERS)
        low, high = np.tile(self._low, (len(climbers), 1)), np.tile(self._high, (len(climbers), 1))
        low[:, self._categories] = high[:, self._categories] = climbers[:, self._categories]
        reached = np.empty(len(climbers))
        n = int(stack.counts[stack.active].max())
        iterations = min(max(CLIMB_WORK // (CLIMBERS * len(stack.active) * n * n), 8), 30)
        acquisition.climb(climbers, low, high, iterations, stack, criteria, reached)
        if self._project is not None:
            climbers = self._projected(climbers)
            reached = _values(climbers, stack, criteria)
        # The ascent ignores the seconds, so a point where it started may be worth more per second.
        points, value = np.vstack([climbers, kept]), np.concatenate([reached, value])
        first = int(np.argmax(value - self._log_seconds(points, after)))
        return points[first].copy(), float(value[first])

    def _projected(self, points: FloatArray) -> FloatArray:
        return points if self._project is None else np.ascontiguousarray(self._project(points))

    def _log_seconds(self, points: FloatArray, after: FloatArray | None) -> FloatArray | float:
        """What to subtract from the acquisition, which is a logarithm, to have it per second."""
        return 0.0 if self._seconds is None else np.log(self._seconds(points, after))

    def candidates(self) -> FloatArray:
        """Points to screen, shape (k, d), which the motors can reach; others in each call unless they are given."""
        return self._projected(self._drawn() if self._given is None else self._given)

    def _drawn(self) -> FloatArray:
        """Points to screen: half spread over the region, half near the given points and different in few inputs."""
        combinations = combinations_of(self._region, self._rng)
        d, span = len(self._low), self._high - self._low
        half = max(SCREENED // (2 * len(combinations)), FEWEST // 2)
        half = 2 ** int(math.log2(half))  # a balanced part of the sequence
        spread = self._low + span * qmc.Sobol(d, seed=self._rng).random(half)
        middle = self._near[np.arange(half) % len(self._near)]
        width = np.exp(self._rng.uniform(math.log(0.01), math.log(0.5), (half, 1)))
        chosen = self._rng.random((half, d)) < max(min(3.0 / d, 1.0), 0.3)
        near = middle + chosen * width * self._rng.standard_normal((half, d)) * span
        points = np.vstack([spread, np.clip(near, self._low, self._high)])
        if self._categories:
            # The same points with each combination of categories: their names, and so their order, have no influence.
            points = np.repeat(points, len(combinations), axis=0)
            points[:, self._categories] = np.tile(combinations, (2 * half, 1))
        return np.ascontiguousarray(points)

    def _chosen(self, points: FloatArray, value: FloatArray, count: int, combinations: int) -> FloatArray:
        """The points of the largest values; among them the best of each of so many combinations of categories."""
        order = _largest(value, len(value))
        if self._categories:
            _, first = np.unique(points[order][:, self._categories], axis=0, return_index=True)
            first = np.sort(first)[:combinations]
            order = np.concatenate([order[first], np.delete(order, first)])
        return np.ascontiguousarray(points[order[:count]])


def combinations_of(region: SearchRegion, rng: np.random.Generator) -> FloatArray:
    """Combinations of categories within the box, shape (k, categories), columns ascending: all, or many.

    There is one row without categories. Of very many combinations, those that differ in one category from the first
    of the near points are always there.
    """
    columns = sorted(region.categories)
    if not columns:
        return np.empty((1, 0))
    inside = []
    for column in columns:
        values = region.categories[column]
        low, high = region.low[column] - ROUNDING, region.high[column] + ROUNDING
        inside.append(values[(values >= low) & (values <= high)])
    if math.prod(map(len, inside)) <= COMBINATIONS:
        return np.array(list(product(*inside)))
    drawn = [np.stack([rng.choice(values, COMBINATIONS) for values in inside], axis=1)]
    for i, values in enumerate(inside if region.near is not None else ()):
        assert region.near is not None
        drawn.append(np.tile(region.near[0, columns], (len(values), 1)))
        drawn[-1][:, i] = values
    return np.unique(np.vstack(drawn), axis=0)


def _values(points: FloatArray, stack: ModelStack, criteria: Criteria) -> FloatArray:
    """The acquisition at points of shape (k, d)."""
    value = np.empty(len(points))
    k, v = np.empty((2, len(stack.counts), len(points), int(stack.counts[stack.active].max())))
    acquisition.values(points, stack, criteria, False, k, v, value, np.empty_like(points))
    return value


def _largest(values: FloatArray, count: int) -> np.ndarray:
    """Indices of the largest values, the largest first."""
    return np.argsort(-values, kind="stable")[:count]
