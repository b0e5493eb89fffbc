"""What the run records, stream by stream: each proposal ends as one accepted row or as one abandoned row."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any

from bluesky.utils import IllegalMessageSequence, Msg, MsgGenerator

from ebl_autonomy.plans.events import EventTag, EventWatch, InterruptedReadingError, save_event
from ebl_autonomy.records import ABANDONED, ABANDONMENT, BASELINE, DECISION, DECISIONS, EXPLANATION, MEAN, STD, Decision

if TYPE_CHECKING:
    from ebl_autonomy.plans.setup import Experiment

__all__ = ["Journal", "Proposal"]


@dataclass
class Proposal:
    """One answer of the agent, on its way to becoming a row.

    Attributes
    ----------
    proposal_id : str
        Binds the rows of all streams.
    answer : anything
        What the agent answered.
    decision : Decision or None
        What the agent says about it, if it says anything.
    target : dict
        Where the motors go; set by the guard.
    row : dict
        The accepted event's values.
    result : dict or None
        What the agent will be told.
    """

    proposal_id: str
    answer: Any
    decision: Decision | None = None
    target: dict[str, float] = field(default_factory=dict)
    row: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    open: bool = True


class Journal:
    """Writes the streams of one run and counts how its proposals ended."""

    def __init__(self, experiment: "Experiment") -> None:
        self.x = experiment
        self.watch = EventWatch()
        self.tag = EventTag("ebl_row", {}, hints=experiment.hinted)
        self.counts = {"accepted": 0, "refused": 0, "abandoned": 0}
        self.refused_in_a_row = 0
        self.last_refusal = ""
        self._made = 0
        self._batch = 0
        self._open: list[Proposal] = []
        outcomes = {name + suffix: math.nan for name in experiment.outcomes for suffix in (MEAN, STD)}
        self._decision = EventTag(
            "ebl_decision",
            {
                DECISION.proposal_id: "",
                DECISION.batch: 0,
                **dict.fromkeys(experiment.vocs.variables, math.nan),
                **outcomes,
                DECISION.acquisition: math.nan,
                DECISION.reason: "",
                DECISION.points_known: 0,
                DECISION.seconds_to_decide: math.nan,
                DECISION.agent: "",
                DECISION.model_version: "",
            },
        )
        self._gone = EventTag(
            "ebl_abandoned",
            {
                ABANDONMENT.proposal_id: "",
                ABANDONMENT.status: "",
                ABANDONMENT.rule: "",
                ABANDONMENT.reason: "",
                ABANDONMENT.attempts: 0,
                ABANDONMENT.proposed: "",
            },
        )
        self._explanation = EventTag("ebl_explanation", {EXPLANATION: ""})
        self._baseline = EventTag("ebl_baseline", {"proposals_accepted": 0})

    def listen(self) -> MsgGenerator[None]:
        """Show the RunEngine the tags of the events that devices are read for: from now on it tells them of pauses."""
        for tag in (self.tag, self._baseline):
            yield Msg("null", tag)

    def write_decisions(
        self, answers: Sequence[Any], decisions: Sequence[Decision], known: int, seconds: float
    ) -> MsgGenerator[list[Proposal]]:
        """Give each answer an id and record it with what the agent says about it."""
        proposals = []
        for i, answer in enumerate(answers):
            decision = decisions[i] if i < len(decisions) else None
            proposal = Proposal(f"{self._made:05d}", answer, decision)
            self._made += 1
            self._open.append(proposal)
            proposals.append(proposal)
            yield from self._write(DECISIONS, self._decision, self._decision_values(proposal, known, seconds))
        self._batch += 1
        return proposals

    def refuse(self, proposal: Proposal, rule: str, reason: str) -> MsgGenerator[None]:
        """Record that the guard refused a proposal; the agent is told that it was not measured."""
        self.refused_in_a_row += 1
        self.last_refusal = reason
        yield from self._end(proposal, "refused", rule, reason, 0)

    def refuse_surplus(self, answered: int, asked: int) -> MsgGenerator[None]:
        """Record that an agent answered more points than it was asked for; the surplus is not measured."""
        reason = f"{answered} proposals were answered where {asked} were asked for"
        yield from self._write(
            ABANDONED,
            self._gone,
            {
                ABANDONMENT.proposal_id: "",
                ABANDONMENT.status: "refused",
                ABANDONMENT.rule: "batch",
                ABANDONMENT.reason: reason,
                ABANDONMENT.attempts: 0,
                ABANDONMENT.proposed: f"{answered - asked} proposals",
            },
        )

    def abandon(self, proposal: Proposal, rule: str, reason: str, attempts: int = 0) -> MsgGenerator[None]:
        """Record that an allowed proposal was not measured."""
        yield from self._end(proposal, "abandoned", rule, reason, attempts)

    def abandon_open(self, reason: str) -> MsgGenerator[None]:
        """Record the end of every proposal that is still open, when the run is ending early."""
        with contextlib.suppress(IllegalMessageSequence):
            yield Msg("drop")  # an event that the failure cut short
        for proposal in list(self._open):
            yield from self.abandon(proposal, "run", reason)

    def accepted(self, proposal: Proposal) -> None:
        """Note that the proposal has its row."""
        self.counts["accepted"] += 1
        self.refused_in_a_row = 0
        self._close(proposal)

    def write_baseline(self) -> MsgGenerator[None]:
        """Read the baseline devices and the motors into the `baseline` stream."""
        devices: list[Any] = [*self.x.baseline, *self.x.motors.values()]
        while True:
            try:
                yield from save_event(
                    BASELINE,
                    devices,
                    self._baseline,
                    self.watch,
                    lambda _: {"proposals_accepted": self.counts["accepted"]},
                )
            except InterruptedReadingError:
                continue
            return

    def write_explanation(self, text: str) -> MsgGenerator[None]:
        """Record what the agent says of its model at the end."""
        yield from self._write(EXPLANATION, self._explanation, {EXPLANATION: text})

    def not_measured(self, proposal: Proposal) -> dict[str, Any] | None:
        """What the agent is told of a proposal without a row: its point with NaN outcomes; None if it has no point."""
        point = self._point(proposal)
        if not all(math.isfinite(point[name]) for name in self.x.space.names):
            return None
        result = {**point, **self.x.space.constants, **dict.fromkeys(self.x.outcomes, math.nan)}
        if isinstance(proposal.answer, Mapping) and "_id" in proposal.answer:
            result["_id"] = proposal.answer["_id"]
        return result

    def _end(self, proposal: Proposal, status: str, rule: str, reason: str, attempts: int) -> MsgGenerator[None]:
        yield from self._write(
            ABANDONED,
            self._gone,
            {
                ABANDONMENT.proposal_id: proposal.proposal_id,
                ABANDONMENT.status: status,
                ABANDONMENT.rule: rule,
                ABANDONMENT.reason: reason,
                ABANDONMENT.attempts: attempts,
                ABANDONMENT.proposed: repr(proposal.answer)[:500],
            },
        )
        self.counts[status] += 1
        proposal.result = self.not_measured(proposal)
        self._close(proposal)

    def _close(self, proposal: Proposal) -> None:
        proposal.open = False
        self._open.remove(proposal)

    def _write(self, stream: str, tag: EventTag, values: Mapping[str, Any]) -> MsgGenerator[None]:
        """One event of soft values; they do not change in a pause, so a cut one is simply written again."""
        # Its tag is shown to the RunEngine only by being read; what was cut before is seen by the event's absence.
        while True:
            try:
                yield from save_event(stream, [], tag, self.watch, lambda _: values)
            except InterruptedReadingError:
                continue
            return

    def _decision_values(self, proposal: Proposal, known: int, seconds: float) -> dict[str, Any]:
        decision = proposal.decision or Decision()
        agent = self.x.agent
        predicted = {}
        for name in self.x.outcomes:
            predicted[name + MEAN] = float(decision.mean.get(name, math.nan))
            predicted[name + STD] = float(decision.std.get(name, math.nan))
        return {
            DECISION.proposal_id: proposal.proposal_id,
            DECISION.batch: self._batch,
            **self._point(proposal),
            **predicted,
            DECISION.acquisition: float(decision.acquisition),
            DECISION.reason: decision.reason,
            DECISION.points_known: known,
            DECISION.seconds_to_decide: seconds,
            DECISION.agent: str(getattr(agent, "name", type(agent).__name__)),
            DECISION.model_version: decision.model_version,
        }

    def _point(self, proposal: Proposal) -> dict[str, float]:
        """The proposed variables as numbers; NaN for whatever is none."""
        answer = proposal.answer if isinstance(proposal.answer, Mapping) else {}
        return {name: _number(answer.get(name)) for name in self.x.vocs.variables}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, Real) else math.nan
