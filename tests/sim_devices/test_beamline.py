"""The simulated beamline as a device: time, limits, faults, drift, and a truth that no reading reveals."""

import json
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.plans import list_scan
from ophyd.utils import LimitError, UnknownStatusFailure

from ebl_autonomy.errors import BadInputError, DeviceTimeoutError
from ebl_autonomy.plans.stubs import move_motors
from ebl_autonomy.sim_devices import Clock, Drift, Fault, SimBeamline, SimMotor
from ebl_autonomy.sim_devices.derivations import beam_width
from ebl_autonomy.sim_devices.imperfections import Wander


def shoot(beamline: SimBeamline) -> dict[str, Any]:
    status = beamline.camera.trigger()
    assert status.done
    return {key: item["value"] for key, item in beamline.camera.read().items()}


@pytest.mark.parametrize(("tier", "count"), [("A", 4), ("B", 8), ("C", 12)])
def test_tiers_have_their_motors_and_an_optimum_inside_the_limits(tier: Any, count: int) -> None:
    beamline = SimBeamline(seed=3, tier=tier)
    motors, best = beamline.motors(), beamline.truth.best_point()
    assert len(motors) == len(best) == count
    for motor in motors:
        low, high = motor.limits
        assert low + 0.1 * (high - low) < best[motor.name] < high - 0.1 * (high - low)
    x, y = beamline.truth.best_fwhm()
    start = beamline.truth.outcome()
    assert start["camera_fwhm_x"] * start["camera_fwhm_y"] > 1.3 * x * y
    assert x > 4 * beamline.camera.pixel_um  # well above the pixel size


@pytest.mark.integration
@pytest.mark.parametrize("tier", ["A", "B", "C"])
def test_nothing_near_the_best_point_is_better(tier: Any) -> None:
    """Reports compare a run with the best possible area, so no point may be better."""
    beamline = SimBeamline(seed=0, tier=tier)
    best, motors = beamline.truth.best_point(), beamline.motors()
    rng = np.random.default_rng(0)
    for reach in (1e-4, 1e-3, 3e-3):
        for _ in range(200):
            point = {m.name: best[m.name] + reach * (m.limits[1] - m.limits[0]) * rng.uniform(-1, 1) for m in motors}
            area = beamline.truth.outcome(point)["camera_spot_area"]
            assert area >= beamline.truth.best_area() * (1.0 - 1e-4)


def test_unknown_tiers_and_motors_are_refused_by_name() -> None:
    with pytest.raises(BadInputError, match="'D'"):
        SimBeamline(tier="D")  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="kbx_pitch"):
        SimBeamline().truth.outcome({"kbx_pitch": 1.0})


def test_the_same_seed_gives_the_same_frames_and_another_seed_others() -> None:
    first, again, other = SimBeamline(seed=1), SimBeamline(seed=1), SimBeamline(seed=2)
    a, b, c = (shoot(beamline) for beamline in (first, again, other))
    assert a == b
    assert a != c


def test_readings_agree_with_the_truth_at_the_best_point() -> None:
    beamline = SimBeamline(seed=0, tier="A")
    for name, value in beamline.truth.best_point().items():
        getattr(getattr(beamline, name[:3]), name[4:]).set(value)
    seen, true = shoot(beamline), beamline.truth.outcome()
    assert seen["camera_valid"] == 1
    for key in ("fwhm_x", "fwhm_y"):
        assert seen[f"camera_{key}"] == pytest.approx(true[f"camera_{key}"], rel=0.05)
    assert seen["camera_total"] == pytest.approx(true["camera_total"], rel=0.02)


def test_the_truth_never_shows_in_a_reading() -> None:
    beamline = SimBeamline(seed=0)
    hidden = beamline.truth.best_point()
    readings: dict[str, Any] = {}
    for device in (*beamline._motors.values(), beamline.camera, beamline.ring, beamline.i0, beamline.clock):
        readings.update(device.read())
        readings.update(getattr(device, "read_configuration", dict)())
    text = json.dumps({key: item["value"] for key, item in readings.items()}, default=str)
    for value in hidden.values():
        assert f"{value:.4f}"[:-1] not in text


def test_parallel_moves_cost_the_longest_of_them() -> None:
    beamline = SimBeamline()
    before = beamline.clock.now()
    beamline.kbv.pitch.set(100.0)  # 5 s at 20 µrad/s
    beamline.kbv.bend_up.set(20.0)  # 2 s at 10 µm/s
    beamline.camera.trigger()
    longest = beamline.kbv.pitch.seconds(100.0)
    assert longest > beamline.kbv.bend_up.seconds(20.0)
    exposure = beamline.camera.exposure + beamline.camera.readout_s
    assert beamline.clock.now() - before == pytest.approx(longest + exposure)


@pytest.mark.parametrize("position", [120.5, -1e9, math.nan, math.inf])
def test_a_motor_refuses_what_lies_outside_its_limits(position: float) -> None:
    motor = SimBeamline().kbv.pitch
    with pytest.raises((LimitError, ValueError)):
        motor.set(position)
    assert motor.position == 0.0


def test_backlash_is_hidden_and_is_play_that_must_be_taken_up() -> None:
    motor = SimBeamline().kbv.pitch
    motor.set(10.0)
    assert motor.actual == motor.position == 10.0
    motor.set(10.0 - 0.25 * motor.backlash)  # after the reversal the optic stands still until the play is taken up
    assert motor.actual == pytest.approx(10.0)
    motor.set(5.0)
    assert motor.position == pytest.approx(5.0)
    assert motor.actual == pytest.approx(5.0 + motor.backlash)  # approached from above, the optic lags by the backlash
    motor.set(5.0 + 0.5 * motor.backlash)
    assert motor.actual == pytest.approx(5.0 + motor.backlash)
    motor.set(20.0)
    assert motor.actual == pytest.approx(20.0)


def test_a_beamline_that_waits_moves_in_wall_time(RE: RunEngine) -> None:
    beamline = SimBeamline(speed=200.0)

    def plan() -> Any:
        yield from bps.mv(beamline.kbv.pitch, 40.0, timeout=100)
        return (yield from bps.rd(beamline.kbv.pitch))

    before = beamline.clock.now()
    assert RE(plan()).plan_result == 40.0
    assert beamline.clock.now() - before >= beamline.kbv.pitch.seconds(40.0)


@pytest.mark.parametrize("speed", [1000.0, math.inf])
def test_a_motor_settles_on_the_beamlines_clock(speed: float) -> None:
    """Settling is part of the simulated move, and adds no wall seconds."""
    motor = SimMotor("m", Clock(speed), (-1.0, 1.0), egu="mm", velocity=100.0, settle_time=100.0)
    began = time.monotonic()
    motor.move(1.0, wait=True, timeout=100)
    wall = motor.seconds(1.0) / speed
    assert wall <= time.monotonic() - began < 100.0
    assert motor.settle_time == motor.read_configuration()["m_settle_time"]["value"] == 100.0


def test_no_beam_off_sensor_and_saturated_frames_are_told_apart() -> None:
    beamline = SimBeamline(seed=0, tier="A")
    for name, value in beamline.truth.best_point().items():
        getattr(getattr(beamline, name[:3]), name[4:]).set(value)
    assert shoot(beamline)["camera_state"] == "ok"
    beamline.camera.exposure = 1.0
    saturated = shoot(beamline)
    assert (saturated["camera_state"], saturated["camera_valid"]) == ("saturated", 0)
    assert saturated["camera_saturated_fraction"] > 0
    assert math.isnan(saturated["camera_spot_area"])
    beamline.camera.exposure = 0.1
    beamline.shutter.set("close")
    assert shoot(beamline)["camera_state"] == "no beam"
    beamline.shutter.set("open")
    beamline.kbh.pitch.set(110.0)
    beamline.kbh.height.set(90.0)
    assert shoot(beamline)["camera_valid"] == 0


@pytest.mark.parametrize(
    ("kind", "state"), [("beam dump", "no beam"), ("shutter closed", "no beam"), ("nan", "no data")]
)
def test_faults_last_as_long_as_they_say(kind: Any, state: str) -> None:
    beamline = SimBeamline(seed=0, tier="A", faults=[Fault(kind, first=2, last=3)])
    states = [shoot(beamline)["camera_state"] for _ in range(4)]
    assert states == ["ok", state, state, "ok"]


def test_a_camera_that_hangs_a_late_frame_and_a_stuck_motor() -> None:
    beamline = SimBeamline(
        tier="A",
        faults=[Fault("timeout", 2, 2), Fault("late frame", 3, 3), Fault("stuck motor", 5, 5, device="kbv_pitch")],
    )
    shoot(beamline)
    assert not beamline.camera.trigger().done
    before = beamline.clock.now()
    shoot(beamline)
    assert beamline.clock.now() - before > 5.0
    shoot(beamline)
    status = beamline.kbv.pitch.set(5.0)
    assert not status.done
    beamline.kbv.pitch.stop()
    assert beamline.kbv.pitch.position == 0.0
    beamline.camera.trigger()


def test_a_stopped_motor_knows_at_once_where_it_stands() -> None:
    motor = SimBeamline(speed=0.1).kbv.pitch  # a minute for each move
    for target in (100.0, -100.0) * 10:
        began = motor.position
        status = motor.set(target)
        time.sleep(0.02)
        motor.stop()
        stands = motor.position
        with pytest.raises(UnknownStatusFailure):
            status.wait(10.0)
        assert min(began, target) < stands < max(began, target)
        assert motor.position == stands


def test_a_stuck_motor_is_stopped_and_moves_again_without_noise(
    RE: RunEngine, caplog: pytest.LogCaptureFixture
) -> None:
    beamline = SimBeamline(tier="A", faults=[Fault("stuck motor", 1, 1, device="kbv_pitch")])
    motor = beamline.kbv.pitch

    def late() -> Any:
        yield from move_motors({"kbv_pitch": motor}, {"kbv_pitch": 5.0}, 0.1)

    with pytest.raises(DeviceTimeoutError):
        RE(late())
    assert not motor.moving
    assert [r.getMessage() for r in caplog.records if "stopped" in r.getMessage() or "callback" in r.getMessage()] == []
    beamline.camera.trigger()
    motor.move(5.0, wait=True, timeout=100)
    assert (motor.position, motor.moving) == (5.0, False)


def test_a_motor_may_stick_from_the_beginning_and_more_than_once() -> None:
    spells = [Fault("stuck motor", first, first, device="kbv_pitch") for first in (1, 3)]
    beamline = SimBeamline(tier="A", faults=spells)
    stuck = []
    for _ in range(4):
        stuck.append(beamline.kbv.pitch.stuck)
        beamline.camera.trigger()
    assert stuck == [True, False, True, False]


def test_a_beam_dump_and_a_closed_shutter_show_where_they_would() -> None:
    beamline = SimBeamline(tier="A", faults=[Fault("beam dump", 1, 1), Fault("shutter closed", 2, 2)])

    def seen() -> tuple[bool, bool, bool]:
        beamline.camera.trigger()
        current, light, shutter = (
            device.read()[device.name]["value"] for device in (beamline.ring, beamline.i0, beamline.shutter)
        )
        return current > 90.0, light > 1e5, shutter == 1

    assert [seen() for _ in range(3)] == [(False, False, True), (True, False, False), (True, True, True)]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Fault("nan", 3, 2), "last must not be before first"),
        (lambda: Fault("stuck motor", 1, 2), "names its device"),
        (lambda: Fault("beam dmp", 1, 2), "'beam dmp'"),  # type: ignore[arg-type]
        (lambda: SimBeamline(faults=[Fault("stuck motor", 1, 2, device="kbx_pitch")]), "kbx_pitch"),
        (lambda: SimBeamline(speed=0), "speed=0"),
        (lambda: Drift(walk_time_s=0.0), "walk_time_s=0.0"),
        (lambda: Drift(steps_every_s=0.0), "steps_every_s=0.0"),
        (lambda: Drift(sine_um=-1.0), "sine_um=-1.0"),
        (lambda: setattr(SimBeamline().camera, "exposure", 0.0), "exposure=0.0"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(make: Callable[[], Any], says: str) -> None:
    """A misspelt fault would have no effect, and jumps every 0 s would loop forever."""
    with pytest.raises(BadInputError, match=says):
        make()


def test_drift_has_the_statistics_that_it_was_given() -> None:
    times = np.arange(0.0, 200_000.0, 100.0)
    wander = Wander(Drift(walk_um=2.0, walk_time_s=300.0), seed=1)
    path = np.array([wander.at(t) for t in times])
    assert path.std(axis=0) == pytest.approx([2.0, 2.0], rel=0.2)
    step = np.mean(path[1:, 0] * path[:-1, 0]) / path[:, 0].var()
    assert step == pytest.approx(math.exp(-100.0 / 300.0), abs=0.08)
    steps = Wander(Drift(steps_um=3.0, steps_every_s=1000.0), seed=1)
    jumps = np.diff([steps.at(t)[0] for t in times]) != 0
    assert jumps.sum() == pytest.approx(200, rel=0.25)
    line = Wander(Drift(linear_um_per_hour=3.6), seed=1)
    assert math.hypot(*line.at(1000.0)) == pytest.approx(1.0)
    sine = Wander(Drift(sine_um=1.5, sine_period_s=600.0), seed=1)
    assert max(abs(sine.at(t)[0]) for t in times[:100]) == pytest.approx(1.5, rel=0.05)


def test_the_width_can_be_derived_from_the_image() -> None:
    beamline = SimBeamline(tier="A")
    beamline.camera.record_image = True
    seen = shoot(beamline)
    expected = math.sqrt(seen["camera_fwhm_x"] * seen["camera_fwhm_y"])
    assert beam_width(seen) == pytest.approx(expected, rel=0.05)


def test_a_plain_bluesky_plan_runs_on_it(RE: RunEngine) -> None:
    beamline = SimBeamline(tier="A")
    rows: list[dict[str, Any]] = []
    RE.subscribe(lambda _, doc: rows.append(doc["data"]), "event")
    RE(list_scan([beamline.camera], beamline.kbv.pitch, [-10.0, 0.0, 10.0]))
    assert [row["kbv_pitch"] for row in rows] == [-10.0, 0.0, 10.0]
    shift = [row["camera_centroid_y"] for row in rows]
    assert shift[2] - shift[0] == pytest.approx(20 * 0.333, rel=0.1)
