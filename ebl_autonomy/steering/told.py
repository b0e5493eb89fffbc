"""What the agent of a session has been told, which of it the agent doubts, and the best reading of the rest."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from gest_api.generator import Generator

from ebl_autonomy.agents.protocols import Suspects
from ebl_autonomy.records import BestReading, ReadingId, to_float
from ebl_autonomy.space import BestSoFar, Space
from ebl_autonomy.steering.proposal import Proposal

__all__ = ["ToldResults"]

logger = logging.getLogger(__name__)


class ToldResults:
    """The results of a session in order, without those before it.

    Parameters
    ----------
    agent : Generator
    space : Space
    outcomes : sequence of str

    Attributes
    ----------
    told : list of (Proposal, result)
        The results that the agent has received, with their proposals.
    suspects : dict of str to frozenset of int
        Of each outcome that has some, the numbers of the results in `told` that the agent takes for outliers.
    best_reading : BestReading or None
        The best reading so far, of which the agent need not know yet.
    known : int
        Number of results that the agent has received, those before this session included.
    """

    def __init__(self, agent: Generator, space: Space, outcomes: Sequence[str]) -> None:
        self.told: list[tuple[Proposal, Mapping[str, Any]]] = []
        self.suspects: dict[str, frozenset[int]] = {}
        self.best_reading: BestReading | None = None
        self._agent, self._space, self._outcomes = agent, space, outcomes
        self._best_so_far = BestSoFar(space)
        self._before = len(getattr(agent, "results", ())) if isinstance(agent, Suspects) else 0

    @property
    def known(self) -> int:
        return self._before + len(self.told)

    @property
    def best_score(self) -> float:
        """The best objective so far, signed such that more is better; -inf before the first feasible reading."""
        return float(self._best_so_far.score)

    @property
    def doubted(self) -> set[int]:
        """The numbers of the results in `told` that are never the best."""
        return self._space.doubted(self.suspects)

    @property
    def suspect_readings(self) -> dict[str, frozenset[ReadingId]]:
        """The suspects as readings of the run."""
        return {name: frozenset(map(self._reading, numbers)) for name, numbers in self.suspects.items()}

    def _reading(self, number: int) -> ReadingId:
        proposal, result = self.told[number]
        return proposal.proposal_id, next(i for i, own in enumerate(proposal.results) if own is result)

    def compare(self, proposal: Proposal) -> None:
        """Compare the results of a proposal with the best reading; those that the agent doubts are left out."""
        doubted = {id(self.told[i][1]) for i in self.doubted}
        for result in proposal.results:
            self._compare(proposal, result, id(result) in doubted)

    def take(self, over: Sequence[Proposal]) -> None:
        """Note that the agent has received the results of these proposals, and ask it which results it doubts."""
        self.told += [(proposal, result) for proposal in over for result in proposal.results]
        suspects = self._suspects_now()
        if suspects != self.suspects:
            self.suspects, self._best_so_far, self.best_reading = suspects, BestSoFar(self._space), None
            doubted = self.doubted
            for i, (proposal, result) in enumerate(self.told):
                self._compare(proposal, result, i in doubted)

    def _suspects_now(self) -> dict[str, frozenset[int]]:
        if not isinstance(self._agent, Suspects):
            return {}
        try:
            found = self._agent.suspects()
        except (Exception, SystemExit):  # somebody else's agent; without its doubts the run goes on
            logger.exception("the agent's suspects() failed, so all readings count")
            return {}
        by_outcome = {
            name: frozenset(number - self._before for number in found.get(name, ())) & set(range(len(self.told)))
            for name in self._outcomes
        }
        return {name: numbers for name, numbers in by_outcome.items() if numbers}

    def _compare(self, proposal: Proposal, result: Mapping[str, Any], doubted: bool) -> None:
        outcome = {name: to_float(result[name]) for name in self._outcomes}
        if self._best_so_far.take(outcome, doubted=doubted):
            point = {name: float(result[name]) for name in self._space.names}
            self.best_reading = BestReading(proposal.proposal_id, point, outcome)
