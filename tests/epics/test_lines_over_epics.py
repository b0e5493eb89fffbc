"""Lines that an IOC flies: maps of them through ophyd, with a pause and with a lost IOC in the middle of a line."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from clients import client

from ebl_autonomy.sim_devices import SimMicroprobe, SimSample
from ebl_autonomy.sim_devices.ioc import IocHandle, ioc_process

pytestmark = pytest.mark.integration

CLIENT = """
import json, os, signal, time
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from gest_api.generator import Generator
from ebl_autonomy import VOCS
from ebl_autonomy.plans import Line, adaptive_map, roi_survey
from ebl_autonomy.sim_devices import EpicsMicroprobe

class Lines(Generator):
    # Points where the length is 0, and lines in both directions.
    def __init__(self, *points):
        low = {"sample_x": [0.0, 23.0], "sample_y": [0.0, 23.0], "line_length": [-23.0, 23.0]}
        self.vocs = VOCS(variables=low, observables=["xrf_Fe"])
        self.points, self.told = [dict(zip(low, point)) for point in points], []
    def _validate_vocs(self, vocs):
        pass
    def suggest(self, num_points=None):
        return [self.points.pop(0)] if self.points else []
    def ingest(self, results):
        self.told += results

RE = RunEngine({}, call_returns_result=True)
rows, gone, streams, stop = [], [], {}, {}
def keep(name, doc):
    if name == "descriptor":
        streams[doc["uid"]] = doc["name"]
    elif name == "event":
        {"primary": rows, "abandoned": gone}.get(streams[doc["descriptor"]], []).append(doc["data"])
    elif name == "event_page" and streams[doc["descriptor"]] == "primary":
        rows.extend({key: column[i] for key, column in doc["data"].items()} for i in range(len(doc["time"])))
    elif name == "stop":
        stop.update(doc)
RE.subscribe(keep)

def when(flyer, points, do):
    # Once so many points of a line are done; not of one that was flown before.
    armed = []
    def look(value=0, **_):
        armed.extend([value] if value < points else [])
        if value >= points and armed:
            flyer.points_done.clear_sub(look)
            do()
    flyer.points_done.subscribe(look)

def map_of(probe, agent, **more):
    return adaptive_map([probe.xrf, probe.i0], probe.x, probe.y, agent, max_points=99, flyers=[probe.flyer],
                        dwell_s=0.5, step=1.0, batch=1, **more)
def told(agent):
    rows = [[one["sample_x"], one["sample_y"], one["xrf_Fe"]] for one in agent.told]
    return [row for row in rows if row[-1] == row[-1]]  # of a proposal that was given up: NaN
seen = {}
"""

MAPS = (
    CLIENT
    + """
with EpicsMicroprobe(timeout_s=100.0) as probe:
    agent = Lines((2.0, 5.0, 8.0), (10.0, 8.0, -6.0), (4.0, 9.0, 0.0))
    result = RE(map_of(probe, agent)).plan_result
    seen["map"] = {"rows": list(rows), "told": told(agent), "at": [probe.x.position, probe.y.position],
                   "reason": result.stop_reason}
    rows.clear()
    agent = Lines((2.0, 5.0, 4.0), (2.0, 7.0, 20.0), (20.0, 8.0, -5.0))
    when(probe.flyer, 9, RE.request_pause)
    try:
        RE(map_of(probe, agent))
    except RunEngineInterrupted:
        seen["paused"] = True
    result = RE.resume().plan_result
    seen["pause"] = {"rows": list(rows), "told": told(agent), "abandoned": result.abandoned}
    rows.clear()
    result = RE(roi_survey([], probe.x, probe.y, channels=["xrf_Fe", "xrf_S"], coarse_step=3.0, max_regions=1,
                area={"sample_x": [0.0, 21.0], "sample_y": [0.0, 21.0]}, flyers=[probe.flyer], dwell=probe.dwell,
                i0="i0", live="xrf_live_time", fine_step=1.0, fine_dwell_s=0.2)).plan_result
    survey = list(rows)
    seen["survey"] = {"coarse": result.coarse.rows, "fine": [run.rows for run in result.fine], "rows": survey}
    rows.clear(), gone.clear()
    agent = Lines((2.0, 5.0, 9.0), (2.0, 6.0, 12.0), (9.0, 6.0, 0.0), (3.0, 7.0, 4.0))
    def narrow(name, doc):
        if name == "event_page" and probe.x.limits[1] != 8.0:  # the rows of the first line
            probe.x.high_limit_travel.put(8.0)
            deadline = time.monotonic() + 60.0
            while probe.x.limits[1] != 8.0 and time.monotonic() < deadline:
                time.sleep(0.01)
    RE(map_of(probe, agent, finish="stay"), narrow)
    probe.x.high_limit_travel.put(31.0)
    seen["limit"] = {"rows": list(rows), "told": told(agent), "gone": [[one["rule"], one["reason"]] for one in gone]}
    flyer = probe.flyer
    def failing(line, while_flying=None):
        flyer.prepare(line).wait(60.0)
        flyer.kickoff()
        flown = flyer.complete()
        while_flying()
        return str(flown.exception(60.0)) + f" | {len(list(flyer.collect_pages()))} pages"
    def beyond(line):
        return str(flyer.prepare(line).exception(60.0))
    long = Line({"sample_x": 2.0}, {"sample_x": 12.0}, 100, 200.0)
    seen["stopped"] = failing(long, flyer.stop)
    seen["motor stopped"] = failing(long, probe.x.stop)
    seen["motor sent away"] = failing(long, lambda: probe.x.set(20.0).wait(60.0))
    seen["there"] = probe.x.position
    seen["beyond"] = beyond(Line({"sample_x": 2.0}, {"sample_x": 999.0}, 10, 1000.0))
    seen["too fast"] = beyond(Line({"sample_x": 2.0}, {"sample_x": 22.0}, 10, 0.01))
    seen["too long"] = beyond(Line({"sample_x": 2.0}, {"sample_x": 22.0}, 10**6, 1e6))
    seen["units"] = {key: one.get("units") for key, one in flyer.describe_collect()["line"].items()}
print(json.dumps(seen))
"""
)

KILLED = (
    CLIENT
    + """
with EpicsMicroprobe(timeout_s=100.0) as probe:
    agent = Lines((2.0, 5.0, 8.0), (2.0, 7.0, 20.0), (20.0, 8.0, -5.0), (4.0, 9.0, 0.0), (4.0, 9.0, 0.0))
    when(probe.flyer, 11, lambda: os.kill(int(os.environ["IOC"]), signal.SIGKILL))
    began = time.monotonic()
    try:
        RE(map_of(probe, agent, max_failures=2, retries=0))
    except Exception as error:
        seen["error"] = f"{type(error).__name__}: {error}"
    seen |= {"seconds": time.monotonic() - began, "rows": rows, "told": told(agent), "status": stop["exit_status"]}
    seen |= {"state": RE.state, "gone": [one["reason"] for one in gone]}
print(json.dumps(seen))
"""
)


@pytest.fixture
def ioc() -> Iterator[IocHandle]:
    with ioc_process(seed=5, speed=20.0, set_environment=False, beamline="microprobe", sample="particles") as handle:
        yield handle


def places(start: float, sign: float, y: float, count: int) -> list[Any]:
    """Where the rows of a line with readings every µm belong."""
    return [pytest.approx((start + sign * (i + 0.5), y), abs=2e-3) for i in range(count)]


def check_rows(seen: dict[str, Any], expected: list[Any], dwell_s: float = 0.5) -> None:
    """Each row once, in its place, with the counts of the sample there, and told as it was recorded."""
    rows = seen["rows"]
    assert [(row["sample_x"], row["sample_y"]) for row in rows] == expected
    assert seen["told"] == [[row["sample_x"], row["sample_y"], row["xrf_Fe"]] for row in rows]
    truth = SimMicroprobe(SimSample.particles(5), seed=5)
    for row in rows:
        flown = row["row_in_stream"] > 0
        assert row["xrf_real_time"] == pytest.approx(dwell_s if flown else truth.dwell.position)
        across = row["sample_x"] + (np.arange(-0.4975, 0.5, 0.005) if flown else np.zeros(1))
        rate = float(truth.expected(across, row["sample_y"])["Fe"].mean())
        mean = rate * row["xrf_live_time"]
        assert row["xrf_Fe"] == pytest.approx(mean, rel=0.05, abs=6.0 * mean**0.5 + 5.0)


def test_maps_of_lines_that_an_ioc_flies(ioc: IocHandle) -> None:
    seen = client(ioc, MAPS)
    check_rows(seen["map"], [*places(2.0, 1.0, 5.0, 8), *places(10.0, -1.0, 8.0, 6), pytest.approx((4.0, 9.0))])
    assert seen["map"]["reason"].startswith("agent")
    assert seen["map"]["at"] == pytest.approx([11.925, 11.925])  # back where they were
    assert seen["paused"]
    # The line that the pause has cut is given up as a whole; no row of it is recorded.
    check_rows(seen["pause"], [*places(2.0, 1.0, 5.0, 4), *places(20.0, -1.0, 8.0, 5)])
    assert seen["pause"]["abandoned"] == 1
    survey = seen["survey"]
    assert survey["coarse"] == 49
    assert len(survey["fine"]) == 1
    assert len(survey["rows"]) == survey["coarse"] + survey["fine"][0]
    # A soft limit that is set on the record during the run: later lines end within it.
    check_rows(seen["limit"], [*places(2.0, 1.0, 5.0, 9), *places(3.0, 1.0, 7.0, 4)])
    assert [rule for rule, _ in seen["limit"]["gone"]] == ["limits", "limits"]
    assert all("motor 'sample_x' itself refuses" in reason for _, reason in seen["limit"]["gone"])
    for key in ("stopped", "motor stopped", "motor sent away"):
        assert "line: a line was cut: it is 'Aborted', line was stopped after" in seen[key], key
        assert seen[key].endswith("0 pages"), key
    assert seen["there"] == pytest.approx(20.0)
    assert "sample_x=999 lies outside the record's limits" in seen["beyond"]
    assert "give the line more seconds" in seen["too fast"]
    assert "line records 10000 at most" in seen["too long"]
    assert seen["units"]["sample_x"] == "um"
    assert seen["units"]["xrf_Fe"] == "counts"
    assert "xrf_spectrum" not in seen["units"]


def test_an_ioc_that_is_lost_in_the_middle_of_a_line_ends_the_map_with_what_was_measured(ioc: IocHandle) -> None:
    seen = client(ioc, KILLED)
    assert seen["error"].startswith("MeasurementError: 2 proposals in a row could not be measured")
    assert "1 times because of line" in seen["error"]
    assert "line: the IOC at 'EBL:line:' was lost during its flight (" in seen["gone"][0]
    assert seen["seconds"] < 60.0  # the plan's own limit for the line
    check_rows(seen, places(2.0, 1.0, 5.0, 8))
    assert seen["status"] == "fail"
    assert seen["state"] == "idle"


FAILED_PUT = """
import json
from ophyd.status import Status
from ebl_autonomy.sim_devices import EpicsMicroprobe

probe = EpicsMicroprobe()
put = Status()
put.set_exception(ValueError("refused"))
while not put.done:
    pass
try:
    probe.flyer._finish(put)
except ValueError as error:
    print(json.dumps({"raised": str(error)}))
else:
    print(json.dumps({"raised": ""}))
"""


def test_a_put_that_has_failed_before_it_is_looked_at_is_no_completed_one(ioc: IocHandle) -> None:
    assert client(ioc, FAILED_PUT) == {"raised": "refused"}
