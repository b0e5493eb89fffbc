"""A simulated beamline as an EPICS IOC on loopback, for tests with real channel access clients.

``python -m ebl_autonomy.sim_devices.ioc --tier A`` starts the IOC; `ioc_process` starts it from Python.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, cast, get_args

from ebl_autonomy.errors import BadInputError, EblError
from ebl_autonomy.sim_devices.layout import Tier

if TYPE_CHECKING:
    from ebl_autonomy.sim_devices.beamline import SimBeamline
    from ebl_autonomy.sim_devices.microprobe import SimMicroprobe

__all__ = [
    "BEAMLINES",
    "SAMPLES",
    "IocHandle",
    "ca_environment",
    "free_port",
    "ioc_process",
    "serve",
    "serve_beamline",
    "serve_microprobe",
]

LOOPBACK: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 5.0
BEAMLINES: Final = ("mirrors", "microprobe")
"""What the IOC can serve: `SimBeamline` or `SimMicroprobe`."""
SAMPLES: Final = ("cells", "particles", "grains")
"""The procedural samples of the microprobe; see `SimSample`."""


@dataclass(frozen=True)
class IocHandle:
    """A running IOC.

    Attributes
    ----------
    prefix : str
    port : int
        Port of its channel access server on loopback.
    env : mapping of str to str
        Environment variables that a client process needs before it imports a channel access library.
    process : subprocess.Popen
    """

    prefix: str
    port: int
    env: Mapping[str, str]
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """Kill the IOC without clean-up, like a power cut."""
        self.process.kill()
        self.process.wait()


def ca_environment(port: int) -> dict[str, str]:
    """The environment variables with which a client finds the server on this loopback port, and no other server."""
    return {
        "EPICS_CA_ADDR_LIST": LOOPBACK,
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": str(port),
        "EPICS_CA_REPEATER_PORT": str(port + 1),
        "EPICS_CA_MAX_ARRAY_BYTES": "1000000",
    }


def free_port() -> int:
    """A loopback port that is free for TCP and UDP and whose successor (for beacons) is free too."""
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if _is_free(port) and _is_free(port + 1):
            return port


def serve(
    beamline: SimBeamline | SimMicroprobe,
    prefix: str = "EBL:",
    port: int = 0,
    ready: Callable[[int], None] | None = None,
    until_closed: int | None = None,
) -> None:
    """Serve a beamline over channel access on loopback, in this process, until SIGINT or SIGTERM.

    Parameters
    ----------
    beamline : SimBeamline or SimMicroprobe
        Its speed determines how long moves and exposures take; with infinite speed they take no time.
    prefix : str
        Prefix of every PV.
    port : int
        Port for TCP and UDP; 0 selects a free one.
    ready : callable, optional
        Called with the port once clients can connect.
    until_closed : int, optional
        File descriptor of a pipe; the server also stops when the other end of the pipe is closed.

    Raises
    ------
    BadInputError
        If the port is taken.
    EblError
        If caproto is not installed.
    """
    if find_spec("caproto") is None:
        raise EblError("the IOC needs caproto, which is not installed: pip install 'ebl-autonomy[epics]'")
    if port and not _is_free(port):
        raise BadInputError(f"port={port} is in use on {LOOPBACK}: choose another port, or 0 for a free one")
    asyncio.run(_serve(beamline, prefix, port or free_port(), ready, until_closed))


@contextmanager
def ioc_process(
    seed: int = 0,
    tier: Tier = "A",
    speed: float = 100.0,
    prefix: str = "EBL:",
    set_environment: bool = True,
    port: int = 0,
    beamline: str = "mirrors",
    sample: str = "cells",
) -> Iterator[IocHandle]:
    """Run an IOC in a subprocess on loopback; it ends on exit from the context, or with this process.

    Parameters
    ----------
    seed, speed
        Passed to the simulated beamline, and the seed to the sample.
    tier
        Passed to `SimBeamline`.
    prefix : str
        Prefix of every PV.
    set_environment : bool
        Whether to put the server's address into this process's environment, for clients in this process.
    port : int
        Port for TCP and UDP; 0 selects a free one.
    beamline : {"mirrors", "microprobe"}
        What is served: a `SimBeamline` or a `SimMicroprobe`.
    sample : {"cells", "particles", "grains"}
        The microprobe's sample.

    Yields
    ------
    IocHandle

    Raises
    ------
    EblError
        If this process already runs a channel access client with another address, or the IOC does not start.
    """
    port = port or free_port()
    env = ca_environment(port)
    if set_environment and _client_is_up() and any(os.environ.get(key) != value for key, value in env.items()):
        raise EblError(
            "this process already runs a channel access client (importing ophyd or aioca starts one), which would not "
            "see the IOC's address: start the IOC before these imports, or pass set_environment=False and start the "
            "client in a process with the handle's .env"
        )
    options = {"--prefix": prefix, "--seed": seed, "--tier": tier, "--speed": speed, "--port": port}
    options |= {"--beamline": beamline, "--sample": sample}
    command = [sys.executable, "-m", "ebl_autonomy.sim_devices.ioc", "--with-parent"]
    command += [str(part) for pair in options.items() for part in pair]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        _wait_until_ready(process)
        if set_environment:
            os.environ.update(env)
        yield IocHandle(prefix, port, env, process)
        if set_environment:
            _close_clients()
    finally:
        _end(process)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see `serve_beamline` and `serve_microprobe`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", default="EBL:")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tier", choices=get_args(Tier), default="B")
    parser.add_argument("--speed", type=float, default=1.0, help="Simulated seconds per wall second.")
    parser.add_argument("--port", type=int, default=0, help="Port for TCP and UDP; 0 selects a free one.")
    parser.add_argument("--beamline", choices=BEAMLINES, default="mirrors")
    parser.add_argument("--sample", choices=SAMPLES, default="cells", help="Sample of the microprobe.")
    parser.add_argument("--with-parent", action="store_true", help="Stop when standard input is closed.")
    options = parser.parse_args(arguments)
    until_closed = sys.stdin.fileno() if options.with_parent else None
    where = (options.speed, options.prefix, options.port, until_closed)
    if options.beamline == "microprobe":
        serve_microprobe(options.seed, options.sample, *where)
    else:
        serve_beamline(options.seed, options.tier, *where)
    return 0


def serve_beamline(
    seed: int, tier: str, speed: float, prefix: str, port: int = 0, until_closed: int | None = None
) -> None:
    """Create a beamline and `serve` it; once clients can connect, print the environment variables that they need."""
    from ebl_autonomy.sim_devices.beamline import SimBeamline  # here: it is slow to import

    beamline = SimBeamline(seed=seed, tier=cast(Tier, tier), speed=speed)
    serve(beamline, prefix, port, partial(_announce, prefix), until_closed)


def serve_microprobe(
    seed: int, sample: str, speed: float, prefix: str, port: int = 0, until_closed: int | None = None
) -> None:
    """Create a microprobe with a procedural sample of the same seed and `serve` it, as `serve_beamline` does.

    Raises
    ------
    BadInputError
        If there is no such sample.
    """
    if sample not in SAMPLES:
        raise BadInputError(f"sample={sample!r}: use one of {list(SAMPLES)}")
    from ebl_autonomy.sim_devices.microprobe import SimMicroprobe  # here: it is slow to import
    from ebl_autonomy.sim_devices.sample import SimSample

    probe = SimMicroprobe(getattr(SimSample, sample)(seed), seed=seed, speed=speed)
    serve(probe, prefix, port, partial(_announce, prefix), until_closed)


def _announce(prefix: str, port: int) -> None:
    settings = " ".join(f"{key}={value}" for key, value in ca_environment(port).items())
    sys.stdout.write(f"{prefix} is served; in the client's shell: export {settings}\n")
    sys.stdout.flush()


async def _serve(
    beamline: SimBeamline | SimMicroprobe,
    prefix: str,
    port: int,
    ready: Callable[[int], None] | None,
    until_closed: int | None,
) -> None:
    _configure_caproto(port)
    from ebl_autonomy.sim_devices.ioc_records import Database
    from ebl_autonomy.sim_devices.ioc_server import LoopbackServer

    database = Database(beamline, prefix)
    await database.prepare()
    server = LoopbackServer(database.pvdb, port, ready)
    loop = asyncio.get_running_loop()
    serving = loop.create_task(server.serve())
    refreshing = loop.create_task(database.run())
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(ValueError, RuntimeError):  # not in the main thread: the caller must stop the server
            loop.add_signal_handler(number, serving.cancel)
    if until_closed is not None:
        loop.add_reader(until_closed, serving.cancel)
    try:
        await serving
    finally:
        refreshing.cancel()


def _configure_caproto(port: int) -> None:
    """Set the environment variables from which caproto takes its addresses and warning thresholds at import."""
    os.environ.update(
        {
            **ca_environment(port),
            "EPICS_CAS_INTF_ADDR_LIST": LOOPBACK,
            "EPICS_CAS_BEACON_ADDR_LIST": LOOPBACK,
            "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
            "CAPROTO_SUBSCRIPTION_BACKLOG_WARN_THRESHOLD_ELEMENTS": "0",
        }
    )


def _is_free(port: int) -> bool:
    try:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((LOOPBACK, port))
            udp.bind((LOOPBACK, port))
    except (OSError, OverflowError):
        return False
    return True


def _client_is_up() -> bool:
    """Whether a channel access client has read its environment; pyepics, which ophyd imports, reads it at once."""
    pyepics = sys.modules.get("epics.ca")
    return "aioca" in sys.modules or getattr(pyepics, "libca", None) is not None


def _close_clients() -> None:
    """Close the clients of this process before the IOC, so that libca does not report a lost circuit."""
    clients = sys.modules.get("ebl_autonomy.sim_devices.epics_common")
    if clients is not None:
        clients.close_all()


def _wait_until_ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    began = time.monotonic()
    answered, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
    if not answered:
        raise EblError(f"the IOC did not start within {START_TIMEOUT_S} s: check the load of the machine")
    if not process.stdout.readline():
        waited = time.monotonic() - began
        raise EblError(f"the IOC ended with code {process.wait()} after {waited:.1f} s: see its output above")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


if __name__ == "__main__":
    sys.exit(main())
