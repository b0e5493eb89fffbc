"""Live writing with real servers and processes: runs are visible live, and each document is stored exactly once."""

import copy
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.plans import list_scan
from bluesky_tiled_plugins.clients.bluesky_run import BlueskyRunV2
from engines import run_engine
from ophyd.sim import SynSignal
from processes import PATIENCE_S, wait_for

from ebl_autonomy import VOCS, connect, read_run
from ebl_autonomy.agents import GridAgent, SobolAgent
from ebl_autonomy.data import Connection, runs
from ebl_autonomy.data.runwriter import ResumableRun
from ebl_autonomy.data.server import EmbeddedServer, is_alive
from ebl_autonomy.errors import BadInputError, DataError, TiledUnreachableError
from ebl_autonomy.plans import optimize
from ebl_autonomy.sim_devices import SimBeamline

pytestmark = [
    pytest.mark.integration,
    # Of the Tiled client, when an image stream has two dimensions of the same size.
    pytest.mark.filterwarnings("ignore:.*dimension.*:UserWarning"),
]

LIMITS = {"limits": {"mx": [-2, 2], "my": [-2, 2]}}


def agent(seed: int = 0) -> SobolAgent:
    variables = {"mx": [-2.0, 2.0], "my": [-2.0, 2.0]}
    return SobolAgent(VOCS(variables=variables, objectives={"det": "MAXIMIZE"}), seed=seed)


def rows(run: Any, stream: str = "primary") -> Any:
    return run[stream].base["internal"].read()


def test_a_run_read_back_is_what_the_agent_was_told_bit_for_bit(RE: RunEngine, tiled: Connection, bench: Any) -> None:
    det, motors = bench
    told = agent()
    result = RE(optimize([det], motors, told, max_points=60, batch=4, envelope=LIMITS)).plan_result
    record = read_run(result.uid, tiled.client)
    assert record.results == told.results
    assert [p.status for p in record.proposals] == ["accepted"] * 60
    again = SobolAgent.from_config(record.metadata.agent)
    again.ingest(list(record.results))
    assert again.suggest(1) == told.suggest(1)
    assert record.stop is not None
    assert tiled.pending == 0


READER = """
import sys, time
from tiled.client import from_uri
client = from_uri(sys.argv[1], api_key=sys.argv[2])
known, seen = set(sys.argv[3].split(",")), 0
print("ready", flush=True)
while True:
    for uid in set(client) - known:
        run = client[uid]
        stopped = run.metadata.get("stop") is not None
        if "primary" in run and "internal" in run["primary"].base:
            count = len(run["primary"].base["internal"].read())
            if count != seen:
                print(count, flush=True)
                seen = count
        if stopped:
            print("stopped", flush=True)
            sys.exit(0)
    time.sleep(0.02)
"""


def test_another_process_sees_each_row_before_the_next_is_measured(
    RE: RunEngine, tiled: Connection, tiled_server: EmbeddedServer, bench: Any
) -> None:
    det, motors = bench
    known = ",".join(tiled.client)
    command = [sys.executable, "-c", READER, tiled_server.uri, tiled_server.api_key, known]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline().strip() == "ready"
        said: list[str] = []
        listening = threading.Thread(target=lambda out: said.extend(map(str.strip, out)), args=(reader.stdout,))
        listening.start()

        def step(detectors: Any, step: Any, pos_cache: Any) -> Any:
            yield from bps.one_nd_step(detectors, step, pos_cache)
            measured.append(step)
            deadline = time.monotonic() + PATIENCE_S
            while str(len(measured)) not in said:
                assert time.monotonic() < deadline, f"of {len(measured)} rows, the reader has seen {said}"
                yield from bps.sleep(0.02)

        measured: list[Any] = []
        try:
            RE(list_scan([det], motors[0], list(np.linspace(-1, 1, 12)), per_step=step))
            reader.wait(PATIENCE_S)
        finally:
            reader.kill()
            listening.join()
    assert said == [*map(str, range(1, 13)), "stopped"]


def test_a_killed_server_costs_no_row(RE: RunEngine, tmp_path: Path, bench: Any) -> None:
    det, motors = bench
    told = agent()
    with connect(RE, directory=tmp_path) as tiled:
        killed: list[int] = []

        def kill(name: str, doc: Any) -> None:
            if name == "event" and doc["seq_num"] == 15 and "det" in doc["data"] and not killed:
                pid = tiled.server_pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

        RE.subscribe(kill)
        result = RE(optimize([det], motors, told, max_points=40, envelope=LIMITS)).plan_result
        assert killed
        assert tiled.flush(PATIENCE_S)
        assert tiled.server_pid != killed[0]
        assert tiled.pending == 0
        table = rows(tiled.client[result.uid])
        assert table["seq_num"].tolist() == list(range(1, 41))
        assert read_run(result.uid, tiled.client).results == told.results
        assert list((tmp_path / "spool").iterdir()) == []


CRASHING = """
import os, signal, sys
from bluesky import RunEngine
from bluesky.plans import list_scan
from ophyd.sim import SynAxis, SynGauss
from ebl_autonomy import connect
RE = RunEngine({})
motor = SynAxis(name="mx")
det = SynGauss("det", motor, "mx", center=0.3, Imax=1.0)
connection = connect(RE, sys.argv[1], sys.argv[2], sys.argv[3])
def die(name, doc):
    if name == "event" and doc["seq_num"] == 25:
        os.kill(os.getpid(), signal.SIGKILL)
RE.subscribe(die)
RE(list_scan([det], motor, [0.01 * k for k in range(100)]))
"""


def test_a_killed_session_costs_no_row(tiled_server: EmbeddedServer, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CRASHING, tiled_server.uri, tiled_server.api_key, str(tmp_path)]
    assert subprocess.run(command, timeout=PATIENCE_S, check=False).returncode == -signal.SIGKILL
    (journal,) = (tmp_path / "spool").iterdir()
    uid = journal.stem
    with run_engine() as RE, connect(RE, tiled_server.uri, tiled_server.api_key, tmp_path) as tiled:
        assert tiled.flush(PATIENCE_S)
        assert tiled.pending == 0
        table = rows(tiled.client[uid])
        assert table["seq_num"].tolist() == list(range(1, 26))
        assert table["mx"].tolist() == [0.01 * k for k in range(25)]
        assert not journal.exists()


@pytest.fixture
def old_layout(tiled: Connection) -> Iterator[None]:
    """The effect of one access to `client.v2`: it changes the table of client classes of the whole process."""
    table = tiled.client.structure_clients
    before = table["BlueskyRun"]
    assert tiled.client.v2 is not None
    yield
    table.set("BlueskyRun", lambda: before)


def test_runs_are_read_and_taken_up_again_in_the_old_layout_too(
    RE: RunEngine, tiled: Connection, old_layout: None, bench: Any
) -> None:
    det, motors = bench
    hall = SynSignal(name="hall", func=lambda: 20.0)
    told = agent()
    documents: list[tuple[str, Any]] = []
    RE.subscribe(lambda name, doc: documents.append((name, copy.deepcopy(doc))))
    uid = RE(optimize([det], motors, told, max_points=5, baseline=[hall], envelope=LIMITS)).plan_result.uid
    assert isinstance(tiled.client[uid], BlueskyRunV2)
    once = read_run(uid, tiled.client)
    assert once.results == told.results
    assert {"mx", "my", "hall"} <= set(once.baseline)
    again = ResumableRun(tiled.client)
    for name, doc in documents:
        again.give(name, doc)
    again.flush()
    assert str(read_run(uid, tiled.client)) == str(once)


def test_images_nan_and_strings_survive(RE: RunEngine, tiled: Connection) -> None:
    beamline = SimBeamline(seed=0, tier="A")
    vocs = VOCS(
        variables={m.name: list(m.limits) for m in beamline.motors()}, objectives={"camera_spot_area": "MINIMIZE"}
    )
    told = GridAgent(vocs, points_per_axis=[3, 3, 1, 1])  # off the sensor at the corners, on it in the middle
    plan = optimize([beamline.camera], beamline.motors(), told, max_points=9, baseline=beamline.baseline)
    record = read_run(RE(plan).plan_result.uid, tiled.client)
    frames = record.baseline["camera_frame"]
    assert [np.shape(frame) for frame in frames] == [(256, 256)] * 2
    assert frames[0].max() > 200
    areas = [r["camera_spot_area"] for r in record.results]
    expected = [r["camera_spot_area"] for r in told.results]
    assert str(areas) == str(expected)
    assert {math.isnan(area) for area in areas} == {True, False}
    assert set(record.rows["camera_state"]) > {"ok"}


def test_an_image_in_every_event_is_written(RE: RunEngine, tiled: Connection) -> None:
    beamline = SimBeamline(seed=0, tier="A")
    beamline.camera.record_image = True
    (uid,) = RE(list_scan([beamline.camera], beamline.kbv.pitch, [0.0, 1.0, 2.0])).run_start_uids
    stack = tiled.client[uid]["primary"].base["camera_image"].read()
    assert stack.shape == (3, 256, 256)


def test_a_server_that_is_not_there_is_named_at_once(RE: RunEngine, tmp_path: Path) -> None:
    with pytest.raises(TiledUnreachableError, match=r"http://127\.0\.0\.1:1"):
        connect(RE, "http://127.0.0.1:1", "key", tmp_path)


def test_runs_go_where_in_the_tree_the_address_leads(
    RE: RunEngine, tiled_server: EmbeddedServer, tmp_path: Path, bench: Any
) -> None:
    """A facility keeps the runs of a beamline in a node of its tree, and users copy that node's address."""
    with connect(None, tiled_server.uri, tiled_server.api_key, tmp_path) as root:
        key = f"beamline-{time.time_ns()}"
        root.client.create_container(key=key)
        address = f"{tiled_server.uri}/api/v1/metadata/{key}/"
        det, motors = bench
        with connect(RE, address, tiled_server.api_key, tmp_path) as tiled:
            result = RE(optimize([det], motors, agent(), max_points=5, envelope=LIMITS)).plan_result
            assert len(read_run(result.uid, tiled.client).results) == 5
            assert list(tiled.client) == [result.uid]
        assert result.uid not in list(root.client)


@pytest.mark.parametrize("address", ["localhost:8000", "http://[", "nonsense"])
def test_what_is_no_address_is_named(address: str, tmp_path: Path) -> None:
    with pytest.raises(TiledUnreachableError, match="no Tiled server answers at"):
        connect(None, address, directory=tmp_path)


def test_a_wrong_key_is_refused(RE: RunEngine, tiled_server: EmbeddedServer, tmp_path: Path) -> None:
    with pytest.raises(TiledUnreachableError, match="api_key"):
        connect(RE, tiled_server.uri, "wrong", tmp_path)
    connect(RE, tiled_server.uri, tiled_server.api_key, tmp_path).close()  # the right key then succeeds


def test_connecting_twice_is_refused(RE: RunEngine, tiled: Connection, tiled_server: EmbeddedServer) -> None:
    with pytest.raises(BadInputError, match="connected to Tiled already"):
        connect(RE, tiled_server.uri, tiled_server.api_key)


def test_two_sessions_share_one_server_and_it_ends_with_its_parent(tmp_path: Path) -> None:
    with connect(None, directory=tmp_path) as first, connect(None, directory=tmp_path) as second:
        assert first.uri == second.uri
        assert [first.server_pid is None, second.server_pid is None].count(True) == 1
        uri = first.uri
    wait_for(lambda: not is_alive(uri))


def test_a_server_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    script = "import sys; from ebl_autonomy import connect; c = connect(None, directory=sys.argv[1]); "
    script += "print(c.uri, flush=True); input()"
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    uri = parent.stdout.readline().strip()
    assert is_alive(uri)
    parent.kill()
    parent.communicate()
    wait_for(lambda: not is_alive(uri))


def test_runs_are_listed_and_foreign_runs_are_refused(RE: RunEngine, tiled: Connection, bench: Any) -> None:
    det, motors = bench
    (uid,) = RE(list_scan([det], motors[0], [0.0, 1.0])).run_start_uids
    newest = runs(tiled.client, limit=1000)[0]
    assert (newest.uid, newest.plan, newest.agent, newest.status) == (uid, "list_scan", "", "success")
    with pytest.raises(DataError, match="no agent made it"):
        read_run(uid, tiled.client)
    with pytest.raises(BadInputError, match="no run"):
        read_run("nonsense", tiled.client)
    with pytest.raises(BadInputError, match="needs a client"):
        read_run(uid)


def test_a_refused_and_an_abandoned_proposal_come_back_with_their_reasons(
    RE: RunEngine, tiled: Connection, bench: Any
) -> None:
    det, motors = bench
    told = agent()
    envelope = {**LIMITS, "forbidden": [{"box": {"mx": [0.1, 2.0]}, "reason": "cable"}]}
    result = RE(optimize([det], motors, told, max_points=5, envelope=envelope)).plan_result
    record = read_run(result.uid, tiled.client)
    refused = [p for p in record.proposals if p.status == "refused"]
    assert len(refused) == result.refused > 0
    assert all("cable" in p.reason for p in refused)
    assert str(record.results) == str(told.results)  # NaN where nothing was measured
    assert json.dumps(record.metadata.envelope)
