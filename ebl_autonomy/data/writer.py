"""Documents to Tiled, live, without the RunEngine waiting for it.

The RunEngine's thread only appends each document to a journal on disk and to a queue. A thread of ours writes to Tiled,
grouped by time: rows that arrive within `GROUP_S` go in one append, so that a slow plan is seen point by point and a
fast one does not pay for each point. If the server is away, the journals wait for it.
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
from tiled.client.utils import ClientError

from ebl_autonomy.data.runwriter import ResumableRun
from ebl_autonomy.data.spool import Journal, leftovers

__all__ = ["LiveWriter"]

logger = logging.getLogger(__name__)

GROUP_S = 0.12
"""How long a row may wait for others."""
BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
MAX_REJECTIONS = 6
"""So often may a server that is there fail over one run before the others are served without it."""
STOP_WAIT_S = 30.0
"""How long the end of a plan waits for its data to be written, ..."""
LOOK_S = 1.0
"""... and how often it looks meanwhile whether the server is still there: the client itself tries on for 45 s."""


class LiveWriter:
    """A bluesky callback that writes runs into Tiled.

    Parameters
    ----------
    open_client : callable
        Returns a Tiled client, or raises if the server cannot be reached; called again after every failure.
    is_there : callable
        Whether the server answers.
    spool : Path
        Folder of the journals. Those that a dead session left there are written first.
    """

    def __init__(self, open_client: Callable[[], Any], is_there: Callable[[], bool], spool: Path) -> None:
        self._open_client = open_client
        self._is_there = is_there
        self._spool = spool
        self._client: Any = None
        self._failures = 0
        self._queue: queue.Queue[_Item] = queue.Queue()
        # The RunEngine's side: where each run's documents are journalled, and which run a document belongs to.
        self._journals: dict[str, Journal] = {}
        self._owners: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        # Our thread's side: how many documents of each run were handed over, and which runs have to be taken up again.
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

    # -- the RunEngine's side ------------------------------------------------------------------------------------

    def __call__(self, name: str, doc: Any) -> None:
        """Take one document. Never raises: a problem with the archive must not end an experiment."""
        try:
            uid = self._run_of(name, doc)
            if name == "start":
                self._journals[uid] = Journal(self._spool / f"{uid}.jsonl")
            self._journals[uid].append(name, doc)
        except (OSError, KeyError, TypeError, ValueError):
            logger.exception("a %s document could not be journalled: if Tiled is away too, it is lost", name)
            uid = str(doc.get("run_start") or self._owners.get(doc.get("descriptor", ""), doc.get("uid")))
        index = self._counts[uid] = self._counts.get(uid, 0) + 1
        self._queue.put(_Item(uid, index, name, doc))
        if name == "stop" and not self._see_written():
            logger.warning("run %s is not yet written to Tiled; its documents are safe in %s", uid, self._spool)

    @property
    def away(self) -> bool:
        """Whether the server could not be reached at the latest attempt."""
        return self._failures > 0

    @property
    def pending(self) -> int:
        """Runs of which Tiled does not have everything yet."""
        return len(self._journals)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything received so far is in Tiled; False if that takes longer."""
        return self._ask_to_flush().wait(timeout_s)

    def _see_written(self) -> bool:
        """Wait for what was received to be in Tiled, as long as there is hope."""
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
        """Write what can be written, then stop. Journals of unfinished runs stay for the next session."""
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
        """The run that a document belongs to; remembers the uids that later documents refer to."""
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

    # -- our thread's side ---------------------------------------------------------------------------------------

    def _work(self) -> None:
        due = math.inf  # when the oldest row that waits must be written
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
        # A run that is behind is read from its journal, which has this document too; so may a run that has just
        # caught up have taken it from there.
        if item.uid in self._behind or item.uid in self._refused or item.index <= self._taken.get(item.uid, 0):
            return
        self._taken[item.uid] = item.index
        self._attempt(item.uid, lambda: self._give(item.uid, item.name, item.doc))

    def _give(self, uid: str, name: str, doc: Any) -> None:
        if uid not in self._runs:
            self._runs[uid] = ResumableRun(self._connected())
        self._runs[uid].give(name, copy.copy(doc))
        if name == "stop":
            self._finish(uid)

    def _write_rows(self) -> None:
        for uid, run in list(self._runs.items()):
            if run.holds_rows:
                self._attempt(uid, run.flush)

    def _attempt(self, uid: str, work: Callable[[], None]) -> None:
        try:
            work()
            self._failures = 0
        except Exception as error:  # whatever goes wrong, the journal has the run and is tried again
            self._runs.pop(uid, None)
            if isinstance(error, httpx.HTTPStatusError):
                self._rejections[uid] = self._rejections.get(uid, 0) + 1
            if _is_hopeless(error) or self._rejections.get(uid, 0) >= MAX_REJECTIONS:
                self._behind.discard(uid)
                self._refused.add(uid)
                logger.exception("Tiled refuses run %s; its documents stay in %s", uid, self._spool)
                return
            self._behind.add(uid)
            self._client = None
            self._failures += 1
            logger.warning("Tiled is away (%r); documents wait in %s", error, self._spool)

    def _catch_up(self) -> None:
        """Write the runs that are behind, from their journals, onto what Tiled already has of them."""
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
        if ended or uid not in self._counts:  # a dead session's run will not go on
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
    """A document on its way to the thread; `index` counts from 1 within its run."""

    uid: str
    index: int
    name: str
    doc: Any


def _is_hopeless(error: Exception) -> bool:
    """Whether trying again would fail again: the server answered, and said no."""
    if isinstance(error, httpx.HTTPStatusError):
        return 400 <= error.response.status_code < 500 and error.response.status_code != 429
    return isinstance(error, (ClientError, TypeError, ValueError))
