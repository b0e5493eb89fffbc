"""Each run reaches Tiled whatever happens to others, to the server, to the disk or to the session; or it is named."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.plans import list_scan
from http_proxy import proxy
from ophyd.sim import SynAxis, SynGauss
from processes import PATIENCE_S

from ebl_autonomy import connect, read_run
from ebl_autonomy.data import Connection, delivery, runs
from ebl_autonomy.data.connection import server_identity
from ebl_autonomy.data.entries import encode
from ebl_autonomy.data.folder import DataFolder
from ebl_autonomy.data.server import EmbeddedServer, is_alive
from ebl_autonomy.data.spool import Journal
from ebl_autonomy.errors import BadInputError

pytestmark = [
    pytest.mark.integration,
    # Of the Tiled client, when an image stream has two dimensions of the same size.
    pytest.mark.filterwarnings("ignore:.*dimension.*:UserWarning"),
]


def sequence(client: Any, uid: str) -> list[int]:
    return [int(k) for k in client[uid]["primary"].base["internal"].read()["seq_num"]]


def spooled(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder / "spool")) for path in (folder / "spool").rglob("*") if path.is_file())


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the delays between retries. How many there are, and what follows, is the same."""
    monkeypatch.setattr(delivery, "BACK_OFF_S", tuple(0.1 * delay for delay in delivery.BACK_OFF_S))


# -- failures of the server, and of one run --------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_a_run_that_fails_delays_no_other_and_is_named(
    RE: RunEngine, tiled_server: EmbeddedServer, tmp_path: Path, bench: Any
) -> None:
    det, motors = bench
    poisoned: list[str] = []
    with proxy(tiled_server.uri) as between:
        between.answer = lambda method, path, body: (
            500 if poisoned and method != "GET" and poisoned[0] in path else None
        )
        with connect(RE, between.uri, tiled_server.api_key, tmp_path) as tiled:
            RE(bps.null())
            token = RE.subscribe(lambda name, doc: poisoned.append(doc["uid"]), "start")
            (bad,) = RE(list_scan([det], motors[0], [0.0, 1.0])).run_start_uids
            RE.unsubscribe(token)
            for _ in range(3):
                (uid,) = RE(list_scan([det], motors[0], [0.0, 1.0, 2.0])).run_start_uids
                assert sequence(tiled.client, uid) == [1, 2, 3]
                assert tiled.client[uid].metadata["stop"]["exit_status"] == "success"
            assert not tiled.flush(PATIENCE_S)
            assert list(tiled.refused) == [bad]
            assert "500" in tiled.refused[bad]
            assert tiled.pending == 1
            assert "1 runs pending" in repr(tiled)
        assert spooled(tmp_path) == [f"{bad}.jsonl"]
        between.answer = lambda method, path, body: None
        with connect(RE, between.uri, tiled_server.api_key, tmp_path) as tiled:
            assert tiled.flush(PATIENCE_S)
            assert (tiled.pending, dict(tiled.refused)) == (0, {})
            assert sequence(tiled.client, bad) == [1, 2]
    assert spooled(tmp_path) == []


@pytest.mark.usefixtures("impatient")
def test_a_refused_run_is_journalled_to_its_end(
    RE: RunEngine, tiled_server: EmbeddedServer, tmp_path: Path, bench: Any
) -> None:
    det, motors = bench
    with proxy(tiled_server.uri) as between:
        with connect(RE, between.uri, tiled_server.api_key, tmp_path) as tiled:
            between.answer = lambda method, path, body: 422 if method == "PATCH" else None

            def step(detectors: Any, step: Any, pos_cache: Any) -> Any:
                yield from bps.one_nd_step(detectors, step, pos_cache)
                deadline = time.monotonic() + PATIENCE_S
                while not tiled.refused:
                    assert time.monotonic() < deadline
                    yield from bps.sleep(0.05)

            (uid,) = RE(list_scan([det], motors[0], [0.0, 1.0, 2.0], per_step=step)).run_start_uids
            assert not tiled.flush(0.0)
        with connect(RE, tiled_server.uri, tiled_server.api_key, tmp_path) as tiled:
            assert spooled(tmp_path) == [f"{uid}.jsonl"]  # of another address
        between.answer = lambda method, path, body: None
        with connect(RE, between.uri, tiled_server.api_key, tmp_path) as tiled:
            assert tiled.flush(PATIENCE_S)
            assert sequence(tiled.client, uid) == [1, 2, 3]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [401, 503])
def test_scattered_failures_cost_nothing(
    status: int, RE: RunEngine, tiled_server: EmbeddedServer, tmp_path: Path, bench: Any
) -> None:
    det, motors = bench
    answered: list[bool] = []
    measured: list[Any] = []

    def answer(method: str, path: str, body: bytes) -> int | None:
        if method != "PATCH" or "partition" not in path:  # rows are appended to a table
            return None
        answered.append(len(answered) % 2 == 0)
        return status if answered[-1] else None

    def step(detectors: Any, step: Any, pos_cache: Any) -> Any:
        yield from bps.one_nd_step(detectors, step, pos_cache)
        measured.append(step)
        deadline = time.monotonic() + PATIENCE_S
        while answered.count(False) < len(measured):  # each row is refused once and then taken
            assert time.monotonic() < deadline
            yield from bps.sleep(0.02)

    with proxy(tiled_server.uri) as between, connect(RE, between.uri, tiled_server.api_key, tmp_path) as tiled:
        between.answer = answer
        (uid,) = RE(list_scan([det], motors[0], list(range(10)), per_step=step)).run_start_uids
        assert tiled.flush(PATIENCE_S)
        assert sum(answered) == 10
        assert sequence(tiled.client, uid) == list(range(1, 11))
        assert (tiled.pending, dict(tiled.refused)) == (0, {})


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [401, 500])
def test_a_failure_of_the_server_is_waited_out(
    status: int, RE: RunEngine, tiled_server: EmbeddedServer, tmp_path: Path, bench: Any
) -> None:
    det, motors = bench
    refused: list[str] = []

    def answer(method: str, path: str, body: bytes) -> int | None:
        if "healthz" in path:
            return None
        refused.append(path)
        return status

    with proxy(tiled_server.uri) as between, connect(RE, between.uri, tiled_server.api_key, tmp_path) as tiled:
        between.answer = answer
        uids = [RE(list_scan([det], motors[0], [0.0, 1.0])).run_start_uids[0] for _ in range(2)]
        deadline = time.monotonic() + PATIENCE_S
        while len(refused) <= 2 * delivery.MAX_REJECTIONS:  # more than runs of their own failures are tried
            assert not tiled.flush(0.5)
            assert time.monotonic() < deadline
        assert (tiled.pending, dict(tiled.refused)) == (2, {})
        between.answer = lambda method, path, body: None
        assert tiled.flush(PATIENCE_S)
        assert [sequence(tiled.client, uid) for uid in uids] == [[1, 2]] * 2
    assert spooled(tmp_path) == []


def test_a_run_that_began_before_is_named(
    RE: RunEngine, tiled_server: EmbeddedServer, tmp_path: Path, bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    det, motors = bench
    late: list[Connection] = []

    def step(detectors: Any, step: Any, pos_cache: Any) -> Any:
        if not late:
            late.append(connect(RE, tiled_server.uri, tiled_server.api_key, tmp_path))
        yield from bps.one_nd_step(detectors, step, pos_cache)

    (uid,) = RE(list_scan([det], motors[0], [0.0, 1.0], per_step=step)).run_start_uids
    with late[0] as tiled:
        assert not tiled.flush(PATIENCE_S)
        assert tiled.pending == 1
        assert f"run {uid} is not written" in caplog.text
    assert f"{uid}: it began before" in caplog.text


# -- sessions that die -----------------------------------------------------------------------------------------------

DYING = """
import os, signal, sys
from bluesky import RunEngine
from ophyd.sim import SynAxis, SynGauss
from ebl_autonomy import VOCS, connect
from ebl_autonomy.agents import SobolAgent
from ebl_autonomy.plans import optimize
RE = RunEngine({})
motor = SynAxis(name="mx")
det = SynGauss("det", motor, "mx", center=0.3, Imax=1.0)
agent = SobolAgent(VOCS(variables={"mx": [-1.0, 1.0]}, objectives={"det": "MAXIMIZE"}), seed=0)
connection = connect(RE, sys.argv[1], sys.argv[2], sys.argv[3])
def die(name, doc):
    if name == "event" and doc["seq_num"] == 6 and "det" in doc["data"]:
        os.kill(os.getpid(), signal.SIGKILL)
RE.subscribe(die)
RE(optimize([det], [motor], agent, max_points=16, batch=4, envelope={"limits": {"mx": [-1, 1]}}))
"""


def die(uri: str, key: str, folder: Path) -> str:
    """A session that is killed while it measures; returns the uid of its run."""
    command = [sys.executable, "-c", DYING, uri, key, str(folder)]
    assert subprocess.run(command, timeout=PATIENCE_S, check=False).returncode == -signal.SIGKILL
    (journal,) = (folder / "spool").glob("*.jsonl")
    return journal.stem


def test_a_run_that_nobody_closed_is_closed_with_its_pending_proposals(
    RE: RunEngine, tiled_server: EmbeddedServer, tmp_path: Path
) -> None:
    uid = die(tiled_server.uri, tiled_server.api_key, tmp_path)
    with connect(RE, tiled_server.uri, tiled_server.api_key, tmp_path) as tiled:
        assert tiled.flush(PATIENCE_S)
        record = read_run(uid, tiled.client)
        stop = tiled.client[uid].metadata["stop"]
        pending = [p.proposal_id for p in record.proposals if p.status == "pending"]
        (summary,) = [run for run in runs(tiled.client, limit=1000) if run.uid == uid]
    assert len(record.results) == 6
    assert len(pending) == 2
    assert summary.status == stop["exit_status"] == "abort"
    assert "the session ended without closing the run (found on 20" in summary.reason
    assert summary.reason.endswith(f"2 pending proposals: {', '.join(pending)}")
    assert stop["num_events"]["primary"] == 6
    assert stop["num_events"]["decisions"] == 8
    assert stop["time"] < time.time()
    assert spooled(tmp_path) == []


def test_a_run_is_finished_at_its_own_server(
    RE: RunEngine, tiled_server: EmbeddedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = EmbeddedServer(tmp_path / "other")
    other.start()
    try:
        folder = tmp_path / "session"
        uid = die(tiled_server.uri, tiled_server.api_key, folder)
        with connect(RE, other.uri, other.api_key, folder) as tiled:
            assert tiled.flush(PATIENCE_S)
            assert tiled.pending == 0
            assert uid not in tiled.client
        assert f"1 run waits for {tiled_server.uri}: connect to it to finish it" in caplog.text
        assert f"{uid}.jsonl" in spooled(folder)
    finally:
        other.close()
    with connect(RE, tiled_server.uri, tiled_server.api_key, folder) as tiled:
        assert tiled.flush(PATIENCE_S)
        assert sequence(tiled.client, uid) == list(range(1, 7))
    assert spooled(folder) == []


def test_the_address_of_a_server_is_known_by_any_spelling(tmp_path: Path) -> None:
    one = server_identity("http://localhost:8000", tmp_path)
    assert one == "http://127.0.0.1:8000"
    for same in ("http://127.0.0.1:8000/", "http://localhost:8000/api/v1?api_key=secret", "HTTP://LOCALHOST:8000"):
        assert server_identity(same, tmp_path) == one
    node = server_identity("https://user:word@host/tiled/api/v1/metadata/beam/raw/?api_key=secret", tmp_path)
    assert node == "https://host:443/tiled/api/v1/metadata/beam/raw"
    own = DataFolder(tmp_path)
    with own.serving():
        own.announce("http://127.0.0.1:8000", (), leased=True)
        assert "of this folder" in server_identity("http://localhost:8000/", tmp_path)
        assert server_identity("http://127.0.0.1:8001", tmp_path) == "http://127.0.0.1:8001"


# -- journals that are damaged ---------------------------------------------------------------------------------------


def emitted(RE: RunEngine, points: int) -> list[tuple[str, dict[str, Any]]]:
    """The documents of a run."""
    motor = SynAxis(name="mx")
    det = SynGauss("det", motor, "mx", center=0.3, Imax=1.0)
    found: list[tuple[str, dict[str, Any]]] = []
    RE(list_scan([det], motor, list(range(points))), lambda name, doc: found.append((name, doc)))
    return found


def spool_up(folder: Path, documents: list[tuple[str, dict[str, Any]]], lost: set[int], damaged: set[int]) -> Path:
    """A journal of a dead session; `lost` documents were never written, lines of `damaged` ones were written over."""
    journal = Journal.of_run(folder / "spool", str(documents[0][1]["uid"]), "")
    for index, (name, doc) in enumerate(documents, start=1):
        if index not in lost:
            journal.append(encode(index, name, doc))
    journal.close()
    lines = journal.path.read_bytes().splitlines(keepends=True)
    kept = [index for index in range(1, len(documents) + 1) if index not in lost]
    for index in damaged:
        at = 1 + kept.index(index)
        lines[at] = b"\x00\xff{" + lines[at][3:]
    journal.path.write_bytes(b"".join(lines))
    return journal.path


@pytest.mark.parametrize(
    ("lost", "damaged", "rows", "status", "says"),
    [
        ({5, 6}, set(), [1, 2, 5, 6, 7, 8], "fail", "2 documents of this run are missing (2 of stream 'primary')"),
        (set(), {5}, [1, 2, 4, 5, 6, 7, 8], "fail", "1 document of this run is missing (1 of stream 'primary')"),
        ({10}, set(), [1, 2, 3, 4, 5, 6, 7], "fail", "is missing (1 of stream 'primary')"),
        (set(), {11}, [1, 2, 3, 4, 5, 6, 7, 8], "fail", "without closing the run"),
        ({11}, set(), [1, 2, 3, 4, 5, 6, 7, 8], "abort", "the session ended without closing the run"),
    ],
)
def test_a_journal_with_holes_is_never_taken_for_whole(
    lost: set[int],
    damaged: set[int],
    rows: list[int],
    status: str,
    says: str,
    RE: RunEngine,
    tiled_server: EmbeddedServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    documents = emitted(RE, 8)
    path = spool_up(tmp_path, documents, lost, damaged)
    with connect(RE, tiled_server.uri, tiled_server.api_key, tmp_path) as tiled:
        assert tiled.flush(PATIENCE_S)  # no document of this session is missing
        stop = tiled.client[path.stem].metadata["stop"]
        assert sequence(tiled.client, path.stem) == rows
        assert (stop["exit_status"], says in stop["reason"]) == (status, True), stop
        assert tiled.pending == (status == "fail")
        if status == "fail":
            assert spooled(tmp_path) == [f"incomplete/{path.name}"]
            assert caplog.text.count(f"run {path.stem} is incomplete in Tiled") == 1
    caplog.clear()
    with connect(RE, tiled_server.uri, tiled_server.api_key, tmp_path) as tiled:
        assert (tiled.flush(PATIENCE_S), tiled.pending) == (True, 0)
    assert path.stem not in caplog.text


def test_a_lost_descriptor_costs_its_own_rows_only(RE: RunEngine, tiled_server: EmbeddedServer, tmp_path: Path) -> None:
    documents = emitted(RE, 3)
    path = spool_up(tmp_path, documents, set(), {2})
    with connect(RE, tiled_server.uri, tiled_server.api_key, tmp_path) as tiled:
        assert tiled.flush(PATIENCE_S)
        run = tiled.client[path.stem]
        assert list(run) == []
        assert "4 documents of this run are missing" in run.metadata["stop"]["reason"]
        assert "ended with 'success'" in run.metadata["stop"]["reason"]


@pytest.mark.parametrize("content", [b"", b"rubbish\n\xff\n", b'["event",{"descriptor":"x"}]\n', None])
def test_a_journal_without_a_run_is_named_once(
    content: bytes | None, RE: RunEngine, tiled_server: EmbeddedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spool").mkdir()
    path = tmp_path / "spool" / "headless.jsonl"
    if content is None:
        path = spool_up(tmp_path, emitted(RE, 2), set(), {1})
    else:
        path.write_bytes(content)
    for times in (1, 0):
        caplog.clear()
        with connect(RE, tiled_server.uri, tiled_server.api_key, tmp_path) as tiled:
            assert (tiled.flush(PATIENCE_S), tiled.pending) == (True, 0)
        assert caplog.text.count("it is put aside") == times
        assert spooled(tmp_path) == [f"aside/{path.name}"]


# -- disks that are full ---------------------------------------------------------------------------------------------

FULL = """
import json, logging, resource, signal, sys
from pathlib import Path
import numpy as np
from bluesky import RunEngine
from bluesky.plans import count
from documents import key, run_of
from http_proxy import proxy
from ophyd.sim import SynSignal
from ebl_autonomy import connect
from ebl_autonomy.data import delivery

uri, key, folder, mode = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
number = iter(range(10_000))
image = SynSignal(name="image", func=lambda: np.full((100, 100), next(number), "i4"))
RE = RunEngine({}, call_returns_result=True)
emitted = {}
RE.subscribe(lambda name, doc: emitted.update({doc["seq_num"]: int(doc["data"]["image"].max())}), "event")
if mode == "lost":
    delivery.HELD_BYTES = 200_000
with proxy(uri) as between:
    with connect(RE, between.uri, key, folder) as tiled:
        if mode != "live":
            between.answer = lambda method, path, body: 503
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
        (uid,) = RE(count([image], 40)).run_start_uids
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        between.answer = lambda method, path, body: None
        flushed = tiled.flush(100.0)
        stop = tiled.client[uid].metadata["stop"]
        told = stop["exit_status"], stop.get("reason", "")
        base = tiled.client[uid]["primary"].base
        rows = [int(k) for k in base["internal"].read()["seq_num"]]
        frames = [int(frame.max()) for frame in base["image"].read()]
        print(json.dumps([uid, flushed, tiled.pending, told, rows, frames, [emitted[k] for k in rows]]))
"""


@pytest.mark.parametrize("mode", ["live", "away", "lost"])
def test_a_full_disk_costs_nothing_or_is_told(mode: str, tiled_server: EmbeddedServer, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FULL, tiled_server.uri, tiled_server.api_key, str(tmp_path), mode],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )
    assert done.returncode == 0, done.stderr
    uid, flushed, pending, (status, reason), rows, frames, expected = json.loads(done.stdout)
    assert "held in memory" in done.stderr
    assert frames == expected
    if mode == "lost":
        assert (flushed, pending, status) == (False, 1, "fail")
        assert 9 < len(rows) < 40
        assert f"{40 - len(rows)} documents of this run are missing ({40 - len(rows)} of stream 'primary')" in reason
        assert f"incomplete/{uid}.jsonl" in spooled(tmp_path)
        assert "1 run is not completely in Tiled" in done.stderr
    else:
        assert (flushed, pending, status) == (True, 0, "success")
        assert rows == list(range(1, 41))
        assert spooled(tmp_path) == []


def test_a_spool_that_cannot_be_written_is_refused_before_anything_starts(RE: RunEngine, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file in its place")
    with pytest.raises(BadInputError, match=r"spool.*another folder"):
        connect(RE, directory=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spool"]
    (tmp_path / "spool").unlink()
    connect(RE, directory=tmp_path).close()  # the RunEngine is free again


def test_the_server_is_stopped_whatever_fails(RE: RunEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiled = connect(RE, directory=tmp_path)

    def fail() -> None:
        raise OSError("the disk is full")

    close = tiled._writer.close
    monkeypatch.setattr(tiled._writer, "close", fail)
    with pytest.raises(OSError, match="the disk is full"):
        tiled.close()
    close()
    assert not is_alive(tiled.uri)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="ebl_autonomy")
