"""Lines that the microprobe flies: through bluesky's Flyables of ophyd and of ophyd-async, the counts of one sample."""

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.utils import FailedStatus, RunEngineInterrupted
from ophyd.utils import LimitError

from ebl_autonomy import VOCS
from ebl_autonomy.agents import SobolAgent
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import FlyLine, Line, explore, optimize
from ebl_autonomy.sim_devices import AsyncMicroprobe, SimMicroprobe, SimSample
from ebl_autonomy.testing import check_device

KEYS = {
    "sample_x", "sample_y", "xrf_Fe", "xrf_live_time", "xrf_real_time", "stxm_counts", "darkfield_counts",
    "xanes_mu", "xanes_it", "i0",
}  # fmt: skip
SLOPE = np.add.outer(1e5 * np.arange(20), 1e4 * np.arange(30))


def probe(speed: float = math.inf, **more: Any) -> SimMicroprobe:
    """A sample whose rate is 1e5 y + 1e4 x, x and y in µm."""
    sample = SimSample.from_maps({"Fe": SLOPE}, step_um=1.0)
    return SimMicroprobe(sample, speed=speed, **{"dead_time_s": 0.0, "i0_noise": 0.0, **more})


def ophyd_devices(sim: SimMicroprobe) -> Any:
    return sim


FACES = [ophyd_devices, AsyncMicroprobe]
ENDS = [
    ({"sample_x": 2.0}, {"sample_x": 12.0}),
    ({"sample_x": 12.0}, {"sample_x": 2.0}),
    ({"sample_y": 3.0}, {"sample_y": 13.0}),
    ({"sample_y": 13.0}, {"sample_y": 3.0}),
    ({"sample_x": 2.0, "sample_y": 15.0}, {"sample_x": 22.0, "sample_y": 5.0}),
]


class Rows:
    """The rows of each stream, as bluesky's documents tell of them."""

    def __init__(self) -> None:
        self.streams: dict[str, list[dict[str, Any]]] = {}
        self._names: dict[str, str] = {}

    def __call__(self, name: str, doc: Any) -> None:
        if name == "descriptor":
            self._names[doc["uid"]] = doc["name"]
            self.streams.setdefault(doc["name"], [])
        elif name == "event":
            self.streams[self._names[doc["descriptor"]]].append(doc["data"])
        elif name == "event_page":
            columns = doc["data"]
            rows = [{key: column[i] for key, column in columns.items()} for i in range(len(doc["time"]))]
            self.streams[self._names[doc["descriptor"]]].extend(rows)


def fly(flyer: Any, *lines: Line) -> Any:
    """A plan that flies lines in one run, with plain messages of bluesky."""

    @bpp.run_decorator()
    def inner() -> Any:
        for line in lines:
            yield from bps.prepare(flyer, line, wait=True)
            yield from bps.kickoff(flyer, wait=True)
            yield from bps.complete(flyer, wait=True)
            yield from bps.collect(flyer, return_payload=False)

    return inner()


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(("start", "stop"), ENDS)
def test_a_line_records_every_detector_and_where_each_row_was(
    RE: RunEngine, face: Callable[[SimMicroprobe], Any], start: dict[str, float], stop: dict[str, float]
) -> None:
    sim, rows, count = probe(), Rows(), 20
    sim.x.set(4.0), sim.y.set(6.0)  # type: ignore[func-returns-value]
    RE(fly(face(sim).flyer, Line(start, stop, rows=count, seconds=2.0)), rows)
    (flown,) = rows.streams.values()
    assert len(flown) == count
    assert set(flown[0]) == {*KEYS, "clock"}
    here = {"sample_x": 4.0, "sample_y": 6.0}
    for number, row in enumerate(flown):
        for name, standing in here.items():
            share = (number + 0.5) / count
            where = start[name] + share * (stop[name] - start[name]) if name in start else standing
            assert row[name] == pytest.approx(where, abs=1e-3)
        assert row["xrf_real_time"] == pytest.approx(0.1)
        expected = 0.1 * (1e5 * row["sample_y"] + 1e4 * row["sample_x"])
        assert row["xrf_Fe"] == pytest.approx(expected, abs=6.0 * math.sqrt(expected))
        assert row["i0"] == pytest.approx(1e5, rel=0.02)
    assert {name: here[name] if name not in stop else stop[name] for name in here} == pytest.approx(
        {"sample_x": sim.x.position, "sample_y": sim.y.position}
    )


def test_a_row_is_the_mean_along_its_section() -> None:
    """Not the value in the middle: a spot between two middles is not missed."""
    maps = np.zeros((3, 41))
    maps[1, 10] = 1e6
    sim = SimMicroprobe(SimSample.from_maps({"Fe": maps}, step_um=1.0), dead_time_s=0.0, i0_noise=0.0)
    sim.y.set(1.0)
    sim.flyer.prepare(Line({"sample_x": 0.0}, {"sample_x": 40.0}, rows=5, seconds=5.0))
    sim.flyer.kickoff()
    (page,) = sim.flyer.collect_pages()
    assert page["data"]["xrf_Fe"][1] == pytest.approx(1e6 / 8.0, rel=0.03)  # one of the eight pixels of the section
    assert page["data"]["xrf_Fe"][2:] == [0.0, 0.0, 0.0]


def test_the_clock_counts_the_line_and_its_ramps() -> None:
    sim = probe(readout_s=1.0)
    began = sim.clock.now()
    sim.flyer.prepare(Line({"sample_x": 2.0}, {"sample_x": 12.0}, rows=10, seconds=3.0))
    sim.flyer.kickoff()
    to_the_start = sim.x.seconds(2.0 - 14.5)
    assert sim.clock.now() - began == pytest.approx(to_the_start + 3.0 + 2.0 * sim.x.acceleration)
    assert len(list(sim.flyer.collect_pages())) == 1
    assert list(sim.flyer.collect_pages()) == []


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("line", "error", "said"),
    [
        (Line({"sample_x": 0.0}, {"sample_x": 999.0}, 5, 100.0), LimitError, "999"),
        (Line({"sample_z": 0.0}, {"sample_z": 1.0}, 5, 1.0), BadInputError, "sample_z"),
        (Line({"sample_x": 0.0}, {"sample_x": 20.0}, 5, 0.1), BadInputError, "needs 200 um/s.*more seconds"),
    ],
)
def test_a_line_that_cannot_be_flown_is_refused_before_anything_moves(
    RE: RunEngine, face: Callable[[SimMicroprobe], Any], line: Line, error: type[Exception], said: str
) -> None:
    sim = probe()
    before = sim.x.position, sim.y.position
    with pytest.raises(Exception, match=said) as raised:
        RE(fly(face(sim).flyer, line))
    causes = [raised.value, raised.value.__cause__]
    assert any(isinstance(one, error) for one in causes)
    assert (sim.x.position, sim.y.position) == before


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("along", ["sample_x", "sample_y"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_plan_flies_lines_in_both_directions(
    RE: RunEngine, face: Callable[[SimMicroprobe], Any], along: str, sign: float
) -> None:
    sim, rows = probe(), Rows()
    devices = face(sim)
    flown, chosen = (devices.x, devices.y) if along == "sample_x" else (devices.y, devices.x)
    agent = SobolAgent(VOCS(variables={chosen.name: [2.0, 10.0]}, observables=["xrf_Fe"]))

    def line(point: Any) -> Line:
        return Line({along: 8.0 - sign * 6.0}, {along: 8.0 + sign * 6.0}, rows=6, seconds=1.0)

    measure = FlyLine([devices.flyer], [flown], line)
    result = RE(explore([], [chosen], agent, max_points=18, measure=measure), rows).plan_result
    assert (result.accepted, result.rows) == (3, 18)
    primary = rows.streams["primary"]
    assert [row[along] for row in primary] == pytest.approx(list(8.0 + sign * np.linspace(-5.0, 5.0, 6)) * 3, abs=1e-3)
    for row in primary:
        expected = (1e5 * row["sample_y"] + 1e4 * row["sample_x"]) / 6.0
        assert row["xrf_Fe"] == pytest.approx(expected, abs=6.0 * math.sqrt(expected))
    assert len({row[chosen.name] for row in primary}) == 3


@pytest.mark.integration
@pytest.mark.parametrize("face", FACES)
def test_a_pause_in_the_middle_of_a_map_binds_every_row_once(
    RE: RunEngine, face: Callable[[SimMicroprobe], Any]
) -> None:
    sim, rows = probe(speed=10.0), Rows()
    devices = face(sim)
    agent = SobolAgent(VOCS(variables={"sample_y": [2.0, 10.0]}, objectives={"xrf_Fe": "MAXIMIZE"}))

    def line(point: Any) -> Line:
        return Line({"sample_x": 2.0}, {"sample_x": 20.0}, rows=6, seconds=6.0)

    measure = FlyLine([devices.flyer], [devices.x], line, when_cut="repeat")
    exposures = 0
    take = sim.xrf.take

    def pausing(shot: Any) -> None:
        nonlocal exposures
        exposures += 1
        if exposures == 9:
            RE.request_pause()
        take(shot)

    sim.xrf.take = pausing  # type: ignore[method-assign]
    with pytest.raises(RunEngineInterrupted):
        RE(optimize([], [devices.y], agent, max_points=18, measure=measure, finish="stay"), rows)
    RE.resume()
    primary = rows.streams["primary"]
    assert [row["row_in_proposal"] for row in primary] == list(range(6)) * 3
    assert len({row["proposal_id"] for row in primary}) == 3
    for row in primary:
        expected = 1e5 * row["sample_y"] + 1e4 * row["sample_x"]
        assert row["xrf_Fe"] == pytest.approx(expected, abs=6.0 * math.sqrt(expected))


@pytest.mark.parametrize("spectrum", [False, True])
def test_devices_of_ophyd_async_keep_the_contract(RE: RunEngine, spectrum: bool) -> None:
    devices = AsyncMicroprobe(probe(spectrum=spectrum))
    for detector in devices.detectors:
        check_device(detector, RE)
    check_device(devices.x, RE, positions=[3.0, 12.5])
    check_device(devices.energy, RE, positions=[7000.0])
    check_device(devices.dwell, RE, positions=[0.01, 2.0])


def test_devices_of_ophyd_async_share_an_exposure_that_takes_its_time(RE: RunEngine) -> None:
    devices, rows = AsyncMicroprobe(probe(speed=10.0, dwell_s=1.0)), Rows()
    RE(bps.mv(devices.x, 5.0, devices.y, 7.0))
    began = time.monotonic()

    @bpp.run_decorator()
    def once() -> Any:
        yield from bps.trigger_and_read([*devices.detectors, devices.x])

    RE(once(), rows)
    assert time.monotonic() - began >= 0.1
    (row,) = rows.streams["primary"]
    assert row["xrf_Fe"] == pytest.approx(75e4, rel=0.01)
    assert row["sample_x"] == 5.0


def test_a_motor_of_ophyd_async_can_be_stopped_on_its_way(RE: RunEngine) -> None:
    stage = probe(speed=1.0, motors={"sample_x": {"velocity": 0.5}})  # half a minute
    devices = AsyncMicroprobe(stage)

    def move() -> Any:
        yield from bps.abs_set(devices.x, 30.0, group="move")
        while not stage.x.moving:
            yield from bps.sleep(0.02)
        yield from bps.sleep(0.2)
        yield from bps.stop(devices.x)
        yield from bps.wait("move", error_on_timeout=True)

    began = devices.x.position
    with pytest.raises(FailedStatus):
        RE(move())
    assert began < devices.x.position < 30.0


def test_a_flight_of_ophyd_async_can_be_stopped(RE: RunEngine) -> None:
    devices = AsyncMicroprobe(probe(speed=1.0))
    RE(bps.prepare(devices.flyer, Line({"sample_x": 2.0}, {"sample_x": 12.0}, 50, 20.0), wait=True))
    timer = threading.Timer(0.2, devices.sim.flyer.stop)

    @bpp.run_decorator()
    def flight() -> Any:
        yield from bps.kickoff(devices.flyer, wait=True)
        timer.start()
        yield from bps.complete(devices.flyer, wait=True)

    with pytest.raises(FailedStatus) as raised:
        RE(flight())
    assert "was stopped after" in repr(raised.value.__cause__)
    assert devices.x.position < 12.0
