"""The envelope holds for every move of a run, judged from where the motors are when the move begins."""

import logging
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.utils import RunEngineInterrupted
from ophyd.sim import SynAxis
from scripted import RecordedAxis, Scripted, at, fail_at, pause_in_exposure
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
    # (1, 0) lies behind the wall as seen from the start, but not as seen from (1, 0.9); (0.2, 0) is before it again.
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
    assert rules(docs) == [("refused", "step")]  # 0.5 was near enough to the start, not to where the motor strayed
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


def test_after_a_stub_that_moved_and_was_refused_the_next_move_is_judged_from_there(
    RE: RunEngine, docs: Documents, recorded: Any
) -> None:
    bowl, motors = recorded

    def wander(detectors: Any, point: Mapping[str, float]) -> Any:
        if point["mx"] == 0.5:
            yield from bps.mv(motors[0], 0.0)
            yield from bps.mv(motors[0], 5.0)
        return {"bowl": 1.0}

    envelope = {**ENVELOPE, "max_step": {"mx": 0.6}}
    agent = Scripted([at(0.5), at(1.0), at(-0.5)])
    RE(optimize([bowl], motors, agent, max_points=9, measure=wander, finish="stay", envelope=envelope))
    assert rules(docs) == [("refused", "limits"), ("refused", "step")]  # 1.0 was near enough to 0.5, not to 0.0
    assert measured(docs) == [(-0.5, 0.0)]
    assert motors[0].moves == [(0.0, 0.5), (0.5, 0.0), (0.0, -0.5)]


# -- on the way to the finish ----------------------------------------------------------------------------------


BEHIND = [at(0.5, -0.25), at(0.5, 1.0), at(1.0, 1.0), at(1.0, 0.0)]
"""Round the wall: the best point and the start lie on the one side, the last point on the other."""


@pytest.mark.parametrize(("finish", "end"), [("best", (0.5, -0.25)), ("return", (0.0, 0.0))])
@pytest.mark.parametrize("max_step", [{}, {"mx": 0.5, "my": 1.3}])
def test_the_last_move_goes_round_a_forbidden_region(
    RE: RunEngine, docs: Documents, recorded: Any, finish: Any, end: tuple[float, float], max_step: dict[str, float]
) -> None:
    bowl, motors = recorded
    envelope = {**ENVELOPE, "forbidden": [WALL], "max_step": max_step}
    way: list[tuple[float, float]] = []
    for motor in motors:
        motor.readback.subscribe(lambda **_: way.append((motors[0].position, motors[1].position)), run=False)
    result = RE(optimize([bowl], motors, Scripted(BEHIND), max_points=4, finish=finish, envelope=envelope)).plan_result
    assert result.accepted == 4
    assert (motors[0].position, motors[1].position) == pytest.approx(end)
    assert result.left_at == pytest.approx({"mx": end[0], "my": end[1]})
    assert not any(0.6 <= x <= 0.8 and -0.5 <= y <= 0.5 for x, y in way)
    assert not any(min(a[0], b[0]) <= 0.8 and max(a[0], b[0]) >= 0.6 and abs(b[1]) <= 0.5 for a, b in pairwise(way))
    assert motors[0].longest <= max_step.get("mx", 9.0) * (1.0 + 1e-9)


@pytest.mark.parametrize("finish", ["best", "return"])
def test_without_a_way_round_the_motors_stay_and_the_run_says_so(
    RE: RunEngine, docs: Documents, recorded: Any, finish: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bowl, motors = recorded

    def hop(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from ()
        if point["mx"] == 0.5:
            motors[0].sim_state["readback"] = 1.0  # somebody carries the motor over the wall
        return {"bowl": point["mx"] ** 2}

    wall = {"box": {"mx": (0.6, 0.8)}, "reason": "beam stop"}
    envelope = {**ENVELOPE, "forbidden": [wall]}
    agent = Scripted([at(0.0), at(0.5)])
    with caplog.at_level(logging.WARNING):
        RE(optimize([bowl], motors, agent, max_points=2, finish=finish, envelope=envelope, measure=hop, retries=0))
    assert motors[0].position == 1.0
    assert "beam stop" in caplog.text
    assert "no way leads around it" in caplog.text
    assert docs.stop["exit_status"] == "success"  # what was measured is safe
    assert "not moved" in docs.stop["reason"]
    assert "mx = 1" in docs.stop["reason"]
    (left,) = docs.events["left_at"]
    assert (left["mx"], left["my"]) == (1.0, 0.0)
    assert "not moved" in left["left_where"]


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
