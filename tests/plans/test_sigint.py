"""Ctrl-C from the terminal: one press pauses at the end of the point, two presses at once, and no row is lost."""

import threading
import time
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from scripted import Scripted, at
from sigint import press_ctrl_c, settled_sigint_handler
from simple import ENVELOPE, Bowl, Documents, SlowAxis, truth

from ebl_autonomy.plans import optimize

pytestmark = pytest.mark.integration

POINTS = [at(0.05 * k, 0.02 * k) for k in range(20)]


@pytest.fixture
def engine(RE: RunEngine) -> RunEngine:
    RE.context_managers = [settled_sigint_handler]
    return RE


def plan(bowl: Bowl, motors: list[SlowAxis]) -> Any:
    return optimize([bowl], motors, Scripted(POINTS), max_points=99, retries=0, finish="stay", envelope=ENVELOPE)


def at_row(engine: RunEngine, docs: Documents, count: int, then: Any) -> threading.Thread:
    """A thread that calls `then` once `count` rows are recorded."""
    there = threading.Event()
    engine.subscribe(lambda *_: there.set() if len(docs.events["primary"]) == count else None)

    def wait() -> None:
        there.wait()
        then()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def slow_down_at_row(engine: RunEngine, docs: Documents, count: int, motor: SlowAxis, seconds: float) -> None:
    """Make moves take `seconds` once `count` rows are recorded, so that the press comes before the run ends."""

    def slow_down(*_: Any) -> None:
        if len(docs.events["primary"]) == count:
            motor.seconds = seconds

    engine.subscribe(slow_down)


def check(docs: Documents) -> None:
    """Check that the run succeeded with one correct row per point."""
    assert docs.stop["exit_status"] == "success"
    assert docs.events["abandoned"] == []
    rows = docs.events["primary"]
    assert [(row["mx"], row["my"]) for row in rows] == [(p["mx"], p["my"]) for p in POINTS]
    assert [row["bowl"] for row in rows] == [truth(p["mx"], p["my"]) for p in POINTS]


def test_one_press_pauses_at_the_end_of_the_point(engine: RunEngine, docs: Documents, slow_bench: Any) -> None:
    bowl, motors = slow_bench
    slow_down_at_row(engine, docs, 3, motors[0], 0.5)
    pressing = at_row(engine, docs, 3, press_ctrl_c)
    with pytest.raises(RunEngineInterrupted):
        engine(plan(bowl, motors))
    pressing.join()
    assert 3 <= len(docs.events["primary"]) < len(POINTS)
    assert bowl.triggers == len(docs.events["primary"])
    motors[0].seconds = 0.01
    engine.resume()
    check(docs)
    assert bowl.triggers == len(POINTS)  # nothing was measured twice


def test_two_presses_pause_in_mid_move(engine: RunEngine, docs: Documents, slow_bench: Any) -> None:
    bowl, motors = slow_bench

    def press_twice() -> None:
        press_ctrl_c()
        while not engine.deferred_pause_requested:
            time.sleep(0.01)
        time.sleep(0.15)  # the RunEngine merges two presses within 0.1 s
        press_ctrl_c()

    slow_down_at_row(engine, docs, 3, motors[0], 3600.0)  # the pause must not wait for the end of the point
    pressing = at_row(engine, docs, 3, press_twice)
    with pytest.raises(RunEngineInterrupted):
        engine(plan(bowl, motors))
    pressing.join()
    assert len(docs.events["primary"]) == 3
    motors[0].seconds = 0.01
    engine.resume()
    check(docs)


def test_the_handler_leaves_no_thread_behind(engine: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    before = set(threading.enumerate())
    during: set[threading.Thread] = set()
    engine.subscribe(lambda *_: during.update(threading.enumerate()))
    engine(plan(bowl, motors))
    daemons = {thread for thread in during - before if thread.daemon}
    assert daemons  # the handler did start a thread
    assert not any(thread.is_alive() for thread in daemons)
