"""What the documents of a run say about each other: which are missing, and how a run that nobody closed has to end."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ebl_autonomy.records import ABANDONED, DECISIONS, METADATA_KEY, PRIMARY
from ebl_autonomy.records.keys import PROPOSAL_ID

__all__ = ["Ledger"]

MAX_NAMED = 20
"""Number of pending proposals that a reason names."""
_OWNERS = ("descriptor", "resource", "stream_resource")
"""Keys by which a document refers to an earlier one; also the kinds of documents that are referred to."""
_NEEDED = {
    "start": ("uid", "time"),
    "descriptor": ("uid", "name", "data_keys"),
    "event": ("descriptor", "seq_num", "data", "timestamps"),
    "event_page": ("descriptor", "seq_num", "data", "timestamps"),
    "resource": ("uid",),
    "stream_resource": ("uid",),
    "datum": ("resource",),
    "datum_page": ("resource",),
    "stream_datum": ("stream_resource", "descriptor", "seq_nums"),
    "stop": ("run_start",),
}
"""Kinds of documents, and what one needs to be written."""


class Ledger:
    """The account of one run's documents, which are entered in the order of their indices.

    Attributes
    ----------
    last : int
        Index of the latest document that was entered.
    missing : int
        Number of documents that are known to be missing.
    started, ended : bool
        Whether the start and the stop document were entered.
    """

    def __init__(self) -> None:
        self.last = self.missing = 0
        self.started = self.ended = False
        self._known: dict[str, str] = {}  # uid of a document that others refer to: its stream, if it has one
        self._rows: dict[str, int] = {}
        self._lost_rows: Counter[str] = Counter()
        self._ours = False
        self._decided: dict[str, None] = {}
        self._time = 0.0

    def admits(self, name: str, doc: dict[str, Any]) -> bool:
        """Whether a document can be written: it is complete, and the documents that it refers to were entered."""
        if name not in _NEEDED or any(key not in doc for key in _NEEDED[name]):
            return False
        return name == "start" or (self.started and all(str(doc[key]) in self._known for key in _OWNERS if key in doc))

    def enter(self, index: int, name: str, doc: dict[str, Any]) -> None:
        """Take a document into the account; one that was entered before is ignored."""
        if index <= self.last:
            return
        self.missing += index - self.last - 1
        self.last = index
        times = doc.get("time", self._time)
        self._time = float(max(times)) if isinstance(times, list) and times else float(times or self._time)
        if name == "start":
            self.started, self._ours = True, METADATA_KEY in doc
        elif name == "stop":
            self.ended = True
        elif name in _OWNERS:
            self._known[str(doc["uid"])] = str(doc.get("name", "")) if name == "descriptor" else ""
            if name == "descriptor":
                self._rows.setdefault(str(doc["name"]), 0)
        elif name in ("event", "event_page", "stream_datum"):
            self._enter_rows(name, doc)

    def skip(self, index: int) -> None:
        """Note that a document cannot be written."""
        if index > self.last:
            self.missing += index - self.last
            self.last = index

    def stop(self, doc: dict[str, Any]) -> dict[str, Any]:
        """The stop document to write: the run's own, or one that says what is missing."""
        if not self.missing:
            return doc
        ending = f"the run itself had ended with {doc.get('exit_status')!r}"
        if doc.get("reason"):
            ending += f" ({doc['reason']})"
        return {**doc, "exit_status": "fail", "reason": f"{self.said_missing(doc.get('num_events') or {})}; {ending}"}

    def closing(self, uid: str, damaged_at_end: int) -> dict[str, Any]:
        """A stop document for a run whose session ended without one.

        Parameters
        ----------
        uid : str
        damaged_at_end : int
            Number of documents that are missing after the last one that was entered.
        """
        self.skip(self.last + damaged_at_end)
        found = time.strftime("%Y-%m-%d %H:%M")
        reason = f"the session ended without closing the run (found on {found})"
        if self.missing:
            reason += f"; {self.said_missing()}"
        if pending := list(self._decided):
            names = ", ".join(pending[:MAX_NAMED]) + (", …" if len(pending) > MAX_NAMED else "")
            reason += f"; {len(pending)} pending proposal{'s' * (len(pending) > 1)}: {names}"
        return {
            "uid": str(uuid.uuid4()),
            "run_start": uid,
            "time": self._time,
            "exit_status": "fail" if self.missing else "abort",
            "reason": reason,
            "num_events": dict(self._rows),
        }

    def said_missing(self, emitted: Mapping[str, int] | None = None) -> str:
        """In words, how many documents of which streams are missing; `emitted` is the number of rows of each."""
        at_end = {stream: max(count - self._rows.get(stream, 0), 0) for stream, count in (emitted or {}).items()}
        rows = {stream: count for stream, count in (self._lost_rows + Counter(at_end)).items() if count}
        parts = [f"{count} of stream {stream!r}" for stream, count in rows.items()]
        if (others := self.missing - sum(rows.values())) > 0 and parts:
            parts.append(f"{others} others")
        told = f" ({', '.join(parts)})" if parts else ""
        one = self.missing == 1
        return (
            f"{self.missing} document{'' if one else 's'} of this run {'is' if one else 'are'} missing{told}, because "
            "the spool could not be written or was damaged"
        )

    def _enter_rows(self, name: str, doc: dict[str, Any]) -> None:
        stream = self._known.get(str(doc.get("descriptor")), "")
        if name == "stream_datum":
            first, last = int(doc["seq_nums"]["start"]), int(doc["seq_nums"]["stop"]) - 1
        else:
            numbers = doc["seq_num"] if isinstance(doc["seq_num"], list) else [doc["seq_num"]]
            first, last = (int(numbers[0]), int(numbers[-1])) if numbers else (1, 0)
        if name != "stream_datum":  # several of them, and an event too, may cover the same rows
            self._lost_rows[stream] += max(first - self._rows.get(stream, 0) - 1, 0)
        self._rows[stream] = max(self._rows.get(stream, 0), last)
        if self._ours and name == "event" and PROPOSAL_ID in doc["data"]:
            proposal = str(doc["data"][PROPOSAL_ID])
            if stream == DECISIONS:
                self._decided[proposal] = None
            elif stream in (PRIMARY, ABANDONED):
                self._decided.pop(proposal, None)
