"""Runs out of Tiled: what was proposed, what was measured, and what an agent was told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ebl_autonomy.data.streams import StoredStream
from ebl_autonomy.errors import BadInputError, DataError
from ebl_autonomy.records import (
    ABANDONED,
    BASELINE,
    DECISIONS,
    EXPLANATION,
    LEFT,
    METADATA_KEY,
    PRIMARY,
    PROPOSALS_ACCEPTED,
    RECOMMENDED,
    START_AND_END,
    RunMetadata,
    RunRecord,
    assemble_record,
    reason_of,
)

__all__ = ["RunSummary", "read_run", "runs"]


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
    return assemble_record(
        start,
        dict(node.metadata["stop"]) if node.metadata.get("stop") else None,
        RunMetadata.read(start[METADATA_KEY]),
        decisions=_columns(node, DECISIONS),
        primary=_columns(node, PRIMARY),
        abandoned=_columns(node, ABANDONED),
        baseline=_start_and_end(node),
        recommended=_columns(node, RECOMMENDED),
        left=_columns(node, LEFT),
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
                reason=reason_of(str(stop.get("reason", ""))),
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


def _start_and_end(node: Any) -> dict[str, list[Any]]:
    """The readings of start and end, which earlier versions called `baseline`, as bluesky's `SupplementalData` does."""
    for name in (START_AND_END, BASELINE):
        stream = StoredStream(node, name)
        if PROPOSALS_ACCEPTED in stream.names:
            return stream.columns(arrays=True)
    return {}


def _columns(node: Any, stream: str, arrays: bool = False) -> dict[str, list[Any]]:
    return StoredStream(node, stream).columns(arrays=arrays)
