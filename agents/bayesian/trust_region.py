"""The size of the box around the best point that the next proposals come from.

A trust region as in TuRBO (Eriksson et al. 2019, NeurIPS): it grows while it succeeds and shrinks while it fails, and
its sides are in proportion to the length scales. When it has shrunk to nothing, the search starts again in all of the
domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ebl_autonomy.space import FloatArray

__all__ = ["TrustRegion", "improvements"]


@dataclass(frozen=True)
class TrustRegion:
    """The size of the box after some successes and failures.

    Attributes
    ----------
    side : float
        Of the box, as a share of the domain.
    successes, failures : int
        In a row, since the size has changed.
    """

    side: float = 0.25
    successes: int = 0
    failures: int = 0

    smallest = 0.03
    largest = 1.0

    def after(self, improved: bool, dim: int) -> TrustRegion:
        """The region after one more result.

        It doubles after 3 improvements in a row, up to the domain. It halves after as many failures in a row as there
        are dimensions, at least 4.
        """
        successes, failures = (self.successes + 1, 0) if improved else (0, self.failures + 1)
        side = self.side
        if successes >= 3:
            side, successes = min(2.0 * side, self.largest), 0
        elif failures >= max(4, dim):
            side, failures = side / 2.0, 0
        if side < self.smallest:
            return TrustRegion(side=self.largest)
        return TrustRegion(side, successes, failures)

    def box(self, centre: FloatArray, length_scales: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The box around `centre`, shape (d,), within the unit cube.

        Sides are in proportion to the length scales, with the geometric mean `side`; none is more than 4 times
        longer or shorter than it, because early length scales are guesses.
        """
        weights = length_scales / np.exp(np.mean(np.log(length_scales)))
        half = 0.5 * self.side * np.clip(weights, 0.25, 4.0)
        return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def improvements(scores: Sequence[float] | FloatArray) -> list[bool]:
    """For each score, whether it bettered all before it; NaN never does."""
    best, flags = -np.inf, []
    for score in scores:
        better = bool(score > best + 1e-9 * max(abs(best), 1e-12)) if np.isfinite(best) else bool(score > best)
        flags.append(better)
        if better:
            best = score
    return flags
