"""The goal of an experiment on the latent scale, as the compiled acquisition function takes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from ebl_autonomy.space import FloatArray
from ebl_autonomy.surrogates import hypervolume
from ebl_autonomy.surrogates.acquisition import Criteria
from ebl_autonomy.surrogates.base import Goal, SafetyLimits
from ebl_autonomy.surrogates.transforms import OutcomeTransform

__all__ = ["LatentGoal"]

CAUTION: Final = 19.0
"""`Criteria.caution` of constraints on outcomes, as soon as the feasible region is known."""


class LatentGoal:
    """One goal, under the transforms that are in use.

    Parameters
    ----------
    goal : Goal
    hard : SafetyLimits
    transforms : sequence of OutcomeTransform
        One for each outcome, then one for validity if validity is modelled.
    outcomes : int
    noise : FloatArray, shape (models,), optional
        The variance of one measurement of each latent value; 0 if not given.

    Attributes
    ----------
    shares : FloatArray, shape (objectives, outcomes + 1)
        The weight of each latent value in each objective, signed so that more is better. If the objective is a product
        whose factors are all modelled by their logarithms, it is the weighted sum of these.
    limits : list of (column, low, high)
        Constraints on latent values, that of validity included.
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

    @property
    def resolution(self) -> float:
        """Standard deviation of one measurement of the first objective."""
        return math.sqrt(float(self.shares[0] ** 2 @ self._noise))

    def gains(self, latent: FloatArray) -> FloatArray:
        """The objectives, signed so that more is better, from latent values of shape (n, models).

        Returns
        -------
        FloatArray, shape (n, objectives)
            NaN where a constraint is broken.
        """
        holds = np.ones(len(latent), dtype=bool)
        for column, low, high in self.limits:
            with np.errstate(invalid="ignore"):
                holds &= (latent[:, column] >= low) & (latent[:, column] <= high)
        shares = self.shares[:, : latent.shape[1]]
        used = np.flatnonzero(shares.any(axis=0))  # the latent values of others may be NaN
        return np.where(holds[:, None], latent[:, used] @ shares[:, used].T, math.nan)

    def criteria(self, known: FloatArray, cautious: bool = False, expected: FloatArray | None = None) -> Criteria:
        """What the next point is judged by.

        Parameters
        ----------
        known : FloatArray, shape (k, objectives)
            The objectives reached so far, without NaN.
        cautious : bool
            Whether to avoid points that are likely to break a constraint, even if they would tell where it ends.
        expected : FloatArray, shape (k, objectives), optional
            See `corner`.
        """
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
            strips = hypervolume.strips(known, self.corner(known, expected))
        caution = np.zeros(self._outcomes + 1)
        if cautious:
            caution[[column for column, _, _ in self._goal.limits]] = CAUTION
        sigmas = self._hard.sigmas
        return Criteria(self.shares, low, high, hard_low, hard_high, sigmas, best, strips, self._noise, caution)

    def corner(self, known: FloatArray, expected: FloatArray | None = None) -> FloatArray:
        """The reference point of several objectives, shape (objectives,).

        It is the user's; or `hypervolume.reference` of `known`, shape (k, objectives), and of what the model expects
        where the constraints hold, `expected`, shape (s, objectives); or, if nothing is known, three standard
        deviations below the mean.
        """
        if not self._goal.reference:
            return hypervolume.reference(known, expected) if len(known) else np.full(len(self.shares), -3.0)
        named = zip(self._goal.objectives, self._goal.reference, strict=True)
        return np.array([sign * self._z(column, value) for (column, sign), value in named])

    def _z(self, column: int, value: float) -> float:
        if math.isinf(value):
            return value  # a transform would turn -inf into a finite limit
        return float(self._transforms[column].forward(np.array([value]))[0])
