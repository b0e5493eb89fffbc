"""The processes of one seed: sessions, and a server that can be killed and started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from .tape import Entry, TapeReader

__all__ = ["PATIENCE_S", "Process", "Server", "environment"]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 90.0
"""How long a busy machine may take for what is a matter of seconds."""


def environment() -> dict[str, str]:
    """The environment of all processes: one thread each, and a Tiled client that gives up within seconds."""
    threads = ("OMP", "MKL", "OPENBLAS", "NUMBA")
    return {
        **os.environ,
        **{f"{library}_NUM_THREADS": "1" for library in threads},
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "TILED_RETRY_ATTEMPTS": "2",
        "TILED_RETRY_TIMEOUT": "2",
    }


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
        with log.open("wb") as errors:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.session"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment(),
                cwd=ROOT,
                start_new_session=True,
            )
        assert self._popen.stdout is not None
        self.tape = TapeReader(self._popen.stdout, on_entry)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Exit code; None while it runs."""
        return self._popen.poll()

    def order(self, orders: Mapping[str, Any]) -> None:
        """Send the orders."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps(orders).encode() + b"\n")
        self._popen.stdin.flush()

    def go(self) -> None:
        """Let a session go on that waits for it."""
        assert self._popen.stdin is not None
        with suppress(OSError):
            self._popen.stdin.write(b"go\n")
            self._popen.stdin.flush()

    def press_ctrl_c(self) -> None:
        """SIGINT to the process and all its children in the group, as a terminal sends it."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL."""
        self._popen.kill()
        self._end()

    def close(self, timeout_s: float = PATIENCE_S) -> int:
        """End its input, and wait for its end; returns the exit code, or kills it after the time-out."""
        assert self._popen.stdin is not None
        with suppress(OSError):
            self._popen.stdin.close()
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._popen.kill()
        return self._end()

    def _end(self) -> int:
        code = self._popen.wait()
        self.tape.join(10)
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        return code


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
        self.port = _free_port()
        self._lock = threading.Lock()
        self._popen = self._spawn()

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
            self._popen.kill()
            self._popen.wait()
            self._popen = self._spawn()
            self.wait_until_up()

    def close(self) -> None:
        """Stop it."""
        with self._lock:
            self._popen.terminate()
            try:
                self._popen.wait(10)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        arguments = ["serve", "tiled", "--directory", str(self.directory), "--port", str(self.port)]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", "from ebl_autonomy.cli import app; app()", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                cwd=ROOT,
                start_new_session=True,
            )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
