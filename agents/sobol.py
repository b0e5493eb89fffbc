"""Quasi-random points: a baseline, and a space-filling design for an unknown space."""

from __future__ import annotations

import math
from collections.abc import Mapping

from scipy.stats import qmc

from ebl_autonomy.agents.base import Agent
from ebl_autonomy.records import Decision
from ebl_autonomy.space import VOCS, FloatArray

__all__ = ["SobolAgent"]


class SobolAgent(Agent):
    """The points of one scrambled Sobol sequence, in order (Owen 1998, J. Complexity 14, 466).

    The VOCS may have any number of objectives, or none. The number of the next point in the sequence is the number of
    results plus pending proposals. A point that equals one of these is skipped, which happens after a proposal was
    withdrawn, and if all variables are discrete. When all points of such a space are known, they repeat.
    """

    name = "sobol"

    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        decision = Decision(reason="sobol", model_version="none")
        known = {self._values(point) for point in (*self._asked, *self._pending) if self.space.holds(point)}
        discrete = len(self.space.choices) == self.space.dim
        size = math.prod(map(len, self.space.choices.values())) if discrete else math.inf
        proposals: list[tuple[FloatArray, Decision]] = []
        number = self._made
        while len(proposals) < count:
            unit, number = self._point(number), number + 1
            values = self._values(self.space.points(unit)[0])
            if values in known and len(known) < size:
                continue
            known.add(values)
            proposals.append((unit, decision))
        return proposals

    def _point(self, number: int) -> FloatArray:
        # The sequence is drawn from its beginning in lengths of a power of two, which keeps it balanced. It follows
        # from the seed alone and is stored only for speed.
        if number >= len(self._sequence):
            size = 2 ** max(6, math.ceil(math.log2(number + 1)))
            self._sequence = qmc.Sobol(self.space.dim, scramble=True, rng=self.options.seed).random(size)
        point: FloatArray = self.space.evenly(self._sequence[number : number + 1])[0]
        return point

    def _values(self, point: Mapping[str, float]) -> tuple[float, ...]:
        return tuple(point[name] for name in self.space.names)

    def _validate_vocs(self, vocs: VOCS) -> None:
        """Accept any VOCS, because outcomes have no effect."""

    _sequence: FloatArray = qmc.Sobol(1).random(0)
