"""Clients of an IOC: scripts in processes of their own, because channel access keeps what it has found."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ebl_autonomy.sim_devices.ioc import IocHandle


def client(ioc: IocHandle, script: str, timeout_s: float = 250.0) -> dict[str, Any]:
    """Run a script in this folder; returns the JSON of its last output line. ``IOC`` is the server's process id."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, **ioc.env, "IOC": str(ioc.process.pid)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer
