"""How good an agent's model is and what it believes, in numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ebl_autonomy.agents.bayesian.coordinates import Coordinates
from ebl_autonomy.agents.bayesian.training_data import TrainingData
from ebl_autonomy.records import Decision
from ebl_autonomy.space import FloatArray, Space
from ebl_autonomy.surrogates.base import Diagnosis, Surrogate

__all__ = ["Drift", "Explanation", "ModelOfOutcome", "explain", "loss"]

TRUSTED: Final = 0.5
"""A past experiment that correlates less than this with the present is of little use."""
SURE: Final = 3.0
"""A loss of so many standard deviations is no chance: it is the largest of several."""


@dataclass(frozen=True)
class Drift:
    """Whether measurements grow old.

    Attributes
    ----------
    active : bool
    holds_for : float
        So many measurements until one tells little about the present; NaN if nothing drifts.
    lost : float
        By how much the best of the latest points is expected to be worse now than the best point was in its time, in
        the objective's unit.
    sigmas : float
        So many standard deviations of the model is that.
    """

    active: bool
    holds_for: float = math.nan
    lost: float = math.nan
    sigmas: float = math.nan

    @property
    def realign(self) -> bool:
        """Whether aligning again would pay: what is lost is hardly chance."""
        return self.active and self.sigmas > SURE


def loss(surrogate: Surrogate, column: int, sign: float, then: FloatArray, now: FloatArray) -> tuple[float, float]:
    """By how much the best point of `now` is worse than the best of `then`, model inputs of shape (k, inputs) each.

    Returns
    -------
    in the outcome's unit, in standard deviations of what is believed : float
    """
    best = np.vstack([X[int(np.argmax(sign * surrogate.predict_latent(X)[0][:, column]))] for X in (then, now)])
    (before, after), stds = (told[:, column] for told in surrogate.predict_latent(best))
    expected = surrogate.predict(best)[0][:, column]
    return float(sign * (expected[0] - expected[1])), float(sign * (before - after) / np.hypot(*stds))


@dataclass(frozen=True)
class ModelOfOutcome:
    """The model of one outcome.

    Attributes
    ----------
    name, modelled_as : str
        The outcome, and whether it is modelled as it is, by its square root or by its logarithm.
    noise : float
        Standard deviation of measurements about the model, in the outcome's unit.
    length_scales : dict of str to float
        By searched coordinate, as a share of what the domain holds of it: how far one must go for another value.
    predicted, measured, std : FloatArray, shape (n,)
        Leave-one-out: what the model says of each valid result without having seen it.
    """

    name: str
    modelled_as: str
    noise: float
    length_scales: dict[str, float]
    predicted: FloatArray = field(repr=False)
    measured: FloatArray = field(repr=False)
    std: FloatArray = field(repr=False)

    @property
    def error(self) -> float:
        """Root mean square of the leave-one-out errors, in the outcome's unit."""
        return float(np.sqrt(np.mean((self.predicted - self.measured) ** 2)))

    @property
    def share_explained(self) -> float:
        """1 for a model that predicts everything, 0 for one that is no better than the mean."""
        spread = float(np.var(self.measured))
        return 1.0 - self.error**2 / spread if spread > 0.0 else math.nan

    def within(self, sigmas: float) -> float:
        """The share of results within so many predicted standard deviations: 0.68 of 1 and 0.95 of 2 are honest."""
        return float(np.mean(np.abs(self.predicted - self.measured) <= sigmas * self.std))


@dataclass(frozen=True)
class Explanation:
    """What `BayesianAgent.explain` answers; as a string, a page to read.

    Attributes
    ----------
    models : tuple of ModelOfOutcome
    pasts : dict of str to float
        How far each past experiment correlates with the present, 0 to 1, in the model of the objective.
    drift : Drift
    violations : int or None
        How many results broke a hard limit; None if there is none.
    decisions : tuple of Decision
        Of the latest proposals.
    """

    models: tuple[ModelOfOutcome, ...]
    pasts: dict[str, float]
    drift: Drift
    violations: int | None
    decisions: tuple[Decision, ...]

    def __str__(self) -> str:
        lines = []
        for m in self.models:
            short = sorted((scale, name) for name, scale in m.length_scales.items())
            scales = ", ".join(f"{name} {scale:.2g}" for scale, name in short)
            lines += [
                f"{m.name} (modelled {m.modelled_as}): leave-one-out error {m.error:.3g}, noise {m.noise:.3g}, "
                f"{100 * m.share_explained:.0f} % explained",
                f"  {100 * m.within(1):.0f} % within one predicted standard deviation, {100 * m.within(2):.0f} % "
                "within two (68 % and 95 % would be honest)",
                f"  length scales, shares of the domain: {scales}",
            ]
        for label, trust in self.pasts.items():
            verdict = "taken as it is" if trust > 0.9 else "trusted in part" if trust > TRUSTED else "discounted"
            lines.append(f"past {label}: correlates by {trust:.2f} with the present, {verdict}")
        if self.drift.active:
            advice = "measuring again pays" if self.drift.realign else "nothing to be gained yet by measuring again"
            lost = (
                f"the objective has lost {self.drift.lost:.3g} ({self.drift.sigmas:.1f} standard deviations): {advice}"
            )
            if math.isnan(self.drift.lost):
                lost = "no feasible point was measured lately enough to tell what is lost"
            lines.append(f"drift: a measurement holds for about {self.drift.holds_for:.0f} points; {lost}")
        if self.violations is not None:
            lines.append(f"hard limits were broken {self.violations} times")
        for decision in self.decisions:
            expects = ", ".join(f"{n} {mean:.4g} ± {decision.std[n]:.2g}" for n, mean in decision.mean.items())
            lines.append(f"latest proposal: {decision.reason}" + (f"; expects {expects}" if expects else ""))
        return "\n".join(lines)


def explain(
    surrogate: Surrogate,
    space: Space,
    coordinates: Coordinates,
    experience: TrainingData,
    outcomes: Sequence[str],
    drift: Drift,
    violations: int | None,
    decisions: Sequence[Decision],
) -> Explanation:
    """Put together what the surrogate says; see `Explanation`."""
    models = []
    for column, name in enumerate(outcomes):
        found: Diagnosis = surrogate.diagnose(column)
        models.append(
            ModelOfOutcome(
                name,
                found.modelled_as,
                found.noise,
                dict(zip(coordinates.names, map(float, found.length_scales), strict=False)),
                found.mean,
                experience.table.Y[found.rows, column],
                found.std,
            )
        )
    pasts = dict(zip(experience.pasts, surrogate.diagnose(0).pasts, strict=False))  # botorch's does not tell
    return Explanation(tuple(models), pasts, drift, violations, tuple(decisions))
