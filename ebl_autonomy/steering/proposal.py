"""One answer of an agent, on its way to becoming rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ebl_autonomy.guard import AdmittedMove
from ebl_autonomy.records import (
    ABANDONMENT,
    DECISION,
    MEAN,
    STD,
    AbandonedStatus,
    Decision,
    ProposalStatus,
    to_float,
)

__all__ = ["Proposal"]


@dataclass
class Proposal:
    """One answer of an agent, and what became of it.

    Attributes
    ----------
    proposal_id : str
        Binds the rows of all streams.
    answer : anything
        What the agent answered.
    batch : int
        Which call of ``suggest`` it comes from, counted from 0.
    decision : Decision
        What the agent says about it; without content if the agent says nothing.
    points_known : int
        Results that the agent knew.
    seconds_to_decide : float
        Wall seconds, of a batch the share of one proposal.
    admitted : AdmittedMove or None
        Where the motors go, and what is flown from there; set when the gate admits the proposal.
    status : str
        ``"pending"`` until it has ended.
    results : list of dict
        What the agent will be told.
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

    @property
    def target(self) -> dict[str, float]:
        """Where the motors go; empty before the gate has admitted the proposal."""
        return dict(self.admitted.target) if self.admitted is not None else {}

    @property
    def proposed(self) -> Mapping[str, Any]:
        """The proposed point as the agent gave it; empty if the answer is no mapping."""
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
            DECISION.model_version: self.decision.model_version,
        }

    def abandonment_event(
        self, status: AbandonedStatus, rule: str, reason: str, attempts: int, seconds_elapsed: float
    ) -> dict[str, Any]:
        """The proposal's end without a row, as an event of the stream `abandoned`."""
        return {
            ABANDONMENT.proposal_id: self.proposal_id,
            ABANDONMENT.status: status,
            ABANDONMENT.rule: rule,
            ABANDONMENT.reason: reason,
            ABANDONMENT.attempts: attempts,
            ABANDONMENT.proposed: repr(self.answer)[:500],
            ABANDONMENT.seconds_elapsed: seconds_elapsed,
        }
