"""The trust region: the box around the best point that contains the next proposals.

As in TuRBO (Eriksson et al. 2019, NeurIPS), the box grows after successes and shrinks after failures, and its sides are
proportional to the length scales. When the box becomes too small, the search restarts in the whole domain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ebl_autonomy.space import FloatArray

__all__ = ["TrustRegion", "improvements"]

LEAST_SHARE: Final = 1e-9
"""The least improvement that counts, as a share of the range of the earlier scores."""
LEAST_CHANGE: Final = 1e-11
"""The same, as a share of the score itself, as long as all scores are equal."""
ROUNDED: Final = 4.0 * float(np.finfo(float).eps)
"""The share of a score that may be rounding."""


@dataclass(frozen=True)
class TrustRegion:
    """The size of the box after a sequence of successes and failures.

    Attributes
    ----------
    side : float
        Side of the box, as a share of the domain.
    successes, failures : int
        Number in a row since the last change of the size.
    """

    side: float = 0.25
    successes: int = 0
    failures: int = 0

    smallest = 0.03
    largest = 1.0

    @staticmethod
    def patience(dim: int) -> int:
        """Number of failures in a row after which the side is halved."""
        return max(4, dim)

    def after(self, improved: bool, dim: int) -> TrustRegion:
        """The region after one more result.

        The side doubles after 3 improvements in a row, up to the whole domain. It halves after `patience` failures in a
        row.
        """
        successes, failures = (self.successes + 1, 0) if improved else (0, self.failures + 1)
        side = self.side
        if successes >= 3:
            side, successes = min(2.0 * side, self.largest), 0
        elif failures >= self.patience(dim):
            side, failures = side / 2.0, 0
        if side < self.smallest:
            return TrustRegion(side=self.largest)
        return TrustRegion(side, successes, failures)

    def box(self, centre: FloatArray, length_scales: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Lower and upper corner of the box around `centre`, shape (d,) each, within the unit cube.

        The sides are proportional to the length scales, shape (d,), with the geometric mean `side`. Each is limited to
        between a quarter of `side` and 4 times `side`, because early length scales are uncertain.
        """
        weights = length_scales / np.exp(np.mean(np.log(length_scales)))
        half = 0.5 * self.side * np.clip(weights, 0.25, 4.0)
        return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def improvements(scores: Sequence[float] | FloatArray) -> list[bool]:
    """Whether each score is better than all earlier ones by more than rounding; False for NaN.

    Each answer depends on the scores up to there alone. The least improvement is a share of the range of the earlier
    scores, so it depends neither on the unit nor on what is added to all scores.
    """
    best, worst, flags = -math.inf, math.inf, []
    for score in scores:
        least = LEAST_SHARE * (best - worst) if best > worst else LEAST_CHANGE * abs(best)
        better = bool(score > best and (math.isinf(best) or score - best > max(least, ROUNDED * abs(best))))
        flags.append(better)
        if better:
            best = float(score)
        if math.isfinite(score):
            worst = min(worst, float(score))
    return flags
