"""The simulated beamline as an EPICS IOC on loopback: motor records with true put completion, camera, shutter, ring.

``python -m ebl_autonomy.sim_devices.ioc --prefix EBL: --tier A`` serves it; `ioc_process` does so from Python.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, get_args

from ebl_autonomy.errors import BadInputError, EblError
from ebl_autonomy.sim_devices.layout import Tier

if TYPE_CHECKING:
    from ebl_autonomy.sim_devices.beamline import SimBeamline

__all__ = ["IocHandle", "ca_environment", "free_port", "ioc_process", "serve"]

START_TIMEOUT_S = 60.0


@dataclass
class IocHandle:
    """A running IOC.

    Attributes
    ----------
    prefix : str
    port : int
        Of its channel access server, on loopback.
    env : dict of str to str
        What a client's process must have in its environment before it imports a channel access library.
    """

    prefix: str
    port: int
    env: dict[str, str]
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End the IOC at once, as a power cut would."""
        self.process.kill()
        self.process.wait()


def ca_environment(port: int) -> dict[str, str]:
    """The variables that keep a channel access client (and server) on loopback at `port`."""
    return {
        "EPICS_CA_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": str(port),
        "EPICS_CA_REPEATER_PORT": str(port + 1),
        "EPICS_CA_MAX_ARRAY_BYTES": "1000000",
        "EPICS_CAS_SERVER_PORT": str(port),
        "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
    }


def free_port() -> int:
    """A loopback port that is free for TCP and UDP."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = int(tcp.getsockname()[1])
            with suppress(OSError):
                udp.bind(("127.0.0.1", port))
                return port


def serve(
    beamline: SimBeamline,
    prefix: str = "EBL:",
    speed: float = 1.0,
    ready: Callable[[int], None] | None = None,
) -> None:
    """Serve a beamline by channel access in this process until interrupted.

    The address is taken from the environment: see `ca_environment`.

    Parameters
    ----------
    beamline : SimBeamline
        With infinite speed of its own: here the IOC keeps the time.
    prefix : str
        Of every PV.
    speed : float
        Simulated seconds per wall second that moves and exposures take.
    ready : callable, optional
        Called with the port once the server listens.

    Raises
    ------
    BadInputError
        If the beamline waits by itself, or the speed is not positive.
    """
    if beamline.clock.waits:
        raise BadInputError(f"the beamline has speed={beamline.clock.speed}: make it with infinite speed for an IOC")
    if not speed > 0:
        raise BadInputError(f"speed={speed}: give a positive number")
    from caproto.server import run

    from ebl_autonomy.sim_devices.ioc_records import database

    async def announce(async_lib: Any) -> None:
        if ready is not None:
            ready(int(os.environ.get("EPICS_CA_SERVER_PORT", "5064")))

    run(database(beamline, prefix, speed), interfaces=["127.0.0.1"], startup_hook=announce, log_pv_names=False)


@contextmanager
def ioc_process(
    seed: int = 0, tier: Tier = "A", speed: float = 100.0, prefix: str = "EBL:", set_environment: bool = True
) -> Iterator[IocHandle]:
    """An IOC in a process of its own, on a free loopback port; ended on exit.

    Parameters
    ----------
    seed, tier, speed, prefix
        Of the beamline and the server.
    set_environment : bool
        Put the addresses into this process's environment, for clients made here.

    Raises
    ------
    EblError
        If a channel access library is loaded already (it would not see the addresses), or the IOC does not start.
    """
    if set_environment and _client_is_up():
        raise EblError("a channel access client runs already and would not see the IOC's address: start the IOC first")
    port = free_port()
    env = ca_environment(port)
    command = [sys.executable, "-m", "ebl_autonomy.sim_devices.ioc", "--prefix", prefix, "--seed", str(seed)]
    command += ["--tier", tier, "--speed", str(speed), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **env})
    try:
        _wait_until_ready(process)
        if set_environment:
            os.environ.update(env)
        yield IocHandle(prefix, port, env, process)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; prints one line of JSON with the address once it serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", default="EBL:")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tier", choices=get_args(Tier), default="B")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args(arguments)
    port = options.port or free_port()
    os.environ.update(ca_environment(port))
    # Beacons go to a socket of ours: on loopback nobody else listens for them, and each would be reported as an error.
    beacons = socket.socket(type=socket.SOCK_DGRAM)
    beacons.bind(("127.0.0.1", 0))
    os.environ["EPICS_CAS_BEACON_PORT"] = str(beacons.getsockname()[1])

    def announce(port: int) -> None:
        sys.stdout.write(json.dumps({"prefix": options.prefix, "environment": ca_environment(port)}) + "\n")
        sys.stdout.flush()

    from ebl_autonomy.sim_devices.beamline import SimBeamline  # here: it imports ophyd, which reads the environment

    beamline = SimBeamline(seed=options.seed, tier=cast(Tier, options.tier))
    with suppress(KeyboardInterrupt):
        serve(beamline, options.prefix, options.speed, announce)
    beacons.close()
    return 0


def _client_is_up() -> bool:
    """Whether a channel access client has read its environment; ophyd imports pyepics, which does so at first use."""
    pyepics = sys.modules.get("epics.ca")
    return "aioca" in sys.modules or getattr(pyepics, "libca", None) is not None


def _wait_until_ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    began = time.monotonic()
    line = process.stdout.readline()
    if not line:
        raise EblError(
            f"the IOC ended with {process.wait()} after {time.monotonic() - began:.1f} s: see its output above"
        )


if __name__ == "__main__":
    sys.exit(main())
