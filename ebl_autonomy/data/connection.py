"""`connect`: from a RunEngine to Tiled in one call, embedded or remote."""

from __future__ import annotations

import atexit
import logging
import weakref
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx

from ebl_autonomy.data.server import EmbeddedServer, default_directory, is_alive, make_directory
from ebl_autonomy.errors import BadInputError, TiledUnreachableError

if TYPE_CHECKING:
    from bluesky import RunEngine

__all__ = ["Connection", "connect", "latest_connection"]

logger = logging.getLogger(__name__)
_connected: weakref.WeakSet[Any] = weakref.WeakSet()
"""RunEngines that a connection writes for."""
_open: list[Connection] = []
"""In the order of their opening."""


class Connection:
    """A RunEngine's line to Tiled; made by `connect`.

    Attributes
    ----------
    uri, api_key : str
        Of the server.
    directory : Path
        Where the embedded server keeps its data, and every connection its spool.
    """

    def __init__(self, RE: RunEngine | None, uri: str | None, api_key: str | None, directory: Path) -> None:
        self.directory = directory
        self._server: EmbeddedServer | None = None
        self._RE, self._token = RE, None
        self._client: Any = None
        if uri is None:
            self._server = EmbeddedServer(directory)
            self.uri, self.api_key = self._server.start(), self._server.api_key
        else:
            self.uri, self.api_key = uri.rstrip("/"), api_key or ""
        self._reach()
        self._writer: Any = None
        if RE is not None:
            from ebl_autonomy.data.writer import LiveWriter

            self._writer = LiveWriter(self._reach, lambda: is_alive(self.uri), directory / "spool")
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
        """Runs of which Tiled does not have everything yet; 0 when all is written."""
        return self._writer.pending if self._writer is not None else 0

    @property
    def server_pid(self) -> int | None:
        """Process of the embedded server, if this connection started it."""
        return self._server.pid if self._server is not None else None

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until everything the RunEngine emitted is in Tiled; False if that takes longer."""
        return self._writer.flush(timeout_s) if self._writer is not None else True

    def close(self) -> None:
        """Write what is left, let go of the RunEngine, and stop the embedded server if it is ours."""
        atexit.unregister(self.close)
        if self in _open:
            _open.remove(self)
        if self._RE is not None and self._token is not None:
            self._RE.unsubscribe(self._token)
            _connected.discard(self._RE)
            self._token = None
        if self._writer is not None:
            self._writer.close()
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
        uri = self.uri.partition("?")[0]  # a key may be in what follows
        return f"<{kind} Tiled at {uri}, data in {self.directory}, {self.pending} runs to be written>"

    def _reach(self) -> Any:
        """A client of the server; an embedded server that has died is started again.

        Raises
        ------
        TiledUnreachableError
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
        logger.warning("the embedded Tiled server is gone; it is started again")
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
                f"the Tiled server at {self.uri} refuses us ({error}): check api_key"
            ) from error

    def _close_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.context.http_client.close()


def connect(
    RE: RunEngine | None, uri: str | None = None, api_key: str | None = None, directory: str | Path | None = None
) -> Connection:
    """Write every run of a RunEngine into Tiled while it happens.

    Parameters
    ----------
    RE : RunEngine or None
        None: to read only.
    uri : str, optional
        Of a running server; without it an embedded server is started on loopback, with an API key of its own.
    api_key : str, optional
        For the running server.
    directory : path, optional
        Of the embedded server's data and of the spool; ``$EBL_AUTONOMY_DATA`` or the user's data folder by default.

    Returns
    -------
    Connection

    Raises
    ------
    BadInputError
        If the RunEngine is connected already: each run would be written twice. If the folder cannot be made.
    TiledUnreachableError
        If no server answers, or it refuses the key.
    """
    if api_key is not None and uri is None:
        raise BadInputError("api_key= goes with uri=: the embedded server makes its own")
    if RE is not None and RE in _connected:
        raise BadInputError("this RunEngine is connected to Tiled already: close() that connection first")
    folder = Path(directory) if directory is not None else default_directory()
    return Connection(RE, uri, api_key, make_directory(folder))


def latest_connection() -> Connection | None:
    """The connection of this process that was opened last and is still open."""
    return _open[-1] if _open else None
