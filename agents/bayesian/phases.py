"""The phases of a search before a model decides, and the protocol of all phases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from scipy.stats import qmc

from ebl_autonomy.agents.base import Point
from ebl_autonomy.agents.bayesian.probing import ProbeSequence
from ebl_autonomy.agents.bayesian.state import SearchState
from ebl_autonomy.errors import AgentError
from ebl_autonomy.records import Decision
from ebl_autonomy.space import FloatArray

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
"""How many points are spread over the domain, after the start, before a model of several objectives decides."""
SAFEST_AGAIN: Final = "the safest known point once more"

Proposal = tuple[FloatArray, Decision]
"""A point of the unit cube of motors, shape (d,), and why it was chosen."""


@dataclass(frozen=True)
class Request:
    """What is wanted of a phase.

    Attributes
    ----------
    number : int
        Of the first proposal that is wanted: how many were made before it, answered or not.
    count : int
        How many proposals are wanted.
    pending : sequence of dict
        Proposals of earlier calls that are out, as points.
    same_call : sequence of FloatArray, shape (d,) each
        Points of the unit cube of motors that other phases proposed in the same call.
    rng : numpy.random.Generator
        Follows from the seed, the number of results and the number of proposals that are out.
    """

    number: int
    count: int
    pending: Sequence[Point]
    same_call: Sequence[FloatArray]
    rng: np.random.Generator


class Phase(Protocol):
    """One way of choosing what to measure next."""

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        """At most `request.count` proposals; an empty list if this phase has no say now."""


class OpeningPhase(Phase, Protocol):
    """A phase that is over once and for all."""

    def end(self, state: SearchState) -> int:
        """The number of the first proposal after this phase, as far as the results tell."""


class Start:
    """Where the beamline stands."""

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        return _proposed(state, state.start, "start") if request.number == 0 else []

    def end(self, state: SearchState) -> int:
        return 1


class RandomStart:
    """Anywhere in the domain."""

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        if request.number > 0:
            return []
        return _proposed(state, request.rng.random(state.space.dim), "random start")

    def end(self, state: SearchState) -> int:
        return 1


class BestOfPast:
    """The best point of the past experiments, as the second point: it tells soonest whether they still hold."""

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        if request.number != 1:
            return []
        best = state.best_of_pasts
        return [] if best is None else _proposed(state, best, "best of the past")

    def end(self, state: SearchState) -> int:
        return 2


class Probing:
    """A few probes of each motor around the start; see `probing.ProbeSequence`.

    Parameters
    ----------
    step : float
        Of the probes, as a share of the domain.
    """

    def __init__(self, step: float) -> None:
        self._step = step

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        point = self._sequence(state).point(request.number, state.start)
        return [] if point is None else _proposed(state, point, "look around")

    def end(self, state: SearchState) -> int:
        return self._sequence(state).end(len(state.results), state.start)

    def _sequence(self, state: SearchState) -> ProbeSequence:
        # Under hard limits, a far probe where nothing has responded yet would be a leap.
        seen_at = 0 if state.hard else state.first_signal
        return ProbeSequence(state.searched, state.merits, seen_at, self._step)


class Nearby:
    """Two random points for each motor, in a box around the start that grows.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        if request.number >= self.end(state):
            return []
        return _proposed(state, _in_growing_box(state, request.number, self._seed), "look nearby")

    def end(self, state: SearchState) -> int:
        return 2 * state.space.dim + 1


class Blind:
    """Random points in a box around the start that grows, until an outcome has responded and can be modelled.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        if state.can_model and state.first_signal <= len(state.results):
            return []
        return _proposed(state, _in_growing_box(state, request.number, self._seed), "find the beam")

    def end(self, state: SearchState) -> int:
        return min(state.first_signal, len(state.results))


class Spread:
    """Quasi-random points: trade-offs run through the whole domain, and no direction from the start is the best one.

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
        sequence = qmc.Sobol(state.space.dim, seed=self._seed).random_base2(math.ceil(math.log2(number + 1)))
        return _proposed(state, np.asarray(sequence[number - 1]), "spread")

    def end(self, state: SearchState) -> int:
        return SPREAD_POINTS + 1


class SafeStart:
    """Where the beamline stands, until a measurement there has kept the hard limits.

    Raises
    ------
    AgentError
        By `propose`, if that measurement broke one.
    """

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        kept = state.kept_hard_limits
        measured = np.isfinite(state.data.table.Y[:, state.hard.columns]).all(axis=1)
        if measured.any() and not kept[first := int(np.argmax(measured))]:
            broke, limits = state.results[first], state.hard.constraints
            raise AgentError(f"the first point broke a hard limit ({broke}): start where {limits} hold")
        return [] if kept.any() else _proposed(state, state.start, "start")


class SafestAgain:
    """The safest known point, until there is a model."""

    def propose(self, state: SearchState, request: Request) -> list[Proposal]:
        if state.can_model:
            return []
        safest = state.hard.safest(state.data.table)
        return _proposed(state, state.coordinates.search(safest[None])[0], SAFEST_AGAIN)


def _proposed(state: SearchState, point: FloatArray, reason: str) -> list[Proposal]:
    """One proposal, from searched coordinates, shape (d,)."""
    unit = state.coordinates.unit(point[None], state.best_measured)[0]
    return [(unit, Decision(reason=reason, model_version="none"))]


def _in_growing_box(state: SearchState, number: int, seed: int) -> FloatArray:
    """A random point, shape (d,), in a box around the start that grows with `number` until it is the domain."""
    u = np.random.default_rng([seed, number]).random(state.space.dim)
    half = min(1.0, 0.1 * (1.0 + number / (2.0 * state.space.dim)))
    return np.clip(state.start + half * (2.0 * u - 1.0), 0.0, 1.0)
