"""A goal on the scale on which models see the outcomes, as the compiled acquisition takes it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ebl_autonomy.space import FloatArray
from ebl_autonomy.surrogates import hypervolume
from ebl_autonomy.surrogates.acquisition import Criteria
from ebl_autonomy.surrogates.base import Goal, SafetyLimits
from ebl_autonomy.surrogates.transforms import OutcomeTransform

__all__ = ["LatentGoal"]


class LatentGoal:
    """One goal under the transforms of one moment.

    Parameters
    ----------
    goal : Goal
    hard : SafetyLimits
    transforms : sequence of OutcomeTransform
        Of the outcomes, and last of validity if that is modelled.
    outcomes : int
    noise : FloatArray, shape (models,)
        The variance of one measurement, of each model's latent value.

    Attributes
    ----------
    shares : FloatArray, shape (objectives, outcomes + 1)
        The share of each model's latent value in each objective, signed so that more is better. Of a product,
        logarithms add up; its factors are modelled by their logarithms unless one was not positive.
    limits : list of (column, low, high)
        On latent values, that of validity included.
    """

    def __init__(
        self,
        goal: Goal,
        hard: SafetyLimits,
        transforms: Sequence[OutcomeTransform],
        outcomes: int,
        noise: FloatArray | None = None,
    ) -> None:
        self._goal, self._hard, self._transforms, self._outcomes = goal, hard, transforms, outcomes
        self._noise = np.zeros(outcomes + 1)
        if noise is not None:
            self._noise[: len(noise)] = noise
        self.shares = np.zeros((len(goal.objectives), outcomes + 1))
        for i, (column, sign) in enumerate(goal.objectives):
            self.shares[i, column] = sign
        if goal.factors and all(transforms[column].power == 0.0 for column, _ in goal.factors):
            self.shares[0] = 0.0
            for column, power in goal.factors:
                self.shares[0, column] = goal.sign * power * transforms[column].scale
        self.limits = [(column, self._z(column, low), self._z(column, high)) for column, low, high in goal.limits]
        if len(transforms) > outcomes:
            self.limits.append((outcomes, self._z(outcomes, 0.5), math.inf))

    def gains(self, latent: FloatArray) -> FloatArray:
        """Objectives such that more is better, shape (n, objectives), from latent values, shape (n, models).

        NaN where a limit does not hold.
        """
        holds = np.ones(len(latent), dtype=bool)
        for column, low, high in self.limits:
            with np.errstate(invalid="ignore"):
                holds &= (latent[:, column] >= low) & (latent[:, column] <= high)
        shares = self.shares[:, : latent.shape[1]]
        taken = np.flatnonzero(shares.any(axis=0))  # others may be NaN
        return np.where(holds[:, None], latent[:, taken] @ shares[:, taken].T, math.nan)

    def wanted(self, known: FloatArray) -> Criteria:
        """What is wanted of the next point if `known`, shape (k, objectives), is there already; none of it NaN."""
        low, hard_low = np.full((2, self._outcomes + 1), -math.inf)
        high, hard_high = np.full((2, self._outcomes + 1), math.inf)
        for column, least, most in self.limits:
            low[column], high[column] = max(low[column], least), min(high[column], most)
        for column, least, most in self._hard.limits:
            hard_low[column], hard_high[column] = self._z(column, least), self._z(column, most)
        best, strips = -math.inf, np.empty((0, 3))
        if not self._goal.others:
            best = float(np.max(known, initial=-math.inf))
        elif len(known):
            strips = hypervolume.strips(known, self.corner(known))
        return Criteria(self.shares, low, high, hard_low, hard_high, self._hard.sigmas, best, strips, self._noise)

    def corner(self, known: FloatArray) -> FloatArray:
        """The reference point of several objectives: the user's, or a little below the worst of `known`.

        `known` has the shape (k, objectives); if it is empty the point lies three standard deviations below the mean.
        """
        if not self._goal.reference:
            return hypervolume.reference(known) if len(known) else np.full(len(self.shares), -3.0)
        named = zip(self._goal.objectives, self._goal.reference, strict=True)
        return np.array([sign * self._z(column, value) for (column, sign), value in named])

    def _z(self, column: int, value: float) -> float:
        if math.isinf(value):
            return value  # no transform makes an end of what has none
        return float(self._transforms[column].forward(np.array([value]))[0])
