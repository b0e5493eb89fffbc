"""Faults inside the session's process: it dies, or kills its server, at the n-th matching request or document.

The points are named by requests and documents, not by functions of the package, so they survive its refactoring.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from .cases import STAGES
from .tape import Tape

__all__ = ["at_documents", "at_requests", "pid_in", "shorten_timeouts"]


def shorten_timeouts(seconds: float) -> None:
    """Let every request from now on time out after some seconds, so that a late answer does not take half a minute."""
    send = httpx.Client.send

    def send_in_time(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), seconds)
        return send(client, request, **options)

    httpx.Client.send = send_in_time  # type: ignore[method-assign]


def at_requests(hits: list[Mapping[str, Any]], tape: Tape, server_pid: Callable[[], int | None]) -> None:
    """Arm the hits that happen before or after the n-th request that matches their stage."""
    armed = [_Hit(hit, tape, server_pid) for hit in hits if hit["at"] in STAGES]
    if not armed:
        return
    send = httpx.Client.send

    def hit_send(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        line = f"{request.method} {request.url.path}"
        due = [hit for hit in armed if hit.matches(line)]
        for hit in due:
            if hit.when == "before":
                hit.strike(line)
        response = send(client, request, **options)
        for hit in due:
            if hit.when == "after":
                hit.strike(line)
        return response

    httpx.Client.send = hit_send  # type: ignore[method-assign]


def at_documents(hits: list[Mapping[str, Any]], tape: Tape) -> tuple[Callable[..., None], Callable[..., None]]:
    """Callbacks for the RunEngine, before and after the package's own: they strike at the n-th document."""
    armed = [_Hit(hit, tape, lambda: None) for hit in hits if hit["at"] == "document"]

    def before(name: str, doc: Any) -> None:
        for hit in armed:
            if hit.matches("") and hit.when == "before":
                hit.strike(name)
            elif hit.due and hit.when == "soon after":
                # In the midst of whatever the package does with the document.
                threading.Thread(target=lambda hit=hit: (time.sleep(0.0003), hit.strike("soon")), daemon=True).start()

    def after(name: str, doc: Any) -> None:
        for hit in armed:
            if hit.due and hit.when == "after":
                hit.strike(name)

    return before, after


class _Hit:
    def __init__(self, hit: Mapping[str, Any], tape: Tape, server_pid: Callable[[], int | None]) -> None:
        self.when = hit["when"]
        self.due = False
        self._do, self._left = hit["do"], hit["count"]
        self._pattern = re.compile(STAGES.get(hit["at"], ""))
        self._tape, self._server_pid = tape, server_pid
        self._lock = threading.Lock()

    def matches(self, line: str) -> bool:
        """Count a request or document; whether it is the one to strike at."""
        with self._lock:
            if self._pattern.match(line):
                self._left -= 1
            else:
                return False
            self.due = self._left == 0
            return self.due

    def strike(self, where: str) -> None:
        self._tape.put("strike", what=self._do, where=where, when=self.when)
        if self._do == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif (pid := self._server_pid()) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            while _runs(pid):  # SIGKILL takes effect when the kernel gets to it
                time.sleep(0.001)


def pid_in(directory: Path) -> int | None:
    """The process of the folder's embedded server; None without one."""
    try:
        return int(json.loads((directory / "server.json").read_text())["pid"])
    except (OSError, ValueError, KeyError):
        return None


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
