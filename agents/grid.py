"""The full grid: what mapping does today, and what every agent is measured against."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from pydantic import Field

from ebl_autonomy.agents.base import Agent, AgentOptions
from ebl_autonomy.errors import SpentError
from ebl_autonomy.records import Decision
from ebl_autonomy.space import FloatArray

__all__ = ["GridAgent", "GridOptions"]


class GridOptions(AgentOptions):
    """Options of `GridAgent`.

    Attributes
    ----------
    points_per_axis : int
        For continuous variables; a discrete variable takes each of its values.
    snake : bool
        Run every second line backwards, so that no motor flies back.
    """

    points_per_axis: int = Field(default=5, ge=2)
    snake: bool = True


class GridAgent(Agent):
    """Every point of a regular grid once, the last variable fastest; a `SpentError` when all are proposed."""

    name = "grid"
    Options: ClassVar[type[AgentOptions]] = GridOptions

    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        options, axes = self.options, [self._axis(name) for name in self.space.names]
        assert isinstance(options, GridOptions)
        size = math.prod(len(axis) for axis in axes)
        first = self._made
        if first + count > size:
            raise SpentError(f"the grid has {size} points: {first} are proposed, {count} more were asked for")
        proposals = []
        for k in range(first, first + count):
            index = _snake(k, [len(axis) for axis in axes]) if options.snake else _plain(k, [len(a) for a in axes])
            point = np.array([axis[i] for axis, i in zip(axes, index, strict=True)])
            proposals.append((point, Decision(reason=f"grid point {k + 1} of {size}", model_version="none")))
        return proposals

    def _axis(self, name: str) -> FloatArray:
        """Positions along one variable, in the unit interval."""
        assert isinstance(self.options, GridOptions)
        if name in self.space.choices:
            i = self.space.names.index(name)
            values = self.space.choices[name]
            return np.asarray((values - self.space.low[i]) / (self.space.high[i] - self.space.low[i]))
        return np.linspace(0.0, 1.0, self.options.points_per_axis)


def _plain(k: int, shape: list[int]) -> list[int]:
    index = []
    for n in reversed(shape):
        k, i = divmod(k, n)
        index.append(i)
    return index[::-1]


def _snake(k: int, shape: list[int]) -> list[int]:
    """The k-th index when each line is run in the direction in which the one before ended."""
    index = []
    for n in reversed(shape):
        k, i = divmod(k, n)
        index.append(i if k % 2 == 0 else n - 1 - i)
    return index[::-1]
