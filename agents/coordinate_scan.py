"""What an operator does by hand: scan one motor, go to the best point, scan the next; then again, finer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from ebl_autonomy.agents.base import Agent, AgentOptions, Point
from ebl_autonomy.records import Decision
from ebl_autonomy.space import FloatArray, violation

__all__ = ["CoordinateScanAgent", "CoordinateScanOptions"]

FINEST = 1e-4
"""Share of the domain below which a scan does not shrink."""
SAME = 0.05
"""A result this near to a proposal, as a share of the scan's step, is its measurement."""


class CoordinateScanOptions(AgentOptions):
    """Options of `CoordinateScanAgent`.

    Attributes
    ----------
    points : int
        Of one scan.
    span : float
        Full width of the first pass's scans, as a share of the domain; what lies outside the domain is cut off, and
        the points are spread over the rest.
    shrink : float
        Factor of the width from pass to pass.
    """

    points: int = Field(default=9, ge=3, le=1000)
    span: float = Field(default=1.0, gt=0.0, le=2.0)
    shrink: float = Field(default=1.0 / 3.0, gt=0.0, lt=1.0)


class CoordinateScanAgent(Agent):
    """Scans each motor in turn, through the best point so far.

    The first point is where the beamline stands (the variables' default values; mid-domain for those that have none).
    Each scan runs through the best point known; when all its points have answers, the best of them and of the point
    it ran through becomes the new one. Feasible points are better than others; of those that are not, the one that
    violates the constraints least; a scan without a valid answer changes nothing. Each pass over the motors scans a
    third (`shrink`) of the pass before. A discrete variable is scanned over its own values. Contextual variables change
    nothing.

    A batch larger than what is left of a scan is filled up from the next scan, drawn through the best point of the
    answers that are there. If the missing answers then turn out better, the next scan is drawn anew through the better
    point, and those few points are lost to it. So a batch never waits, and what comes next still depends on nothing
    but configuration, results and the proposals that are out.

    Parameters
    ----------
    vocs : VOCS or mapping
    seed : int
        Has no effect: nothing here is random.
    **options
        See `CoordinateScanOptions`.
    """

    name = "coordinate_scan"
    Options: ClassVar[type[AgentOptions]] = CoordinateScanOptions

    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        """Retrace all scans from the start: each point has a result, or is out, or is proposed now."""
        results = _Unclaimed(self.space.unit(self._results))
        pending = _Unclaimed(self.space.unit(self._pending))
        proposals: list[tuple[FloatArray, Decision]] = []
        centre, rank = self._start(), _WORST
        number = -1
        while True:
            targets, step, reason = self._scan(number, centre)
            answers: list[tuple[tuple[float, float], FloatArray]] = []
            for target in targets:
                found = results.claim(target, SAME * step)
                if found is not None:
                    answers.append((self._rank(self._results[found]), target))
                elif pending.claim(target, SAME * step) is None:
                    proposals.append((target, Decision(reason=reason, model_version="none")))
                    if len(proposals) == count:
                        return proposals
            if any(np.array_equal(target, centre) for _, target in answers):
                rank = _WORST  # measured again: the newer answer stands for the point
            for new, target in answers:
                if new > rank:
                    centre, rank = target, new
            number += 1

    def _scan(self, number: int, centre: FloatArray) -> tuple[list[FloatArray], float, str]:
        """Points of scan `number` (-1: the start alone) through `centre`, their step in the unit cube, the reason."""
        options = self.options
        assert isinstance(options, CoordinateScanOptions)
        if number < 0:
            return [centre], options.span / (options.points - 1), "start"
        turn, i = divmod(number, self.space.dim)
        name = self.space.names[i]
        half = 0.5 * max(options.span * options.shrink**turn, FINEST)
        low, high = max(centre[i] - half, 0.0), min(centre[i] + half, 1.0)
        if name in self.space.choices:
            values = self._choices(i, centre[i], low, high, options.points)
        else:
            values = np.linspace(low, high, options.points)
            # Symmetric about the centre, the middle value is the centre itself but for rounding.
            values[np.abs(values - centre[i]) < 1e-12] = centre[i]
        targets = []
        for value in values:
            target = centre.copy()
            target[i] = value
            targets.append(target)
        return targets, float(np.min(np.diff(values))), f"scan of {name}, pass {turn + 1}"

    def _choices(self, i: int, here: float, low: float, high: float, points: int) -> FloatArray:
        allowed = (self.space.choices[self.space.names[i]] - self.space.low[i]) / (
            self.space.high[i] - self.space.low[i]
        )
        inside = allowed[(allowed >= low) & (allowed <= high)]
        if len(inside) < 3:  # finer than the values lie: the neighbours at least
            inside = np.sort(allowed[np.argsort(np.abs(allowed - here), kind="stable")[:3]])
        if len(inside) <= points:
            return np.asarray(inside)
        return np.asarray(inside[np.unique(np.linspace(0, len(inside) - 1, points).round().astype(int))])

    def _start(self) -> FloatArray:
        return np.asarray(self.space.snap(self.space.unit([self.space.standing()]))[0])

    def _rank(self, result: Point) -> tuple[float, float]:
        """Larger is better: feasible and valid, then by score; else by how little the constraints are violated."""
        score = self.space.score(result)
        if not math.isnan(score) and self.space.feasible(result):
            return 1.0, score
        limits = self.space.limits
        (excess,) = violation(list(limits.values()), np.array([[result[name] for name in limits]]))
        return (0.0, -float(excess)) if limits and math.isfinite(excess) else _WORST


_WORST = (-1.0, 0.0)


@dataclass
class _Unclaimed:
    """Points in order, each of which answers one proposal at most."""

    points: FloatArray

    def __post_init__(self) -> None:
        self._free = np.ones(len(self.points), dtype=bool)

    def claim(self, target: FloatArray, tolerance: float) -> int | None:
        """The first free point that is the same as `target`, shape (d,); it is free no more."""
        near = self._free & (np.abs(self.points - target) <= tolerance).all(axis=1)
        if not near.any():
            return None
        found = int(np.argmax(near))
        self._free[found] = False
        return found
