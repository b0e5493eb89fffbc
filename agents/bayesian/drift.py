"""Whether measurements grow old, and whether measuring again where it was best would pay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from ebl_autonomy.agents.bayesian.state import SearchState
from ebl_autonomy.agents.bayesian.training_data import CLOCK_UNIT

__all__ = ["DriftEstimate", "estimate_drift"]

SURE: Final = 3.0
"""A loss of this many standard deviations is no chance: it is the largest of several."""
LATEST: Final = 5
"""How many of the latest results, at least, show where the beamline stands."""
BEST: Final = 16
"""How many of the best results are compared by the model to find the best there was."""


@dataclass(frozen=True)
class DriftEstimate:
    """Whether measurements grow old.

    Attributes
    ----------
    active : bool
    holds_for : float
        After how many more measurements one tells little about the present; NaN if nothing drifts.
    lost : float
        By how much the best of the latest points is expected to be worse now than the best point was in its time, in
        the objective's unit.
    sigmas : float
        The same loss in standard deviations of the model.
    """

    active: bool
    holds_for: float = math.nan
    lost: float = math.nan
    sigmas: float = math.nan

    @property
    def realign(self) -> bool:
        """Whether aligning again would pay: what is lost is hardly chance."""
        return self.active and self.sigmas > SURE


def estimate_drift(state: SearchState) -> DriftEstimate:
    """What the model of the objective says of drift."""
    if not state.results or not state.can_model or not state.drifts:
        return DriftEstimate(False)
    surrogate, goal, data, n = state.surrogate, state.goal, state.data, len(state.results)
    assert data.inputs.clock_at is not None
    holds_for = float(CLOCK_UNIT * surrogate.length_scales(goal.objective)[data.inputs.clock_at])
    merits = state.merits
    good = np.flatnonzero(np.isfinite(merits) & (goal.violation(data.table.Y) == 0.0))
    # Where it stands: the best of what was measured lately enough to tell.
    lately = good[good >= n - max(LATEST, math.ceil(min(holds_for, n)))]
    if not len(lately):
        return DriftEstimate(True, holds_for)
    # The best there was, as the model sees it: the luckiest reading would make any noise look like a loss.
    best = good[np.argsort(-merits[good], kind="stable")[:BEST]]
    then = data.observations(n, state.scaled_at).X[-n:][best]
    now = state.inputs_now(state.searched[lately])
    column, sign = goal.objective, goal.sign
    two = np.vstack([X[int(np.argmax(sign * surrogate.predict_latent(X)[0][:, column]))] for X in (then, now)])
    (before, after), stds = (latent[:, column] for latent in surrogate.predict_latent(two))
    expected = surrogate.predict(two)[0][:, column]
    return DriftEstimate(
        True,
        holds_for,
        lost=float(sign * (expected[0] - expected[1])),
        sigmas=float(sign * (before - after) / np.hypot(*stds)),
    )
