"""Nobody is let in: each route with and without the key, foreign hosts, modes of files, keys in addresses."""

import json
import logging
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import websockets.sync.client as websockets
from bluesky import RunEngine
from bluesky.plans import list_scan
from engines import run_engine
from processes import PATIENCE_S
from websockets.exceptions import InvalidStatus

from ebl_autonomy import connect
from ebl_autonomy.data import Connection
from ebl_autonomy.data.address import split_key
from ebl_autonomy.data.folder import api_key_of, make_directory
from ebl_autonomy.data.server import EmbeddedServer
from ebl_autonomy.errors import BadInputError, TiledUnreachableError
from ebl_autonomy.sim_devices import SimBeamline

EVERYBODY = {("GET", "/healthz"), ("HEAD", "/healthz"), ("GET", "/api/v1/"), ("HEAD", "/api/v1/")}


@pytest.fixture(scope="module")
def paths(tiled_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Paths of nodes of each kind in a real run, and the root."""
    beamline = SimBeamline(seed=0, tier="A")
    beamline.camera.record_image = True
    folder = tmp_path_factory.mktemp("spool")
    with run_engine() as RE, connect(RE, tiled_server.uri, tiled_server.api_key, folder):
        (uid,) = RE(list_scan([beamline.camera], beamline.kbv.pitch, [0.0, 1.0])).run_start_uids
    return [f"{uid}/primary/camera_image", f"{uid}/primary/internal", f"{uid}/primary", uid, ""]


def routes(app: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Method and path of each route, those of included routers too; ``WEBSOCKET`` and ``MOUNT`` are methods here."""
    for route in app.routes:
        if hasattr(route, "original_router"):
            yield from routes(route.original_router, prefix + route.include_context.prefix)
        elif type(route).__name__ == "Mount":
            yield "MOUNT", prefix + route.path
        elif "WebSocket" in type(route).__name__:
            yield "WEBSOCKET", prefix + route.path
        else:
            for method in route.methods:
                yield method, prefix + route.path


@pytest.fixture(scope="module")
def requests(
    paths: list[str], tiled_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[str, str]]:
    from ebl_autonomy.data.tiled_app import make_app

    folder = tmp_path_factory.mktemp("routes")
    shutil.copy(tiled_server.directory / "catalog.db", folder)
    _, app = make_app(folder, "key", "127.0.0.1", ())
    found = sorted(set(routes(app)))
    assert len(found) > 60
    some = {"/zarr/v2/{path:path}", "/zarr/v3/{path:path}", "/api/v1/stream/single/{path:path}", "/static"}
    assert some <= {path for _, path in found}
    return [
        (method, re.sub(r"\{[^}]*\}", path, template) + ("/main.css" if method == "MOUNT" else ""))
        for method, template in found
        for path in (paths if "{" in template else [""])
    ]


HEADERS = {"none": {}, "wrong": {"Authorization": "Apikey wrong"}, "bearer": {"Authorization": "Bearer KEY"}}


@pytest.mark.integration
@pytest.mark.parametrize("given", HEADERS)
def test_no_route_answers_without_the_key(
    given: str, requests: list[tuple[str, str]], paths: list[str], tiled_server: EmbeddedServer
) -> None:
    headers = {key: value.replace("KEY", tiled_server.api_key) for key, value in HEADERS[given].items()}
    secret = [paths[3].encode(), b"camera"]
    with httpx.Client(base_url=tiled_server.uri, headers=headers, trust_env=False, timeout=PATIENCE_S) as client:
        for method, path in requests:
            if method == "WEBSOCKET":
                address = tiled_server.uri.replace("http", "ws") + path
                for query in ("", "?api_key=wrong"):
                    with pytest.raises(InvalidStatus, match="401"):
                        websockets.connect(address + query, additional_headers=headers)
                continue
            method = "GET" if method == "MOUNT" else method
            for query, cookies in (("", {}), ("?api_key=wrong", {}), ("", {"Cookie": "tiled_api_key=wrong"})):
                if given == "bearer" and cookies:
                    continue
                answer = client.request(method, path + query, headers=cookies)
                expected = 200 if (method, path) in EVERYBODY else 401
                assert answer.status_code == expected, (method, path, query)
                assert not any(word in answer.content for word in secret)
        for method in ("GET", "POST", "OPTIONS", "PUT", "TRACE"):
            for path in ("/no/such/route", "//zarr/v2/" + paths[0], "/api/v1/../../zarr/v2", "/zarr/v2/%2e%2e/healthz"):
                assert client.request(method, path).status_code == 401
        assert client.post("/api/v1/").status_code == client.put("/healthz").status_code == 401


@pytest.mark.integration
@pytest.mark.parametrize("by", ["header", "query", "cookie"])
def test_every_route_takes_the_key(by: str, requests: list[tuple[str, str]], tiled_server: EmbeddedServer) -> None:
    key = tiled_server.api_key
    headers = {"header": {"Authorization": f"Apikey {key}"}, "cookie": {"Cookie": f"tiled_api_key={key}"}}.get(by, {})
    query = f"?api_key={key}" if by == "query" else ""
    close = {"Connection": "close"}  # as the server does after an error of Tiled's own, of which this walk meets some
    with httpx.Client(base_url=tiled_server.uri, headers=close, trust_env=False, timeout=PATIENCE_S) as client:
        client.headers.update(headers)
        for method, path in requests:
            if method == "WEBSOCKET":
                address = tiled_server.uri.replace("http", "ws") + path + query
                if "/stream/" not in path:  # GraphQL, which speaks a protocol of its own
                    with pytest.raises(InvalidStatus) as other:
                        websockets.connect(address, additional_headers=headers)
                    assert other.value.response.status_code != 401
                    continue
                with websockets.connect(address, additional_headers=headers) as stream:
                    assert stream.recv(PATIENCE_S)
            elif method in ("GET", "HEAD", "MOUNT"):  # the others alter what later tests read
                answer = client.request("GET" if method == "MOUNT" else method, path + query)
                assert answer.status_code != 401, (method, path)
            else:
                assert client.request(method, f"/no/such/node{query}").status_code != 401


@pytest.mark.integration
def test_zarr_works_with_the_key(paths: list[str], tiled_server: EmbeddedServer) -> None:
    headers = {"Authorization": f"Apikey {tiled_server.api_key}"}
    about = httpx.get(f"{tiled_server.uri}/zarr/v2/{paths[0]}/.zarray", headers=headers, trust_env=False)
    assert about.json()["shape"][-2:] == [256, 256]


@pytest.mark.integration
def test_a_browser_gets_a_cookie_for_the_key_in_the_address(tiled_server: EmbeddedServer) -> None:
    with httpx.Client(base_url=tiled_server.uri, trust_env=False, follow_redirects=True) as browser:
        assert browser.get("/ui/").status_code == 401
        page = browser.get(f"/?api_key={tiled_server.api_key}")
        assert page.status_code == 200
        assert "httponly" in page.headers["set-cookie"].lower()
        for path in ("/", "/ui/", "/tiled-ui-settings", "/api/v1/metadata/", "/docs"):
            assert browser.get(path).status_code == 200, path
        scripts = re.findall(r'(?:src|href)="(/[^"]+)"', browser.get("/ui/").text)
        assert scripts
        assert {browser.get(script).status_code for script in scripts} == {200}


FOREIGN = ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "", "[", "1@evil"]


@pytest.mark.integration
@pytest.mark.parametrize("path", ["/healthz", "/api/v1/", "/api/v1/metadata/"])
def test_foreign_hosts_are_refused(path: str, tiled_server: EmbeddedServer) -> None:
    headers = {"Authorization": f"Apikey {tiled_server.api_key}"}
    for host in FOREIGN:
        answer = httpx.get(tiled_server.uri + path, headers={**headers, "Host": host}, trust_env=False)
        assert answer.status_code == 400, host
        assert b"runs" not in answer.content
    port = tiled_server.uri.rpartition(":")[2]
    for host in (f"localhost:{port}", "LOCALHOST", "127.0.0.1", "[::1]:80", "192.168.3.4:8000", os.uname().nodename):
        answer = httpx.get(tiled_server.uri + path, headers={**headers, "Host": host}, trust_env=False)
        assert answer.status_code == 200, host


def open_to_others(folder: Path) -> dict[str, str]:
    every = [folder, *folder.rglob("*")]
    return {str(path): oct(path.lstat().st_mode) for path in every if stat.S_IMODE(path.lstat().st_mode) & 0o077}


@pytest.mark.integration
def test_the_folder_and_all_its_files_are_the_users_only(
    RE: RunEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "data"
    mask = os.umask(0o002)
    try:
        with connect(RE, directory=folder) as tiled:
            beamline = SimBeamline(seed=0, tier="A")
            beamline.camera.record_image = True
            RE(list_scan([beamline.camera], beamline.kbv.pitch, [0.0, 1.0]))
            assert open_to_others(folder) == {}
            assert {"catalog.db", "tables.db", "server.json", "api_key"} <= {p.name for p in folder.iterdir()}
            assert tiled.api_key not in (folder / "server.json").read_text()
            command = Path(f"/proc/{tiled.server_pid}/cmdline")
            assert tiled.api_key not in command.read_text() + repr(tiled)
    finally:
        os.umask(mask)
    assert open_to_others(folder) == {}
    assert tiled.api_key not in (folder / "server.log").read_text()
    assert caplog.text.count("could be read by other users") == 0
    # A folder of an earlier version.
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o055)
    for _ in range(2):
        make_directory(folder)
    assert open_to_others(folder) == {}
    assert caplog.text.count("could be read by other users") == 1


def test_a_folder_that_holds_other_things_stays_open(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    (tmp_path / "data" / "theirs").touch(0o644)
    tmp_path.chmod(0o755)
    key = api_key_of(tmp_path)
    assert open_to_others(tmp_path).keys() == {str(tmp_path), str(tmp_path / "data"), str(tmp_path / "data" / "theirs")}
    assert api_key_of(tmp_path) == key


KEY_RACE = """
import sys
from pathlib import Path
from ebl_autonomy.data.folder import api_key_of
print("ready", flush=True)
for line in sys.stdin:
    print(api_key_of(Path(line.strip())), flush=True)
"""


@pytest.mark.integration
def test_all_sessions_that_begin_at_once_read_the_same_whole_key(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KEY_RACE]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(6)
    ]

    def ask(racer: Any, folder: Path) -> str:
        racer.stdin.write(f"{folder}\n")
        racer.stdin.flush()
        return str(racer.stdout.readline().strip())

    try:
        assert {racer.stdout.readline() for racer in racers if racer.stdout} == {"ready\n"}
        with ThreadPoolExecutor(len(racers)) as pool:
            for race in range(100):
                folder = tmp_path / str(race)
                folder.mkdir()
                keys = set(pool.map(lambda racer, folder=folder: ask(racer, folder), racers))
                assert len(keys) == 1
                assert re.fullmatch("[0-9a-f]{64}", keys.pop())
    finally:
        for racer in racers:
            racer.communicate()


def test_an_empty_key_file_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "api_key").touch()
    assert len(api_key_of(tmp_path)) == 64


SECRET = "s3cret/+key"
QUOTED = "s3cret%2F%2Bkey"


@pytest.mark.parametrize(
    ("address", "clean"),
    [
        (f"http://127.0.0.1:1?api_key={QUOTED}", "http://127.0.0.1:1"),
        (f"http://127.0.0.1:1/?x=1&api_key={QUOTED}#there", "http://127.0.0.1:1"),
        (f"http://{QUOTED}@127.0.0.1:1/api/v1/metadata/a", "http://127.0.0.1:1/api/v1/metadata/a"),
        (f"http://user:{QUOTED}@127.0.0.1:1/", "http://127.0.0.1:1"),
        (f"127.0.0.1:1?api_key={QUOTED}", "127.0.0.1:1"),
        (f"http://[?api_key={QUOTED}", "http://["),
    ],
)
def test_a_key_in_an_address_is_taken_out(
    address: str, clean: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert split_key(address) == split_key(address, SECRET) == (clean, SECRET)
    with pytest.raises(TiledUnreachableError) as unreachable:
        connect(None, address, directory=tmp_path)
    with pytest.raises(BadInputError) as different:
        connect(None, address, "another", directory=tmp_path)
    said = repr(unreachable.value) + repr(different.value) + caplog.text
    assert clean in said
    assert "s3cret" not in said


@pytest.mark.integration
def test_the_key_in_an_address_opens_the_server(
    tiled_server: EmbeddedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with connect(None, f"{tiled_server.uri}?api_key={tiled_server.api_key}", directory=tmp_path) as tiled:
        assert list(tiled.client) is not None
        assert tiled.api_key == tiled_server.api_key
        assert tiled_server.api_key not in repr(tiled) + tiled.uri
    with pytest.raises(TiledUnreachableError, match="api_key") as refused:
        connect(None, f"{tiled_server.uri}?api_key=wr0ng", directory=tmp_path)
    assert "wr0ng" not in str(refused.value)
    assert tiled_server.api_key not in caplog.text


@pytest.mark.integration
def test_what_the_server_says_of_itself_holds_no_data(tiled: Connection, tiled_server: EmbeddedServer) -> None:
    key = f"secret-{np.random.default_rng().integers(2**31)}"
    tiled.client.create_container(key=key, metadata={"name": key})
    about = httpx.get(f"{tiled_server.uri}/api/v1/", trust_env=False)
    assert about.status_code == 200
    assert key not in about.text
    assert tiled_server.api_key not in json.dumps(about.json())
