"""Runs out of Tiled: what was proposed, what was measured, and what an agent was told."""

from __future__ import annotations

from typing import Any

from ebl_autonomy.data.lookup import find_run, start_of
from ebl_autonomy.data.streams import StoredStream
from ebl_autonomy.errors import DataError
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
    SUSPECTS,
    RunMetadata,
    RunRecord,
    assemble_record,
    phase_maps_record,
    phases_of,
)
from ebl_autonomy.records.phases import PREFIX

__all__ = ["read_run", "start_and_end_of"]


def read_run(run: Any, client: Any = None) -> RunRecord:
    """One experiment, read back; a run that is still going on too.

    The run of `characterise` that holds its phase maps is a `PhaseMapsRecord`.

    Parameters
    ----------
    run : str, int or tiled run
        A uid, its first characters, a scan id, or -1 for the latest run (with `client`); or the run itself, out of
        Tiled, or of an archive that databroker serves.
    client : tiled container, optional

    Raises
    ------
    BadInputError
        If a name is given without a client, or fits no run, or several.
    DataError
        If it is no run of an agent: says what is missing.
    """
    node = find_run(run, client)
    start = start_of(node)
    if METADATA_KEY not in start:
        described = phases_of(start)
        if described is not None:
            streams = [_columns(node, f"{PREFIX}{number}", arrays=True) for number in range(len(described))]
            return phase_maps_record(start, _stop_of(node), streams)
        plan = f" of the plan {start['plan_name']!r}" if start.get("plan_name") else ""
        raise DataError(
            f"run {start.get('uid', run)!r}{plan} has no {METADATA_KEY!r} in its start document: no agent made it"
        )
    metadata = RunMetadata.read(start[METADATA_KEY])
    start_and_end = start_and_end_of(node)
    return assemble_record(
        start,
        _stop_of(node),
        metadata,
        decisions=_columns(node, DECISIONS),
        primary=_columns(node, PRIMARY),
        abandoned=_columns(node, ABANDONED),
        baseline=start_and_end.columns() if start_and_end is not None else {},
        recommended=_columns(node, RECOMMENDED),
        left=_columns(node, LEFT),
        suspects=_columns(node, SUSPECTS),
        explanation=str(next(iter(_columns(node, EXPLANATION).get(EXPLANATION, [])), "")),
    )


def _stop_of(node: Any) -> dict[str, Any] | None:
    return dict(node.metadata["stop"]) if node.metadata.get("stop") else None


def start_and_end_of(node: Any) -> StoredStream | None:
    """The stream with the readings at the start and the end of a run of ours; None if it is not there (yet).

    Earlier versions called the stream `baseline`, as bluesky's `SupplementalData` does.
    """
    for name in (START_AND_END, BASELINE):
        stream = StoredStream(node, name)
        if PROPOSALS_ACCEPTED in stream.names:
            return stream
    return None


def _columns(node: Any, stream: str, arrays: bool = False) -> dict[str, list[Any]]:
    return StoredStream(node, stream).columns(arrays=arrays)
