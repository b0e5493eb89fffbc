"""An areaDetector whose exposures are repeated and cut, steered over channel access: each row keeps its image."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

SCRIPT = """
import json
import sys
import threading
from pathlib import Path
from area_detector import area_detector

frames, data = Path(sys.argv[1]), Path(sys.argv[2])
frames.mkdir()
ioc = area_detector()
ioc.__enter__()

import h5py
import numpy as np
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from ophyd import AreaDetector, Component, EpicsMotor, HDF5Plugin, SingleTrigger, StatsPlugin
from ophyd.areadetector.filestore_mixins import FileStoreHDF5IterativeWrite
from ophyd.status import Status
from ebl_autonomy import VOCS, connect
from ebl_autonomy.agents import SobolAgent
from ebl_autonomy.plans import optimize

class HDF5(HDF5Plugin, FileStoreHDF5IterativeWrite):
    def describe(self):
        described = super().describe()
        for key, one in described.items():
            if "external" in one:
                one.setdefault("dtype_numpy", "<u2")  # ophyd tells it since 1.11; Tiled reads no file without it
        return described

class Camera(SingleTrigger, AreaDetector):
    stats = Component(StatsPlugin, "Stats1:")
    hdf5 = Component(HDF5, "HDF1:", write_path_template=str(frames), root="/")
    exposures = 0

    def trigger(self):
        self.exposures += 1
        return super().trigger()

camera = Camera("EBL:AD:", name="camera")
camera.wait_for_connection(timeout=60)
camera.read_attrs = ["stats", "hdf5"]
camera.stats.read_attrs = ["mean_value"]
pitch = EpicsMotor("EBL:kbv_pitch", name="pitch")
pitch.wait_for_connection(timeout=60)
RE = RunEngine({}, call_returns_result=True)

class Other:
    name, parent = "other", None
    def __init__(self, failing, pausing):
        self.failing, self.pausing, self.triggers = failing, pausing, 0
    def trigger(self):
        self.triggers += 1
        status = Status(self)
        def finish():
            if self.triggers in self.pausing:
                RE.request_pause()
            status.set_finished()
        threading.Thread(target=finish, daemon=True).start()
        return status
    def read(self):
        if self.triggers in self.failing:
            raise RuntimeError("no counts")
        return {"other": {"value": pitch.position ** 2, "timestamp": 0.0}}
    def describe(self):
        return {"other": {"source": "test", "dtype": "number", "shape": []}}

TROUBLE = {"undisturbed": ((), ()), "repeated": ((1, 4), ()), "cut": ((), (3,)), "ended": ((), (4,))}
seen = {}
with connect(RE, directory=data, readable=[frames]) as tiled:
    for name, trouble in TROUBLE.items():
        camera.exposures, other = 0, Other(*trouble)
        vocs = VOCS(variables={"pitch": (-3.0, 3.0)}, objectives={"other": "MINIMIZE"})
        agent = SobolAgent(vocs, seed=1)
        plan = optimize([camera, other], [pitch], agent, max_points=5, retries=1, finish="stay")
        uids = []
        token = RE.subscribe(lambda _, doc: uids.append(doc["uid"]), "start")
        try:
            RE(plan)
        except RunEngineInterrupted:
            RE.abort() if name == "ended" else RE.resume()
        RE.unsubscribe(token)
        assert tiled.flush(60.0)
        primary = tiled.client[uids[0]]["primary"]
        means = primary.base["internal"].read()["camera_stats_mean_value"].to_numpy()
        images = primary["camera_image"].read().reshape(len(means), 256, 256)
        (path,) = [one for one in frames.rglob("*.h5") if one not in seen.values()]
        with h5py.File(path) as file:
            written = len(file["/entry/data/data"])
        seen[name] = path
        one = np.asarray(primary["camera_image"][len(means) - 1]).reshape(-1, 256, 256)
        of_images = images.mean(axis=(1, 2)).tolist()
        print(json.dumps([name, camera.exposures, other.triggers, written, means.tolist(), of_images, one.mean()]))
ioc.__exit__(None, None, None)
"""

EXPOSED = {"undisturbed": (5, 5), "repeated": (7, 5), "cut": (6, 5), "ended": (4, 3)}
"""Exposures, each a frame in the file, and rows of the run."""


def test_each_row_keeps_its_image(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "frames"), str(tmp_path / "data")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert {name: (written, len(means)) for name, _, _, written, means, *_ in seen} == EXPOSED, done.stderr
    for name, exposures, attempts, written, means, of_images, last in seen:
        assert exposures == attempts == written, name
        assert of_images == pytest.approx(means), name
        assert last == pytest.approx(means[-1]), name
        assert len(set(means)) == len(means)  # the images tell the rows apart
