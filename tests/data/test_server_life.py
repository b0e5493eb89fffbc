"""How long the embedded server lives, with real processes: as long as one session needs it, whatever others do."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from bluesky import RunEngine
from processes import session, wait_for

from ebl_autonomy import connect
from ebl_autonomy.data.folder import DataFolder, Lease
from ebl_autonomy.data.server import is_alive
from ebl_autonomy.errors import BadInputError

pytestmark = pytest.mark.integration


def server_of(folder: Path) -> int:
    server = DataFolder(folder).server
    assert server is not None
    return int(server["pid"])


def test_ctrl_c_does_not_reach_the_server(tmp_path: Path) -> None:
    with session(tmp_path) as owner:
        pid = server_of(tmp_path)
        assert os.getpgid(pid) != os.getpgid(owner.process.pid)
        with connect(None, directory=tmp_path) as tiled:
            os.killpg(owner.process.pid, signal.SIGINT)
            owner.end()
            assert server_of(tmp_path) == pid
            assert list(tiled.client) == []
    assert not DataFolder(tmp_path).is_served


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_the_end_of_its_owner_leaves_the_server_to_others(how: str, tmp_path: Path) -> None:
    with session(tmp_path) as owner, session(tmp_path) as reader:
        assert reader.uri == owner.uri
        pid = server_of(tmp_path)
        if how == "killed":
            owner.process.kill()
        owner.end()
        assert reader("list(connection.client), list(held)") == "([], [])"
        assert server_of(tmp_path) == pid
        uri = reader.uri
        reader.end()
        assert not is_alive(uri)  # the last one waits for its end
    assert list((tmp_path / "leases").iterdir()) == []


def test_a_server_without_sessions_ends(tmp_path: Path) -> None:
    with session(tmp_path) as only:
        only.process.kill()
        wait_for(lambda: not DataFolder(tmp_path).is_served)
        assert not is_alive(only.uri)


def test_a_killed_server_comes_back_at_its_address_for_everybody(tmp_path: Path) -> None:
    """The owner is gone, so that the one that joined starts it again; a client from before the kill goes on."""
    with session(tmp_path) as owner, session(tmp_path) as reader:
        owner.end()
        for _ in range(2):
            pid = server_of(tmp_path)
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda pid=pid: (DataFolder(tmp_path).server or {"pid": pid})["pid"] != pid)
            assert reader("list(held), held is connection.client, connection.uri") == f"([], True, {reader.uri!r})"


def test_a_client_is_never_dead(tmp_path: Path) -> None:
    with connect(None, directory=tmp_path) as tiled:
        tiled.client.context.http_client.close()
        assert list(tiled.client) == []
        os.kill(server_of(tmp_path), signal.SIGKILL)
        assert list(tiled.client) == []
    with pytest.raises(BadInputError, match="closed"):
        assert tiled.client


def test_a_server_whose_port_is_taken_comes_back_elsewhere(tmp_path: Path) -> None:
    with connect(None, directory=tmp_path) as tiled:
        before = tiled.uri
    port = DataFolder(tmp_path).port
    assert before.endswith(f":{port}")
    with socket.create_server(("127.0.0.1", port)), connect(None, directory=tmp_path) as tiled:
        assert tiled.uri != before
        assert list(tiled.client) == []


def test_a_lease_of_a_dead_session_is_no_lease(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    lease = Lease(tmp_path, [tmp_path])
    (tmp_path / "leases" / "dead").write_text("[]")
    assert folder.leases() == [(tmp_path,)]
    assert len(list((tmp_path / "leases").iterdir())) == 1
    lease.release()
    assert folder.leases() == []


def test_sessions_that_begin_and_end_at_once_share_a_server(tmp_path: Path) -> None:
    for _ in range(3):
        with session(tmp_path) as one, session(tmp_path) as other:
            one.process.kill()
            assert other("list(connection.client)") == "[]"
            other.end()
    assert not DataFolder(tmp_path).is_served


FORKING = """
import os, sys, time
from bluesky import RunEngine
from bluesky.plans import count
from ophyd.sim import det
from ebl_autonomy import connect

RE = RunEngine({}, call_returns_result=True)
tiled = connect(RE, directory=sys.argv[1])

def fork(name, doc):
    if name != "event" or doc["seq_num"] not in (3, 6):
        return
    if doc["seq_num"] == 6:
        if sys.argv[2] == "orphan":
            os._exit(9)
        return
    child = os.fork()
    if child:
        print("child", child, flush=True)
        if sys.argv[2] == "exits":
            os.waitpid(child, 0)
    elif sys.argv[2] == "orphan":
        os.close(1)
        os.close(2)
        time.sleep(600)
        os._exit(0)
    else:
        import atexit
        atexit._run_exitfuncs()
        os._exit(0)

RE.subscribe(fork)
(uid,) = RE(count([det], 8)).run_start_uids
print(tiled.flush(60), tiled.server_pid is not None, len(tiled.client[uid]["primary"].read()["det"]), flush=True)
"""


def test_a_forked_child_that_exits_takes_nothing_with_it(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKING, str(tmp_path), "exits"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "True True 8"
    assert "died" not in done.stderr
    assert "not completely in Tiled" not in done.stderr


def test_a_forked_child_that_outlives_its_session_holds_nothing(RE: RunEngine, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKING, str(tmp_path), "orphan"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    child = int(done.stdout.split()[1])
    try:
        assert done.returncode == 9
        assert DataFolder(tmp_path).leases() == []
        with connect(RE, directory=tmp_path) as tiled:
            assert tiled.flush(60.0)
            (run,) = tiled.client.values()
            assert "without closing the run" in run.metadata["stop"]["reason"]
            assert len(run["primary"].read()["det"]) == 6
    finally:
        os.kill(child, signal.SIGKILL)
