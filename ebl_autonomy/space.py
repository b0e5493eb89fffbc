"""The space that an agent searches: a VOCS as arrays, and the time that moves through it take.

Agents work in the unit cube, motors in their own units; this module is the only place that converts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
from gest_api.vocs import (
    VOCS,
    BoundsConstraint,
    ContextualVariable,
    ContinuousVariable,
    DiscreteVariable,
    ExploreObjective,
    GreaterThanConstraint,
    LessThanConstraint,
    MaximizeObjective,
)
from pydantic import ValidationError

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.vocs_mistakes import FORMS, check_entries, check_section, first_mistake

FloatArray = npt.NDArray[np.float64]

ROUNDING: Final = 1e-9
"""Largest distance from the unit cube that counts as rounding of a coordinate."""

__all__ = [
    "VOCS",
    "AxisTravel",
    "BestSoFar",
    "FloatArray",
    "Limit",
    "Space",
    "Travel",
    "hard_limits",
    "limit_of",
    "make_vocs",
    "outcome_names",
    "violation",
    "vocs_dict",
]


def make_vocs(vocs: VOCS | Mapping[str, Any], path: str = "vocs") -> VOCS:
    """A private copy of `vocs`, or the VOCS that a JSON mapping describes.

    The constructor of gest-api removes keys from its mappings; this function leaves the caller's mapping unchanged.

    Parameters
    ----------
    vocs : VOCS or mapping
    path : str
        Where the mapping stands, for messages.

    Raises
    ------
    BadInputError
        If the mapping is not a VOCS; the message gives the path of the key and the reason.
    """
    if isinstance(vocs, VOCS):
        return cast(VOCS, vocs.model_copy(deep=True))
    check_entries(vocs, path)
    try:
        return VOCS(**deepcopy(dict(vocs)))
    except (ValidationError, ValueError, TypeError, LookupError, AttributeError) as error:
        # gest-api indexes values before it checks their types, so a malformed VOCS raises many kinds of errors.
        raise BadInputError(f"not a VOCS: {first_mistake(vocs, path) or error}. {FORMS}.") from error


def vocs_dict(vocs: VOCS) -> dict[str, Any]:
    """The VOCS as JSON, such that ``make_vocs(vocs_dict(v))`` equals ``v``.

    Strict JSON has no infinity, but the domain of a contextual variable is infinite by default. An infinite bound is
    written as ``"inf"``, which the VOCS parses.
    """
    dump = vocs.model_dump()
    return {key: _plain(value) for key, value in dump.items() if value}


def outcome_names(vocs: VOCS) -> list[str]:
    """Names of all measured quantities: objectives, then constraints, then observables."""
    return list(vocs.output_names)


@dataclass(frozen=True)
class Limit:
    """An outcome constraint as an interval; open if `strict`, as the one-sided constraints of gest-api are."""

    low: float
    high: float
    strict: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` lies in the interval; False for NaN."""
        if self.strict:
            return self.low < value < self.high
        return self.low <= value <= self.high


class Space:
    """The variables, outcomes and constraints of a VOCS as arrays.

    Parameters
    ----------
    vocs : VOCS

    Attributes
    ----------
    names : list of str, length d
        The variables that an agent chooses (continuous and discrete), in the VOCS's order.
    context : list of str
        The contextual variables, which are measured and never moved.
    low, high : FloatArray, shape (d,)
        Bounds in the variables' own units; the smallest and the largest value of a discrete variable.
    objectives : list of str
    signs : FloatArray, shape (m,)
        +1 for an objective to maximise, -1 for one to minimise.
    limits : dict of str to Limit
        The outcome constraints.

    Raises
    ------
    BadInputError
        If there is no variable, a bound is not finite, a discrete value is not a number, or an objective is EXPLORE
        (which no agent of this package supports).
    """

    def __init__(self, vocs: VOCS) -> None:
        self.vocs = vocs
        self.context = [n for n, v in vocs.variables.items() if isinstance(v, ContextualVariable)]
        self.names = [n for n in vocs.variables if n not in self.context]
        if not self.names:
            raise BadInputError("the VOCS has no variable to choose: give at least one as {name: [low, high]}")
        self.choices: dict[str, FloatArray] = {}
        low, high = [], []
        for name in self.names:
            bounds = self._bounds(name)
            low.append(bounds[0])
            high.append(bounds[1])
        self.low: FloatArray = np.array(low, dtype=float)
        self.high: FloatArray = np.array(high, dtype=float)
        self.objectives = list(vocs.objectives)
        for name, objective in vocs.objectives.items():
            if isinstance(objective, ExploreObjective):
                raise BadInputError(f"objective {name!r} is EXPLORE: use MINIMIZE or MAXIMIZE")
        self.signs: FloatArray = np.array(
            [1.0 if isinstance(o, MaximizeObjective) else -1.0 for o in vocs.objectives.values()]
        )
        self.limits = {name: limit_of(name, constraint) for name, constraint in vocs.constraints.items()}
        self.constants = {name: constant.value for name, constant in vocs.constants.items()}

    @property
    def continuous(self) -> list[str]:
        """The variables that may take any value of their domain, and so take the value that is read."""
        return [name for name in self.names if name not in self.choices]

    @property
    def dim(self) -> int:
        """Number of variables that an agent chooses."""
        return len(self.names)

    def unit(self, points: Iterable[Mapping[str, Any]]) -> FloatArray:
        """Points, in the variables' own units, as rows of the unit cube, shape (n, d)."""
        rows = [[float(point[name]) for name in self.names] for point in points]
        values = np.array(rows, dtype=float).reshape(len(rows), self.dim)
        unit: FloatArray = (values - self.low) / (self.high - self.low)
        return unit

    def points(self, unit: FloatArray) -> list[dict[str, float]]:
        """Rows of the unit cube, shape (n, d), as n points; a discrete value is the nearest allowed one.

        A coordinate that lies outside the cube by at most `ROUNDING` becomes the bound. A coordinate further outside
        gives a value outside the variable's domain, which every gate refuses: no coordinate is clipped silently.
        """
        unit = np.atleast_2d(unit)
        values = self._inside(unit)
        raw = self.low + unit * (self.high - self.low)
        # If the domain is narrow compared with its bounds, the sum may round to a value inside the domain.
        values = np.where(unit < -ROUNDING, np.minimum(raw, np.nextafter(self.low, -np.inf)), values)
        values = np.where(unit > 1.0 + ROUNDING, np.maximum(raw, np.nextafter(self.high, np.inf)), values)
        return [dict(zip(self.names, map(float, row), strict=True)) for row in values]

    def snap(self, unit: FloatArray) -> FloatArray:
        """The nearest rows of the cube that motors can reach, shape (n, d): clipped, discrete values snapped."""
        snapped: FloatArray = (self._inside(np.atleast_2d(unit)) - self.low) / (self.high - self.low)
        return snapped

    def _inside(self, unit: FloatArray) -> FloatArray:
        """Values of the variables in their own units, shape (n, d), all inside the domain."""
        values = self.low + np.clip(unit, 0.0, 1.0) * (self.high - self.low)
        # The sum may round to a value one unit in the last place outside the bounds.
        values = np.clip(values, self.low, self.high)
        for name, allowed in self.choices.items():
            i = self.names.index(name)
            values[:, i] = allowed[np.argmin(np.abs(values[:, i, None] - allowed[None, :]), axis=1)]
        return values

    def nearby(self, point: Mapping[str, float], tolerance: Mapping[str, float]) -> dict[str, float]:
        """`point`, with each coordinate that lies outside the domain by its `tolerance` at most moved to the bound.

        Parameters
        ----------
        point, tolerance : mapping of str to float
            In the variables' own units.
        """
        moved = {name: float(value) for name, value in point.items()}
        for name, low, high in zip(self.names, self.low, self.high, strict=True):
            if name not in moved:
                continue
            inside = float(np.clip(moved[name], low, high))
            if abs(inside - moved[name]) <= tolerance.get(name, 0.0):
                moved[name] = inside
        return moved

    def standing(self) -> dict[str, float]:
        """The present position: each variable's default value, or the middle of its domain if it has no default."""
        middle = (self.low + self.high) / 2.0
        defaults = (self.vocs.variables[name].default_value for name in self.names)
        return {
            name: float(middle[i] if value is None else value)
            for i, (name, value) in enumerate(zip(self.names, defaults, strict=True))
        }

    def feasible(self, outcome: Mapping[str, float]) -> bool:
        """Whether every outcome constraint holds; a constraint on a NaN or missing outcome does not hold."""
        return all(limit.holds(float(outcome.get(name, math.nan))) for name, limit in self.limits.items())

    def score(self, outcome: Mapping[str, float]) -> float:
        """The first objective, signed such that more is better; NaN if it is missing or the VOCS has no objective."""
        if not self.objectives:
            return math.nan
        name = self.objectives[0]
        return float(self.signs[0] * float(outcome.get(name, math.nan)))

    def _bounds(self, name: str) -> tuple[float, float]:
        variable = self.vocs.variables[name]
        if isinstance(variable, DiscreteVariable):
            try:
                values = np.array(sorted(float(v) for v in variable.values))
            except (TypeError, ValueError) as error:
                raise BadInputError(
                    f"discrete variable {name!r} has a value that is not a number ({error}): give numbers"
                ) from error
            if len(values) < 2:
                raise BadInputError(f"discrete variable {name!r} has one value only: make it a constant")
            self.choices[name] = values
            low, high = float(values[0]), float(values[-1])
        else:
            assert isinstance(variable, ContinuousVariable)
            low, high = (float(v) for v in variable.domain)
        # The width must be finite too, because agents work in the unit cube.
        if not math.isfinite(high - low):
            raise BadInputError(f"variable {name!r} has the domain [{low}, {high}]: both bounds must be finite")
        default = variable.default_value
        if default is not None and not low <= default <= high:
            raise BadInputError(
                f"variable {name!r} has the default value {default}, outside [{low}, {high}]: widen the domain or "
                "give a default inside it"
            )
        return low, high


class BestSoFar:
    """The best of a sequence of outcomes; the only place that decides which outcome improves on all earlier ones.

    An outcome counts if its first objective is finite and every outcome constraint holds. Of equal outcomes, the first
    remains the best.

    Parameters
    ----------
    space : Space

    Attributes
    ----------
    space : Space
    score : float
        The best objective so far, signed such that more is better; -inf before the first outcome that counts.
    value : float
        The best objective so far, in its own sign and unit; NaN before the first outcome that counts.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.score = -math.inf
        self.value = math.nan

    def take(self, outcome: Mapping[str, float]) -> bool:
        """Whether an outcome is better than all earlier ones; if so, it becomes the best."""
        score = self.space.score(outcome)
        if not (math.isfinite(score) and score > self.score and self.space.feasible(outcome)):
            return False
        self.score, self.value = score, float(outcome[self.space.objectives[0]])
        return True


def violation(limits: Sequence[Limit], values: FloatArray) -> FloatArray:
    """The amount by which outcomes violate their limits.

    Parameters
    ----------
    limits : sequence of Limit, length m
    values : FloatArray, shape (n, m)
        In the outcomes' own units.

    Returns
    -------
    FloatArray, shape (n,)
        0 where all limits hold, and at the end of a strict limit. Otherwise the sum of all excesses, each divided by
        the magnitude of the violated bound, so that excesses of different outcomes can be added; infinite for NaN.
    """
    total = np.zeros(len(values))
    for limit, value in zip(limits, values.T, strict=True):
        for end, excess in ((limit.low, limit.low - value), (limit.high, value - limit.high)):
            if math.isfinite(end):
                total += np.maximum(excess, 0.0) / max(abs(end), 1e-12)
    return np.where(np.isnan(total), np.inf, total)


@dataclass(frozen=True)
class AxisTravel:
    """The motion profile of one motor: the trapezoidal profile of an EPICS motor record, plus settling.

    Attributes
    ----------
    velocity : float
        In motor units per second; must be positive.
    acceleration_s : float
        Seconds until the motor reaches its velocity.
    settle_s : float
        Seconds of rest after a move.
    backlash : float
        Overshoot of a move in the negative direction (if negative: the positive direction), in motor units; the motor
        then returns by the same distance.
    """

    velocity: float
    acceleration_s: float = 0.0
    settle_s: float = 0.0
    backlash: float = 0.0

    def seconds(self, distance: FloatArray | float) -> FloatArray:
        """Duration of moves by the signed `distance` (motor units), in seconds; an array of the same shape."""
        distance = np.asarray(distance, dtype=float)
        path = np.abs(distance) + np.where(distance * (self.backlash or 1.0) < 0.0, 2.0 * abs(self.backlash), 0.0)
        moving = np.where(
            path >= self.velocity * self.acceleration_s,  # reaches full speed
            path / self.velocity + self.acceleration_s,
            2.0 * np.sqrt(path * self.acceleration_s / self.velocity),
        )
        return np.where(distance == 0.0, 0.0, moving + self.settle_s)


class Travel:
    """Duration of moves from point to point for a set of motors that move at the same time.

    Parameters
    ----------
    axes : mapping of str to AxisTravel
        Motion profiles by motor. The moves of all other motors are assumed to take no time.
    """

    def __init__(self, axes: Mapping[str, AxisTravel]) -> None:
        self.axes = dict(axes)

    def seconds(self, start: Mapping[str, float], stop: Mapping[str, float]) -> float:
        """Seconds until the slowest motor arrives; `start` and `stop` in motor units."""
        times = (axis.seconds(float(stop[name]) - float(start[name])) for name, axis in self.axes.items())
        return float(max(times, default=0.0))

    def seconds_each(self, start: Mapping[str, float], stops: Mapping[str, FloatArray]) -> FloatArray:
        """Seconds from `start` to each of n stops, shape (n,); `stops` holds an array of shape (n,) per motor."""
        times = [axis.seconds(stops[name] - float(start[name])) for name, axis in self.axes.items()]
        count = len(next(iter(stops.values())))
        return np.max(np.stack(times), axis=0) if times else np.zeros(count)

    def order(self, start: Mapping[str, float], points: Sequence[Mapping[str, float]]) -> list[int]:
        """Order in which to visit `points` from `start`: nearest neighbour in seconds, then improved by 2-opt.

        The tour never takes longer than the given order.

        Returns
        -------
        list of int
            A permutation of ``range(len(points))``.
        """
        left = list(range(len(points)))
        route: list[int] = []
        here = start
        while left:
            nearest = min(left, key=lambda i: self.seconds(here, points[i]))
            left.remove(nearest)
            route.append(nearest)
            here = points[nearest]
        return self._improved(start, points, route)

    def _improved(
        self, start: Mapping[str, float], points: Sequence[Mapping[str, float]], route: list[int]
    ) -> list[int]:
        def length(candidate: list[int]) -> float:
            stops = [start, *(points[i] for i in candidate)]
            return sum(self.seconds(a, b) for a, b in pairwise(stops))

        given = list(range(len(points)))
        best = min(route, given, key=length)  # a nearest-neighbour tour can be longer than the given order
        shortest = length(best)
        better = len(route) < 50  # one 2-opt pass computes n^2 tour lengths: too slow for many points
        while better:
            better = False
            for i in range(len(best) - 1):
                for j in range(i + 2, len(best) + 1):
                    candidate = best[:i] + best[i:j][::-1] + best[j:]
                    if (candidate_length := length(candidate)) < shortest - 1e-12:
                        best, shortest, better = candidate, candidate_length, True
        return best


def _plain(value: Any) -> Any:
    """`value` as strict JSON: no sets, no numpy scalars, no types, no infinities."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=lambda item: (isinstance(item, str), item))
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def hard_limits(constraints: Mapping[str, Any]) -> dict[str, Limit]:
    """Limits from a mapping in the form of a VOCS's constraints, such as ``{"flux": ["GREATER_THAN", 1e4]}``.

    Raises
    ------
    BadInputError
        If an entry is not a constraint.
    """
    if not constraints:
        return {}
    check_section("constraints", constraints, "hard")
    vocs = make_vocs({"variables": {"x": [0.0, 1.0]}, "objectives": {}, "constraints": dict(constraints)})
    return {name: limit_of(name, constraint) for name, constraint in vocs.constraints.items()}


def limit_of(name: str, constraint: object) -> Limit:
    """The interval of a VOCS constraint.

    Raises
    ------
    BadInputError
        If the constraint is neither LESS_THAN, GREATER_THAN nor BOUNDS.
    """
    if isinstance(constraint, LessThanConstraint):
        return Limit(-math.inf, float(constraint.value), strict=True)
    if isinstance(constraint, GreaterThanConstraint):
        return Limit(float(constraint.value), math.inf, strict=True)
    if isinstance(constraint, BoundsConstraint):
        return Limit(float(constraint.range[0]), float(constraint.range[1]))
    raise BadInputError(f"constraint {name!r} is a {type(constraint).__name__}: use LESS_THAN, GREATER_THAN or BOUNDS")
