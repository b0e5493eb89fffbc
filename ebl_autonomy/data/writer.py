"""Writing documents to Tiled live, without blocking the RunEngine.

The RunEngine's thread only appends each document to a journal on disk. Each run has a thread that sends its documents
to Tiled (see `delivery`). It groups rows by time: all rows that arrive within `GROUP_S` go into one append. A slow plan
therefore appears point by point, and a fast plan does not pay for an append per point. While the server is unreachable,
the documents wait in the journals. Runs that ended and could not be written yet, and runs of sessions that ended, share
one more thread.
"""

from __future__ import annotations

import logging
import posixpath
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ebl_autonomy.data.delivery import Delivery
from ebl_autonomy.data.spool import Journal, leftovers

__all__ = ["LiveWriter"]

logger = logging.getLogger(__name__)

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
        Folder of the journals. Journals that a dead session left there for this server are written too.
    server : str
        Which server this is, for the journals: they are finished there. The default is any.
    check_readable : callable, optional
        Given the URI of a detector's file, returns why the server cannot read it; None if it can.
    """

    def __init__(
        self,
        open_client: Callable[[], Any],
        is_there: Callable[[], bool],
        spool: Path,
        server: str = "",
        check_readable: Callable[[str], str | None] = lambda uri: None,
    ) -> None:
        self._check_readable = check_readable
        self._complained: set[str] = set()  # folders of detectors
        self._open_client = open_client
        self._opening = threading.Lock()
        self._is_there = is_there
        self._spool, self._server = spool, server
        self._owners: dict[str, str] = {}  # the run that each document belongs to which others refer to
        self._deliveries: dict[str, Delivery] = {}
        self._strays: set[str] = set()  # runs that began before the RunEngine was connected
        self._lost_any = False
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._backlog = _Backlog(self._settle)
        found, elsewhere = leftovers(spool, server)
        for other, count in elsewhere.items():
            logger.warning(
                "%d %s for %s: connect to it to finish %s",
                count,
                "run waits" if count == 1 else "runs wait",
                other,
                "it" if count == 1 else "them",
            )
        for journal in found:
            delivery = self._deliveries[journal.uid] = Delivery(journal, self._connect, left_over=True)
            self._backlog.add(delivery)

    # -- the RunEngine's thread ----------------------------------------------------------------------------------

    def __call__(self, name: str, doc: Any) -> None:
        """Take one document. Errors are logged, not raised: a problem with Tiled must not end an experiment."""
        try:
            delivery = self._delivery_of(name, doc)
            if delivery is None:
                return
            delivery.take(name, doc)
            if name in ("stream_resource", "resource"):
                self._see_readable(doc)
            if name == "stop":
                self._forget(delivery.uid)
                if not self._see_written(delivery):
                    logger.warning(
                        "run %s is not completely in Tiled yet; its documents are safe in %s", delivery.uid, self._spool
                    )
        except Exception:
            self._lost_any = True
            logger.exception("a %s document could not be taken: it is lost", name)

    def _see_readable(self, doc: Any) -> None:
        """Say once for each folder that the server cannot read it. The file is registered all the same, for later."""
        uri = file_of(doc)
        folder = uri.rpartition("/")[0]
        if folder not in self._complained and (why := self._check_readable(uri)) is not None:
            self._complained.add(folder)
            logger.error("%s", why)

    def has(self, uid: str) -> bool:
        """Whether a run is being written, or waits for it."""
        return uid in self._deliveries

    @property
    def away(self) -> bool:
        """Whether the latest attempt to write failed because of the server."""
        return any(delivery.away for delivery in list(self._deliveries.values()))

    @property
    def pending(self) -> int:
        """Number of runs that are not completely in Tiled: under way, waiting, refused, or incomplete."""
        return len(self._reasons())

    @property
    def refused(self) -> Mapping[str, str]:
        """The runs that the server refused, with the reasons."""
        return {uid: each.reason for uid, each in self._deliveries.copy().items() if each.state == "refused"}

    @property
    def incomplete(self) -> Mapping[str, str]:
        """The runs that are in Tiled with documents missing for good, with what is missing."""
        return {uid: each.reason for uid, each in self._deliveries.copy().items() if each.state == "incomplete"}

    def flush(self, timeout_s: float) -> bool:
        """Wait until every document is in Tiled that this writer received or found in the spool.

        Returns
        -------
        bool
            False if that takes longer than `timeout_s`, or if a document of this session is missing for good.
        """
        deadline = time.monotonic() + timeout_s
        targets = [(delivery, delivery.reached) for delivery in list(self._deliveries.values())]
        in_time = [delivery.wait(index, deadline) for delivery, index in targets]
        whole = all(delivery.whole or delivery.left_over for delivery, _ in targets)
        return all(in_time) and whole and not self._lost_any

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what is pending, then stop. Journals of unfinished runs stay for the next session."""
        if self._closed:
            return
        self._closed = True
        deadline = time.monotonic() + 2 * timeout_s
        if not self.away:
            self.flush(timeout_s)
        for delivery in list(self._deliveries.values()):
            delivery.close()
        self._backlog.close()
        threads = [*self._threads, self._backlog.thread]
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.1))
        if not any(thread.is_alive() for thread in threads):  # a late one releases its journal itself
            for delivery in list(self._deliveries.values()):
                delivery.release()
        self._say_what_is_left()

    def abandon(self) -> None:
        """In a forked child: release the journals, which the parent goes on writing, and take no document."""
        self._closed = True
        for delivery in self._deliveries.copy().values():
            delivery.release()

    def _see_written(self, delivery: Delivery) -> bool:
        """Wait up to `STOP_WAIT_S` for a run to be in Tiled; False at once if the server is down."""
        deadline = time.monotonic() + STOP_WAIT_S
        while not delivery.away and time.monotonic() < deadline:
            if delivery.wait(delivery.reached, min(time.monotonic() + LOOK_S, deadline)):
                return True  # or refused, which is logged
            if not self._is_there():
                return False
        return False

    def _delivery_of(self, name: str, doc: Any) -> Delivery | None:
        """The delivery of the run that a document belongs to; None if the run is not delivered (any more)."""
        uid = str(doc["uid"]) if name == "start" else self._run_of(name, doc)
        delivery = self._deliveries.get(uid)
        if delivery is None and name == "start":
            delivery = Delivery(Journal.of_run(self._spool, uid, self._server), self._connect)
            self._deliveries[uid] = delivery
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(target=self._deliver, args=(delivery,), name=f"ebl-tiled-{uid[:8]}", daemon=True)
            self._threads.append(thread)
            thread.start()
        elif delivery is None and uid not in self._strays:
            self._strays.add(uid)
            self._lost_any = True
            logger.error("run %s is not written, for it began before the RunEngine was connected", uid)
        return delivery

    def _run_of(self, name: str, doc: Any) -> str:
        """The uid of the run that a document belongs to; remembers the uids that later documents refer to."""
        if "run_start" in doc:
            uid = str(doc["run_start"])
        else:
            key = next(key for key in ("descriptor", "resource", "stream_resource") if key in doc)
            uid = self._owners[str(doc[key])]
        if name in ("descriptor", "resource", "stream_resource"):
            self._owners[str(doc["uid"])] = uid
        return uid

    def _forget(self, uid: str) -> None:
        for key in [key for key, owner in self._owners.items() if owner == uid]:
            del self._owners[key]

    # -- the threads that deliver --------------------------------------------------------------------------------

    def _deliver(self, delivery: Delivery) -> None:
        delivery.work()
        if delivery.state == "waiting":
            self._backlog.add(delivery)
        else:
            self._settle(delivery)

    def _settle(self, delivery: Delivery) -> None:
        """Let go of a delivery that has come to an end, or was closed."""
        if delivery.state in ("written", "aside"):
            self._deliveries.pop(delivery.uid, None)
        elif self._closed:
            delivery.release()

    def _connect(self) -> Any:
        with self._opening:  # one at a time: it may start a server
            return self._open_client()

    def _reasons(self) -> dict[str, str]:
        """The runs that are not completely in Tiled, with the reasons."""
        left = {
            uid: delivery.reason or "not finished"
            for uid, delivery in self._deliveries.copy().items()
            if delivery.state not in ("written", "aside") and not delivery.stored
        }
        return left | dict.fromkeys(self._strays, "it began before the RunEngine was connected")

    def _say_what_is_left(self) -> None:
        left = self._reasons()
        if left:
            told = "; ".join(f"{uid}: {reason}" for uid, reason in left.items())
            logger.warning(
                "%d %s not completely in Tiled; see %s. %s",
                len(left),
                "run is" if len(left) == 1 else "runs are",
                self._spool,
                told,
            )


class _Backlog:
    """Delivers runs that get no more documents, one after the other, each at its own times.

    Parameters
    ----------
    settle : callable
        Called with each delivery that came to an end, or that is left when the backlog is closed.
    """

    def __init__(self, settle: Callable[[Delivery], None]) -> None:
        self._settle = settle
        self._deliveries: list[Delivery] = []
        self._changed = threading.Condition()
        self._closing = False
        self.thread = threading.Thread(target=self._work, name="ebl-tiled-backlog", daemon=True)
        self.thread.start()

    def add(self, delivery: Delivery) -> None:
        with self._changed:
            if not self._closing:
                self._deliveries.append(delivery)
                self._changed.notify()
                return
        self._settle(delivery)

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()

    def _work(self) -> None:
        while (delivery := self._next()) is not None:
            delivery.catch_up()
            if delivery.state != "waiting":
                with self._changed:
                    self._deliveries.remove(delivery)
                self._settle(delivery)
        for delivery in self._deliveries:
            self._settle(delivery)

    def _next(self) -> Delivery | None:
        """The delivery that is due; None when the backlog is closed."""
        with self._changed:
            while not self._closing:
                first = min(self._deliveries, key=lambda delivery: delivery.next_try, default=None)
                wait = first.next_try - time.monotonic() if first is not None else None
                if first is not None and wait is not None and wait <= 0:
                    return first
                self._changed.wait(wait)
            return None


def file_of(doc: Mapping[str, Any]) -> str:
    """The address or the path of the file that a ``stream_resource`` or ``resource`` document refers to."""
    if "uri" in doc:
        return str(doc["uri"])
    return posixpath.join(doc.get("root") or "/", doc.get("resource_path", "").lstrip("/"))
