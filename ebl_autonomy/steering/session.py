"""The steering of one experiment: ask an agent, admit its proposals, report results to it, and decide when to stop.

A session depends on no RunEngine and no device. A plan, a service that drives a queue, and a test use the same object;
they differ only in how the motors are moved.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from gest_api.generator import Generator

from ebl_autonomy.agents.protocols import Suspects, Withdraws
from ebl_autonomy.errors import AgentError, BadInputError, BudgetSpentError, NoMoreProposals, RefusedError
from ebl_autonomy.guard import Gate, Line
from ebl_autonomy.records import (
    AGENT_ID,
    ROW,
    RULE_RUN,
    AbandonedStatus,
    BestReading,
    DecidedBy,
    Decision,
    ProposalRecord,
    ReadingId,
    Recommendation,
    ResultLayout,
    RunRecord,
    row_at,
    to_float,
)
from ebl_autonomy.space import VOCS, Space, make_vocs, outcome_names
from ebl_autonomy.steering.proposal import Proposal
from ebl_autonomy.steering.stopping import StopRules, Until
from ebl_autonomy.steering.target import CONFIRMATION, EARLY, target_found
from ebl_autonomy.steering.told import ToldResults

__all__ = ["SteeringSession"]

logger = logging.getLogger(__name__)

MAX_REFUSALS: Final = 25
"""Number of refused proposals in a row that ends the session, because the agent's domain does not fit the envelope."""

LineOf = Callable[[Mapping[str, float]], Line | None]


class SteeringSession:
    """The decisions of one experiment.

    Call `begin` first. Then call `ask`, and for each proposal `admit` and one of `tell` (the proposal was measured),
    `refuse` (the gate refused it) and `abandon` (it could not be measured). Repeat until `stop_reason` is not empty or
    `ask` raises `NoMoreProposals`. Then call `finish`.

    Parameters
    ----------
    agent : Generator
        An agent of this package or any gest-api generator.
    gate : Gate
        Judges every move and counts rows and dose.
    vocs : VOCS or mapping, optional
        The VOCS of a generator without an attribute ``vocs``.
    until : Until or mapping, optional
        Stop rules.
    max_points : int
        Number of rows to record; a fly line has many.
    batch : int
        Number of proposals in one call of ``suggest``.
    rows_per_proposal : int
        Expected number of rows of one proposal.
    positions_from_rows : collection of str, optional
        See `ResultLayout`; by default all variables that are not discrete.
    clock : callable
        Returns seconds, from any origin.

    Attributes
    ----------
    counts : dict of str to int
        Number of proposals that were accepted, refused and abandoned.
    known : int
        Number of results that the agent has received.
    rows : int
        Number of recorded rows.
    surplus : int
        Number of proposals that the agent returned at the last `ask` beyond the requested number; not measured.
    stop_reason : str
        The reason to stop the measurements; empty while the experiment continues.
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
        positions_from_rows: Iterable[str] | None = None,
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
            positions_from_rows=frozenset(
                self.space.continuous if positions_from_rows is None else positions_from_rows
            ),
        )
        self.until = Until.of(until)
        self.max_points, self.batch, self.rows_per_proposal = max_points, batch, rows_per_proposal
        self._rows_without_line = rows_per_proposal
        self.counts = {"accepted": 0, "refused": 0, "abandoned": 0}
        self.known = 0
        self.rows = 0
        self.surplus = 0
        self.stop_reason = ""
        self._rules = StopRules(self.until, self.space, doubtful=isinstance(agent, Suspects))
        self._results = ToldResults(agent, self.space, self.outcomes)
        self._made = self._batches = 0
        self._refused_in_a_row = 0
        self._last_refusal = ""
        self._current: list[Proposal] = []
        """The proposals of the latest batch; the agent receives their results when the batch is complete."""
        self._waiting: list[Proposal] = []
        """Untried proposals of a restored run; the next `ask` returns them."""
        self._clock = clock
        self._began = clock()
        self._seconds_before = 0.0

    @property
    def best_reading(self) -> BestReading | None:
        """The best reading so far; None before the first valid row that satisfies all constraints.

        A reading that the agent takes for an outlier is left out as soon as the agent knows it.
        """
        return self._results.best_reading

    @property
    def suspects(self) -> dict[str, frozenset[ReadingId]]:
        """Of each outcome that has some, the readings that the agent takes for outliers at present."""
        return self._results.suspect_readings

    # -- time --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the clock of the run."""
        self._began = self._clock()

    def elapsed(self) -> float:
        """Seconds since the start of the run, including those before a restart."""
        return self._seconds_before + self._clock() - self._began

    @property
    def seconds_spent(self) -> float:
        """Seconds up to the latest accepted proposal, as the stop rules count them: see `Until.clock`."""
        return self._rules.seconds_spent

    # -- ask ---------------------------------------------------------------------------------------------------

    def ask(self) -> list[Proposal]:
        """Give the agent its new results, and return its next proposals. Blocks while the agent computes.

        If the new results reach the target of an agent that knows outliers, it returns none and sets `stop_reason`; or
        proposals to measure once more what an early reading alone says; see `target`.

        Raises
        ------
        NoMoreProposals
            If the agent has no more proposals; the experiment ends successfully.
        AgentError
            If the answer is not a list of points, or too many proposals in a row were refused.
        """
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            return waiting
        if self._refused_in_a_row >= MAX_REFUSALS:
            raise AgentError(
                f"{self._refused_in_a_row} proposals in a row were refused, the last because: {self._last_refusal}. "
                "Change the VOCS's domain, the envelope or the lines so that they agree."
            )
        began = time.perf_counter()
        self.flush()
        self.surplus, before = 0, self.stop_reason
        alone = self._look_for_target()
        if self.stop_reason != before:
            return []
        if alone:
            return self._once_more(alone, time.perf_counter() - began)
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

    def _new(self, answer: Any, decision: Decision, seconds: float, decided_by: DecidedBy = "agent") -> Proposal:
        name = f"{self._made:05d}"
        proposal = Proposal(name, answer, self._batches, decision, self.known, seconds, decided_by=decided_by)
        self._made += 1
        return proposal

    # -- admit -------------------------------------------------------------------------------------------------

    def admit(self, proposal: Proposal, here: Mapping[str, float], line_of: LineOf | None = None) -> None:
        """Let the gate judge the move that a proposal requests, and set the proposal's `admitted`.

        Parameters
        ----------
        proposal : Proposal
        here : mapping of str to float
            Present motor positions, in motor units. If empty, rules about the path are not judged: the start of a move
            within a batch is known only after the move before it.
        line_of : callable, optional
            Maps the target to the fly line that starts there.

        Raises
        ------
        RefusedError
            If the gate refuses the move, with the rule, the value and the remedy; pass the error to `refuse`.
        """
        proposal.admitted = self.gate.admit(proposal.answer, here, proposal.decision, line_of)

    def check_budgets(self, proposal: Proposal) -> str:
        """The reason not to measure this proposal; empty if it may be measured. Sets `stop_reason`."""
        line = proposal.admitted.line if proposal.admitted is not None else None
        rows = line.rows if line is not None else self._rows_without_line
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
        """Take the recorded rows of a proposal; the agent receives their results with the rest of its batch.

        Parameters
        ----------
        proposal : Proposal
        rows : sequence of mapping
            Rows in order, at least one; each maps event keys to values.
        """
        proposal.results = [self.layout.measured(row, proposal.proposed) for row in rows]
        proposal.status = "accepted"
        self._count_accepted(proposal, rows)

    def lose_exposure(self, readings: Sequence[Mapping[str, Any]] = ()) -> None:
        """Count the dose of an exposure that left no row; `readings` holds what was read of it, one mapping per row."""
        self.gate.lose(readings)

    def refuse(self, proposal: Proposal, error: RefusedError) -> None:
        """Record that the gate refused a proposal; the agent receives a result with NaN outcomes."""
        self._end_unmeasured(proposal, "refused", error.rule)
        self._count_refused(error.message)

    def abandon(self, proposal: Proposal, rule: str) -> None:
        """Record that an admitted proposal was not measured, and the rule; `RULE_RUN` if the proposal was not tried."""
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
        self.rows_per_proposal = max(self.rows_per_proposal, len(rows))
        if proposal.admitted is None or proposal.admitted.line is None:
            self._rows_without_line = max(self._rows_without_line, len(rows))
        self.gate.spend(*rows)
        best_before = self._results.best_score
        self._results.compare(proposal)
        recorded = to_float(rows[-1].get(ROW.seconds_elapsed))
        seconds = recorded if math.isfinite(recorded) else self.elapsed()
        reason = self._rules.after(proposal, rows[-1], seconds, best_before)
        if self.rows >= self.max_points:
            reason = f"max_points: {self.rows} points are measured"
        self.stop_reason = self.stop_reason or reason

    def _count_refused(self, message: str) -> None:
        self.counts["refused"] += 1
        self._refused_in_a_row += 1
        self._last_refusal = message

    @property
    def open_proposals(self) -> list[Proposal]:
        """The proposals of the latest batch that have not ended."""
        return [proposal for proposal in self._current if proposal.status == "pending"]

    def flush(self) -> None:
        """Give the agent the results that it does not know yet, in the order of its proposals."""
        over, self._current = self._current, []
        results = [result for proposal in over for result in proposal.results]
        if results:
            self.agent.ingest(results)
            self.known += len(results)
        self._withdraw(over)
        self._results.take(over)

    def finish(self) -> None:
        """Give the agent all remaining results, after the last measurement."""
        self.flush()

    def _look_for_target(self) -> list[Proposal]:
        """Set `stop_reason` if a reading that counts reaches the target; the proposals of those that are alone."""
        if not isinstance(self.agent, Suspects) or self.stop_reason:
            return []
        results = self._results
        reaching = self._rules.reaching([result for _, result in results.told])
        if not reaching:
            return []
        known = results.known
        if getattr(getattr(self.agent, "options", None), "hard", None):
            known = max(known, EARLY)  # what broke a hard limit may not be measured again
        found = target_found(results.told, reaching, results.doubted, self.space, known)
        if found.row is not None:
            self.stop_reason = self._rules.target_reached([results.told[found.row][1]])
            return []
        return list({id(proposal): proposal for proposal in (results.told[i][0] for i in found.alone)}.values())

    def _once_more(self, proposals: Sequence[Proposal], seconds: float) -> list[Proposal]:
        """New proposals at the points of others, as many as a batch has."""
        why = Decision(reason=CONFIRMATION)
        self._current = [
            self._new({name: v for name, v in one.proposed.items() if name != AGENT_ID}, why, seconds, "session")
            for one in proposals[: self.batch]
        ]
        self._batches += 1
        return list(self._current)

    def _withdraw(self, over: Sequence[Proposal]) -> None:
        """Withdraw the proposals that no result has ended, because they have none or the agent binds by position."""
        if over and isinstance(self.agent, Withdraws):
            self.agent.withdraw([dict(proposal.proposed) for proposal in over])

    # -- best --------------------------------------------------------------------------------------------------

    def recommendation(self) -> Recommendation | None:
        """The agent's recommendation, or the best reading if the agent gives none; None without a valid measurement."""
        best = getattr(self.agent, "best", None)
        if callable(best) and self.space.objectives:
            try:
                found = best()
            except AgentError:
                return None  # no valid measurement
            except (Exception, SystemExit):  # all rows are measured; the run must not fail now
                logger.exception("the agent's best() failed, so the best reading is recommended")
                found = None
            if isinstance(found, Recommendation):
                if self._is_whole(found):
                    return found
                logger.warning("the agent's best() names the point %s, not one of %s", found.point, self.space.names)
        if self.best_reading is None:
            return None
        return Recommendation(dict(self.best_reading.point), dict(self.best_reading.outcome))

    def front(self) -> list[Recommendation]:
        """The Pareto front of several objectives, from the agent; empty with one objective or without an answer."""
        front = getattr(self.agent, "front", None)
        if len(self.space.objectives) < 2 or not callable(front):
            return []
        try:
            return [one for one in front() if isinstance(one, Recommendation) and self._is_whole(one)]
        except (Exception, SystemExit):  # all rows are measured; the run must not fail now
            logger.exception("the agent's front() failed, so the run has none")
            return []

    def _is_whole(self, recommended: Recommendation) -> bool:
        return all(math.isfinite(to_float(recommended.point.get(name))) for name in self.space.names)

    # -- restore -----------------------------------------------------------------------------------------------

    def restore(self, record: RunRecord) -> None:
        """Continue where a run ended or was interrupted, with the same next proposal, budgets and counters.

        The next `ask` returns the proposals that the run did not try, under their own ids.

        Parameters
        ----------
        record : RunRecord
            The record of a session with the same agent configuration, stop rules and gate as this one.

        Raises
        ------
        BadInputError
            If this session already has proposals or results.
        """
        if self._made or self.known:
            raise BadInputError(f"a session that has made {self._made} proposals cannot be restored: use a fresh one")
        proposals = [Proposal.restored(one) for one in record.proposals]
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
        for one in sorted(record.proposals, key=lambda one: (math.isnan(one.ended), one.ended)):
            self._replay(by_id[one.proposal_id], one, [row_at(record.rows, i) for i in one.rows])
        spent = [one.seconds_elapsed for one in record.proposals if math.isfinite(one.seconds_elapsed)]
        self._seconds_before = max(spent, default=0.0)
        doses = sorted((one for one in record.proposals if one.dose is not None), key=lambda one: one.ended)
        if doses and doses[-1].dose is not None:
            self.gate.doses = self.gate.doses.restored(*doses[-1].dose)
        self.begin()

    def _ask_again(self, batch: list[Proposal]) -> None:
        """Make a batch pending in the agent by a repetition of the `suggest` call before the interruption."""
        if all(proposal.decided_by == "session" for proposal in batch):
            return  # the agent did not propose them
        try:
            answers = self.agent.suggest(len(batch))
            _check_answer(answers, len(batch))
        except NoMoreProposals:
            answers = []
        names = self.space.names
        if [_point(answer, names) for answer in answers] == [_point(p.answer, names) for p in batch]:
            for proposal, answer in zip(batch, answers, strict=True):
                proposal.answer = answer
                if AGENT_ID in answer:  # the agent binds results by the ids that it has just given
                    proposal.results = [{**result, AGENT_ID: answer[AGENT_ID]} for result in proposal.results]
            return
        logger.warning(
            "the agent does not repeat the proposals of the run (another version, or a generator that is not "
            "reproducible): the recorded proposals %s are measured anyway",
            [proposal.proposal_id for proposal in batch],
        )
        if isinstance(self.agent, Withdraws):
            self.agent.withdraw(answers)

    def _replay(self, proposal: Proposal, ended: ProposalRecord, rows: Sequence[Mapping[str, Any]]) -> None:
        """Count one proposal of a record in the same way as when it ended."""
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


def _point(answer: Any, names: Sequence[str]) -> list[float] | None:
    return [to_float(answer.get(name)) for name in names] if isinstance(answer, Mapping) else None
