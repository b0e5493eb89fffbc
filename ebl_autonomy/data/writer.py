"""Writing documents to Tiled live, without blocking the RunEngine.

The RunEngine's thread only appends each document to a journal on disk and to a queue. A writer thread sends the
documents to Tiled. It groups rows by time: all rows that arrive within `GROUP_S` go into one append. A slow plan
therefore appears point by point, and a fast plan does not pay for an append per point. While the server is unreachable,
the documents wait in the journals.
"""

from __future__ import annotations

import copy
import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import jsonschema
from tiled.client.utils import ClientError

from ebl_autonomy.data.runwriter import ResumableRun
from ebl_autonomy.data.spool import Journal, leftovers

__all__ = ["LiveWriter"]

logger = logging.getLogger(__name__)

GROUP_S = 0.12
"""Longest time that a row waits for others to join its append, s."""
BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Delays before successive retries, s; the last one repeats."""
MAX_REJECTIONS = 6
"""Number of HTTP errors after which a run is given up, so that the other runs are written."""
STOP_WAIT_S = 30.0
"""Longest time that the end of a run waits for its data to be written, s."""
LOOK_S = 1.0
"""Interval at which that wait checks whether the server answers, s; the client itself retries for 45 s."""


class LiveWriter:
    """A bluesky callback that writes runs into Tiled.

    Parameters
    ----------
    open_client : callable
        Returns a Tiled client, or raises if the server is unreachable. It is called again after every failure.
    is_there : callable
        Returns whether the server answers.
    spool : Path
        Folder of the journals. Journals that a dead session left there are written first.
    check_readable : callable, optional
        Given the URI of a detector's file, returns why the server cannot read it; None if it can.
    """

    def __init__(
        self,
        open_client: Callable[[], Any],
        is_there: Callable[[], bool],
        spool: Path,
        check_readable: Callable[[str], str | None] = lambda uri: None,
    ) -> None:
        self._check_readable = check_readable
        self._complained: set[str] = set()
        self._open_client = open_client
        self._is_there = is_there
        self._spool = spool
        self._client: Any = None
        self._failures = 0
        self._queue: queue.Queue[_Item] = queue.Queue()
        # Of the RunEngine's thread: the journal of each run, and the run that each document belongs to.
        self._journals: dict[str, Journal] = {}
        self._owners: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        # Of the writer thread: how many documents it took of each run, and which runs to replay from their journals.
        self._runs: dict[str, ResumableRun] = {}
        self._taken: dict[str, int] = {}
        self._behind: set[str] = set()
        self._refused: set[str] = set()
        self._rejections: dict[str, int] = {}
        self._waiting: list[threading.Event] = []
        self._closing = threading.Event()
        for journal in leftovers(spool):
            self._journals[journal.path.stem] = journal
            self._behind.add(journal.path.stem)
        self._thread = threading.Thread(target=self._work, name="ebl-tiled-writer", daemon=True)
        self._thread.start()

    # -- the RunEngine's thread ----------------------------------------------------------------------------------

    def __call__(self, name: str, doc: Any) -> None:
        """Take one document. Errors are logged, not raised: a problem with Tiled must not end an experiment."""
        try:
            uid = self._run_of(name, doc)
            if name == "start":
                self._journals[uid] = Journal(self._spool / f"{uid}.jsonl")
            self._journals[uid].append(name, doc)
        except (OSError, KeyError, TypeError, ValueError):
            logger.exception("a %s document could not be journalled: it is lost if Tiled is unreachable too", name)
            uid = str(doc.get("run_start") or self._owners.get(doc.get("descriptor", ""), doc.get("uid")))
        index = self._counts[uid] = self._counts.get(uid, 0) + 1
        self._queue.put(_Item(uid, index, name, doc))
        if name == "stop" and not self._see_written():
            logger.warning("run %s is not completely in Tiled yet; its documents are safe in %s", uid, self._spool)

    @property
    def away(self) -> bool:
        """Whether the latest attempt to write failed."""
        return self._failures > 0

    @property
    def pending(self) -> int:
        """Number of runs that are not completely in Tiled yet."""
        return len(self._journals)

    def flush(self, timeout_s: float) -> bool:
        """Wait until every received document is in Tiled; False if that takes longer than `timeout_s`."""
        return self._ask_to_flush().wait(timeout_s)

    def _see_written(self) -> bool:
        """Wait up to `STOP_WAIT_S` for every received document to be in Tiled; False at once if the server is down."""
        written, deadline = self._ask_to_flush(), time.monotonic() + STOP_WAIT_S
        while not self.away and time.monotonic() < deadline:
            if written.wait(LOOK_S):
                return True
            if not self._is_there():
                return False
        return False

    def _ask_to_flush(self) -> threading.Event:
        written = threading.Event()
        self._queue.put(_Item("", 0, "flush", written))
        return written

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what is pending, then stop. Journals of unfinished runs stay for the next session."""
        if self._closing.is_set():
            return
        if not self.away:
            self.flush(timeout_s)
        self._closing.set()
        self._queue.put(_Item("", 0, "flush", threading.Event()))  # wakes the thread
        self._thread.join(timeout_s)
        for journal in list(self._journals.values()):
            journal.close()

    def _run_of(self, name: str, doc: Any) -> str:
        """The uid of the run that a document belongs to; remembers the uids that later documents refer to."""
        if name == "start":
            return str(doc["uid"])
        if "run_start" in doc:
            uid = str(doc["run_start"])
        else:
            key = next(key for key in ("descriptor", "resource", "stream_resource") if key in doc)
            uid = self._owners[str(doc[key])]
        if name in ("descriptor", "resource", "stream_resource"):
            self._owners[str(doc["uid"])] = uid
        return uid

    # -- the writer thread ---------------------------------------------------------------------------------------

    def _work(self) -> None:
        due = math.inf  # when the oldest buffered row must be written
        while not self._closing.is_set():
            if self._behind:
                self._catch_up()
            item = self._next(min(due - time.monotonic(), 0.2 if self._behind else GROUP_S))
            while item is not None:
                if item.name == "flush":
                    self._waiting.append(item.doc)
                    due = 0.0
                else:
                    self._hand_over(item)
                if due == math.inf and any(run.holds_rows for run in self._runs.values()):
                    due = time.monotonic() + GROUP_S
                item = self._next(0.0) if time.monotonic() < due else None
            if time.monotonic() >= due:
                self._write_rows()
                due = math.inf
            self._answer_waiting()

    def _next(self, wait: float) -> _Item | None:
        try:
            return self._queue.get(timeout=wait) if wait > 0 else self._queue.get_nowait()
        except queue.Empty:
            return None

    def _hand_over(self, item: _Item) -> None:
        # A run that is behind is replayed from its journal, which holds this document too. A run that has just caught
        # up may already have taken the document from there.
        if item.uid in self._behind or item.uid in self._refused or item.index <= self._taken.get(item.uid, 0):
            return
        self._taken[item.uid] = item.index
        self._attempt(item.uid, lambda: self._give(item.uid, item.name, item.doc))

    def _give(self, uid: str, name: str, doc: Any) -> None:
        if name in ("stream_resource", "resource"):
            self._see_readable(doc)
        if uid not in self._runs:
            self._runs[uid] = ResumableRun(self._connected())
        self._runs[uid].give(name, copy.copy(doc))
        if name == "stop":
            self._finish(uid)

    def _see_readable(self, doc: Any) -> None:
        """Say once for each folder that the server cannot read it. The file is registered all the same, for later."""
        uri = doc["uri"] if "uri" in doc else f"{doc.get('root', '')}/{doc.get('resource_path', '')}"
        folder = uri.rpartition("/")[0]
        if folder not in self._complained and (why := self._check_readable(uri)) is not None:
            self._complained.add(folder)
            logger.error("%s", why)

    def _write_rows(self) -> None:
        for uid, run in list(self._runs.items()):
            if run.holds_rows:
                self._attempt(uid, run.flush)

    def _attempt(self, uid: str, work: Callable[[], None]) -> None:
        try:
            work()
            self._failures = 0
        except Exception as error:  # any failure: the journal holds the run, and is retried
            self._runs.pop(uid, None)
            if isinstance(error, httpx.HTTPStatusError):
                self._rejections[uid] = self._rejections.get(uid, 0) + 1
            if _is_hopeless(error) or self._rejections.get(uid, 0) >= MAX_REJECTIONS:
                self._behind.discard(uid)
                self._refused.add(uid)
                logger.exception("run %s cannot be written to Tiled; its documents stay in %s", uid, self._spool)
                return
            self._behind.add(uid)
            self._client = None
            self._failures += 1
            logger.warning(
                "Tiled could not be written (%r); its documents wait in %s, to be retried", error, self._spool
            )

    def _catch_up(self) -> None:
        """Resume the runs that are behind, from their journals."""
        if self._failures and self._closing.wait(BACK_OFF_S[min(self._failures, len(BACK_OFF_S)) - 1]):
            return
        for uid in sorted(self._behind):
            self._attempt(uid, partial(self._replay, uid))
            if self._failures:
                return

    def _replay(self, uid: str) -> None:
        run = ResumableRun(self._connected())
        count, ended = 0, False
        for name, doc in self._journals[uid].documents():
            run.give(name, doc)
            count, ended = count + 1, name == "stop"
        run.flush()
        self._taken[uid] = count
        self._behind.discard(uid)
        self._runs[uid] = run
        if ended or uid not in self._counts:  # the run of a dead session gets no more documents
            self._finish(uid)

    def _finish(self, uid: str) -> None:
        self._runs.pop(uid, None)
        self._journals.pop(uid).remove()
        for key in [key for key, owner in self._owners.items() if owner == uid]:
            del self._owners[key]

    def _answer_waiting(self) -> None:
        if self._waiting and not self._behind and not any(run.holds_rows for run in self._runs.values()):
            for written in self._waiting:
                written.set()
            self._waiting.clear()

    def _connected(self) -> Any:
        if self._client is None:
            self._client = self._open_client()
        return self._client


@dataclass(frozen=True)
class _Item:
    """A queued document; `index` counts from 1 within its run."""

    uid: str
    index: int
    name: str
    doc: Any


def _is_hopeless(error: Exception) -> bool:
    """Whether a retry would fail too, because the server rejected the document or the document is invalid."""
    if isinstance(error, httpx.HTTPStatusError):
        return 400 <= error.response.status_code < 500 and error.response.status_code not in (409, 429)
    return isinstance(error, (ClientError, TypeError, ValueError, jsonschema.ValidationError))
