"""What a run leaves behind: a recommended point, the best reading, the place of the motors, the way between points."""

import logging
from typing import Any

import pytest
from bluesky import RunEngine
from scripted import RecordedAxis, Scripted, at, fail_at
from simple import BOUNDS, ENVELOPE, Bowl, Documents, truth

from ebl_autonomy import VOCS
from ebl_autonomy.plans import optimize
from ebl_autonomy.records import RECOMMENDATION, Recommendation

VARIABLES = {name: list(bounds) for name, bounds in BOUNDS.items()}


@pytest.fixture
def recorded() -> tuple[Bowl, list[RecordedAxis]]:
    motors = [RecordedAxis("mx"), RecordedAxis("my")]
    return Bowl(*motors), motors


def test_motors_are_left_where_a_last_move_that_failed_has_left_them(
    RE: RunEngine, docs: Documents, recorded: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bowl, motors = recorded
    fail_at(motors[0], 0.5, 0.3)
    agent = Scripted([at(0.6), at(1.0)])
    agent.best = lambda: Recommendation(at(0.5), {"bowl": 0.0})  # type: ignore[attr-defined]
    with caplog.at_level(logging.WARNING):
        result = RE(optimize([bowl], motors, agent, max_points=2, envelope=ENVELOPE)).plan_result
    assert result.recommended.point == at(0.5)
    assert result.best_reading.point == at(0.6)
    assert result.left_at == at(0.3)
    assert docs.events["start_and_end"][-1]["mx"] == 0.3


def test_the_recommendation_is_recorded_with_what_the_model_says_of_it(
    RE: RunEngine, docs: Documents, bench: Any
) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.5)])
    best = Recommendation(at(0.5), {"bowl": truth(0.5, 0.0)}, {"bowl": 0.1}, {"bowl": 0.02}, feasible=False)
    agent.best = lambda: best  # type: ignore[attr-defined]
    assert RE(optimize([bowl], motors, agent, max_points=1, envelope=ENVELOPE)).plan_result.recommended == best
    (row,) = docs.events["recommended"]
    assert (row[RECOMMENDATION.kind], row[RECOMMENDATION.feasible], row["mx"], row["my"]) == (
        "recommended",
        False,
        0.5,
        0.0,
    )
    assert (row["bowl_reading"], row["bowl_mean"], row["bowl_std"]) == (truth(0.5, 0.0), 0.1, 0.02)


def test_the_front_of_two_objectives_is_recorded_and_returned(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.5), at(1.0)], VOCS(variables=VARIABLES, objectives={"bowl": "MINIMIZE", "side": "MAXIMIZE"}))
    front = [Recommendation(at(x), {"bowl": truth(x, 0.0), "side": x}) for x in (0.5, 1.0)]
    agent.best, agent.front = lambda: front[1], lambda: front  # type: ignore[attr-defined]
    derive = {"side": lambda readings: readings["mx"]}
    result = RE(optimize([bowl], motors, agent, max_points=2, derive=derive, envelope=ENVELOPE)).plan_result
    assert (result.recommended, result.front) == (front[1], tuple(front))
    assert [(row[RECOMMENDATION.kind], row["mx"]) for row in docs.events["recommended"]] == [
        ("recommended", 1.0),
        ("front", 0.5),
        ("front", 1.0),
    ]


def test_of_one_objective_there_is_no_front(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.5)])
    agent.front = lambda: [Recommendation(at(0.5), {"bowl": 0.0})]  # type: ignore[attr-defined]
    result = RE(optimize([bowl], motors, agent, max_points=1, envelope=ENVELOPE)).plan_result
    assert result.front == ()
    assert [row[RECOMMENDATION.kind] for row in docs.events["recommended"]] == ["recommended"]


def test_each_batch_is_ordered_from_where_the_one_before_has_ended(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([at(1.0), at(1.75), at(0.25), at(1.5)])
    RE(optimize([bowl], motors, agent, max_points=4, batch=2, finish="stay", envelope=ENVELOPE))
    assert [row["mx"] for row in docs.events["primary"]] == [1.0, 1.75, 1.5, 0.25]
