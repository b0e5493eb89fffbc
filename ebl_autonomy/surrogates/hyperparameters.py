"""What is inferred for each outcome: length scales, noise, the transform, drift, and whether past data are of use."""

from __future__ import annotations

import math
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, TypeVar

import numpy as np

from ebl_autonomy.space import FloatArray
from ebl_autonomy.surrogates import covariance, outliers
from ebl_autonomy.surrogates.base import InputLayout, SafetyLimits
from ebl_autonomy.surrogates.priors import (
    CLOCK_PRIOR,
    DRIFT_EVIDENCE,
    DRIFT_SUSPECTED,
    LEAST_OUTLIER,
    NO_INFLUENCE,
    NOISE_PRIOR,
    OUTLIER_COST,
    OUTLIER_SHARE,
    PAST_EVIDENCE,
    SHORTEST_DRIFT,
    SIGNAL_BOUNDS,
    SIGNAL_PRIOR,
    VALIDITY_MIN_LENGTH_SCALE,
    VALIDITY_NOISE,
    scale_prior,
)
from ebl_autonomy.surrogates.transforms import POWERS, OutcomeTransform

__all__ = ["HyperparameterFitter", "Hyperparameters", "Steps", "evaluation_seconds"]

T = TypeVar("T")
Steps: TypeAlias = Generator[float, None, T]
"""Work in steps, each announced by the seconds that it takes."""
Choice: TypeAlias = tuple[float, bool, float]
"""The power of a transform, whether the outcome drifts, and the nats that this must gain."""

FIT_POINTS: Final = 240
"""The largest number of observations that a fit uses: half of them the latest, the others spread over the rest."""
CHOICE_POINTS: Final = 120
"""Likewise of the fits that are compared to choose the transform, and whether the outcome drifts."""
FIT_ITERATIONS: Final = 30
"""The largest number of iterations of a fit. A fit that needs more is continued by the next one."""
LEAST_ITERATIONS: Final = 5
"""The least number of iterations of one step of a fit: each step begins with one more evaluation."""
USUAL_EVALUATIONS: Final = 15
"""The number of evaluations that a fit usually takes."""
PURSUIT: Final = 1.0
"""The seconds that a pursuit of outliers takes, in evaluations."""
CONVERGED: Final = 1e-3
"""A fit ends when a step gains fewer nats than this."""
OUTLIER_ROUNDS: Final = 3
"""The largest number of alternations between the outliers and the other hyper-parameters in one fit."""
CHOOSE_GROWTH: Final = 1.4
"""The transform of an outcome is chosen again when its values are this many times as many. Whether the outcome drifts
is asked at each fit, because until a drift is found, the search stays where the best point was."""


@dataclass(frozen=True)
class Hyperparameters:
    """What was inferred for one outcome. The length scales and the noise hold for this transform only.

    Attributes
    ----------
    theta : FloatArray, shape (d + 1,)
        Logarithms of the length scales and of the noise variance, in units of the prior variance.
    transform : OutcomeTransform
        Its scale is the prior standard deviation, which is inferred too.
    chosen_at : int
        The number of values from which the power of the transform was chosen.
    extra : FloatArray, shape (n,)
        Extra variances of the n values that were fitted, in units of the prior variance: positive for outliers, 0 for
        all others. Values that came later are judged by `conditioning`.
    without_past : bool
        Whether past experiments are left out, because the present one is predicted better without them.
    drift_evidence : float
        By how many nats a drift makes the measurements more probable; infinite if the clock always has an influence,
        minus infinity if it never has any.
    """

    theta: FloatArray
    transform: OutcomeTransform
    chosen_at: int
    extra: FloatArray
    without_past: bool = False
    drift_evidence: float = -math.inf


class HyperparameterFitter:
    """Infers the hyper-parameters of the models of one surrogate.

    Parameters
    ----------
    inputs : InputLayout
    outcomes : int
        The number of outcomes m. Column m is validity.
    kind : int
        The kernel: `covariance.RBF` or `covariance.MATERN52`.
    logarithms : collection of int
        Outcomes that are modelled by their logarithms, as long as all values are positive.
    plain : collection of int
        Outcomes that are modelled as they are.
    drift : {"auto", "on"}
        Whether the clock has an influence: if the measurements show a drift, or always.
    hard : SafetyLimits
    step_s : float
        The seconds that one step of a fit takes at most.
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
        step_s: float,
    ) -> None:
        self._step_s = step_s
        self._inputs, self._outcomes, self._kind, self._drift, self._hard = inputs, outcomes, kind, drift, hard
        self._bounds = {column: (low, high) for column, low, high in hard.limits}
        self._logarithms = frozenset(logarithms)
        self._plain = frozenset([*plain, *self._bounds, outcomes])
        self._prior = scale_prior(inputs)
        self._low, self._high = (
            np.log(np.append(scale * inputs.units, [noise, signal]))
            for scale, noise, signal in zip(
                covariance.SCALE_BOUNDS, covariance.NOISE_BOUNDS, SIGNAL_BOUNDS, strict=True
            )
        )
        self._units = np.log(inputs.units[: inputs.searched])
        if inputs.clock_at is not None:
            self._low[inputs.clock_at] = SHORTEST_DRIFT

    def infer(
        self,
        column: int,
        previous: Hyperparameters | None,
        X: FloatArray,
        y: FloatArray,
        variance: FloatArray,
        judged: np.ndarray,
        past: int,
    ) -> Steps[Hyperparameters | None]:
        """The hyper-parameters that make the measurements most probable, in steps.

        Before each step, the generator yields the seconds that it takes on a common processor. They are counted, not
        measured, so they depend on the data alone.

        Parameters
        ----------
        column : int
        previous : Hyperparameters, optional
            Where the search starts; the mode of the prior if not given.
        X, y, variance : FloatArray, shapes (n, d), (n,) and (n,)
            Valid observations of this outcome.
        judged : bool array, shape (n,)
            Whether each may be an outlier.
        past : int
            The number of rows from past experiments. These are left out if the present rows, each from all others,
            are predicted better without them.

        Returns
        -------
        Hyperparameters or None
            `previous` if nothing can be inferred.
        """
        if not past:
            return (yield from self._infer(column, previous, X, y, variance, judged, False))
        # The present readings tell alone which of them are outliers, because those that contradict a past experiment
        # would seem to lie. Where they agree with it, they are none.
        without_past, doubted = None, np.zeros(len(y), dtype=bool)
        if len(y) - past >= self._inputs.searched + 2:
            start = previous
            if previous is not None and not previous.without_past:
                start = replace(previous, theta=self.prior_mode(column), chosen_at=0, extra=np.empty(0))
            own = slice(past, None)
            without_past = yield from self._infer(column, start, X[own], y[own], variance[own], judged[own], False)
        if without_past is not None:
            doubted[past : past + len(without_past.extra)] = without_past.extra > 0.0
        if previous is not None and previous.without_past:
            previous = replace(previous, extra=np.append(np.zeros(past), previous.extra))
        with_past = yield from self._infer(column, previous, X, y, variance, doubted, True)
        if with_past is None or without_past is None:
            return with_past
        present = slice(past, None)
        density_with = self._log_predictive(column, with_past, X, y, variance)[present].sum()
        density_without = self._log_predictive(column, without_past, X[present], y[present], variance[present]).sum()
        return replace(without_past, without_past=True) if density_without > density_with + PAST_EVIDENCE else with_past

    def _infer(
        self,
        column: int,
        previous: Hyperparameters | None,
        X: FloatArray,
        y: FloatArray,
        variance: FloatArray,
        judged: np.ndarray,
        pasts: bool,
    ) -> Steps[Hyperparameters | None]:
        """The best of all transforms and drifts that come into question, each at its maximum a posteriori."""
        fits = OutcomeTransform.fits(y) and column not in self._plain
        powers: tuple[float, ...] = (previous.transform.power if previous is not None and fits else 1.0,)
        chosen_at = previous.chosen_at if previous is not None else 0
        clock_choices = self._clock_choices(column, previous, pasts)
        if len(y) >= CHOOSE_GROWTH * chosen_at:
            powers = (1.0,)
            if fits and column in self._logarithms:
                powers = (0.0,)
            elif fits and OutcomeTransform.matters(y):
                powers = POWERS
            chosen_at = len(y)
        choices = [(power, *clock) for power in powers for clock in clock_choices]
        start, asked = previous, None
        if len(choices) > 1 and len(y) > CHOICE_POINTS:
            few = yield from self._best_of(
                choices, start, column, X, y, variance, judged, _subset(len(y), CHOICE_POINTS)
            )
            if few is None:
                return previous
            choices, start, asked = [few[0]], few[1], few[1].drift_evidence
        best = yield from self._best_of(choices, start, column, X, y, variance, judged, _subset(len(y), FIT_POINTS))
        if best is None:
            return previous
        return replace(best[1], chosen_at=chosen_at, drift_evidence=best[1].drift_evidence if asked is None else asked)

    def _best_of(
        self,
        choices: Sequence[Choice],
        start: Hyperparameters | None,
        column: int,
        X: FloatArray,
        y: FloatArray,
        variance: FloatArray,
        judged: np.ndarray,
        rows: np.ndarray,
    ) -> Steps[tuple[Choice, Hyperparameters] | None]:
        """The choice under which the rows are most probable, and the hyper-parameters with it; None if no fit ends."""
        best, least = None, math.inf
        reached_with = {False: math.inf, True: math.inf}
        for choice in choices:
            power, drifts, evidence = choice
            fitted, reached = yield from self._fit(column, start, power, drifts, X, y, variance, judged, rows)
            if np.isfinite(fitted.theta).all():
                reached_with[drifts] = min(reached_with[drifts], reached)
                if reached + evidence < least:
                    best, least = (choice, fitted), reached + evidence
        if best is None:
            return None
        choice, fitted = best
        return choice, replace(fitted, drift_evidence=reached_with[False] - reached_with[True])

    def _log_predictive(
        self, column: int, fitted: Hyperparameters, X: FloatArray, y: FloatArray, variance: FloatArray
    ) -> FloatArray:
        """The logarithm of the predictive density of each value given all others, shape (n,)."""
        n, d = X.shape
        noise = self.known_noise(column, fitted.transform, y, variance)
        noise = noise if noise is not None else np.full(n, math.exp(fitted.theta[d]))
        noise[: len(fitted.extra)] += fitted.extra
        W, z, alpha = np.zeros((n, n)), fitted.transform.forward(y), np.empty(n)
        covariance.extend(
            np.ascontiguousarray(X), noise, np.exp(-fitted.theta[:d]), self._inputs.caps, self._kind, 0, n, W
        )
        covariance.solve(W, n, z - covariance.constant_mean(W, n, z), alpha)
        precision = np.einsum("ij,ij->j", W, W)
        slopes = np.array([fitted.transform.log_slopes(value[None]) for value in y])
        return np.asarray(0.5 * (np.log(precision) - alpha**2 / precision) + slopes)

    def transform(self, column: int, y: FloatArray, power: float) -> OutcomeTransform:
        """The transform of one outcome, shaped so that no point far from all data looks safe under a hard limit."""
        transform = OutcomeTransform.of(y, power)
        if column not in self._bounds:
            return transform
        # Far from all data the model predicts the mean, plus or minus one scale. That must reach beyond the limit.
        ends = transform.forward(np.array([end for end in self._bounds[column] if math.isfinite(end)]))
        margin = float(np.abs(ends).min()) * transform.scale
        return replace(transform, scale=max(transform.scale, margin / (0.8 * self._hard.sigmas)))

    def known_noise(
        self, column: int, transform: OutcomeTransform, y: FloatArray, variance: FloatArray
    ) -> FloatArray | None:
        """Variances of the transformed values, shape (n,); None if the noise must be inferred."""
        if column == self._outcomes:
            return np.full(len(y), VALIDITY_NOISE / transform.whole_scale**2)
        known = transform.variance(y, variance)
        if not np.isfinite(known).all():
            return None
        return np.clip(known, covariance.NOISE_BOUNDS[0], 1e6)

    def prior_mode(self, column: int) -> FloatArray:
        """The most likely hyper-parameters before anything is measured, shape (d + 1,).

        The mode of a log-normal density lies at exp(mean - variance).
        """
        theta = np.append(self._prior[:, 0] - self._prior[:, 1] ** 2, NOISE_PRIOR[0] - NOISE_PRIOR[1] ** 2)
        if self._inputs.clock_at is not None and self._drift != "on":
            theta[self._inputs.clock_at] = NO_INFLUENCE
        if column in self._bounds:
            searched = slice(self._inputs.searched)
            theta[searched] = np.minimum(theta[searched], math.log(self._hard.max_length_scale) + self._units)
        return theta

    def _clock_choices(self, column: int, previous: Hyperparameters | None, pasts: bool) -> list[tuple[bool, float]]:
        """Whether the clock may have an influence, and the nats that this must gain, for each fit that is to be made.

        Beside past experiments it has none, unless it is always on: what changed since then is no drift. A drift that
        the fit before did not suspect is only suspected.
        """
        if self._inputs.clock_at is None or column == self._outcomes:
            return [(False, 0.0)]
        if self._drift == "on":
            return [(True, 0.0)]
        if pasts:
            return [(False, 0.0)]
        # The latest readings alone, such as those on a narrow peak that was just found, would look like a drift.
        first_told = (
            previous is not None
            and previous.chosen_at > 0
            and not previous.theta[self._inputs.clock_at] < NO_INFLUENCE
            and not previous.drift_evidence > DRIFT_SUSPECTED
        )
        return [(False, 0.0), (True, math.inf if first_told else DRIFT_EVIDENCE)]

    def _fit(
        self,
        column: int,
        previous: Hyperparameters | None,
        power: float,
        drifts: bool,
        X: FloatArray,
        y: FloatArray,
        variance: FloatArray,
        judged: np.ndarray,
        rows: np.ndarray,
    ) -> Steps[tuple[Hyperparameters, float]]:
        """The hyper-parameters at their maximum a posteriori, and minus the logarithm of their density.

        The density is that of the values as measured, so that those under different transforms can be compared.
        """
        data, among = (X[rows], y[rows], variance[rows]), judged[rows]
        theta, extra = self.prior_mode(column), np.zeros(len(y))
        if previous is not None:
            theta = previous.theta
            if previous.transform.power == power:
                extra[: len(previous.extra)] = previous.extra
                extra[~judged] = 0.0
        transform = self.transform(column, y[extra == 0.0], power)
        if previous is not None and previous.transform.power == power:
            transform = previous.transform
        start = Hyperparameters(theta, transform, 0, extra[rows])
        starts = [start]
        if previous is not None and among.any():
            # Under the hyper-parameters so far, new readings may look like outliers that a fit to them would explain by
            # a shorter length scale or more noise. Both are tried.
            doubting = self._with_outliers(column, start, among, *data)
            if not np.array_equal(doubting.extra > 0.0, start.extra > 0.0):
                starts.append(doubting)
        fits = []
        for start in starts:
            fits.append((yield from self._alternate(column, start, drifts, among, *data)))
        fitted, reached = min(fits, key=lambda fit: fit[1])
        extra *= _squared_ratio(transform.whole_scale, fitted.transform.whole_scale)
        extra[rows] = fitted.extra
        return replace(fitted, extra=extra), reached

    def _alternate(
        self,
        column: int,
        start: Hyperparameters,
        drifts: bool,
        judged: np.ndarray,
        X: FloatArray,
        y: FloatArray,
        variance: FloatArray,
    ) -> Steps[tuple[Hyperparameters, float]]:
        """Fit the outliers and all else in turns, until the outliers stay the same."""
        fitted, reached = yield from self._maximize(column, start, drifts, X, y, variance)
        for _ in range(OUTLIER_ROUNDS if judged.any() else 0):
            yield PURSUIT * evaluation_seconds(len(y))
            doubting = self._with_outliers(column, fitted, judged, X, y, variance)
            if np.array_equal(doubting.extra > 0.0, fitted.extra > 0.0):
                break
            fitted, reached = yield from self._maximize(column, doubting, drifts, X, y, variance)
        return fitted, reached

    def _with_outliers(
        self,
        column: int,
        fitted: Hyperparameters,
        judged: np.ndarray,
        X: FloatArray,
        y: FloatArray,
        variance: FloatArray,
    ) -> Hyperparameters:
        """The hyper-parameters with the most likely outliers, all else being equal."""
        n, d = X.shape
        noise = self.known_noise(column, fitted.transform, y, variance)
        extra = fitted.extra.copy()
        outliers.pursue(
            np.ascontiguousarray(X),
            fitted.transform.forward(y),
            noise if noise is not None else np.full(n, math.exp(fitted.theta[d])),
            np.exp(-fitted.theta[:d]),
            self._inputs.caps,
            self._kind,
            extra,
            judged,
            OUTLIER_COST,
            LEAST_OUTLIER,
            int(OUTLIER_SHARE * n),
        )
        return replace(fitted, extra=extra)

    def _maximize(
        self, column: int, start: Hyperparameters, drifts: bool, X: FloatArray, y: FloatArray, variance: FloatArray
    ) -> Steps[tuple[Hyperparameters, float]]:
        """The maximum a posteriori given the outliers, which are those of `start`.

        Outliers say nothing about the scale of the outcome. The signal's standard deviation becomes the scale of the
        transform.
        """
        low, high, prior = self._low.copy(), self._high.copy(), self._prior.copy()
        transform = self.transform(column, y[start.extra == 0.0], start.transform.power)
        theta = np.append(start.theta, math.log(start.transform.whole_scale / transform.whole_scale))
        if (clock := self._inputs.clock_at) is not None:
            if not drifts:
                low[clock] = high[clock] = NO_INFLUENCE
                prior[clock, 1] = 0.0
            elif theta[clock] > high[clock]:
                theta[clock] = CLOCK_PRIOR[0]
        if column in self._bounds:
            high[: self._inputs.searched] = math.log(self._hard.max_length_scale) + self._units
        if column == self._outcomes:
            low[: self._inputs.searched] = math.log(VALIDITY_MIN_LENGTH_SCALE) + self._units
        # The scale of an outcome with a hard limit, and of validity, says how unsafe and how valid the unknown is.
        # With a larger scale, all that is old would be unknown under drift, and past experiments would seem to agree
        # with a present that contradicts them.
        fixed = column in self._bounds or column == self._outcomes or drifts or self._inputs.has_past(X)
        if fixed:
            low[-1] = high[-1] = 0.0
        theta = np.clip(theta, low, high)
        noise = self.known_noise(column, transform, y, variance)
        extra = start.extra * _squared_ratio(start.transform.whole_scale, transform.whole_scale)
        given = extra if noise is None else noise + extra
        inputs, values = np.ascontiguousarray(X), np.ascontiguousarray(transform.forward(y))
        evaluation_s = evaluation_seconds(len(y))
        at_once = int(min(max(self._step_s / evaluation_s, LEAST_ITERATIONS), FIT_ITERATIONS))
        curvature = np.zeros((len(theta), len(theta)))
        reached = math.inf
        for done in range(0, FIT_ITERATIONS, at_once):
            iterations, last = min(at_once, FIT_ITERATIONS - done), reached
            yield min(iterations, USUAL_EVALUATIONS) * evaluation_s
            reached = covariance.fit(
                theta,
                inputs,
                values,
                given,
                noise is None,
                self._inputs.caps,
                self._kind,
                prior,
                NOISE_PRIOR,
                0.0 if fixed else SIGNAL_PRIOR,
                low,
                high,
                iterations,
                curvature,
            )
            if not last - reached > CONVERGED and done:
                break
        signal = math.exp(theta[-1])
        scaled = replace(transform, scale=transform.scale * signal)
        reached += OUTLIER_COST * np.count_nonzero(extra) - transform.log_slopes(y)
        return Hyperparameters(theta[:-1], scaled, 0, extra / signal**2), reached


def _squared_ratio(above: float, below: float) -> float:
    """(above / below)², but finite."""
    return float(np.clip(above / below, 1e-100, 1e100)) ** 2


def evaluation_seconds(n: int) -> float:
    """The seconds that one evaluation of the density of n values takes on a common processor."""
    return 1e-10 * n**2 * (n + 200)


def _subset(n: int, most: int) -> np.ndarray:
    """Indices of those of n observations that a fit to `most` at most uses; see `FIT_POINTS`."""
    if n <= most:
        return np.arange(n)
    late = most // 2
    early = np.linspace(0, n - late - 1, most - late).round().astype(int)
    return np.concatenate([early, np.arange(n - late, n)])
