"""The embedded server's socket: small responses are sent without delay."""

import asyncio
import socket

import pytest

from ebl_autonomy.data.server import _listen
from ebl_autonomy.errors import BadInputError


def test_small_answers_do_not_wait_for_more() -> None:
    """Nagle's algorithm is off on each connection; it would delay each row by 40 ms."""
    off: list[int] = []

    class Served(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted = transport.get_extra_info("socket")
            off.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    async def serve() -> None:
        listening = _listen("127.0.0.1", 0)
        server = await asyncio.get_running_loop().create_server(Served, sock=listening)
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    asyncio.run(serve())
    assert off == [1]


def test_a_port_that_is_taken_is_named() -> None:
    with _listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInputError, match=str(port)):
            _listen("127.0.0.1", port)
