"""The embedded Tiled server: a process beside the sessions of a folder, on loopback only.

It is a process and not a thread, because a server thread would compete with the RunEngine for the interpreter lock. It
has a session of its own, so that Ctrl-C in a terminal does not reach it. Each folder has one server; every session of
the folder holds a lease on it, and it ends when no lease is left.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ebl_autonomy.data.address import is_alive
from ebl_autonomy.data.folder import DataFolder, Lease, api_key_of, make_directory, open_private, outside
from ebl_autonomy.errors import BadInputError, TiledUnreachableError
from ebl_autonomy.lazy import uncollected

__all__ = ["EmbeddedServer", "api_key_of", "is_alive", "make_directory", "run_server"]

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
ATTEMPTS = 3
"""Number of server processes that may fail before the start is given up."""
LOOK_S = 0.2
"""Interval at which a server looks whether a session still needs it, s."""

_others: list[subprocess.Popen[bytes]] = []
"""Servers that this process started and that other sessions still need."""


class EmbeddedServer:
    """A session's hold on the Tiled server of a folder.

    Parameters
    ----------
    directory : Path
        Folder of catalogue, tables and arrays; it outlives the session.
    readable : sequence of Path
        Folders that detectors write into, and that the server must be able to read.

    Attributes
    ----------
    uri : str
        Address of the server; empty before the start.
    reads : tuple of Path
        The folders that the server reads, the data folder among them.
    """

    def __init__(self, directory: Path, readable: Sequence[Path] = ()) -> None:
        self.api_key = api_key_of(directory)
        self.directory = directory.resolve()
        self.readable = tuple(readable)
        self.uri = ""
        self.reads: tuple[Path, ...] = ()
        self._folder = DataFolder(self.directory)
        self._lease: Lease | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()

    @property
    def pid(self) -> int | None:
        """Id of the server process that we started; None if we joined another session's server."""
        return self._process.pid if self._process is not None else None

    @property
    def is_running(self) -> bool:
        """Whether the server at `uri` still serves the folder."""
        server = self._folder.server
        return server is not None and server["uri"] == self.uri

    def start(self) -> str:
        """Start the server, or join the one that already serves the folder; returns its URI.

        Raises
        ------
        TiledUnreachableError
            If the server does not answer in time; the message gives the path of its log.
        BadInputError
            If a server serves the folder that cannot read one of the `readable` folders.
        """
        with self._lock:
            if self._lease is None:  # first, so that a server that is about to end sees it
                self._lease = Lease(self.directory, self.readable)
            try:
                return self._start()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Give up our hold. If nobody else needs the server, wait until it has ended."""
        with self._lock:
            lease, self._lease = self._lease, None
            process, self._process = self._process, None
            if lease is None:
                return
            server = self._folder.server
            lease.release()
            _others[:] = [other for other in _others if other.poll() is None]
            if server is not None and not server["leased"]:
                return
            ended = self._wait_for_end()
            if not ended and self._folder.leases():
                _others.extend(filter(None, [process]))
                return
            if not ended:
                logger.warning("the Tiled server of %s did not end within %.0f s", self.directory, STOP_TIMEOUT_S)
            if process is not None:
                if not ended:
                    process.kill()
                process.wait()

    def abandon(self) -> None:
        """In a forked child: leave the server, and the hold on it, to the parent."""
        lease, self._lease, self._process = self._lease, None, None
        if lease is not None:
            lease.abandon()

    def _start(self) -> str:
        log = self.directory / "server.log"
        deadline, failed = time.monotonic() + START_TIMEOUT_S, 0
        while time.monotonic() < deadline and failed < ATTEMPTS:
            if (server := self._folder.server) is not None:
                self.reads = (self.directory, *map(Path, server["readable"]))
                if missing := [str(folder) for folder in self.readable if outside(folder, self.reads)]:
                    raise BadInputError(
                        f"the server at {server['uri']} serves {self.directory} and cannot read {missing}: close the "
                        "sessions that use it and connect again, or give each session of the folder the same readable="
                    )
                if self._process is not None and server["pid"] != self._process.pid:
                    _others.append(self._process)  # ours came too late and ends
                    self._process = None
                self.uri = str(server["uri"])
                return self.uri
            code = self._process.poll() if self._process is not None else 0
            if code is not None:
                failed += code not in (0, 3)  # 3: another session's server had the folder
                self._process = self._spawn(log)
            time.sleep(0.05)
        raise TiledUnreachableError(
            f"no Tiled server for {self.directory} answered within {START_TIMEOUT_S} s: see {log}"
            if failed < ATTEMPTS
            else f"the Tiled server for {self.directory} ended while it started, {ATTEMPTS} times: see {log}"
        )

    def _spawn(self, log: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ebl_autonomy.data.serve", "--directory", str(self.directory)]
        with open_private(log, "ab") as file:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)

    def _wait_for_end(self) -> bool:
        """Wait for the server to end; False if it does not, or if another session needs it."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self._folder.is_served:
            if time.monotonic() > deadline or self._folder.leases():
                return False
            time.sleep(0.02)
        return True


def run_server(
    directory: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    api_key: str | None = None,
    readable: Sequence[Path] = (),
    ready: Callable[[str], None] | None = None,
    leased: bool = False,
) -> None:
    """Serve a folder in this process until interrupted.

    Parameters
    ----------
    directory : Path
        Folder of catalogue, tables and arrays.
    host, port : str, int
        Address to listen on; port 0 selects a free one.
    api_key : str, optional
        The default is the folder's own key.
    readable : sequence of Path
        Folders that detectors write into.
    ready : callable, optional
        Called with the URI once the server answers.
    leased : bool
        Whether to stop when no session holds a lease of the folder. Such a server reads the folders that the leases
        name, and listens on the port of the server before it, if it can.

    Raises
    ------
    BlockingIOError
        If another server serves the folder.
    BadInputError
        If the address cannot be listened on, or the folder cannot be created.
    """
    folder = DataFolder(make_directory(directory))
    with folder.serving() as ours:
        if not ours:
            raise BlockingIOError(f"another server serves {folder.path}")
        for needed in folder.leases() if leased else ():
            readable = [*readable, *needed]
        with _listen_again(host, folder.port) if leased else _listen(host, port) as listening:
            mask = os.umask(0o077)  # whatever the server writes is its user's only
            try:
                _serve(folder, listening, host, api_key or api_key_of(folder.path), readable, ready, leased)
            finally:
                os.umask(mask)


def _serve(
    folder: DataFolder,
    listening: socket.socket,
    host: str,
    api_key: str,
    readable: Sequence[Path],
    ready: Callable[[str], None] | None,
    leased: bool,
) -> None:
    # Imported here because these imports take seconds and only the server process needs them.
    with uncollected():
        import uvicorn

        from ebl_autonomy.data.tiled_app import create_catalogue, make_app

    create_catalogue(folder.path)
    guard, _ = make_app(folder.path, api_key, host, tuple(readable))
    config = uvicorn.Config(guard, loop="asyncio", log_level="warning", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    uri = f"http://{_reached_at(host)}:{listening.getsockname()[1]}"

    def attend() -> None:
        while not (server.started and is_alive(uri)):
            if server.should_exit:
                return
            time.sleep(0.01)
        folder.port = listening.getsockname()[1]
        folder.announce(uri, readable, leased)
        if ready is not None:
            ready(uri)
        while leased and not server.should_exit:
            if not folder.leases():
                folder.withdraw()
                # A session that found the announcement took its lease before it looked, so we see the lease now.
                if not folder.leases():
                    server.should_exit = True
                    return
                folder.announce(uri, readable, leased)
            time.sleep(LOOK_S)

    attending = threading.Thread(target=attend, daemon=True)
    attending.start()
    try:
        server.run(sockets=[listening])
    finally:
        server.should_exit = True
        attending.join()
        folder.withdraw()


def _reached_at(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # every address of this machine; loopback is one
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"[{host}]" if ":" in host else host


def _listen_again(host: str, port: int) -> socket.socket:
    try:
        return _listen(host, port)
    except BadInputError:  # the port has been taken since
        return _listen(host, 0)


def _listen(host: str, port: int) -> socket.socket:
    if not host.strip():
        raise BadInputError(
            f"host={host!r} would listen on every network: give 127.0.0.1 for this machine only, or 0.0.0.0 for all"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The explicit protocol makes asyncio turn off Nagle's algorithm, which would delay each write by 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()
        return listening
    except (OSError, OverflowError, UnicodeError) as error:
        listening.close()
        why = error.strerror if isinstance(error, OSError) else error
        raise BadInputError(
            f"cannot listen on {host}, port {port} ({why}): choose another port, or 0 for a free one"
        ) from error
