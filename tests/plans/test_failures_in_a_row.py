"""A number of consecutive failures or refusals ends a run; an accepted point resets the count."""

from typing import Any

import pytest
from bluesky import RunEngine
from ophyd.status import Status
from ophyd.utils import LimitError
from scripted import Scripted, at
from simple import ENVELOPE, Documents

from ebl_autonomy.errors import AgentError, MeasurementError
from ebl_autonomy.plans import AtPoint, optimize

TOO_MANY = 25
"""Refusals in a row that end a run."""


def test_refusals_are_counted_anew_after_an_accepted_point(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    outside = [at(9.0)] * (TOO_MANY - 1)
    agent = Scripted([*outside, at(0.1), *outside, at(0.2), *outside])
    result = RE(optimize([bowl], motors, agent, max_points=9, envelope=ENVELOPE)).plan_result
    assert (result.accepted, result.refused) == (2, 3 * (TOO_MANY - 1))


def test_refusals_within_a_batch_end_the_run_too(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.1), *[at(9.0)] * 99])
    with pytest.raises(AgentError, match=r"2[5-8] proposals in a row were refused, .* mx = 9\.0"):
        RE(optimize([bowl], motors, agent, max_points=9, batch=4, envelope=ENVELOPE))
    assert docs.stop["exit_status"] == "fail"


def test_failures_are_counted_anew_after_an_accepted_point(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: RuntimeError("readout") if n % 3 else None
    agent = Scripted([at(0.1 * k) for k in range(12)])
    plan = optimize([bowl], motors, agent, max_points=99, retries=0, max_failures=3, envelope=ENVELOPE)
    result = RE(plan).plan_result
    assert (result.accepted, result.abandoned) == (4, 8)


def test_only_what_failed_in_the_row_that_ended_the_run_is_blamed(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: RuntimeError("readout") if n == 1 else None
    go = motors[1].set

    def jam(value: float) -> Any:
        if value < 1.0:
            return go(value)
        status = Status()
        status.set_exception(RuntimeError("following error"))
        return status

    motors[1].set = jam
    agent = Scripted([at(0.1, 0.1), at(0.2, 0.2), at(0.3, 1.0), at(0.4, 1.1)])
    with pytest.raises(MeasurementError, match=r"could not be measured \(2 times because of my\).* Repair my,"):
        RE(optimize([bowl], motors, agent, max_points=9, retries=0, max_failures=2, envelope=ENVELOPE))


def test_the_failure_that_is_one_too_many_ends_the_run(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: RuntimeError("readout")
    agent = Scripted([at(0.1 * k) for k in range(12)])
    with pytest.raises(MeasurementError, match="3 proposals in a row"):
        RE(optimize([bowl], motors, agent, max_points=99, retries=2, max_failures=3, envelope=ENVELOPE))
    assert bowl.triggers == 3 * 3  # one attempt and two retries each
    assert [gone["attempts"] for gone in docs.events["abandoned"]] == [3, 3, 3]


@pytest.mark.parametrize("where", ["check_value", "set"])
def test_a_point_that_the_motor_itself_refuses_is_not_tried_again(
    RE: RunEngine, docs: Documents, bench: Any, where: str
) -> None:
    bowl, motors = bench
    go, asked = motors[0].set, []

    def refuse(value: float) -> Any:
        asked.append(value)
        if value > 1.0:
            raise LimitError(f"{value} is behind the limit switch")
        return go(value) if where == "set" else None

    setattr(motors[0], where, refuse)
    agent = Scripted([at(1.5), at(0.5)])
    plan = optimize([bowl], motors, agent, max_points=9, retries=5, finish="stay", envelope=ENVELOPE)
    result = RE(plan).plan_result
    assert (result.accepted, result.refused, result.abandoned) == (1, 1, 0)
    assert asked == [1.5, 0.5]
    (gone,) = docs.events["abandoned"]
    assert (gone["status"], gone["rule"]) == ("refused", "limits")
    assert "1.5 is behind the limit switch" in gone["reason"]


def test_no_motor_moves_if_one_refuses_its_position(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench

    def refuse(value: float) -> None:
        raise LimitError(str(value))

    motors[1].check_value = refuse
    moved: list[float] = []
    motors[0].subscribe(lambda value, **_: moved.append(value), run=False)
    RE(optimize([bowl], motors, Scripted([at(0.5, 0.5)]), max_points=9, envelope=ENVELOPE))
    assert moved == []


class Empty(AtPoint):
    """An acquisition that records nothing."""

    def acquire(self, attempt: Any) -> Any:
        attempt.expose()
        yield from ()
        return []


def test_an_acquisition_without_a_row_is_a_failure(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.1 * k) for k in range(9)])
    plan = optimize(
        [], motors, agent, max_points=9, retries=0, max_failures=2, envelope=ENVELOPE, measure=Empty([bowl])
    )
    with pytest.raises(MeasurementError, match="bowl failed: no row was recorded"):
        RE(plan)
    assert [gone["status"] for gone in docs.events["abandoned"]] == ["abandoned"] * 2
