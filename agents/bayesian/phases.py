"""The protocol of all phases of a search, and the phases before a model decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from ebl_autonomy.agents.base import Point
from ebl_autonomy.agents.bayesian import survey
from ebl_autonomy.agents.bayesian.lattice import Lattice, with_next_values
from ebl_autonomy.agents.bayesian.probing import ProbeSequence
from ebl_autonomy.agents.bayesian.state import SearchState
from ebl_autonomy.errors import AgentError
from ebl_autonomy.records import Decision
from ebl_autonomy.space import FloatArray, evenly

__all__ = [
    "SAFEST_AGAIN",
    "BestOfPast",
    "Blind",
    "Nearby",
    "OpeningPhase",
    "Phase",
    "Probing",
    "Proposal",
    "RandomStart",
    "Request",
    "SafeStart",
    "SafestAgain",
    "Spread",
    "Start",
]

SPREAD_POINTS: Final = 2
"""Number of space-filling points between the start and the first model of several objectives."""
TRIES: Final = 64
"""Number of random points that are drawn to find one that is not known yet, if all variables are discrete."""
SAFEST_AGAIN: Final = "the safest known point once more"

Proposal = tuple[FloatArray, Decision]
"""A point of the unit cube of motors, shape (d,), and the decision behind it."""


@dataclass(frozen=True)
class Request:
    """A request to a phase.

    Attributes
    ----------
    number : int
        Number of the first requested proposal, counted from 0 over results and pending proposals.
    count : int
        Largest number of proposals to return.
    pending : sequence of dict
        Pending proposals of earlier calls, as points.
    same_call : sequence of FloatArray, shape (d,) each
        Points of the unit cube of motors that were proposed earlier in the same call.
    rng : numpy.random.Generator
        Depends only on the seed, the number of results and the number of pending proposals.
    """

    number: int
    count: int
    pending: Sequence[Point]
    same_call: Sequence[FloatArray]
    rng: np.random.Generator

    def out(self, state: SearchState) -> FloatArray:
        """The pending points and those of the same call, in the unit cube of motors, shape (p, d)."""
        out = np.vstack([state.space.unit(self.pending), *(unit[None] for unit in self.same_call)])
        return state.space.snap(out) if state.ladders else out

    def lattice(self, state: SearchState) -> Lattice | None:
        """The allowed points if all variables are discrete, with those that are measured or proposed; else None."""
        return state.lattice(self.out(state))


class Phase(Protocol):
    """A strategy to choose the next point."""

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        """At most `request.count` proposals; an empty list if this phase is not active."""


class OpeningPhase(Phase, Protocol):
    """A phase that ends once and does not return."""

    def end(self, state: SearchState) -> int:
        """Number of the first proposal after this phase, as far as the results determine it."""


class Start:
    """The first point: the present position of the beamline."""

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        return _proposed(state, state.start, "start") if request.number == 0 else []

    def end(self, state: SearchState) -> int:
        return 1


class RandomStart:
    """The first point: random in the domain."""

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        if request.number > 0:
            return []
        return _proposed(state, request.rng.random(state.space.dim), "random start")

    def end(self, state: SearchState) -> int:
        return 1


class BestOfPast:
    """The second point: the best of the past experiments, which shows most quickly whether they still apply."""

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        if request.number != 1:
            return []
        best, lattice = state.best_of_pasts, request.lattice(state)
        again = best is not None and lattice is not None and not lattice.is_new(best)
        return [] if best is None or again else _proposed(state, best, "best of the past")

    def end(self, state: SearchState) -> int:
        return 2


class Probing:
    """A few probes of each motor around the start; see `probing.ProbeSequence`.

    Parameters
    ----------
    step : float
        Step of the probes, as a share of the domain.
    after : Survey, optional
        The phase before, after which the probes are left out if a far point is better than the start. Until an outcome
        responds, every other proposal is then left to the phases that follow.
    """

    def __init__(self, step: float, after: OpeningPhase | None = None) -> None:
        self._step = step
        self._after = after

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        if self._is_left_out(state):
            return []
        point = self._sequence(state).point(request.number, state.start)
        return [] if point is None else _proposed(state, point, "look around")

    def end(self, state: SearchState) -> int:
        return 0 if self._is_left_out(state) else self._sequence(state).end(len(state.results), state.start)

    def _is_left_out(self, state: SearchState) -> bool:
        if self._after is None or not state.has_survey:
            return False
        return state.surroundings not in (survey.DARK, survey.NARROW)

    def _sequence(self, state: SearchState) -> ProbeSequence:
        # Under hard limits, a far probe before the first response would be too risky, and so is a value of a discrete
        # variable beyond the step that the user vouches for.
        seen_at, longest = (0, self._step) if state.hard else (state.first_signal, math.inf)
        first = 1 if self._after is None else self._after.end(state)
        every = 1 if self._after is None or not state.has_survey else 2
        return ProbeSequence(
            state.searched,
            state.merits,
            seen_at,
            self._step,
            state.ladders,
            longest,
            state.unordered,
            first=first,
            every=every,
        )


class Survey:
    """A few quasi-random points of the whole domain; see `survey` for what they tell.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        number = request.number
        # Before the first results, more of the same tells more than anything else.
        if number >= self.end(state) and (not state.has_survey or state.surroundings is not None):
            return []
        point = survey.new_point(state, self._seed, number - 1, request.out(state))
        return [] if point is None else _proposed(state, point, "survey")

    def end(self, state: SearchState) -> int:
        if not state.has_survey:
            return 1
        narrow = state.surroundings in (survey.DARK, survey.NARROW)
        return 1 + (survey.FIRST if narrow else survey.points(state.space.dim))


class Nearby:
    """Two random points per motor, in a growing box around the start.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        if request.number >= self.end(state):
            return []
        return _proposed(state, _in_growing_box(state, request, self._seed), "look nearby")

    def end(self, state: SearchState) -> int:
        return 2 * state.space.dim + 1


class Blind:
    """Until an outcome responds and can be modelled: points in a growing box around the start, and of the whole domain.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        if state.can_model and state.first_signal <= len(state.results):
            return []
        point = None
        if survey.is_turn(request.number):
            index = survey.index(state.space.dim, request.number)
            point = survey.new_point(state, self._seed, index, request.out(state))
        if point is None:
            point = _in_growing_box(state, request, self._seed)
        return _proposed(state, point, "find the beam")

    def end(self, state: SearchState) -> int:
        return min(state.first_signal, len(state.results))


class Spread:
    """Quasi-random points for several objectives, whose trade-offs extend through the whole domain.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        number = request.number
        if number >= self.end(state) and state.can_model:
            return []
        point = survey.new_point(state, self._seed, number - 1, request.out(state))
        return _proposed(state, _in_growing_box(state, request, self._seed) if point is None else point, "spread")

    def end(self, state: SearchState) -> int:
        return SPREAD_POINTS + 1


class SafeStart:
    """The present position, until a measurement there has kept the hard limits.

    Raises
    ------
    AgentError
        By `propose`, if that measurement violates a hard limit.
    """

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        kept = state.kept_hard_limits
        measured = np.isfinite(state.data.table.Y[:, state.hard.columns]).all(axis=1)
        if measured.any() and not kept[first := int(np.argmax(measured))]:
            broke, limits = state.results[first], state.hard.constraints
            raise AgentError(f"the first point broke a hard limit ({broke}): start where {limits} hold")
        return [] if state.safe_points.any() else _proposed(state, state.start, "start")


class SafestAgain:
    """The safest known point, until there is enough data for a model."""

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        if state.can_model:
            return []
        safest = state.hard.safest(state.data.table, state.safe_points)
        return _proposed(state, state.coordinates.search(safest[None])[0], SAFEST_AGAIN)


def _proposed(state: SearchState, point: FloatArray, reason: str) -> list[Proposal]:
    """One proposal at `point`, in searched coordinates, shape (d,)."""
    unit = state.coordinates.unit(point[None], state.best_measured)[0]
    return [(unit, Decision(reason=reason, model_version="none"))]


def _in_growing_box(state: SearchState, request: Request, seed: int) -> FloatArray:
    """A random point, shape (d,), in a box around the start that grows with the proposals up to the domain."""
    number, start = request.number, state.start
    half = min(1.0, 0.1 * (1.0 + number / (2.0 * state.space.dim)))
    low, high = with_next_values(start - half, start + half, start, state.ladders, start[None], state.unordered)
    low, high = np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)
    rng = np.random.default_rng([seed, number])
    drawn = evenly(rng.random((TRIES, state.space.dim)), {axis: state.ladders[axis] for axis in state.unordered})
    drawn = low + drawn * (high - low)
    lattice = request.lattice(state)
    if lattice is None:
        return np.asarray(drawn[0])
    new = next((point for point in drawn if lattice.is_new(point)), None)
    if new is None:
        new = lattice.new(rng)
    return np.asarray(drawn[0] if new is None else new)
