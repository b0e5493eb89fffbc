"""Devices that are in several roles, or parts of one another, or share keys: read, staged and triggered once."""

import time
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plans as bp
from ophyd import Component as Cpt
from ophyd import Device, Kind, Signal
from ophyd.sim import SynAxis, SynSignal
from ophyd.status import Status
from scripted import Scripted, at
from simple import Bowl, Documents, Staged, truth

from ebl_autonomy.data import Connection, read_run
from ebl_autonomy.errors import BadInputError, MeasurementError
from ebl_autonomy.plans import optimize
from ebl_autonomy.records import START_AND_END

pytestmark = pytest.mark.integration  # seconds: reports, fits of models, or many runs

POINTS = [at(0.5, 0.0), at(1.0, 1.0)]


def vocs(x: str, y: str = "my") -> Any:
    agent = Scripted([{x: p["mx"], y: p["my"]} for p in POINTS])
    agent.vocs = {"variables": {x: [-2.0, 2.0], y: [-2.0, 2.0]}, "objectives": {"bowl": "MINIMIZE"}}
    return agent


def plan(detectors: Any, motors: Any, **more: Any) -> Any:
    envelope = {"limits": {motor.name: [-2.0, 2.0] for motor in motors}}
    agent = vocs(motors[0].name, motors[1].name)
    return optimize(detectors, motors, agent, max_points=2, envelope=envelope, finish="stay", **more)


class Station(Staged):
    """A detector with a motor inside."""

    motor = Cpt(SynAxis, name="motor", kind=Kind.normal)
    bowl = Cpt(Signal, value=0.0, kind=Kind.hinted)
    counts = Cpt(Signal, value=0, kind=Kind.normal)

    def __init__(self, name: str, my: SynAxis) -> None:
        super().__init__(name)
        self.my = my
        self.bowl.name = "bowl"
        self.motor.name = f"{name}_motor"  # SynAxis insists on a name of its own

    def trigger(self) -> Any:
        super().trigger()
        self.counts.put(self.counts.get() + 1)
        self.bowl.put(truth(self.motor.position, self.my.position))
        status = Status(self)
        status.set_finished()
        return status


@pytest.fixture
def my() -> SynAxis:
    return SynAxis(name="my")


@pytest.fixture
def station(my: SynAxis) -> Station:
    return Station("station", my)


def columns(docs: Documents, *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(row[key] for key in keys) for row in docs.events["primary"]]


EXPECTED = [(p["mx"], p["my"], truth(p["mx"], p["my"])) for p in POINTS]


@pytest.mark.parametrize("kind", [Kind.normal, Kind.hinted, Kind.omitted])
def test_a_motor_inside_a_detector_is_read_with_it(
    RE: RunEngine, docs: Documents, tiled: Connection, station: Station, my: SynAxis, kind: Kind
) -> None:
    station.motor.kind = kind
    RE(bp.list_scan([station], station.motor, [0.5, 1.0]))
    docs.events.clear()
    uid = RE(plan([station], [station.motor, my])).plan_result.uid
    assert columns(docs, station.motor.name, "my", "bowl") == EXPECTED
    record = read_run(uid, tiled.client)
    assert [result[station.motor.name] for result in record.results] == [0.5, 1.0]
    assert record.baseline[station.motor.name] == [1.0, 1.0]


def test_a_motor_inside_a_baseline_device(RE: RunEngine, docs: Documents, station: Station, my: SynAxis) -> None:
    station.motor.kind = Kind.omitted
    station.bowl.name = "other"
    bowl = Bowl(station.motor, my)
    RE(plan([bowl], [station.motor, my], baseline=[station]))
    assert columns(docs, station.motor.name, "my", "bowl") == EXPECTED
    start, end = docs.events[START_AND_END]
    assert (start[station.motor.name], end[station.motor.name]) == (0.0, 1.0)
    assert (start["station_counts"], end["station_counts"]) == (1, 2)
    assert station.calls == ["stage", "trigger", "trigger", "unstage"]


def test_a_detector_inside_another_one(RE: RunEngine, docs: Documents, station: Station, my: SynAxis) -> None:
    mx = SynAxis(name="mx")
    station.motor.kind = Kind.omitted
    inner, outer = station.bowl, station
    RE(bp.list_scan([inner, outer], mx, [0.5, 1.0]))
    docs.events.clear()
    for detectors in ([inner, outer], [outer, inner], [outer, outer]):
        RE(plan(detectors, [mx, my]))
    assert [row["station_counts"] for row in docs.events["primary"]] == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("role", ["detectors", "baseline"])
def test_a_moved_motor_may_be_a_detector_or_in_the_baseline(
    RE: RunEngine, docs: Documents, bench: Any, role: str
) -> None:
    bowl, motors = bench
    RE(bp.list_scan([bowl, motors[0]], motors[0], [0.5, 1.0]))
    docs.events.clear()
    more = [motors[0], motors[0], SynAxis(name="other")]
    given = {"detectors": [bowl, *more]} if role == "detectors" else {"detectors": [bowl], "baseline": more}
    RE(plan(motors=motors, **given))
    assert columns(docs, "mx", "my", "bowl") == EXPECTED
    assert [row["mx"] for row in docs.events[START_AND_END]] == [1.0, 1.0]


def test_a_detector_may_be_in_the_baseline_too(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    RE(plan([bowl], motors, baseline=[bowl, bowl]))
    assert columns(docs, "mx", "my", "bowl") == EXPECTED
    assert [row["bowl"] for row in docs.events[START_AND_END]] == [truth(0, 0), truth(1.0, 1.0)]


def twin(name: str, key: str) -> SynSignal:
    signal = SynSignal(name=name, func=lambda: 1.0)
    signal.read = lambda: {key: {"value": 1.0, "timestamp": time.time()}}  # type: ignore[method-assign]
    signal.describe = lambda: {key: {"source": "test", "dtype": "number", "shape": []}}  # type: ignore[method-assign]
    return signal


@pytest.mark.parametrize("role", ["detectors", "baseline"])
@pytest.mark.parametrize("key", ["shared", "mx"])
def test_two_devices_with_one_key_are_named_before_anything_moves(
    RE: RunEngine, docs: Documents, bench: Any, role: str, key: str
) -> None:
    bowl, motors = bench
    more = [twin("left", key), twin("right", key)] if key == "shared" else [twin("left", key)]
    given = {"detectors": [bowl, *more]} if role == "detectors" else {"detectors": [bowl], "baseline": more}
    names = ("left", "right") if key == "shared" else ("mx", "left")
    with pytest.raises(BadInputError) as refused:
        RE(plan(motors=motors, **given))
    assert all(repr(name) in str(refused.value) for name in (*names, key))
    assert docs.all == []


def test_two_devices_of_one_name_are_refused(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    with pytest.raises(BadInputError, match="hall"):
        RE(plan([bowl], motors, baseline=[SynSignal(name="hall"), SynSignal(name="hall")]))


class Hall(Device):
    """A probe whose field is only measured when it is triggered, while it is staged."""

    field = Cpt(Signal, value=0.0, kind=Kind.hinted)
    fail = 0
    seconds = 0.0

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.triggers = 0
        self.staged = False

    def stage(self) -> Any:
        self.staged = True
        return super().stage()

    def unstage(self) -> Any:
        self.staged = False
        return super().unstage()

    def trigger(self) -> Any:
        assert self.staged
        self.triggers += 1
        status = Status(self)
        if self.triggers in range(self.fail_from, self.fail_from + self.fail):
            status.set_exception(RuntimeError("no field"))
        elif not self.seconds:
            self.field.put(float(self.triggers))
            status.set_finished()
        return status

    fail_from = 1


def test_baseline_devices_are_staged_and_triggered(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    hall = Hall("hall")
    RE(plan([bowl], motors, baseline=[hall]))
    assert [row["hall_field"] for row in docs.events[START_AND_END]] == [1.0, 2.0]
    assert not hall.staged


def test_a_failed_trigger_in_the_baseline_is_repeated(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    hall = Hall("hall")
    hall.fail = 1
    RE(plan([bowl], motors, baseline=[hall]))
    assert [row["hall_field"] for row in docs.events[START_AND_END]] == [2.0, 3.0]


def test_a_dead_device_in_the_baseline_ends_the_run_before_anything_moves(
    RE: RunEngine, docs: Documents, bench: Any
) -> None:
    bowl, motors = bench
    hall = Hall("hall")
    hall.fail = 9
    with pytest.raises(MeasurementError, match=r"hall.*no field.*baseline="):
        RE(plan([bowl], motors, baseline=[hall]))
    assert (hall.triggers, motors[0].position, docs.stop["exit_status"]) == (2, 0, "fail")
    assert not hall.staged


def test_a_late_device_in_the_baseline_is_named(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    hall = Hall("hall")
    hall.seconds = 9.0
    with pytest.raises(MeasurementError, match=r"hall.*within 0\.1 s"):
        RE(plan([bowl], motors, baseline=[hall], trigger_timeout_s=0.1))
    assert docs.stop["exit_status"] == "fail"


def test_a_device_that_fails_at_the_end_does_not_cost_the_run(
    RE: RunEngine, docs: Documents, bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bowl, motors = bench
    hall = Hall("hall")
    hall.fail, hall.fail_from = 9, 2
    RE(plan([bowl], motors, baseline=[hall]))
    assert docs.stop["exit_status"] == "success"
    assert len(docs.events[START_AND_END]) == 1
    assert "hall failed" in caplog.text
