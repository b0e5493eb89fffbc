"""An agent's model and its quality, in numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ebl_autonomy.agents.bayesian.drift import DriftEstimate, estimate_drift
from ebl_autonomy.agents.bayesian.state import SearchState
from ebl_autonomy.records import Decision
from ebl_autonomy.space import FloatArray
from ebl_autonomy.surrogates.base import Suspect

__all__ = ["Elsewhere", "Explanation", "ModelOfOutcome", "explain"]

NO_INFLUENCE: Final = 6.0
"""Length scale, as a share of the domain, above which a coordinate hardly matters: opposite ends correlate by 0.97."""
ELSEWHERE: Final = 0.25
"""Distance from the best point, as a share of the domain, above which a result lies elsewhere."""
TRUSTED: Final = 0.5
"""Correlation with the present experiment below which a past experiment is of little use."""
FULLY_TRUSTED: Final = 0.9
"""Correlation above which the results of a past experiment are almost as good as present ones."""


@dataclass(frozen=True)
class ModelOfOutcome:
    """The model of one outcome.

    Attributes
    ----------
    name, modelled_as : str
        The outcome, and the transform under which it is modelled: none, the square root or the logarithm.
    noise : float
        Standard deviation of the measurement noise, in the outcome's unit.
    length_scales : dict of str to float
        Length scale of each searched coordinate, as a share of the coordinate's span over the domain; of the span of
        the logarithm, if the variable has a logarithmic scale; of the distance between any two values, if they have no
        order.
    suspects : tuple of Suspect
        The results that the model takes for outliers.
    rows : ndarray, shape (n,)
        The valid results, by number.
    predicted, measured, std : FloatArray, shape (n,)
        Leave-one-out prediction of each valid result, its measured value, and the predicted standard deviation, in the
        outcome's unit.
    unordered : tuple of str
        The discrete variables whose values have no order.
    """

    name: str
    modelled_as: str
    noise: float
    length_scales: dict[str, float]
    suspects: tuple[Suspect, ...]
    predicted: FloatArray = field(repr=False)
    measured: FloatArray = field(repr=False)
    std: FloatArray = field(repr=False)
    rows: np.ndarray = field(repr=False)
    unordered: tuple[str, ...] = ()

    @property
    def trusted(self) -> np.ndarray:
        """Whether each valid result is no suspect, bool, shape (n,)."""
        return ~np.isin(self.rows, [suspect.row for suspect in self.suspects])

    @property
    def without_influence(self) -> tuple[str, ...]:
        """The searched coordinates that hardly matter: the outcome is the same in the whole domain."""
        return tuple(name for name, scale in self.length_scales.items() if scale > NO_INFLUENCE)

    @property
    def error(self) -> float:
        """Root mean square of the leave-one-out errors, in the outcome's unit, without suspects."""
        return float(np.sqrt(np.mean((self.predicted - self.measured)[self.trusted] ** 2)))

    @property
    def share_explained(self) -> float:
        """The explained share of the variance: 1 for a perfect model, 0 for a model that is no better than the mean."""
        spread = float(np.var(self.measured[self.trusted]))
        return 1.0 - self.error**2 / spread if spread > 0.0 else math.nan

    def within(self, sigmas: float) -> float:
        """Share of results within `sigmas` predicted standard deviations; calibrated: 0.68 at 1 and 0.95 at 2."""
        return float(np.mean((np.abs(self.predicted - self.measured) <= sigmas * self.std)[self.trusted]))


@dataclass(frozen=True)
class Elsewhere:
    """What was looked for away from the best point, where another hill may be.

    Attributes
    ----------
    results : int
        Number of results that lie elsewhere: more than a quarter of the domain away, along some searched coordinate, or
        at another value of a variable without order.
    best : float
        The best valid and feasible reading of the objective among them that is no suspect; NaN without any.
    of : int
        Number of all results.
    unordered : tuple of str
        The discrete variables whose values have no order.
    """

    results: int
    best: float
    of: int
    unordered: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """What counts as elsewhere, in words."""
        values = f", or at another value of {' or '.join(self.unordered)}," if self.unordered else ""
        return f"more than a quarter of the domain away{values}"

    def __str__(self) -> str:
        if not self.results:
            return f"elsewhere: nothing was measured {self.where} from the best point yet"
        best = (
            "all of them are invalid, infeasible or suspect"
            if math.isnan(self.best)
            else f"the best of them reads {self.best:.4g}"
        )
        return f"elsewhere: {self.results} of {self.of} results lie {self.where} from the best point; {best}"


@dataclass(frozen=True)
class Explanation:
    """The answer of `BayesianAgent.explain`; as a string, a report in words.

    Attributes
    ----------
    models : tuple of ModelOfOutcome
    pasts : dict of str to float
        Correlation of each past experiment with the present one, 0 to 1, in the model of the objective.
    drift : DriftEstimate
    elsewhere : Elsewhere or None
        Whether another hill was looked for; None for several objectives.
    violations : int or None
        Number of results that violate a hard limit; None without hard limits.
    decisions : tuple of Decision
        The decisions of the latest proposals.
    """

    models: tuple[ModelOfOutcome, ...]
    pasts: dict[str, float]
    drift: DriftEstimate
    elsewhere: Elsewhere | None
    violations: int | None
    decisions: tuple[Decision, ...]

    def __str__(self) -> str:
        lines: list[str] = []
        for model in self.models:
            shortest_first = sorted((scale, name) for name, scale in model.length_scales.items())
            scales = ", ".join(f"{name} {scale:.2g}" for scale, name in shortest_first)
            lines += [
                f"{model.name} (modelled {model.modelled_as}): leave-one-out error {model.error:.3g}, "
                f"noise {model.noise:.3g}, {100 * model.share_explained:.0f} % explained",
                f"  {100 * model.within(1):.0f} % within one predicted standard deviation, "
                f"{100 * model.within(2):.0f} % within two (68 % and 95 % would be honest)",
                f"  length scales, shares of the domain: {scales}",
            ]
            if model.without_influence:
                lines.append(f"  hardly any influence: {', '.join(model.without_influence)}")
            if model.unordered:
                lines.append(f"  without order, all values equally far from each other: {', '.join(model.unordered)}")
            readings = dict(zip(model.rows, model.measured, strict=True))
            lines += [
                f"  row {suspect.row}: {readings[suspect.row]:.3g} measured, {suspect.mean:.3g} expected "
                f"({abs(suspect.sigmas):.0f} standard deviations): suspect"
                for suspect in model.suspects
            ]
        for label, trust in self.pasts.items():
            verdict = "discounted"
            if trust > TRUSTED:
                verdict = "taken as it is" if trust > FULLY_TRUSTED else "trusted in part"
            lines.append(f"past {label}: correlates by {trust:.2f} with the present, {verdict}")
        if self.drift.active:
            advice = "measuring again pays" if self.drift.realign else "nothing to be gained yet by measuring again"
            lost = (
                f"the objective has lost {self.drift.lost:.3g} ({self.drift.sigmas:.1f} standard deviations): {advice}"
            )
            if math.isnan(self.drift.lost):
                lost = "no feasible point was measured lately enough to tell what is lost"
            lines.append(f"drift: a measurement holds for about {self.drift.holds_for:.0f} points; {lost}")
        if self.elsewhere is not None:
            lines.append(str(self.elsewhere))
        if self.violations is not None:
            lines.append(f"hard limits were broken {self.violations} times")
        for decision in self.decisions:
            expects = ", ".join(f"{n} {mean:.4g} ± {decision.std[n]:.2g}" for n, mean in decision.mean.items())
            lines.append(f"latest proposal: {decision.reason}" + (f"; expects {expects}" if expects else ""))
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """The report in words, where IPython shows the value of a cell."""
        printer.text(str(self))


def explain(state: SearchState, decisions: Sequence[Decision]) -> Explanation:
    """Collect the model's diagnostics and the latest decisions; needs a model. See `Explanation`."""
    surrogate, models, space = state.surrogate, [], state.space
    units = [space.unordered.get(name, 1.0) for name in state.coordinates.names]
    for column, name in enumerate(state.outcomes):
        diagnosis = surrogate.diagnose(column)
        models.append(
            ModelOfOutcome(
                name,
                diagnosis.modelled_as,
                diagnosis.noise,
                {
                    name: float(scale / unit)
                    for name, scale, unit in zip(
                        state.coordinates.names, diagnosis.length_scales[: space.dim], units, strict=True
                    )
                },
                state.suspects_of(column),
                diagnosis.mean,
                state.data.table.Y[diagnosis.rows, column],
                diagnosis.std,
                diagnosis.rows,
                tuple(space.unordered),
            )
        )
    pasts = dict(zip(state.data.pasts, surrogate.diagnose(0).pasts, strict=False))  # botorch's surrogate has no pasts
    violations = state.hard_violations if state.hard else None
    return Explanation(tuple(models), pasts, estimate_drift(state), _elsewhere(state), violations, tuple(decisions))


def _elsewhere(state: SearchState) -> Elsewhere | None:
    if len(state.goal.objectives) > 1:
        return None
    distance = np.abs(state.searched - state.best_expected)
    unordered = list(state.unordered)  # another filter is another place, however near its number is
    far = (distance > ELSEWHERE).any(axis=1) | (distance[:, unordered] > 0.0).any(axis=1)
    kept = far & np.isfinite(state.merits) & (state.goal.violation(state.data.table.Y) == 0.0)
    kept[list(state.suspects)] = False
    merits = np.where(kept, state.merits, -math.inf)
    best = state.goal.sign * float(merits.max()) if kept.any() else math.nan
    return Elsewhere(int(far.sum()), best, len(state.results), tuple(state.space.unordered))
