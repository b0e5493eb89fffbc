"""A glitch that looks like the best reading ends no experiment, and is not what an experiment ends with."""

from typing import Any

import numpy as np
import pytest

from ebl_autonomy import VOCS
from ebl_autonomy.agents import BayesianAgent, SobolAgent
from ebl_autonomy.guard import Envelope, Gate
from ebl_autonomy.steering import SteeringSession

pytestmark = pytest.mark.integration  # seconds: a model decides

LIMITS = {"x": (-2.0, 2.0), "y": (-2.0, 2.0)}
GLITCH = 24
"""The row that is ten times off."""


def truth(x: float, y: float) -> float:
    return 100.0 * float(np.exp(-((x - 0.5) ** 2) - (y + 0.25) ** 2)) + 20.0


def begun(agent: Any, **options: Any) -> SteeringSession:
    steering = SteeringSession(agent, Gate(agent.vocs, Envelope(), LIMITS), max_points=60, **options)
    steering.begin()
    return steering


def vocs() -> VOCS:
    return VOCS(variables={name: list(limits) for name, limits in LIMITS.items()}, objectives={"f": "MAXIMIZE"})


def drive(steering: SteeringSession, rows: int) -> list[float]:
    """Measure up to so many rows; the true values."""
    rng, values = np.random.default_rng(11), []
    while not steering.stop_reason and len(values) < rows:
        for proposal in steering.ask():
            steering.admit(proposal, {})
            values.append(truth(**{name: float(proposal.target[name]) for name in LIMITS}))
            reading = values[-1] + rng.normal() * 0.5
            steering.tell(proposal, [{"f": 10.0 * reading if len(values) - 1 == GLITCH else reading}])
    return values


@pytest.mark.parametrize("batch", [1, 4])
def test_a_target_that_only_a_glitch_reaches_does_not_end_the_run(batch: int) -> None:
    steering = begun(BayesianAgent(vocs(), seed=1), until={"target": 150.0}, batch=batch)
    drive(steering, 60)
    assert steering.stop_reason.startswith("max_points")


def test_a_target_that_a_true_reading_reaches_ends_the_run() -> None:
    steering = begun(BayesianAgent(vocs(), seed=1), until={"target": 110.0})
    values = drive(steering, 60)
    assert steering.stop_reason.startswith("target: f = 1")
    assert values[-1] > 108.0
    assert steering.ask()  # whoever wants more may go on


def test_the_best_reading_is_no_glitch() -> None:
    steering = begun(BayesianAgent(vocs(), seed=2))
    drive(steering, 40)
    steering.finish()
    assert steering.best_reading is not None
    assert steering.best_reading.outcome["f"] < 125.0


def test_a_glitch_does_not_make_all_further_gains_look_small() -> None:
    steering = begun(BayesianAgent(vocs(), seed=1), until={"improvement": 1e-12, "patience": 2})
    drive(steering, GLITCH + 8)
    assert steering.stop_reason == ""


def test_results_of_an_earlier_session_do_not_shift_the_suspects() -> None:
    agent = BayesianAgent(vocs(), seed=3)
    drive(begun(agent), 12)
    second = begun(agent)
    drive(second, 40)
    second.finish()
    assert second.best_reading is not None
    assert second.best_reading.outcome["f"] < 125.0


def test_an_agent_whose_doubts_fail_does_not_end_the_run() -> None:
    class Failing(SobolAgent):
        def suspects(self) -> dict[str, list[int]]:
            raise RuntimeError("no doubts today")

    steering = begun(Failing(vocs()), until={"target": 150.0})
    drive(steering, 60)
    assert steering.stop_reason.startswith("target: f = ")
    assert steering.rows == GLITCH + 1
