"""Caproto's channel access server, with the order and the latency of answers that EPICS clients rely on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import caproto as ca
from caproto.asyncio.server import Context, VirtualCircuit

__all__ = ["LOOPBACK", "LoopbackServer"]

LOOPBACK: Final = "127.0.0.1"
FLUSH_TIMEOUT_S: Final = 1.0


class OrderedCircuit(VirtualCircuit):
    """A connection on which a put completes after the monitor updates that the put caused.

    Caproto batches monitor updates, so the put completion can overtake them. A client that caches monitored values (as
    ophyd-async does for staged devices) would then read the position from before the move.
    """

    async def send(self, *commands: Any) -> None:
        if any(isinstance(command, ca.WriteNotifyResponse) for command in commands):
            await self.context.flush(self)
        await super().send(*commands)

    async def subscription_queue_loop(self) -> None:
        """Send each monitor update at once, without batching."""
        self.events_on.set()
        while True:
            reference = await self.subscription_queue.get()
            try:
                command = reference()  # None if the client was too slow and the update was dropped
                known = {one.subscriptionid for many in self.subscriptions.values() for one in many}
                if command is not None and command.subscriptionid in known:
                    await self.send(command)
            except ca.DisconnectedCircuit:
                return  # the receiving loop notices it too, and cleans up
            finally:
                self.subscription_queue.task_done()


class LoopbackServer(Context):
    """A server on loopback only.

    Parameters
    ----------
    pvdb : dict
        PVs by name.
    port : int
        Port for TCP and UDP.
    ready : callable, optional
        Called with the port once clients can connect.
    """

    CircuitClass = OrderedCircuit

    def __init__(self, pvdb: dict[str, Any], port: int, ready: Callable[[int], None] | None = None) -> None:
        super().__init__(pvdb, [LOOPBACK])
        self.ca_server_port = port
        self._ready = ready

    async def serve(self) -> None:
        """Run until cancelled."""
        await self.run(startup_hook=self._announce)

    async def flush(self, circuit: OrderedCircuit) -> None:
        """Wait until all pending monitor updates of this client are sent."""

        async def drain() -> None:
            await self.subscription_queue.join()
            await circuit.subscription_queue.join()

        try:
            await asyncio.wait_for(drain(), FLUSH_TIMEOUT_S)
        except TimeoutError:
            self.log.warning("a put completes before its monitor updates, which took more than %s s", FLUSH_TIMEOUT_S)

    async def subscription_queue_loop(self) -> None:
        """Pass each update to the circuits that monitor it, and mark it as done in the queue."""
        while True:
            update = await self.subscription_queue.get()
            try:
                await self._subscription_queue_iteration(*update)
            finally:
                self.subscription_queue.task_done()

    async def broadcast_beacon_loop(self) -> None:
        """Send no beacons: no repeater listens on a private port, and each refused beacon logs a traceback."""

    async def _announce(self, _: Any) -> None:
        if self._ready is not None:
            self._ready(self.port)

    async def _bind_tcp_sockets_with_consistent_port_number(self, make_socket: Any) -> Any:
        # Nagle's algorithm would delay every second answer by 40 ms; accepted sockets inherit this option.
        port, sockets = await super()._bind_tcp_sockets_with_consistent_port_number(make_socket)
        for listening in sockets.values():
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return port, sockets
