"""The way of one run's documents to Tiled: in order, each once, over failures of the server and of the disk.

A run is delivered independently of all others, so none waits for another's retries. Its documents come from the queue
while all goes well. After a failure they come from the journal again, together with those that the journal could not
take; what Tiled has already is not stored twice (see `runwriter`).
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import httpx
import jsonschema
from tiled.client.utils import ClientError

from ebl_autonomy.data.entries import DamagedError, Entry, encode
from ebl_autonomy.data.ledger import Ledger
from ebl_autonomy.data.runwriter import ResumableRun
from ebl_autonomy.data.spool import Journal

__all__ = ["Delivery"]

logger = logging.getLogger(__name__)

State = Literal["waiting", "written", "incomplete", "refused", "aside"]

GROUP_S = 0.12
"""Longest time that a row waits for others to join its append, s."""
GROUP_BYTES = 16_000_000
"""Size of the rows after which an append does not wait for others."""
BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Delays before successive retries, s; the last one repeats."""
MAX_REJECTIONS = 6
"""Number of failures of one run in a row, with no progress between, after which the run is refused."""
HELD_BYTES = 256_000_000
"""Size of the arrays that wait in memory because the journal could not take them; what comes then is missing."""
PROBE_S = 5.0
"""Time limit of the request that tells a failure of the server from one of a run, s."""
SETTLE_S = 10.0
"""How long a run is not ended after a request without an answer, which the server may still carry out, s."""
_RETRYABLE = {401, 403, 404, 408, 409, 425, 429}
_ROWS = ("event", "event_page", "stream_datum")
_delivering = threading.local()


class _RequestFailedError(Exception):
    """The server answered a request with a status of 500 or more."""


class _NoAnswerError(Exception):
    """The server did not answer a request, or a gateway did not wait for its answer."""


class _ClosingError(Exception):
    """The session ends; what is left stays in the journal."""


class _TooEarlyError(Exception):
    """A request of the run may still be carried out; the run is ended later."""


class Delivery:
    """One run on its way to Tiled.

    Parameters
    ----------
    journal : Journal
    connect : callable
        Returns a Tiled client, or raises if the server is unreachable.
    left_over : bool
        Whether the run is of a session that ended: it gets no more documents.

    Attributes
    ----------
    state : str
        ``"waiting"``; ``"written"``, ``"incomplete"`` (written, with documents missing), ``"refused"`` (by the server,
        its journal stays), ``"aside"`` (a journal without a run).
    reason : str
        Of the latest failure, or why the run is not ``"written"``.
    away : bool
        Whether the latest attempt failed because of the server.
    next_try : float
        When to try again, in seconds of `time.monotonic`.
    reached : int
        Index of the latest document that was taken and is not lost.
    stored : bool
        Whether the whole run is in Tiled; those who follow it live may not have been told yet.
    """

    def __init__(self, journal: Journal, connect: Callable[[], Any], left_over: bool = False) -> None:
        self.journal, self.uid, self.left_over = journal, journal.uid, left_over
        self.state: State = "waiting"
        self.reason = ""
        self.away = False
        self.next_try = 0.0
        self.reached = 0
        self.stopped = left_over
        self.stored = False
        self._connect = connect
        self._client: Any = None
        self._run: ResumableRun | None = None  # None: to be replayed
        self._ledger = Ledger()
        self._stop: dict[str, Any] | None = None  # of a run that its session did not end
        self._emitted = self._lost = 0
        self._in_memory = False
        self._queue: queue.Queue[Entry | None] = queue.Queue()
        self._seen = 0  # index of the latest document that was taken from the queue
        self._given = 0  # index of the latest document that the run writer took
        self._settled = 0  # index up to which everything is in Tiled, or known to be missing
        self._bytes = 0  # of the rows that the run writer holds
        self._kept: dict[int, Entry] = {}  # documents that the journal does not have
        self._held = 0
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._rejections = self._failures = 0
        self._unsure_until = 0.0  # in seconds of `time.monotonic`

    # -- the RunEngine's thread ----------------------------------------------------------------------------------

    def take(self, name: str, doc: Any) -> None:
        """Journal a document and queue it. Nothing of `doc` is referred to afterwards."""
        self._emitted += 1
        entry = encode(self._emitted, name, doc, self.journal.side_end)
        try:
            self.journal.append(entry)
            entry, self._in_memory = entry.without_arrays(), False
        except OSError as error:
            if self.state != "waiting" or not self._hold(entry):
                self._lost += 1
                logger.error(
                    "a %s document of run %s is lost: memory and the spool are full: %s", name, self.uid, error
                )
                return
            if not self._in_memory:  # said once, until the disk takes documents again
                logger.warning("documents of run %s are held in memory, for the spool fails: %s", self.uid, error)
            self._in_memory = True
            entry = self._kept[entry.index]
        self.reached = entry.index
        if self.state == "waiting":
            self._queue.put(entry)
        self.stopped = self.stopped or name == "stop"

    def wait(self, index: int, deadline: float) -> bool:
        """Wait until the documents up to `index` are in Tiled, or it is certain that they will not be.

        Parameters
        ----------
        index : int
        deadline : float
            In seconds of `time.monotonic`.
        """
        self._queue.put(None)  # rows do not wait for others to join them
        with self._changed:
            while self.state == "waiting" and (self.left_over or self._settled < index):
                if not self._changed.wait(max(deadline - time.monotonic(), 0.0)) and time.monotonic() >= deadline:
                    return False
        return True

    @property
    def whole(self) -> bool:
        """Whether no document is known to be missing in Tiled for good."""
        return self.state in ("waiting", "written") and not self._lost + self._ledger.missing

    def close(self) -> None:
        """Stop. The thread that delivers releases the journal."""
        self._closing.set()
        self._queue.put(None)

    # -- the thread that delivers --------------------------------------------------------------------------------

    def work(self) -> None:
        """Deliver a run that is going on, until it is written, refused, or closed, or has stopped and must wait."""
        while self.state == "waiting" and not self._closing.is_set():
            if self._run is not None:
                self._pass_on()
            elif time.monotonic() < self.next_try:
                if self.stopped:
                    return
                self._closing.wait(self.next_try - time.monotonic())
            elif self._seen or self._peek():
                self.catch_up()

    def catch_up(self) -> None:
        """Deliver the run as far as its documents are there: everything again that Tiled may not have."""
        self._attempt(self._replay)

    def release(self) -> None:
        """Release the journal; call it when nothing is delivered any more."""
        self.journal.close()

    def _peek(self) -> bool:
        """Wait for the first document."""
        entry = self._queue.get()
        if entry is not None:
            self._seen = entry.index
        return entry is not None

    def _pass_on(self) -> None:
        """Give the run writer what the queue holds, and write its rows when the oldest one has waited `GROUP_S`."""
        entry, due = self._queue.get(), time.monotonic() + GROUP_S
        while True:
            if entry is None:
                due = 0.0
            else:
                self._seen = max(self._seen, entry.index)
                if entry.index > self._given and not self._attempt(partial(self._give_queued, entry)):
                    return
            if self.state != "waiting" or self._closing.is_set():
                return
            if self._bytes >= GROUP_BYTES or (wait := due - time.monotonic()) <= 0:
                break
            try:
                entry = self._queue.get(timeout=wait)
            except queue.Empty:
                break
        self._attempt(self._flush)

    def _give_queued(self, entry: Entry) -> None:
        assert self._run is not None
        try:
            doc = entry.document(self.journal.fetch)
        except DamagedError:
            logger.exception("a %s document of run %s cannot be read back from the spool", entry.name, self.uid)
            self._skip(entry.index)
            return
        self._give(self._run, entry.index, entry.name, doc, len(entry.line))

    def _replay(self) -> None:
        self._drain()
        self._bytes = 0
        run = ResumableRun(self._connected())
        for index, name, doc in self._documents():
            if self._closing.is_set():
                raise _ClosingError
            self._give(run, index, name, doc, 0)
            if self.state != "waiting":
                return
            if self._bytes >= GROUP_BYTES:
                self._flush(run)
        if self.left_over:
            self._end_for(run)
        else:
            self._flush(run)
            self._run = run

    def _end_for(self, run: ResumableRun) -> None:
        """End a run that its session did not end."""
        if not self._ledger.started:
            self._put_aside()
            return
        if self._stop is None:
            self._stop = self._ledger.closing(self.uid, self.journal.damaged_at_end())
            logger.warning("run %s: %s", self.uid, self._stop["reason"])
        stop = self._stop
        run.give("stop", dict(stop))
        self._finish(run, stop)

    def _documents(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """The documents of the journal, and those that it does not have, in order, as far as the queue was emptied."""
        with self._lock:
            kept = sorted(self._kept.items())
        last = float("inf") if self.left_over else self._seen
        for index, name, doc in self.journal.entries(last):
            while kept and kept[0][0] <= index:
                number, entry = kept.pop(0)
                if number < index:
                    yield number, entry.name, entry.document(self.journal.fetch)
            yield index, name, doc
        for number, entry in kept:
            if number <= last:
                yield number, entry.name, entry.document(self.journal.fetch)

    def _give(self, run: ResumableRun, index: int, name: str, doc: dict[str, Any], size: int) -> None:
        if not self._ledger.admits(name, doc):
            self._skip(index)
            return
        self._ledger.enter(index, name, doc)
        if name == "stop":
            if time.monotonic() < self._unsure_until:
                self._flush(run)
                raise _TooEarlyError
            doc = self._ledger.stop(doc)
        run.give(name, doc)
        self._given = max(self._given, index)
        self._bytes += size + _size(doc) if name in _ROWS else 0
        if name == "stop":
            self._finish(run, doc)
        elif not run.holds_rows:
            self._settle()

    def _skip(self, index: int) -> None:
        self._ledger.skip(index)
        self._given = max(self._given, index)

    def _flush(self, run: ResumableRun | None = None) -> None:
        run = run if run is not None else self._run
        assert run is not None
        run.flush()
        self._bytes = 0
        self._settle()

    def _settle(self) -> None:
        """Note that everything which was given is in Tiled."""
        if self._given <= self._settled:
            return
        self._rejections = self._failures = 0
        self.away = False
        with self._changed:
            self._settled = self._given
            self._changed.notify_all()
        with self._lock:
            for index in [i for i, entry in self._kept.items() if i <= self._settled and entry.name in _ROWS]:
                self._held -= self._kept.pop(index).nbytes

    def _drain(self) -> None:
        """Empty the queue: its documents are in the journal, or among those that are kept."""
        while True:
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                return
            if entry is not None:
                self._seen = max(self._seen, entry.index)

    def _hold(self, entry: Entry) -> bool:
        """Keep a document that the journal could not take; False if there is no room for its arrays."""
        with self._lock:
            if entry.nbytes and self._held + entry.nbytes > HELD_BYTES:
                return False
            self._held += entry.nbytes
            self._kept[entry.index] = entry.with_copies()
            return True

    # -- how it ends ---------------------------------------------------------------------------------------------

    def _finish(self, run: ResumableRun, stop: dict[str, Any]) -> None:
        self._settle()
        self.stored = not self._ledger.missing
        try:
            run.close()  # nobody waits for that
        except Exception as error:  # noqa: BLE001 - the run is in Tiled; those who follow it live see its stop document
            logger.debug("the live streams of run %s could not be closed: %r", self.uid, error)
        if self._ledger.missing:
            where = self._move_to("incomplete")
            logger.error("run %s is incomplete in Tiled: %s. Its journal is kept: %s", self.uid, stop["reason"], where)
            self._end("incomplete", str(stop["reason"]))
            return
        try:
            self.journal.remove()
        except OSError as error:
            logger.warning("the journal %s cannot be deleted: %s", self.journal.path, error)
        self._end("written", "")

    def _put_aside(self) -> None:
        logger.error("the journal of run %s holds no run; it is put aside: %s", self.uid, self._move_to("aside"))
        self._end("aside", "its journal holds no start document")

    def _move_to(self, name: str) -> Any:
        try:
            return self.journal.move_to(self.journal.path.parent / name)
        except OSError as error:
            return f"{self.journal.path} (which cannot be moved: {error})"

    def _end(self, state: State, reason: str) -> None:
        self._run = None
        with self._changed:
            self.state, self.reason = state, reason
            self._changed.notify_all()
        self.away = False
        with self._lock:
            self._kept.clear()

    # -- failures ------------------------------------------------------------------------------------------------

    def _attempt(self, work: Callable[[], None]) -> bool:
        _delivering.active, _delivering.unanswered = True, ""
        try:
            work()
            return True
        except _ClosingError:
            return False
        except _TooEarlyError:
            self._run, self.next_try = None, self._unsure_until
            self.reason = "a request that was not answered may still be carried out"
            return False
        except Exception as error:  # noqa: BLE001 - any failure: the documents stay, for another attempt
            failure = error
        finally:
            _delivering.active = False
        self._fail(failure)
        return False

    def _fail(self, error: Exception) -> None:
        self._run = None
        hopeless = self._client is not None and _is_hopeless(error)
        self.away = not hopeless and not self._server_works()
        self.reason = f"{type(error).__name__}: {error}"
        if isinstance(error, (httpx.TransportError, _NoAnswerError)) and not isinstance(error, httpx.ConnectError):
            self._unsure_until = time.monotonic() + SETTLE_S
        if not self.away:
            self._rejections += 1
        if hopeless or self._rejections >= MAX_REJECTIONS:
            self._end("refused", self.reason)
            logger.error(
                "run %s is refused by Tiled; its documents stay in %s, for the next session to try again: %s",
                self.uid,
                self.journal.path,
                self.reason,
                exc_info=error,
            )
            return
        level = logging.WARNING if self._failures == 0 else logging.DEBUG
        logger.log(level, "run %s waits in %s, because Tiled failed: %s", self.uid, self.journal.path, self.reason)
        self.next_try = time.monotonic() + BACK_OFF_S[min(self._failures, len(BACK_OFF_S) - 1)]
        self._failures += 1
        self._client = None

    def _connected(self) -> Any:
        if self._client is None:
            self._client = self._connect()
            _let_failures_through(self._client)
        return self._client

    def _server_works(self) -> bool:
        """Whether the server answers a simple request: then the failure is the run's."""
        if self._client is None:
            return False
        try:
            answer = self._client.context.http_client.get(self._client.uri, timeout=PROBE_S)
            return bool(answer.status_code == 200)
        except Exception:  # noqa: BLE001 - closed, unreachable, late, no answer: all the same
            return False


def _let_failures_through(client: Any) -> None:
    """Make a failed request of a delivery fail at once: one without an answer, or with a status of 500 or more.

    The client repeats such requests for up to 45 s. A delivery has retries of its own, which know what is stored.
    """
    hooks = client.context.http_client.event_hooks
    if _check_answer not in hooks["response"]:
        hooks["request"].append(_check_request)
        hooks["response"].append(_check_answer)


def _check_request(request: httpx.Request) -> None:
    if not getattr(_delivering, "active", False):
        return
    if _delivering.unanswered:
        raise _NoAnswerError(f"{_delivering.unanswered} was not answered")
    _delivering.unanswered = _said(request)


def _check_answer(response: httpx.Response) -> None:
    if not getattr(_delivering, "active", False):
        return
    _delivering.unanswered = ""
    if response.status_code >= 500:
        failed = _NoAnswerError if response.status_code in (502, 504) else _RequestFailedError
        raise failed(f"{_said(response.request)} was answered with {response.status_code}")


def _said(request: httpx.Request) -> str:
    return f"{request.method} {request.url.copy_with(query=None)}"  # the query may hold an API key


def _is_hopeless(error: Exception) -> bool:
    """Whether a retry would fail too, because the server rejected the document or the document is invalid."""
    if isinstance(error, httpx.HTTPStatusError):
        return 400 <= error.response.status_code < 500 and error.response.status_code not in _RETRYABLE
    if isinstance(error, json.JSONDecodeError):
        return False  # of an answer
    return isinstance(error, (ClientError, TypeError, ValueError, jsonschema.ValidationError))


def _size(doc: dict[str, Any]) -> int:
    """About how much memory the readings of an event take, in bytes."""
    return sum(getattr(value, "nbytes", 100) for value in doc.get("data", {}).values())
