"""Hard limits: the results that keep them, and the point to measure if no other point is safe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ebl_autonomy.agents.bayesian.result_table import ResultTable
from ebl_autonomy.space import FloatArray, hard_limits
from ebl_autonomy.surrogates.base import SafetyLimits

__all__ = ["HardLimits"]


class HardLimits:
    """The hard limits of an agent; falsy without any.

    Parameters
    ----------
    constraints : mapping
        Hard limits in the form of a VOCS's constraints.
    outcomes : sequence of str
        Names of the columns of the outcomes.

    Attributes
    ----------
    columns : list of int
        Columns of the outcomes with a hard limit.

    Raises
    ------
    BadInputError
        If an entry is not a constraint.
    """

    def __init__(self, constraints: Mapping[str, Any], outcomes: Sequence[str]) -> None:
        self.constraints = dict(constraints)
        limits = hard_limits(constraints)
        self.columns = [list(outcomes).index(name) for name in limits]
        self._limits = list(limits.values())

    def __bool__(self) -> bool:
        return bool(self._limits)

    def for_surrogate(self, sigmas: float, reach: float) -> SafetyLimits:
        """The limits in the form that a surrogate takes; see `BayesianOptions` for `sigmas` and `reach`."""
        limits = zip(self.columns, self._limits, strict=True)
        return SafetyLimits(tuple((column, limit.low, limit.high) for column, limit in limits), sigmas, reach)

    def kept(self, table: ResultTable) -> np.ndarray:
        """Whether each result keeps all hard limits, bool, shape (n,); a NaN outcome does not."""
        kept = np.ones(len(table), dtype=bool)
        for column, limit in zip(self.columns, self._limits, strict=True):
            kept &= np.array([limit.holds(value) for value in table.Y[:, column]], dtype=bool)
        return kept

    def safest(self, table: ResultTable, among: np.ndarray) -> FloatArray:
        """The measured point with the largest margin to all limits, shape (d,), in the unit cube of motors.

        Parameters
        ----------
        table : ResultTable
        among : bool array, shape (n,)
            The results to choose from, which keep all limits; at least one.
        """
        margin = np.full(len(table), math.inf)
        for column, limit in zip(self.columns, self._limits, strict=True):
            y = table.Y[:, column]
            margin = np.minimum(margin, np.minimum(y - limit.low, limit.high - y) / (np.nanstd(y) or 1.0))
        return np.array(table.unit[int(np.nanargmax(np.where(among, margin, math.nan)))])
