"""When a search around the best point pays no more, so that every other proposal looks elsewhere.

A model that has seen one hill well knows nothing of another one. As its expected gain is judged by what was measured,
no acquisition function asks for the far side of the domain as long as there is something to be won nearby. So the share
of the whole domain grows from nothing to a half as soon as the search nearby wins nothing that counts: the model
expects no gain, or the latest proposals brought none. An improvement, wherever it is found, brings the search back.
The share exceeds a half only in batches whose other proposals would be the same point again.

Where the model explains nothing but noise, there is no best point to search around, and every proposal looks elsewhere.

If the readings tell their noise, the model can be trusted with smaller gains, and the search stays longer.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ebl_autonomy.agents.bayesian.state import SearchState
from ebl_autonomy.surrogates.priors import DRIFT_SUSPECTED

__all__ = ["is_flat", "why_exhausted"]

LEAST_GAIN: Final = 3e-4
"""The least expected gain that pays, as a share of the range of the expected values at the measured points."""
BELOW_NOISE: Final = 0.05
"""The same, as a share of the standard deviation of a reading."""
PATIENCE: Final = 2
"""Proposals per motor, without an improvement, after which the search is exhausted."""
BELOW_KNOWN_NOISE: Final = 0.01
"""`BELOW_NOISE`, if the readings tell their standard deviations."""
PATIENCE_WITH_KNOWN_NOISE: Final = 6
"""`PATIENCE`, likewise."""
LEAST_PATIENCE: Final = 6
"""Such proposals, at least."""
NO_RESPONSE: Final = 2.0
"""Nothing has responded if the same range is less than so many standard deviations of a reading."""
LEAST_RISE: Final = 1e-3
"""The least improvement that counts, as a share of the same range."""


def is_flat(state: SearchState) -> bool:
    """Whether nothing has responded beyond the noise: the expected values at the measured points hardly differ.

    Only where a survey was needed: without one, the noise is known, or there is a beam. Needs a model.
    """
    expected = state.expected[:, 0]
    if not state.has_survey or np.isnan(expected).all():
        return False
    span = float(np.nanmax(expected) - np.nanmin(expected))
    return span < NO_RESPONSE * state.surrogate.resolution(state.goal)


def why_exhausted(state: SearchState, acquisition: float, first: int) -> str:
    """Why the search around the best point pays no more; empty if it pays.

    Under drift it always pays, because the best point must be followed. That holds as soon as the results speak for a
    drift, although not loudly enough to be modelled: what looks like a search that wins nothing is then the best point
    moving away.

    Parameters
    ----------
    state : SearchState
        With a model.
    acquisition : float
        The logarithm of the improvement that is expected of the best proposal nearby.
    first : int
        Index of the first result that a model proposed.
    """
    expected = state.expected[:, 0]
    if np.isnan(expected).all() or _may_drift(state):
        return ""
    known = state.noise_is_known
    span = float(np.nanmax(expected) - np.nanmin(expected))
    noise = state.surrogate.resolution(state.goal)
    least = LEAST_GAIN * span + (BELOW_KNOWN_NOISE if known else BELOW_NOISE) * noise
    if acquisition < math.log(max(least, 1e-300)):
        return "no gain is expected here"
    patience = max(LEAST_PATIENCE, (PATIENCE_WITH_KNOWN_NOISE if known else PATIENCE) * state.space.dim)
    if len(expected) - first <= patience:
        return ""
    # By the posterior means, because the luckiest of the readings is no improvement.
    before, lately = expected[:-patience], expected[-patience:]
    rise = np.nanmax(lately, initial=-math.inf) - np.nanmax(before, initial=-math.inf)
    return "" if rise > LEAST_RISE * span else f"{patience} points brought nothing better"


def _may_drift(state: SearchState) -> bool:
    """Whether the objective drifts, or the results speak for it.

    With less evidence, a far hill that drifts and is not known yet would be missed.
    """
    return state.drifts or state.surrogate.drift_evidence(state.goal.objective) > DRIFT_SUSPECTED
