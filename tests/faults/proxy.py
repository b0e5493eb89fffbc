"""An HTTP proxy between session and server that answers errors, delivers late, or drops connections."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from .cases import STAGES

__all__ = ["Proxy", "Rule"]

LATE_S = 4.5
"""Delay of a late request, s; longer than the session's time-out."""


@dataclass
class Rule:
    """One fault: what is done to which requests.

    Attributes
    ----------
    do : str
        ``"drop"`` delivers the request and drops the answer, ``"drop before"`` does not even deliver it, ``"late"``
        delivers it after the client's time-out; ``"kill before"`` and ``"kill after"`` kill the server instead of
        delivering it, or before its answer is passed on. A number is the status that is answered instead.
    pattern : re.Pattern
        Of the method and the path; and, for the uid of a run, of the body.
    first, times : int
        The first matching request that is hit, counted from 1, and how many from there on.
    of_run : bool
        Whether the pattern is the uid of a run: its node is made by posting the uid to the parent.
    """

    do: str
    pattern: re.Pattern[str]
    first: int
    times: int
    of_run: bool = False
    seen: int = 0
    struck: list[str] = field(default_factory=list)

    def hits(self, line: str, body: str) -> bool:
        """Count a request; whether it is hit."""
        if not (self.pattern.search(line) or (self.of_run and self.pattern.search(body))):
            return False
        self.seen += 1
        if not self.first <= self.seen < self.first + self.times:
            return False
        self.struck.append(line)
        return True

    @classmethod
    def of(cls, drawn: Mapping[str, Any], run: str = "") -> Rule:
        """The rule that a case describes; ``at: "run"``: what is about the run with that uid; ``"everything"``: all."""
        of_run = drawn["at"] == "run"
        pattern = re.escape(run) if of_run else "^" + STAGES.get(drawn["at"], "")
        return cls(drawn["do"], re.compile(pattern), drawn["first"], drawn["times"], of_run)


class Proxy:
    """Listens on loopback in a thread of its own and passes requests on to a server.

    Parameters
    ----------
    server_port : int
    kill_server : callable
        Kills the server and returns once it has been started again.
    """

    def __init__(self, server_port: int, kill_server: Callable[[], None]) -> None:
        self.rules: list[Rule] = []
        self.requests: list[str] = []
        """Method and path of every request, in order."""
        self._server_port, self._kill_server = server_port, kill_server
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def uri(self) -> str:
        """The address that the session connects to."""
        return f"http://127.0.0.1:{self.port}"

    def heal(self) -> list[str]:
        """End all faults; returns what they hit."""
        rules, self.rules = self.rules, []
        return [f"{rule.do}: {line}" for rule in rules for line in rule.struck]

    def close(self) -> None:
        """Stop listening and drop all connections."""

        async def end() -> None:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            request = await _read_request(reader)
            if request is not None:
                await self._answer(*request, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # a client or a server that has gone: what a proxy sees of a fault
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, line: str, request: bytes, writer: asyncio.StreamWriter) -> None:
        self.requests.append(line)
        body = request.partition(b"\r\n\r\n")[2][-4096:].decode(errors="replace")
        hit = [rule.do for rule in self.rules if rule.hits(line, body)]
        do = hit[0] if hit else "pass"
        if do.isdigit():
            writer.write(f"HTTP/1.1 {do} Fault\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            return
        if do == "kill before":
            await asyncio.to_thread(self._kill_server)
        if do in ("drop before", "kill before"):
            return
        if do == "late":
            delivery = asyncio.create_task(self._deliver_late(request))
            self._tasks.add(delivery)
            delivery.add_done_callback(self._tasks.discard)
            await asyncio.sleep(LATE_S)
            return
        answer = await self._deliver(request)
        if do == "kill after":
            await asyncio.to_thread(self._kill_server)
        if do == "pass":
            writer.write(answer)
            await writer.drain()

    async def _deliver_late(self, request: bytes) -> None:
        await asyncio.sleep(LATE_S)
        with suppress(OSError):
            await self._deliver(request)

    async def _deliver(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        try:
            writer.write(request)
            await writer.drain()
            return await reader.read()
        finally:
            writer.close()


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, bytes] | None:
    """The method and path of a request, and its bytes with ``Connection: close``; None if the client has gone."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = dict(line.split(":", 1) for line in fields)
    named = {name.lower(): value.strip() for name, value in headers.items()}
    if "content-length" in named:
        body = await reader.readexactly(int(named["content-length"]))
    elif "chunked" in named.get("transfer-encoding", ""):
        body = await _read_chunks(reader)
    else:
        body = b""
    kept = [line for line in fields if line.lower().split(":")[0] != "connection"]
    method, path, _ = first.split(" ", 2)
    return f"{method} {path}", "\r\n".join([first, *kept, "Connection: close", "", ""]).encode("latin-1") + body


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = await reader.readuntil(b"\r\n")
        chunk = await reader.readexactly(int(size.split(b";")[0], 16) + 2)
        body += size + chunk
        if int(size.split(b";")[0], 16) == 0:
            return body
