"""What an operator does by hand: scan each motor in turn, go to its peak, then all again over a shorter range."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from pydantic import Field

from ebl_autonomy.agents.base import Agent, AgentOptions
from ebl_autonomy.records import Decision
from ebl_autonomy.space import FloatArray

__all__ = ["CoordinateScanAgent", "CoordinateScanOptions"]


class CoordinateScanOptions(AgentOptions):
    """Options of `CoordinateScanAgent`.

    Attributes
    ----------
    points : int
        Of one scan.
    span : float
        Range of the first pass's scans, as a share of the domain.
    shrink : float
        Factor of the range from pass to pass.
    """

    points: int = Field(default=9, ge=3)
    span: float = Field(default=1.0, gt=0.0, le=1.0)
    shrink: float = Field(default=1.0 / 3.0, gt=0.0, lt=1.0)


class CoordinateScanAgent(Agent):
    """Scan motor after motor, each time moving on from the best feasible point of the scan.

    A scan that ends without a valid point leaves the motor where it was. A batch that reaches beyond the end of a line
    takes the next line from where the motors would stand if the rest of this one were no better, because its results
    are not known yet.
    """

    name = "coordinate_scan"
    Options: ClassVar[type[AgentOptions]] = CoordinateScanOptions

    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        return [self._point(self._made + k) for k in range(count)]

    def _point(self, k: int) -> tuple[FloatArray, Decision]:
        options = self.options
        assert isinstance(options, CoordinateScanOptions)
        line, step = divmod(k, options.points)
        at = self._start()
        for earlier in range(line):
            at = self._after(earlier, at)
        axis, name = line % self.space.dim, self.space.names[line % self.space.dim]
        point = at.copy()
        point[axis] = self._positions(line, at)[step]
        reason = f"scan of {name}, pass {line // self.space.dim + 1}"
        return point, Decision(reason=reason, model_version="none")

    def _positions(self, line: int, at: FloatArray) -> FloatArray:
        options = self.options
        assert isinstance(options, CoordinateScanOptions)
        span = options.span * options.shrink ** (line // self.space.dim)
        centre = float(np.clip(at[line % self.space.dim], span / 2.0, 1.0 - span / 2.0))
        return np.linspace(centre - span / 2.0, centre + span / 2.0, options.points)

    def _after(self, line: int, at: FloatArray) -> FloatArray:
        """Where the motors stand once a line is scanned: at its best point, or where they were."""
        options = self.options
        assert isinstance(options, CoordinateScanOptions)
        scanned = self._results[line * options.points : (line + 1) * options.points]
        merits = [self.space.score(r) if self.space.feasible(r) else math.nan for r in scanned]
        if not merits or np.isnan(merits).all():
            merits = [self.space.score(r) for r in scanned]  # nothing is feasible yet: go by the objective alone
        if not merits or np.isnan(merits).all():
            return at
        after = at.copy()
        axis = line % self.space.dim
        after[axis] = self.space.unit([scanned[int(np.nanargmax(merits))]])[0][axis]
        return after

    def _start(self) -> FloatArray:
        return self.space.unit([self.space.standing()])[0]
