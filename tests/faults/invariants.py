"""What must hold after the recovery: documents whole and once, runs that are closed, rows bound to where they were."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from ebl_autonomy import read_run

from .devices import DOMAIN, ENCODER_NOISE, TRUE
from .equality import same
from .stored import external_frames, read_rows
from .truth import Emitted, RunTruth

__all__ = ["Naming", "check_documents", "check_positions"]

TOLERANCE = 0.01 * (DOMAIN[1] - DOMAIN[0])
"""The default tolerance of a position, in motor units."""
INCOMPLETE = re.compile("incomplete|missing|lost|damaged", re.IGNORECASE)
NAMED = re.compile("cannot be written|refused|set aside|aside|incomplete|missing|damaged", re.IGNORECASE)


@dataclass(frozen=True)
class Naming:
    """Where a loss may be named.

    Attributes
    ----------
    refused : mapping of str to str
        What the recovery's connection said it refused: uid to reason.
    log : str
        What the sessions and the recovery logged.
    pending : int
        Number of runs that the recovery's connection said are not in Tiled.
    """

    refused: Mapping[str, str]
    log: str
    pending: int

    def of(self, uid: str, stop: Mapping[str, Any] | None) -> str:
        """Why a run may lack documents; empty if nothing says so."""
        if uid in self.refused:
            return f"refused: {self.refused[uid]}"
        if stop and stop.get("exit_status") != "success" and INCOMPLETE.search(str(stop.get("reason"))):
            return f"stop reason: {stop['reason']}"
        return next((line for line in self.log.splitlines() if uid[:8] in line and NAMED.search(line)), "")


def check_documents(truth: RunTruth, client: Any, naming: Naming) -> Iterator[str]:
    """I1 and I2: every emitted document is in Tiled exactly once or named as missing; a closed run claims no more."""
    try:
        run = client[truth.uid]
    except KeyError:
        if truth.start.taken and not naming.of(truth.uid, None):
            yield f"I1 run {truth.uid[:8]} is not in Tiled, and nothing says so"
        return
    metadata = dict(run.metadata)
    stop = metadata.get("stop")
    named = naming.of(truth.uid, stop)
    if not stop and not named:
        yield f"I2 run {truth.uid[:8]} has no stop document"
    yield from _check_start(truth, metadata.get("start") or {})
    if truth.stop is not None and truth.stop.taken and stop and not named:
        yield from _check_mapping("I1 stop", truth.stop.doc, stop)
    for stream, events in truth.events.items():
        external = {key for (of_stream, key) in truth.external if of_stream == stream}
        yield from _check_stream(truth, run, stream, events, external, stop, named)
    for (stream, key), (resource, count) in truth.external.items():
        yield from _check_frames(run, stream, key, resource, count, named)


def _check_start(truth: RunTruth, stored: Mapping[str, Any]) -> Iterator[str]:
    yield from _check_mapping("I1 start", truth.start.doc, stored)


def _check_mapping(what: str, emitted: Mapping[str, Any], stored: Mapping[str, Any]) -> Iterator[str]:
    for key, value in emitted.items():
        if key not in stored:
            yield f"{what} lacks {key!r}"
        elif not same(stored[key], value):
            yield f"{what} {key!r} is {stored[key]!r}, emitted was {value!r}"[:300]


def _check_stream(
    truth: RunTruth,
    run: Any,
    stream: str,
    events: list[Emitted],
    external: set[str],
    stop: Mapping[str, Any] | None,
    named: str,
) -> Iterator[str]:
    where = f"run {truth.uid[:8]} ({truth.plan['plan']}), stream {stream!r}"
    keys = {key for one in events for key in one.doc["data"]} - external
    try:
        rows = read_rows(run, stream, keys, external)
    except Exception as error:  # noqa: BLE001 - whatever a reader raises is the finding
        if not named:  # a plain client cannot read an image whose row is missing
            yield f"I1 {where}: cannot be read: {type(error).__name__}: {error}"[:300]
        return
    emitted = {_identity(one.doc): one for one in events}
    order = [identity for identity in map(_identity, rows) if identity in emitted]
    if unknown := len(rows) - len(order):
        yield f"I1 {where}: {unknown} rows that were never emitted"
    if doubled := len(order) - len(set(order)):
        yield f"I1 {where}: {doubled} rows stored more than once"
    if list(dict.fromkeys(order)) != [identity for identity in emitted if identity in set(order)]:
        yield f"I1 {where}: rows in another order than emitted"
    lost = [identity[0] for identity, one in emitted.items() if one.taken and identity not in set(order)]
    if lost and not named:
        yield f"I1 {where}: {len(lost)} of {len(emitted)} events not in Tiled and not named: seq_num {lost[:8]}"
    if lost and stop and stop.get("exit_status") == "success":
        yield f"I2 {where}: the run claims success, and lacks {len(lost)} events"
    wrong: dict[str, str] = {}
    for row in rows:
        if (one := emitted.get(_identity(row))) is None:
            continue
        for key in sorted(keys):
            value = one.doc["data"].get(key)
            if key not in row["data"] or not same(row["data"][key], value):
                found = repr(row["data"].get(key, "nothing"))[:60]
                wrong.setdefault(key, f"I1 {where}: row {row['seq_num']}: {key!r} is {found}, emitted {value!r:.60}")
    yield from wrong.values()


def _identity(event: Mapping[str, Any]) -> tuple[int, float]:
    """bluesky gives a `seq_num` again after a rewind, with another time."""
    return int(event["seq_num"]), float(event["time"])


def _check_frames(
    run: Any, stream: str, key: str, resource: Mapping[str, Any], count: int, named: str
) -> Iterator[str]:
    where = f"stream {stream!r}, frames of {key!r}"
    try:
        stored = external_frames(run, stream, key)
    except Exception as error:  # noqa: BLE001 - whatever a reader raises is the finding
        if not named:
            yield f"I1 {where}: cannot be read: {type(error).__name__}: {error}"[:300]
        return
    path = re.sub("^file://[^/]*", "", resource["uri"])
    with h5py.File(path, "r", locking=False, swmr=True) as file:  # a killed writer leaves the file open
        emitted = np.asarray(file[resource["parameters"]["dataset"]])[:count]
    if stored.reshape(emitted.shape[:1] + (-1,) if len(stored) == count else (len(stored), -1)).shape[0] != count:
        if not (named and len(stored) < count):
            yield f"I1 {where}: {len(stored)} in Tiled, {count} emitted"
    elif not np.array_equal(stored.reshape(emitted.shape), emitted):
        yield f"I1 {where}: not the values in the file"


def check_positions(truth: RunTruth, client: Any, naming: Naming) -> Iterator[str]:
    """I3: every accepted row of a steered run is bound to where the motors truly were at its exposure."""
    try:
        record = read_run(truth.uid, client)
    except Exception as error:  # noqa: BLE001 - whatever a reader raises is the finding
        yield f"I3 run {truth.uid[:8]} cannot be read: {type(error).__name__}: {error}"[:300]
        return
    motors = [motor for motor in record.metadata.agent["vocs"]["variables"] if TRUE + motor in record.rows]
    for proposal in record.proposals:
        for i, result in zip(proposal.rows, proposal.results, strict=False):
            for motor in motors:
                true = record.rows[TRUE + motor][i]
                where = f"I3 run {truth.uid[:8]}, proposal {proposal.proposal_id[:8]}, {motor} truly at {true:.4f}"
                if not abs(record.rows[motor][i] - true) <= 1.01 * ENCODER_NOISE:
                    yield f"{where}: its row says {record.rows[motor][i]:.4f}"
                if not abs(result[motor] - true) <= 1.01 * ENCODER_NOISE:
                    yield f"{where}: its result says {result[motor]:.4f}"
                if not abs(proposal.point[motor] - true) <= TOLERANCE + ENCODER_NOISE:
                    yield f"{where}: proposed was {proposal.point[motor]:.4f}"
    if not naming.of(truth.uid, record.stop):  # a row that is missing, and named, cannot be read back
        yield from _check_told(truth, [dict(result) for result in record.results])


def _check_told(truth: RunTruth, read: list[dict[str, Any]]) -> Iterator[str]:
    """What the agent was told is what is read back, in the same order; the end may be missing after a kill."""
    told = truth.told
    if truth.stop is None:
        told, read = told[: len(read)], read[: len(told)]
    if len(told) != len(read):
        yield f"I3 run {truth.uid[:8]}: the agent was told {len(told)} results, {len(read)} are read back"
        return
    for i, (a, b) in enumerate(zip(told, read, strict=True)):
        names = a.keys() & b.keys() - {"_id"}
        if wrong := [name for name in names if not _equal(a[name], b[name])]:
            yield f"I3 run {truth.uid[:8]}: result {i} was told {wrong[0]}={a[wrong[0]]}, read back {b[wrong[0]]}"
            return


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)))
