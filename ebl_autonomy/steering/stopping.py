"""Stop rules of a run, which depend on its rows and its proposals."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from ebl_autonomy.errors import BadInputError, validated
from ebl_autonomy.records import ELSEWHERE, to_float
from ebl_autonomy.space import Space
from ebl_autonomy.steering.proposal import Proposal

__all__ = ["StopRules", "Until"]


_ELSEWHERE: Final = {
    "target_error": "the error of a map or of a spectrum is the agent's option target_error",
    **dict.fromkeys(("points", "max_points"), "the number of points is the plan's argument max_points"),
    **dict.fromkeys(("dose", "max_dose"), "a dose is the envelope's max_dose, with its dose_key"),
}
"""What else may end a run, and where it is given."""


class Until(BaseModel):
    """Stop rules; the first one that holds ends the run, and so does ``max_points`` of the plan.

    Attributes
    ----------
    seconds : float, optional
        Seconds that the run may take: wall-clock seconds since its start, or seconds of `clock` since the first
        accepted proposal.
    clock : str, optional
        Event key that holds the time in seconds, for example the clock of a simulated beamline that does not wait.
    target : float, optional
        Sufficient value of the first objective, in its own unit: the run ends when a valid point that satisfies all
        constraints reaches it. A reading that the agent takes for an outlier does not count, so an agent that knows
        outliers is told of the whole batch first. One of the first dozen that alone reaches it is measured once more.
    improvement : float, optional
        Least expected improvement over the best point, in the objective's unit. The run ends when it is lower for
        `patience` proposals in a row; those that look elsewhere for another optimum are not counted.
    patience : int
        Number of proposals in a row for `improvement`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float | None = Field(default=None, gt=0)
    clock: str | None = None
    target: float | None = None
    improvement: float | None = Field(default=None, gt=0)
    patience: int = Field(default=3, ge=1)

    @classmethod
    def of(cls, until: "Until | Mapping[str, Any] | None") -> "Until":
        """The given rules, the rules that a JSON mapping describes, or no rules for None.

        Raises
        ------
        BadInputError
            If `until` is not a mapping, or has an unknown key or a wrong value, which the message names.
        """
        for key in until if isinstance(until, Mapping) else ():
            if key in _ELSEWHERE:
                raise BadInputError(f"until.{key}: {_ELSEWHERE[key]}. The keys are {sorted(cls.model_fields)}")
        return validated(cls, until, "until")


class StopRules:
    """`Until` applied to one experiment, proposal by proposal.

    Parameters
    ----------
    until : Until
    space : Space
    doubtful : bool
        Whether a reading may prove to be an outlier: then `after` ignores the target, and `target_reached` tells.
    """

    def __init__(self, until: Until, space: Space, *, doubtful: bool = False) -> None:
        self._until, self._space, self._doubtful = until, space, doubtful
        self.seconds_spent = 0.0
        """Seconds up to the latest accepted proposal, of `Until.clock` if it is given."""
        self._clock_start = math.nan
        self._unpromising = 0
        """Number of proposals in a row with too small an expected improvement."""

    def after(self, proposal: Proposal, row: Mapping[str, Any], seconds: float, best_score: float) -> str:
        """The reason to end the experiment after an accepted proposal; empty if it continues.

        Parameters
        ----------
        proposal : Proposal
            The accepted proposal, with its results.
        row : mapping
            The last row of the proposal, as event keys to values.
        seconds : float
            Wall-clock seconds since the start of the run.
        best_score : float
            The best objective before the proposal, signed such that more is better; -inf before the first feasible
            point.
        """
        rules = self._until
        self.seconds_spent = self._spent(row, seconds)
        if rules.seconds is not None and self.seconds_spent >= rules.seconds:
            return f"seconds: {self.seconds_spent:.1f} s have passed"
        if not self._doubtful and (reason := self.target_reached(proposal.results)):
            return reason
        if rules.improvement is not None and self._few_gains(proposal, rules.improvement, best_score):
            return f"improvement: less than {rules.improvement} expected, {rules.patience} times in a row"
        return ""

    def target_reached(self, results: Sequence[Mapping[str, float]]) -> str:
        """The reason to end the experiment because one of some results reaches the target; empty if none does."""
        for row in self.reaching(results)[:1]:
            name = self._space.objectives[0]
            return f"target: {name} = {results[row][name]:.6g}"
        return ""

    def reaching(self, results: Sequence[Mapping[str, float]]) -> list[int]:
        """The numbers of the results that reach the target."""
        target = self._until.target
        if target is None or not self._space.objectives:
            return []
        return [i for i, result in enumerate(results) if self._reached(result, target)]

    def _spent(self, row: Mapping[str, Any], seconds: float) -> float:
        if self._until.clock is None:
            return seconds
        now = to_float(row.get(self._until.clock))
        if math.isnan(self._clock_start):
            self._clock_start = now
        return now - self._clock_start if math.isfinite(now) else 0.0

    def _reached(self, result: Mapping[str, float], target: float) -> bool:
        space = self._space
        return space.feasible(result) and space.score(result) >= space.signs[0] * target

    def _few_gains(self, proposal: Proposal, least: float, best_score: float) -> bool:
        from ebl_autonomy.surrogates.improvement import expected_improvement  # numba is loaded where it is used

        name, sign = self._space.objectives[0], float(self._space.signs[0])
        decision = proposal.decision
        if name not in decision.mean or math.isinf(best_score) or decision.reason.startswith(ELSEWHERE):
            return False
        mean, std = decision.mean[name], decision.std.get(name, 0.0)
        self._unpromising = self._unpromising + 1 if expected_improvement(sign * mean, std, best_score) < least else 0
        return self._unpromising >= self._until.patience
