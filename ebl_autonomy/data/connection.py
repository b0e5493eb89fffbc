"""`connect`: one call that connects a RunEngine to Tiled, embedded or remote."""

from __future__ import annotations

import atexit
import json
import logging
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import httpx

from ebl_autonomy.data.server import EmbeddedServer, default_directory, is_alive, make_directory
from ebl_autonomy.data.spool import check_spool
from ebl_autonomy.errors import BadInputError, TiledUnreachableError

if TYPE_CHECKING:
    from bluesky import RunEngine

__all__ = ["Connection", "connect", "latest_connection"]

logger = logging.getLogger(__name__)
EMBEDDED = "the embedded server of this folder"
"""What the journals in a folder call the folder's own server, whose port and path may change."""
_connected: weakref.WeakSet[Any] = weakref.WeakSet()
"""RunEngines that have an open connection."""
_open: list[Connection] = []
"""Open connections, oldest first."""


class Connection:
    """The connection of a RunEngine to Tiled; created by `connect`.

    Attributes
    ----------
    uri, api_key : str
        Address and API key of the server.
    directory : Path
        Folder of the embedded server's data and of the spool.
    """

    def __init__(self, RE: RunEngine | None, uri: str | None, api_key: str | None, directory: Path) -> None:
        self.directory = directory
        self._server: EmbeddedServer | None = None
        self._RE, self._token = RE, None
        self._client: Any = None
        self._writer: Any = None
        if RE is not None:
            check_spool(directory / "spool")
        if uri is None:
            self._server = EmbeddedServer(directory)
            self.uri, self.api_key = self._server.start(), self._server.api_key
        else:
            self.uri, self.api_key = uri.rstrip("/"), api_key or ""
        self._reach()
        if RE is not None:
            from ebl_autonomy.data.writer import LiveWriter

            server = EMBEDDED if uri is None else server_identity(self.uri, directory)
            self._writer = LiveWriter(self._reach, lambda: is_alive(self.uri), directory / "spool", server)
            self._token = RE.subscribe(self._writer)
            _connected.add(RE)
        _open.append(self)
        atexit.register(self.close)

    @property
    def client(self) -> Any:
        """A Tiled client of the server's root: ``connection.client[uid]`` is a run."""
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
    def server_pid(self) -> int | None:
        """Process id of the embedded server; None if this connection did not start one."""
        return self._server.pid if self._server is not None else None

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until every emitted document is in Tiled.

        Returns
        -------
        bool
            False if that takes longer than `timeout_s`, or if a document of this session is missing for good.
        """
        return self._writer.flush(timeout_s) if self._writer is not None else True

    def close(self) -> None:
        """Write what is pending, unsubscribe from the RunEngine, and stop the embedded server if we started it."""
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
            self._close_client()
            if self._server is not None:
                self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        kind = "embedded" if self._server is not None else "remote"
        uri = self.uri.partition("?")[0]  # the query may hold an API key
        return f"<{kind} Tiled at {uri}, data in {self.directory}, {self.pending} runs pending>"

    def _reach(self) -> Any:
        """A client of the server; restarts an embedded server that has died.

        Raises
        ------
        TiledUnreachableError
            If no server answers, or it rejects the API key.
        """
        if is_alive(self.uri):
            if self._client is None:
                self._client = self._new_client()
            return self._client
        if self._server is None:
            raise TiledUnreachableError(
                f"no Tiled server answers at {self.uri}: start it, correct the address, or call connect(RE) "
                "without one for an embedded server"
            )
        logger.warning("the embedded Tiled server has died; restarting it")
        self.uri = self._server.start()
        self._close_client()
        self._client = self._new_client()
        return self._client

    def _new_client(self) -> Any:
        from tiled.client import from_context
        from tiled.client.context import Context
        from tiled.client.utils import ClientError

        context, parts = Context.from_any_uri(self.uri, api_key=self.api_key or None)
        try:
            return from_context(context, node_path_parts=parts)
        except (ClientError, httpx.HTTPError, RuntimeError, ValueError) as error:
            context.http_client.close()
            raise TiledUnreachableError(
                f"the Tiled server at {self.uri} rejects this client ({error}): check api_key"
            ) from error

    def _close_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.context.http_client.close()


def connect(
    RE: RunEngine | None, uri: str | None = None, api_key: str | None = None, directory: str | Path | None = None
) -> Connection:
    """Write every run of a RunEngine to Tiled, live.

    Parameters
    ----------
    RE : RunEngine or None
        None for a connection that only reads.
    uri : str, optional
        Address of a running server. By default an embedded server is started on loopback, with its own API key.
    api_key : str, optional
        API key of the running server.
    directory : path, optional
        Folder of the embedded server's data and of the spool. The default is ``$EBL_AUTONOMY_DATA``, or else the user's
        data folder.

    Returns
    -------
    Connection

    Raises
    ------
    BadInputError
        If the RunEngine is already connected (each run would be written twice), `api_key` is given without `uri`, or
        the folder cannot be created, or no journal can be written in it (a full disk, missing permissions).
    TiledUnreachableError
        If no server answers, or it rejects the API key.
    """
    if api_key is not None and uri is None:
        raise BadInputError("api_key= needs uri=: the embedded server creates its own key")
    if RE is not None and RE in _connected:
        raise BadInputError("this RunEngine is connected to Tiled already: close() that connection first")
    folder = Path(directory) if directory is not None else default_directory()
    return Connection(RE, uri, api_key, make_directory(folder))


def server_identity(uri: str, directory: Path) -> str:
    """What a journal calls the server at an address, without keys: `EMBEDDED` if it is the folder's own server."""
    parts = urlsplit(uri)
    host, port = (parts.hostname or "").replace("localhost", "127.0.0.1"), parts.port
    root, _, node = parts.path.partition("/api/v1")
    address = f"{parts.scheme}://{host}:{port or (443 if parts.scheme == 'https' else 80)}{root.rstrip('/')}"
    with suppress(OSError, ValueError, KeyError, TypeError):
        own = urlsplit(json.loads((directory / "server.json").read_text())["uri"])
        if (own.hostname, own.port) == (host, port) and not node.strip("/").removeprefix("metadata"):
            return EMBEDDED
    node = node.strip("/").removeprefix("metadata").strip("/")
    return f"{address}/api/v1/metadata/{node}" if node else address


def latest_connection() -> Connection | None:
    """The most recently opened connection of this process that is still open; None if there is none."""
    return _open[-1] if _open else None
