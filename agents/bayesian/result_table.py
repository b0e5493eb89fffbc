"""Results as arrays, so that an agent with many results does not iterate over dictionaries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ebl_autonomy.records import STD
from ebl_autonomy.space import FloatArray, Space

__all__ = ["ResultTable"]


class ResultTable:
    """The results of an agent by columns; each result adds a row.

    Parameters
    ----------
    space : Space
    outcomes : sequence of str
        Outcomes in the columns of Y.
    extra : sequence of str
        Outcomes in the columns of `extra`.

    Attributes
    ----------
    unit : FloatArray, shape (n, d)
        Variables in the unit cube.
    context : FloatArray, shape (n, c)
        Contextual variables, in their own units.
    Y, std : FloatArray, shape (n, m)
        Outcomes and their standard deviations, in their own units; NaN where invalid or unknown.
    extra : FloatArray, shape (n, e)
        Further outcomes, in their own units; NaN where unknown.
    """

    def __init__(self, space: Space, outcomes: Sequence[str], extra: Sequence[str] = ()) -> None:
        self._space = space
        self._outcomes = list(outcomes)
        self._extra = list(extra)
        self._count = 0
        self._rows = np.empty((64, space.dim + len(space.context) + 2 * len(self._outcomes) + len(self._extra)))

    def __len__(self) -> int:
        return self._count

    def extend(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Append results."""
        if not results:
            return
        if self._count + len(results) > len(self._rows):
            grown = np.empty((2 * (self._count + len(results)), self._rows.shape[1]))
            grown[: self._count] = self._rows[: self._count]
            self._rows = grown
        rest = [
            [
                *(float(r[name]) for name in self._space.context),
                *(float(r[name]) for name in self._outcomes),
                *(float(r.get(name + STD, math.nan)) for name in self._outcomes),
                *(float(r.get(name, math.nan)) for name in self._extra),
            ]
            for r in results
        ]
        self._rows[self._count : self._count + len(results)] = np.hstack([self._space.unit(results), np.array(rest)])
        self._count += len(results)

    @property
    def unit(self) -> FloatArray:
        return self._columns(0, self._space.dim)

    @property
    def context(self) -> FloatArray:
        return self._columns(self._space.dim, len(self._space.context))

    @property
    def Y(self) -> FloatArray:  # noqa: N802 - the field's own name
        return self._columns(self._space.dim + len(self._space.context), len(self._outcomes))

    @property
    def std(self) -> FloatArray:
        m = len(self._outcomes)
        return self._columns(self._space.dim + len(self._space.context) + m, m)

    @property
    def extra(self) -> FloatArray:
        return self._columns(self._rows.shape[1] - len(self._extra), len(self._extra))

    def _columns(self, first: int, count: int) -> FloatArray:
        return self._rows[: self._count, first : first + count]
