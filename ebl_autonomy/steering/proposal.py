"""One proposal of an agent, until it has rows or ends without."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ebl_autonomy.guard import AdmittedMove
from ebl_autonomy.records import (
    ABANDONMENT,
    AGENT_ID,
    DECISION,
    MEAN,
    RULE_RUN,
    STD,
    AbandonedStatus,
    DecidedBy,
    Decision,
    ProposalRecord,
    ProposalStatus,
    to_float,
)

__all__ = ["Proposal"]


@dataclass
class Proposal:
    """One proposal of an agent, and its outcome.

    Attributes
    ----------
    proposal_id : str
        Binds the rows of all streams.
    answer : anything
        The proposed point as the agent returned it.
    batch : int
        Number of the ``suggest`` call that made it, counted from 0.
    decision : Decision
        The agent's explanation of the proposal; empty if the agent gives none.
    points_known : int
        Number of results that the agent knew.
    seconds_to_decide : float
        Wall-clock seconds that the agent took, divided by the size of the batch.
    admitted : AdmittedMove or None
        The motor targets and the fly line from there; None until the gate admits the proposal.
    status : str
        ``"pending"`` until the proposal has ended.
    results : list of dict
        The results that the agent will receive for the proposal.
    decided_by : str
        ``"agent"``, or ``"session"`` if the session measures once more what alone reaches the target.
    """

    proposal_id: str
    answer: Any
    batch: int = 0
    decision: Decision = field(default_factory=Decision)
    points_known: int = 0
    seconds_to_decide: float = 0.0
    admitted: AdmittedMove | None = None
    status: ProposalStatus = "pending"
    results: list[dict[str, Any]] = field(default_factory=list)
    decided_by: DecidedBy = "agent"

    @classmethod
    def restored(cls, record: ProposalRecord) -> Self:
        """A proposal of a run; pending if the run did not try it."""
        untried = record.status == "pending" or record.rule == RULE_RUN
        return cls(
            proposal_id=record.proposal_id,
            answer={**record.point, **({} if record.agent_id is None else {AGENT_ID: record.agent_id})},
            batch=record.batch,
            decision=record.decision,
            points_known=record.points_known,
            seconds_to_decide=record.seconds_to_decide,
            status="pending" if untried else record.status,
            results=[dict(result) for result in record.results],
            decided_by=record.decided_by,
        )

    @property
    def target(self) -> dict[str, float]:
        """Motor targets, in motor units; empty until the gate admits the proposal."""
        return dict(self.admitted.target) if self.admitted is not None else {}

    @property
    def proposed(self) -> Mapping[str, Any]:
        """The proposed point as the agent gave it; empty if the answer is not a mapping."""
        return self.answer if isinstance(self.answer, Mapping) else {}

    def decision_event(self, variables: Mapping[str, Any], outcomes: list[str], agent: str) -> dict[str, Any]:
        """The proposal as an event of the stream `decisions`."""
        predicted = {}
        for name in outcomes:
            predicted[name + MEAN] = to_float(self.decision.mean.get(name))
            predicted[name + STD] = to_float(self.decision.std.get(name))
        return {
            DECISION.proposal_id: self.proposal_id,
            DECISION.batch: self.batch,
            **{name: to_float(self.proposed.get(name)) for name in variables},
            **predicted,
            DECISION.acquisition: to_float(self.decision.acquisition),
            DECISION.reason: self.decision.reason,
            DECISION.points_known: self.points_known,
            DECISION.seconds_to_decide: self.seconds_to_decide,
            DECISION.agent: agent,
            DECISION.agent_id: json.dumps(self.proposed[AGENT_ID], default=str) if AGENT_ID in self.proposed else "",
            DECISION.model_version: self.decision.model_version,
            DECISION.decided_by: self.decided_by,
        }

    def abandonment_event(
        self, status: AbandonedStatus, rule: str, reason: str, attempts: int, seconds_elapsed: float
    ) -> dict[str, Any]:
        """The end of the proposal without a row, as an event of the stream `abandoned`."""
        return {
            ABANDONMENT.proposal_id: self.proposal_id,
            ABANDONMENT.status: status,
            ABANDONMENT.rule: rule,
            ABANDONMENT.reason: reason,
            ABANDONMENT.attempts: attempts,
            ABANDONMENT.proposed: repr(self.answer)[:500],
            ABANDONMENT.seconds_elapsed: seconds_elapsed,
        }
