"""Ctrl-C in the demo, as a terminal sends it: to the whole process group, at several moments."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import COMMAND

from ebl_autonomy import connect, read_run
from ebl_autonomy.data.folder import DataFolder

pytestmark = pytest.mark.integration

PATIENCE_S = 200.0


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


AT_A_TERMINAL = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a command that Ctrl-C reaches, also where the tests are a job in the background, which ignores it."""


def demo(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [COMMAND, "demo", "--json", "--agent", "sobol", "--output", "out", *arguments]
    return subprocess.Popen(
        [sys.executable, "-c", AT_A_TERMINAL, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "EBL_AUTONOMY_DATA": str(folder / "data")},
        start_new_session=True,  # a process group of its own, as a terminal gives each command
    )


def documents(folder: Path) -> str:
    return "".join(path.read_text() for path in (folder / "data" / "spool").glob("*.jsonl"))


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "the run has just been opened": lambda folder: '["start"' in documents(folder),
    "nothing has been measured": lambda folder: '["descriptor"' in documents(folder),
    "a few points are measured": lambda folder: documents(folder).count('"event"') > 8,
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    """A folder whose data are served while the tests run, so that each demo joins that server; and a client of it."""
    folder = tmp_path_factory.mktemp("served")
    with connect(None, directory=folder / "data") as tiled:
        yield folder, tiled.client


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_demo_ends_with_its_report(moment: str, served: tuple[Path, Any]) -> None:
    folder, client = served
    with demo(folder, "--points", "5000") as process:
        wait_for(lambda: MOMENTS[moment](folder), process)
        os.killpg(process.pid, signal.SIGINT)
        out, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    result = json.loads(out)
    assert result["stop_reason"] == "aborted by the user"
    assert result["points"] < 5000
    assert Path(result["report"]).is_file()
    assert json.loads((folder / "out" / "summary.json").read_text()) == result
    assert len(read_run(result["uid"], client).results) == result["points"]


def test_ctrl_c_after_the_last_point_does_not_cost_the_report(tmp_path: Path) -> None:
    with demo(tmp_path, "--points", "5") as process:
        wait_for(lambda: documents(tmp_path), process)
        wait_for(lambda: not documents(tmp_path), process)  # the run is in Tiled, its journal deleted
        os.killpg(process.pid, signal.SIGINT)
        out, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert json.loads(out)["points"] == 5
    assert (tmp_path / "out" / "report.html").is_file()
    assert not DataFolder(tmp_path / "data").is_served


def test_the_third_ctrl_c_leaves_at_once_and_leaves_no_server(tmp_path: Path) -> None:
    with demo(tmp_path, "--points", "5000") as process:
        wait_for(lambda: documents(tmp_path).count('"event"') > 8, process)
        assert process.stderr is not None
        for _ in range(2):
            os.killpg(process.pid, signal.SIGINT)
            while "interrupted: " not in (line := process.stderr.readline()):  # signals pending together count once
                assert line, "it has ended"
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + signal.SIGINT
    deadline = time.monotonic() + PATIENCE_S
    while DataFolder(tmp_path / "data").is_served:
        assert time.monotonic() < deadline
        time.sleep(0.02)
