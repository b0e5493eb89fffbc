"""Refusals of limits are no failures, and a device that fails or does not answer is blamed by its own name."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.run_engine import call_in_bluesky_event_loop
from ophyd import Device
from ophyd.signal import ReadTimeoutError
from ophyd.sim import SynAxis
from ophyd.status import Status
from ophyd.utils import DisconnectedError, LimitError
from ophyd_async.core import AsyncStatus, NotConnectedError, StandardReadable, set_mock_value, soft_signal_rw
from ophyd_async.core import StandardReadableFormat as Format
from ophyd_async.epics.motor import Motor
from scripted import Scripted, at
from simple import Bowl, Documents, vocs

from ebl_autonomy import VOCS
from ebl_autonomy.errors import BadInputError, DeviceFailedError, MeasurementError
from ebl_autonomy.plans import optimize, timely
from ebl_autonomy.plans.failures import devices_of, is_limit_error, is_no_answer


def async_motor(name: str, limits: tuple[float, float] = (-1.0, 1.0)) -> Motor:
    motor = Motor("X", name=name)
    call_in_bluesky_event_loop(motor.connect(mock=True))
    for signal, value in (
        (motor.low_limit_travel, limits[0]),
        (motor.high_limit_travel, limits[1]),
        (motor.dial_low_limit_travel, limits[0]),
        (motor.dial_high_limit_travel, limits[1]),
    ):
        set_mock_value(signal, value)
    return motor


class Unchecked(Motor):
    """Says nothing of its limits before it is set."""

    async def check_value(self, value: float) -> None:
        """Without a check."""


class Detector(StandardReadable):
    """A detector of ophyd-async; `trigger_` is awaited by its trigger."""

    def __init__(self, name: str, trigger_: Callable[[], Any]) -> None:
        with self.add_children_as_readables(Format.HINTED_SIGNAL):
            self.value = soft_signal_rw(float, 1.0)
        self._trigger = trigger_
        super().__init__(name)
        self.value.set_name(name)

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        await self._trigger()


def detector(name: str, trigger_: Callable[[], Any]) -> Detector:
    made = Detector(name, trigger_)
    call_in_bluesky_event_loop(made.connect())
    return made


async def nothing() -> None:
    """A trigger that succeeds at once."""


def raising(error: Exception) -> Callable[[], Any]:
    async def fail() -> None:
        raise error

    return fail


# -- limits --------------------------------------------------------------------------------------------------------


def test_limits_of_ophyd_async_are_refusals_before_anything_moves(RE: RunEngine, docs: Documents) -> None:
    motors = [async_motor("mx"), async_motor("my", (-2.0, 2.0))]
    agent = Scripted([at(1.5, 0.5), at(0.5, 0.5)])
    result = RE(
        optimize([detector("bowl", nothing)], motors, agent, max_points=1, finish="stay", max_failures=1)
    ).plan_result
    assert (result.accepted, result.refused, result.abandoned) == (1, 1, 0)
    (gone,) = docs.events["abandoned"]
    assert (gone["rule"], gone["attempts"]) == ("limits", 0)


def test_limits_that_a_motor_of_ophyd_async_finds_in_its_move_are_refusals(RE: RunEngine, docs: Documents) -> None:
    mx = Unchecked("X", name="mx")
    call_in_bluesky_event_loop(mx.connect(mock=True))
    for signal, value in ((mx.dial_low_limit_travel, -1.0), (mx.dial_high_limit_travel, 1.0)):
        set_mock_value(signal, value)
    set_mock_value(mx.low_limit_travel, -9.0)
    set_mock_value(mx.high_limit_travel, 9.0)
    motors = [mx, async_motor("my", (-2.0, 2.0))]

    class Narrowing(Scripted):
        def suggest(self, num_points: int | None = None) -> Any:  # limits change while the run is going on
            set_mock_value(mx.low_limit_travel, -1.0)
            set_mock_value(mx.high_limit_travel, 1.0)
            return super().suggest(num_points)

    agent = Narrowing([at(1.5), at(0.5)])
    plan = optimize([detector("bowl", nothing)], motors, agent, max_points=1, finish="stay", max_failures=1)
    result = RE(plan).plan_result
    assert (result.accepted, result.refused, result.abandoned) == (1, 1, 0)
    (gone,) = docs.events["abandoned"]
    assert gone["rule"] == "limits"
    assert "MotorLimitsError" in gone["reason"]
    assert "mx" in gone["reason"]


def test_limits_in_a_stub_are_refusals(RE: RunEngine, docs: Documents) -> None:
    motors = [async_motor("mx", (-2.0, 2.0)), async_motor("my", (-2.0, 2.0))]
    other = async_motor("other")

    def measure(detectors: Any, point: Any) -> Any:
        yield from bps.mv(other, 5.0)
        return {"bowl": 1.0}

    plan = optimize([], motors, Scripted([at(0.5)]), max_points=1, measure=measure, finish="stay", max_failures=1)
    result = RE(plan).plan_result
    assert (result.refused, result.abandoned) == (1, 0)
    assert "other" in docs.events["abandoned"][0]["reason"]


def test_kinds_of_errors() -> None:
    class MotorLimitsError(Exception):
        pass

    class NarrowerError(MotorLimitsError):
        pass

    behind = DeviceFailedError(["mx"], "no")
    behind.__cause__ = NarrowerError("beyond")
    assert is_limit_error(behind)
    assert is_limit_error(LimitError("beyond"))
    assert not is_limit_error(ValueError("beyond"))
    for error in (TimeoutError(), ReadTimeoutError(), DisconnectedError(), NotConnectedError("X"), ConnectionError()):
        assert is_no_answer(error)
    assert not is_no_answer(LimitError("beyond"))
    assert devices_of(behind) == ("mx",)
    assert devices_of(RuntimeError("?")) == ()


# -- failures ------------------------------------------------------------------------------------------------------


def run_into_failures(RE: RunEngine, docs: Documents, detectors: list[Any], motors: list[Any], **more: Any) -> str:
    """The reason of the last abandoned proposal of a run that ends with a MeasurementError; checks both blame alike."""
    known = VOCS(variables=dict(vocs().variables), objectives={detectors[0].name if detectors else "bowl": "MINIMIZE"})
    agent = Scripted([at(0.1), at(0.2), at(0.3)], known)
    with pytest.raises(MeasurementError) as caught:
        RE(
            optimize(
                detectors, motors, agent, max_points=3, finish="stay", retries=0, max_failures=2,
                trigger_timeout_s=0.5, move_timeout_s=0.5, **more,
            )
        )  # fmt: skip
    reason = str(docs.events["abandoned"][1]["reason"])
    assert reason in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "error", [RuntimeError("no frame"), TimeoutError("X:Acquire"), NotConnectedError("X: gone")], ids=repr
)
def test_a_trigger_of_ophyd_async_that_fails(RE: RunEngine, docs: Documents, bench: Any, error: Exception) -> None:
    said = run_into_failures(RE, docs, [detector("good", nothing), detector("bad", raising(error))], bench[1])
    assert "2 times because of bad" in said
    assert f"bad failed: {type(error).__name__}" in said
    assert "good" not in said


def test_a_trigger_of_ophyd_async_that_never_ends(RE: RunEngine, docs: Documents, bench: Any) -> None:
    async def hang() -> None:
        await asyncio.sleep(60)

    said = run_into_failures(RE, docs, [detector("good", nothing), detector("stuck", hang)], bench[1])
    assert "2 times because of stuck" in said


def test_all_that_fail_at_the_same_time_are_blamed(RE: RunEngine, docs: Documents, bench: Any) -> None:
    class Twin(Device):
        """Fails at the same time as the others of its kind."""

        waiting: list[Status] = []

        def trigger(self) -> Status:
            status = Status(self)
            Twin.waiting.append(status)
            if len(Twin.waiting) == 3:  # the RunEngine learns of it after this call
                for one in Twin.waiting[:2]:
                    one.set_exception(RuntimeError(f"{one.obj.name} is off"))
                    one._event.wait(60)
                status.set_finished()
                Twin.waiting.clear()
            return status

        def read(self) -> Any:
            return {self.name: {"value": 1.0, "timestamp": 0.0}}

        def describe(self) -> Any:
            return {self.name: {"source": "test", "dtype": "number", "shape": []}}

    said = run_into_failures(RE, docs, [Twin(name=name) for name in ("left", "right", "good")], bench[1])
    assert "2 times because of left" in said
    assert "2 times because of right" in said
    assert "left is off" in said
    assert "right is off" in said


@pytest.mark.parametrize("kind", [ReadTimeoutError, DisconnectedError, TimeoutError, RuntimeError])
def test_a_detector_that_cannot_be_read(RE: RunEngine, docs: Documents, bench: Any, kind: Any) -> None:
    bowl, motors = bench

    def read() -> Any:
        raise kind("X:Value is gone")

    bowl.read = read
    said = run_into_failures(RE, docs, [bowl], motors)
    assert "2 times because of bowl)" in said
    assert f"bowl failed: it cannot be read: {kind.__name__}: X:Value is gone" in said


def test_a_motor_that_never_says_where_it_is(
    RE: RunEngine, docs: Documents, monkeypatch: pytest.MonkeyPatch, bench: Any
) -> None:
    monkeypatch.setattr(timely, "READ_TIMEOUT_S", 0.2)
    silent = False

    class Silent(Motor):
        async def locate(self) -> Any:
            if silent:
                await asyncio.sleep(60)
            return await super().locate()

    mx, my = async_motor("mx", (-3.0, 3.0)), Silent("X", name="my")
    call_in_bluesky_event_loop(my.connect(mock=True))

    class Then(Scripted):
        def suggest(self, num_points: int | None = None) -> Any:
            nonlocal silent
            silent = True
            return super().suggest(num_points)

    agent = Then([at(0.1), at(0.2)])
    with pytest.raises(MeasurementError, match=r"2 times because of my\).*no answer from 'my' within 0.2 s"):
        RE(optimize([detector("bowl", nothing)], [mx, my], agent, max_points=2, retries=0, max_failures=2))


def test_a_motor_whose_check_has_no_answer_fails_and_is_named(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench

    def check_value(value: float) -> None:
        raise ReadTimeoutError("X.HLM")

    motors[1].check_value = check_value
    said = run_into_failures(RE, docs, [bowl], motors)
    assert "2 times because of my" in said
    assert "my failed: it cannot check 0.0: ReadTimeoutError: X.HLM" in said


@pytest.mark.parametrize("kind", [ReadTimeoutError, DisconnectedError])
def test_a_motor_that_does_not_tell_its_limits_is_named_before_the_run(
    RE: RunEngine, docs: Documents, bench: Any, kind: Any
) -> None:
    class Gone(SynAxis):
        @property
        def limits(self) -> Any:
            raise kind("X.LLM")

    motors = [bench[1][0], Gone(name="my")]
    with pytest.raises(BadInputError, match=rf"my failed: it does not answer: {kind.__name__}: X.LLM. Connect"):
        RE(optimize([bench[0]], motors, Scripted([at(0.1)]), max_points=1))
    assert docs.all == []


# -- stubs ---------------------------------------------------------------------------------------------------------


def steps(device: Any, how: str) -> Callable[[Any, Any], Any]:
    good = detector("good", nothing)

    def measure(detectors: Any, point: Any) -> Any:
        if how == "trigger":
            yield from bps.trigger_and_read([device, good], name="own")
        elif how == "read":
            yield from bps.create("own")
            yield from bps.read(device)
            yield from bps.save()
        elif how == "late":
            yield from bps.trigger(device, group="g")
            yield from bps.wait("g", timeout=0.1)
        else:
            yield from bps.mv(device, 1.0)
        return {"bowl": 1.0}

    return measure


class Unreadable(Bowl):
    name = "blind"

    def read(self) -> Any:
        raise ReadTimeoutError("X")


class Immovable(SynAxis):
    def set(self, value: float) -> Any:
        raise DisconnectedError("X.VAL")


async def forever() -> None:
    await asyncio.sleep(60)


STUBS: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "a failing trigger": (lambda _: detector("bad", raising(RuntimeError("no frame"))), "trigger", "bad"),
    "a late trigger": (lambda _: detector("slow", forever), "late", "slow"),
    "a failing read": (lambda motors: Unreadable(*motors), "read", "blind"),
    "a failing set": (lambda _: Immovable(name="stuck"), "set", "stuck"),
}


@pytest.mark.parametrize("case", list(STUBS))
def test_a_device_that_fails_in_a_stub_is_blamed(RE: RunEngine, docs: Documents, bench: Any, case: str) -> None:
    make, how, name = STUBS[case]
    _, motors = bench
    said = run_into_failures(RE, docs, [], motors, measure=steps(make(motors), how))
    assert f"2 times because of {name}" in said


def test_an_error_of_the_stub_itself_blames_no_device(RE: RunEngine, docs: Documents, bench: Any) -> None:
    def measure(detectors: Any, point: Any) -> Any:
        yield from bps.null()
        raise ConnectionError("the stub's own")

    said = run_into_failures(RE, docs, [], bench[1], measure=measure)
    assert "could not be measured, the last because: ConnectionError: the stub's own" in said
