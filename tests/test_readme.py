"""The session in the README runs over EPICS, and the examples run.

As it stands, on the simulated beamline, the session runs with all the blocks of the pages: docs/test_code_blocks.py.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ebl_autonomy.sim_devices.ioc import ioc_process

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def run(arguments: list[str], folder: Path, **environment: str) -> str:
    env: dict[str, Any] = {**os.environ, "EBL_AUTONOMY_DATA": str(folder / "data"), **environment}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, cwd=folder, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def session(points: int) -> str:
    code = blocks()[0]
    assert len(code.strip().splitlines()) <= 15
    shorter = code.replace("max_points=80", f"max_points={points}")
    assert shorter != code
    return shorter + "\nprint(agent.best()); print(len(list(tiled.client)))\n"


@pytest.mark.parametrize("kind", ["EpicsBeamline", "AsyncEpicsBeamline"])
def test_the_session_runs_over_epics_with_one_line_changed(kind: str, tmp_path: Path) -> None:
    line = blocks()[1]
    assert kind in line  # the README names both
    code = session(8).replace("bl = SimBeamline(seed=0)\n", re.sub(r"\bEpicsBeamline", kind, line))
    with ioc_process(seed=0, tier="B", speed=200.0, set_environment=False) as ioc:
        out = run(["-c", code + "bl.close(); tiled.close()\n"], tmp_path, **ioc.env)
    best, runs = out.strip().splitlines()[-2:]
    assert best.startswith("Recommendation(point={'kbv_pitch'")
    assert "mean={'camera_spot_area'" in best
    assert runs == "1"


@pytest.mark.parametrize("name", ["session", "own_measurement", "warm_start"])
def test_the_examples_run(name: str, tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'examples')!r}); import {name}; {name}.main(points=15)"
    assert "Recommendation(point=" in run(["-c", code], tmp_path)


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"
