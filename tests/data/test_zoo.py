"""Every simulated device that can serve, steered for five points and read back from Tiled value by value.

The classes of `ophyd.sim` and `ophyd_async.sim` are found, not listed: a class that a later release adds is either
steered here, or `test_no_class_is_forgotten` fails.
"""

import inspect
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import ophyd.sim
import ophyd_async.sim
import pytest
from bluesky import RunEngine
from bluesky.run_engine import call_in_bluesky_event_loop
from ophyd import SoftPositioner
from ophyd_async.core import StaticFilenameProvider, StaticPathProvider
from zoo import Case, check_contract, steer_and_read_back

from ebl_autonomy.data import Connection

pytestmark = pytest.mark.integration


def axis(name: str = "x") -> ophyd.sim.SynAxis:
    return ophyd.sim.SynAxis(name=name)


# -- motors of ophyd.sim: whatever has set() and a number for a position ----------------------------------------


def pseudo(kind: type, *axes: str) -> Case:
    positioner = kind(name="p", concurrent=False)
    return Case([getattr(positioner, axis) for axis in axes])


MOTORS: dict[str, Callable[[], Case]] = {
    "SynAxis": lambda: Case([axis("x"), axis("y")]),
    "SynAxis with a delay": lambda: Case([ophyd.sim.SynAxis(name="x", delay=0.02), axis("y")]),
    "SynAxis with jitter": lambda: Case(
        [ophyd.sim.SynAxis(name="x", readback_func=lambda x: x + 1e-3 * float(np.sin(1e6 * x)))]
    ),
    "SynAxisEmptyHints": lambda: Case([ophyd.sim.SynAxisEmptyHints(name="x")]),
    "SynAxisNoHints": lambda: Case([ophyd.sim.SynAxisNoHints(name="x"), axis("y")]),
    "SynAxisNoPosition": lambda: Case([ophyd.sim.SynAxisNoPosition(name="x")]),
    "SPseudo3x3": lambda: pseudo(ophyd.sim.SPseudo3x3, "pseudo1", "pseudo2", "pseudo3"),
    "SPseudo3x3, one axis": lambda: pseudo(ophyd.sim.SPseudo3x3, "pseudo2"),
    "SPseudo3x3, real axes": lambda: pseudo(ophyd.sim.SPseudo3x3, "real1", "real3"),
    "SPseudo1x3": lambda: pseudo(ophyd.sim.SPseudo1x3, "pseudo1"),
    "SoftPositioner": lambda: Case([SoftPositioner(name="x", init_pos=0.0)]),
    "Signal": lambda: Case([ophyd.sim.Signal(name="x", value=0.0)]),
    "SynSignal as a setpoint": lambda: Case([ophyd.sim.Signal(name="x", value=0), axis("y")]),
    "EpicsSignalWithRBV": lambda: Case([fake_signal("x")]),
}


def fake_signal(name: str) -> Any:
    signal = ophyd.sim.FakeEpicsSignalWithRBV("X", name=name)
    signal.sim_put(0.0)
    signal.sim_set_putter(signal.sim_put)
    return signal


# -- detectors of ophyd.sim: whatever can be read ---------------------------------------------------------------


def peak(kind: Callable[..., Any], **options: Any) -> Case:
    x = axis()
    return Case([x], [kind("det", x, "x", center=0.3, Imax=5.0, **options)], "det")


def peak_2d() -> Case:
    x, y = axis("x"), axis("y")
    return Case([x, y], [ophyd.sim.Syn2DGauss("det", x, "x", y, "y", center=(0.1, 0.2), Imax=2.0)], "det")


def function(kind: Callable[..., Any], **options: Any) -> Case:
    x = axis()
    return Case([x], [kind(func=lambda: x.position**2, name="det", **options)], "det")


def periodic() -> Case:
    x = axis()
    detector = ophyd.sim.SynPeriodicSignal(name="det", func=lambda: 3.5, period=0.01, period_jitter=0.005)
    detector.start_simulation()
    return Case([x], [detector], "det")


def image_in_memory() -> Case:
    detector = ophyd.sim.DirectImage(func=lambda: np.arange(12.0).reshape(3, 4), name="det")
    return Case([axis()], [detector], derive=lambda readings: float(np.max(readings["det_img"]) + readings["x"]))


def image_in_files(folder: Path) -> Case:
    x = axis()
    counts = itertools.count()

    def image() -> np.ndarray:
        return np.full((4, 5), next(counts) + 0.25)

    detector = ophyd.sim.SynSignalWithRegistry(func=image, name="det", save_path=str(folder))

    def files() -> dict[str, np.ndarray]:
        found = sorted(folder.glob("*.npy"), key=lambda path: int(path.stem.rpartition("_")[2]))
        return {"det": np.stack([np.load(path) for path in found])}

    return Case([x], [detector], derive=lambda readings: readings["x"] ** 2, files=files)


DETECTORS: dict[str, Callable[[], Case]] = {
    "SynGauss": lambda: peak(ophyd.sim.SynGauss),
    "SynGauss with noise": lambda: peak(ophyd.sim.SynGauss, noise="uniform", noise_multiplier=0.1),
    "Syn2DGauss": peak_2d,
    "SynSignal": lambda: function(ophyd.sim.SynSignal),
    "SynSignal with an exposure": lambda: function(ophyd.sim.SynSignal, exposure_time=0.02),
    "SynPeriodicSignal": periodic,
    "ABDetector": lambda: Case([axis()], [ophyd.sim.ABDetector(name="det", labels={"detectors"})], "det_a"),
    "DetWithCountTime": lambda: Case([axis()], [ophyd.sim.DetWithCountTime(name="det")], "det_intensity"),
    "DetWithConf": lambda: Case([axis()], [ophyd.sim.DetWithConf(name="det")], "det_b"),
    "InvariantSignal": lambda: Case([axis()], [ophyd.sim.InvariantSignal(func=lambda: 7, name="det")], "det"),
    "Signal": lambda: Case([axis()], [ophyd.sim.Signal(name="det", value=3)], "det"),
    "Signal, boolean": lambda: Case([axis()], [ophyd.sim.Signal(name="det", value=True)], "det"),
    "DirectImage": image_in_memory,
}
OTHERS = {
    "Device, SoftPositioner, PseudoPositioner and what makes them": {
        "Cpt", "DDCpt", "Device", "PseudoPositioner", "PseudoSingle", "Kind", "SimpleNamespace", "OrderedDict", "deque",
        "partial", "DeviceStatus", "MoveStatus", "StatusBase", "NullStatus", "LimitError", "ReadOnlyError",
    },
    "parts of SynAxis": {"_ReadbackSignal", "_SetpointSignal"},
    "flyers: tests/plans/test_fly_lines.py": {"TrivialFlyer", "NewTrivialFlyer", "MockFlyer"},
    "need an EPICS server, which the cases over our own have": {"EpicsSignal", "EpicsSignalRO", "EpicsSignalWithRBV"},
    "stand-ins of signals that are steered as Signal and EpicsSignalWithRBV": {"FakeEpicsSignal", "FakeEpicsSignalRO"},
    "cannot be triggered, as it puts what it must not": {"SynSignalRO"},
    "no numbers": {"EpicsPathSignal", "FakeEpicsPathSignal", "EnumSignal"},
    "a handler of files": {"NumpySeqHandler"},
}  # fmt: skip


# -- ophyd-async ------------------------------------------------------------------------------------------------


async def connected(*devices: Any) -> None:
    for device in devices:
        await device.connect()


async def hurry(*motors: Any) -> None:
    for motor in motors:
        await motor.velocity.set(100.0)
        await motor.acceleration_time.set(0.01)


async def async_motors(instant: bool) -> Case:
    motors = [ophyd_async.sim.SimMotor(name, instant=instant) for name in ("x", "y")]
    await connected(*motors)
    if not instant:
        await hurry(*motors)
    return Case(motors)


async def async_point(folder: Path) -> Case:
    pattern = ophyd_async.sim.PatternGenerator()
    stage = ophyd_async.sim.SimStage(pattern, "stage")
    detector = ophyd_async.sim.SimPointDetector(pattern, name="det")
    await connected(stage, detector)
    await hurry(stage.x, stage.y)
    await detector.acquire_time.set(0.02)
    return Case([stage.x, stage.y], [detector], "det-channel-2-value")


async def async_blob(folder: Path) -> Case:
    pattern = ophyd_async.sim.PatternGenerator()
    stage = ophyd_async.sim.SimStage(pattern, "stage")
    detector = ophyd_async.sim.SimBlobDetector(
        StaticPathProvider(StaticFilenameProvider("blob"), folder), pattern, name="det"
    )
    await connected(stage, detector)
    await hurry(stage.x, stage.y)

    def files() -> dict[str, np.ndarray]:
        (path,) = folder.glob("blob*")
        with h5py.File(path) as file:
            return {"det": file["/entry/data/data"][()], "det-sum": file["/entry/sum"][()]}

    return Case([stage.x, stage.y], [detector], files=files)


async def async_mirror(kind: type, *axes: str) -> Case:
    mirror = kind("mirror")
    await connected(mirror)
    motors = [getattr(mirror, axis) for axis in axes]
    return Case(motors, ranges={motor.name: (-0.5, 0.7) for motor in motors})


ASYNC: dict[str, Callable[[Path], Awaitable[Case]]] = {
    "SimMotor": lambda _: async_motors(instant=True),
    "SimMotor that takes its time": lambda _: async_motors(instant=False),
    "SimStage and SimPointDetector": async_point,
    "SimBlobDetector": async_blob,
    "VerticalMirror": lambda _: async_mirror(ophyd_async.sim.VerticalMirror, "height", "angle"),
    "VerticalMirror, one axis": lambda _: async_mirror(ophyd_async.sim.VerticalMirror, "height"),
    "VerticalMirror, its jacks": lambda _: async_mirror(ophyd_async.sim.VerticalMirror, "y1", "y2"),
    "HorizontalMirror": lambda _: async_mirror(ophyd_async.sim.HorizontalMirror, "x", "roll"),
}
ASYNC_OTHERS = {"PatternGenerator", "HorizontalMirrorDerived", "TwoJackTransform", "TwoJackDerived", "TwoJackRaw"}
"""What is no device."""


def test_no_class_is_forgotten() -> None:
    steered = {name.split(",")[0].split(" ")[0] for name in (*MOTORS, *DETECTORS)} | {"SynSignalWithRegistry"}
    others = set().union(*OTHERS.values())
    classes = {name for name, found in vars(ophyd.sim).items() if inspect.isclass(found)}
    # Releases of ophyd differ in what they have: what is steered or set aside need not be there.
    assert classes <= steered | others | {"FakeEpicsSignalWithRBV"}
    ours = {word for name in ASYNC for word in name.replace(",", "").split() if word in ophyd_async.sim.__all__}
    assert set(ophyd_async.sim.__all__) == ours | ASYNC_OTHERS


@pytest.mark.parametrize("name", [*MOTORS, *DETECTORS])
def test_devices_of_ophyd(RE: RunEngine, tiled: Connection, name: str) -> None:
    steer_and_read_back(RE, tiled, (MOTORS | DETECTORS)[name])


def test_images_in_files_of_ophyd(RE: RunEngine, tiled: Connection, folder: Path) -> None:
    steer_and_read_back(RE, tiled, lambda: image_in_files(new_folder(folder)))


@pytest.mark.parametrize("name", ASYNC)
def test_devices_of_ophyd_async(RE: RunEngine, tiled: Connection, folder: Path, name: str) -> None:
    async def make() -> Case:
        return await ASYNC[name](new_folder(folder))

    steer_and_read_back(RE, tiled, lambda: call_in_bluesky_event_loop(make()))


@pytest.mark.parametrize("name", [*MOTORS, *DETECTORS])
def test_devices_of_ophyd_keep_the_contract(RE: RunEngine, name: str) -> None:
    check_contract(RE, (MOTORS | DETECTORS)[name]())


@pytest.mark.parametrize("name", ASYNC)
def test_devices_of_ophyd_async_keep_the_contract(RE: RunEngine, tmp_path: Path, name: str) -> None:
    async def make() -> Case:
        return await ASYNC[name](tmp_path)

    check_contract(RE, call_in_bluesky_event_loop(make()))


def test_a_detector_with_images_in_files_keeps_the_contract(RE: RunEngine, tmp_path: Path) -> None:
    check_contract(RE, image_in_files(tmp_path))


def new_folder(parent: Path) -> Path:
    folder = parent / f"{len(list(parent.iterdir()))}"
    folder.mkdir()
    return folder
