"""Devices over channel access, steered for five points and read back from Tiled value by value."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PATIENCE_S

from ebl_autonomy.sim_devices.ioc import ioc_process

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
SCRIPT = HERE / "zoo_over_epics.py"


def cases() -> list[str]:
    """The names in the script, which can only be imported where the environment says which IOC there is."""
    for statement in ast.parse(SCRIPT.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.AnnAssign) and getattr(statement.target, "id", "") == "CASES":
            assert isinstance(statement.value, ast.Dict)
            return [ast.literal_eval(key) for key in statement.value.keys if key is not None]
    raise AssertionError("the script has no CASES")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    with ioc_process(seed=0, tier="A", speed=200.0, set_environment=False) as ioc:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), str(tmp_path_factory.mktemp("zoo"))],
            env={**os.environ, **ioc.env, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])},
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_S,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, str] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@pytest.mark.parametrize("case", cases())
def test_devices_over_epics(outcome: dict[str, str], case: str) -> None:
    assert not outcome[case], outcome[case]
