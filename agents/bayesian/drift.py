"""Detection of drift: how long measurements stay valid, and whether a realignment would pay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from ebl_autonomy.agents.bayesian.state import SearchState
from ebl_autonomy.agents.bayesian.training_data import CLOCK_UNIT

__all__ = ["DriftEstimate", "estimate_drift"]

SURE: Final = 3.0
"""Standard deviations above which a loss is not chance; large, because the loss is the largest of several."""
LATEST: Final = 5
"""Least number of latest results that represent the present state of the beamline."""
BEST: Final = 16
"""Number of best results that the model compares to find the former optimum."""


@dataclass(frozen=True)
class DriftEstimate:
    """An estimate of the drift of the objective.

    Attributes
    ----------
    active : bool
        Whether the model infers a drift.
    holds_for : float
        Number of measurements after which a measurement holds little information; NaN without drift.
    lost : float
        Expected loss of the best latest point now, compared with the former optimum in its time, in the objective's
        unit.
    sigmas : float
        The loss in standard deviations of the model.
    noise : float
        Standard deviation of one measurement, in the objective's unit.
    """

    active: bool
    holds_for: float = math.nan
    lost: float = math.nan
    sigmas: float = math.nan
    noise: float = 0.0

    @property
    def realign(self) -> bool:
        """Whether a realignment would pay: the loss is significant, and larger than the noise of one measurement."""
        return self.active and self.sigmas > SURE and self.lost > self.noise


def estimate_drift(state: SearchState) -> DriftEstimate:
    """Estimate the drift from the model of the objective."""
    if not state.results or not state.can_model or not state.drifts:
        return DriftEstimate(False)
    surrogate, goal, data, n = state.surrogate, state.goal, state.data, len(state.results)
    assert data.inputs.clock_at is not None
    holds_for = float(CLOCK_UNIT * surrogate.length_scales(goal.objective)[data.inputs.clock_at])
    merits = state.merits
    good = np.flatnonzero(np.isfinite(merits) & (goal.violation(data.table.Y) == 0.0))
    # The present state: the best of the results that are recent enough.
    lately = good[good >= n - max(LATEST, math.ceil(min(holds_for, n)))]
    if not len(lately):
        return DriftEstimate(True, holds_for)
    # The former optimum by the model, because with the luckiest reading any noise would look like a loss.
    best = good[np.argsort(-merits[good], kind="stable")[:BEST]]
    then = data.observations(n, state.scaled_at).X[-n:][best]
    now = state.inputs_now(state.searched[lately])
    column, sign = goal.objective, goal.sign
    two = np.vstack([X[int(np.argmax(sign * surrogate.latent_means(X, [column])[:, 0]))] for X in (then, now)])
    (before, after), stds = (latent[:, column] for latent in surrogate.predict_latent(two))
    expected = surrogate.predict(two)[0][:, column]
    return DriftEstimate(
        True,
        holds_for,
        lost=float(sign * (expected[0] - expected[1])),
        sigmas=float(sign * (before - after) / np.hypot(*stds)),
        noise=surrogate.diagnose(column).noise,
    )
