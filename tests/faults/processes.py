"""The processes of one seed: sessions, and a server that can be killed and started again.

They are forked from a nursery, a process that has imported everything once: importing takes longer than most seeds.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import httpx

from tests.ports import free_ports

from . import session
from .tape import Entry, TapeReader

__all__ = ["PATIENCE_S", "Process", "Server"]

PATIENCE_S = 90.0
"""How long a busy machine may take for what is a matter of seconds."""
ENVIRONMENT = {
    **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMBA")},
    # A Tiled client that gives up within seconds.
    "TILED_RETRY_ATTEMPTS": "2",
    "TILED_RETRY_TIMEOUT": "2",
}

_nursery = multiprocessing.get_context("forkserver")
_nursery.set_forkserver_preload([session.__name__, "ebl_autonomy.data.writer", "tiled.catalog", "tiled.server.app"])
_starting = threading.Lock()


@contextmanager
def _environment() -> Iterator[None]:
    """The environment of all processes; of this one only while the nursery starts."""
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _fork(target: Callable[..., None], *arguments: Any) -> Any:
    with _starting:
        with _environment():
            forkserver.ensure_running()
        process = _nursery.Process(target=target, args=arguments)
        process.start()
    return process


class Process:
    """A session, in a process group of its own, with its tape.

    Parameters
    ----------
    log : Path
        Takes what it prints and logs.
    on_entry : callable, optional
        Called with each entry of its tape.
    """

    def __init__(self, log: Path, on_entry: Callable[[Entry], None] | None = None) -> None:
        self.log = log
        orders, self._orders = _nursery.Pipe(duplex=False)
        taped, tape = _nursery.Pipe(duplex=False)
        self._process = _fork(session.main, orders, tape, str(log))
        orders.close()
        tape.close()
        self._taped = os.fdopen(os.dup(taped.fileno()), "rb")
        taped.close()
        self.tape = TapeReader(self._taped, on_entry)

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def order(self, orders: Mapping[str, Any]) -> None:
        """Send the orders."""
        self._write(json.dumps(orders))

    def go(self) -> None:
        """Let a session go on that waits for it."""
        self._write("go")

    def press_ctrl_c(self) -> None:
        """SIGINT to the process and all its children in the group, as a terminal sends it."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._end()

    def close(self, timeout_s: float = PATIENCE_S) -> int:
        """End its orders, and wait for its end; returns the exit code, or kills it after the time-out."""
        self._orders.close()
        self._process.join(timeout_s)
        self._process.kill()
        return self._end()

    def _write(self, line: str) -> None:
        with suppress(OSError):  # it was killed
            os.write(self._orders.fileno(), line.encode() + b"\n")

    def _end(self) -> int:
        self._process.join()
        self.tape.join(60)
        self._orders.close()
        self._taped.close()
        return int(self._process.exitcode)


class Server:
    """A Tiled server over a folder, as an administrator runs it: always on the same port.

    Parameters
    ----------
    directory : Path
        Folder of its data.
    log : Path
    """

    def __init__(self, directory: Path, log: Path) -> None:
        self.directory, self._log = directory, log
        (self.port,) = free_ports(1)
        self._lock = threading.Lock()
        self._process = self._spawn()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_key(self) -> str:
        """The folder's key; the server makes it at its first start."""
        return (self.directory / "api_key").read_text().strip()

    def wait_until_up(self) -> None:
        """Wait until it answers.

        Raises
        ------
        TimeoutError
            If it does not; the message gives the path of its log.
        """
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.uri}/healthz", timeout=2, trust_env=False).status_code == 200:
                    return
            time.sleep(0.05)
        raise TimeoutError(f"no server answers at {self.uri} within {PATIENCE_S} s: see {self._log}")

    def kill_and_restart(self) -> None:
        """SIGKILL, and a new server on the same port and folder."""
        with self._lock:
            self._process.kill()
            self._process.join()
            self._process = self._spawn()
            self.wait_until_up()

    def close(self) -> None:
        """Stop it."""
        with self._lock:
            self._process.terminate()
            self._process.join(60)
            self._process.kill()
            self._process.join()

    def _spawn(self) -> Any:
        arguments = ["serve", "tiled", "--directory", str(self.directory), "--port", str(self.port)]
        return _fork(_serve, arguments, str(self._log))


def _serve(arguments: list[str], log: str) -> None:
    """In the server's process: what the command line does."""
    from ebl_autonomy.cli import app

    session.detach(log)
    app(arguments)
