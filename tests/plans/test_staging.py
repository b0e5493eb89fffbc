"""Detectors and motors are staged before their first use, and unstaged however the run ends."""

from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from ophyd.sim import SynAxis
from scripted import Scripted, at, pause_in_exposure
from simple import ENVELOPE, Bowl

from ebl_autonomy.errors import BadInputError, MeasurementError
from ebl_autonomy.plans import optimize

Calls = list[tuple[str, str]]
"""What was asked of whom, in order."""

DEVICES = {"mx", "my", "bowl"}


class StagedAxis(SynAxis):
    """A motor that records the calls to it."""

    def __init__(self, name: str, calls: Calls) -> None:
        super().__init__(name=name)
        self.calls = calls

    def stage(self) -> Any:
        self.calls.append(("stage", self.name))
        return super().stage()

    def unstage(self) -> Any:
        self.calls.append(("unstage", self.name))
        return super().unstage()

    def set(self, value: float, **kwargs: Any) -> Any:
        self.calls.append(("use", self.name))
        return super().set(value, **kwargs)


class StagedBowl(Bowl):
    """A detector that records the calls to it."""

    def __init__(self, calls: Calls, *motors: StagedAxis) -> None:
        super().__init__(*motors)
        self.calls = calls

    def stage(self) -> list[Any]:
        self.calls.append(("stage", self.name))
        return [self]

    def unstage(self) -> list[Any]:
        self.calls.append(("unstage", self.name))
        return [self]

    def trigger(self) -> Any:
        self.calls.append(("use", self.name))
        return super().trigger()


@pytest.fixture
def calls() -> Calls:
    return []


@pytest.fixture
def staged(calls: Calls) -> tuple[StagedBowl, list[StagedAxis]]:
    motors = [StagedAxis(name, calls) for name in ("mx", "my")]
    return StagedBowl(calls, *motors), motors


def noting_the_end(plan: Any, calls: Calls) -> Any:
    """The plan, with a record of its end: the RunEngine itself later unstages what a plan leaves staged."""
    try:
        return (yield from plan)
    finally:
        calls.append(("end", ""))


def check(calls: Calls) -> None:
    """Check that the plan staged each device once before any first use, and unstaged it once after the last use."""
    what = [event for event, _ in calls]
    first, last, end = what.index("use"), len(what) - 1 - what[::-1].index("use"), what.index("end")
    assert sorted(calls[:first]) == sorted(("stage", name) for name in DEVICES)
    assert sorted(calls[last + 1 : end]) == sorted(("unstage", name) for name in DEVICES)
    assert calls[end + 1 :] == []
    assert {event for event, _ in calls[first : last + 1]} == {"use"}


@pytest.mark.parametrize("finish", ["best", "stay", "return"])
def test_devices_are_staged_from_the_first_move_to_the_last(
    RE: RunEngine, staged: Any, calls: Calls, finish: Any
) -> None:
    bowl, motors = staged
    agent = Scripted([at(0.1), at(0.5, -0.25), at(1.2)])
    RE(noting_the_end(optimize([bowl], motors, agent, max_points=3, finish=finish, envelope=ENVELOPE), calls))
    check(calls)


@pytest.mark.parametrize("finish", ["best", "return"])
def test_devices_are_unstaged_after_a_failure_of_the_beamline(
    RE: RunEngine, staged: Any, calls: Calls, finish: Any
) -> None:
    bowl, motors = staged
    bowl.fail = lambda n: RuntimeError("dead") if n > 2 else None
    agent = Scripted([at(0.1 * k) for k in range(1, 20)])
    plan = optimize([bowl], motors, agent, max_points=19, finish=finish, max_failures=2, envelope=ENVELOPE)
    with pytest.raises(MeasurementError):
        RE(noting_the_end(plan, calls))
    check(calls)


def test_devices_are_unstaged_after_a_failure_of_the_agent(RE: RunEngine, staged: Any, calls: Calls) -> None:
    bowl, motors = staged
    agent = Scripted([at(0.1)])
    suggest = agent.suggest
    agent.suggest = lambda n=None: suggest(n) if agent.points else 1 / 0  # type: ignore[method-assign, return-value]
    with pytest.raises(ZeroDivisionError):
        RE(noting_the_end(optimize([bowl], motors, agent, max_points=9, envelope=ENVELOPE), calls))
    check(calls)


@pytest.mark.parametrize("how", ["abort", "stop"])
def test_devices_are_unstaged_when_the_user_ends_a_paused_run(
    RE: RunEngine, staged: Any, calls: Calls, how: str
) -> None:
    bowl, motors = staged

    pause_in_exposure(RE, bowl, 2)
    agent = Scripted([at(0.1 * k) for k in range(9)])
    with pytest.raises(RunEngineInterrupted):
        RE(noting_the_end(optimize([bowl], motors, agent, max_points=9, envelope=ENVELOPE), calls))
    getattr(RE, how)()
    check(calls)


def test_nothing_is_staged_for_bad_input(RE: RunEngine, staged: Any, calls: Calls) -> None:
    bowl, motors = staged
    with pytest.raises(BadInputError):
        RE(optimize([bowl], motors, Scripted([at(0.1)]), max_points=0, envelope=ENVELOPE))
    assert calls == []
