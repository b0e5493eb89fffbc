"""When a run has measured enough: rules that look at what was measured and what was proposed."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.stats import norm

from ebl_autonomy.errors import BadInputError, validation_text

__all__ = ["Until", "expected_improvement"]


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
        if isinstance(until, Until):
            return until
        if not isinstance(until, Mapping | None):
            raise BadInputError(f"until={until!r}: give a mapping with the keys {sorted(cls.model_fields)}")
        try:
            return cls.model_validate(dict(until or {}))
        except ValidationError as error:
            raise BadInputError(f"until: {validation_text(error)}. Its keys are {sorted(cls.model_fields)}.") from error


def expected_improvement(mean: float, std: float, best: float, sign: float) -> float:
    """By how much a point is expected to better `best`, in the objective's unit.

    Jones, Schonlau and Welch 1998, J. Global Optim. 13, 455, eq. 15.

    Parameters
    ----------
    mean, std : float
        Prediction at the point.
    best : float
        The best value so far.
    sign : float
        +1 if more is better, -1 if less is.
    """
    if not (math.isfinite(mean) and math.isfinite(best)):
        return math.inf
    gain = sign * (mean - best)
    if not std > 0:
        return max(gain, 0.0)
    z = gain / std
    return float(gain * norm.cdf(z) + std * norm.pdf(z))
