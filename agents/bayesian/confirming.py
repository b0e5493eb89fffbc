"""The phase that measures a reading again which would be the best, if it were true.

A model that knows outliers gives such a reading no weight. A glitch costs one measurement this way, and a narrow peak,
which looks the same, is not lost: two readings that agree are no outliers.
"""

from __future__ import annotations

import math

import numpy as np

from ebl_autonomy.agents.bayesian.phases import Proposal, Request
from ebl_autonomy.agents.bayesian.state import SearchState
from ebl_autonomy.agents.bayesian.survey import SAME_PLACE
from ebl_autonomy.agents.bayesian.training_data import CLOCK_UNIT
from ebl_autonomy.records import Decision
from ebl_autonomy.space import FloatArray

__all__ = ["Confirming", "row_to_confirm"]


class Confirming:
    """Measures a suspect reading again, once, if it is better than the best that the model expects anywhere measured.

    It proposes nothing under hard limits, where a suspect reading may be a warning, nor for several objectives.
    """

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        if state.hard or len(state.goal.objectives) > 1 or not state.can_model:
            return []
        row = row_to_confirm(state, request.out(state))
        if row is None:
            return []
        unit, surrogate = state.data.table.unit[row], state.surrogate
        mean, std = surrogate.predict(state.inputs_now(state.searched[row][None]))
        column, suspect = state.suspects[row]
        name, reading = state.outcomes[column], state.data.table.Y[row, column]
        return [
            (
                unit,
                Decision(
                    mean=dict(zip(state.outcomes, map(float, mean[0]), strict=True)),
                    std=dict(zip(state.outcomes, map(float, std[0]), strict=True)),
                    reason=f"row {row} once more: {name} {reading:.3g} measured, {suspect.mean:.3g} expected",
                    model_version=surrogate.version,
                ),
            )
        ]


def row_to_confirm(state: SearchState, out: FloatArray) -> int | None:
    """The suspect result that is to be measured again; None if there is none.

    Parameters
    ----------
    state : SearchState
        With a model.
    out : FloatArray, shape (p, d)
        Points of the unit cube of motors that are proposed and not yet measured.
    """
    suspects = state.suspects
    if not suspects:
        return None
    column, sign, units = state.goal.objective, state.goal.sign, state.data.table.unit
    best = sign * state.surrogate.predict(state.inputs_now(state.best_expected[None]))[0][0, column]
    merits, youngest = state.merits, len(units) - _holds_for(state)
    feasible = state.goal.violation(state.data.table.Y) == 0.0
    rows = [row for row in suspects if feasible[row] and row >= youngest]
    known = np.vstack([units, out])
    for row in sorted(rows, key=lambda row: -merits[row]):
        there = (np.abs(known - units[row]) <= SAME_PLACE).all(axis=1)
        if merits[row] > best and there.sum() == 1:
            return row
    return None


def _holds_for(state: SearchState) -> float:
    """The number of measurements after which a reading says nothing about now."""
    clock = state.data.inputs.clock_at
    return math.inf if clock is None else CLOCK_UNIT * state.surrogate.length_scales(state.goal.objective)[clock]
