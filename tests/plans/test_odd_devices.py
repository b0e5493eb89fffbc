"""Devices that bluesky scans although they are unusual, and devices whose defects must be named."""

from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.plans import list_scan
from bluesky.run_engine import call_in_bluesky_event_loop
from ophyd import Component, Device, Signal
from ophyd.sim import NullStatus, SynAxis
from ophyd_async.core import SignalRW, soft_signal_rw
from simple import Documents

from ebl_autonomy import VOCS
from ebl_autonomy.agents import SobolAgent
from ebl_autonomy.errors import BadInputError, MeasurementError
from ebl_autonomy.plans import optimize


def steered(motors: list[Any], detectors: Any = (), *, variables: Any = None, goal: str = "goal", **more: Any) -> Any:
    variables = variables or {motor.name: [-2.0, 2.0] for motor in motors}
    agent = SobolAgent(VOCS(variables=variables, objectives={goal: "MINIMIZE"}), seed=1)
    if goal == "goal" and "measure" not in more:
        more["derive"] = {"goal": lambda row: sum(row[name] ** 2 for name in variables)}
    return optimize(list(detectors), motors, agent, max_points=3, **more)


@pytest.mark.parametrize("where", ["detectors", "baseline"])
def test_a_motor_may_be_read_through_its_readback_too(RE: RunEngine, docs: Documents, where: str) -> None:
    motor = SynAxis(name="mx")
    devices = [motor.readback, motor, motor.setpoint]
    RE(list_scan(devices, motor, [0.0, 1.0]))
    docs.events.clear()
    more = {"baseline": devices} if where == "baseline" else {"detectors": devices}
    assert RE(steered([motor], **more)).plan_result.accepted == 3
    assert all(row["mx"] == row["mx_setpoint"] for row in docs.events["primary"])


class TwoReadings(Device):
    """A motor with neither a position nor a hint; only who knows it can tell which reading is its position."""

    encoder = Component(Signal, value=0.0, kind="normal")
    current = Component(Signal, value=7.0, kind="normal")

    def set(self, value: float) -> NullStatus:
        self.encoder.put(value)
        return NullStatus()


def test_a_variable_tells_which_reading_is_the_position(
    RE: RunEngine, docs: Documents, caplog: pytest.LogCaptureFixture
) -> None:
    motor = TwoReadings(name="stage")
    with pytest.raises(BadInputError, match=r"\['stage_current', 'stage_encoder'\].*or give the variable the name"):
        RE(steered([motor]))
    assert not docs.events
    result = RE(steered([motor], variables={"stage_encoder": [-2.0, 2.0]}, finish="return")).plan_result
    assert (result.accepted, result.left_at) == (3, {"stage_encoder": 0.0})
    assert "no position" not in caplog.text
    decided = [decision["stage_encoder"] for decision in docs.events["decisions"]]
    assert [row["stage_encoder"] for row in docs.events["primary"]] == decided


def integers(name: str) -> SignalRW[int]:
    signal = soft_signal_rw(int, 0, name=name)
    call_in_bluesky_event_loop(signal.connect())
    return signal


def test_a_motor_in_whole_numbers_asks_for_an_integer_variable(RE: RunEngine, docs: Documents) -> None:
    motor = integers("turns")
    with pytest.raises(MeasurementError, match=r"turns was sent to .* give the variable the dtype 'integer'"):
        RE(steered([motor], max_failures=1))
    variables = {"turns": {"type": "ContinuousVariable", "domain": [-2.0, 2.0], "dtype": "integer"}}
    assert RE(steered([motor], variables=variables)).plan_result.accepted == 3


class Detector:
    """A detector that reads `reads`, and describes `describes`."""

    name, parent = "counter", None

    def __init__(self, reads: list[str], describes: list[str]) -> None:
        self.reads, self.describes = reads, describes

    def read(self) -> dict[str, Any]:
        return {key: {"value": 1.0, "timestamp": 0.0} for key in self.reads}

    def describe(self) -> dict[str, Any]:
        return {key: {"source": "test", "dtype": "number", "shape": []} for key in self.describes}


@pytest.mark.parametrize(
    ("reads", "describes", "says"),
    [
        (["a", "b"], ["a"], r"counter failed: its read\(\) has \['b'\], which its describe\(\) lacks"),
        (["a"], ["a", "b"], r"counter failed: its describe\(\) has \['b'\], which its read\(\) lacks"),
        (["c"], ["a"], r"counter failed: its describe\(\) has \['a'\].* and its read\(\) has \['c'\]"),
    ],
)
@pytest.mark.parametrize("where", ["detectors", "baseline"])
def test_a_device_that_reads_other_keys_than_it_describes_is_named(
    RE: RunEngine, docs: Documents, reads: list[str], describes: list[str], says: str, where: str
) -> None:
    more: dict[str, Any] = {where: [Detector(reads, describes)], "max_failures": 2}
    with pytest.raises(MeasurementError, match=says):
        RE(steered([SynAxis(name="mx")], **more))
    assert not docs.events["primary"]


@pytest.mark.parametrize("wrong", ["0.5", [1.0], np.array([1.0]), {}, object()])
def test_an_outcome_of_a_stub_that_is_no_number_ends_the_run_at_once(
    RE: RunEngine, docs: Documents, wrong: Any
) -> None:
    def measure(detectors: Any, point: Any) -> Any:
        yield from bps.null()
        return {"goal": wrong}

    with pytest.raises(BadInputError, match=r"measure= returned \{'goal': .*each outcome must be one number"):
        RE(steered([SynAxis(name="mx")], measure=measure))
    assert len(docs.events["abandoned"]) == 1


@pytest.mark.parametrize("number", [1, 2.5, True, np.float32(2.5), np.int64(3), np.array(4.0)])
def test_numbers_of_all_kinds_are_outcomes(RE: RunEngine, docs: Documents, number: Any) -> None:
    def measure(detectors: Any, point: Any) -> Any:
        yield from bps.null()
        return {"goal": number}

    RE(steered([SynAxis(name="mx")], measure=measure))
    assert [row["goal"] for row in docs.events["primary"]] == [float(number)] * 3
