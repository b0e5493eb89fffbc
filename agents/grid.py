"""Every point of a regular grid, once: the honest baseline of exhaustive search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from ebl_autonomy.agents.base import Agent, AgentOptions
from ebl_autonomy.errors import BadInputError, NoMoreProposals
from ebl_autonomy.records import Decision
from ebl_autonomy.space import VOCS, FloatArray

__all__ = ["GridAgent", "GridOptions"]

Count = Annotated[int, Field(ge=1)]

SAME = 0.01
"""A result this near to a node, as a share of the grid's spacing, is a measurement of the node."""


class GridOptions(AgentOptions):
    """Options of `GridAgent`.

    Attributes
    ----------
    points_per_axis : int or list of int
        For every continuous variable, or one number for each in the VOCS's order. An axis of one point stands
        mid-domain. Discrete variables always take their own values.
    snake : bool
        Turn round at the end of each line, so that no motor flies back; otherwise every line runs upwards.
    """

    points_per_axis: Count | list[Count] = 5
    snake: bool = True


class GridAgent(Agent):
    """The points of a grid in order, the last variable fastest; each once, whatever its result.

    What is left is read off the results and the proposals that are out, so a grid that was cut short is continued
    where its gaps are. Contextual variables, objectives and constraints do not change the order; it needs no objective,
    and takes any number of them.

    Parameters
    ----------
    vocs : VOCS or mapping
    seed : int
        Has no effect: nothing here is random.
    **options
        See `GridOptions`.

    Raises
    ------
    NoMoreProposals
        By ``suggest(n)`` when fewer than n points are left; its ``remaining`` says how many.
    """

    name = "grid"
    Options: ClassVar[type[AgentOptions]] = GridOptions

    def __init__(self, vocs: VOCS | Mapping[str, Any], seed: int = 0, **options: Any) -> None:
        super().__init__(vocs, seed, **options)
        self._axes = self._make_axes()
        self._shape = [len(axis) for axis in self._axes]

    @property
    def size(self) -> int:
        """Number of points of the whole grid."""
        return math.prod(self._shape)

    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        done = self._done()
        left = self.size - len(done)
        if left < count:
            what = f"all {self.size} points of the grid are measured or out" if not left else f"{left} points are left"
            raise NoMoreProposals(f"suggest({count}): {what}; make points_per_axis larger to go on", remaining=left)
        proposals: list[tuple[FloatArray, Decision]] = []
        number = 0
        while len(proposals) < count:
            node = self._node(number)
            number += 1
            if node not in done:
                unit = np.array([axis[i] for axis, i in zip(self._axes, node, strict=True)])
                proposals.append((unit, Decision(reason=f"grid point {number} of {self.size}", model_version="none")))
        return proposals

    def _validate_vocs(self, vocs: VOCS) -> None:
        """Any will do: outcomes make no difference."""

    def _make_axes(self) -> list[FloatArray]:
        """Per variable the nodes' coordinates in the unit interval, ascending."""
        assert isinstance(self.options, GridOptions)
        wanted = self.options.points_per_axis
        continuous = [name for name in self.space.names if name not in self.space.choices]
        if isinstance(wanted, list) and len(wanted) != len(continuous):
            raise BadInputError(
                f"points_per_axis={wanted} has {len(wanted)} entries, the VOCS has {len(continuous)} continuous "
                f"variables: give one for each of {continuous}, or a single number"
            )
        counts = dict(zip(continuous, wanted if isinstance(wanted, list) else [wanted] * len(continuous), strict=True))
        axes = []
        for i, name in enumerate(self.space.names):
            if name in self.space.choices:
                axes.append((self.space.choices[name] - self.space.low[i]) / (self.space.high[i] - self.space.low[i]))
            else:
                axes.append(np.linspace(0.0, 1.0, counts[name]) if counts[name] > 1 else np.array([0.5]))
        return axes

    def _node(self, number: int) -> tuple[int, ...]:
        """Indices of the grid's point `number` along each axis, the last fastest."""
        assert isinstance(self.options, GridOptions)
        node = []
        line = number
        for size in reversed(self._shape):
            line, i = divmod(line, size)
            # `line` now counts how often this axis has been run through: every other run goes back.
            node.append(size - 1 - i if self.options.snake and line % 2 else i)
        return tuple(reversed(node))

    def _done(self) -> set[tuple[int, ...]]:
        """The nodes that are measured or out."""
        points = self.space.unit([*self._results, *self._pending])
        nodes = np.empty(points.shape, dtype=int)
        on_grid = np.ones(len(points), dtype=bool)
        for i, axis in enumerate(self._axes):
            distance = np.abs(points[:, i, None] - axis[None, :])
            nodes[:, i] = np.argmin(distance, axis=1)
            spacing = float(np.min(np.diff(axis))) if len(axis) > 1 else 1.0
            on_grid &= distance.min(axis=1) <= SAME * spacing
        return {tuple(map(int, node)) for node in nodes[on_grid]}
