"""The session's process: connects, runs the plans of a case, and puts on its tape what happened.

Its orders come as one JSON line on standard input; later lines let it go on where it waits for the parent. The end of
standard input ends the session.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import resource
import sys
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bluesky import RunEngine
from bluesky.utils import FailedStatus, RequestAbort, RunEngineInterrupted

from ebl_autonomy import connect
from ebl_autonomy.errors import EblError

from .hand import Hands
from .hits import at_documents, at_requests, pid_in, shorten_timeouts
from .scenarios import Bench
from .tape import Tape

SHORT_TIMEOUT_S = 3.0
"""Time-out of the session's Tiled client where requests are late, s."""
END_WAIT_S = 20.0
"""How long a session waits for its runs before it says what is pending, s."""
READABLE = ("ctrl_c", "kill_server", "two_sessions", "hand", "odd")
"""Themes in which the server can be read at the end."""
RECOVERY_S = 25.0
"""How long a recovery may take before it must have given its answer, s."""


def main(orders: Connection, tape: Connection, log: str) -> None:
    """Follow the orders of the parent.

    Parameters
    ----------
    orders, tape : Connection
        One end of a pipe each, used as plain file descriptors.
    log : str
        File that takes what this process prints and logs.
    """
    detach(log)
    os.dup2(orders.fileno(), 0)
    orders.close()
    sys.stdin = os.fdopen(0)
    faulthandler.enable()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if line := sys.stdin.readline():
        given = json.loads(line)
        (_recover if given["role"] == "recovery" else _run)(given, Tape(tape.fileno()))


def detach(log: str) -> None:
    """Give this process a group of its own, and let it print into a file."""
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)


def _run(orders: Mapping[str, Any], tape: Tape) -> None:
    case = orders["case"]
    hits = case["hits"] if orders["index"] == 0 else []
    directory = Path(orders["directory"])
    bench = Bench(tape, case, Path(orders["files"]))
    RE = RunEngine({}, call_returns_result=True)
    before, after = at_documents(hits, tape)
    stops = (
        _Stops(case["more"], tape, None if orders["small_disk"] else directory / "spool")
        if orders["index"] == 0
        else None
    )
    RE.subscribe(lambda name, doc: tape.put("offered", name=name, doc=doc))
    RE.subscribe(before)
    if stops is not None:
        RE.subscribe(stops)
    connection = connect(RE, orders["uri"], orders["api_key"], directory)
    RE.subscribe(after)
    RE.subscribe(lambda name, doc: tape.put("taken", name=name))
    if any(rule["do"] == "late" for rule in case["proxy"]):
        shorten_timeouts(SHORT_TIMEOUT_S)
    at_requests(hits, tape, lambda: connection.server_pid or pid_in(directory))
    hands = Hands(RE, bench, case["hands"], tape)
    tape.put("connected", uri=connection.uri, api_key=connection.api_key, says=repr(connection))
    held = connection.client
    sys.stdin.readline()  # the parent has armed its faults
    for number, drawn in enumerate(orders["plans"]):
        if number == orders["hold_before"]:
            tape.put("holding")
            sys.stdin.readline()
        tape.put("plan", plan=drawn)
        try:
            _through(RE, bench.plan(drawn), hands, tape)
        except (EblError, FailedStatus, RequestAbort, ValueError, TypeError, RuntimeError) as error:
            tape.put("refused", plan=drawn["plan"], error=f"{type(error).__name__}: {error}")
    tape.put("measured")
    patience = 5.0 if case["theme"] in ("full_disk", "poisoned") else END_WAIT_S
    flushed = connection.flush(patience)
    dead = _unreadable({"held": held, "asked for": connection.client}) if case["theme"] in READABLE else []
    tape.put("flushed", flushed=flushed, pending=connection.pending, says=repr(connection), dead=dead)
    sys.stdin.read()
    connection.close()
    tape.put("closed", pending=connection.pending)


class _Stops:
    """A callback that waits for the parent at those events at which it has something to do.

    Where the parent could not mount a small disk, the limit on the size of files stands in for the full one: it is the
    process's own, so it is set here.
    """

    def __init__(self, more: Mapping[str, Any], tape: Tape, limited: Path | None) -> None:
        self._at = {more.get("full_at"), more.get("free_at"), *more.get("sigint_at", ())}
        self._full_at, self._free_at = more.get("full_at"), more.get("free_at")
        self._tape, self._limited, self._count = tape, limited, 0

    def __call__(self, name: str, doc: Any) -> None:
        if name != "event":
            return
        self._count += 1
        if self._count in self._at:
            self._tape.put("stop", event=self._count)
            sys.stdin.readline()
        if self._limited is not None and self._count in (self._full_at, self._free_at):
            largest = max((path.stat().st_size for path in self._limited.iterdir()), default=1)
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest if self._count == self._full_at else hard, hard))


def _through(RE: RunEngine, plan: Any, hands: Hands, tape: Tape) -> None:
    """Run a plan, and resume it after every pause, as a user does."""
    try:
        RE(plan)
    except RunEngineInterrupted:
        while RE.state == "paused":
            tape.put("paused")
            hands.act_in_pause()
            try:
                RE.resume()
            except RunEngineInterrupted:
                continue


def _unreadable(clients: Mapping[str, Any]) -> list[str]:
    """Which of a user's clients cannot read, though the server may need some seconds to be there again."""
    dead: dict[str, str] = {}
    deadline = time.monotonic() + END_WAIT_S
    for name, client in clients.items():
        while True:
            try:
                list(client)
                dead.pop(name, None)
                break
            except Exception as error:  # noqa: BLE001 - whatever a client raises is the finding
                dead[name] = f"{name}: {type(error).__name__}: {error}"[:200]
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
    return list(dead.values())


def _recover(orders: Mapping[str, Any], tape: Tape) -> None:
    """Connect in good health, and say what is in Tiled and what is not."""
    RE = RunEngine({})
    connection = connect(RE, orders["uri"], orders["api_key"], Path(orders["directory"]))
    tape.put("connected", uri=connection.uri, api_key=connection.api_key, says=repr(connection))
    deadline = time.monotonic() + RECOVERY_S
    while connection.pending > len(_refused(connection)) + len(connection.incomplete) and time.monotonic() < deadline:
        time.sleep(0.05)
    settled = time.monotonic() < deadline
    flushed = connection.flush(2.0)
    tape.put(
        "recovered",
        settled=settled,
        flushed=flushed,
        pending=connection.pending,
        refused=_refused(connection),
        says=repr(connection),
    )
    sys.stdin.read()
    connection.close()
    tape.put("closed", pending=connection.pending)


def _refused(connection: Any) -> dict[str, str]:
    return {str(uid): str(reason) for uid, reason in getattr(connection, "refused", {}).items()}
