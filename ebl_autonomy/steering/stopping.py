"""When a run has measured enough: rules that look at what was measured and what was proposed."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ebl_autonomy.errors import validated
from ebl_autonomy.records import to_float
from ebl_autonomy.space import Space
from ebl_autonomy.steering.proposal import Proposal

__all__ = ["StopRules", "Until"]


class Until(BaseModel):
    """Stop rules; the first one that holds ends the run. ``max_points`` of the plan is one more.

    Attributes
    ----------
    seconds : float, optional
        Seconds since the first point; of the wall clock, or of `clock`.
    clock : str, optional
        Event key that tells the time in seconds, for example of a simulated beamline that does not wait.
    target : float, optional
        The objective's value that is good enough: reached by a valid point that holds all constraints.
    improvement : float, optional
        Stop when the expected improvement over the best point, in the objective's unit, is below this ...
    patience : int
        ... for so many proposals in a row.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float | None = Field(default=None, gt=0)
    clock: str | None = None
    target: float | None = None
    improvement: float | None = Field(default=None, gt=0)
    patience: int = Field(default=3, ge=1)

    @classmethod
    def of(cls, until: "Until | Mapping[str, Any] | None") -> "Until":
        """The rules themselves, those that a JSON mapping describes, or none.

        Raises
        ------
        BadInputError
            If it is no mapping, or the mapping has an unknown key or a wrong value: names it.
        """
        return validated(cls, until, "until")


class StopRules:
    """`Until` applied to one experiment, proposal by proposal.

    Parameters
    ----------
    until : Until
    space : Space
    """

    def __init__(self, until: Until, space: Space) -> None:
        self._until, self._space = until, space
        self._clock_start = math.nan
        self._unpromising = 0
        """How many proposals in a row were expected to improve too little."""

    def after(self, proposal: Proposal, row: Mapping[str, Any], seconds: float, best_score: float) -> str:
        """Why the experiment ends after an accepted proposal; empty if it goes on.

        Parameters
        ----------
        proposal : Proposal
            With its results.
        row : mapping
            Its last row.
        seconds : float
            Wall seconds since the run began.
        best_score : float
            The best objective so far, signed such that more is better; -inf if there is none.
        """
        rules = self._until
        if rules.seconds is not None and (spent := self._spent(row, seconds)) >= rules.seconds:
            return f"seconds: {spent:.1f} s have passed"
        if rules.target is not None:
            for result in proposal.results:
                if self._reached(result, rules.target):
                    return f"target: {self._space.objectives[0]} = {result[self._space.objectives[0]]:.6g}"
        if rules.improvement is not None and self._few_gains(proposal, rules.improvement, best_score):
            return f"improvement: less than {rules.improvement} expected, {rules.patience} times in a row"
        return ""

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
        if name not in proposal.decision.mean or math.isinf(best_score):
            return False
        mean, std = proposal.decision.mean[name], proposal.decision.std.get(name, 0.0)
        self._unpromising = self._unpromising + 1 if expected_improvement(sign * mean, std, best_score) < least else 0
        return self._unpromising >= self._until.patience
