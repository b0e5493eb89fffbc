"""Stop rules: on measured outcomes, on the expected improvement, on time and on dose."""

import time
from collections.abc import Sequence
from typing import Any

import pytest
from bluesky import RunEngine
from scripted import Point, Scripted, at
from simple import BOUNDS, ENVELOPE, Documents, truth

from ebl_autonomy import VOCS
from ebl_autonomy.plans import optimize
from ebl_autonomy.records import ELSEWHERE, Decision, reason_of

VARIABLES = {name: list(bounds) for name, bounds in BOUNDS.items()}
MEASURED = truth(1.0, 0.0)
"""What is measured at every point that a `Forecaster` proposes."""


class Forecaster(Scripted):
    """Proposes the same point every time, with a scripted prediction."""

    def __init__(self, expected: Sequence[float], goal: str = "MINIMIZE", reasons: Sequence[str] = ()) -> None:
        given = VOCS(variables=VARIABLES, objectives={"bowl": goal})
        super().__init__([at(1.0)] * len(expected), given)
        self.expected, self.reasons = list(expected), [*reasons, *[""] * len(expected)]

    def decisions(self) -> list[Decision]:
        return [Decision(mean={"bowl": self.expected.pop(0)}, std={"bowl": 1e-3}, reason=self.reasons.pop(0))]


@pytest.mark.parametrize("goal", ["MINIMIZE", "MAXIMIZE"])
def test_what_little_is_expected_of_is_counted_in_a_row(RE: RunEngine, bench: Any, goal: str) -> None:
    bowl, motors = bench
    better = -1.0 if goal == "MINIMIZE" else 1.0
    dull, promising = MEASURED - better, MEASURED + 0.1 * better
    agent = Forecaster([dull, dull, promising, dull, dull, promising, dull, dull, dull, dull, dull], goal)
    until = {"improvement": 0.05, "patience": 3}
    result = RE(optimize([bowl], motors, agent, max_points=99, until=until, envelope=ENVELOPE)).plan_result
    assert result.accepted == 9
    assert result.stop_reason == "improvement: less than 0.05 expected, 3 times in a row"


def test_turns_elsewhere_are_not_counted(RE: RunEngine, bench: Any) -> None:
    """They promise much, because little is known there, and the search nearby is over nevertheless."""
    bowl, motors = bench
    dull, promising, there = MEASURED + 1.0, MEASURED - 1.0, ELSEWHERE + "no gain is expected here"
    agent = Forecaster([dull, dull, promising, dull, promising, dull, dull], reasons=["", "", there, "", there])
    until = {"improvement": 0.05, "patience": 3}
    result = RE(optimize([bowl], motors, agent, max_points=99, until=until, envelope=ENVELOPE)).plan_result
    assert result.accepted == 6, "the first, which nothing could be compared with, and three after it"
    assert result.stop_reason.startswith("improvement")


def test_a_target_is_reached_in_the_sense_of_the_goal(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.5), at(1.0), at(1.5), at(2.0)], VOCS(variables=VARIABLES, objectives={"bowl": "MAXIMIZE"}))
    result = RE(optimize([bowl], motors, agent, max_points=9, until={"target": 1.0}, envelope=ENVELOPE)).plan_result
    assert result.accepted == 3
    assert result.stop_reason == f"target: bowl = {truth(1.5, 0.0):.6g}"
    assert result.best.point == at(1.5)


def test_a_budget_of_seconds_ends_the_run(RE: RunEngine, slow_bench: Any) -> None:
    bowl, motors = slow_bench
    agent = Scripted([at(1e-3 * k) for k in range(10_000)])
    began = time.monotonic()
    result = RE(optimize([bowl], motors, agent, max_points=10**6, envelope={**ENVELOPE, "max_seconds": 0.3}))
    assert time.monotonic() - began >= 0.3
    assert result.plan_result.stop_reason.startswith("budget: ")
    assert result.plan_result.accepted >= 1


def test_a_budget_of_dose_is_looked_at_between_the_points_of_a_batch(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    envelope = {**ENVELOPE, "max_dose": 3.0, "dose_key": "dose"}
    derive = {"dose": lambda readings: 1.0}
    agent = Scripted([at(0.1 * k) for k in range(1, 9)])
    plan = optimize([bowl], motors, agent, max_points=99, batch=8, derive=derive, envelope=envelope)
    result = RE(plan).plan_result
    assert (result.accepted, bowl.triggers) == (3, 3)
    assert "dose" in result.stop_reason


def test_the_dose_of_an_invalid_row_counts_too(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: float("nan")
    envelope = {**ENVELOPE, "max_dose": 3.0, "dose_key": "dose"}
    agent = Scripted([at(0.1 * k) for k in range(1, 9)])
    plan = optimize([bowl], motors, agent, max_points=99, derive={"dose": lambda r: 1.0}, envelope=envelope)
    assert RE(plan).plan_result.accepted == 3


def test_the_result_names_the_run_and_counts_its_proposals(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: RuntimeError("readout") if n == 2 else None
    agent = Scripted([at(0.1), at(9.0), at(0.2), at(0.5, -0.25), at(1.0)])
    result = RE(optimize([bowl], motors, agent, max_points=3, retries=0, envelope=ENVELOPE)).plan_result
    assert result.uid == docs.start["uid"]
    assert (result.accepted, result.refused, result.abandoned) == (3, 1, 1)
    assert result.stop_reason == "max_points: 3 points are measured" == reason_of(docs.stop["reason"])
    assert docs.stop["reason"].endswith("are at the recommended point: mx = 0.5, my = -0.25")
    assert result.best.point == at(0.5, -0.25)
    assert result.best.outcome == {"bowl": 0.0}


def test_the_best_point_keeps_the_constraints(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    given = VOCS(variables=VARIABLES, objectives={"bowl": "MINIMIZE"}, constraints={"side": ["GREATER_THAN", 0.8]})
    agent = Scripted([at(0.5, -0.25), at(1.0), at(1.5)], given)
    derive = {"side": lambda readings: readings["mx"]}
    result = RE(optimize([bowl], motors, agent, max_points=3, derive=derive, envelope=ENVELOPE)).plan_result
    assert result.best.point == at(1.0)
    assert motors[0].position == 1.0


def test_without_a_valid_point_there_is_no_best_and_the_motors_stay(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: float("nan")
    result = RE(optimize([bowl], motors, Scripted([at(0.5), at(1.0)]), max_points=2, envelope=ENVELOPE)).plan_result
    assert result.best is None
    assert motors[0].position == 1.0


def test_the_seconds_to_decide_of_a_batch_are_shared_by_its_proposals(
    RE: RunEngine, docs: Documents, bench: Any
) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.1), at(0.2), at(0.3)])
    suggest = agent.suggest

    def slowly(count: int | None = None) -> list[Point]:
        time.sleep(0.3)
        return suggest(count)

    agent.suggest = slowly  # type: ignore[method-assign]
    began = time.monotonic()
    RE(optimize([bowl], motors, agent, max_points=3, batch=3, envelope=ENVELOPE))
    whole = time.monotonic() - began
    seconds = [d["seconds_to_decide"] for d in docs.events["decisions"]]
    assert len(seconds) == 3
    assert 0.3 <= sum(seconds) <= whole


def test_the_seconds_of_a_point_are_told_apart(RE: RunEngine, docs: Documents, slow_bench: Any) -> None:
    bowl, motors = slow_bench
    motors[0].seconds, bowl.seconds = 0.05, 0.1
    began = time.monotonic()
    RE(optimize([bowl], motors, Scripted([at(0.1), at(0.2)]), max_points=2, finish="stay", envelope=ENVELOPE))
    whole = time.monotonic() - began
    rows = docs.events["primary"]
    assert all(row["seconds_moving"] >= 0.05 for row in rows)
    assert all(row["seconds_measuring"] >= 0.1 for row in rows)
    assert sum(row["seconds_moving"] + row["seconds_measuring"] for row in rows) <= whole


def test_a_motor_that_stands_at_its_target_is_not_moved(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    asked: list[float] = []
    go = motors[1].set
    motors[1].set = lambda value: (asked.append(value), go(value))[1]
    points = [at(0.1), at(0.2), at(0.2, 0.5), at(0.3, 0.5)]
    RE(optimize([bowl], motors, Scripted(points), max_points=4, finish="stay", envelope=ENVELOPE))
    assert asked == [0.5]
    assert [(row["mx"], row["my"]) for row in docs.events["primary"]] == [(p["mx"], p["my"]) for p in points]
