"""The Tiled application of the embedded server, with what Tiled itself leaves open.

Tiled 0.2.20 answers its zarr routes without a key, keeps each image of the last hour in memory, stores an append twice
that is delivered twice, reads files outside its folders if their path leads out with "..", and answers 500 for a file
that it may not or cannot read.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import secrets
import socket
import threading
import time
from collections import OrderedDict
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import adbc_driver_manager
import anyio
import orjson
from fastapi.exception_handlers import http_exception_handler
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from tiled.adapters.sql import SQLAdapter, is_unique_violation
from tiled.alembic_utils import stamp_head
from tiled.catalog import from_uri
from tiled.catalog.adapter import CatalogNodeAdapter
from tiled.catalog.alembic_constants import ALEMBIC_DIR, ALEMBIC_INI_TEMPLATE_PATH
from tiled.catalog.core import initialize_database
from tiled.config import Authentication
from tiled.mimetypes import TILED_SQL_TABLE_MIMETYPE
from tiled.server.app import build_app
from tiled.server.streaming import TTLCacheDatastore, register_datastore
from tiled.server.utils import API_KEY_COOKIE_NAME
from tiled.utils import Conflicts

__all__ = ["Guard", "create_catalogue", "make_app"]

logger = logging.getLogger(__name__)

STREAMED_BYTES = 64 * 2**20
"""Size of the arrays that are kept for subscribers of the live stream, bytes."""
STREAMED_S = 60.0
"""Age at which an array is no longer kept for subscribers, s."""


def create_catalogue(directory: Path) -> None:
    """Create the catalogue of a folder, if there is none yet."""
    (directory / "data").mkdir(mode=0o700, exist_ok=True)
    catalogue, draft = directory / "catalog.db", directory / "catalog.new.db"
    if catalogue.exists():
        return
    draft.unlink(missing_ok=True)  # of a server that was killed here
    uri = f"sqlite+aiosqlite:///{draft}"

    async def initialise() -> None:
        engine = create_async_engine(uri)
        await initialize_database(engine)
        await engine.dispose()

    asyncio.run(initialise())
    stamp_head(ALEMBIC_INI_TEMPLATE_PATH, ALEMBIC_DIR, uri)
    draft.rename(catalogue)


def make_app(directory: Path, api_key: str, host: str, readable: tuple[Path, ...]) -> tuple[Guard, Any]:
    """The application that serves a folder whose catalogue exists.

    Parameters
    ----------
    directory : Path
    api_key : str
    host : str
        The name or address that the server listens on.
    readable : tuple of Path
        Folders that detectors write into.

    Returns
    -------
    guard, app : Guard, FastAPI
        `guard` is what a server runs: it lets requests with the key through to `app`.
    """
    tree = from_uri(
        f"sqlite:///{directory}/catalog.db",
        writable_storage=[f"{directory}/data", f"sqlite:///{directory}/tables.db"],
        readable_storage=[str(path) for path in (directory, *readable)],
        adapters_by_mimetype={TILED_SQL_TABLE_MIMETYPE: UniqueRows},
        specs=[{"name": "CatalogOfBlueskyRuns", "version": "3.0"}],
        cache_config={"datastore": _BoundedDatastore.NAME, "data_ttl": 3600, "seq_ttl": 30 * 86400},
    )
    app = build_app(tree, authentication=Authentication(single_user_api_key=api_key))
    for kind in (RuntimeError, ValueError, FileNotFoundError):
        app.add_exception_handler(kind, _explain_file)
    return Guard(app, api_key, host), app


class Guard:
    """ASGI middleware in front of everything: no request without the key gets past it, and none for a foreign host.

    Without a key it answers ``/healthz``, and ``/api/v1/``, which every Tiled client reads before it sends its key:
    that page holds versions and formats, no data. A foreign name in the Host header means that a web page in this
    user's browser has pointed its own name at this machine (DNS rebinding).

    Parameters
    ----------
    app : ASGI application
    api_key : str
    host : str
        A name that the server is reached by, beside IP addresses, localhost and the names of this machine.
    """

    def __init__(self, app: Any, api_key: str, host: str) -> None:
        self._app = app
        self._key = api_key.encode()
        self._hosts = {host.lower(), "localhost"}
        self._asked_system = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        if not await self._is_ours(connection.headers.get("host", "")):
            text = (
                "this server does not know the host name of the request: use its IP address, or serve with --host NAME"
            )
            await _refuse(scope, receive, send, 400, text)
        elif _is_open_to_all(scope) or self._has_key(connection):
            await self._app(self._with_header(scope, connection), receive, send)
        else:
            text = "this server needs its API key: the header 'Authorization: Apikey KEY', or ?api_key=KEY"
            await _refuse(scope, receive, send, 401, text)

    def _has_key(self, connection: HTTPConnection) -> bool:
        given = _given_key(connection)
        return given is not None and secrets.compare_digest(given.encode(), self._key)

    def _with_header(self, scope: Any, connection: HTTPConnection) -> Any:
        if scope["type"] != "websocket" or "authorization" in connection.headers:
            return scope
        # Tiled looks for the key of a websocket in this header only, which a browser cannot set.
        return {**scope, "headers": [*scope["headers"], (b"authorization", b"Apikey " + self._key)]}

    async def _is_ours(self, header: str) -> bool:
        match = re.fullmatch(r"(?:\[(?P<v6>[^\]]*)\]|(?P<name>[^:\[\]]+))(?::\d*)?", header.strip())
        if match is None:
            return False
        name = (match["v6"] or match["name"] or "").rstrip(".").lower()
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            pass
        if name not in self._hosts and not self._asked_system:
            # Only now, because a machine with a badly configured name service takes seconds to say its name.
            self._hosts |= await anyio.to_thread.run_sync(_names_of_this_machine)
            self._asked_system = True
        return name in self._hosts


def _is_open_to_all(scope: Any) -> bool:
    return scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and scope["path"] in ("/healthz", "/api/v1/")


def _given_key(connection: HTTPConnection) -> str | None:
    """The key of a request. Of several, the one that Tiled would take."""
    if (key := connection.query_params.get("api_key")) is not None:
        return key
    if (header := connection.headers.get("authorization")) is not None:
        scheme, _, key = header.strip().partition(" ")
        return key.strip() if scheme.lower() == "apikey" else None
    return connection.cookies.get(API_KEY_COOKIE_NAME)


async def _refuse(scope: Any, receive: Any, send: Any, status: int, text: str) -> None:
    response = JSONResponse({"detail": text}, status_code=status)
    if scope["type"] == "http":
        await response(scope, receive, send)
        return
    if "websocket.http.response" in scope.get("extensions", {}):
        kinds = {
            "http.response.start": "websocket.http.response.start",
            "http.response.body": "websocket.http.response.body",
        }

        async def send_denial(message: Any) -> None:
            await send({**message, "type": kinds[message["type"]]})

        await receive()  # websocket.connect
        await response({**scope, "type": "http"}, receive, send_denial)
    else:
        await receive()
        await send({"type": "websocket.close", "code": 4003})


def _names_of_this_machine() -> set[str]:
    return {name.lower() for name in (socket.gethostname(), socket.getfqdn()) if name}


async def _explain_file(request: Request, error: Exception) -> Response:
    """Say what is wrong with a detector's file, for which Tiled answers 500; its client would ask again for 45 s."""
    if str(error).startswith("Refusing to serve"):
        status = 403
        detail = "the file lies outside the folders that this server may read: connect(..., readable=[folder])"
    elif str(error).startswith("Supported schemes are"):
        status = 415
        detail = "the file's address is not one of a file on this machine (file://localhost/path): open it elsewhere"
    elif isinstance(error, FileNotFoundError) and request.method in ("GET", "HEAD"):
        status = 404
        detail = f"the file is not there (any more); put it back: {error}"
    else:
        raise error
    return await http_exception_handler(request, HTTPException(status, detail))


def _judge_where_paths_lead() -> None:
    """Make Tiled refuse files that a path with ".." leads to; it compares the names as they are written."""
    within = CatalogNodeAdapter._ensure_uri_within_readable_storage

    def check(node: CatalogNodeAdapter, data_uri: str) -> None:
        within(node, data_uri)
        parts = urlsplit(data_uri)
        if parts.scheme == "file" and ".." in Path(parts.path).parts:
            within(node, f"file://localhost{Path(parts.path).resolve()}")

    CatalogNodeAdapter._ensure_uri_within_readable_storage = check


_judge_where_paths_lead()


@register_datastore("ebl-autonomy bounded memory")
class _BoundedDatastore(TTLCacheDatastore):
    """The live stream's memory, bounded in bytes: an array that is dropped is replaced by a reference to its node.

    Upstream it is bounded in messages and hours only, so that an hour of images is kept. A subscriber that comes late
    to a dropped array still gets its message, and reads the array from the node.
    """

    NAME = "ebl-autonomy bounded memory"

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self._arrays: OrderedDict[str, tuple[float, int]] = OrderedDict()  # key: when it was set, and its bytes
        self._held = 0

    async def set(self, node_id: Any, sequence: int, metadata: dict[str, Any], payload: bytes | None = None) -> None:
        now = time.monotonic()
        if payload and metadata.get("type") == "array-data":
            self._arrays[f"data:{node_id}:{sequence}"] = now, len(payload)
            self._held += len(payload)
        await super().set(node_id, sequence, metadata, payload)
        # The newest one stays, whatever its size: it may not be in its node yet.
        while len(self._arrays) > 1:
            key, (when, size) = next(iter(self._arrays.items()))
            if self._held <= STREAMED_BYTES and now - when <= STREAMED_S:
                break
            del self._arrays[key]
            self._held -= size
            await self._drop_payload(key)

    def make_ws_handler(self, websocket: Any, formatter: Any, uri: str, node_id: Any, schema: dict[str, Any]) -> Any:
        async def send(socket: Any, message: dict[str, Any], payload: bytes | None) -> None:
            if message.get("type") == "array-ref" and "data_source" not in message:
                message["data_source"] = _data_source(message["shape"], schema["data_type"])
            await formatter(socket, message, payload)

        return super().make_ws_handler(websocket, send, uri, node_id, schema)

    async def _drop_payload(self, key: str) -> None:
        async with self._lock:
            mapping = self._data_cache.get(key)
            if mapping is None:
                return
            reference = _reference(orjson.loads(mapping["metadata"]))
            if reference is None:
                del self._data_cache[key]
            else:
                self._data_cache[key] = {"sequence": mapping["sequence"], "metadata": orjson.dumps(reference)}


def _reference(metadata: dict[str, Any]) -> dict[str, Any] | None:
    """The message that refers to an array, for the one that holds it; None for a chunk, whose place is unknown."""
    if metadata["block"] is not None:
        return None
    shape, offset = metadata["shape"], metadata["offset"]
    return {
        "type": "array-ref",
        "sequence": metadata["sequence"],
        "timestamp": metadata["timestamp"],
        "shape": shape,
        "patch": None if offset is None else {"offset": offset, "shape": shape},
    }


def _data_source(shape: list[int], data_type: Any) -> dict[str, Any]:
    """What the client's model of a reference requires. The client itself reads the node, at the address it is given."""
    structure = {"data_type": data_type, "shape": shape, "chunks": [[length] for length in shape]}
    return {
        "structure_family": "array",
        "structure": structure,
        "id": None,
        "mimetype": "application/x-zarr",
        "parameters": {},
        "assets": [],
        "management": "writable",
    }


class UniqueRows(SQLAdapter):
    """Event tables in which no row is stored twice: a unique index covers sequence number and time.

    An append may be delivered after its sender has given it up and sent it again. The time is in the index because an
    event that is measured again, after a pause, has the number of the one that it replaces.
    """

    _indexed: set[tuple[str, str]] = set()
    _lock = threading.Lock()

    def append_partition(self, partition: int, data: Any) -> None:
        """Append rows, all or none of them.

        Raises
        ------
        Conflicts
            If a row is stored already; the server answers 409.
        """
        self._ensure_index()
        try:
            super().append_partition(partition, data)
        except adbc_driver_manager.Error as error:
            if not _says_twice(error):
                raise
            raise Conflicts(
                "a row of this append is stored already: read the table, and append what it lacks"
            ) from error

    def _ensure_index(self) -> None:
        table = (self.storage.uri, self.table_name)
        columns = _identity(self.structure().columns)
        with self._lock:
            if table in self._indexed or columns is None:
                return
            self._create_index(columns)
            self._indexed.add(table)

    def _create_index(self, columns: tuple[str, str]) -> None:
        named = ", ".join(f'"{name}"' for name in ("_dataset_id", *columns))
        # The name holds the table's: in SQLite, names of indices are unique in the database.
        create = f'CREATE UNIQUE INDEX IF NOT EXISTS "unique_rows_{self.table_name}" ON "{self.table_name}" ({named})'
        try:
            self._execute(create)
        except adbc_driver_manager.Error as error:
            if not _says_twice(error):
                raise
            # Earlier versions have stored rows twice. The runs that came after those are protected.
            twice = f'SELECT _dataset_id FROM "{self.table_name}" GROUP BY {named} HAVING count(*) > 1'
            last = self._execute(f"SELECT max(_dataset_id) FROM ({twice})")
            logger.warning("rows are stored twice in %s, by an earlier version: not mended", self.table_name)
            self._execute(f"{create} WHERE _dataset_id > {int(last)}")

    def _execute(self, statement: str) -> Any:
        with closing(self.storage.connect()) as connection:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                row = cursor.fetchone() if statement.startswith("SELECT") else (None,)
            connection.commit()
        return row[0]


def _says_twice(error: adbc_driver_manager.Error) -> bool:
    # The driver of SQLite reports the violation of a constraint as an internal error.
    return is_unique_violation(error) or "UNIQUE constraint failed" in str(error)


def _identity(columns: list[str]) -> tuple[str, str] | None:
    """The columns that tell a row from every other: the sequence number and the time of its event."""
    for name in columns:
        match = re.fullmatch(r"(part_\d+_)?seq_num", name)
        if match and (time_column := f"{match[1] or ''}time") in columns:
            return name, time_column
    return None
