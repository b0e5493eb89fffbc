"""Frames that were exposed for no row, because an exposure was repeated or cut: each row keeps its own frame."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from bluesky import RunEngine
from bluesky.run_engine import call_in_bluesky_event_loop
from documents import Document, key, write
from event_model import compose_run
from ophyd.sim import NullStatus, SynAxis, SynSignalWithRegistry
from ophyd_async.core import StaticPathProvider, UUIDFilenameProvider
from ophyd_async.sim import SimBlobDetector

from ebl_autonomy import VOCS
from ebl_autonomy.agents import SobolAgent
from ebl_autonomy.data import Connection
from ebl_autonomy.data.frames import FrameRanges
from ebl_autonomy.data.runwriter import ResumableRun
from ebl_autonomy.plans import optimize

pytestmark = pytest.mark.integration

POINTS = 5


def test_ranges_select_what_belongs_to_rows() -> None:
    frames = FrameRanges()
    frames.add(0, 2)
    assert (frames.slice(1), frames.has_gaps) == ("0:2", False)
    frames.add(3, 4)
    assert (frames.slice(2), frames.has_gaps) == ([0, 1, 2, 3, 6, 7], True)
    late = FrameRanges()
    late.add(1, 3)
    assert (late.slice(3), late.has_gaps) == ("3:9", True)


# -- documents of ophyd: resource and datum ----------------------------------------------------------------------


def legacy(
    spec: str,
    folder: Path,
    path: str,
    arguments: dict[str, Any],
    shape: Sequence[int],
    of_rows: Sequence[int],
    descriptors: int = 1,
) -> list[Document]:
    """A run whose row i refers to the datum of exposure `of_rows[i]`; all exposures up to it are told of."""
    run = compose_run()
    keys = {"det": key("array", shape, dtype_numpy="<u2", external="FILESTORE:"), "x": key()}
    documents: list[Document] = [("start", run.start_doc)]
    bundles = []
    for _ in range(descriptors):
        bundles.append(
            run.compose_descriptor(name="primary", data_keys=keys, hints={}, configuration={}, object_keys={})
        )
    resource = run.compose_resource(spec=spec, root=str(folder), resource_path=path, resource_kwargs=arguments)
    documents += [("descriptor", bundles[0].descriptor_doc), ("resource", resource.resource_doc)]
    datums: list[Any] = []
    for row, exposure in enumerate(of_rows):
        bundle = bundles[min(row, descriptors - 1)]
        if row and descriptors > row:
            documents.append(("descriptor", bundle.descriptor_doc))
        while len(datums) <= exposure:
            datums.append(resource.compose_datum(datum_kwargs={"point_number": len(datums)}))
            documents.append(("datum", datums[-1]))
        data = {"det": datums[exposure]["datum_id"], "x": float(row)}
        event = bundle.compose_event(
            seq_num=row + 1, data=data, timestamps=dict.fromkeys(data, 1e9), filled={"det": False, "x": True}
        )
        documents.append(("event", event))
    return [(name, dict(doc)) for name, doc in [*documents, ("stop", run.compose_stop())]]


def written(folder: Path, exposures: int, per_point: int, axis: bool = False) -> Any:
    """The frames of all exposures, in one HDF5 file; as an array of shape (exposures, per_point, 4, 3)."""
    frames = np.arange(exposures * per_point * 12, dtype="u2").reshape(exposures, per_point, 4, 3)
    with h5py.File(folder / "scan.h5", "w") as file:
        file["/entry/data/data"] = frames if axis else frames.reshape(-1, 4, 3)
    return frames


ROWS = pytest.mark.parametrize(
    "of_rows", [[0, 1, 2], [1, 2, 3], [0, 1, 3, 6]], ids=lambda rows: "-".join(map(str, rows))
)


@ROWS
@pytest.mark.parametrize(("per_point", "trailing"), [(1, 2), (3, 0)])
def test_frames_of_an_hdf5_file(client: Any, folder: Path, of_rows: list[int], per_point: int, trailing: int) -> None:
    frames = written(folder, max(of_rows) + 1 + trailing, per_point)
    documents = legacy("AD_HDF5", folder, "scan.h5", {"frame_per_point": per_point}, [per_point, 4, 3], of_rows)
    for end in (len(documents) // 2, len(documents) - 1, len(documents), len(documents)):
        write(client, documents[:end], group=1)
    node = client[documents[0][1]["uid"]]["primary"]["det"]
    expected = frames[of_rows]
    assert np.array_equal(node.read().reshape(expected.shape), expected)
    assert node.shape in (expected.shape, (len(of_rows) * per_point, 4, 3))  # releases of the plugin differ
    selected = node.data_sources()[0].parameters["slice"]  # as the manual says
    index = slice(*map(int, selected.split(":"))) if isinstance(selected, str) else selected
    with h5py.File(folder / "scan.h5") as file:
        assert np.array_equal(file["/entry/data/data"][index].reshape(expected.shape), expected)
    first = node[0]
    assert np.array_equal(np.ravel(first), np.ravel(expected[0])[: first.size])


@ROWS
def test_frames_of_a_file_that_has_an_axis_for_the_rows(client: Any, folder: Path, of_rows: list[int]) -> None:
    frames = written(folder, max(of_rows) + 1, 1)[:, 0]
    documents = legacy("AD_HDF5", folder, "scan.h5", {}, [4, 3], of_rows)
    write(client, documents)
    stored = client[documents[0][1]["uid"]]["primary"]["det"].read()
    assert np.array_equal(stored.reshape(len(of_rows), 4, 3), frames[of_rows])


@ROWS
def test_frames_in_files_of_their_own(client: Any, folder: Path, of_rows: list[int]) -> None:
    frames = np.arange(7 * 12, dtype="u2").reshape(7, 4, 3)
    for number, frame in enumerate(frames):
        tifffile.imwrite(folder / f"scan_{number:06d}.tiff", frame)
    arguments = {"template": "%s%s_%6.6d.tiff", "filename": "scan", "frame_per_point": 1}
    documents = legacy("AD_TIFF", folder, "", arguments, [1, 4, 3], of_rows)
    write(client, documents, group=1)
    stored = client[documents[0][1]["uid"]]["primary"]["det"].read()
    assert np.array_equal(stored.reshape(len(of_rows), 4, 3), frames[of_rows])


def test_a_change_of_the_configuration_does_not_register_the_file_again(client: Any, folder: Path) -> None:
    of_rows = [0, 2, 3]
    frames = written(folder, 5, 1)
    documents = legacy("AD_HDF5", folder, "scan.h5", {"frame_per_point": 1}, [1, 4, 3], of_rows, descriptors=2)
    write(client, documents, group=1)
    stored = client[documents[0][1]["uid"]]["primary"]["det"].read()
    assert np.array_equal(stored.reshape(3, 1, 4, 3), frames[of_rows])


# -- documents of ophyd-async: stream_resource and stream_datum -------------------------------------------------


def streamed(mimetype: str, uri: str, parameters: dict[str, Any], of_rows: Sequence[int]) -> list[Document]:
    """A run as this package emits it: a document for each frame; those without a row have the row's sequence number."""
    run = compose_run()
    keys = {"det": key("array", [1, 4, 3], dtype_numpy="<u2", external="STREAM:"), "x": key()}
    bundle = run.compose_descriptor(name="primary", data_keys=keys, hints={}, configuration={}, object_keys={})
    resource = run.compose_stream_resource(data_key="det", mimetype=mimetype, uri=uri, parameters=parameters)
    documents: list[Document] = [
        ("start", run.start_doc),
        ("descriptor", bundle.descriptor_doc),
        ("stream_resource", resource.stream_resource_doc),
    ]
    exposure = 0
    for row, frame in enumerate(of_rows):
        for index in range(exposure, frame + 1):
            datum = resource.compose_stream_datum(
                indices={"start": index, "stop": index + 1}, seq_nums={"start": row + 1, "stop": row + 2}
            )
            documents.append(("stream_datum", {**datum, "descriptor": bundle.descriptor_doc["uid"]}))
        exposure = frame + 1
        documents.append(("event", bundle.compose_event(seq_num=row + 1, data={"x": 0.0}, timestamps={"x": 1e9})))
    return [(name, dict(doc)) for name, doc in [*documents, ("stop", run.compose_stop())]]


def give_one_by_one(client: Any, documents: list[Document]) -> None:
    """Flush after each document: what is registered meanwhile must not stay if it turns out to belong to no row."""
    run = ResumableRun(client)
    for name, doc in documents:
        run.give(name, dict(doc))
        run.flush()
    run.close()


@ROWS
@pytest.mark.parametrize("kind", ["hdf5", "tiff"])
def test_frames_of_streamed_files(client: Any, folder: Path, of_rows: list[int], kind: str) -> None:
    frames = written(folder, 8, 1)
    if kind == "hdf5":
        uri, mimetype = f"file://localhost{folder}/scan.h5", "application/x-hdf5"
        parameters: dict[str, Any] = {"dataset": "/entry/data/data", "chunk_shape": (1, 4, 3)}
    else:
        for number, frame in enumerate(frames):
            tifffile.imwrite(folder / f"scan_{number}.tiff", frame[0])
        uri, mimetype = f"file://localhost{folder}/", "multipart/related;type=image/tiff"
        parameters = {"template": "scan_{:d}.tiff", "chunk_shape": (1, 4, 3)}
    documents = streamed(mimetype, uri, parameters, of_rows)
    for end in (len(documents) // 2, len(documents), len(documents)):
        give_one_by_one(client, documents[:end])
    stored = client[documents[0][1]["uid"]]["primary"]["det"].read()
    assert np.array_equal(stored.reshape(len(of_rows), 1, 4, 3), frames[of_rows])


# -- real detectors, steered ------------------------------------------------------------------------------------


class Flaky:
    """A second detector, which fails or pauses the run at some readings."""

    name, parent = "flaky", None

    def __init__(self, motor: Any, act: dict[int, Callable[[], None]]) -> None:
        self.motor, self.act, self.readings = motor, act, 0

    def trigger(self) -> Any:
        return NullStatus()

    def read(self) -> Any:
        self.readings += 1
        self.act.get(self.readings, lambda: None)()
        return {"flaky": {"value": float(self.motor.position) ** 2, "timestamp": 0.0}}

    def describe(self) -> Any:
        return {"flaky": {"source": "test", "dtype": "number", "shape": []}}


def fail() -> None:
    raise RuntimeError("no counts")


def steer(RE: RunEngine, motor: Any, camera: Any, act: dict[int, Any]) -> str:
    vocs = VOCS(variables={motor.name: (-2.0, 2.0)}, objectives={"flaky": "MINIMIZE"})
    agent = SobolAgent(vocs, seed=1)
    result = RE(optimize([camera, Flaky(motor, act)], [motor], agent, max_points=POINTS, retries=1)).plan_result
    assert result.accepted == POINTS
    return str(result.uid)


TROUBLE = pytest.mark.parametrize(("failures", "gaps"), [({}, ()), ({1: fail, 4: fail}, (0, 3)), ({3: fail}, (2,))])


@TROUBLE
def test_a_repeated_row_of_a_standard_detector(
    RE: RunEngine, tiled: Connection, folder: Path, failures: Any, gaps: Sequence[int]
) -> None:
    blob = SimBlobDetector(StaticPathProvider(UUIDFilenameProvider(), folder), name="blob")
    call_in_bluesky_event_loop(blob.connect())
    uid = steer(RE, SynAxis(name="m"), blob, failures)
    (path,) = folder.iterdir()
    with h5py.File(path) as file:
        images, sums = file["/entry/data/data"][()], file["/entry/sum"][()]
    of_rows = [index for index in range(len(images)) if index not in gaps]
    assert len(of_rows) == POINTS
    assert tiled.flush(60.0)
    primary = tiled.client[uid]["primary"]
    assert primary["blob"].shape[0] == primary["blob-sum"].shape[0] == POINTS
    assert np.array_equal(np.squeeze(primary["blob"].read()), np.squeeze(images[of_rows]))
    assert np.array_equal(np.squeeze(primary["blob-sum"].read()), np.squeeze(sums[of_rows]))
    assert primary.base["internal"].read()["flaky"].size == POINTS


@TROUBLE
def test_a_repeated_row_of_a_detector_with_a_file_for_each_frame(
    RE: RunEngine, tiled: Connection, folder: Path, failures: Any, gaps: Sequence[int]
) -> None:
    counts = iter(range(100))
    image = SynSignalWithRegistry(func=lambda: np.full((4, 5), next(counts) + 0.5), name="image", save_path=str(folder))
    uid = steer(RE, SynAxis(name="m"), image, failures)
    assert tiled.flush(60.0)
    stored = tiled.client[uid]["primary"]["image"].read()
    files = sorted(folder.iterdir(), key=lambda path: int(path.stem.rpartition("_")[2]))
    expected = [np.load(path) for number, path in enumerate(files) if number not in gaps]
    assert np.array_equal(stored.reshape(POINTS, 4, 5), np.stack(expected))
