"""Functions of a user that hang, end the program, or work in place: agents, derivations, stubs, devices."""

import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.protocols import Reading
from bluesky.utils import RunEngineInterrupted
from event_model import DataKey
from ophyd_async.core import StandardReadable, soft_signal_rw
from scripted import Scripted, at, pause_in_exposure
from simple import BOUNDS, ENVELOPE, Bowl, Documents, vocs

from ebl_autonomy import VOCS
from ebl_autonomy.errors import DeviceTimeoutError, MeasurementError, ProgramExitError
from ebl_autonomy.plans import optimize, steered_run, timely
from ebl_autonomy.records import Recommendation

HUNG = """
import threading, time
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from ophyd.sim import SynAxis, SynGauss
from ebl_autonomy.plans import optimize

class Hung:
    vocs = {"variables": {"m": [-1.0, 1.0]}, "objectives": {"g": "MAXIMIZE"}}
    def suggest(self, n):
        threading.Timer(0.2, RE.request_pause).start()
        threading.Event().wait()
    def ingest(self, results): ...

m = SynAxis(name="m")
g = SynGauss("g", m, "m", center=0, Imax=1)
RE = RunEngine(context_managers=[])
try:
    RE(optimize([g], [m], Hung(), max_points=3, envelope={"limits": {"m": [-1, 1]}}))
except RunEngineInterrupted:
    RE.abort()
print("over", RE.state)
"""


@pytest.mark.integration
def test_a_hung_agent_does_not_keep_the_program_from_ending() -> None:
    done = subprocess.run([sys.executable, "-c", HUNG], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1:] == ["over idle"], done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("method", ["ingest", "best"])
def test_a_run_whose_agent_hangs_can_be_ended(
    RE: RunEngine, docs: Documents, bench: Any, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(steered_run, "LAST_INGEST_S", 0.1)
    bowl, motors = bench
    go_on = threading.Event()

    def hang(*_: Any) -> None:
        if method == "best":
            RE.request_pause()
        go_on.wait(timeout=60)

    agent = type("Hanging", (Scripted,), {method: hang})([at(0.1), at(0.2)])
    if method == "ingest":
        pause_in_exposure(RE, bowl, 2)
    with pytest.raises(RunEngineInterrupted):
        RE(optimize([bowl], motors, agent, max_points=2, batch=2, envelope=ENVELOPE))
    RE.abort()
    go_on.set()
    assert (docs.stop["exit_status"], RE.state) == ("abort", "idle")
    assert [row["mx"] for row in docs.events["primary"]] == ([0.1, 0.2] if method == "best" else [0.1])


def leave(*_: Any) -> Any:
    sys.exit(3)


class Leaver(Scripted):
    """Tries to end the program when it is asked a second time."""

    def suggest(self, num_points: int | None = None) -> list[dict[str, float]]:
        return super().suggest(num_points) if len(self.points) > 1 else leave()


def test_an_agent_that_ends_the_program_ends_the_run(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    with pytest.raises(ProgramExitError, match=r"exit\(3\)"):
        RE(optimize([bowl], motors, Leaver([at(0.1), at(0.2)]), max_points=3, envelope=ENVELOPE))
    assert len(docs.events["primary"]) == 1
    assert (docs.stop["exit_status"], RE.state) == ("fail", "idle")


def test_a_derivation_that_ends_the_program_ends_the_run(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    derive = {"w": lambda readings: leave() if readings["mx"] > 0.15 else 1.0}
    agent = Scripted([at(0.1), at(0.2), at(0.3)])
    with pytest.raises(ProgramExitError, match=r"exit\(3\)"):
        RE(optimize([bowl], motors, agent, max_points=3, derive=derive, envelope=ENVELOPE))
    assert [row["mx"] for row in docs.events["primary"]] == [0.1]
    assert [gone["rule"] for gone in docs.events["abandoned"]] == ["run"]
    assert "exit(3)" in docs.stop["reason"]


def test_a_stub_that_ends_the_program_ends_the_run(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench

    def measure(detectors: Any, point: Any) -> Any:
        yield from ()
        leave()

    with pytest.raises(ProgramExitError):
        RE(optimize([bowl], motors, Scripted([at(0.1)]), max_points=3, measure=measure, envelope=ENVELOPE))
    assert docs.stop["exit_status"] == "fail"


@pytest.mark.parametrize("method", ["start_from", "config"])
def test_an_agent_that_ends_the_program_before_the_run_is_an_error(RE: RunEngine, bench: Any, method: str) -> None:
    bowl, motors = bench
    agent = type("Leaving", (Scripted,), {method: leave})([at(0.1)])
    with pytest.raises(ProgramExitError, match=r"exit\(3\)"):
        RE(optimize([bowl], motors, agent, max_points=1, envelope=ENVELOPE))
    assert RE.state == "idle"
    assert motors[0].position == 0.0


def fail(*_: Any) -> Any:
    raise ZeroDivisionError("no model")


@pytest.mark.parametrize("method", ["best", "explain", "front"])
@pytest.mark.parametrize("does", [leave, fail, lambda *_: [7, Recommendation({"mx": 0.0}, {})]])
def test_a_finished_run_does_not_fail_for_what_the_agent_says_at_its_end(
    RE: RunEngine, docs: Documents, bench: Any, method: str, does: Any
) -> None:
    bowl, motors = bench
    two = (
        vocs(observables=["mx_setpoint"])
        if method != "front"
        else VOCS(
            variables={name: list(ends) for name, ends in BOUNDS.items()},
            objectives={"bowl": "MINIMIZE", "height": "MINIMIZE"},
        )
    )
    agent = type("Failing", (Scripted,), {method: does})([at(0.5), at(0.1)], two)
    derive = {"height": lambda readings: -readings["mx"]}
    result = RE(optimize([bowl], motors, agent, max_points=2, derive=derive, envelope=ENVELOPE)).plan_result
    assert (result.accepted, result.front, docs.stop["exit_status"]) == (2, (), "success")
    assert result.recommended.point["mx"] == motors[0].position == 0.5


# -- readings are handed out by reference ----------------------------------------------------------------------


class Imager(Bowl):
    """A detector with an image of floats and a list."""

    def read(self) -> dict[str, Reading[Any]]:
        now = time.time()
        image = np.full((3, 4), float(self.triggers))
        return {
            **super().read(),
            "image": {"value": image, "timestamp": now},
            "pairs": {"value": [[1.0, 2.0], [3.0, 4.0]], "timestamp": now},
        }

    def describe(self) -> dict[str, DataKey]:
        return {
            **super().describe(),
            "image": {"source": "soft", "dtype": "array", "shape": [3, 4]},
            "pairs": {"source": "soft", "dtype": "array", "shape": [2, 2]},
        }


def test_a_derivation_that_works_in_place_alters_nothing_that_is_stored(
    RE: RunEngine, docs: Documents, bench: Any
) -> None:
    _, motors = bench
    imager = Imager(*motors)

    def total(readings: Any) -> float:
        readings["image"] -= 100.0
        readings["pairs"][0][0] = -1.0
        return float(readings["image"].sum())

    def after(readings: Any) -> float:
        return float(readings["image"].sum() + readings["pairs"][0][0])

    agent = Scripted([at(0.1), at(0.2)])
    RE(optimize([imager], motors, agent, max_points=2, derive={"w": total, "v": after}, envelope=ENVELOPE))
    rows = docs.events["primary"]
    assert [row["valid"] for row in rows] == [True, True]
    assert [row["w"] for row in rows] == [12.0 * (1 - 100), 12.0 * (2 - 100)]
    assert [row["v"] for row in rows] == [12.0 + 1.0, 24.0 + 1.0]
    for number, row in enumerate(rows, start=1):
        np.testing.assert_array_equal(row["image"], np.full((3, 4), float(number)))
        assert row["pairs"] == [[1.0, 2.0], [3.0, 4.0]]


# -- devices that do not answer --------------------------------------------------------------------------------


class Sleeper(StandardReadable):
    """Its third reading never ends."""

    def __init__(self) -> None:
        self.bowl = soft_signal_rw(float)
        self.add_readables([self.bowl])
        super().__init__(name="sleeper")
        self.bowl.set_name("bowl")
        self.readings = 0

    async def read(self) -> dict[str, Reading[Any]]:
        import asyncio

        self.readings += 1
        if self.readings >= 3:
            await asyncio.Event().wait()
        return await super().read()


def test_an_asynchronous_reading_that_never_ends_is_a_failure_of_the_device(
    RE: RunEngine, docs: Documents, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, motors = bench
    monkeypatch.setattr(timely, "READ_TIMEOUT_S", 0.2)
    sleeper = Sleeper()
    agent = Scripted([at(0.1 * k) for k in range(1, 9)])
    with pytest.raises(MeasurementError, match="sleeper") as failed:
        RE(optimize([sleeper], motors, agent, max_points=9, retries=0, max_failures=2, envelope=ENVELOPE))
    assert isinstance(failed.value.__cause__, DeviceTimeoutError)
    assert len(docs.events["primary"]) == 2
    assert docs.stop["exit_status"] == "fail"


class Astray(Scripted):
    """Recommends a point that lacks a motor."""

    def best(self) -> Recommendation:
        return Recommendation({"mx": 0.1}, {"bowl": 1.0})


def test_a_best_that_lacks_a_motor_does_not_fail_a_finished_run(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    result = RE(optimize([bowl], motors, Astray([at(0.5), at(0.2)]), max_points=2, envelope=ENVELOPE)).plan_result
    assert docs.stop["exit_status"] == "success"
    assert result.recommended.point == result.best_reading.point
    assert result.left_at == pytest.approx(result.best_reading.point)


def test_where_the_motors_are_is_recorded_after_an_abort(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    pause_in_exposure(RE, bowl, 2)
    with pytest.raises(RunEngineInterrupted):
        RE(optimize([bowl], motors, Scripted([at(0.1), at(0.2), at(0.3)]), max_points=3, envelope=ENVELOPE))
    RE.abort("enough")
    assert docs.stop["exit_status"] == "abort"
    (left,) = docs.events["left_at"]
    assert (left["mx"], left["left_where"]) == (0.2, "stayed")
    assert docs.stop["reason"].endswith("motors stayed: mx = 0.2, my = 0")
