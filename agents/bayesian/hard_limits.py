"""Limits that may not be risked: which results kept them, and where to go if nothing else is safe."""

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
    """The hard limits of an agent; false if there are none.

    Parameters
    ----------
    constraints : mapping
        In the form of a VOCS's constraints.
    outcomes : sequence of str
        The columns of the outcomes.

    Attributes
    ----------
    columns : list of int
        Which outcomes have a hard limit.

    Raises
    ------
    BadInputError
        If one is no constraint.
    """

    def __init__(self, constraints: Mapping[str, Any], outcomes: Sequence[str]) -> None:
        self.constraints = dict(constraints)
        limits = hard_limits(constraints)
        self.columns = [list(outcomes).index(name) for name in limits]
        self._limits = list(limits.values())

    def __bool__(self) -> bool:
        return bool(self._limits)

    def for_surrogate(self, sigmas: float, reach: float) -> SafetyLimits:
        """As a surrogate takes them; see `BayesianOptions` for `sigmas` and `reach`."""
        limits = zip(self.columns, self._limits, strict=True)
        return SafetyLimits(tuple((column, limit.low, limit.high) for column, limit in limits), sigmas, reach)

    def kept(self, table: ResultTable) -> np.ndarray:
        """Which results kept them all, bool, shape (n,); a NaN keeps none."""
        kept = np.ones(len(table), dtype=bool)
        for column, limit in zip(self.columns, self._limits, strict=True):
            kept &= np.array([limit.holds(value) for value in table.Y[:, column]], dtype=bool)
        return kept

    def safest(self, table: ResultTable) -> FloatArray:
        """Of the points that kept them, in the unit cube of motors, the one furthest from them, shape (d,)."""
        margin = np.full(len(table), math.inf)
        for column, limit in zip(self.columns, self._limits, strict=True):
            y = table.Y[:, column]
            margin = np.minimum(margin, np.minimum(y - limit.low, limit.high - y) / (np.nanstd(y) or 1.0))
        return np.array(table.unit[int(np.nanargmax(np.where(self.kept(table), margin, math.nan)))])
