"""Quasi-random points: the honest baseline, and the filling of a space of which nothing is known."""

from __future__ import annotations

import math

from scipy.stats import qmc

from ebl_autonomy.agents.base import Agent
from ebl_autonomy.records import Decision
from ebl_autonomy.space import FloatArray

__all__ = ["SobolAgent"]


class SobolAgent(Agent):
    """The points of one scrambled Sobol sequence, in order (Owen 1998, J. Complexity 14, 466)."""

    name = "sobol"

    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        first = self._made
        # The sequence is drawn from its beginning at blocks of a power of two, as its balance wants it; it is kept
        # only for speed, since it follows from the seed alone.
        if first + count > len(self._sequence):
            size = 2 ** max(6, math.ceil(math.log2(first + count)))
            self._sequence = qmc.Sobol(self.space.dim, scramble=True, rng=self.options.seed).random(size)
        decision = Decision(reason="sobol", model_version="none")
        return [(point, decision) for point in self._sequence[first : first + count]]

    _sequence: FloatArray = qmc.Sobol(1).random(0)
