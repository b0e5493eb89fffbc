"""The microprobe over channel access: the same map through ophyd and through ophyd-async as in one process."""

from collections.abc import Iterator
from typing import Any

import pytest
from clients import client

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.sim_devices import SimMicroprobe, SimSample
from ebl_autonomy.sim_devices.ioc import IocHandle, ioc_process, serve_microprobe

pytestmark = pytest.mark.integration

MAP = """
import json, warnings
warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.plans import grid_scan
from caproto.sync.client import read
from ophyd.utils import LimitError
from ebl_autonomy.plans.devices import read_exposure
from ebl_autonomy.sim_devices import KIND
from ebl_autonomy.testing import check_device

RE = RunEngine({}, call_returns_result=True)
rows, descriptors = [], []
def keep(name, doc):
    if name == "descriptor":
        descriptors.append(doc)
    elif name == "event":
        rows.append(doc)
def exposures():
    return int(read("EBL:AcquireCounter", timeout=50).data[0])
seen = {}
with KIND(timeout_s=100.0) as probe:
    for detector in probe.detectors:
        check_device(detector, RE)
    check_device(probe.x, RE, positions=[12.0], tolerance=0.01)
    def plan():
        yield from bps.mv(probe.dwell, 0.25)
        started = yield from bps.rd(probe.clock)
        yield from grid_scan(probe.detectors, probe.y, 10.0, 30.0, 3, probe.x, 10.0, 30.0, 4, snake_axes=True)
        return (yield from bps.rd(probe.clock)) - started
    RE.subscribe(keep)
    before = exposures()
    seen["seconds"] = RE(plan()).plan_result
    seen["exposures"] = exposures() - before
    try:
        RE(bps.mv(probe.dwell, -1.0))
        seen["refused"] = ""
    except Exception as error:
        seen["refused"] = type(error).__name__ + " " + repr(error.__cause__)
    seen["dwell"] = RE(bps.rd(probe.dwell)).plan_result
    seen["told"] = [RE(read_exposure(detector)).plan_result for detector in probe.detectors]
try:
    KIND("NOWHERE:", timeout_s=0.5)
    seen["missing"] = ""
except Exception as error:
    seen["missing"] = f"{type(error).__name__}: {error}"
print(json.dumps({**seen, "rows": [row["data"] for row in rows],
    "keys": sorted(descriptors[0]["data_keys"])}))
"""


@pytest.fixture(scope="module")
def ioc() -> Iterator[IocHandle]:
    with ioc_process(seed=5, speed=100.0, set_environment=False, beamline="microprobe", sample="particles") as handle:
        yield handle


@pytest.mark.parametrize("kind", ["EpicsMicroprobe", "AsyncEpicsMicroprobe"])
def test_a_map_over_epics_counts_the_same_sample(ioc: IocHandle, kind: str) -> None:
    seen = client(ioc, MAP.replace("KIND", kind))
    truth = SimMicroprobe(SimSample.particles(5), seed=5)
    readings: dict[str, Any] = {}
    for device in (*truth.detectors, truth.x, truth.y):
        readings.update(device.describe())
    assert set(readings) <= set(seen["keys"])
    assert len(seen["rows"]) == 12
    for row in seen["rows"]:
        x, y = row["sample_x"], row["sample_y"]
        dead = 1.0 + sum(float(truth.expected(x, y)[name]) for name in truth.sample.maps) * truth.xrf.dead_time_s
        for name in truth.sample.maps:
            mean = 0.25 * float(truth.expected(x, y)[name]) / dead
            assert row[f"xrf_{name}"] == pytest.approx(mean, abs=6.0 * mean**0.5 + 0.01 * mean + 1e-9)
        assert row["xrf_real_time"] == 0.25
        assert row["i0"] == pytest.approx(0.25e6, rel=0.02)
    assert {round(row["sample_x"]) for row in seen["rows"]} == {10, 17, 23, 30}
    assert seen["seconds"] >= 12 * 0.25
    assert seen["exposures"] == 12  # the four detectors share one exposure
    assert "LimitError" in seen["refused"]
    assert seen["dwell"] == 0.25
    assert seen["told"] == [0.25] * 4
    assert seen["missing"].startswith("EblError: the PVs NOWHERE:… did not connect within 0.5 s")
    assert "ebl-autonomy serve ioc --beamline microprobe" in seen["missing"]


def test_an_unknown_sample_is_refused_by_name() -> None:
    with pytest.raises(BadInputError, match="sample='moon': use one of"):
        serve_microprobe(0, "moon", 1.0, "EBL:")


ADAPTIVE = """
import json
from bluesky import RunEngine
from ebl_autonomy.plans import adaptive_map
from ebl_autonomy.agents import MappingAgent
from ebl_autonomy.sim_devices import EpicsMicroprobe

RE = RunEngine({}, call_returns_result=True)
rows = []
with EpicsMicroprobe(timeout_s=100.0) as probe:
    vocs = {"variables": {"sample_x": [2.0, 12.0], "sample_y": [2.0, 10.0]}, "observables": ["xrf_Fe", "xrf_S"]}
    agent = MappingAgent(vocs, step=1.0, counts=True)
    RE.subscribe(lambda name, doc: rows.append(doc["data"]) if "xrf_Fe" in doc.get("data", ()) else None)
    result = RE(adaptive_map([probe.xrf, probe.i0], probe.x, probe.y, agent, max_points=24)).plan_result
    mapped = list(rows)
    rows.clear()
    mean, std = agent.map()["xrf_Fe"]
    vocs["variables"]["dwell"] = [0.02, 0.2]
    chosen = MappingAgent(vocs, step=1.0, counts=True, dwell="dwell")
    spent = RE(adaptive_map([probe.xrf, probe.i0], probe.x, probe.y, chosen, max_points=80, dwell=probe.dwell, batch=2,
                            envelope={"dose_key": "xrf_real_time", "max_dose": 0.8})).plan_result
    print(json.dumps({"rows": mapped, "shape": mean.shape, "reason": result.stop_reason, "known": bool((std > 0).all()),
        "chosen": rows, "spent": [spent.stop_reason, spent.dose], "back": probe.dwell.get()}))
"""


def test_an_agent_maps_over_epics(ioc: IocHandle) -> None:
    seen = client(ioc, ADAPTIVE)
    assert seen["reason"].startswith("max_points")
    assert seen["shape"] == [8, 10]
    assert seen["known"]
    places = {(round(row["sample_x"] - 2.5), round(row["sample_y"] - 2.5)) for row in seen["rows"]}
    assert len(places) == 24  # each pixel once
    truth = SimMicroprobe(SimSample.particles(5), seed=5)
    for row in seen["rows"]:
        rate = float(truth.expected(row["sample_x"], row["sample_y"])["Fe"])
        assert row["xrf_Fe"] == pytest.approx(
            rate * row["xrf_real_time"], rel=0.2, abs=6.0 * (rate * 0.03) ** 0.5 + 5.0
        )
    # The agent chooses the exposure of each point, and the budget counts what the detector says that it was.
    assert seen["spent"][0].startswith("budget: the dose is")
    assert seen["spent"][1] == pytest.approx(sum(row["xrf_real_time"] for row in seen["chosen"]))
    assert 0.8 - 0.2 <= seen["spent"][1] <= 0.8 + 0.2
    assert [row["dwell"] for row in seen["chosen"]] == pytest.approx([row["xrf_real_time"] for row in seen["chosen"]])
