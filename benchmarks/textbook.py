"""Textbook methods that see one number: constraints become a penalty, and an invalid reading the worst cost so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ebl_autonomy.space import VOCS, FloatArray, Space

PENALTY = 5.0
"""What is subtracted from the objective where an outcome exceeds a limit by the limit's own size. For methods without
constraints."""
CONVERGED = 1e-3
"""The size of a simplex that has converged, as a share of the domain and in units of the objective."""


class Costs:
    """Results as numbers to minimise.

    Parameters
    ----------
    space : Space
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.worst = 0.0

    def of(self, result: Mapping[str, Any]) -> float:
        """The objective, signed so that less is better, with penalties; of an invalid one, the worst so far (or 0)."""
        excess = [
            max(float(result[name]) - limit.high, limit.low - float(result[name]), 0.0)
            / max(abs(end) for end in (limit.low, limit.high) if np.isfinite(end))
            for name, limit in self.space.limits.items()
        ]
        cost = PENALTY * sum(excess) - self.space.score(result)
        if not np.isfinite(cost):
            return self.worst
        self.worst = max(self.worst, cost)
        return cost


class NelderMead:
    """scipy's adaptive simplex. It starts where the beamline stands, with steps of a quarter, then from random points.

    scipy calls a function, but here the values come from outside. Therefore each call of `suggest` runs the search
    again up to the first point without a measured value. The cost is quadratic in the number of points, which is about
    100.

    Parameters
    ----------
    vocs : VOCS
    seed : int
        Of the random starting points.
    """

    def __init__(self, vocs: VOCS, seed: int) -> None:
        self.space = Space(vocs)
        self.seed = seed
        self.costs = Costs(self.space)
        self.answers: list[float] = []

    def suggest(self, num_points: int | None = None) -> list[dict[str, float]]:
        return self.space.points(self._next())

    def ingest(self, results: Sequence[Mapping[str, Any]]) -> None:
        self.answers.extend(self.costs.of(result) for result in results)

    def _next(self) -> FloatArray:
        from scipy.optimize import minimize

        known = iter(self.answers)

        def answered(u: FloatArray) -> float:
            try:
                return next(known)
            except StopIteration:
                raise _UnansweredError(u.copy()) from None

        rng = np.random.default_rng(self.seed)
        start = self.space.unit([self.space.standing()])[0]
        try:
            while True:
                steps = np.where(start > 0.5, -0.25, 0.25) * np.eye(self.space.dim)
                simplex = np.vstack([start, start + steps])
                minimize(
                    answered,
                    start,
                    method="Nelder-Mead",
                    bounds=[(0.0, 1.0)] * self.space.dim,
                    options={"initial_simplex": simplex, "adaptive": True, "xatol": CONVERGED, "fatol": CONVERGED},
                )
                start = rng.random(self.space.dim)
        except _UnansweredError as question:
            return question.point


class _UnansweredError(Exception):
    def __init__(self, point: FloatArray) -> None:
        super().__init__(point)
        self.point = point
