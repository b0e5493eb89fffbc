"""The space that an agent searches: a VOCS as arrays.

Agents work in the unit cube, motors in their own units; this module is the only place that converts. Each variable has
a scale: its value, its logarithm, or for a discrete variable the rank of its value, which makes all neighbours equally
distant. Everything that happens in the unit cube happens on that scale.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from gest_api.vocs import (
    BoundsConstraint,
    ContextualVariable,
    ContinuousVariable,
    DiscreteVariable,
    ExploreObjective,
    GreaterThanConstraint,
    LessThanConstraint,
    MaximizeObjective,
)

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.scales import FloatArray, Logarithm, Ranks, Scale
from ebl_autonomy.travel import AxisTravel, Travel
from ebl_autonomy.vocs import VOCS, is_logarithmic, is_unordered, make_vocs, outcome_names, vocs_dict
from ebl_autonomy.vocs_mistakes import check_section

ROUNDING: Final = 1e-9
"""Largest distance from the unit cube that counts as rounding of a coordinate."""

Reading = TypeVar("Reading", bound=Hashable)

__all__ = [
    "VOCS",
    "AxisTravel",
    "BestSoFar",
    "FloatArray",
    "Limit",
    "Space",
    "Travel",
    "evenly",
    "hard_limits",
    "limit_of",
    "make_vocs",
    "outcome_names",
    "violation",
    "vocs_dict",
]


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
    low, high, span : FloatArray, shape (d,)
        Bounds in the variables' own units, and their difference (1 for a discrete variable with one value); the
        smallest and the largest value of a discrete variable.
    choices : dict of str to FloatArray
        The allowed values of each discrete variable, ascending.
    logarithmic : bool array, shape (d,)
        Whether each variable is on a logarithmic scale.
    unordered : dict of str to float
        The discrete variables whose values have no order, and the distance of neighbouring values in the unit cube.
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
        self.logarithmic = np.array([is_logarithmic(vocs.variables[name]) for name in self.names], dtype=bool)
        self._scales: dict[int, Scale] = {i: Logarithm() for i in np.flatnonzero(self.logarithmic).tolist()}
        for name, values in self.choices.items():
            self._scales.setdefault(self.names.index(name), Ranks(values))
        self._unordered = [name for name in self.names if is_unordered(vocs.variables[name])]
        self._measure()
        self.objectives = list(vocs.objectives)
        for name, objective in vocs.objectives.items():
            if isinstance(objective, ExploreObjective):
                raise BadInputError(f"objective {name!r} is EXPLORE: use MINIMIZE or MAXIMIZE")
        self.signs: FloatArray = np.array(
            [1.0 if isinstance(o, MaximizeObjective) else -1.0 for o in vocs.objectives.values()]
        )
        self.limits = {name: limit_of(name, constraint) for name, constraint in vocs.constraints.items()}
        self.constants = {name: constant.value for name, constant in vocs.constants.items()}

    def within(self, bounds: Mapping[str, tuple[float, float]]) -> Space:
        """The part of this space inside of `bounds`, as a space of its own, whose unit cube is this part.

        A discrete variable keeps its values inside the bounds.

        Parameters
        ----------
        bounds : mapping of str to (low, high)
            In the variables' own units, of some or all variables; an end may be infinite or outside the domain.

        Raises
        ------
        BadInputError
            If a variable is unknown, a bound is not a number, or nothing of a domain is left.
        """
        if unknown := sorted(set(bounds) - set(self.names)):
            raise BadInputError(f"bounds of {unknown}, which are not variables: the variables are {self.names}")
        part = copy(self)
        part.low, part.high, part.choices = self.low.copy(), self.high.copy(), dict(self.choices)
        for name, given in bounds.items():
            low, high = _interval(name, given)
            i = self.names.index(name)
            if name in self.choices:
                values = self.choices[name]
                left = values[(values >= low) & (values <= high)]
                if not len(left):
                    raise BadInputError(
                        f"no value of discrete variable {name!r} lies within [{low:g}, {high:g}]: its values are "
                        f"{values.tolist()}"
                    )
                part.choices[name], low, high = left, float(left[0]), float(left[-1])
            else:
                low, high = max(low, float(self.low[i])), min(high, float(self.high[i]))
                if not low < high:
                    raise BadInputError(
                        f"nothing of the domain [{self.low[i]:g}, {self.high[i]:g}] of {name!r} lies within "
                        f"{tuple(given)}: correct the domain or the bounds"
                    )
            part.low[i], part.high[i] = low, high
        part._measure()
        return part

    def holds(self, point: Mapping[str, Any]) -> bool:
        """Whether a point, in the variables' own units, lies inside; a discrete variable must have an allowed value."""
        return all(
            bool(np.any(self.choices[name] == point[name])) if name in self.choices else low <= point[name] <= high
            for name, low, high in zip(self.names, self.low, self.high, strict=True)
        )

    def clipped(self, point: Mapping[str, Any]) -> dict[str, float]:
        """The variables of a point, each moved to the nearest bound if it lies outside; in their own units."""
        return {
            name: float(min(max(point[name], low), high))
            for name, low, high in zip(self.names, self.low, self.high, strict=True)
        }

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
        return self._to_unit(values)

    def values(self, unit: FloatArray) -> FloatArray:
        """Rows of the unit cube, shape (n, d), in the variables' own units, shape (n, d); not snapped."""
        return self._from_scale(self._origin + unit * self._width)

    def ladder(self, name: str) -> FloatArray:
        """The allowed values of a discrete variable as coordinates of the unit cube, ascending, shape (k,)."""
        i = self.names.index(name)
        ladder: FloatArray = (self._scales[i].forward(self.choices[name]) - self._origin[i]) / self._width[i]
        return ladder

    def points(self, unit: FloatArray) -> list[dict[str, float]]:
        """Rows of the unit cube, shape (n, d), as n points; a discrete value is the nearest allowed one.

        A coordinate that lies outside the cube by at most `ROUNDING` becomes the bound. A coordinate further outside
        gives a value outside the variable's domain, which every gate refuses: no coordinate is clipped silently.
        """
        unit = np.atleast_2d(unit)
        values = self._inside(unit)
        raw = self.values(unit)
        # If the domain is narrow compared with its bounds, the sum may round to a value inside the domain.
        values = np.where(unit < -ROUNDING, np.minimum(raw, np.nextafter(self.low, -np.inf)), values)
        values = np.where(unit > 1.0 + ROUNDING, np.maximum(raw, np.nextafter(self.high, np.inf)), values)
        return [dict(zip(self.names, map(float, row), strict=True)) for row in values]

    def snap(self, unit: FloatArray) -> FloatArray:
        """The nearest rows of the cube that motors can reach, shape (n, d): clipped, discrete values snapped."""
        return self._to_unit(self._inside(np.atleast_2d(unit)))

    def evenly(self, unit: FloatArray) -> FloatArray:
        """Points that fill the cube, shape (n, d), with as many at each value of a variable without order."""
        return evenly(unit, {self.names.index(name): self.ladder(name) for name in self.unordered})

    def _inside(self, unit: FloatArray) -> FloatArray:
        """Values of the variables in their own units, shape (n, d), all inside the domain."""
        scaled = self._origin + np.clip(unit, 0.0, 1.0) * self._width
        # The sum may round to a value one unit in the last place outside the bounds.
        values = np.clip(self._from_scale(scaled), self.low, self.high)
        # The power of a logarithm rounds too, so an end of the scale is taken as it is.
        values = np.where(self.logarithmic & (unit <= 0.0), self.low, values)
        values = np.where(self.logarithmic & (unit >= 1.0), self.high, values)
        for name, allowed in self.choices.items():
            i = self.names.index(name)
            on_scale = self._scales[i].forward(allowed)
            # Of two values that are equally near, the smaller.
            nearest = np.searchsorted(0.5 * (on_scale[:-1] + on_scale[1:]), scaled[:, i], side="left")
            values[:, i] = allowed[nearest]
        return values

    def _measure(self) -> None:
        """Compute the extent of the unit cube from the bounds."""
        self.span: FloatArray = np.where(self.high > self.low, self.high - self.low, 1.0)
        self._origin = self._to_scale(self.low[None])[0]
        width = self._to_scale(self.high[None])[0] - self._origin
        self._width: FloatArray = np.where(width > 0.0, width, 1.0)
        # On the scale of ranks, neighbours are 1 apart.
        self.unordered = {name: float(1.0 / self._width[self.names.index(name)]) for name in self._unordered}

    def _to_scale(self, values: FloatArray) -> FloatArray:
        """Values in the variables' own units, shape (n, d), on the scale of each variable, shape (n, d)."""
        scaled = values.copy()
        for i, scale in self._scales.items():
            scaled[:, i] = scale.forward(values[:, i])
        return scaled

    def _from_scale(self, scaled: FloatArray) -> FloatArray:
        """The inverse of `_to_scale`."""
        values = scaled.copy()
        for i, scale in self._scales.items():
            values[:, i] = scale.backward(scaled[:, i])
        return values

    def _to_unit(self, values: FloatArray) -> FloatArray:
        """Values in the variables' own units, shape (n, d), as coordinates of the unit cube."""
        unit: FloatArray = (self._to_scale(values) - self._origin) / self._width
        if self.logarithmic.any():
            # A motor may read zero or less, which has no logarithm: it counts as one domain below the lowest value.
            unit = np.where(self.logarithmic, np.maximum(unit, -1.0), unit)
        return unit

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
        """The present position: each variable's default value, or the middle of its domain if it has no default.

        A default outside becomes the nearest value inside. The middle is that of the variable's scale.
        """
        halfway = self._inside(np.full((1, self.dim), 0.5))[0]
        scaled = self.logarithmic | np.array([name in self.choices for name in self.names])
        middle = np.where(scaled, halfway, (self.low + self.high) / 2.0)
        defaults = {name: self.vocs.variables[name].default_value for name in self.names}
        return self.clipped(
            {name: middle[i] if defaults[name] is None else defaults[name] for i, name in enumerate(self.names)}
        )

    def feasible(self, outcome: Mapping[str, float]) -> bool:
        """Whether every outcome constraint holds; a constraint on a NaN or missing outcome does not hold."""
        return all(limit.holds(float(outcome.get(name, math.nan))) for name, limit in self.limits.items())

    def score(self, outcome: Mapping[str, float]) -> float:
        """The first objective, signed such that more is better; NaN if it is missing or the VOCS has no objective."""
        if not self.objectives:
            return math.nan
        name = self.objectives[0]
        return float(self.signs[0] * float(outcome.get(name, math.nan)))

    def doubted(
        self, suspects: Mapping[str, Collection[Reading]], compared: Collection[str] | None = None
    ) -> set[Reading]:
        """The readings that do not count in a comparison, because an objective of it or a constraint is suspect.

        Parameters
        ----------
        suspects : mapping of str to collection
            By outcome, the readings that an agent takes for outliers; by number, or whatever names them.
        compared : collection of str, optional
            The objectives that are compared: all of them for a front; by default the first, which decides what is best.
        """
        compared = self.objectives[:1] if compared is None else compared
        return {reading for name in (*compared, *self.limits) for reading in suspects.get(name, ())}

    def _bounds(self, name: str) -> tuple[float, float]:
        variable = self.vocs.variables[name]
        if isinstance(variable, DiscreteVariable):
            try:
                values = np.array(sorted(float(v) for v in variable.values))
            except (TypeError, ValueError) as error:
                raise BadInputError(
                    f"discrete variable {name!r} has a value that is not a number ({error}): give the numbers that "
                    'the motor takes, such as the indices of the states of an enum, with "ordered": false if they are '
                    "only names"
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


def _interval(name: str, given: Any) -> tuple[float, float]:
    """Two bounds in ascending order, as numbers."""
    try:
        low, high = (float(bound) for bound in given)
    except (TypeError, ValueError) as error:
        raise BadInputError(f"the bounds of {name!r} are {given!r}: give (low, high) as numbers") from error
    if not low <= high:
        raise BadInputError(f"the bounds of {name!r} are {(low, high)}: the first must not exceed the second")
    return low, high


class BestSoFar:
    """The best of a sequence of outcomes; the only place that decides which outcome improves on all earlier ones.

    An outcome counts if its first objective is finite, every outcome constraint holds, and nobody doubts it
    (`Space.doubted`). Of equal outcomes, the first remains the best.

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

    def take(self, outcome: Mapping[str, float], *, doubted: bool = False) -> bool:
        """Whether an outcome is better than all earlier ones; if so, it becomes the best."""
        score = self.space.score(outcome)
        if doubted or not (math.isfinite(score) and score > self.score and self.space.feasible(outcome)):
            return False
        self.score, self.value = score, float(outcome[self.space.objectives[0]])
        return True


def violation(limits: Sequence[Limit], values: FloatArray) -> FloatArray:
    """The amount by which outcomes violate their limits.

    Parameters
    ----------
    limits : sequence of Limit, length m
    values : FloatArray, shape (n, m)
        In the outcomes' own units, in the order in which they were measured.

    Returns
    -------
    FloatArray, shape (n,)
        0 where all limits hold, and at the end of a strict limit; infinite for NaN. Otherwise the sum of all excesses,
        each e as the share e / (e + s), so that excesses of different outcomes can be added. The scale s of a limit is
        the distance of the first value that does not lie on it: it has the unit of the outcome, does not change when
        the same is added to values and limit, and is known from the first result on.
    """
    total = np.zeros(len(values))
    for limit, value in zip(limits, values.T, strict=True):
        for end, excess in ((limit.low, limit.low - value), (limit.high, value - limit.high)):
            distances = np.abs(excess[np.isfinite(excess) & (excess != 0.0)])
            if math.isfinite(end) and len(distances):
                over = np.maximum(excess, 0.0)
                total += over / (over + distances[0])
    return np.where(np.isnan(values).any(axis=1), np.inf, total)


def evenly(points: FloatArray, ladders: Mapping[int, FloatArray]) -> FloatArray:
    """Points of the cube, shape (n, d), with as many at each value of some discrete variables.

    Snapping alone would give the first and the last value half as many as the others.

    Parameters
    ----------
    points : FloatArray, shape (n, d)
        Points that fill the unit cube.
    ladders : mapping of int to FloatArray
        The allowed coordinates of each of these variables, by axis.
    """
    spread = np.array(points)
    for axis, ladder in ladders.items():
        spread[:, axis] = ladder[np.minimum((points[:, axis] * len(ladder)).astype(int), len(ladder) - 1)]
    return spread


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
