"""Files that detectors write: registered as the documents say, read through Tiled equal to the file, resumed or not."""

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from bluesky import RunEngine
from bluesky.plans import count
from documents import Document, key, write
from engines import run_engine
from event_model import compose_run
from ophyd.sim import SynSignalWithRegistry

from ebl_autonomy.data import stored_events
from ebl_autonomy.data.runwriter import ResumableRun
from ebl_autonomy.data.writer import file_of

pytestmark = pytest.mark.integration

FRAMES = 4


def images() -> Any:
    return np.arange(FRAMES * 5 * 6, dtype="u2").reshape(FRAMES, 5, 6)


def recorded(RE: RunEngine, plan: Any) -> list[Document]:
    documents: list[Document] = []
    RE(plan, lambda name, doc: documents.append((name, copy.deepcopy(doc))))
    return documents


def of_hdf5(folder: Path) -> tuple[list[Document], Any]:
    """Of area detector: one file for the run, referred to by resource and datum documents."""
    with h5py.File(folder / "scan.h5", "w") as file:
        file["/entry/data/data"] = images()
    datums = [{"point_number": frame} for frame in range(FRAMES)]
    return legacy("AD_HDF5", folder, "scan.h5", {"frame_per_point": 1}, datums), images()[:, None]


def of_tiff(folder: Path) -> tuple[list[Document], Any]:
    """Of area detector: a file for each frame."""
    for frame, image in enumerate(images()):
        tifffile.imwrite(folder / f"scan_{frame:06d}.tiff", image)
    arguments = {"template": "%s%s_%6.6d.tiff", "filename": "scan", "frame_per_point": 1}
    datums = [{"point_number": frame} for frame in range(FRAMES)]
    return legacy("AD_TIFF", folder, "", arguments, datums), images()[:, None]


def of_npy(folder: Path) -> tuple[list[Document], Any]:
    """Of ophyd: a file for each value, as `SynSignalWithRegistry` writes them."""
    values = itertools.cycle(images().astype(float))
    signal = SynSignalWithRegistry(func=lambda: next(values), name="det", save_path=str(folder))
    with run_engine() as RE:
        documents = recorded(RE, count([signal], FRAMES))
    (stem,) = {path.name.rpartition("_")[0] for path in folder.iterdir()}
    return documents, np.stack([np.load(folder / f"{stem}_{frame}.npy") for frame in range(FRAMES)])


def legacy(spec: str, root: Path, path: str, arguments: Any, datums: list[dict[str, Any]]) -> list[Document]:
    run = compose_run()
    keys = {"det": key("array", [1, 5, 6], dtype_numpy="<u2", external="FILESTORE:"), "x": key()}
    bundle = run.compose_descriptor(name="primary", data_keys=keys, hints={}, configuration={}, object_keys={})
    resource = run.compose_resource(spec=spec, root=str(root), resource_path=path, resource_kwargs=arguments)
    documents: list[Document] = [
        ("start", run.start_doc),
        ("descriptor", bundle.descriptor_doc),
        ("resource", resource.resource_doc),
    ]
    for frame, datum_kwargs in enumerate(datums):
        datum = resource.compose_datum(datum_kwargs=datum_kwargs)
        data = {"det": datum["datum_id"], "x": float(frame)}
        event = bundle.compose_event(data=data, timestamps=dict.fromkeys(data, 1e9), filled={"det": False, "x": True})
        documents += [("datum", datum), ("event", event)]
    return [(name, copy.deepcopy(dict(doc))) for name, doc in [*documents, ("stop", run.compose_stop())]]


@pytest.mark.parametrize("made", [of_hdf5, of_tiff, of_npy])
def test_files_of_ophyd_are_read_as_they_were_written(
    client: Any, folder: Path, made: Callable[[Path], tuple[list[Document], Any]]
) -> None:
    documents, expected = made(folder)
    for end in (len(documents) // 2, len(documents) - 1, len(documents), len(documents)):
        write(client, documents[:end])
    node = client[documents[0][1]["uid"]]["primary"]["det"]
    stored = node.read()
    assert stored.shape in (expected.shape, np.squeeze(expected).shape)  # releases of the plugin differ in an axis of 1
    assert np.array_equal(stored.reshape(expected.shape), expected)
    for event in stored_events(client[documents[0][1]["uid"]], "primary"):
        assert "det" not in event["data"]  # what is in files is not read with the readings


def test_frames_of_ophyd_async_are_counted_once(RE: RunEngine, client: Any, folder: Path) -> None:
    """Whatever was registered before the interruption, the documents of the whole run say how many frames there are."""
    from ophyd_async.core import StaticFilenameProvider, StaticPathProvider
    from ophyd_async.sim import SimBlobDetector

    detector = SimBlobDetector(StaticPathProvider(StaticFilenameProvider("blob"), folder), name="blob")
    documents = recorded(RE, count([detector], FRAMES))
    assert {"stream_resource", "stream_datum"} <= {name for name, _ in documents}
    for end in range(len(documents) - 3, len(documents) + 1):
        write(client, documents[:end], group=1)
    run = ResumableRun(client)  # and once more, in one group that is flushed again after the end
    for name, doc in documents:
        run.give(name, copy.deepcopy(doc))
    run.flush()
    run.flush()
    (path,) = folder.glob("blob*")
    stream = client[documents[0][1]["uid"]]["primary"]
    with h5py.File(path) as file:
        expected = file["/entry/data/data"][()]
    assert stream["blob"].shape[0] == FRAMES
    assert np.array_equal(np.squeeze(stream["blob"].read()), np.squeeze(expected))
    assert stream["blob-sum"].shape[0] == FRAMES


def test_files_that_tiled_cannot_read_are_noted_and_the_rest_of_the_run_is_stored(
    client: Any, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    documents = legacy("OWN_FORMAT", folder, "scan.own", {}, [{}] * FRAMES)
    for name, doc in documents:
        if name == "descriptor":
            doc["data_keys"]["det"]["shape"] = [None, 6]
        if name == "resource":
            doc["spec"] = "AD_TIFF"  # without a template nobody knows the names of the files
    write(client, documents)
    run = client[documents[0][1]["uid"]]
    assert run["primary"].base["internal"].read()["x"].tolist() == [0.0, 1.0, 2.0, 3.0]
    (note,) = run.metadata["notes"]
    assert "'det'" in note
    assert "scan.own" in note
    assert note in caplog.text


@pytest.mark.parametrize(
    ("root", "path"), [("/", "data/scan.h5"), ("/data", "scan.h5"), ("/data/", "/scan.h5"), ("", "/data/scan.h5")]
)
def test_the_file_of_a_resource_is_found_however_its_path_is_divided(root: str, path: str) -> None:
    assert file_of({"root": root, "resource_path": path}) == "/data/scan.h5"  # "/" is ophyd's default root
