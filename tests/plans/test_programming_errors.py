"""Programming errors of a user end a run at once and say where they are; rows without a value end it in the end."""

import asyncio
import inspect
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.utils import IllegalMessageSequence, InvalidCommand, Msg, RunEngineInterrupted
from scripted import Scripted, at
from simple import ENVELOPE, Documents, vocs

from ebl_autonomy.data import Connection, read_run
from ebl_autonomy.errors import MeasurementError, UserFunctionError
from ebl_autonomy.guard import Line
from ebl_autonomy.plans import AtPoint, FlyLine, optimize
from ebl_autonomy.sim_devices import SimBeamline, SimFlyer

Readings = Mapping[str, Any]


def ten() -> Scripted:
    return Scripted([at(0.1 * k) for k in range(10)])


def of_w() -> Scripted:
    agent = ten()
    agent.vocs = vocs(observables=["w"])
    return agent


def line_of(function: Callable[..., Any], offset: int = 1) -> str:
    """The place of a line of a function, counted from its first."""
    return f"{__file__}:{inspect.getsourcelines(function)[1] + offset}"


# -- derivations -----------------------------------------------------------------------------------------------


def no_key(readings: Readings) -> float:
    return float(readings["nokey"])


def no_name(readings: Readings) -> float:
    return undefined + 1.0  # type: ignore[name-defined]  # noqa: F821


def no_attribute(readings: Readings) -> float:
    return float(readings["bowl"].maen())


def wrong_type(readings: Readings) -> float:
    return float(np.mean(readings["bowl"], axes=1))  # type: ignore[call-overload]


def no_module(readings: Readings) -> float:
    import no_such_module_at_all  # type: ignore[import-not-found]

    return float(no_such_module_at_all.width(readings))


def not_written(readings: Readings) -> float:
    raise NotImplementedError("to do")


def wrong_assumption(readings: Readings) -> float:
    assert readings["mx"] > 99.0
    return 1.0


def endless(readings: Readings) -> float:
    return endless(readings)


def bad_syntax(readings: Readings) -> float:
    return float(eval("1 +"))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (no_key, r"KeyError: 'nokey'.*There are the keys \['bowl', 'mx', 'mx_setpoint', 'my', 'my_setpoint'\]"),
        (no_name, "NameError: name 'undefined'"),
        (no_attribute, "AttributeError: .*maen"),
        (wrong_type, "TypeError: "),
        (no_module, "ModuleNotFoundError: .*no_such_module_at_all"),
        (not_written, "NotImplementedError: to do"),
        (wrong_assumption, "AssertionError"),
        (endless, "RecursionError"),
        (bad_syntax, "SyntaxError"),
    ],
)
def test_a_programming_error_in_a_derivation_ends_the_run_with_the_place(
    RE: RunEngine, docs: Documents, bench: Any, function: Callable[..., Any], says: str
) -> None:
    bowl, motors = bench
    agent = of_w()
    with pytest.raises(UserFunctionError, match=rf"derivation 'w' .*{says}") as failed:
        RE(optimize([bowl], motors, agent, max_points=10, retries=3, derive={"w": function}, envelope=ENVELOPE))
    assert line_of(function) in str(failed.value)
    assert type(failed.value.__cause__).__name__ in str(failed.value)
    assert bowl.triggers == 1
    (row,) = docs.events["primary"]
    assert (row["mx"], row["valid"], math.isnan(row["w"])) == (0.0, False, True)
    assert row["bowl"] == bowl.value
    assert "derivation w failed" in row["invalid_reason"]
    assert docs.events["abandoned"] == []
    assert docs.stop["exit_status"] == "fail"
    assert "derivation 'w'" in docs.stop["reason"]
    assert [math.isnan(told["w"]) for told in agent.told] == [True]  # the row has reached the agent


def test_a_derivation_of_two_arguments_is_named_by_its_definition(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench

    def width(readings: Readings, image: Any) -> float:
        return 1.0

    with pytest.raises(UserFunctionError, match="missing 1 required positional argument") as failed:
        RE(optimize([bowl], motors, of_w(), max_points=9, derive={"w": width}, envelope=ENVELOPE))
    assert line_of(width, 0) in str(failed.value)


def test_all_rows_of_the_point_are_recorded_before_the_run_ends(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench

    def measure(detectors: Any, point: Any) -> Any:
        yield from bps.null()
        return [{"bowl": 0.0}, {"bowl": 1.0}, {"bowl": 2.0}]

    derive = {"w": lambda readings: readings["bowl"] if readings["bowl"] != 1.0 else readings["nokey"]}
    with pytest.raises(UserFunctionError, match="'nokey'"):
        RE(optimize([bowl], motors, of_w(), max_points=9, measure=measure, derive=derive, envelope=ENVELOPE))
    assert [row["valid"] for row in docs.events["primary"]] == [True, False, True]
    assert docs.stop["exit_status"] == "fail"


@pytest.mark.integration
def test_the_row_of_a_programming_error_is_kept_in_tiled_with_the_others(
    RE: RunEngine, docs: Documents, bench: Any, tiled: Connection
) -> None:
    bowl, motors = bench
    derive = {"w": lambda readings: readings["mx"] if readings["mx"] < 0.15 else readings["late"]}
    with pytest.raises(UserFunctionError, match="KeyError: 'late'"):
        RE(optimize([bowl], motors, of_w(), max_points=9, batch=4, derive=derive, envelope=ENVELOPE))
    record = read_run(docs.stop["run_start"], tiled.client)
    assert [proposal.status for proposal in record.proposals] == ["accepted"] * 3 + ["abandoned"]
    assert record.rows["bowl"] == [row["bowl"] for row in docs.events["primary"]]
    assert list(record.rows["valid"]) == [True, True, False]
    assert (record.stop or {})["exit_status"] == "fail"


@pytest.mark.parametrize(
    "error",
    [ValueError("no peak"), ZeroDivisionError(), IndexError("1"), RuntimeError("no fit"), np.linalg.LinAlgError()],
)
def test_an_error_that_the_readings_cause_is_an_invalid_row(
    RE: RunEngine, docs: Documents, bench: Any, error: Exception
) -> None:
    bowl, motors = bench

    def fit(readings: Readings) -> float:
        if readings["mx"] == 0.1:
            raise error
        return 1.0

    result = RE(optimize([bowl], motors, ten(), max_points=4, derive={"w": fit}, envelope=ENVELOPE)).plan_result
    assert result.accepted == 4
    assert [row["valid"] for row in docs.events["primary"]] == [True, False, True, True]


@pytest.mark.parametrize(
    ("value", "says"), [(None, "returned None"), ("blue", "returned 'blue'"), ([1, 2], "returned [1, 2]")]
)
def test_a_derivation_that_returns_no_number_gives_an_invalid_row(
    RE: RunEngine, docs: Documents, bench: Any, value: Any, says: str
) -> None:
    bowl, motors = bench
    derive = {"w": lambda readings: value if readings["mx"] == 0.1 else 1.0}
    RE(optimize([bowl], motors, of_w(), max_points=3, derive=derive, envelope=ENVELOPE))
    rows = docs.events["primary"]
    assert [row["valid"] for row in rows] == [True, False, True]
    assert says in rows[1]["invalid_reason"]


# -- stubs -----------------------------------------------------------------------------------------------------


def stub_no_key(detectors: Any, point: Any) -> Any:
    reading = yield from bps.trigger_and_read(detectors)
    return {"bowl": reading["bowll"]["value"]}


def stub_no_name(detectors: Any, point: Any) -> Any:
    yield from bps.null()
    return {"bowl": undefined}  # type: ignore[name-defined]  # noqa: F821


def stub_twice(detectors: Any, point: Any) -> Any:
    yield from bps.create("mine")
    yield from bps.create("mine")


def stub_closes(detectors: Any, point: Any) -> Any:
    yield from bps.null()
    yield from bps.close_run()


def stub_unknown(detectors: Any, point: Any) -> Any:
    yield from bps.null()
    yield Msg("no such command")


def stub_of_nothing(detectors: Any, point: Any) -> Any:
    yield from bps.null()
    yield from bps.trigger("camera")


def step() -> Any:
    yield Msg("null")


def stub_no_from(detectors: Any, point: Any) -> Any:
    yield from bps.null()
    yield step()


def stub_clean_up(detectors: Any, point: Any) -> Any:
    try:
        yield from bps.trigger(BROKEN, wait=True)
    except RuntimeError as error:
        raise KeyError("handler") from error


class Broken:
    """A device whose own code has a programming error, or that fails."""

    name, parent = "broken", None

    def __init__(self, error: Exception) -> None:
        self.error, self.triggers = error, 0

    def trigger(self) -> Any:
        self.triggers += 1
        raise self.error

    def read(self) -> dict[str, Any]:
        return {}

    def describe(self) -> dict[str, Any]:
        return {}


BROKEN = Broken(RuntimeError("shutter"))


@pytest.mark.parametrize(
    ("stub", "line", "says", "cause"),
    [
        (stub_no_key, 2, "KeyError: 'bowll'", KeyError),
        (stub_no_name, 2, "NameError: name 'undefined'", NameError),
        (stub_twice, 2, "IllegalMessageSequence", IllegalMessageSequence),
        (stub_closes, 2, "closes a run that it did not open", IllegalMessageSequence),
        (stub_unknown, 2, "InvalidCommand: 'no such command'", InvalidCommand),
        (stub_of_nothing, 2, "AssertionError: .* does not implement", AssertionError),
        (stub_no_from, 2, "is no message of bluesky.*Write 'yield from'", type(None)),
        (stub_clean_up, 4, "KeyError: 'handler'", KeyError),
    ],
)
def test_a_programming_error_in_a_stub_ends_the_run_and_is_not_retried(
    RE: RunEngine, docs: Documents, bench: Any, stub: Any, line: int, says: str, cause: type
) -> None:
    bowl, motors = bench
    calls = []

    def measure(detectors: Any, point: Any) -> Any:
        calls.append(point)
        return (yield from stub(detectors, point))

    with pytest.raises(UserFunctionError, match=rf"the measuring stub 'measure' .*{says}") as failed:
        RE(optimize([bowl], motors, ten(), max_points=9, retries=3, measure=measure, envelope=ENVELOPE))
    assert line_of(stub, line) in str(failed.value)
    assert isinstance(failed.value.__cause__, cause)
    assert len(calls) == 1
    assert docs.events["primary"] == []
    assert [gone["rule"] for gone in docs.events["abandoned"]] == ["run"]
    assert docs.stop["exit_status"] == "fail"


def test_a_stub_that_takes_no_point_is_named_by_its_definition(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench

    def measure(detectors: Any) -> Any:
        yield from bps.null()

    with pytest.raises(UserFunctionError, match="takes 1 positional argument but 2 were given") as failed:
        RE(optimize([bowl], motors, ten(), max_points=9, measure=measure, envelope=ENVELOPE))
    assert line_of(measure, 0) in str(failed.value)


@pytest.mark.parametrize("error", [KeyError("channel"), TypeError("firmware"), RuntimeError("shutter")])
def test_an_error_of_a_device_in_a_stub_is_retried_and_then_abandons_the_point(
    RE: RunEngine, docs: Documents, bench: Any, error: Exception
) -> None:
    bowl, motors = bench
    broken = Broken(error)

    def measure(detectors: Any, point: Any) -> Any:
        if point["mx"] == 0.1:
            yield from bps.trigger(broken, wait=True)
        yield from bps.null()
        return {"bowl": 1.0}

    plan = optimize([bowl], motors, ten(), max_points=3, retries=2, measure=measure, envelope=ENVELOPE)
    result = RE(plan).plan_result
    assert (result.accepted, result.abandoned, broken.triggers) == (3, 1, 3)


@pytest.mark.parametrize("error", [RuntimeError("no sample"), ValueError("no peak")])
def test_an_error_that_a_stub_raises_on_purpose_is_retried(RE: RunEngine, bench: Any, error: Exception) -> None:
    bowl, motors = bench
    calls = []

    def measure(detectors: Any, point: Any) -> Any:
        yield from bps.null()
        calls.append(point)
        if len(calls) == 2:
            raise error
        return {"bowl": 1.0}

    result = RE(optimize([bowl], motors, ten(), max_points=3, measure=measure, envelope=ENVELOPE)).plan_result
    assert (result.accepted, result.abandoned, len(calls)) == (3, 0, 4)


class Thermometer:
    """A slow reading that requests a pause the second time."""

    name, parent = "hall", None

    def __init__(self, RE: RunEngine) -> None:
        self._RE, self.readings = RE, 0

    async def read(self) -> dict[str, Any]:
        self.readings += 1
        if self.readings == 2:
            threading.Thread(target=self._RE.request_pause, daemon=True).start()
            await asyncio.sleep(60.0)
        return {"hall": {"value": 20.0, "timestamp": time.time()}}

    async def describe(self) -> dict[str, Any]:
        return {"hall": {"source": "test", "dtype": "number", "shape": []}}


def test_a_reading_that_a_pause_cuts_short_is_no_programming_error(
    RE: RunEngine, docs: Documents, bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    _, motors = bench
    hall = Thermometer(RE)

    def measure(detectors: Any, point: Any) -> Any:
        reading = yield from bps.read(hall)
        return {"bowl": reading["hall"]["value"]}

    with pytest.raises(RunEngineInterrupted):
        RE(optimize([], motors, ten(), max_points=3, measure=measure, envelope=ENVELOPE))
    RE.resume()
    assert docs.stop["exit_status"] == "success"
    assert [row["attempt"] for row in docs.events["primary"]] == [1, 2, 1]
    assert "failed after a pause, and runs again: TypeError" in caplog.text


class Own(AtPoint):
    """A user's acquisition with a typing mistake."""

    def acquire(self, attempt: Any) -> Any:
        yield from bps.null()
        attempt.exopse()


def test_a_programming_error_in_an_acquisition_ends_the_run(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    with pytest.raises(UserFunctionError, match=r"acquisition 'point' .*AttributeError: .*exopse") as failed:
        RE(optimize([], motors, ten(), max_points=9, measure=Own([bowl]), envelope=ENVELOPE))
    assert line_of(Own.acquire, 2) in str(failed.value)
    assert len(docs.events["abandoned"]) == 1


def test_a_programming_error_in_the_line_of_a_flight_ends_the_run(RE: RunEngine, docs: Documents) -> None:
    bl = SimBeamline(tier="A")
    pitch, height, *_ = bl.motors()
    calls = []

    def sweep(target: Mapping[str, float]) -> Line:
        calls.append(target)
        if len(calls) > 1:
            target["pitch"]
        return Line({pitch.name: -1.0}, {pitch.name: 1.0}, rows=3, seconds=1.0)

    flown = FlyLine([SimFlyer("line", pitch, bl.camera, bl.clock)], [pitch], sweep)
    given = {"variables": {height.name: [-50.0, 50.0]}, "objectives": {"camera_total": "MAXIMIZE"}}
    with pytest.raises(UserFunctionError, match=r"line= of FlyLine .*KeyError: 'pitch'"):
        RE(optimize([], [height], "sobol", vocs=given, max_points=30, measure=flown))
    assert docs.stop["exit_status"] == "fail"
    assert len(docs.events["primary"]) == 0


# -- rows without a value --------------------------------------------------------------------------------------


def test_invalid_rows_in_a_row_end_the_run_and_are_kept(
    RE: RunEngine, docs: Documents, bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: math.nan
    says = r"3 proposals in a row gave no valid row \(3 times invalid: bowl is nan\), the last because: bowl is nan"
    with caplog.at_level(logging.WARNING), pytest.raises(MeasurementError, match=says):
        RE(optimize([bowl], motors, ten(), max_points=9, max_failures=3, envelope=ENVELOPE))
    assert [row["valid"] for row in docs.events["primary"]] == [False] * 3
    assert docs.stop["exit_status"] == "fail"
    told = [record.getMessage() for record in caplog.records if "invalid row" in record.getMessage()]
    assert told == ["proposal 00000 gives an invalid row: bowl is nan"]


def test_a_valid_row_and_a_failure_count_in_the_same_row(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    outcomes = [math.nan, RuntimeError("readout"), 1.0, RuntimeError("readout"), math.nan, RuntimeError("readout")]
    bowl.fail = lambda n: outcomes[n - 1]
    plan = optimize([bowl], motors, ten(), max_points=9, retries=0, max_failures=3, envelope=ENVELOPE)
    with pytest.raises(
        MeasurementError, match=r"3 proposals in a row gave no valid row .*1 times invalid: bowl is nan"
    ):
        RE(plan)
    assert [row["valid"] for row in docs.events["primary"]] == [False, True, False]
    assert len(docs.events["abandoned"]) == 3


def test_a_derivation_that_keeps_failing_ends_the_run_by_default(
    RE: RunEngine, docs: Documents, bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bowl, motors = bench

    def fit(readings: Readings) -> float:
        raise ValueError(f"no peak at {readings['mx']}")

    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(MeasurementError, match=r"5 proposals in a row .*ValueError: no peak at 0.4"),
    ):
        RE(optimize([bowl], motors, ten(), max_points=10, derive={"w": fit}, envelope=ENVELOPE))
    assert len(docs.events["primary"]) == 5
    assert sum("gives an invalid row" in record.getMessage() for record in caplog.records) == 1  # numbers apart


def test_a_wide_search_may_see_nothing_for_long(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: math.nan if n <= 24 else None
    agent = Scripted([at(0.01 * k) for k in range(60)])
    result = RE(optimize([bowl], motors, agent, max_points=26, envelope=ENVELOPE)).plan_result
    assert (result.accepted, docs.stop["exit_status"]) == (26, "success")
    bowl.fail = lambda n: math.nan
    with pytest.raises(MeasurementError, match="25 proposals in a row"):
        RE(optimize([bowl], motors, Scripted([at(0.01 * k) for k in range(60)]), max_points=60, envelope=ENVELOPE))


def test_a_flown_line_with_one_valid_row_is_valid(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench

    def measure(detectors: Any, point: Any) -> Any:
        yield from bps.null()
        return [{"bowl": math.nan}, {"bowl": 1.0}, {"bowl": None}]

    plan = optimize([bowl], motors, ten(), max_points=12, max_failures=2, measure=measure, envelope=ENVELOPE)
    assert RE(plan).plan_result.accepted == 4
