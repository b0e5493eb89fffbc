"""The manual method of an operator: scan one motor, go to the best point, scan the next motor; then repeat finer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from ebl_autonomy.agents.base import Agent, AgentOptions, Point
from ebl_autonomy.records import Decision
from ebl_autonomy.space import FloatArray, violation

__all__ = ["CoordinateScanAgent", "CoordinateScanOptions"]

FINEST = 1e-4
"""Smallest width of a scan, as a share of the domain."""
SAME = 0.05
"""Largest distance between a point of a scan and one that was proposed before, as a share of the scan's step."""


class CoordinateScanOptions(AgentOptions):
    """Options of `CoordinateScanAgent`; import it from ``ebl_autonomy.agents``.

    Attributes
    ----------
    points : int
        Number of points of one scan.
    span : float
        Full width of the scans of the first pass, as a share of the domain; a scan is clipped to the domain, and its
        points are spread over the remaining width.
    shrink : float
        Ratio of the widths of a pass and the pass before it.
    """

    points: int = Field(default=9, ge=3, le=1000)
    span: float = Field(default=1.0, gt=0.0, le=2.0)
    shrink: float = Field(default=1.0 / 3.0, gt=0.0, lt=1.0)


class CoordinateScanAgent(Agent):
    """Scans each motor in turn, through the best point so far.

    The first point is the present position (the variables' default values; mid-domain without a default). Each scan
    runs through the best known point. When all points of a scan have results, the best of them and of the point that
    the scan runs through becomes the best known point. Feasible points rank above infeasible ones, and infeasible ones
    by the smallest violation of the constraints. A scan without a valid result does not change the best point. The
    width of each pass over the motors is a third (`shrink`) of the pass before. Contextual variables have no effect.

    A discrete variable is scanned over its allowed values: in the first pass over all, if there are at most `points`,
    and always at least over the best one and its neighbours. A variable whose values have no order is scanned over all
    of them in every pass. A point that an earlier scan has measured is not measured again, unless nothing is new in a
    whole pass.

    If a batch is larger than the rest of a scan, it is filled from the next scan, through the best point of the present
    results. If a missing result is better, the next scan is replaced by one through the better point, and the points
    already measured of it are not used. So a batch never waits, and the next proposals depend only on configuration,
    results and pending proposals.

    Parameters
    ----------
    vocs : VOCS or mapping
    seed : int
        No effect: the agent is deterministic.
    **options
        See `ebl_autonomy.agents.CoordinateScanOptions`.
    """

    name = "coordinate_scan"
    Options: ClassVar[type[AgentOptions]] = CoordinateScanOptions

    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        """Retrace all scans from the start: each point has a result, is pending, or is proposed now."""
        excess = self._violations()
        answers_of = self._answers()
        results = _Unclaimed(self.space.unit([self._asked[rows[0]] for rows in answers_of]))
        pending = _Unclaimed(self.space.unit(self._pending))
        proposals: list[tuple[FloatArray, Decision]] = []
        centre, rank = self._start(), _WORST
        number, idle = -1, 0
        earlier: dict[bytes, tuple[float, float] | None] = {}
        """Every point of earlier scans, and its rank; None if it is pending."""
        while True:
            targets, step, reason = self._scan(number, centre)
            answers: list[tuple[tuple[float, float], FloatArray]] = []
            if self._is_discrete(number) and all(target.tobytes() in earlier for target in targets):
                targets = self._left_out(number, centre, earlier) or targets
            again = idle >= self.space.dim or not self._is_discrete(number)
            idle = 0 if again or any(target.tobytes() not in earlier for target in targets) else idle + 1
            for target in targets:
                if not again and target.tobytes() in earlier:
                    if (known := earlier[target.tobytes()]) is not None:
                        answers.append((known, target))
                    continue
                found = results.claim(target, SAME * step)
                if found is not None:
                    earlier[target.tobytes()] = highest = max(
                        self._rank(self._results[row], excess[row]) for row in answers_of[found]
                    )
                    answers.append((highest, target))
                    continue
                earlier[target.tobytes()] = None
                if pending.claim(target, SAME * step) is None:
                    proposals.append((target, Decision(reason=reason, model_version="none")))
                    if len(proposals) == count:
                        return proposals
            if any(np.array_equal(target, centre) for _, target in answers):
                rank = _WORST  # measured again: the newer result replaces the older one
            for new, target in answers:
                if new > rank:
                    centre, rank = target, new
            number += 1

    def _is_discrete(self, number: int) -> bool:
        """Whether scan `number` is over a discrete variable."""
        return number >= 0 and self.space.names[number % self.space.dim] in self.space.choices

    def _left_out(
        self, number: int, centre: FloatArray, earlier: Mapping[bytes, tuple[float, float] | None]
    ) -> list[FloatArray]:
        """The values of discrete scan `number` nearest to `centre` that no scan has measured, as points; at most one
        scan of them."""
        assert isinstance(self.options, CoordinateScanOptions)
        i = number % self.space.dim
        targets = []
        for value in self.space.ladder(self.space.names[i]):
            target = centre.copy()
            target[i] = value
            if target.tobytes() not in earlier:
                targets.append(target)
        nearest = sorted(targets, key=lambda target: abs(float(target[i] - centre[i])))[: self.options.points]
        return sorted(nearest, key=lambda target: float(target[i]))

    def _answers(self) -> list[list[int]]:
        """The results by proposal: the indices of each proposal's rows. A flown line has many rows."""
        rows_of: dict[Any, list[int]] = {}
        for i, proposal in enumerate(self._ids):
            rows_of.setdefault(("row", i) if proposal is None else ("id", repr(proposal)), []).append(i)
        return list(rows_of.values())

    def _scan(self, number: int, centre: FloatArray) -> tuple[list[FloatArray], float, str]:
        """Points, shape (d,) each, of scan `number` (-1: only the start) through `centre`, their step, the reason."""
        options = self.options
        assert isinstance(options, CoordinateScanOptions)
        if number < 0:
            return [centre], options.span / (options.points - 1), "start"
        turn, i = divmod(number, self.space.dim)
        name = self.space.names[i]
        half = 0.5 * max(options.span * options.shrink**turn, FINEST)
        low, high = max(centre[i] - half, 0.0), min(centre[i] + half, 1.0)
        if name in self.space.unordered:
            values = self.space.ladder(name)
        elif name in self.space.choices:
            if turn == 0 and len(self.space.choices[name]) <= options.points:
                low, high = 0.0, 1.0  # the values of a filter wheel need not follow any order
            values = self._choices(i, centre[i], low, high, options.points)
        else:
            values = np.linspace(low, high, options.points)
            # The middle value of a symmetric scan differs from the centre by rounding only.
            values[np.abs(values - centre[i]) < 1e-12] = centre[i]
        targets = []
        for value in values:
            target = centre.copy()
            target[i] = value
            targets.append(target)
        return targets, float(np.min(np.diff(values), initial=1.0)), f"scan of {name}, pass {turn + 1}"

    def _choices(self, i: int, here: float, low: float, high: float, points: int) -> FloatArray:
        allowed = self.space.ladder(self.space.names[i])
        inside = allowed[(allowed >= low) & (allowed <= high)]
        if len(inside) < 3:  # narrower than the spacing of the values: take the nearest three
            inside = np.sort(allowed[np.argsort(np.abs(allowed - here), kind="stable")[:3]])
        if len(inside) <= points:
            return np.asarray(inside)
        return np.asarray(inside[np.unique(np.linspace(0, len(inside) - 1, points).round().astype(int))])

    def _start(self) -> FloatArray:
        return np.asarray(self.space.snap(self.space.unit([self.space.standing()]))[0])

    def _violations(self) -> list[float]:
        """By how much each result breaks the constraints; see `space.violation`."""
        limits = self.space.limits
        values = np.array([[result[name] for name in limits] for result in self._results])
        excess: list[float] = violation(list(limits.values()), values.reshape(len(values), len(limits))).tolist()
        return excess

    def _rank(self, result: Point, excess: float) -> tuple[float, float]:
        """A sort key, larger is better: feasible and valid results by score, others by the smallest violation."""
        score = self.space.score(result)
        if not math.isnan(score) and self.space.feasible(result):
            return 1.0, score
        return (0.0, -excess) if self.space.limits and math.isfinite(excess) else _WORST


_WORST = (-1.0, 0.0)


@dataclass
class _Unclaimed:
    """Points in order, shape (n, d), each of which can be claimed once."""

    points: FloatArray

    def __post_init__(self) -> None:
        self._free = np.ones(len(self.points), dtype=bool)

    def claim(self, target: FloatArray, tolerance: float) -> int | None:
        """Claim the first free point within `tolerance` of `target`, shape (d,); return its index, or None."""
        near = self._free & (np.abs(self.points - target) <= tolerance).all(axis=1)
        if not near.any():
            return None
        found = int(np.argmax(near))
        self._free[found] = False
        return found
