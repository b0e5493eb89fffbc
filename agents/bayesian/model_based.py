"""The phase in which a model decides: the search region, and the proposals in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from ebl_autonomy.agents.bayesian import survey
from ebl_autonomy.agents.bayesian.elsewhere import is_flat, why_exhausted
from ebl_autonomy.agents.bayesian.lattice import Lattice, untried_value, with_next_values
from ebl_autonomy.agents.bayesian.options import BayesianOptions
from ebl_autonomy.agents.bayesian.phases import SAFEST_AGAIN, OpeningPhase, Proposal, Request
from ebl_autonomy.agents.bayesian.state import SearchState
from ebl_autonomy.agents.bayesian.travel_cost import TravelCost
from ebl_autonomy.agents.bayesian.trust_region import TrustRegion, improvements
from ebl_autonomy.records import ELSEWHERE, Decision
from ebl_autonomy.space import FloatArray
from ebl_autonomy.surrogates import hypervolume
from ebl_autonomy.surrogates.acquisition import UNSAFE
from ebl_autonomy.surrogates.base import SearchRegion

__all__ = ["ModelBased"]

UNDER_DRIFT: Final = TrustRegion(side=0.4)
"""The box under drift, when an improvement says nothing about the right size."""
TURN: Final = 3
"""Of so many proposals, one is for an untried value of a discrete variable with few values. If values of one have no
order, one is within the trust region and the others are for the whole domain: another filter may have its best
elsewhere, where a box around the best point does not reach."""
ALIKE: Final = 0.5
"""Distance, in length scales, within which a point tells how a value of a discrete variable does at the best point."""
LEAST_REACH: Final = 0.05
"""Such a distance at least, as a share of the domain: early length scales are uncertain."""
NEAR: Final = 16
"""Number of points of a front, or of safe points, around which the search is most dense."""


class ModelBased:
    """Proposes the points with the largest acquisition value, as soon as there is enough data for a surrogate.

    Parameters
    ----------
    options : BayesianOptions
    after : sequence of OpeningPhase
        The phases before this one; the trust region counts only the successes of later proposals.
    """

    def __init__(self, options: BayesianOptions, after: Sequence[OpeningPhase] = ()) -> None:
        self._options = options
        self._after = tuple(after)
        self._first: int | None = None

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        if not state.can_model:
            return []
        surrogate = state.surrogate
        region, reason = self.region(state, request)
        out = request.out(state)
        pending = state.inputs_now(state.coordinates.search(out))
        seed, count = int(request.rng.integers(2**31)), request.count
        if state.ladders:
            count = 1  # the next request knows this point
        if (lattice := state.lattice(out)) is not None:
            region = _on_lattice(lattice, region, state, seed)
        X, acquisition = surrogate.propose(state.goal, region, count, pending, seed)
        safe = acquisition > 0.5 * UNSAFE
        reasons = self._look_elsewhere(state, request, region, X, acquisition, reason)
        units = state.coordinates.unit(X[:, : state.space.dim], state.best_expected)
        if state.hard and not safe.all():
            units[~safe] = state.hard.safest(
                state.data.table, state.safe_points
            )  # no new point is safe: repeat the safest one
        # Predict at the point that will be measured, with discrete values snapped.
        units = state.space.snap(units)
        mean, std = surrogate.predict(state.inputs_now(state.coordinates.search(units)))
        return [
            (
                unit,
                Decision(
                    mean=dict(zip(state.outcomes, map(float, mean[i]), strict=True)),
                    std=dict(zip(state.outcomes, map(float, std[i]), strict=True)),
                    acquisition=float(acquisition[i]) if safe[i] else math.nan,
                    reason=reasons[i] if safe[i] else SAFEST_AGAIN,
                    model_version=surrogate.version,
                ),
            )
            for i, unit in enumerate(units)
        ]

    def _look_elsewhere(
        self,
        state: SearchState,
        request: Request,
        region: SearchRegion,
        X: FloatArray,
        acquisition: FloatArray,
        reason: str,
    ) -> list[str]:
        """Replace proposals X, shape (k, inputs), in place, where the search nearby is exhausted; the reasons of all.

        The acquisition, shape (k,), of those becomes NaN.

        Several objectives need no such turns: their front extends through the domain. Hard limits forbid them. Where
        all allowed points are known, there is no elsewhere.
        """
        reasons = [reason] * len(X)
        out, d = request.out(state), state.space.dim
        is_untried_value = bool((region.low[:d] == region.high[:d]).all())
        if len(state.goal.objectives) > 1 or state.hard or is_untried_value:
            return reasons
        units = state.space.snap(state.coordinates.unit(X[:, :d], state.best_expected))
        flat = is_flat(state) and self._options.drift != "on"
        for i, gain in enumerate(acquisition):
            number = request.number + i
            # Where nothing is to be won, the best proposals of a batch may all be the same corner of the box.
            again = bool((np.abs(out - units[i]).max(axis=1) <= survey.SAME_PLACE).any())
            why = ""
            if flat:
                why = "nothing has responded beyond the noise"
            elif survey.is_turn(number) or again:
                why = why_exhausted(state, float(gain), self._first_own(state))
            point = None
            if why:
                limited = bool(state.goal.limits)
                point = survey.new_point(state, self._options.seed, survey.index(d, number), out, limited)
            if point is not None:
                units[i] = state.space.snap(state.coordinates.unit(point[None], state.best_expected))[0]
                X[i], acquisition[i] = state.inputs_now(point[None])[0], math.nan
                reasons[i] = ELSEWHERE + why
            out = np.vstack([out, units[i]])
        return reasons

    def region(self, state: SearchState, request: Request) -> tuple[SearchRegion, str]:
        """The search region, and a description of the acquisition function there."""
        several, d = len(state.goal.objectives) > 1, state.space.dim
        name = "log-EHVI" if several else "log-EI"
        low, high = np.zeros(state.data.inputs.dim), np.ones(state.data.inputs.dim)
        if several or state.hard:
            near = _promising(state)
        else:
            near = state.inputs_now(state.best_expected[None])
            if self._options.trust_region and not (state.goal.limits and self._whole_domain(state)):
                trusted = self._trust_region(state, request.count + len(request.same_call))
                box = trusted.box(near[0, :d], _sides(_length_scales(state), state.unordered))
                low[:d], high[:d] = with_next_values(*box, near[0, :d], state.ladders, state.searched, state.unordered)
                name = f"{name} within {trusted.side:.3g} of the domain"
            turn, untried = (request.number - self._first_own(state)) % TURN, None
            if turn == TURN - 1:
                known = np.vstack([state.searched, state.coordinates.search(request.out(state))])
                reach = np.maximum(ALIKE * _length_scales(state), LEAST_REACH) if state.ladders else np.zeros(d)
                untried = untried_value(near[0, :d], state.ladders, known, reach, state.unordered)
            if untried is not None:
                axis, value = untried
                low[:d] = high[:d] = near[0, :d]  # all else equal, so that one measurement can tell
                low[axis] = high[axis] = value
                name = f"{name}, at an untried value of {state.coordinates.names[axis]}"
            elif turn and state.unordered:
                low[:d], high[:d] = 0.0, 1.0
                name = "log-EI in the whole domain"
        seconds, project = self._seconds(state, request), _projection(state)
        categories = {axis: state.ladders[axis] for axis in state.unordered}
        return SearchRegion(
            low, high, state.given_inputs, near, seconds, project, state.reachable, categories=categories
        ), name

    def _trust_region(self, state: SearchState, batch: int) -> TrustRegion:
        """The trust region after all successes and failures of this phase's proposals.

        A batch that could shrink the region alone is one trial, a success if any of its points is one, because none of
        its points knew of the others. That all batches were as large as the present one is assumed, because results do
        not tell.
        """
        if state.drifts:
            return UNDER_DRIFT
        region, improved = TrustRegion(), improvements(state.merits)[self._first_own(state) :]
        together = batch if batch >= TrustRegion.patience(state.space.dim) else 1
        for i in range(0, len(improved), together):
            region = region.after(any(improved[i : i + together]), state.space.dim)
        return region

    def _first_own(self, state: SearchState) -> int:
        """Index of the first result that this phase proposed."""
        if self._first is not None:
            return self._first
        first = max((phase.end(state) for phase in self._after), default=0)
        if first < len(state.results):
            self._first = first  # the earlier phases are over, so later results cannot change their end
        return first

    def _whole_domain(self, state: SearchState) -> bool:
        """Whether to search the whole domain, in a random half of the cases: feasible regions may be disjoint."""
        return bool(np.random.default_rng([self._options.seed, len(state.results)]).random() < 0.5)

    def _seconds(self, state: SearchState, request: Request) -> TravelCost | None:
        """Seconds that points take from the position at which the next move begins; None without travel times."""
        options, space = self._options, state.space
        if not (options.per_second and options.travel):
            return None
        if request.same_call:
            (here,) = space.points(request.same_call[-1])
        else:
            here = dict([space.standing(), *state.results[-1:], *request.pending[-1:]][-1])
        return TravelCost(options, space, state.coordinates, state.best_expected, here)


def _on_lattice(lattice: Lattice, region: SearchRegion, state: SearchState, seed: int) -> SearchRegion:
    """The region with the allowed points to choose from, all variables being discrete."""
    d, near = state.space.dim, region.near
    assert near is not None
    rng = np.random.default_rng(seed)
    repeats = math.inf if state.drifts else lattice.repeats(state.data.table.Y, state.data.table.std)
    units = lattice.candidates(region.low[:d], region.high[:d], near[:, :d], rng, repeats)
    return replace(region, candidates=state.inputs_now(units), project=None)


def _promising(state: SearchState) -> FloatArray:
    """Model inputs, shape (k, inputs), of the points to search around: the front, or the best safe points."""
    expected = state.expected
    known = np.flatnonzero(np.isfinite(expected).all(axis=1) & state.safe_points)
    if not len(known):
        return state.inputs_now(state.start[None])
    if expected.shape[1] == 2:
        known = known[hypervolume.front(expected[known])]
    else:
        known = known[np.argsort(-expected[known].sum(axis=1), kind="stable")]
    return state.inputs_now(state.searched[known[:NEAR]])


def _length_scales(state: SearchState) -> FloatArray:
    """Length scales of the objective, or the shortest ones of its factors, shape (d,), as shares of the domain."""
    columns = [column for column, _ in state.goal.factors] or [state.goal.objective]
    scales = [state.surrogate.length_scales(column)[: state.space.dim] for column in columns]
    return np.asarray(np.min(scales, axis=0))


def _sides(length_scales: FloatArray, unordered: Collection[int]) -> FloatArray:
    """Length scales, shape (d,), that shape the box: a variable without order has none there, as it lies open."""
    if not unordered or len(unordered) == len(length_scales):
        return length_scales
    sides, axes = length_scales.copy(), sorted(unordered)
    sides[axes] = np.exp(np.mean(np.log(np.delete(length_scales, axes))))
    return sides


def _projection(state: SearchState) -> Callable[[FloatArray], FloatArray] | None:
    """Maps model inputs, shape (k, inputs), to points that motors can reach; None if motors can reach all points."""
    if state.coordinates.plain and not state.space.choices:
        return None
    d, centre = state.space.dim, state.best_expected

    def project(X: FloatArray) -> FloatArray:
        units = state.space.snap(state.coordinates.unit(X[:, :d], centre))
        return np.hstack([state.coordinates.search(units), X[:, d:]])

    return project
