"""Inferring what a Gaussian process needs beside data: length scales, noise, and how its outcome is transformed."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ebl_autonomy.space import FloatArray
from ebl_autonomy.surrogates import covariance
from ebl_autonomy.surrogates.base import InputLayout, SafetyLimits
from ebl_autonomy.surrogates.transforms import POWERS, OutcomeTransform

__all__ = ["VALIDITY_NOISE", "HyperparameterFitter", "Hyperparameters"]

VALIDITY_NOISE: Final = 1e-2
"""Variance of the labels of the validity model: a valid point once may be invalid the next time."""
VALIDITY_REACH: Final = 0.4
"""The least length scale of validity. Labels are steps, and short ones would let each point speak for itself alone."""
NOISE_PRIOR: Final = (-4.0, 1.0)
CLOCK_PRIOR: Final = (0.0, 1.0)
"""Of the logarithm of how long a measurement holds, in units of 50 measurements."""
PAST_PRIOR: Final = (math.log(3.0), 1.0)
"""Of the length scale between the present and a past experiment: at 3 they correlate by 0.9, at 0.3 by nothing."""
NO_SAY: Final = math.log(1e6)
"""The logarithm of a length scale beyond which an input has no influence."""
DRIFT_EVIDENCE: Final = 3.0
"""So many nats more probable must the measurements be with a clock before it is believed that something drifts."""
PAST_EVIDENCE: Final = 2.0
"""So many nats better must the present be predicted without the past before the past is left out."""
FIT_POINTS: Final = 400
"""Hyper-parameters are inferred from so many observations at most: the latest half, and others evenly from the rest."""
FIT_ITERATIONS: Final = 30
CHOOSE_GROWTH: Final = 1.4
"""Its transform, and whether it drifts, are chosen again when an outcome's values have grown by this factor."""


@dataclass(frozen=True)
class Hyperparameters:
    """What was inferred for one outcome; transform and hyper-parameters belong together until the next fit.

    Attributes
    ----------
    theta : FloatArray, shape (d + 1,)
        Logarithms of length scales and noise variance.
    transform : OutcomeTransform
    chosen_at : int
        How many values the power of the transform was chosen from.
    alone : bool
        Whether past experiments are left out, because the present is predicted better without them.
    """

    theta: FloatArray
    transform: OutcomeTransform
    chosen_at: int
    alone: bool = False


class HyperparameterFitter:
    """The rules by which the models of one surrogate are inferred.

    Parameters
    ----------
    inputs : InputLayout
    outcomes : int
        The column after the last outcome is of validity.
    kind : int
        Of the kernel.
    logarithms, plain : collection of int
        Outcomes that are modelled by their logarithms as long as they are positive, and as they are measured.
    drift : {"auto", "on"}
    hard : SafetyLimits
    """

    def __init__(
        self,
        inputs: InputLayout,
        outcomes: int,
        kind: int,
        logarithms: Collection[int],
        plain: Collection[int],
        drift: str,
        hard: SafetyLimits,
    ) -> None:
        self._inputs, self._outcomes, self._kind, self._drift, self._hard = inputs, outcomes, kind, drift, hard
        self._bounds = {column: (low, high) for column, low, high in hard.limits}
        self._logarithms = frozenset(logarithms)
        self._plain = frozenset([*plain, *self._bounds, outcomes])
        self._prior = _scale_prior(inputs)
        self._low, self._high = (
            np.log(np.array([scale] * inputs.dim + [noise]))
            for scale, noise in zip(covariance.SCALE_BOUNDS, covariance.NOISE_BOUNDS, strict=True)
        )

    def infer(
        self, column: int, before: Hyperparameters | None, X: FloatArray, y: FloatArray, variance: FloatArray, past: int
    ) -> Hyperparameters | None:
        """What makes the measurements most probable, starting from what was inferred before.

        The first `past` rows are of past experiments. They are left out if the present measurements are predicted
        better without them, each from all others. `before` if nothing can be inferred.
        """
        together = self._infer(column, before, X, y, variance, past > 0)
        if not past or len(y) - past < self._inputs.searched + 2 or together is None:
            return together
        mine = slice(past, None)
        start = before if before is None or before.alone else replace(before, theta=self.mode(column), chosen_at=0)
        alone = self._infer(column, start, X[mine], y[mine], variance[mine], False)
        if alone is None:
            return together
        with_past = self._predictive(column, together, X, y, variance)[mine].sum()
        without = self._predictive(column, alone, X[mine], y[mine], variance[mine]).sum()
        return replace(alone, alone=True) if without > with_past + PAST_EVIDENCE else together

    def _infer(
        self,
        column: int,
        before: Hyperparameters | None,
        X: FloatArray,
        y: FloatArray,
        variance: FloatArray,
        pasts: bool,
    ) -> Hyperparameters | None:
        """Maximum a posteriori."""
        fits = OutcomeTransform.fits(y) and column not in self._plain
        powers: tuple[float, ...] = (before.transform.power if before is not None and fits else 1.0,)
        chosen_at = before.chosen_at if before is not None else 0
        clocks = self._clock_choices(column, pasts)
        if len(y) >= CHOOSE_GROWTH * chosen_at:
            powers = ((0.0,) if column in self._logarithms else POWERS) if fits else (1.0,)
            chosen_at = len(y)
        elif before is not None and self._inputs.clock_at is not None and len(clocks) > 1:
            clocks = [(bool(before.theta[self._inputs.clock_at] < NO_SAY), 0.0)]  # as it was found before
        best, least = before, math.inf
        for power in powers:
            transform = self.transform(column, y, power)
            for drifts, evidence in clocks:
                theta, reached = self._fit(column, before, transform, drifts, X, y, variance)
                if np.isfinite(theta).all() and reached + evidence < least:
                    best, least = Hyperparameters(theta, transform, chosen_at), reached + evidence
        return best

    def _predictive(
        self, column: int, fitted: Hyperparameters, X: FloatArray, y: FloatArray, variance: FloatArray
    ) -> FloatArray:
        """Logarithms of how probable each value is, given all others, shape (n,)."""
        n, d = X.shape
        noise = self.known_noise(column, fitted.transform, y, variance)
        noise = noise if noise is not None else np.full(n, math.exp(fitted.theta[d]))
        W, z, alpha = np.zeros((n, n)), fitted.transform.forward(y), np.empty(n)
        covariance.extend(np.ascontiguousarray(X), noise, np.exp(-fitted.theta[:d]), self._kind, 0, n, W)
        covariance.solve(W, n, z - covariance.constant_mean(W, n, z), alpha)
        precision = np.einsum("ij,ij->j", W, W)
        slopes = np.array([fitted.transform.log_slopes(value[None]) for value in y])
        return np.asarray(0.5 * (np.log(precision) - alpha**2 / precision) + slopes)

    def transform(self, column: int, y: FloatArray, power: float) -> OutcomeTransform:
        """The transform of one outcome; of one with a hard limit such that what is unknown is not safe."""
        transform = OutcomeTransform.of(y, power)
        if column not in self._bounds:
            return transform
        # Far from all data the model expects the mean, plus or minus one scale: that must reach over the limit.
        margin = min(abs(transform.shift - (end - 1.0)) for end in self._bounds[column] if math.isfinite(end))
        return replace(transform, scale=max(transform.scale, margin / (0.8 * self._hard.sigmas)))

    def known_noise(
        self, column: int, transform: OutcomeTransform, y: FloatArray, variance: FloatArray
    ) -> FloatArray | None:
        """Variances of the transformed values, or None if they have to be inferred."""
        if column == self._outcomes:
            return np.full(len(y), VALIDITY_NOISE / transform.scale**2)
        known = transform.variance(y, variance)
        if not np.isfinite(known).all():
            return None
        return np.clip(known, covariance.NOISE_BOUNDS[0], 1e6)

    def mode(self, column: int) -> FloatArray:
        """The most likely hyper-parameters a priori: the mode of a log-normal lies at exp(mean - variance)."""
        theta = np.append(self._prior[:, 0] - self._prior[:, 1] ** 2, NOISE_PRIOR[0] - NOISE_PRIOR[1] ** 2)
        if self._inputs.clock_at is not None and self._drift != "on":
            theta[self._inputs.clock_at] = NO_SAY
        if column in self._bounds:
            searched = slice(self._inputs.searched)
            theta[searched] = np.minimum(theta[searched], math.log(self._hard.max_length_scale))
        return theta

    def _clock_choices(self, column: int, pasts: bool) -> list[tuple[bool, float]]:
        """Whether the clock may have a say, and how many nats that must gain.

        Not beside past experiments unless it must: what changed since then is no drift.
        """
        if self._inputs.clock_at is None or column == self._outcomes:
            return [(False, 0.0)]
        if self._drift == "on":
            return [(True, 0.0)]
        return [(False, 0.0)] if pasts else [(False, 0.0), (True, DRIFT_EVIDENCE)]

    def _fit(
        self,
        column: int,
        before: Hyperparameters | None,
        transform: OutcomeTransform,
        drifts: bool,
        X: FloatArray,
        y: FloatArray,
        variance: FloatArray,
    ) -> tuple[FloatArray, float]:
        """Hyper-parameters, and minus the logarithm of how probable they make the values as they were measured."""
        chosen = _subset(len(y))
        low, high, prior = self._low.copy(), self._high.copy(), self._prior.copy()
        start = before.theta.copy() if before is not None else self.mode(column)
        if (clock := self._inputs.clock_at) is not None:
            if not drifts:
                low[clock] = high[clock] = NO_SAY
                prior[clock, 1] = 0.0
            elif start[clock] > high[clock]:
                start[clock] = CLOCK_PRIOR[0]
        if column in self._bounds:
            high[: self._inputs.searched] = math.log(self._hard.max_length_scale)
        if column == self._outcomes:
            low[: self._inputs.searched] = math.log(VALIDITY_REACH)
        theta = np.clip(start, low, high)
        noise = self.known_noise(column, transform, y, variance)
        given = noise[chosen] if noise is not None else np.full(len(chosen), math.nan)
        reached = covariance.fit(
            theta,
            np.ascontiguousarray(X[chosen]),
            np.ascontiguousarray(transform.forward(y)[chosen]),
            given,
            self._kind,
            prior,
            NOISE_PRIOR,
            low,
            high,
            FIT_ITERATIONS,
        )
        return theta, reached - transform.log_slopes(y[chosen])


def _scale_prior(inputs: InputLayout) -> FloatArray:
    """Mean and standard deviation of the logarithm of each length scale, shape (d, 2).

    Of what is chosen they grow with the dimension (Hvarfner et al. 2024, ICML).
    """
    chosen = inputs.searched + inputs.context
    scales = [(math.sqrt(2.0) + 0.5 * math.log(chosen), math.sqrt(3.0))] * chosen
    return np.array([*scales, *[CLOCK_PRIOR] * inputs.clock, *[PAST_PRIOR] * inputs.pasts])


def _subset(n: int) -> np.ndarray:
    """Which of n observations hyper-parameters are inferred from."""
    if n <= FIT_POINTS:
        return np.arange(n)
    late = FIT_POINTS // 2
    early = np.linspace(0, n - late - 1, FIT_POINTS - late).round().astype(int)
    return np.concatenate([early, np.arange(n - late, n)])
