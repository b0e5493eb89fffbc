"""A pause or a suspender stops the motors in mid-move: that is no failure of the point, whatever the status says."""

import contextlib
import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.suspenders import SuspendBoolLow
from bluesky.utils import RunEngineInterrupted, TransitionError
from ophyd import Signal
from ophyd.sim import SynAxis
from ophyd.status import Status
from scripted import Scripted, at, pause_in_exposure
from simple import ENVELOPE, Bowl, Documents, SlowAxis, truth

from ebl_autonomy.plans import optimize

pytestmark = pytest.mark.integration  # seconds: reports, fits of models, or many runs


class InterruptedAxis(SynAxis):
    """Moves at once, but for the moves to `stuck_at`: these end by being stopped, half-way, and ask for it themselves.

    The status of a stopped move succeeds or fails (as that of an EpicsMotor does when it is stopped from elsewhere).
    """

    def __init__(self, name: str, succeeds: bool) -> None:
        super().__init__(name=name)
        self.succeeds = succeeds
        self.stuck_at: float | None = None
        self.interrupt: Any = None
        self.asked: list[float] = []
        self.stopped_at: list[float] = []
        self.move: tuple[Status, float] | None = None

    def set(self, value: float, **kwargs: Any) -> Any:
        self.asked.append(value)
        if value != self.stuck_at:
            return super().set(value, **kwargs)
        self.stuck_at = None
        status = Status(self)
        self.move = status, value
        threading.Thread(target=self.interrupt, daemon=True).start()
        return status

    def stop(self, *, success: bool = False) -> None:
        if self.move is None:
            return
        (status, value), self.move = self.move, None
        self.sim_state["readback"] = (self.position + value) / 2
        self.stopped_at.append(self.position)
        if self.succeeds:
            status.set_finished()
        else:
            status.set_exception(RuntimeError("stopped"))


@pytest.fixture(params=[True, False], ids=["succeeds", "fails"])
def interrupted(request: pytest.FixtureRequest) -> tuple[Bowl, list[InterruptedAxis]]:
    motors = [InterruptedAxis(name, request.param) for name in ("mx", "my")]
    return Bowl(*motors), motors


def check_rows(docs: Documents, points: list[tuple[float, float]]) -> None:
    """One valid row per point, read where the proposal asked for."""
    assert [(row["mx"], row["my"]) for row in docs.events["primary"]] == points
    assert [row["bowl"] for row in docs.events["primary"]] == [truth(x, y) for x, y in points]
    assert docs.events["abandoned"] == []
    assert docs.stop["exit_status"] == "success"


def test_a_pause_in_mid_move_is_no_failure_of_the_point(RE: RunEngine, docs: Documents, interrupted: Any) -> None:
    bowl, motors = interrupted
    motors[0].stuck_at, motors[0].interrupt = 0.5, RE.request_pause
    agent = Scripted([at(0.1), at(0.5, 0.25), at(1.0)])
    # No second try and no failure are allowed: a pause is neither.
    plan = optimize([bowl], motors, agent, max_points=3, retries=0, max_failures=1, finish="stay", envelope=ENVELOPE)
    with pytest.raises(RunEngineInterrupted):
        RE(plan)
    assert motors[0].stopped_at == [pytest.approx(0.3)]
    RE.resume()
    check_rows(docs, [(0.1, 0.0), (0.5, 0.25), (1.0, 0.0)])
    assert motors[0].asked == [0.1, 0.5, 0.5, 1.0]


def test_pauses_again_and_again_are_no_failures_either(RE: RunEngine, docs: Documents, interrupted: Any) -> None:
    bowl, motors = interrupted
    motors[0].stuck_at, motors[0].interrupt = 0.5, RE.request_pause
    plan = optimize(
        [bowl], motors, Scripted([at(0.5)]), max_points=1, retries=0, max_failures=1, finish="stay", envelope=ENVELOPE
    )
    with pytest.raises(RunEngineInterrupted):
        RE(plan)
    for _ in range(4):
        motors[0].stuck_at = 0.5
        with pytest.raises(RunEngineInterrupted):
            RE.resume()
    RE.resume()
    check_rows(docs, [(0.5, 0.0)])
    assert len(motors[0].stopped_at) == 5


def test_a_suspender_in_mid_move_is_no_failure_of_the_point(RE: RunEngine, docs: Documents, interrupted: Any) -> None:
    bowl, motors = interrupted
    beam = Signal(name="beam", value=1)
    RE.install_suspender(SuspendBoolLow(beam, sleep=0))
    stopped = threading.Event()
    stop = motors[0].stop
    motors[0].stop = lambda **options: (stop(**options), stopped.set())

    def lose_the_beam() -> None:
        beam.put(0)
        stopped.wait(60)  # the motor stops as the run is suspended
        beam.put(1)

    motors[0].stuck_at, motors[0].interrupt = 0.5, lose_the_beam
    agent = Scripted([at(0.1), at(0.5, 0.25), at(1.0)])
    RE(optimize([bowl], motors, agent, max_points=3, retries=0, max_failures=1, finish="stay", envelope=ENVELOPE))
    assert motors[0].stopped_at == [pytest.approx(0.3)]
    check_rows(docs, [(0.1, 0.0), (0.5, 0.25), (1.0, 0.0)])


@pytest.mark.parametrize(("finish", "end"), [("best", 0.5), ("return", 0.0)])
def test_a_pause_in_the_last_move_does_not_end_it(
    RE: RunEngine, docs: Documents, interrupted: Any, finish: Any, end: float
) -> None:
    bowl, motors = interrupted
    agent = Scripted([at(0.5, -0.25), at(1.5)])
    plan = optimize([bowl], motors, agent, max_points=2, retries=0, finish=finish, envelope=ENVELOPE)

    def stick(name: str, doc: dict[str, Any]) -> None:
        if name == "event" and doc["data"].get("mx") == 1.5 and "bowl" in doc["data"]:
            motors[0].stuck_at, motors[0].interrupt = end, RE.request_pause

    RE.subscribe(stick)
    with pytest.raises(RunEngineInterrupted):
        RE(plan)
    assert motors[0].stopped_at == [(1.5 + end) / 2]
    RE.resume()
    assert motors[0].position == end
    check_rows(docs, [(0.5, -0.25), (1.5, 0.0)])


class LateFailure(SynAxis):
    """Its first move fails after some time, whether or not it is stopped; the others succeed."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(name=name)
        self.seconds = seconds
        self.first: threading.Timer | None = None

    def set(self, value: float, **kwargs: Any) -> Any:
        if self.first is not None:
            return super().set(value, **kwargs)
        status = Status(self)
        self.first = threading.Timer(self.seconds, status.set_exception, (RuntimeError("lost steps"),))
        self.first.start()
        return status

    def stop(self, *, success: bool = False) -> None:
        """Its controller answers late."""


@pytest.mark.parametrize("seconds", [0.02, 0.3, pytest.param(1.2, marks=pytest.mark.integration)])
@pytest.mark.parametrize("agent_seconds", [0.0, 0.4])
def test_a_motor_that_fails_after_the_move_was_given_up_does_not_end_the_run(
    RE: RunEngine, docs: Documents, seconds: float, agent_seconds: float
) -> None:
    motors = [LateFailure("mx", 0.01), LateFailure("my", seconds)]
    agent = Scripted([at(0.1, 0.1), at(0.2, 0.2)])
    suggest = agent.suggest

    def slowly(num_points: int | None = None) -> Any:
        time.sleep(agent_seconds)
        return suggest(num_points)

    agent.suggest = slowly  # type: ignore[method-assign]
    plan = optimize([Bowl(*motors)], motors, agent, max_points=2, retries=0, envelope=ENVELOPE, finish="stay")
    result = RE(plan).plan_result
    for motor in motors:
        assert motor.first is not None
        motor.first.join(timeout=60)
    assert (result.abandoned, result.accepted) == (1, 1)


@pytest.mark.parametrize(("how", "status", "end"), [("abort", "abort", 0.3), ("stop", "success", 0.1)])
def test_a_run_that_is_ended_in_a_pause_in_mid_move_is_closed_as_the_user_said(
    RE: RunEngine, docs: Documents, interrupted: Any, how: str, status: str, end: float
) -> None:
    bowl, motors = interrupted
    motors[0].stuck_at, motors[0].interrupt = 0.5, RE.request_pause
    agent = Scripted([at(0.1), at(0.5)])
    with pytest.raises(RunEngineInterrupted):
        RE(optimize([bowl], motors, agent, max_points=2, envelope=ENVELOPE))
    getattr(RE, how)()
    assert docs.stop["exit_status"] == status
    assert motors[0].position == pytest.approx(end)  # after an abort nothing moves any more
    assert [(row["mx"]) for row in docs.events["primary"]] == [0.1]
    (gone,) = docs.events["abandoned"]
    assert gone["status"] == "abandoned"
    assert "the run ended" in gone["reason"]
    assert [result["mx"] for result in agent.told] == [0.1]


@pytest.mark.parametrize(("how", "status"), [("abort", "abort"), ("stop", "success")])
@pytest.mark.parametrize("finish", ["best", "return"])
def test_a_run_that_is_ended_in_its_last_move_moves_no_more(
    RE: RunEngine, docs: Documents, interrupted: Any, finish: Any, how: str, status: str
) -> None:
    bowl, motors = interrupted
    end = 0.5 if finish == "best" else 0.0
    agent = Scripted([at(0.5, -0.25), at(1.5)])

    def stick(name: str, doc: dict[str, Any]) -> None:
        if name == "event" and doc["data"].get("mx") == 1.5 and "bowl" in doc["data"]:
            motors[0].stuck_at, motors[0].interrupt = end, RE.request_pause

    RE.subscribe(stick)
    with pytest.raises(RunEngineInterrupted):
        RE(optimize([bowl], motors, agent, max_points=2, finish=finish, envelope=ENVELOPE))
    asked = list(motors[0].asked)
    getattr(RE, how)()
    assert docs.stop["exit_status"] == status
    # "return" holds after a stop in mid move too: the plan then goes there, once.
    assert motors[0].asked == ([*asked, 0.0] if (finish, how) == ("return", "stop") else asked)


def test_a_failure_after_a_pause_counts_as_ever(RE: RunEngine, docs: Documents, interrupted: Any) -> None:
    bowl, motors = interrupted
    motors[0].stuck_at, motors[0].interrupt = 0.5, RE.request_pause
    bowl.fail = lambda n: RuntimeError("readout") if n == 1 else None
    plan = optimize([bowl], motors, Scripted([at(0.5), at(1.0)]), max_points=9, retries=0, envelope=ENVELOPE)
    with pytest.raises(RunEngineInterrupted):
        RE(plan)
    RE.resume()
    assert [row["mx"] for row in docs.events["primary"]] == [1.0]
    (gone,) = docs.events["abandoned"]
    assert "readout" in gone["reason"]


def test_pauses_while_decisions_are_written_lose_none(RE: RunEngine, docs: Documents, bench: Any) -> None:
    """Each pause falls upon one of the next messages, which one is not known."""
    bowl, motors = bench
    asked: set[int] = set()

    def pause() -> None:
        with contextlib.suppress(TransitionError):  # it is paused already, or the run is over
            RE.request_pause()

    def hook(msg: Any) -> None:
        written = len(docs.events["decisions"])
        if msg.command == "create" and msg.kwargs["name"] == "decisions" and written not in asked:
            asked.add(written)
            threading.Thread(target=pause, daemon=True).start()

    RE.msg_hook = hook
    points = [(0.1 * k, 0.0) for k in range(1, 11)]
    plan = optimize([bowl], motors, Scripted([at(*p) for p in points]), max_points=10, retries=0, envelope=ENVELOPE)
    pauses = 0
    call: Callable[[], Any] = functools.partial(RE, plan)
    while not any(name == "stop" for name, _ in docs.all):
        try:
            call()
        except RunEngineInterrupted:
            pauses += 1
            call = RE.resume
    assert pauses > 0
    check_rows(docs, points)
    assert [(row["mx"], row["my"]) for row in docs.events["decisions"]] == points


def test_a_deferred_pause_waits_for_the_end_of_the_point(RE: RunEngine, docs: Documents, interrupted: Any) -> None:
    bowl, motors = interrupted
    pause_in_exposure(RE, bowl, 2, defer=True)
    plan = optimize([bowl], motors, Scripted([at(0.1 * k) for k in range(9)]), max_points=9, envelope=ENVELOPE)
    with pytest.raises(RunEngineInterrupted):
        RE(plan)
    assert bowl.triggers == len(docs.events["primary"]) == 2
    RE.resume()
    assert bowl.triggers == 9
    check_rows(docs, [(0.1 * k, 0.0) for k in range(9)])


class MuteAxis(SlowAxis):
    """A motor that does not say how fast it is."""

    velocity = None


def given_times(RE: RunEngine) -> list[float]:
    """Fills with the seconds that each move is given."""
    given: list[float] = []
    before = ""

    def note(msg: Any) -> None:
        nonlocal before
        if msg.command == "wait" and before == "set":
            given.append(msg.kwargs["timeout"])
        before = msg.command

    RE.msg_hook = note
    return given


def test_a_motor_that_does_not_say_its_speed_is_given_time(RE: RunEngine, docs: Documents) -> None:
    motors = [MuteAxis("mx", 0.05), MuteAxis("my", 0.05)]
    given = given_times(RE)
    RE(optimize([Bowl(*motors)], motors, Scripted([at(0.5, 0.5)]), max_points=1, retries=0, envelope=ENVELOPE))
    check_rows(docs, [(0.5, 0.5)])
    assert given[0] == 60.0


def test_a_move_is_given_the_time_that_its_velocity_says_and_more(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    motors[0].velocity.put(0.01)
    given = given_times(RE)
    # These motors are there at once: what they are given is what counts.
    RE(optimize([bowl], motors, Scripted([at(1.0), at(1.001)]), max_points=2, finish="stay", envelope=ENVELOPE))
    long, short = given
    assert long >= 3 * 1.0 / 0.01
    assert 10.0 <= short < long
