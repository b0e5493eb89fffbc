"""Loopback ports for servers that cannot choose one themselves."""

import random
import socket
from contextlib import ExitStack

LOWEST, HIGHEST = 20_000, 32_000
"""Below the ports that the system gives to outgoing connections: one of those could take a port before its server
starts, or between two lives of the server."""


def free_ports(count: int) -> list[int]:
    """Ports that nothing is bound to, all different."""
    ports = list[int]()
    with ExitStack() as held:  # until all are found, so that none is found twice
        while len(ports) < count:
            port = random.SystemRandom().randint(LOWEST, HIGHEST)
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    return ports
