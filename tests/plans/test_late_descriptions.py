"""Detectors that describe themselves only after they were staged or triggered, or write their readings into files."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import plans as bp
from bluesky.run_engine import call_in_bluesky_event_loop
from bluesky.utils import RunEngineInterrupted
from ophyd.sim import SynSignalWithRegistry
from ophyd.utils import DisconnectedError
from ophyd_async.core import (
    StaticPathProvider,
    UUIDFilenameProvider,
    callback_on_mock_put,
    init_devices,
    set_mock_value,
)
from ophyd_async.epics.adcore import ADState, NDStatsIO, PluginSignalDataLogic
from ophyd_async.epics.adsimdetector import SimDetector
from ophyd_async.sim import SimBlobDetector
from scripted import Scripted, at
from simple import ENVELOPE, Documents, Staged, truth

from ebl_autonomy.data import Connection, read_run
from ebl_autonomy.data.server import EmbeddedServer
from ebl_autonomy.errors import BadInputError, MeasurementError
from ebl_autonomy.plans import optimize

POINTS = [at(0.5, 0.0), at(1.0, 1.0), at(-1.0, 0.5)]
KINDS = pytest.mark.parametrize("when", ["staged", "triggered"])


def plan(detectors: Any, motors: Any, outcome: str = "bowl", points: Any = POINTS, **more: Any) -> Any:
    agent = Scripted(list(points))
    agent.vocs = {"variables": {"mx": [-2.0, 2.0], "my": [-2.0, 2.0]}, "objectives": {outcome: "MINIMIZE"}}
    return optimize(detectors, motors, agent, max_points=len(points), envelope=ENVELOPE, finish="stay", **more)


def check_first_row(docs: Documents, reason: str) -> None:
    """The first row is recorded and invalid, and the run is closed as failed."""
    (row,) = docs.events["primary"]
    assert (row["mx"], row["valid"]) == (POINTS[0]["mx"], False)
    assert reason in row["invalid_reason"]
    assert docs.stop["exit_status"] == "fail"
    assert reason in docs.stop["reason"]
    assert docs.events["abandoned"] == []


class Late(Staged):
    """A detector that knows its keys only once it is staged or triggered."""

    def __init__(self, name: str, when: str, error: Exception | None = None, key: str = "") -> None:
        super().__init__(name)
        self.when, self.error, self.key = when, error or RuntimeError("not ready"), key or name

    def describe(self) -> Any:
        if {"staged": "stage", "triggered": "trigger"}.get(self.when) not in self.calls:
            raise self.error
        return {self.key: {"source": "test", "dtype": "number", "shape": [], "units": "mm"}}

    def read(self) -> Any:
        return {self.key: {"value": 7.0, "timestamp": 0.0}}


@pytest.fixture
def folder(tiled_server: EmbeddedServer, tmp_path: Path) -> Path:
    """A folder that the server may read."""
    folder = tiled_server.directory / "data" / tmp_path.name
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def blob(RE: RunEngine, folder: Path) -> SimBlobDetector:
    detector = SimBlobDetector(StaticPathProvider(UUIDFilenameProvider(), folder), name="blob")
    call_in_bluesky_event_loop(detector.connect())
    return detector


def forget(detector: Any) -> None:
    """Let a detector of ophyd-async forget what it was prepared for."""

    async def stage() -> None:
        await detector.stage()
        await detector.unstage()

    call_in_bluesky_event_loop(stage())
    with pytest.raises(RuntimeError, match="Prepare not run"):
        call_in_bluesky_event_loop(detector.describe())


def pause_in_reading(RE: RunEngine, detector: Any, number: int) -> None:
    """Make reading `number` (counted from 1) request a pause, and end only after the RunEngine has received it."""
    read, readings = detector.read, 0

    async def slow_read() -> Any:
        nonlocal readings
        readings += 1
        if readings == number:
            pause = threading.Thread(target=RE.request_pause, daemon=True)
            pause.start()
            while pause.is_alive():
                await asyncio.sleep(0.01)
        return read()

    detector.read = slow_read


@KINDS
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("not ready"),
        TypeError("'NoneType' object is not subscriptable"),
        AttributeError("'Late' object has no attribute 'frame'"),
        KeyError("size"),
        ZeroDivisionError("division by zero"),
    ],
)
def test_a_late_detector_is_asked_later(
    RE: RunEngine, docs: Documents, bench: Any, when: str, error: Exception
) -> None:
    bowl, motors = bench
    late = Late("late", when, error)
    RE(bp.list_scan([late], motors[0], [0.0, 1.0]))
    late.calls.clear()
    docs.all.clear()
    docs.events.clear()
    RE(plan([bowl, late], motors, "late"))
    assert [(row["bowl"], row["late"]) for row in docs.events["primary"]] == [
        (truth(p["mx"], p["my"]), 7.0) for p in POINTS
    ]
    assert all(row["valid"] for row in docs.events["primary"])
    assert late.calls == ["stage", "trigger", "trigger", "trigger", "unstage"]
    if when == "staged":
        assert docs.start["ebl_autonomy"]["units"]["late"] == "mm"


def test_what_is_known_after_staging_is_checked_before_a_run_is_opened(
    RE: RunEngine, docs: Documents, bench: Any
) -> None:
    bowl, motors = bench
    late = Late("late", "staged")
    with pytest.raises(BadInputError, match=r"nokey.*late"):
        RE(plan([bowl, late], motors, "nokey"))
    assert docs.all == []
    assert late.calls == ["stage", "unstage"]


def test_a_missing_outcome_is_told_at_the_first_reading(
    RE: RunEngine, docs: Documents, bench: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    bowl, motors = bench
    late = Late("late", "triggered", key="late_total")
    with pytest.raises(BadInputError, match=r"nokey.*bowl.*late_total"):
        RE(plan([bowl, late], motors, "nokey"))
    check_first_row(docs, "nokey")
    assert late.calls == ["stage", "trigger", "unstage"]
    assert "ended after 1 row: BadInputError" in capsys.readouterr().out


def test_a_missing_outcome_is_told_although_a_pause_cut_the_first_reading(
    RE: RunEngine, docs: Documents, bench: Any
) -> None:
    bowl, motors = bench
    late = Late("late", "triggered", key="late_total")
    pause_in_reading(RE, bowl, 1)
    with pytest.raises(RunEngineInterrupted):
        RE(plan([bowl, late], motors, "nokey"))
    with pytest.raises(BadInputError, match=r"nokey.*bowl.*late_total"):
        RE.resume()
    check_first_row(docs, "nokey")


@KINDS
def test_late_detectors_with_one_key_are_named(RE: RunEngine, docs: Documents, bench: Any, when: str) -> None:
    bowl, motors = bench
    with pytest.raises(BadInputError, match=r"'left'.*'right'.*'both'"):
        RE(plan([bowl, Late("left", when, key="both"), Late("right", when, key="both")], motors))
    assert docs.events["primary"] == []


@KINDS
@pytest.mark.parametrize("role", ["baseline", "detectors"])
def test_late_devices_in_the_baseline(RE: RunEngine, docs: Documents, bench: Any, when: str, role: str) -> None:
    bowl, motors = bench
    late = Late("late", when)
    RE(plan([bowl, *([late] if role == "detectors" else [])], motors, baseline=[late]))
    assert [row["late"] for row in docs.events["start_and_end"]] == [7.0, 7.0]
    assert docs.stop["exit_status"] == "success"


@pytest.mark.parametrize(
    "error",
    [
        NameError("name 'x' is not defined"),
        NotImplementedError(),
        DisconnectedError("det:cam1 is not connected"),
        TimeoutError("no answer"),
        ConnectionRefusedError("refused"),
    ],
)
@pytest.mark.parametrize("role", ["baseline", "detectors"])
def test_a_mistake_or_a_dead_device_is_refused_before_anything_moves(
    RE: RunEngine, docs: Documents, bench: Any, error: Exception, role: str
) -> None:
    bowl, motors = bench
    late = Late("late", "never", error)
    with pytest.raises(BadInputError, match=rf"'late'.*{type(error).__name__}"):
        RE(plan([bowl, *([late] if role == "detectors" else [])], motors, baseline=[late]))
    assert docs.all == []
    assert "trigger" not in late.calls
    assert motors[0].position == 0


def test_a_detector_that_never_describes_itself_ends_the_run(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    with pytest.raises(BadInputError, match=r"'late'.*triggered.*not ready"):
        RE(plan([bowl, Late("late", "never")], motors))
    assert docs.events["primary"] == []
    assert docs.stop["exit_status"] == "fail"


class Silent:
    """A detector that can be neither staged nor triggered, so that nothing will change."""

    name, parent = "silent", None

    def read(self) -> Any:
        return {}

    def describe(self) -> Any:
        raise RuntimeError("not ready")


def test_a_detector_whose_state_never_changes_is_refused_at_once(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    with pytest.raises(BadInputError, match=r"'silent'.*not ready"):
        RE(plan([bowl, Silent()], motors))
    assert docs.all == []


@pytest.mark.integration
def test_frames_of_a_standard_detector_are_stored_with_their_rows(
    RE: RunEngine, docs: Documents, tiled: Connection, bench: Any, blob: SimBlobDetector
) -> None:
    bowl, motors = bench
    RE(bp.list_scan([blob], motors[0], [0.0, 1.0]))
    forget(blob)
    docs.all.clear()
    docs.events.clear()
    uid = RE(plan([bowl, blob], motors)).plan_result.uid
    assert [row["bowl"] for row in docs.events["primary"]] == [truth(p["mx"], p["my"]) for p in POINTS]
    check_frames(docs, tiled, uid, frames=3)


def check_frames(docs: Documents, tiled: Connection, uid: str, frames: int, cut: int | None = None) -> None:
    """Each frame is told of, also the one whose row a pause cut; what is read through Tiled are those of the rows."""
    keys = {doc["uid"]: doc["data_key"] for name, doc in docs.all if name == "stream_resource"}
    assert sorted(keys.values()) == ["blob", "blob-sum"]
    datums = [doc for name, doc in docs.all if name == "stream_datum" and keys[doc["stream_resource"]] == "blob"]
    assert [doc["indices"] for doc in datums] == [{"start": k, "stop": k + 1} for k in range(frames)]
    assert len({doc["uid"] for doc in datums}) == frames
    assert {doc["seq_nums"]["start"] for doc in datums} == {1, 2, 3}
    assert tiled.flush()
    assert len(read_run(uid, tiled.client).rows["bowl"]) == 3
    stored = tiled.client[uid]["primary"]["blob"].read()
    resource = next(doc for name, doc in docs.all if name == "stream_resource" and doc["data_key"] == "blob")
    with h5py.File(resource["uri"].removeprefix("file://localhost")) as file:
        written = file[resource["parameters"]["dataset"]][()]
    assert len(written) == frames
    kept = [frame for frame in range(frames) if frame != cut]
    assert np.array_equal(np.squeeze(stored), np.squeeze(written[kept]))


@pytest.mark.integration
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_pause_loses_no_frame_of_a_row(
    RE: RunEngine, docs: Documents, tiled: Connection, bench: Any, blob: SimBlobDetector, number: int
) -> None:
    bowl, motors = bench
    pause_in_reading(RE, bowl, number)
    with pytest.raises(RunEngineInterrupted):
        RE(plan([blob, bowl], motors))
    RE.resume()
    assert docs.stop["exit_status"] == "success"
    assert [row["bowl"] for row in docs.events["primary"]] == [truth(p["mx"], p["my"]) for p in POINTS]
    assert docs.events["abandoned"] == []
    check_frames(docs, tiled, docs.start["uid"], frames=4, cut=number - 1)


@pytest.mark.integration
@pytest.mark.parametrize("outcome", ["blob", "blob-sum", "width"])
def test_an_outcome_in_a_file_is_told_at_the_first_reading(
    RE: RunEngine, docs: Documents, bench: Any, blob: SimBlobDetector, outcome: str
) -> None:
    bowl, motors = bench
    derive = {"width": lambda r: float(r["blob-sum"]) ** 0.5} if outcome == "width" else None
    with pytest.raises(BadInputError, match=r"'blob' writes 'blob.*\['bowl'\].*derive=.*statistics plugin"):
        RE(plan([bowl, blob], motors, outcome, derive=derive))
    check_first_row(docs, "'blob' writes 'blob")


@pytest.mark.integration
@pytest.mark.parametrize("whose", ["ours", "own"])
def test_a_stub_may_read_a_standard_detector(
    RE: RunEngine, docs: Documents, tiled: Connection, bench: Any, blob: SimBlobDetector, whose: str
) -> None:
    bowl, motors = bench

    def measure(detectors: Any, point: Any) -> Any:
        if whose == "ours":
            yield from bps.trigger_and_read(detectors)
        else:
            yield from bp.count(detectors, num=2)
        return {"bowl": bowl.value}

    result = RE(plan([bowl, blob], motors, measure=measure)).plan_result
    assert (result.accepted, result.abandoned) == (3, 0)
    assert tiled.flush()
    stored = tiled.client[result.uid]["measured_primary"]["blob"] if whose == "ours" else None
    if stored is None:
        runs = [doc["uid"] for name, doc in docs.all if name == "start" and doc["plan_name"] == "count"]
        assert [tiled.client[uid]["primary"]["blob"].shape[0] for uid in runs] == [2, 2, 2]
    else:
        assert stored.shape[0] == 3


def test_an_outcome_in_a_file_is_told_at_once_if_it_is_known(
    RE: RunEngine, docs: Documents, bench: Any, tmp_path: Path
) -> None:
    bowl, motors = bench
    image = SynSignalWithRegistry(func=lambda: np.ones((3, 4)), name="image", save_path=str(tmp_path))
    image.stage()
    described = image.describe()
    assert described["image"].get("external")
    with pytest.raises(BadInputError, match=r"'image' writes 'image'.*\['bowl'\]"):
        RE(plan([bowl, image], motors, "image"))
    assert docs.all == []
    with pytest.raises(BadInputError, match=r"'image' writes 'image'.*\['bowl'\]"):
        RE(plan([bowl, image], motors, "width", derive={"width": lambda r: float(np.sum(r["image"]))}))
    check_first_row(docs, "'image' writes 'image'")


@pytest.mark.parametrize("role", ["baseline", "detectors"])
def test_a_standard_detector_that_is_not_connected_is_named(
    RE: RunEngine, docs: Documents, bench: Any, role: str
) -> None:
    bowl, motors = bench
    det = SimDetector("SIM:", name="det")
    with pytest.raises(MeasurementError, match=r"det failed: .*connect.*Nothing has moved"):
        RE(plan([bowl, *([det] if role == "detectors" else [])], motors, baseline=[det]))
    assert docs.all == []
    assert motors[0].position == 0


def test_an_area_detector_with_a_statistics_plugin(RE: RunEngine, docs: Documents, bench: Any) -> None:
    _, motors = bench

    async def connected() -> SimDetector:
        async with init_devices(mock=True):
            stats = NDStatsIO("SIM:STATS:")
            det = SimDetector("SIM:", plugins={"stats": stats})
        det.add_detector_logics(PluginSignalDataLogic(det.driver, stats.total))
        set_mock_value(det.driver.detector_state, ADState.IDLE)
        callback_on_mock_put(
            det.driver.acquire, lambda *_, **__: set_mock_value(stats.total, truth(*(m.position for m in motors)))
        )
        return det

    det = call_in_bluesky_event_loop(connected())
    RE(bp.list_scan([det], motors[0], [0.0, 1.0]))
    docs.events.clear()
    docs.all.clear()
    key = next(iter(call_in_bluesky_event_loop(det.describe())))
    forget(det)
    RE(plan([det], motors, key))
    assert [row[key] for row in docs.events["primary"]] == [truth(p["mx"], p["my"]) for p in POINTS]
    assert docs.stop["exit_status"] == "success"
