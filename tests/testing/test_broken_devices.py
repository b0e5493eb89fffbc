"""Devices that break one rule of the contract are found out by its name, and odd ones that keep all rules may serve."""

from typing import Any

import pytest
from bluesky import RunEngine
from ophyd import Component, Device, PVPositioner, Signal
from ophyd.sim import NullStatus, SynAxis
from ophyd.utils import LimitError

from ebl_autonomy.testing import check_device


class Axis(SynAxis):
    """A motor with limits, which it keeps."""

    limits: Any = (-2.0, 2.0)
    error: type[Exception] = LimitError

    def __init__(self, **options: Any) -> None:
        super().__init__(name="m", **options)

    def set(self, value: float, **kwargs: Any) -> Any:
        if not self.limits[0] <= value <= self.limits[1]:
            raise self.error(f"{value} is beyond {self.limits}")
        return super().set(value, **kwargs)


class Detector:
    """A detector that keeps the contract; what a test changes is what breaks it."""

    name, parent = "det", None

    def __init__(self) -> None:
        self.readings = self.triggers = 0
        self.gain, self.staged = 1, False
        self.hints: dict[str, Any] = {"fields": ["det"]}

    def stage(self) -> list[Any]:
        self.staged = True
        return [self]

    def unstage(self) -> list[Any]:
        self.staged = False
        return [self]

    def trigger(self) -> Any:
        self.triggers += 1
        return NullStatus()

    def value(self) -> dict[str, Any]:
        return {"det": 1.5}

    def read(self) -> dict[str, Any]:
        self.readings += 1
        return {key: {"value": value, "timestamp": 0.0} for key, value in self.value().items()}

    def describe(self) -> dict[str, Any]:
        return {key: {"source": "test", "dtype": "number", "shape": []} for key in self.value()}

    def read_configuration(self) -> dict[str, Any]:
        return {"gain": {"value": self.gain, "timestamp": 0.0}}

    def describe_configuration(self) -> dict[str, Any]:
        return {"gain": {"source": "test", "dtype": "integer", "shape": []}}


class Nameless(Detector):
    name = ""


class Orphan(Detector):
    def __getattribute__(self, name: str) -> Any:
        if name == "parent":
            raise AttributeError(name)
        return super().__getattribute__(name)


class ComingAndGoing(Detector):
    def value(self) -> dict[str, Any]:
        return {"det": 1.5, **({"extra": 1.0} if self.triggers == 2 else {})}


class Growing(Detector):
    def describe(self) -> dict[str, Any]:
        return {"det": {"source": "test", "dtype": "array", "shape": [self.triggers]}}

    def value(self) -> dict[str, Any]:
        return {"det": [0.0] * self.triggers}


class Retyped(Detector):
    def describe(self) -> dict[str, Any]:
        return {"det": {"source": "test", "dtype": "number" if self.triggers == 1 else "string", "shape": []}}

    def value(self) -> dict[str, Any]:
        return {"det": 1.5 if self.triggers == 1 else "1.5"}


class FalselyWhole(Detector):
    def describe(self) -> dict[str, Any]:
        return {"det": {"source": "test", "dtype": "integer", "dtype_numpy": "<i8", "shape": []}}


class ChangingAsRead(Detector):
    def read(self) -> dict[str, Any]:
        self.gain += 1
        return super().read()


class KeyPerReading(Detector):
    def value(self) -> dict[str, Any]:
        return {f"det_{self.readings // 3}": 1.5}


class Hinting(Detector):
    def __init__(self) -> None:
        super().__init__()
        self.hints = {"fields": ["nothing"]}


class KeepingGain(Detector):
    def stage(self) -> list[Any]:
        self.gain = 5
        return super().stage()


class UnstagedOnce(Detector):
    def unstage(self) -> list[Any]:
        if not self.staged:
            raise RuntimeError("not staged")
        return super().unstage()


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Nameless, "has no name"),
        (Orphan, "has no attribute parent"),
        (ComingAndGoing, r"changes its keys after the next trigger: \['extra'\]"),
        (Growing, r"changes shape of det after the next trigger: \[1\] becomes \[2\]"),
        (Retyped, "changes dtype of det after the next trigger: 'number' becomes 'string'"),
        (FalselyWhole, "det is described as integer but reads float"),
        (ChangingAsRead, "reading det changes its configuration"),
        (KeyPerReading, "but does not read it|changes its keys"),
        (Hinting, r"hints at \['nothing'\]"),
        (KeepingGain, r"unstaging det does not restore .*gain was 1 and is 5"),
        (UnstagedOnce, "cannot be unstaged twice"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_detector_is_found_out(RE: RunEngine, broken: Any, rule: str) -> None:
    check_device(Detector(), RE)
    with pytest.raises(AssertionError, match=rule):
        check_device(broken(), RE)


class Unlimited(Axis):
    def set(self, value: float, **kwargs: Any) -> Any:
        return SynAxis.set(self, value, **kwargs)


class WrongError(Axis):
    error = RuntimeError


class MovesFirst(Axis):
    def set(self, value: float, **kwargs: Any) -> Any:
        if abs(value) > 2.0:
            super().set(2.0 if value > 0 else -2.0)
        return super().set(value, **kwargs)


class Off(Axis):
    def set(self, value: float, **kwargs: Any) -> Any:
        return super().set(0.9 * value, **kwargs)


class MovedByReading(Axis):
    readings = 0

    def set(self, value: float, **kwargs: Any) -> Any:
        self.readings = 0
        return super().set(value, **kwargs)

    def read(self) -> Any:
        self.readings += 1
        if self.readings > 1:
            self.sim_state["readback"] += 0.1
        return super().read()


class Nowhere(Detector):
    """Neither a position nor a reading that is one."""

    def set(self, value: float) -> Any:
        return NullStatus()

    def value(self) -> dict[str, Any]:
        return {"one": 1.0, "two": 2.0}

    def __init__(self) -> None:
        super().__init__()
        self.hints = {}


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Unlimited, r"m accepted -2\.\d+, outside its limits"),
        (WrongError, "RuntimeError.*raise a LimitError"),
        (MovesFirst, "moved from 1.0 to -2.0 although it refused"),
        (Off, "m was sent to 1.0 and stands at 0.9"),
        (MovedByReading, "reading m moves it"),
        (Nowhere, "the position of det is not known"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_motor_is_found_out(RE: RunEngine, broken: Any, rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        check_device(broken(), RE, positions=[1.0])


class Late(Detector):
    """Describes itself only once it was triggered in this staging."""

    def stage(self) -> list[Any]:
        self.triggers = 0
        return super().stage()

    def describe(self) -> dict[str, Any]:
        if not (self.staged and self.triggers):
            raise RuntimeError("Prepare not run")
        return super().describe()


class LateConfiguration(Detector):
    def read_configuration(self) -> dict[str, Any]:
        if not self.staged:
            raise RuntimeError("Prepare not run")
        return super().read_configuration()


class Whole(Detector):
    """Described as an integer while it is one."""

    def value(self) -> dict[str, Any]:
        return {"det": 0 if self.triggers < 2 else 0.5}

    def describe(self) -> dict[str, Any]:
        return {"det": {"source": "test", "dtype": "integer" if self.triggers < 2 else "number", "shape": []}}


@pytest.mark.parametrize("odd", [Late, LateConfiguration, Whole])
def test_an_odd_detector_may_serve(RE: RunEngine, odd: Any) -> None:
    check_device(odd(), RE)


class Checked(Axis):
    """Refuses in check_value, with whatever error."""

    def check_value(self, value: float) -> None:
        if abs(value) > 2.0:
            raise ValueError("too far")


class HalfOpen(Axis):
    limits = (-2.0, float("inf"))


class Free(Unlimited):
    limits = (0.0, 0.0)  # none, as in the motor record


class Gap(PVPositioner):
    """Reads `gap_readback` and `gap_setpoint`."""

    setpoint = Component(Signal, value=0.0)
    readback = Component(Signal, value=0.0, kind="hinted")
    done = Component(Signal, value=1, kind="omitted")

    def _setup_move(self, position: float) -> None:
        self.setpoint.put(position)
        self.readback.put(position)
        self._move_changed(value=0)
        self._move_changed(value=1)


@pytest.mark.parametrize("odd", [Checked, HalfOpen, Free, lambda: Gap("", name="gap")])
def test_an_odd_motor_may_serve(RE: RunEngine, odd: Any) -> None:
    check_device(odd(), RE, positions=[1.0, -1.5])


class Stage(Device):
    x = Component(SynAxis)


def test_a_motor_that_is_part_of_a_device_may_serve(RE: RunEngine) -> None:
    check_device(Stage("", name="stage").x, RE, positions=[1.0])
