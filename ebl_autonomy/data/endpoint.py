"""Where the runs go: a running server, or the embedded one, which is started again if it dies."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from ebl_autonomy.data.address import is_alive
from ebl_autonomy.data.folder import outside
from ebl_autonomy.data.server import EmbeddedServer
from ebl_autonomy.errors import TiledUnreachableError

__all__ = ["Endpoint"]

logger = logging.getLogger(__name__)


class Endpoint:
    """A Tiled server, and clients of it.

    Parameters
    ----------
    uri, api_key : str
        Of a running server; not used if `server` is given.
    server : EmbeddedServer, optional
    """

    def __init__(self, uri: str = "", api_key: str = "", server: EmbeddedServer | None = None) -> None:
        self._uri = uri
        self._server = server
        self._lock = threading.RLock()
        self._closed = False
        self.api_key = server.api_key if server is not None else api_key

    @property
    def uri(self) -> str:
        """Address of the server, without its key."""
        return self._server.uri if self._server is not None else self._uri

    @property
    def is_embedded(self) -> bool:
        """Whether the server is started here when it is needed."""
        return self._server is not None

    @property
    def server_pid(self) -> int | None:
        """Process id of the embedded server, if it was started here."""
        return self._server.pid if self._server is not None else None

    def is_there(self) -> bool:
        """Whether the server answers."""
        return is_alive(self.uri)

    def ensure(self) -> None:
        """Start the embedded server if it does not run.

        Raises
        ------
        TiledUnreachableError
            If no server answers.
        """
        if self._server is None:
            if not self.is_there():
                raise TiledUnreachableError(
                    f"no Tiled server answers at {self.uri}: start it, correct the address, or call connect(RE) "
                    "without one for an embedded server"
                )
            return
        with self._lock:
            if self._closed:  # a thread that has not ended yet must not start the server once more
                raise TiledUnreachableError("this connection to Tiled is closed: call connect() again")
            if not self._server.is_running:
                if self.uri:
                    logger.warning("the embedded Tiled server has died; restarting it")
                self._server.start()

    def new_client(self) -> Any:
        """A client with connections of its own; the caller closes it.

        Raises
        ------
        TiledUnreachableError
            If no server answers, or it rejects the API key.
        """
        from tiled.client import from_context
        from tiled.client.context import Context
        from tiled.client.utils import ClientError

        self.ensure()
        self._check_answer()
        context, parts = Context.from_any_uri(self.uri, api_key=self.api_key or None)
        try:
            return from_context(context, node_path_parts=parts)
        except (ClientError, httpx.HTTPError, RuntimeError, ValueError) as error:
            context.http_client.close()
            raise TiledUnreachableError(
                f"the Tiled server at {self.uri} rejects this client ({error}): check api_key"
            ) from error

    def _check_answer(self) -> None:
        """Ask for what a client reads first. A client whose making fails would leave its connection open.

        Raises
        ------
        TiledUnreachableError
            If the server does not answer, or refuses.
        """
        root = urlsplit(self.uri)
        about = root._replace(path=root.path.split("/api/v1")[0].rstrip("/") + "/api/v1/").geturl()
        headers = {"Authorization": f"Apikey {self.api_key}"} if self.api_key else {}
        try:
            status = httpx.get(about, headers=headers, timeout=10.0, trust_env=False).status_code
        except httpx.HTTPError as error:
            raise TiledUnreachableError(f"the Tiled server at {self.uri} does not answer: {error}") from error
        if status == 401:
            raise TiledUnreachableError(f"the Tiled server at {self.uri} rejects this client: check api_key")
        if status != 200:
            raise TiledUnreachableError(f"the Tiled server at {self.uri} answers {about} with {status}")

    def check_readable(self, uri: str) -> str | None:
        """Why the embedded server cannot read a detector's file, with the remedy; None if it can, or is not embedded.

        Parameters
        ----------
        uri : str
            Of a ``stream_resource`` document: ``file://localhost/path``. A plain path is understood too.
        """
        if self._server is None:
            return None
        parts = urlsplit(uri)
        path = Path(parts.path)
        if parts.scheme not in ("", "file") or not outside(path, self._server.reads):
            return None
        folder = path if parts.path.endswith("/") or path.is_dir() else path.parent
        return (
            f"the file {path} lies outside the folders that the Tiled server may read, so that its data cannot be read "
            f"from Tiled: connect(..., readable=[{str(folder)!r}])"
        )

    def abandon(self) -> None:
        """In a forked child: leave the server to the parent."""
        self._closed = True
        if self._server is not None:
            self._server.abandon()

    def close(self) -> None:
        """Give up the embedded server; it ends if no other session needs it."""
        with self._lock:
            self._closed = True
            if self._server is not None:
                self._server.close()
