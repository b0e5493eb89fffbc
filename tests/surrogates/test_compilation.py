"""The first model of a machine says that it is compiled; later ones say nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SESSION = """
from ebl_autonomy.agents import BayesianAgent

agent = BayesianAgent({"variables": {"x": [0.0, 1.0]}, "objectives": {"f": "MINIMIZE"}})
print("ready")
"""


def said(cache: Path) -> str:
    """What a session without any set-up of logging shows while it makes an agent."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", SESSION], env=environment, capture_output=True, text=True, check=True, timeout=500
    )
    assert done.stdout == "ready\n"
    return done.stderr


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_only_the_first_model_of_a_machine_says_that_it_is_compiled(tmp_path: Path) -> None:
    (line,) = said(tmp_path).splitlines()
    assert line.startswith("compiling the model, once for this machine")
    assert str(tmp_path) in line
    assert said(tmp_path) == ""
