"""The memory of a session does not grow with the number of images that it writes."""

import subprocess
import sys

import pytest

IMAGES = 60
"""Of 8 MB each: 480 MB in all."""


@pytest.mark.integration
@pytest.mark.parametrize("mode", ["live", "backlog"])
def test_memory_is_bounded(mode: str) -> None:
    command = [sys.executable, "-m", "benchmarks.memory", mode, str(IMAGES)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=280)
    _, before, peak, found = map(float, done.stdout.split()[-4:])
    assert found == IMAGES
    assert peak - before < 400  # about 200, however many images there are
