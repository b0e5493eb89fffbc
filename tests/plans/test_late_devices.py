"""Devices that are late: motors are stopped, the late ones are named, and what stopping causes is no new failure."""

from typing import Any

import pytest
from bluesky import RunEngine
from ophyd.sim import SynAxis
from ophyd.status import Status
from scripted import Scripted, at
from simple import ENVELOPE, Bowl, Documents, truth

from ebl_autonomy.plans import optimize


class LateAxis(SynAxis):
    """Is late for its first move, which fails when it is stopped."""

    def __init__(self, name: str, late: bool = True) -> None:
        super().__init__(name=name)
        self.late = late
        self.moving: Status | None = None
        self.stops = 0
        self.stop_fails = False

    def set(self, value: float, **kwargs: Any) -> Any:
        if not self.late:
            return super().set(value, **kwargs)
        self.late = False
        self.moving = Status(self)
        return self.moving

    def stop(self, *, success: bool = False) -> None:
        self.stops += 1
        if self.stop_fails:
            raise ConnectionError("no PV to stop it with")
        moving, self.moving = self.moving, None
        if moving is not None:
            moving.set_exception(RuntimeError("stopped"))


def plan(motors: list[LateAxis], **more: Any) -> Any:
    agent = Scripted([at(0.5, 0.5), at(1.0, 1.0)])
    return optimize(
        [Bowl(*motors)], motors, agent, max_points=9, move_timeout_s=0.5, finish="stay", envelope=ENVELOPE, **more
    )


def test_a_move_that_was_stopped_fails_once(RE: RunEngine, docs: Documents) -> None:
    motors = [LateAxis("mx"), LateAxis("my")]
    result = RE(plan(motors, retries=1)).plan_result
    assert (result.accepted, result.abandoned) == (2, 0)
    assert [row["attempt"] for row in docs.events["primary"]] == [2, 1]
    assert [row["bowl"] for row in docs.events["primary"]] == [truth(0.5, 0.5), truth(1.0, 1.0)]


def test_only_the_motors_that_are_late_are_named(RE: RunEngine, docs: Documents) -> None:
    motors = [LateAxis("mx", late=False), LateAxis("my")]
    RE(plan(motors, retries=0))
    (gone,) = docs.events["abandoned"]
    assert gone["reason"].startswith("DeviceTimeoutError: not at {'my': 0.5}")


@pytest.mark.parametrize("broken", [0, 1])
def test_a_motor_that_cannot_be_stopped_does_not_keep_the_others_from_it(
    RE: RunEngine, docs: Documents, broken: int, caplog: pytest.LogCaptureFixture
) -> None:
    motors = [LateAxis("mx"), LateAxis("my")]
    motors[broken].stop_fails = True
    RE(plan(motors, retries=0))
    assert min(motor.stops for motor in motors) >= 1
    assert f"{motors[broken].name} could not be stopped" in caplog.text
    (gone,) = docs.events["abandoned"]
    assert "DeviceTimeoutError" in gone["reason"]
    assert [row["mx"] for row in docs.events["primary"]] == [1.0]
    assert motors[broken].moving is not None
    motors[broken].moving.set_finished()


class Thermometer:
    """A detector that is read, and not triggered."""

    name, parent = "hall", None

    def read(self) -> dict[str, Any]:
        return {"hall": {"value": 20.0, "timestamp": 1.0}}

    def describe(self) -> dict[str, Any]:
        return {"hall": {"source": "test", "dtype": "number", "shape": []}}


def test_a_detector_need_not_be_triggered(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    RE(optimize([bowl, Thermometer()], motors, Scripted([at(0.5)]), max_points=1, envelope=ENVELOPE))
    assert [row["hall"] for row in docs.events["primary"]] == [20.0]


def test_a_detector_that_does_not_answer_is_named(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    exposures = [Status(bowl)]
    expose = bowl.trigger
    bowl.trigger = lambda: exposures.pop() if exposures else expose()
    agent = Scripted([at(0.5), at(1.0)])
    never = exposures[0]
    RE(optimize([bowl], motors, agent, max_points=9, retries=0, trigger_timeout_s=0.5, envelope=ENVELOPE))
    (gone,) = docs.events["abandoned"]
    assert "no answer from ['bowl'] within 0.5 s" in gone["reason"]
    assert [row["mx"] for row in docs.events["primary"]] == [1.0]
    never.set_finished()
