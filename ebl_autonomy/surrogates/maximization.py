"""Where the acquisition is largest: many points guessed cheaply, some computed exactly, a few taken uphill."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy.stats import qmc

from ebl_autonomy.space import FloatArray
from ebl_autonomy.surrogates import acquisition
from ebl_autonomy.surrogates.acquisition import Criteria, Stack
from ebl_autonomy.surrogates.base import SearchRegion

__all__ = ["AcquisitionMaximizer"]

SCREENED: Final = 512
KEPT: Final = 32
CLIMBERS: Final = 4
CLIMB_WORK: Final = 4_000_000
"""Climbing takes so many multiplications at most, within 8 to 30 iterations."""


class AcquisitionMaximizer:
    """One decision's search of a box.

    Parameters
    ----------
    box : SearchRegion
    seed : int
    """

    def __init__(self, box: SearchRegion, seed: int) -> None:
        self._low, self._high = box.low.copy(), box.high.copy()
        for i, value in box.fixed.items():
            self._low[i] = self._high[i] = value
        self._near = 0.5 * (self._low + self._high)[None] if box.near is None else box.near
        self._seconds, self._project = box.seconds, box.project
        self._rng = np.random.default_rng(seed)

    def best(self, stack: Stack, wanted: Criteria, after: FloatArray | None = None) -> tuple[FloatArray, float]:
        """The point of the largest acquisition, shape (d,), and its value; of a batch, `after` the one before."""
        points = self._projected(self._candidates())
        guess = np.empty(len(points))
        acquisition.screen(points, stack, wanted, guess)
        kept = np.ascontiguousarray(points[_largest(guess - self._price(points, after), KEPT)])
        value = _values(kept, stack, wanted)
        climbers = np.ascontiguousarray(kept[_largest(value - self._price(kept, after), CLIMBERS)])
        reached = np.empty(len(climbers))
        n = int(stack.counts[stack.active].max())
        iterations = min(max(CLIMB_WORK // (CLIMBERS * len(stack.active) * n * n), 8), 30)
        acquisition.climb(climbers, self._low, self._high, iterations, stack, wanted, reached)
        if self._project is not None:
            climbers = self._projected(climbers)
            reached = _values(climbers, stack, wanted)
        # The ascent knows no price: a point on the way may be the better bargain.
        points, value = np.vstack([climbers, kept]), np.concatenate([reached, value])
        first = int(np.argmax(value - self._price(points, after)))
        return points[first].copy(), float(value[first])

    def _projected(self, points: FloatArray) -> FloatArray:
        return points if self._project is None else np.ascontiguousarray(self._project(points))

    def _price(self, points: FloatArray, after: FloatArray | None) -> FloatArray | float:
        """The logarithm of the seconds; a gain per second is a difference of logarithms."""
        return 0.0 if self._seconds is None else np.log(self._seconds(points, after))

    def _candidates(self) -> FloatArray:
        """Half of them spread over the box, half near the points that are worth it, in some inputs only."""
        d, span = len(self._low), self._high - self._low
        half = SCREENED // 2
        spread = self._low + span * qmc.Sobol(d, seed=self._rng).random(half)
        middle = self._near[np.arange(half) % len(self._near)]
        width = np.exp(self._rng.uniform(math.log(0.01), math.log(0.5), (half, 1)))
        chosen = self._rng.random((half, d)) < max(min(3.0 / d, 1.0), 0.3)
        near = middle + chosen * width * self._rng.standard_normal((half, d)) * span
        return np.ascontiguousarray(np.vstack([spread, np.clip(near, self._low, self._high)]))


def _values(points: FloatArray, stack: Stack, wanted: Criteria) -> FloatArray:
    """The acquisition at points of shape (k, d)."""
    value = np.empty(len(points))
    k, v = np.empty((2, len(stack.counts), len(points), int(stack.counts[stack.active].max())))
    acquisition.values(points, stack, wanted, False, k, v, value, np.empty_like(points))
    return value


def _largest(values: FloatArray, count: int) -> np.ndarray:
    return np.argsort(-values, kind="stable")[:count]
