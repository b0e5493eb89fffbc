"""What the embedded server does beyond Tiled: rows stored once, a bounded memory, files that it may not read named."""

import logging
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow
import pytest
import tifffile
from bluesky import RunEngine
from event_model import DocumentNames, compose_run
from processes import PATIENCE_S, session, wait_for
from tiled.client.utils import ClientError

from ebl_autonomy import connect
from ebl_autonomy.data import Connection
from ebl_autonomy.data.server import EmbeddedServer
from ebl_autonomy.errors import BadInputError

pytestmark = pytest.mark.integration


def rows(numbers: list[int], time: float = 0.0, **more: Any) -> pd.DataFrame:
    return pd.DataFrame({"seq_num": numbers, "time": [time + n for n in numbers], **more})


def table(client: Any, like: pd.DataFrame, key: str | None = None) -> Any:
    return client.create_appendable_table(schema=pyarrow.Table.from_pandas(like, preserve_index=False).schema, key=key)


def append(node: Any, frame: pd.DataFrame) -> None:
    node.append_partition(0, pyarrow.Table.from_pandas(frame, preserve_index=False))


@pytest.mark.parametrize("prefix", ["", "part_0_", "part_12_"])
def test_an_append_that_is_delivered_twice_is_stored_once(prefix: str, tiled: Connection) -> None:
    first = rows([1, 2, 3], det=[0.1, 0.2, 0.3]).add_prefix(prefix)
    node, other = table(tiled.client, first), table(tiled.client, first)
    append(node, first)
    for again in (first, first[1:], pd.concat([rows([4], det=[0.4]).add_prefix(prefix), first[:1]])):
        with pytest.raises(ClientError, match="stored already") as refused:
            append(node, again)
        assert refused.value.response.status_code == 409
        pd.testing.assert_frame_equal(node.read(), first)  # a refused append leaves no part of itself
    append(other, first)  # the rows of another table are others
    rewound = rows([3, 4], time=0.5, det=[0.3, 0.4]).add_prefix(prefix)
    append(node, rewound)
    assert node.read()[f"{prefix}seq_num"].tolist() == [1, 2, 3, 3, 4]
    assert other.read()[f"{prefix}seq_num"].tolist() == [1, 2, 3]


def test_many_tables_and_other_tables(tiled: Connection) -> None:
    """Each table of the database has an index of its own, and a table without event numbers has none."""
    for extra in ("one", "two"):
        frame = rows([1, 2], **{extra: [0.0, 1.0]})
        node = table(tiled.client, frame)
        append(node, frame)
        with pytest.raises(ClientError, match="stored already"):
            append(node, frame)
    plain = pd.DataFrame({"x": [1.0, 2.0]})
    node = table(tiled.client, plain)
    for _ in range(2):
        append(node, plain)
    assert len(node.read()) == 4


def test_a_folder_in_which_rows_are_stored_twice_still_opens(tmp_path: Path) -> None:
    frame, old_key = rows([1, 2], det=[0.1, 0.2]), str(uuid.uuid4())
    with connect(None, directory=tmp_path) as tiled:
        append(table(tiled.client, frame, old_key), frame)
    with sqlite3.connect(tmp_path / "tables.db") as database:  # as an earlier version left it
        ((name, index),) = database.execute(
            "SELECT tbl_name, name FROM sqlite_master WHERE type = 'index' AND name LIKE 'unique_rows%'"
        ).fetchall()
        database.execute(f'DROP INDEX "{index}"')
        database.execute(f'INSERT INTO "{name}" SELECT * FROM "{name}"')
    database.close()
    with connect(None, directory=tmp_path) as tiled:
        old = tiled.client[old_key]
        assert len(old.read()) == 4
        append(old, rows([3], det=[0.3]))
        assert len(old.read()) == 5
        new = table(tiled.client, frame)
        append(new, frame)
        with pytest.raises(ClientError, match="stored already"):
            append(new, frame)


def resident_bytes(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def test_images_do_not_pile_up_in_the_server(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (1, 2, 2**20), dtype="u1")  # 2 MB
    with connect(None, directory=tmp_path) as tiled:
        assert tiled.server_pid is not None
        node = tiled.client.write_array(image, key="images")
        for k in range(1, 20):
            node.patch(image, offset=(k,), extend=True)
        before = resident_bytes(tiled.server_pid)
        for k in range(20, 140):
            node.patch(image, offset=(k,), extend=True)
        assert node.shape == (140, 2, 2**20)
        assert resident_bytes(tiled.server_pid) - before < 120 * 2**20  # all of them are 240 MB


@pytest.mark.filterwarnings("ignore:.*must be used as a context manager:DeprecationWarning")  # of the Tiled client
def test_a_subscriber_that_comes_late_reads_every_image(tmp_path: Path) -> None:
    """Images that have been dropped from the live stream's memory are read from the node."""
    images = np.random.default_rng(1).integers(0, 255, (30, 4, 2**20), dtype="u1")  # 30 of 4 MB: twice what is kept
    with connect(None, directory=tmp_path) as tiled:
        node = tiled.client.write_array(images[:1], key="images")
        for k in range(1, len(images)):
            node.patch(images[k : k + 1], offset=(k,), extend=True)
        seen: dict[int, tuple[str, Any]] = {}
        failures: list[Exception] = []

        def take(update: Any) -> None:
            try:
                seen[update.sequence] = update.type, np.array(update.data())
            except Exception as error:  # noqa: BLE001  # the client would only log it
                failures.append(error)

        live = node.subscribe()
        live.new_data.add_callback(take)
        live.start_in_thread(start=1, max_size=2**24)
        try:
            wait_for(lambda: failures or len(seen) == len(images), 100.0)
        finally:
            live.disconnect()
        assert failures == []
        kinds = [seen[sequence][0] for sequence in range(1, len(images) + 1)]
        assert set(kinds) == {"array-ref", "array-data"}
        assert kinds == sorted(kinds, reverse=True)  # the newest are kept
        for sequence, image in enumerate(images, 1):
            np.testing.assert_array_equal(seen[sequence][1].reshape(image.shape), image)


FRAMES = np.arange(3 * 4 * 5, dtype="u2").reshape(3, 4, 5)


def emit_files(RE: RunEngine, folder: Path) -> str:
    """A run whose detectors write an HDF5 file and a TIFF sequence into `folder`; returns its uid."""
    with h5py.File(folder / "frames.h5", "w") as file:
        file["entry/data"] = FRAMES
    (folder / "tiffs").mkdir()
    for k, frame in enumerate(FRAMES):
        tifffile.imwrite(folder / "tiffs" / f"img_{k:05d}.tif", frame)
    run = compose_run(metadata={"plan_name": "files"})
    spec = {"source": "det", "dtype": "array", "shape": [1, 4, 5], "dtype_numpy": "<u2", "external": "STREAM:"}
    emit(RE, "start", run.start_doc)
    stream = run.compose_descriptor(name="primary", data_keys={"hdf": spec, "tif": spec})
    emit(RE, "descriptor", stream.descriptor_doc)
    for key, mimetype, path, parameters in (
        ("hdf", "application/x-hdf5", "frames.h5", {"dataset": "/entry/data"}),
        ("tif", "multipart/related;type=image/tiff", "tiffs/", {"template": "img_{:05d}.tif"}),
    ):
        resource = run.compose_stream_resource(
            mimetype=mimetype,
            uri=f"file://localhost{folder}/{path}",
            data_key=key,
            parameters={**parameters, "chunk_shape": [1, 4, 5]},
        )
        emit(RE, "stream_resource", resource.stream_resource_doc)
        datum = resource.compose_stream_datum(
            {"start": 0, "stop": 3}, seq_nums={"start": 1, "stop": 4}, descriptor=stream.descriptor_doc
        )
        emit(RE, "stream_datum", datum)
    emit(RE, "stop", run.compose_stop())
    return str(run.start_doc["uid"])


def emit(RE: RunEngine, name: str, doc: Any) -> None:
    RE.dispatcher.process(DocumentNames[name], dict(doc))


def test_files_outside_the_data_folder_need_readable(
    RE: RunEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files, data = tmp_path / "detector files", tmp_path / "data"
    files.mkdir()
    with connect(RE, directory=data) as tiled:
        uid = emit_files(RE, files)
        assert tiled.flush(PATIENCE_S)
        told = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
        assert len(told) == 2
        assert str(files / "frames.h5") in told[0]
        assert f"readable=['{files}']" in told[0]
        assert f"readable=['{files / 'tiffs'}']" in told[1]
        for key in ("hdf", "tif"):
            with pytest.raises(ClientError, match="readable=") as refused:
                tiled.client[uid]["primary"].base[key].read()
            assert refused.value.response.status_code == 403
    with connect(None, directory=data, readable=[files]) as tiled:  # nothing has been lost
        for key in ("hdf", "tif"):
            stored = tiled.client[uid]["primary"].base[key].read()
            np.testing.assert_array_equal(stored.reshape(FRAMES.shape), FRAMES)


def test_a_path_that_leads_out_of_the_readable_folder_is_refused(
    RE: RunEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    readable, files = tmp_path / "readable", tmp_path / "files"
    readable.mkdir()
    files.mkdir()
    with connect(RE, directory=tmp_path / "data", readable=[readable]) as tiled:
        uid = emit_files(RE, readable / ".." / "files")
        assert tiled.flush(PATIENCE_S)
        told = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
        assert len(told) == 2
        assert all("lies outside" in each for each in told)
        for key in ("hdf", "tif"):
            with pytest.raises(ClientError, match="readable=") as refused:
                tiled.client[uid]["primary"].base[key].read()
            assert refused.value.response.status_code == 403
    with connect(RE, directory=tmp_path / "data", readable=[readable / ".." / "files"]) as tiled:
        stored = tiled.client[uid]["primary"].base["hdf"].read()
        np.testing.assert_array_equal(stored.reshape(FRAMES.shape), FRAMES)


@pytest.mark.parametrize(
    ("uri", "status", "told"),
    [
        ("file://localhost{folder}/gone.h5", 404, "gone.h5"),
        ("s3://bucket/frames.h5", 415, "file://localhost"),
        ("frames.h5", 415, "file://localhost"),
    ],
)
def test_a_file_that_cannot_be_read_is_explained_at_once(
    uri: str, status: int, told: str, RE: RunEngine, tiled: Connection, folder: Path
) -> None:
    run = compose_run(metadata={})
    spec = {"source": "det", "dtype": "array", "shape": [1, 4, 5], "dtype_numpy": "<u2", "external": "STREAM:"}
    stream = run.compose_descriptor(name="primary", data_keys={"hdf": spec})
    resource = run.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=uri.format(folder=folder),
        data_key="hdf",
        parameters={"dataset": "/entry/data", "chunk_shape": [1, 4, 5]},
    )
    datum = resource.compose_stream_datum(
        {"start": 0, "stop": 3}, seq_nums={"start": 1, "stop": 4}, descriptor=stream.descriptor_doc
    )
    emit(RE, "start", run.start_doc)
    emit(RE, "descriptor", stream.descriptor_doc)
    emit(RE, "stream_resource", resource.stream_resource_doc)
    emit(RE, "stream_datum", datum)
    emit(RE, "stop", run.compose_stop())
    assert tiled.flush(PATIENCE_S)
    with pytest.raises(ClientError, match=told) as refused:
        tiled.client[run.start_doc["uid"]]["primary"].base["hdf"].read()
    assert refused.value.response.status_code == status


@pytest.fixture(scope="module")
def readable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder that is served, with the folders ``readable`` and ``linked`` beside it, one of them a link."""
    folder = tmp_path_factory.mktemp("readable")
    for name in ("data", "readable", "elsewhere"):
        (folder / name).mkdir()
    (folder / "linked").symlink_to(folder / "elsewhere")
    with connect(None, directory=folder / "data", readable=[folder / "readable", folder / "linked"]):
        yield folder


@pytest.mark.parametrize("where", ["readable", "linked", "data"])
def test_files_in_a_readable_folder_are_read(
    where: str, RE: RunEngine, readable: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = readable / where / "files"
    files.mkdir()
    given = [] if where == "data" else [readable / where]
    with connect(RE, directory=readable / "data", readable=given) as tiled:
        uid = emit_files(RE, files)
        assert tiled.flush(PATIENCE_S)
        for key in ("hdf", "tif"):
            stored = tiled.client[uid]["primary"].base[key].read()
            np.testing.assert_array_equal(stored.reshape(FRAMES.shape), FRAMES)
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_a_server_that_cannot_read_our_folder_is_not_joined(tmp_path: Path) -> None:
    one, other, data = tmp_path / "one", tmp_path / "other", tmp_path / "data"
    one.mkdir()
    (other / "below").mkdir(parents=True)
    with session(data, other) as running:
        with pytest.raises(BadInputError, match="close the sessions") as refused:
            connect(None, directory=data, readable=[one])
        for part in (str(one), running.uri):
            assert part in str(refused.value)
        connect(None, directory=data, readable=[other / "below", data / "data"]).close()
        assert running("list(connection.client)") == "[]"


def test_what_is_no_readable_folder_is_named(tmp_path: Path, tiled_server: EmbeddedServer) -> None:
    (tmp_path / "file").touch()
    for given, says in ((tmp_path / "missing", "does not exist"), (tmp_path / "file", "is not a folder")):
        with pytest.raises(BadInputError, match=says) as refused:
            connect(None, directory=tmp_path / "data", readable=[given])
        assert str(given) in str(refused.value)
    with pytest.raises(BadInputError, match="readable="):
        connect(None, tiled_server.uri, tiled_server.api_key, tmp_path, readable=[tmp_path])
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
