"""The state of a search: the results, past experiments, and the model of both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from ebl_autonomy.agents.base import Point, latest_context
from ebl_autonomy.agents.bayesian import construction, survey
from ebl_autonomy.agents.bayesian.coordinates import Coordinates
from ebl_autonomy.agents.bayesian.hard_limits import HardLimits
from ebl_autonomy.agents.bayesian.lattice import Lattice
from ebl_autonomy.agents.bayesian.options import BayesianOptions
from ebl_autonomy.agents.bayesian.probing import first_signal
from ebl_autonomy.agents.bayesian.refitting import RefitSchedule
from ebl_autonomy.agents.bayesian.training_data import TrainingData
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import ROUNDING, FloatArray, Space
from ebl_autonomy.surrogates.base import SearchRegion, Surrogate, Suspect

__all__ = ["SearchState"]

FIRST_FIT: Final = 4
"""Number of results of the first fit of the model of one objective without limits or factors."""
EACH_FIT: Final = 40
"""Up to so many results, each is followed by a fit of that model: a short one, which pays while little is known."""


class SearchState:
    """The state that phases and queries of an agent depend on; a function of configuration and results.

    Points are in searched coordinates (see `coordinates.Coordinates`) unless the unit cube of motors is named.

    Parameters
    ----------
    space : Space
    options : BayesianOptions

    Attributes
    ----------
    results : list of dict
        Results of the present experiment, in order.
    outcomes : list of str
        The modelled outcomes, objectives first.
    goal : Goal
        The goal in terms of `outcomes`.
    hard : HardLimits
    coordinates : Coordinates
    data : TrainingData
        Results and past experiments by columns.
    refits : RefitSchedule
        Keeps the surrogate up to date.

    Raises
    ------
    BadInputError
        If the options do not fit the VOCS or each other.
    """

    def __init__(self, space: Space, options: BayesianOptions) -> None:
        construction.check(options, space)
        self.space = space
        self.results: list[Point] = []
        self._reachable: list[bool] = []
        self._asked: FloatArray = np.empty((0, space.dim))
        self.outcomes = construction.outcomes_of(options, space)
        self.goal = construction.goal_of(options, space, self.outcomes)
        self.hard = HardLimits(options.hard, self.outcomes)
        self.coordinates = Coordinates(space, options.coordinates)
        self.ladders = {
            self.coordinates.names.index(name): self.coordinates.of_one_motor(space.ladder(name))
            for name in space.choices
        }
        """The allowed values of each discrete variable, in searched coordinates, by axis."""
        self.unordered = {self.coordinates.names.index(name): gap for name, gap in space.unordered.items()}
        """The axes of discrete variables whose values have no order, and the distance of neighbouring values there."""
        self.data = TrainingData(
            space, self.outcomes, self.coordinates, construction.is_timed(options, space), options.clock
        )
        self._options = options
        self.refits = self._new_refits()
        self._expected: FloatArray | None = None

    def add(
        self,
        results: Sequence[Point],
        reachable: Sequence[bool] | None = None,
        asked: Sequence[Point] | None = None,
    ) -> None:
        """Add results of the present experiment.

        Parameters
        ----------
        results : sequence of dict
        reachable : sequence of bool, optional
            Whether each lies in the searched part of the domain; if not, it is modelled, but never the best. By
            default, all do.
        asked : sequence of dict, optional
            The point that was proposed for each; by default, the motors reached it exactly.
        """
        self.results.extend(results)
        self._asked = np.vstack([self._asked, self.space.unit(results if asked is None else asked)])
        self._reachable.extend([True] * len(results) if reachable is None else reachable)
        self.data.table.extend(results)

    def add_past(self, label: str, results: Sequence[Point]) -> None:
        """Add a past experiment.

        Raises
        ------
        BadInputError
            If the surrogate does not support pasts, there are too many, or the label is known already.
        """
        if construction.engine_of(self._options, self.space) == "botorch":
            raise BadInputError(f"past {label!r} needs engine='numba': the botorch engine cannot discount a wrong past")
        self.data.add_past(label, results, np.array([self.space.score(result) for result in results]))
        self.refits = self._new_refits()
        self._expected = None

    def _new_refits(self) -> RefitSchedule:
        options = self._options
        hard = self.hard.for_surrogate(options.sigmas, options.reach)
        surrogate = construction.make_surrogate(options, self.space, self.data.inputs, self.outcomes, self.goal, hard)
        first = FIRST_FIT if self._is_plain else 2 * self.space.dim + 1
        first = 0 if self.data.pasts else first
        each = EACH_FIT if self._is_plain else 0
        return RefitSchedule(surrogate, self.data.observations, first, options.max_decision_s, each)

    def lattice(self, out: FloatArray) -> Lattice | None:
        """The allowed points if all variables are discrete, else None.

        Parameters
        ----------
        out : FloatArray, shape (p, d)
            Points of the unit cube of motors that are proposed and not yet measured.
        """
        if len(self.space.choices) < self.space.dim:
            return None
        return Lattice(self.space, np.vstack([self.data.table.unit, out]))

    # -- measured ----------------------------------------------------------------------------------------------

    @property
    def start(self) -> FloatArray:
        """The first position of the beamline, shape (d,)."""
        start = np.array(self.coordinates.search(self.space.unit([self.space.standing()]))[0])
        for axis, ladder in self.ladders.items():
            start[axis] = ladder[int(np.argmin(np.abs(ladder - start[axis])))]
        return start

    @property
    def searched(self) -> FloatArray:
        """Points of the results, shape (n, d)."""
        return self.data.searched

    @property
    def places(self) -> FloatArray:
        """Where results were asked for and read, in the unit cube of motors, shape (k, d)."""
        return np.vstack([self.data.table.unit, self._asked])

    @property
    def reachable(self) -> np.ndarray | None:
        """Whether each result lies in the searched part of the domain, bool, shape (n,); None if all do."""
        return None if all(self._reachable) else np.array(self._reachable, dtype=bool)

    @property
    def conditions(self) -> FloatArray:
        """The latest value of each contextual variable, shape (c,)."""
        return np.array(list(latest_context(self.space, self.results).values()))

    @property
    def can_model(self) -> bool:
        """Whether every outcome has at least two valid values, as a model requires."""
        present = (~np.isnan(self.data.table.Y)).sum(axis=0)
        known = present + sum((~np.isnan(past.Y)).sum(axis=0) for past in self.data.pasts.values())
        # Past experiments do not count for outcomes with a hard limit.
        return bool((known >= 2).all() and (present[self.hard.columns] >= 2).all())

    @property
    def first_signal(self) -> int:
        """Number of results until any outcome responded; see `probing.first_signal`."""
        table = self.data.table
        return min(first_signal(y, std) for y, std in zip(table.Y.T, table.std.T, strict=True))

    @property
    def _is_plain(self) -> bool:
        """Whether there is one objective, without limits or factors."""
        return len(self.goal.objectives) == 1 and not self.goal.limits and not self.goal.factors

    @property
    def has_survey(self) -> bool:
        """Whether the search begins with a survey; see `survey`."""
        return self._is_plain and not self.noise_is_known

    @property
    def noise_is_known(self) -> bool:
        """Whether the readings tell their standard deviations, by the first of them."""
        std = self.data.table.std[:1]
        return bool(std.size and np.isfinite(std).all() and (std > 0.0).all())

    @property
    def surroundings(self) -> str | None:
        """What the first results tell of the domain; see `survey.surroundings`."""
        first = 1 + survey.FIRST
        merits = self.merits[:first]
        # Of measurements that run at the same time, that at the start need not end first.
        away = np.abs(self.coordinates.search(self._asked[:first]) - self.start).max(axis=1)
        if (away <= survey.SAME_PLACE).any():
            row = int(np.argmin(away))
            merits = np.concatenate([merits[[row]], np.delete(merits, row)])
        return survey.surroundings(merits, self.first_signal <= first)

    @property
    def kept_hard_limits(self) -> np.ndarray:
        """Whether each result kept the hard limits, bool, shape (n,)."""
        return self.hard.kept(self.data.table)

    @property
    def safe_points(self) -> np.ndarray:
        """Whether each result kept the hard limits and lies in the searched part, bool, shape (n,)."""
        kept = self.kept_hard_limits
        return kept if self.reachable is None else kept & self.reachable

    @property
    def hard_violations(self) -> int:
        """Number of results that violate a hard limit."""
        return int((~self.kept_hard_limits).sum())

    @property
    def merits(self) -> FloatArray:
        """Merit of each result, shape (n,), more is better.

        The merit of a feasible result is its score. Infeasible results rank below all feasible ones, by violation. The
        merit is NaN if the measurement is invalid, violates a hard limit, or lies outside the searched part.
        """
        Y = self.data.table.Y
        scores = self.goal.sign * Y[:, self.goal.objective]
        violation = self.goal.violation(Y)
        worst = float(np.nanmin(scores, initial=math.inf))
        span = float(np.nanmax(scores, initial=-math.inf)) - worst
        # In units of the scores' range, because scores of any size must leave the violation its digits.
        span = span if span > 0.0 else abs(worst) or 1.0
        with np.errstate(invalid="ignore"):  # without any score
            merits = np.where(violation > 0.0, worst - span * (1.0 + violation / (1.0 + violation)), scores)
        known = np.isfinite(scores) & np.isfinite(violation)
        return np.where(known & self.safe_points, merits, math.nan)

    @property
    def best_measured(self) -> FloatArray:
        """The point with the best measurement, shape (d,); the start without a valid measurement."""
        merits = self.merits
        if np.isnan(merits).all():
            return self.start
        return np.array(self.searched[int(np.nanargmax(merits))])

    @property
    def best_of_pasts(self) -> FloatArray | None:
        """The best point of the past experiments, shape (d,); None without a valid and feasible one inside."""
        best, found = -math.inf, None
        for past in self.data.pasts.values():
            known = np.asarray(np.isfinite(past.Y).any(axis=0))
            scores = np.where(self.goal.violation(past.Y, known) > 0.0, math.nan, past.Y[:, self.goal.objective])
            scores = np.where(self._inside(past.X[:, : self.space.dim]), self.goal.sign * scores, math.nan)
            if np.isfinite(scores).any() and np.nanmax(scores) > best:
                best, found = float(np.nanmax(scores)), past.X[int(np.nanargmax(scores)), : self.space.dim]
        return found

    # -- modelled ----------------------------------------------------------------------------------------------

    @property
    def surrogate(self) -> Surrogate:
        """The model of all results; requires `can_model`."""
        n = len(self.results)
        if self.refits.conditioned_on != n:
            self._expected = None
        return self.refits.surrogate_of(n)

    @property
    def scaled_at(self) -> int:
        """Number of results that scale the inputs of the model."""
        _ = self.surrogate  # a fit that is due changes the scale
        return self.refits.scaled_at(len(self.results))

    @property
    def given_inputs(self) -> dict[int, float]:
        """Inputs of a measurement now that are not chosen (context, time, task), by column."""
        return self.data.given_inputs(self.conditions, self.scaled_at)

    def inputs_now(self, searched: FloatArray) -> FloatArray:
        """Model inputs, shape (n, inputs), of points, shape (n, d), that are measured now."""
        return self.data.inputs_now(searched, self.conditions, self.scaled_at)

    def predict(self, points: Sequence[Mapping[str, Any]]) -> tuple[FloatArray, FloatArray]:
        """Means and standard deviations of the outcomes, shape (n, m) each, in the outcomes' units.

        Parameters
        ----------
        points : sequence of mapping, length n
            Variables and contextual variables by name; missing contextual variables have their latest values.
        """
        return self.surrogate.predict(self._inputs_of(points))

    def expected_objectives(self, points: Sequence[Mapping[str, Any]]) -> FloatArray:
        """Means of the objectives on the latent scale, shape (n, objectives), signed so that more is better.

        On the latent scale a large offset of an outcome does not take the digits of its mean.
        """
        columns, signs = zip(*self.goal.objectives, strict=True)
        means: FloatArray = self.surrogate.latent_means(self._inputs_of(points), columns) * np.array(signs)
        return means

    def _inputs_of(self, points: Sequence[Mapping[str, Any]]) -> FloatArray:
        """Model inputs, shape (n, inputs), of points measured now; missing contextual variables are at their latest."""
        searched = self.coordinates.search(self.space.unit(points))
        latest = latest_context(self.space, self.results)
        context = np.array([[float(point.get(name, now)) for name, now in latest.items()] for point in points])
        return self.data.inputs_now(searched, context.reshape(len(points), len(latest)), self.scaled_at)

    @property
    def expected(self) -> FloatArray:
        """Expected objectives now at the points of the results, shape (n, objectives); see `Surrogate.expected`.

        NaN outside the searched part of the domain.
        """
        surrogate = self.surrogate  # a new result resets `_expected`
        if self._expected is None:
            region = SearchRegion(np.zeros(0), np.zeros(0), self.given_inputs, reachable=self.reachable)
            self._expected = surrogate.expected(self.goal, region)
        return self._expected

    @property
    def suspects(self) -> dict[int, tuple[int, Suspect]]:
        """The results whose objective, or a factor of it, the model takes for an outlier: the outcome, and the verdict.

        By row. Needs a model.
        """
        columns = self.surrogate.columns(self.goal)
        return {suspect.row: (column, suspect) for column in columns for suspect in self.suspects_of(column)}

    def suspects_of(self, column: int) -> tuple[Suspect, ...]:
        """The outliers among the readings of one outcome, as far as they matter; needs a model.

        A reading of the objective always does; a factor of it, where the constraints hold; a constrained outcome, where
        the expectation is on the other side of the limit. A product does not while it follows from its factors.
        """
        suspects = self.surrogate.suspects(column)
        if not suspects:
            return ()
        Y, goal = self.data.table.Y, self.goal
        matters = np.zeros(len(Y), dtype=bool)
        if column in self.surrogate.columns(goal):
            matters = goal.violation(Y) == 0.0 if goal.factors else ~matters
        for suspect in suspects:
            for limited, low, high in goal.limits:
                if limited == column:
                    matters[suspect.row] |= (low <= suspect.mean <= high) != (low <= Y[suspect.row, column] <= high)
        return tuple(suspect for suspect in suspects if matters[suspect.row])

    @property
    def best_expected(self) -> FloatArray:
        """The measured point with the best expectation now, shape (d,).

        It differs from the best measurement, which may be lucky or outdated. If no point is expected to be feasible, it
        is the point with the best measurement.
        """
        expected = self.expected[:, 0]
        if np.isnan(expected).all():
            return self.best_measured
        return np.array(self.searched[int(np.nanargmax(expected))])

    def _inside(self, searched: FloatArray) -> np.ndarray:
        """Whether searched coordinates, shape (n, d), are in the searched part of the domain, bool, shape (n,)."""
        units = self.coordinates.motors(searched)
        return np.asarray((np.abs(units - self.space.snap(units)) <= ROUNDING).all(axis=1))

    @property
    def drifts(self) -> bool:
        """Whether the model infers a drift of the objective."""
        clock = self.data.inputs.clock_at
        if clock is None:
            return False
        return bool(np.isfinite(self.surrogate.length_scales(self.goal.objective)[clock]))
