"""The envelope holds for every move of a run, judged from the positions at which the move starts."""

import logging
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from ophyd.sim import SynAxis
from ophyd.status import Status
from scripted import RecordedAxis, Scripted, at, pause_in_exposure
from simple import BOUNDS, ENVELOPE, Bowl, Documents

from ebl_autonomy import VOCS
from ebl_autonomy.plans import optimize

WALL = {"box": {"mx": (0.6, 0.8), "my": (-0.5, 0.5)}, "sweep": True, "reason": "beam stop"}
"""A region between the start and (1, 0); there is a way round it."""


@pytest.fixture
def recorded() -> tuple[Bowl, list[RecordedAxis]]:
    motors = [RecordedAxis("mx"), RecordedAxis("my")]
    return Bowl(*motors), motors


def measured(docs: Documents) -> list[tuple[float, float]]:
    return [(row["mx"], row["my"]) for row in docs.events["primary"]]


def rules(docs: Documents) -> list[tuple[str, str]]:
    return [(gone["status"], gone["rule"]) for gone in docs.events["abandoned"]]


def fail_at(motor: RecordedAxis, target: float, astray: float) -> None:
    """Make the first move to `target` fail and end at `astray`."""
    go = motor.set

    def go_astray(value: float) -> Any:
        if value != target:
            return go(value)
        motor.set = go
        motor.sim_state["readback"] = astray
        status = Status(motor)
        status.set_exception(RuntimeError("lost steps"))
        return status

    motor.set = go_astray


# -- within a batch --------------------------------------------------------------------------------------------


def test_a_step_within_a_batch_is_judged_from_where_the_motors_will_be(
    RE: RunEngine, docs: Documents, recorded: Any
) -> None:
    bowl, motors = recorded
    agent = Scripted([at(1.0), at(0.5), at(1.9)])
    envelope = {**ENVELOPE, "max_step": {"mx": 0.6}}
    RE(optimize([bowl], motors, agent, max_points=9, batch=3, finish="stay", envelope=envelope))
    assert measured(docs) == [(0.5, 0.0), (1.0, 0.0)]  # 1.0 is too far from the start, not from 0.5
    assert rules(docs) == [("refused", "step")]  # 1.9 is too far from either
    assert motors[0].longest <= 0.6


def test_a_swept_region_within_a_batch_is_judged_from_where_the_motors_will_be(
    RE: RunEngine, docs: Documents, recorded: Any
) -> None:
    bowl, motors = recorded
    # The wall separates (1, 0) from the start, but not from (1, 0.9); (0.2, 0) is on the side of the start again.
    agent = Scripted([at(0.0, 0.9), at(1.0, 0.9), at(1.0, 0.0), at(0.2, -0.2)])
    envelope = {**ENVELOPE, "forbidden": [WALL]}
    RE(optimize([bowl], motors, agent, max_points=9, batch=3, finish="stay", envelope=envelope))
    assert measured(docs) == [(0.0, 0.9), (1.0, 0.9), (1.0, 0.0)]
    assert rules(docs) == [("refused", "forbidden")]
    assert "beam stop" in docs.events["abandoned"][0]["reason"]
    assert (motors[0].position, motors[1].position) == (1.0, 0.0)


def test_of_a_batch_only_the_proposal_behind_the_region_is_refused(
    RE: RunEngine, docs: Documents, recorded: Any
) -> None:
    bowl, motors = recorded
    agent = Scripted([at(0.2), at(1.0), at(0.4)])
    envelope = {**ENVELOPE, "forbidden": [WALL]}
    RE(optimize([bowl], motors, agent, max_points=9, batch=3, finish="stay", envelope=envelope))
    assert measured(docs) == [(0.2, 0.0), (0.4, 0.0)]
    assert rules(docs) == [("refused", "forbidden")]
    assert all(there <= 0.6 for _, there in motors[0].moves)


# -- after a move that was cut short ---------------------------------------------------------------------------


def test_after_a_failed_move_the_next_is_judged_from_where_the_motor_ended(
    RE: RunEngine, docs: Documents, recorded: Any
) -> None:
    bowl, motors = recorded
    fail_at(motors[0], 0.5, -1.0)
    agent = Scripted([at(0.5), at(-0.7)])
    envelope = {**ENVELOPE, "max_step": {"mx": 0.6}}
    RE(optimize([bowl], motors, agent, max_points=9, retries=3, finish="stay", envelope=envelope))
    assert measured(docs) == [(-0.7, 0.0)]
    assert rules(docs) == [("refused", "step")]  # 0.5 is near enough to the start, but not to where the motor is
    assert motors[0].moves == [(-1.0, -0.7)]


def pause_and_move_by_hand(RE: RunEngine, plan: Any, motor: SynAxis, position: float) -> None:
    with pytest.raises(RunEngineInterrupted):
        RE(plan)
    assert RE.state == "paused"
    motor.sim_state["readback"] = position
    RE.resume()


def test_a_motor_that_was_moved_by_hand_in_a_pause_is_sent_to_the_point_again(
    RE: RunEngine, docs: Documents, recorded: Any
) -> None:
    bowl, motors = recorded
    pause_in_exposure(RE, bowl, 1)
    plan = optimize([bowl], motors, Scripted([at(0.5)]), max_points=1, finish="stay", envelope=ENVELOPE)
    pause_and_move_by_hand(RE, plan, motors[0], -1.0)
    assert measured(docs) == [(0.5, 0.0)]
    assert motors[0].moves == [(0.0, 0.5), (-1.0, 0.5)]


def test_after_a_pause_the_next_move_is_judged_from_where_the_motor_was_left(
    RE: RunEngine, docs: Documents, recorded: Any
) -> None:
    bowl, motors = recorded
    pause_in_exposure(RE, bowl, 1)
    envelope = {**ENVELOPE, "max_step": {"mx": 0.6}}
    agent = Scripted([at(0.5), at(-0.7)])
    plan = optimize([bowl], motors, agent, max_points=9, finish="stay", envelope=envelope)
    pause_and_move_by_hand(RE, plan, motors[0], -1.0)
    assert measured(docs) == [(-0.7, 0.0)]
    assert rules(docs) == [("refused", "step")]
    assert motors[0].moves == [(0.0, 0.5), (-1.0, -0.7)]


# -- on the way to the finish ----------------------------------------------------------------------------------


@pytest.mark.parametrize("finish", ["best", "return"])
def test_the_last_move_does_not_cross_a_forbidden_region(
    RE: RunEngine, docs: Documents, recorded: Any, finish: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bowl, motors = recorded
    # The motors have gone round the wall: best point and start lie on one side of it, the last point on the other.
    agent = Scripted([at(0.5, -0.25), at(0.5, 1.0), at(1.0, 1.0), at(1.0, 0.0)])
    envelope = {**ENVELOPE, "forbidden": [WALL]}
    with caplog.at_level(logging.WARNING):
        result = RE(optimize([bowl], motors, agent, max_points=4, finish=finish, envelope=envelope)).plan_result
    assert result.accepted == 4
    assert (motors[0].position, motors[1].position) == (1.0, 0.0)
    assert "beam stop" in caplog.text
    assert docs.stop["exit_status"] == "success"  # the measured rows are kept


def test_after_a_failed_move_the_way_to_the_finish_begins_where_the_motor_ended(RE: RunEngine, recorded: Any) -> None:
    bowl, motors = recorded
    fail_at(motors[0], 0.8, -1.55)
    envelope = {**ENVELOPE, "max_step": {"mx": 0.5}}
    agent = Scripted([at(0.4), at(0.8)])
    result = RE(optimize([bowl], motors, agent, max_points=9, retries=0, envelope=envelope)).plan_result
    assert (result.accepted, result.abandoned) == (1, 1)
    assert motors[0].position == pytest.approx(0.4)
    assert motors[0].moves[1][0] == -1.55
    assert motors[0].longest <= 0.5 + 1e-9


def test_a_last_move_that_fails_leaves_the_motors_and_the_run_is_good(
    RE: RunEngine, docs: Documents, recorded: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bowl, motors = recorded
    fail_at(motors[0], 0.0, 0.3)
    with caplog.at_level(logging.WARNING):
        RE(optimize([bowl], motors, Scripted([at(0.5)]), max_points=1, finish="return", envelope=ENVELOPE))
    assert docs.stop["exit_status"] == "success"
    assert "lost steps" in caplog.text
    assert motors[0].position == 0.3


@pytest.mark.parametrize(("limit", "end"), [(2.0, 1.8), (1.5, 0.25)], ids=["within the limits", "outside the limits"])
def test_motors_return_outside_the_domain_but_not_outside_the_limits(
    RE: RunEngine, recorded: Any, limit: float, end: float
) -> None:
    bowl, motors = recorded
    motors[0].set(1.8)
    narrow = VOCS(variables={name: [-1.0, 1.0] for name in BOUNDS}, objectives={"bowl": "MINIMIZE"})
    envelope = {"limits": dict.fromkeys(BOUNDS, (-limit, limit))}
    RE(optimize([bowl], motors, Scripted([at(0.25)], narrow), max_points=1, finish="return", envelope=envelope))
    assert motors[0].position == end


def test_a_refused_proposal_moves_nothing(RE: RunEngine, docs: Documents, recorded: Any) -> None:
    bowl, motors = recorded
    envelope = {**ENVELOPE, "forbidden": [{"box": {"mx": (0.6, 0.8)}}]}
    agent = Scripted([at(0.7, 1.0), at(2.5, 1.0), at(float("nan"), 1.0), {"mx": 0.1}])
    RE(optimize([bowl], motors, agent, max_points=9, finish="stay", envelope=envelope))
    assert rules(docs) == [("refused", rule) for rule in ("forbidden", "domain", "type", "keys")]
    assert [motor.moves for motor in motors] == [[], []]
    assert bowl.triggers == 0
