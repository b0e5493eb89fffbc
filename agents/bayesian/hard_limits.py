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

    Raises
    ------
    BadInputError
        If one is no constraint.
    """

    def __init__(self, constraints: Mapping[str, Any]) -> None:
        self._limits = hard_limits(constraints)
        self.names = list(self._limits)

    def __bool__(self) -> bool:
        return bool(self._limits)

    def for_engine(self, outcomes: Sequence[str], sigmas: float, reach: float) -> SafetyLimits:
        """As a surrogate takes them."""
        limits = tuple((list(outcomes).index(name), limit.low, limit.high) for name, limit in self._limits.items())
        return SafetyLimits(limits, sigmas, reach)

    def columns(self, outcomes: Sequence[str]) -> list[int]:
        """Which outcomes have one."""
        return [list(outcomes).index(name) for name in self.names]

    def kept(self, table: ResultTable, outcomes: Sequence[str]) -> np.ndarray:
        """Which results kept them all, shape (n,); a NaN keeps none."""
        kept = np.ones(len(table), dtype=bool)
        for name, limit in self._limits.items():
            kept &= np.array([limit.holds(value) for value in table.Y[:, list(outcomes).index(name)]], dtype=bool)
        return kept

    def broken(self, results: Sequence[Mapping[str, float]]) -> int:
        """How many results broke one."""
        return sum(not all(limit.holds(r[name]) for name, limit in self._limits.items()) for r in results)

    def safest(self, table: ResultTable, outcomes: Sequence[str]) -> FloatArray:
        """Of the points that kept them, in the unit cube of motors, the one furthest from them, shape (d,)."""
        margin = np.full(len(table), math.inf)
        for name, limit in self._limits.items():
            y = table.Y[:, list(outcomes).index(name)]
            margin = np.minimum(margin, np.minimum(y - limit.low, limit.high - y) / (np.nanstd(y) or 1.0))
        return np.array(table.unit[int(np.nanargmax(np.where(self.kept(table, outcomes), margin, math.nan)))])
