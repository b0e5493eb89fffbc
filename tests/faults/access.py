"""I5: no byte without the key, and the key nowhere but in its file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from .truth import RunTruth

__all__ = ["check_access", "check_secrecy"]

CLOSED = (401, 403, 404)
"""Answers that give nothing away."""
ZARR = [f"/zarr/{version}{path}" for version in ("v2", "v3") for path in ("", "/", "/{run}", "/{run}/primary")]
ZARR += [f"/zarr/v2/{{run}}/{name}" for name in (".zgroup", ".zattrs", ".zmetadata")]
ZARR += ["/zarr/v3/{run}/zarr.json", "/zarr/v2/{run}/primary/camera_image/0.0.0"]
"""Routes that the server's own list leaves out."""
STREAMS = ["/api/v1/stream/single/{run}", "/api/v1/stream/single/{run}/primary"]
"""Websockets."""
CLOSE_FRAME = 0x88
OPEN = {"/healthz", "/api/v1/"}
"""A Tiled client asks the second one what the server can do, before it sends its key."""
SHOWN = 4
"""How many open routes a violation names."""
WRONG = "0123456789abcdef" * 4


def check_access(uri: str, api_key: str, client: Any, truths: list[RunTruth]) -> Iterator[str]:
    """Ask every route without a key, with a wrong one, and from a foreign host; none may answer."""
    run = next((truth.uid for truth in truths if truth.uid in client), "no-run")
    key = {"Authorization": f"Apikey {api_key}"}
    with httpx.Client(base_url=uri, timeout=60.0, trust_env=False) as http:
        described = http.get("/openapi.json", headers=key)
        if described.status_code != 200:
            yield f"I5 the routes cannot be listed with the key: {described.status_code}"
            return
        routes = [*_routes(described.json()), *(("GET", path) for path in ZARR)]
        for how, headers in (("without a key", {}), ("with a wrong key", {"Authorization": f"Apikey {WRONG}"})):
            answers = [
                (f"{method} {path}", http.request(method, _filled(path, run), headers=headers))
                for method, path in routes
                if path not in OPEN
            ]
            open_ones = [where for where, answer in answers if answer.status_code not in CLOSED and answer.content]
            open_ones += [path for path in STREAMS if _streams(uri, _filled(path, run), headers)]
            if open_ones:
                shown = ", ".join(open_ones[:SHOWN]) + (", ..." if len(open_ones) > SHOWN else "")
                yield f"I5 {len(open_ones)} routes answer {how}: {shown}"
        if any(run in http.get(path).text for path in OPEN):
            yield "I5 an open route names a run"
        if http.get("/healthz", headers={"Host": "evil.example"}).status_code < 400:
            yield "I5 a foreign Host header is served"
        if run != "no-run" and http.get(f"/api/v1/metadata/{run}", headers=key).status_code != 200:
            yield "I5 the right key does not open a run"


def _streams(uri: str, path: str, headers: dict[str, str]) -> bool:
    """Whether a websocket sends data: a server may open one only to close it with a reason, or to wait for a key."""
    address = urlsplit(uri)
    connection = HTTPConnection(str(address.hostname), address.port, timeout=60)
    opening = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    try:
        connection.request("GET", path, headers={**headers, **opening, "Sec-WebSocket-Key": "ZmF1bHRzLWhhcm5lc3MxMg=="})
        wire = connection.sock
        answer = wire.recv(1 << 12)
        if b" 101 " not in answer.split(b"\r\n")[0]:
            return False
        frame = answer.partition(b"\r\n\r\n")[2]
        wire.settimeout(1.0)
        try:
            frame = frame or wire.recv(1)
        except TimeoutError:
            return False
        return bool(frame) and frame[0] != CLOSE_FRAME
    finally:
        connection.close()


def check_secrecy(folder: Path, api_key: str, said: str) -> Iterator[str]:
    """The key is in no file but its own, and in nothing that a connection says of itself."""
    if api_key in said:
        yield "I5 the key is in what a connection says of itself"
    for path in folder.rglob("*"):
        # The server in the foreground tells the administrator its key: that is its job.
        if path.name == "api_key" or path == folder / "server.log" or not path.is_file():
            continue
        if api_key.encode() in path.read_bytes():
            yield f"I5 the key is in {path.relative_to(folder)}"


def _routes(described: dict[str, Any]) -> list[tuple[str, str]]:
    methods = ("get", "post", "put", "patch", "delete", "head")
    return [
        (method.upper(), path)
        for path, operations in described["paths"].items()
        for method in operations
        if method in methods
    ]


def _filled(path: str, run: str) -> str:
    path = path.replace("{run}", run)
    path = re.sub(r"\{(path|node_path)[^}]*\}", f"{run}/primary", path)
    return re.sub(r"\{[^}]*\}", "1", path)
