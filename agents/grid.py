"""Every point of a regular grid, once: exhaustive search as a baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from ebl_autonomy.agents.base import Agent, AgentOptions, Point
from ebl_autonomy.errors import BadInputError, NoMoreProposals
from ebl_autonomy.records import Decision
from ebl_autonomy.space import VOCS, FloatArray

__all__ = ["GridAgent", "GridOptions"]

Count = Annotated[int, Field(ge=1)]

SAME = 0.01
"""Largest distance between a node and a result that answers no known proposal, as a share of the grid's spacing."""


class GridOptions(AgentOptions):
    """Options of `GridAgent`; import it from ``ebl_autonomy.agents``.

    Attributes
    ----------
    points_per_axis : int or list of int
        Number of points for all continuous variables, or one number for each, in the order of the VOCS. A single point
        lies mid-domain. The nodes of a discrete variable are its allowed values.
    snake : bool
        Whether to reverse the direction after each line, so that no motor has to return; otherwise all lines ascend.
    """

    points_per_axis: Count | list[Count] = 5
    snake: bool = True


class GridAgent(Agent):
    """The points of a grid in order, the last variable fastest; each once, whatever its result.

    The remaining points follow from the results and the pending proposals, so an interrupted grid continues with its
    gaps. Contextual variables, objectives and constraints do not change the order. The VOCS may have any number of
    objectives, or none. If only a part of the domain is searched (see `search_within`), the same number of points
    covers that part, in smaller steps.

    Parameters
    ----------
    vocs : VOCS or mapping
    seed : int
        No effect: the agent is deterministic.
    **options
        See `ebl_autonomy.agents.GridOptions`.

    Raises
    ------
    NoMoreProposals
        By ``suggest(n)`` if fewer than n points are left; its ``remaining`` is their number.
    """

    name = "grid"
    Options: ClassVar[type[AgentOptions]] = GridOptions

    def __init__(self, vocs: VOCS | Mapping[str, Any], seed: int = 0, **options: Any) -> None:
        super().__init__(vocs, seed, **options)
        self._space_changed()

    def _space_changed(self) -> None:
        self._axes = self._make_axes()
        self._shape = [len(axis) for axis in self._axes]
        self._noted = 0
        """Number of results whose nodes are in `_measured`."""
        self._measured: set[tuple[int, ...]] = set()
        self._begun = 0
        """Number of points at the beginning of the grid that are known to be measured."""
        self._learn()

    def _learn(self) -> None:
        """Note the nodes of new results; only what is new is looked at, because rasters have many points."""
        self._measured |= self._nodes(self._asked[self._noted :])
        self._noted = len(self._asked)

    @property
    def size(self) -> int:
        """Total number of points of the grid."""
        return math.prod(self._shape)

    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        pending = self._nodes(self._pending)
        left = self.size - len(self._measured) - len(pending - self._measured)
        if left < count:
            what = f"all {self.size} points are measured or pending" if not left else f"{left} points are left"
            raise NoMoreProposals(f"suggest({count}): {what}; make points_per_axis larger to go on", remaining=left)
        while self._begun < self.size and self._node(self._begun) in self._measured:
            self._begun += 1
        proposals: list[tuple[FloatArray, Decision]] = []
        number = self._begun
        while len(proposals) < count:
            node = self._node(number)
            number += 1
            if node not in self._measured and node not in pending:
                unit = np.array([axis[i] for axis, i in zip(self._axes, node, strict=True)])
                proposals.append((unit, Decision(reason=f"grid point {number} of {self.size}", model_version="none")))
        return proposals

    def _validate_vocs(self, vocs: VOCS) -> None:
        """Accept any VOCS, because outcomes have no effect."""

    def _make_axes(self) -> list[FloatArray]:
        """The nodes of each variable in the unit interval, ascending."""
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
        for name in self.space.names:
            if name in self.space.choices:
                axes.append(self.space.ladder(name))
            else:
                axes.append(np.linspace(0.0, 1.0, counts[name]) if counts[name] > 1 else np.array([0.5]))
        return axes

    def _node(self, number: int) -> tuple[int, ...]:
        """Indices along each axis of the grid's point `number`, the last axis fastest."""
        assert isinstance(self.options, GridOptions)
        node = []
        line = number
        for size in reversed(self._shape):
            line, i = divmod(line, size)
            # `line` now counts the completed passes along this axis: every other pass is reversed.
            node.append(size - 1 - i if self.options.snake and line % 2 else i)
        return tuple(reversed(node))

    def _nodes(self, of: Sequence[Point]) -> set[tuple[int, ...]]:
        """The nodes that points lie at; points between nodes are at none."""
        points = self.space.unit(of)
        nodes = np.empty(points.shape, dtype=int)
        on_grid = np.ones(len(points), dtype=bool)
        for i, axis in enumerate(self._axes):
            distance = np.abs(points[:, i, None] - axis[None, :])
            nodes[:, i] = np.argmin(distance, axis=1)
            spacing = float(np.min(np.diff(axis))) if len(axis) > 1 else 1.0
            on_grid &= distance.min(axis=1) <= SAME * spacing
        return {tuple(map(int, node)) for node in nodes[on_grid]}
