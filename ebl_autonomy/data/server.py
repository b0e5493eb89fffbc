"""The embedded Tiled server: a subprocess of the session, on loopback only.

It is a process and not a thread, because a server thread would compete with the RunEngine for the interpreter lock.
Each folder has one server; a second session with the same folder joins it.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import platformdirs

from ebl_autonomy.errors import BadInputError, TiledUnreachableError

__all__ = ["EmbeddedServer", "api_key_of", "default_directory", "is_alive", "make_directory", "run_server"]

START_TIMEOUT_S = 60.0
_INFO, _KEY, _LOCK = "server.json", "api_key", "server.lock"


def default_directory() -> Path:
    """The default data folder: ``$EBL_AUTONOMY_DATA``, or else the user's data folder."""
    named = os.environ.get("EBL_AUTONOMY_DATA")
    return Path(named) if named else Path(platformdirs.user_data_dir("ebl_autonomy"))


def make_directory(directory: Path) -> Path:
    """Create the folder if it does not exist; returns its absolute path.

    Raises
    ------
    BadInputError
        If the folder cannot be created.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(
            f"the data folder {str(directory)!r} cannot be created ({error.strerror}): give another directory, "
            "or set $EBL_AUTONOMY_DATA"
        ) from error
    return directory.resolve()


def api_key_of(directory: Path) -> str:
    """The API key of the folder's server. It is created at first use, readable by the user only.

    Raises
    ------
    BadInputError
        If the folder cannot be created.
    """
    make_directory(directory)
    path = directory / _KEY
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    return path.read_text().strip()


def is_alive(uri: str, timeout_s: float = 2.0) -> bool:
    """Whether a Tiled server answers at `uri`, which may be the address of a node in its tree."""
    # A facility's runs are rarely at the root: https://host/api/v1/metadata/beamline/raw
    try:
        parts = urlsplit(uri)
        root = parts._replace(path=parts.path.split("/api/v1")[0].rstrip("/") + "/healthz", query="", fragment="")
        return httpx.get(root.geturl(), timeout=timeout_s, trust_env=False).status_code == 200
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):  # an invalid address has no server
        return False


class EmbeddedServer:
    """A Tiled server over a folder, as a subprocess that ends with this process.

    Parameters
    ----------
    directory : Path
        Folder of catalogue, tables and arrays; it outlives the session.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.api_key = api_key_of(directory)
        self.uri = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Id of the server process that we started; None if we joined another session's server."""
        return self._process.pid if self._process is not None else None

    def start(self) -> str:
        """Start the server, or join the one that already serves the folder; returns its URI.

        Raises
        ------
        TiledUnreachableError
            If the server does not answer in time; the message gives the path of its log.
        """
        self.close()
        command = [sys.executable, "-m", "ebl_autonomy.data.serve", "--directory", str(self.directory)]
        log = self.directory / "server.log"
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if (uri := self._serving()) is not None:
                self.uri = uri
                return uri
            if self._process is None or self._process.poll() is not None:
                # The child locks the folder. If another server holds the lock, the child exits and we look again.
                with log.open("ab") as file:
                    self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=file)
            time.sleep(0.05)
        self.close()
        raise TiledUnreachableError(
            f"no Tiled server for {self.directory} answered within {START_TIMEOUT_S} s: see {log}"
        )

    def close(self) -> None:
        """Stop the server, if we started it."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()  # the child stops when its stdin is closed
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _serving(self) -> str | None:
        try:
            info = json.loads((self.directory / _INFO).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        uri = str(info["uri"])
        return uri if is_alive(uri) else None


def run_server(
    directory: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    api_key: str | None = None,
    readable: tuple[Path, ...] = (),
    ready: Any = None,
    stop_at_end_of: Any = None,
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
    readable : tuple of Path
        Folders that detectors write into.
    ready : callable, optional
        Called with the URI once the server answers.
    stop_at_end_of : file, optional
        The server stops at the end of this file, e.g. a pipe that closes when the parent process dies.

    Raises
    ------
    BlockingIOError
        If another server serves the folder.
    BadInputError
        If the address cannot be listened on, or the folder cannot be created.
    """
    # Imported here because these imports take seconds and only the server process needs them.
    import asyncio
    import threading

    import uvicorn
    from sqlalchemy.ext.asyncio import create_async_engine
    from tiled.alembic_utils import stamp_head
    from tiled.catalog import from_uri
    from tiled.catalog.alembic_constants import ALEMBIC_DIR, ALEMBIC_INI_TEMPLATE_PATH
    from tiled.catalog.core import initialize_database
    from tiled.config import Authentication, StreamingCacheConfig
    from tiled.server.app import build_app

    directory = make_directory(directory)
    (directory / "data").mkdir(parents=True, exist_ok=True)
    lock = (directory / _LOCK).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    listening = _listen(host, port)  # our own socket: if uvicorn cannot bind, it calls sys.exit
    catalogue = directory / "catalog.db"
    if not catalogue.exists():

        async def initialise() -> None:
            engine = create_async_engine(f"sqlite+aiosqlite:///{catalogue}")
            await initialize_database(engine)
            await engine.dispose()

        asyncio.run(initialise())
        stamp_head(ALEMBIC_INI_TEMPLATE_PATH, ALEMBIC_DIR, f"sqlite+aiosqlite:///{catalogue}")
    tree = from_uri(
        f"sqlite:///{catalogue}",
        writable_storage=[f"{directory}/data", f"sqlite:///{directory}/tables.db"],
        readable_storage=[str(path) for path in readable],
        specs=[{"name": "CatalogOfBlueskyRuns", "version": "3.0"}],
        cache_config=StreamingCacheConfig(uri="memory").model_dump(),
    )
    app = build_app(tree, authentication=Authentication(single_user_api_key=api_key or api_key_of(directory)))
    server = uvicorn.Server(uvicorn.Config(app, host=host, port=port, loop="asyncio", log_level="warning"))

    def announce() -> None:
        while not (server.started and server.servers):
            if server.should_exit:
                return
            time.sleep(0.01)
        address = server.servers[0].sockets[0].getsockname()
        uri = f"http://{host}:{address[1]}"
        while not is_alive(uri):
            time.sleep(0.02)
        draft = directory / f"{_INFO}.new"
        draft.write_text(json.dumps({"uri": uri, "pid": os.getpid()}))
        draft.replace(directory / _INFO)
        if ready is not None:
            ready(uri)

    def watch() -> None:
        stop_at_end_of.read()
        server.should_exit = True

    threading.Thread(target=announce, daemon=True).start()
    if stop_at_end_of is not None:
        threading.Thread(target=watch, daemon=True).start()
    try:
        server.run(sockets=[listening])
    finally:
        (directory / _INFO).unlink(missing_ok=True)
        listening.close()
        lock.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The explicit protocol makes asyncio turn off Nagle's algorithm, which would delay each write by 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()
        return listening
    except (OSError, OverflowError) as error:
        listening.close()
        why = error.strerror if isinstance(error, OSError) else error
        raise BadInputError(
            f"cannot listen on {host}, port {port} ({why}): choose another port, or 0 for a free one"
        ) from error
