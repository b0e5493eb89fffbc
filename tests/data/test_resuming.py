"""A run that was interrupted anywhere, and is then written again from its first document, is whole and in order."""

import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from bluesky_tiled_plugins import TiledWriter
from documents import Document, assert_same_events, emitted, key, run_of, write
from tiled.client import from_uri

from ebl_autonomy.data.runwriter import ResumableRun
from ebl_autonomy.data.server import EmbeddedServer
from ebl_autonomy.data.streams import stored_events

pytestmark = pytest.mark.integration


@pytest.fixture
def client(tiled_server: EmbeddedServer) -> Iterator[Any]:
    client = from_uri(tiled_server.uri, api_key=tiled_server.api_key)
    yield client
    client.context.close()


class InterruptedRequestError(Exception):
    pass


def interrupt(client: Any, at: int, after: bool) -> Callable[[], int]:
    """Let the `at`-th writing request of `client` fail, before it is sent or `after`; returns how many there were."""
    send = client.context.http_client.send
    count = 0

    def failing(request: httpx.Request, **options: Any) -> httpx.Response:
        nonlocal count
        if request.method == "GET":
            return send(request, **options)
        count += 1
        if count == at and not after:
            raise InterruptedRequestError
        response = send(request, **options)
        if count == at:
            response.read()
            raise InterruptedRequestError
        return response

    client.context.http_client.send = failing
    return lambda: count


def append(table: Any, frame: Any) -> None:
    schema = table.structure().arrow_schema_decoded
    table.append_partition(0, pa.Table.from_pandas(frame, schema=schema, preserve_index=False))


def run_with_everything() -> list[Document]:
    """Images, short arrays, text, a value that does not fit its column, and names that need others."""
    keys = {
        "x": key(),
        "count": key("integer", dtype_numpy="<i8"),
        "image": key("array", [8, 9], dtype_numpy="<u2"),
        "short": key("array", [2]),
        "a key": key("array", [None]),
    }
    image = np.arange(72, dtype="u2").reshape(8, 9)
    rows: list[dict[str, Any]] = [
        {"x": k / 7, "count": k, "image": image + k, "short": [k, -k], "a key": list(range(k))} for k in range(1, 5)
    ]
    rows[2] |= {"count": 2.5, "short": [1, 2, 3]}
    return run_of({"primary": (keys, rows), "slow stream": ({"y": key("string")}, [{"y": "é"}, {"y": None}])})


def test_an_interruption_at_any_request_costs_nothing_and_doubles_nothing(
    tiled_server: EmbeddedServer, client: Any
) -> None:
    """Every other request fails before it reaches the server, the others when the server has answered."""
    at, total = 1, 1
    while at <= total:
        documents = run_with_everything()
        broken = from_uri(tiled_server.uri, api_key=tiled_server.api_key)
        count = interrupt(broken, at, after=at % 2 == 0)
        try:
            write(broken, documents, group=3)
            total = count()
        except InterruptedRequestError:
            total = at + 1
        broken.context.close()
        write(client, documents, group=4)
        run = client[documents[0][1]["uid"]]
        for stream in ("primary", "slow stream"):
            assert_same_events(emitted(documents, stream), stored_events(run, stream))
        assert run.metadata["stop"]["exit_status"] == "success"
        rows = {len(part.read()) for part in run["primary"].base.values()}
        assert rows == {len(emitted(documents, "primary"))}
        at += 1
    assert at > 15  # the interruption has been everywhere


KILLED = """
import os, signal, sys
sys.path.insert(0, {folder!r})
from documents import write
from test_resuming import run_with_everything
from tiled.client import from_uri
from tiled.client.array import ArrayClient
from tiled.client.dataframe import DataFrameClient
import json, pickle
documents = run_with_everything()
with open(sys.argv[3], "wb") as file:
    pickle.dump(documents, file)
def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)
{thing}.{method} = die
write(from_uri(sys.argv[1], api_key=sys.argv[2]), documents)
"""


@pytest.mark.parametrize(
    ("thing", "method"),
    [("ArrayClient", "patch"), ("DataFrameClient", "append_partition"), ("ArrayClient", "close_stream")],
    ids=["arrays made, no image sent", "images sent, no row appended", "rows appended, run not closed"],
)
def test_a_killed_process_leaves_a_run_that_is_finished_whole(
    tiled_server: EmbeddedServer, client: Any, tmp_path: Path, thing: str, method: str
) -> None:
    script = textwrap.dedent(KILLED).format(folder=str(Path(__file__).parent), thing=thing, method=method)
    kept = tmp_path / "documents"
    command = [sys.executable, "-c", script, tiled_server.uri, tiled_server.api_key, str(kept)]
    assert subprocess.run(command, timeout=120, check=False, env=os.environ).returncode == -signal.SIGKILL
    documents = pickle.loads(kept.read_bytes())
    run = client[documents[0][1]["uid"]]
    assert run.metadata.get("stop") is None or method == "close_stream"
    write(client, documents)
    assert_same_events(emitted(documents, "primary"), stored_events(run, "primary"))


def test_rows_that_a_late_append_has_doubled_are_read_once_and_counted_once(
    tiled_server: EmbeddedServer, client: Any
) -> None:
    """As on a server that lets an append through that was given up: the same rows twice, before later ones."""
    documents = run_with_everything()
    end = next(i for i, (name, doc) in enumerate(documents) if name == "event" and doc["seq_num"] == 3)
    write(client, documents[:end], group=3)
    run = client[documents[0][1]["uid"]]
    table = run["primary"].base["internal"]
    with closing(sqlite3.connect(tiled_server.directory / "tables.db")) as tables:  # as other servers: no unique rows
        for (name,) in tables.execute("SELECT name FROM sqlite_master WHERE name LIKE 'unique_rows_%'").fetchall():
            tables.execute(f'DROP INDEX "{name}"')
        tables.commit()
    append(table, table.read())
    assert len(table.read()) == 4
    write(client, documents)
    assert_same_events(emitted(documents, "primary"), stored_events(run, "primary"))
    assert run["primary"].base["image"].shape[0] == 4


def test_a_rewound_plan_keeps_both_events_of_a_number(client: Any) -> None:
    documents = run_of({"primary": ({"x": key()}, [{"x": float(k)} for k in range(4)])})
    documents[4][1].update(seq_num=2, time=2e9)
    documents[5][1].update(seq_num=3, time=2e9 + 1)
    for _ in range(2):
        write(client, documents)
    stored = list(stored_events(client[documents[0][1]["uid"]], "primary"))
    assert [(event["seq_num"], event["data"]["x"]) for event in stored] == [(1, 0.0), (2, 1.0), (2, 2.0), (3, 3.0)]


@pytest.mark.parametrize("begun", [1, 2])
def test_streams_of_more_than_one_table_are_resumed_and_read(client: Any, begun: int) -> None:
    names = [f"k{number}" for number in range(1100)]
    rows = [{name: row + number / 7 for number, name in enumerate(names)} for row in range(4)]
    documents = run_of({"primary": (dict.fromkeys(names, key()), rows)})
    write(client, documents[: 2 + begun], group=1)
    run = client[documents[0][1]["uid"]]
    parts = sorted(run["primary"].base)
    assert parts == ["internal_0", "internal_1", "internal_2"]
    # As if the session had died between two appends: the table that is written last lacks the row that others have.
    table = run["primary"].base["internal_2"]
    frame = table.read().iloc[:1].copy()
    frame["part_2_seq_num"] = begun + 1
    frame["part_2_time"] = documents[2 + begun][1]["time"]
    for name in set(frame.columns) & set(names):
        frame[name] = documents[2 + begun][1]["data"][name]
    timestamps = documents[2 + begun][1]["timestamps"]
    for name in (column for column in frame.columns if column.startswith("ts_")):
        frame[name] = timestamps[name.removeprefix("ts_")]
    append(table, frame)
    write(client, documents)
    assert_same_events(emitted(documents, "primary"), stored_events(run, "primary"))
    assert {len(run["primary"].base[part].read()) for part in parts} == {4}


def test_what_is_buffered_is_known_in_bytes(client: Any) -> None:
    documents = run_with_everything()
    run = ResumableRun(client)
    for name, doc in documents[:5]:
        run.give(name, dict(doc))
    assert run.buffered_bytes >= 3 * 144
    assert ResumableRun(client).buffered_bytes == 0
    run.flush()
    assert run.buffered_bytes == 0


def test_a_run_that_another_writer_has_begun_is_continued(client: Any) -> None:
    """Of an earlier version, or by the writer of bluesky-tiled-plugins."""
    keys = {"x": key(), "image": key("array", [8, 9], dtype_numpy="<f8"), "state": key("string")}
    rows = [{"x": k / 7, "image": np.full((8, 9), float(k)), "state": f"s{k}"} for k in range(5)]
    documents = run_of({"primary": (keys, rows)})
    begin = TiledWriter(client, batch_size=1)
    for name, doc in documents[:4]:
        begin(name, dict(doc))
    run = client[documents[0][1]["uid"]]
    assert len(run["primary"].base["internal"].read()) == 2
    write(client, documents)
    assert_same_events(emitted(documents, "primary"), stored_events(run, "primary"))
