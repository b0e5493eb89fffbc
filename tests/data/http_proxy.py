"""Faults on the way to Tiled: a proxy that answers for the server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

__all__ = ["Proxy", "proxy"]

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host"}


class Proxy:
    """An HTTP proxy in front of one server.

    Attributes
    ----------
    uri : str
    answer : callable
        ``answer(method, path, body)`` returns a status to answer with, or None to ask the server. It may sleep.
    """

    def __init__(self, target: str) -> None:
        self.answer: Callable[[str, str, bytes], int | None] = lambda method, path, body: None
        self._target = target
        self._client = httpx.Client(timeout=60.0)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._client.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status = owner.answer(self.command, self.path, body)
                headers: Any = {key: value for key, value in self.headers.items() if key.lower() not in _HOP}
                if status is None:
                    answer = owner._client.request(
                        self.command, owner._target + self.path, content=body, headers=headers
                    )
                    text = answer.content.replace(owner._target.encode(), owner.uri.encode())
                    status, headers = answer.status_code, answer.headers
                else:
                    text, headers = b'{"detail": "a fault of the proxy"}', {"Content-Type": "application/json"}
                self.send_response(status)
                for key, value in headers.items():
                    if key.lower() not in _HOP:
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:  # the client has closed
                    self.close_connection = True

        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"):
            setattr(Handler, f"do_{method}", Handler.forward)
        return Handler


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A proxy in front of a server, closed at the end."""
    made = Proxy(target)
    try:
        yield made
    finally:
        made.close()
