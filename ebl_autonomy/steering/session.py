"""The steering of one experiment: ask an agent, admit its proposals, tell it what was measured, and know when to stop.

A session knows no RunEngine and no device. A plan, a service that drives a queue, and a test hold the very same object;
they differ in who moves the motors.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from gest_api.generator import Generator

from ebl_autonomy.agents.base import Withdraws
from ebl_autonomy.errors import AgentError, BadInputError, BudgetSpentError, NoMoreProposals, RefusedError
from ebl_autonomy.guard import Gate, Line
from ebl_autonomy.records import (
    ROW,
    RULE_RUN,
    AbandonedStatus,
    BestReading,
    Decision,
    ProposalRecord,
    Recommendation,
    ResultLayout,
    RunRecord,
    row_at,
    to_float,
)
from ebl_autonomy.space import VOCS, BestSoFar, Space, make_vocs, outcome_names
from ebl_autonomy.steering.proposal import Proposal
from ebl_autonomy.steering.stopping import StopRules, Until

__all__ = ["SteeringSession"]

logger = logging.getLogger(__name__)

MAX_REFUSALS: Final = 25
"""After so many refused proposals in a row the agent does not know what is allowed: the session ends."""

LineOf = Callable[[Mapping[str, float]], Line | None]


class SteeringSession:
    """One experiment's decisions.

    The order of calls is: `begin`; then `ask`, and for each proposal `admit` and one of `tell` (it was measured),
    `refuse` (the gate did not let it pass) and `abandon` (it could not be measured); until `stop_reason` says why
    nothing more is to be measured, or `ask` raises `NoMoreProposals`; then `finish`.

    Parameters
    ----------
    agent : Generator
        Ours or anybody's gest-api generator.
    gate : Gate
        Judges every move, and counts rows and dose.
    vocs : VOCS or mapping, optional
        For a generator without an attribute ``vocs``.
    until : Until or mapping, optional
        Stop rules.
    max_points : int
        Rows to record; a flown line has many.
    batch : int
        Proposals that the agent is asked for at once.
    rows_per_proposal : int
        How many rows a proposal is expected to give.
    positions_from_rows : collection of str
        See `ResultLayout`.
    clock : callable
        Seconds, from any origin.

    Attributes
    ----------
    counts : dict of str to int
        Proposals that were accepted, refused and abandoned.
    known : int
        Results that the agent has been told.
    rows : int
        Rows that were recorded.
    surplus : int
        How many proposals the agent answered at the last `ask` beyond what it was asked for; they are not measured.
    stop_reason : str
        Why nothing more is to be measured; empty while the experiment goes on.
    best_reading : BestReading or None
        The best value so far; see `BestReading`.
    """

    def __init__(
        self,
        agent: Generator,
        gate: Gate,
        *,
        vocs: VOCS | Mapping[str, Any] | None = None,
        until: Until | Mapping[str, Any] | None = None,
        max_points: int,
        batch: int = 1,
        rows_per_proposal: int = 1,
        positions_from_rows: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.agent, self.gate = agent, gate
        self.space = Space(make_vocs(getattr(agent, "vocs", vocs)))
        self.outcomes = outcome_names(self.space.vocs)
        self.layout = ResultLayout(
            variables=tuple(self.space.names),
            context=tuple(self.space.context),
            outcomes=tuple(self.outcomes),
            constants=self.space.constants,
            positions_from_rows=frozenset(positions_from_rows),
        )
        self.until = Until.of(until)
        self.max_points, self.batch, self.rows_per_proposal = max_points, batch, rows_per_proposal
        self.counts = {"accepted": 0, "refused": 0, "abandoned": 0}
        self.known = 0
        self.rows = 0
        self.surplus = 0
        self.stop_reason = ""
        self.best_reading: BestReading | None = None
        self._best_so_far = BestSoFar(self.space)
        self._rules = StopRules(self.until, self.space)
        self._made = self._batches = 0
        self._refused_in_a_row = 0
        self._last_refusal = ""
        self._current: list[Proposal] = []
        """The proposals of the latest batch; the agent is told of them when the batch is over."""
        self._waiting: list[Proposal] = []
        """Proposals of a restored run that it left untried; the next `ask` answers them."""
        self._clock = clock
        self._began = clock()
        self._seconds_before = 0.0

    # -- time --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start counting the seconds."""
        self._began = self._clock()

    def elapsed(self) -> float:
        """Seconds since the run began, those before a restart included."""
        return self._seconds_before + self._clock() - self._began

    # -- ask ---------------------------------------------------------------------------------------------------

    def ask(self) -> list[Proposal]:
        """Tell the agent what is new, and take its next proposals. Takes as long as the agent thinks.

        Raises
        ------
        NoMoreProposals
            If the agent has none: the experiment ends well.
        AgentError
            If the answer is no list of points, or too many proposals in a row were refused.
        """
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            return waiting
        if self._refused_in_a_row >= MAX_REFUSALS:
            raise AgentError(
                f"{self._refused_in_a_row} proposals in a row were refused, the last because: {self._last_refusal}. "
                "Change the VOCS's domain or the envelope so that they agree."
            )
        began = time.perf_counter()
        self.flush()
        left = math.ceil((self.max_points - self.rows) / self.rows_per_proposal)
        count = max(min(self.batch, left), 1)
        try:
            answers = self.agent.suggest(count)
        except NoMoreProposals as error:
            if not error.remaining:
                raise
            answers = self.agent.suggest(error.remaining)
        _check_answer(answers, count)
        decisions = self._decisions()
        self.surplus = max(len(answers) - count, 0)
        seconds = (time.perf_counter() - began) / min(len(answers), count)
        self._current = [
            self._new(answer, decisions[i] if i < len(decisions) else Decision(), seconds)
            for i, answer in enumerate(answers[:count])
        ]
        self._batches += 1
        return list(self._current)

    def _decisions(self) -> list[Decision]:
        decisions = getattr(self.agent, "decisions", None)
        return list(decisions()) if callable(decisions) else []

    def _new(self, answer: Any, decision: Decision, seconds: float) -> Proposal:
        proposal = Proposal(f"{self._made:05d}", answer, self._batches, decision, self.known, seconds)
        self._made += 1
        return proposal

    # -- admit -------------------------------------------------------------------------------------------------

    def admit(self, proposal: Proposal, here: Mapping[str, float], line_of: LineOf | None = None) -> None:
        """Let the gate judge the move that a proposal asks for; sets the proposal's `admitted`.

        Parameters
        ----------
        proposal : Proposal
        here : mapping of str to float
            Where the motors stand. Empty: rules on the way are not judged; within a batch, where a move begins is
            known only when its turn has come.
        line_of : callable, optional
            From the target to the line that is flown there.

        Raises
        ------
        RefusedError
            With the rule, the value and the remedy: pass it to `refuse`.
        """
        proposal.admitted = self.gate.admit(proposal.answer, here, proposal.decision, line_of)

    def check_budgets(self, proposal: Proposal) -> str:
        """Why this proposal is not to be measured any more; empty if it is. Sets `stop_reason`."""
        line = proposal.admitted.line if proposal.admitted is not None else None
        rows = line.rows if line is not None else 1
        if not self.stop_reason:
            try:
                self.gate.check_budget(self.elapsed(), rows)
            except BudgetSpentError as error:
                self.stop_reason = f"budget: {error.message}"
        if not self.stop_reason and self.rows + rows > self.max_points:
            more = f", the next proposal has {rows}" if rows > 1 else ""
            self.stop_reason = f"max_points: {self.rows} points are measured{more}"
        return self.stop_reason

    # -- tell --------------------------------------------------------------------------------------------------

    def tell(self, proposal: Proposal, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take the recorded rows of a proposal; the agent is told of them with the rest of its batch.

        Parameters
        ----------
        proposal : Proposal
        rows : sequence of mapping
            Event key to value, in order; at least one.
        """
        proposal.results = [self.layout.measured(row, proposal.proposed) for row in rows]
        proposal.status = "accepted"
        self._count_accepted(proposal, rows)

    def refuse(self, proposal: Proposal, error: RefusedError) -> None:
        """Note that the gate refused a proposal; the agent is told that it was not measured."""
        self._end_unmeasured(proposal, "refused", error.rule)
        self._count_refused(error.message)

    def abandon(self, proposal: Proposal, rule: str) -> None:
        """Note that an admitted proposal was not measured, and by which rule; `RULE_RUN` if it was never tried."""
        self._end_unmeasured(proposal, "abandoned", rule)
        self.counts["abandoned"] += 1

    def _end_unmeasured(self, proposal: Proposal, status: AbandonedStatus, rule: str) -> None:
        result = None if rule == RULE_RUN else self.layout.unmeasured(proposal.proposed)
        proposal.results = [result] if result is not None else []
        proposal.status = status

    def _count_accepted(self, proposal: Proposal, rows: Sequence[Mapping[str, Any]]) -> None:
        self.counts["accepted"] += 1
        self._refused_in_a_row = 0
        self.rows += len(rows)
        for row, result in zip(rows, proposal.results, strict=True):
            self.gate.spend(row)
            self._compare(proposal, result)
        recorded = to_float(rows[-1].get(ROW.seconds_elapsed))
        seconds = recorded if math.isfinite(recorded) else self.elapsed()
        reason = self._rules.after(proposal, rows[-1], seconds, self._best_so_far.score)
        if self.rows >= self.max_points:
            reason = f"max_points: {self.rows} points are measured"
        self.stop_reason = self.stop_reason or reason

    def _count_refused(self, message: str) -> None:
        self.counts["refused"] += 1
        self._refused_in_a_row += 1
        self._last_refusal = message

    @property
    def open_proposals(self) -> list[Proposal]:
        """The proposals that have not ended."""
        return [proposal for proposal in self._current if proposal.status == "pending"]

    def flush(self) -> None:
        """Tell the agent what it does not know yet, in the order in which it made the proposals."""
        over, self._current = self._current, []
        results = [result for proposal in over for result in proposal.results]
        if results:
            self.agent.ingest(results)
            self.known += len(results)
        self._withdraw(over)

    def finish(self) -> None:
        """Tell the agent all there is, when nothing more will be measured."""
        self.flush()

    def _compare(self, proposal: Proposal, result: Mapping[str, Any]) -> None:
        outcome = {name: to_float(result[name]) for name in self.outcomes}
        if self._best_so_far.take(outcome):
            point = {name: float(result[name]) for name in self.space.names}
            self.best_reading = BestReading(proposal.proposal_id, point, outcome)

    def _withdraw(self, over: Sequence[Proposal]) -> None:
        """Free the agent of proposals that no result answers at the proposed point, such as flown lines."""
        if isinstance(self.agent, Withdraws) and (self.layout.positions_from_rows or any(not p.results for p in over)):
            self.agent.withdraw([dict(proposal.proposed) for proposal in over])

    # -- best --------------------------------------------------------------------------------------------------

    def recommendation(self) -> Recommendation | None:
        """What the agent recommends; without a word from the agent, the best reading. None if nothing is valid."""
        best = getattr(self.agent, "best", None)
        if callable(best) and self.space.objectives:
            try:
                found = best()
            except AgentError:
                return None  # nothing valid was measured
            if isinstance(found, Recommendation):
                return found
        if self.best_reading is None:
            return None
        return Recommendation(dict(self.best_reading.point), dict(self.best_reading.outcome))

    def front(self) -> list[Recommendation]:
        """Of several objectives, the points that no other one betters in all of them; else empty."""
        front = getattr(self.agent, "front", None)
        return list(front()) if len(self.space.objectives) > 1 and callable(front) else []

    # -- restore -----------------------------------------------------------------------------------------------

    def restore(self, record: RunRecord) -> None:
        """Go on where a run ended or was cut: with the same next proposal, budgets and counters.

        Proposals that the run left untried are answered by the next `ask`, under their own ids.

        Parameters
        ----------
        record : RunRecord
            Made by a session with the same agent configuration, rules and gate as this one.

        Raises
        ------
        BadInputError
            If this session has begun already.
        """
        if self._made or self.known:
            raise BadInputError(f"a session that has made {self._made} proposals cannot be restored: use a fresh one")
        proposals = [_restored(one) for one in record.proposals]
        batches = [list(group) for _, group in groupby(proposals, lambda proposal: proposal.batch)]
        for batch in batches[:-1]:
            self._current.extend(batch)
        self.flush()
        self._made = len(proposals)
        if batches:
            self._current = batches[-1]
            self._batches = batches[-1][0].batch + 1
            self._waiting = self.open_proposals
            if self._waiting:
                self._ask_again(batches[-1])
        by_id = dict(zip((one.proposal_id for one in record.proposals), proposals, strict=True))
        for one in sorted(record.proposals, key=lambda one: one.ended):
            self._replay(by_id[one.proposal_id], one, [row_at(record.rows, i) for i in one.rows])
        spent = [one.seconds_elapsed for one in record.proposals if math.isfinite(one.seconds_elapsed)]
        self._seconds_before = max(spent, default=0.0)
        self.begin()

    def _ask_again(self, batch: list[Proposal]) -> None:
        """Make the agent know that a batch is out, by asking it once more what it was asked when the run was cut."""
        try:
            answers = self.agent.suggest(len(batch))
            _check_answer(answers, len(batch))
        except NoMoreProposals:
            answers = []
        names = self.space.names
        if [_point(answer, names) for answer in answers] == [_point(p.answer, names) for p in batch]:
            for proposal, answer in zip(batch, answers, strict=True):
                proposal.answer = answer
            return
        logger.warning(
            "the agent does not propose again what the run recorded (another version, or a generator that draws anew): "
            "the recorded proposals %s are measured all the same",
            [proposal.proposal_id for proposal in batch],
        )
        if isinstance(self.agent, Withdraws):
            self.agent.withdraw(answers)

    def _replay(self, proposal: Proposal, ended: ProposalRecord, rows: Sequence[Mapping[str, Any]]) -> None:
        """Count one proposal of a record as it was counted when it ended."""
        if ended.status == "accepted":
            self._count_accepted(proposal, rows)
        elif ended.status == "refused":
            self._count_refused(ended.reason)
        elif ended.status == "abandoned" and ended.rule != RULE_RUN:
            self.counts["abandoned"] += 1


def _check_answer(answer: Any, count: int) -> None:
    if not isinstance(answer, Sequence) or isinstance(answer, (str, bytes)):
        raise AgentError(f"suggest({count}) answered a {type(answer).__name__}, not a list of points")
    if not answer:
        raise NoMoreProposals("it has no more proposals")


def _restored(one: ProposalRecord) -> Proposal:
    untried = one.status == "pending" or one.rule == RULE_RUN
    return Proposal(
        proposal_id=one.proposal_id,
        answer=dict(one.point),
        batch=one.batch,
        decision=one.decision,
        points_known=one.points_known,
        seconds_to_decide=one.seconds_to_decide,
        status="pending" if untried else one.status,
        results=[dict(result) for result in one.results],
    )


def _point(answer: Any, names: Sequence[str]) -> list[float] | None:
    return [to_float(answer.get(name)) for name in names] if isinstance(answer, Mapping) else None
