"""`connect`: one call that connects a RunEngine to Tiled, embedded or remote."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from ebl_autonomy.data.address import browser_address, split_key
from ebl_autonomy.data.endpoint import Endpoint
from ebl_autonomy.data.folder import DataFolder, default_directory, existing_folders, make_directory
from ebl_autonomy.data.server import EmbeddedServer
from ebl_autonomy.data.spool import check_spool
from ebl_autonomy.errors import BadInputError, EblError

if TYPE_CHECKING:
    from bluesky import RunEngine

__all__ = ["Connection", "connect", "connection_of", "latest_connection"]

logger = logging.getLogger(__name__)
EMBEDDED = "the embedded server of this folder"
"""What the journals in a folder call the folder's own server, whose port and path may change."""
_connected: weakref.WeakSet[Any] = weakref.WeakSet()
"""RunEngines that have an open connection."""
_open: list[Connection] = []
"""Open connections, oldest first."""

LOOK_S = 1.0
"""Interval at which a connection looks whether the embedded server still runs, s."""


class Connection:
    """The connection of a RunEngine to Tiled; created by `connect`.

    Attributes
    ----------
    uri, api_key : str
        Address and API key of the server.
    directory : Path
        Folder of the embedded server's data and of the spool.
    """

    def __init__(self, RE: RunEngine | None, endpoint: Endpoint, directory: Path) -> None:
        self.directory = directory
        self._endpoint = endpoint
        self._RE, self._token = RE, None
        self._writer: Any = None
        # The user and the writer have clients of their own, so that neither closes what the other is using.
        self._client: Any = None
        self._client_uri = ""
        self._writers_client: Any = None
        self._writers_uri = ""
        self._lock = threading.RLock()
        self._closing = threading.Event()
        try:
            self._renew_client()
            if RE is not None:
                from ebl_autonomy.data.writer import LiveWriter

                self._writer = LiveWriter(
                    self._client_for_writer,
                    endpoint.is_there,
                    directory / "spool",
                    EMBEDDED if endpoint.is_embedded else server_identity(self.uri, directory),
                    endpoint.check_readable,
                )
                self._token = RE.subscribe(self._writer)
                _connected.add(RE)
        except BaseException:
            self.close()
            raise
        self._keeper = threading.Thread(target=self._keep_server, name="ebl-tiled-keeper", daemon=True)
        if endpoint.is_embedded:
            self._keeper.start()
        _open.append(self)
        atexit.register(self.close)

    @property
    def uri(self) -> str:
        return self._endpoint.uri

    @property
    def api_key(self) -> str:
        return self._endpoint.api_key

    @property
    def web_address(self) -> str:
        """Address of the page that shows the data in a web browser; it holds the API key."""
        return browser_address(self.uri, self.api_key)

    @property
    def is_embedded(self) -> bool:
        """Whether the server is the one of the folder, and not one at an address that was given."""
        return self._endpoint.is_embedded

    @property
    def is_default(self) -> bool:
        """Whether the command line uses the same server without being told which."""
        return self.is_embedded and self.directory == default_directory().absolute()

    def writes(self, uid: str) -> bool:
        """Whether this connection has a run to write, until it is completely in Tiled."""
        return self._writer is not None and self._writer.has(uid)

    @property
    def client(self) -> Any:
        """A Tiled client of the server's root: ``connection.client[uid]`` is a run.

        It stays usable when the embedded server dies, because the server comes back at the same address. If that
        address has been taken, this property gives a client of the new one.

        Raises
        ------
        BadInputError
            If the connection is closed.
        TiledUnreachableError
            If no server answers.
        """
        if self._closing.is_set():
            raise BadInputError("this connection to Tiled is closed: call connect() again")
        with self._lock:
            if self._endpoint.is_embedded:
                self._endpoint.ensure()
            if self._client_uri != self.uri or self._client.context.http_client.is_closed:
                self._renew_client()
            return self._client

    @property
    def pending(self) -> int:
        """Number of runs that are not completely in Tiled: under way, waiting, refused, or incomplete."""
        return self._writer.pending if self._writer is not None else 0

    @property
    def refused(self) -> Mapping[str, str]:
        """The runs that the server refused, by uid, with the reasons. The next session tries them again."""
        return self._writer.refused if self._writer is not None else {}

    @property
    def incomplete(self) -> Mapping[str, str]:
        """The runs that are in Tiled with documents missing for good, by uid, with what is missing."""
        return self._writer.incomplete if self._writer is not None else {}

    @property
    def server_pid(self) -> int | None:
        """Process id of the embedded server; None if this connection did not start one."""
        return self._endpoint.server_pid

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until every emitted document is in Tiled.

        Returns
        -------
        bool
            False if that takes longer than `timeout_s`, or if a document of this session is missing for good.
        """
        return self._writer.flush(timeout_s) if self._writer is not None else True

    def close(self) -> None:
        """Write what is pending, unsubscribe from the RunEngine, and end the embedded server if we are its last."""
        atexit.unregister(self.close)
        if self in _open:
            _open.remove(self)
        if self._RE is not None and self._token is not None:
            self._RE.unsubscribe(self._token)
            _connected.discard(self._RE)
            self._token = None
        try:
            if self._writer is not None:
                self._writer.close()
        finally:
            self._closing.set()
            for client in (self._client, self._writers_client):
                _close(client)
            self._endpoint.close()

    def abandon(self) -> None:
        """In a forked child: let go of the locks that say that this session lives; all else is the parent's."""
        atexit.unregister(self.close)
        # New ones: a thread that the child does not have may have held the old ones.
        self._lock, self._closing = threading.RLock(), threading.Event()
        self._closing.set()
        if self._writer is not None:
            self._writer.abandon()
        self._endpoint.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        kind = "embedded" if self._endpoint.is_embedded else "remote"
        return f"<{kind} Tiled at {self.uri}, data in {self.directory}, {self.pending} runs pending>"

    def _renew_client(self) -> None:
        client = self._endpoint.new_client()
        _close(self._client)
        self._client, self._client_uri = client, self.uri

    def _client_for_writer(self) -> Any:
        """The client that all runs share; a new one if the server has another address now."""
        self._endpoint.ensure()
        if self._writers_uri != self.uri or self._writers_client.context.http_client.is_closed:
            client = self._endpoint.new_client()
            _close(self._writers_client)
            self._writers_client, self._writers_uri = client, self.uri
        return self._writers_client

    def _keep_server(self) -> None:
        """Start the embedded server again whenever it has died: clients that users hold find it at the same address."""
        while not self._closing.wait(LOOK_S):
            try:
                self._endpoint.ensure()
            except (EblError, OSError):
                if not self._closing.is_set():
                    logger.exception("the embedded Tiled server does not start; trying again")


def _abandon_all() -> None:
    while _open:
        _open.pop().abandon()


os.register_at_fork(after_in_child=_abandon_all)


def _close(client: Any) -> None:
    if client is not None:
        client.context.http_client.close()


def connect(
    RE: RunEngine | None,
    uri: str | None = None,
    api_key: str | None = None,
    directory: str | Path | None = None,
    readable: Sequence[str | Path] = (),
) -> Connection:
    """Write every run of a RunEngine to Tiled, live.

    Parameters
    ----------
    RE : RunEngine or None
        None for a connection that only reads.
    uri : str, optional
        Address of a running server. By default an embedded server is started on loopback, with its own API key, or
        joined if another session of the folder has started it.
    api_key : str, optional
        API key of the running server; it may stand in its address instead (``http://host?api_key=…``).
    directory : path, optional
        Folder of the embedded server's data and of the spool. The default is ``$EBL_AUTONOMY_DATA``, or else the user's
        data folder.
    readable : sequence of path, optional
        Folders that detectors write files into, so that the embedded server can read them.

    Returns
    -------
    Connection

    Raises
    ------
    BadInputError
        If the RunEngine is already connected (each run would be written twice), `api_key` or `readable` do not fit
        `uri`, a folder of `readable` does not exist or cannot be read by the server that is joined, the data folder
        cannot be created, or no journal can be written in it (a full disk, missing permissions).
    TiledUnreachableError
        If no server answers, or it rejects the API key.
    """
    if api_key is not None and uri is None:
        raise BadInputError("api_key= needs uri=: the embedded server creates its own key")
    if readable and uri is not None:
        raise BadInputError(
            "readable= is for the embedded server: for the one at uri=, name the folders in its own configuration"
        )
    if RE is not None and RE in _connected:
        raise BadInputError("this RunEngine is connected to Tiled already: close() that connection first")
    folders = existing_folders(readable)
    folder = (Path(directory) if directory is not None else default_directory()).absolute()
    if RE is not None or uri is None:  # to read from another server needs no folder
        folder = make_directory(folder)
    if RE is not None:
        check_spool(folder / "spool")
    if uri is None:
        return Connection(RE, Endpoint(server=EmbeddedServer(folder, folders)), folder)
    return Connection(RE, Endpoint(*split_key(uri, api_key)), folder)


def server_identity(uri: str, directory: Path) -> str:
    """What a journal calls the server at an address, without keys: `EMBEDDED` if it is the folder's own server."""
    parts = urlsplit(uri)
    host, port = (parts.hostname or "").replace("localhost", "127.0.0.1"), parts.port
    root, _, node = parts.path.partition("/api/v1")
    node = node.strip("/").removeprefix("metadata").strip("/")
    own = urlsplit((DataFolder(directory).server or {}).get("uri", ""))
    if (own.hostname, own.port) == (host, port) and not node:
        return EMBEDDED
    address = f"{parts.scheme}://{host}:{port or (443 if parts.scheme == 'https' else 80)}{root.rstrip('/')}"
    return f"{address}/api/v1/metadata/{node}" if node else address


def connection_of(uid: str) -> Connection | None:
    """The open connection of this process that is writing a run; None if there is none."""
    return next((connection for connection in _open if connection.writes(uid)), None)


def latest_connection() -> Connection | None:
    """The most recently opened connection of this process that is still open; None if there is none."""
    return _open[-1] if _open else None
