"""The record of one run, assembled from the columns of its streams."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ebl_autonomy.records.findings import Decision, Recommendation, reason_of
from ebl_autonomy.records.keys import (
    ABANDONMENT,
    AGENT_ID,
    DECISION,
    DOSE,
    LEFT_WHERE,
    MEAN,
    PROPOSAL_ID,
    READING,
    RECOMMENDATION,
    ROW,
    RULE_RUN,
    STD,
    DecidedBy,
    ProposalStatus,
)
from ebl_autonomy.records.metadata import RunMetadata
from ebl_autonomy.records.results import ResultLayout, to_float
from ebl_autonomy.records.suspicions import ReadingId, Suspicions

__all__ = ["Columns", "ProposalRecord", "RunRecord", "assemble_record", "last_attempts", "reading_ids", "row_at"]

Columns = Mapping[str, Sequence[Any]]
"""A stream: maps each event key to one value per event."""


_ONCE_MORE: Final = "once more, because nothing else supports that the target is reached"
"""The reason of each proposal of a session in schemas before 2.3."""


@dataclass(frozen=True)
class ProposalRecord:
    """One proposal of a run, as recorded in its streams.

    ``status`` is ``"accepted"`` (the proposal has a measured row), ``"refused"`` (by the guard), ``"abandoned"`` (it
    could not be measured) or ``"pending"`` (the run ended before it was measured). ``rule`` names the rule that refused
    or ended the proposal; ``"run"`` stands for the end of the run.

    Attributes
    ----------
    agent_id : anything
        The ``_id`` that a generator gave the proposal; None if it gave none.
    rows : tuple of int
        Positions of the proposal's rows in `RunRecord.rows`.
    ended : float
        Time at which its last row or its abandonment was recorded, in seconds since the epoch; NaN if it is pending.
    results : tuple of dict
        The results that the agent received for the proposal; see `RunRecord.results`.
    dose : (float, int) or None
        ``dose_spent`` and ``exposures_unpriced`` at its end; None if the run counted no dose.
    decided_by : str
        ``"agent"``, or ``"session"``: see `DecidedBy`.
    """

    proposal_id: str
    point: dict[str, Any]
    decision: Decision
    status: ProposalStatus
    points_known: int
    seconds_to_decide: float
    batch: int
    reason: str = ""
    rule: str = ""
    agent_id: Any = None
    rows: tuple[int, ...] = ()
    ended: float = math.nan
    seconds_elapsed: float = math.nan
    results: tuple[dict[str, Any], ...] = ()
    dose: tuple[float, int] | None = None
    decided_by: DecidedBy = "agent"


@dataclass(frozen=True)
class RunRecord:
    """The record of one experiment, made by `ebl_autonomy.data.read_run`.

    Attributes
    ----------
    uid : str
    start, stop : dict
        The run's documents; ``stop`` is None while the run is in progress, or after a crash.
    metadata : RunMetadata
    proposals : tuple of ProposalRecord
        All proposals, in the order in which the agent made them.
    results : tuple of dict
        The results that the agent received, in order: variables, constants, outcomes and their ``_std``, and how they
        bind to its proposals (``_id``, ``<variable>_asked``); NaN outcomes for invalid, refused and abandoned
        proposals. After ``agent.ingest(list(results))``, a fresh agent of the same configuration makes the same next
        proposal.
    rows : mapping of str to sequence
        Scalar columns of the `primary` stream: the accepted rows of all proposals, in time order.
    baseline : mapping of str to sequence
        Columns of the `start_and_end` stream (start first, end last), arrays included.
    explanation : str
        The agent's description of its model at the end; empty if it gave none.
    recommended : Recommendation or None
        The agent's recommendation at the end; with several objectives, the compromise.
    front : tuple of Recommendation
        With several objectives, the Pareto front: the points that no other point improves on in all objectives.
    left : mapping of str to sequence
        Columns of the `left_at` stream; empty in a run that was interrupted, or made by an earlier version.
    suspects : mapping of str to list of int, or None
        By outcome, the rows whose readings the agent took for outliers, by its last word in the run. None if the run
        does not tell, because an earlier version made it.
    """

    uid: str
    start: dict[str, Any]
    stop: dict[str, Any] | None
    metadata: RunMetadata
    proposals: tuple[ProposalRecord, ...]
    results: tuple[dict[str, Any], ...]
    rows: Columns
    baseline: Columns
    explanation: str = ""
    recommended: Recommendation | None = None
    front: tuple[Recommendation, ...] = field(default=())
    left: Columns = field(default_factory=dict)
    suspects: Mapping[str, list[int]] | None = None

    def __repr__(self) -> str:
        """One line: the columns of a run would fill many screens."""
        measured = sum(len(proposal.rows) for proposal in self.proposals)
        ended = (self.stop or {}).get("exit_status", "open")
        return f"<RunRecord {self.uid}: {self.metadata.agent.get('agent', '')}, {measured} points, {ended}>"

    @property
    def stop_reason(self) -> str:
        """Why the run ended; empty while it is in progress."""
        return reason_of(str((self.stop or {}).get("reason", "")))

    @property
    def left_where(self) -> str:
        """Where the run left the motors, in words; empty if it did not record that."""
        return str(next(iter(self.left.get(LEFT_WHERE, ())), ""))

    @property
    def left_at(self) -> dict[str, float]:
        """Final motor positions, in motor units; empty if the run ended before it recorded them."""
        if self.left:
            left = row_at(self.left, 0)
            return {
                name: to_float(left[name]) for name in self.metadata.motors if math.isfinite(to_float(left.get(name)))
            }
        return {  # of a run that has no such stream
            motor: to_float(self.baseline[motor][-1])
            for motor in self.metadata.motors
            if len(self.baseline.get(motor, ())) > 1
        }


def assemble_record(
    start: dict[str, Any],
    stop: dict[str, Any] | None,
    metadata: RunMetadata,
    *,
    decisions: Columns,
    primary: Columns,
    abandoned: Columns,
    baseline: Columns | None = None,
    recommended: Columns | None = None,
    left: Columns | None = None,
    suspects: Columns | None = None,
    explanation: str = "",
) -> RunRecord:
    """Assemble the record of a run from its documents and the columns of its streams."""
    rows = last_attempts(primary)
    layout = ResultLayout.of(metadata)
    proposals = tuple(_proposals(metadata, layout, decisions, rows, abandoned))
    found = list(_recommendations(metadata, recommended or {}))
    return RunRecord(
        uid=str(start["uid"]),
        start=start,
        stop=stop,
        metadata=metadata,
        proposals=proposals,
        results=tuple(result for proposal in proposals for result in proposal.results),
        rows=rows,
        baseline=baseline or {},
        explanation=explanation,
        recommended=next((one for kind, one in found if kind == "recommended"), None),
        front=tuple(one for kind, one in found if kind == "front"),
        left=left if left and left.get(LEFT_WHERE) else {},
        suspects=Suspicions(suspects).among(reading_ids(rows)) if metadata.tells_suspects else None,
    )


def last_attempts(columns: Columns) -> dict[str, list[Any]]:
    """The rows of the last attempt at each proposal, in time order; one row per proposal and row number."""
    ids = columns.get(PROPOSAL_ID, [])
    numbers = columns.get(ROW.row, [0] * len(ids))  # the first schema had one row per proposal
    attempts = columns.get(ROW.attempt, [1] * len(ids))
    latest: dict[Any, Any] = {}
    last: dict[tuple[Any, Any], int] = {}
    for i, (proposal, number, attempt) in enumerate(zip(ids, numbers, attempts, strict=True)):
        latest[proposal] = attempt
        last[proposal, number] = i
    keep = sorted(i for (proposal, _), i in last.items() if attempts[i] == latest[proposal])
    return {key: [values[i] for i in keep] for key, values in columns.items()}


def reading_ids(rows: Columns) -> list[ReadingId]:
    """What the other streams of a run call each of its rows."""
    ids = rows.get(PROPOSAL_ID, [])
    numbers = rows.get(ROW.row, [0] * len(ids))
    return [(str(proposal), int(number)) for proposal, number in zip(ids, numbers, strict=True)]


def row_at(columns: Columns, i: int) -> dict[str, Any]:
    """Row `i` of a stream, as a mapping of event keys to values."""
    return {key: values[i] for key, values in columns.items()}


def _proposals(
    metadata: RunMetadata, layout: ResultLayout, decisions: Columns, rows: Columns, abandoned: Columns
) -> Any:
    measured: dict[Any, list[int]] = {}
    for i, proposal in enumerate(rows.get(PROPOSAL_ID, [])):
        measured.setdefault(proposal, []).append(i)
    ended = {proposal: i for i, proposal in enumerate(abandoned.get(PROPOSAL_ID, []))}
    for i, proposal in enumerate(decisions.get(PROPOSAL_ID, [])):
        decided = row_at(decisions, i)
        point = {name: to_float(decided[name]) for name in metadata.agent["vocs"]["variables"]}
        common: dict[str, Any] = {
            "proposal_id": str(proposal),
            "point": point,
            "decision": _decision(metadata, decided),
            "points_known": int(decided[DECISION.points_known]),
            "seconds_to_decide": to_float(decided[DECISION.seconds_to_decide]),
            "batch": int(decided[DECISION.batch]),
            "agent_id": json.loads(decided.get(DECISION.agent_id) or "null"),
            "decided_by": _decided_by(decided),
        }
        proposed = {**point, **({} if common["agent_id"] is None else {AGENT_ID: common["agent_id"]})}
        if proposal in measured:
            own = [row_at(rows, k) for k in measured[proposal]]
            yield ProposalRecord(
                **common,
                status="accepted",
                reason=next((str(row[ROW.invalid_reason]) for row in own if row[ROW.invalid_reason]), ""),
                rows=tuple(measured[proposal]),
                ended=to_float(own[-1].get("time")),
                seconds_elapsed=to_float(own[-1].get(ROW.seconds_elapsed)),
                results=tuple(layout.measured(row, proposed) for row in own),
                dose=_dose(own[-1]),
            )
        elif proposal in ended:
            row = row_at(abandoned, ended[proposal])
            untried = row[ABANDONMENT.rule] == RULE_RUN
            result = None if untried else layout.unmeasured(proposed)
            yield ProposalRecord(
                **common,
                status="refused" if row[ABANDONMENT.status] == "refused" else "abandoned",
                reason=str(row[ABANDONMENT.reason]),
                rule=str(row[ABANDONMENT.rule]),
                ended=to_float(row.get("time")),
                seconds_elapsed=to_float(row.get(ABANDONMENT.seconds_elapsed)),
                results=(result,) if result is not None else (),
                dose=_dose(row),
            )
        else:
            yield ProposalRecord(**common, status="pending")


def _decided_by(row: Mapping[str, Any]) -> DecidedBy:
    known = row.get(DECISION.decided_by)
    if known is None:  # schemas before 2.3 tell it by the reason alone
        known = "session" if str(row[DECISION.reason]) == _ONCE_MORE else "agent"
    return "session" if known == "session" else "agent"


def _dose(row: Mapping[str, Any]) -> tuple[float, int] | None:
    return (to_float(row[DOSE.spent]), int(row[DOSE.unpriced])) if DOSE.spent in row else None


def _decision(metadata: RunMetadata, row: Mapping[str, Any]) -> Decision:
    return Decision(
        mean=_finite(row, metadata.outcomes, MEAN),
        std=_finite(row, metadata.outcomes, STD),
        acquisition=to_float(row[DECISION.acquisition]),
        reason=str(row[DECISION.reason]),
        model_version=str(row[DECISION.model_version]),
    )


def _recommendations(metadata: RunMetadata, columns: Columns) -> Any:
    variables = metadata.agent["vocs"]["variables"]
    for i, kind in enumerate(columns.get(RECOMMENDATION.kind, [])):
        row = row_at(columns, i)
        yield (
            str(kind),
            Recommendation(
                point={name: to_float(row[name]) for name in variables if name in row},
                outcome={name: to_float(row.get(name + READING)) for name in metadata.outcomes},
                mean=_finite(row, metadata.outcomes, MEAN),
                std=_finite(row, metadata.outcomes, STD),
                feasible=bool(row[RECOMMENDATION.feasible]),
            ),
        )


def _finite(row: Mapping[str, Any], names: Sequence[str], suffix: str) -> dict[str, float]:
    values = {name: to_float(row.get(name + suffix)) for name in names}
    return {name: value for name, value in values.items() if math.isfinite(value)}
