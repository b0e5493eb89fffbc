"""Runs out of Tiled: what was proposed, what was measured, and what an agent was told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from ebl_autonomy.errors import BadInputError, DataError
from ebl_autonomy.records import (
    ABANDONED,
    ABANDONMENT,
    BASELINE,
    DECISION,
    DECISIONS,
    EXPLANATION,
    MEAN,
    METADATA_KEY,
    PRIMARY,
    PROPOSAL_ID,
    ROW,
    STD,
    Decision,
    ProposalRecord,
    RunMetadata,
    RunRecord,
)

__all__ = ["RunSummary", "read_run", "runs"]

Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class RunSummary:
    """One line about a run.

    Attributes
    ----------
    uid : str
    time : float
        Start, seconds since the epoch.
    plan : str
    agent : str
        Empty for a run that no agent steered.
    status : str
        Exit status, or ``"open"`` without a stop document.
    reason : str
        Why it ended.
    """

    uid: str
    time: float
    plan: str
    agent: str
    status: str
    reason: str


def read_run(run: Any, client: Any = None) -> RunRecord:
    """One experiment, read back; a run that is still going on too.

    Parameters
    ----------
    run : str or tiled run
        A uid (with `client`), or the run itself; out of Tiled, or of an archive that databroker serves.
    client : tiled container, optional

    Raises
    ------
    BadInputError
        If a uid is given without a client, or there is no such run.
    DataError
        If it is no run of an agent: says what is missing.
    """
    node = find_run(run, client)
    start = dict(node.metadata.get("start") or {})
    if METADATA_KEY not in start:
        raise DataError(
            f"run {start.get('uid', run)!r} has no {METADATA_KEY!r} in its start document: no agent made it"
        )
    try:
        metadata = RunMetadata.model_validate(start[METADATA_KEY])
    except ValidationError as error:
        raise DataError(f"run {start.get('uid')!r} was written by another version of this package: {error}") from error
    decisions, rows = _columns(node, DECISIONS), _last_rows(_columns(node, PRIMARY))
    gone = _columns(node, ABANDONED)
    proposals = _proposals(metadata, decisions, rows, gone)
    return RunRecord(
        uid=str(start["uid"]),
        start=start,
        stop=dict(node.metadata["stop"]) if node.metadata.get("stop") else None,
        metadata=metadata,
        proposals=proposals,
        results=_results(metadata, proposals, rows),
        rows=rows,
        baseline=_columns(node, BASELINE, arrays=True),
        explanation=str(next(iter(_columns(node, EXPLANATION).get(EXPLANATION, [])), "")),
    )


def runs(client: Any, limit: int = 20) -> list[RunSummary]:
    """The latest runs, newest first."""
    found = []
    nodes = client.values()
    for node in nodes[max(len(nodes) - limit, 0) :]:
        start, stop = node.metadata.get("start") or {}, node.metadata.get("stop") or {}
        if not start:
            continue  # a folder of runs is none
        ours = start.get(METADATA_KEY) or {}
        found.append(
            RunSummary(
                uid=str(start["uid"]),
                time=float(start.get("time", math.nan)),
                plan=str(start.get("plan_name", "")),
                agent=str((ours.get("agent") or {}).get("agent", "")),
                status=str(stop.get("exit_status", "open")),
                reason=str(stop.get("reason", "")),
            )
        )
    return sorted(found, key=lambda run: run.time, reverse=True)


def find_run(run: Any, client: Any = None) -> Any:
    """The Tiled node of a run, from itself or from its uid.

    Raises
    ------
    BadInputError
        If a uid is given without a client, or `client` has no such run, or `run` is no node.
    """
    if not isinstance(run, str):
        if not isinstance(getattr(run, "metadata", None), Mapping):
            raise BadInputError(f"{run!r} is no run: give its uid, or the run out of Tiled as client[uid]")
        return run
    if client is None:
        raise BadInputError(f"run {run!r}: a uid needs a client, for example connect(None).client")
    try:
        return client[run]
    except (KeyError, ValueError) as error:  # ValueError: too short to be looked up as part of a uid
        raise BadInputError(f"there is no run {run!r} in this server: 'ebl-autonomy runs' lists the latest") from error


def find_stream(node: Any, stream: str) -> Any:
    """The node with the readings of a stream, in whichever layout; None if the stream is not there (yet)."""
    from tiled.client.composite import CompositeClient

    try:
        held = node[stream]
        # In the older layout beside "timestamps": out of an archive, or once anything in this process touched
        # client.v2 (or hasattr did), which leaves that layout to every client.
        return held if isinstance(held, CompositeClient) else held["data"]
    except KeyError:
        return None


def _columns(node: Any, stream: str, arrays: bool = False) -> Columns:
    """Columns of a stream without its time stamps; empty if the stream is not there (yet)."""
    held = find_stream(node, stream)
    if held is None:
        return {}
    if not hasattr(held, "base"):  # an archive's: no table, each column is an array
        names = [name for name in held if arrays or len(held[name].shape) == 1]
        data = held.read(variables=names) if names else {}
        return {str(name): _entries(np.asarray(data[name])) for name in names}
    parts = held.base
    children = set(parts)
    columns: Columns = {}
    if "internal" in children:
        table = parts["internal"].read()  # a pandas.DataFrame
        columns = {str(key): table[key].tolist() for key in table if not str(key).startswith("ts_")}
    if arrays:
        for key in children - {"internal"}:
            columns[key] = _entries(np.asarray(parts[key].read()))
    return columns


def _entries(column: Any) -> list[Any]:
    """One entry per row: a number, a string, or an array of its own."""
    return list(column) if column.ndim > 1 else column.tolist()


def _last_rows(columns: Columns) -> Columns:
    """One row per proposal, the last one, in the order of time."""
    last: dict[str, int] = {proposal: i for i, proposal in enumerate(columns.get(PROPOSAL_ID, []))}
    keep = sorted(last.values())
    return {key: [values[i] for i in keep] for key, values in columns.items()}


def _proposals(metadata: RunMetadata, decisions: Columns, rows: Columns, gone: Columns) -> tuple[ProposalRecord, ...]:
    measured = {proposal: i for i, proposal in enumerate(rows.get(PROPOSAL_ID, []))}
    ended = {proposal: i for i, proposal in enumerate(gone.get(PROPOSAL_ID, []))}
    found = []
    for i, proposal in enumerate(decisions.get(PROPOSAL_ID, [])):
        row = {key: values[i] for key, values in decisions.items()}
        status: Literal["accepted", "refused", "abandoned", "pending"] = "pending"
        reason = rule = ""
        if proposal in measured:
            status, reason = "accepted", str(rows[ROW.invalid_reason][measured[proposal]])
        elif proposal in ended:
            status = "refused" if gone[ABANDONMENT.status][ended[proposal]] == "refused" else "abandoned"
            reason, rule = (str(gone[key][ended[proposal]]) for key in (ABANDONMENT.reason, ABANDONMENT.rule))
        found.append(
            ProposalRecord(
                proposal_id=str(proposal),
                point={name: float(row[name]) for name in metadata.agent["vocs"]["variables"]},
                decision=_decision(metadata, row),
                status=status,
                points_known=int(row[DECISION.points_known]),
                seconds_to_decide=float(row[DECISION.seconds_to_decide]),
                batch=int(row[DECISION.batch]),
                reason=reason,
                rule=rule,
            )
        )
    return tuple(found)


def _decision(metadata: RunMetadata, row: Mapping[str, Any]) -> Decision:
    mean = {name: float(row[name + MEAN]) for name in metadata.outcomes}
    std = {name: float(row[name + STD]) for name in metadata.outcomes}
    return Decision(
        mean={name: value for name, value in mean.items() if math.isfinite(value)},
        std={name: value for name, value in std.items() if math.isfinite(value)},
        acquisition=float(row[DECISION.acquisition]),
        reason=str(row[DECISION.reason]),
        model_version=str(row[DECISION.model_version]),
    )


def _results(metadata: RunMetadata, proposals: tuple[ProposalRecord, ...], rows: Columns) -> tuple[dict[str, Any], ...]:
    index = {proposal: i for i, proposal in enumerate(rows.get(PROPOSAL_ID, []))}
    constants = {n: c["value"] for n, c in (metadata.agent["vocs"].get("constants") or {}).items()}
    results = []
    for proposal in proposals:
        chosen = {name: value for name, value in proposal.point.items() if name not in metadata.context}
        if proposal.status == "pending" or proposal.rule == "run" or not all(math.isfinite(v) for v in chosen.values()):
            continue  # not known yet, or no point at all: an agent was not told of it
        if proposal.status != "accepted":
            results.append({**proposal.point, **constants, **dict.fromkeys(metadata.outcomes, math.nan)})
            continue
        i = index[proposal.proposal_id]
        told = [*metadata.context, *metadata.outcomes, *(n + STD for n in metadata.outcomes if n + STD in rows)]
        results.append({**chosen, **constants, **{name: _number(rows[name][i]) for name in told}})
    return tuple(results)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
