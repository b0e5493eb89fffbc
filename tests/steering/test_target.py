"""One early reading that nothing supports is measured once more before it ends a run."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ebl_autonomy import VOCS
from ebl_autonomy.agents import BayesianAgent, SobolAgent
from ebl_autonomy.guard import Envelope, Gate
from ebl_autonomy.records import DECISION, DecidedBy, Decision, RunMetadata, assemble_record
from ebl_autonomy.steering import Proposal, SteeringSession
from ebl_autonomy.steering.target import CONFIRMATION

LIMITS = {"x": (-2.0, 2.0), "y": (-2.0, 2.0)}
Measure = Callable[[int, dict[str, float]], float]


class Doubting(SobolAgent):
    """An agent that could suspect readings, but has no reason yet."""

    def suspects(self) -> dict[str, list[int]]:
        return {}


def begun(agent: Any, **options: Any) -> SteeringSession:
    steering = SteeringSession(agent, Gate(agent.vocs, Envelope(), LIMITS), max_points=30, **options)
    steering.begin()
    return steering


def vocs(goal: str = "MAXIMIZE") -> VOCS:
    return VOCS(variables={name: list(limits) for name, limits in LIMITS.items()}, objectives={"f": goal})


def drive(steering: SteeringSession, measure: Measure) -> list[tuple[dict[str, float], str]]:
    """Measure until the end: where, and why there."""
    told = []
    while not steering.stop_reason:
        for proposal in steering.ask():
            steering.admit(proposal, {})
            told.append((proposal.target, proposal.decision.reason))
            steering.tell(proposal, [{"f": measure(len(told) - 1, proposal.target)}])
    steering.finish()
    return told


def hill(point: dict[str, float]) -> float:
    return 100.0 * float(np.exp(-(((point["x"] - 0.5) / 2.0) ** 2) - ((point["y"] + 0.25) / 2.0) ** 2))


@pytest.mark.parametrize("goal", ["MAXIMIZE", "MINIMIZE"])
@pytest.mark.parametrize("glitch", [0, 1, 4, 10])
@pytest.mark.parametrize("batch", [1, 3])
def test_an_early_glitch_is_measured_once_more_and_ends_no_run(goal: str, glitch: int, batch: int) -> None:
    sign = 1.0 if goal == "MAXIMIZE" else -1.0
    steering = begun(Doubting(vocs(goal)), until={"target": sign * 500.0}, batch=batch)
    told = drive(steering, lambda row, point: sign * hill(point) * (10.0 if row == glitch else 1.0) + sign * 2.0)
    if hill(told[glitch][0]) > 50.0:
        (again,) = [i for i, (_, reason) in enumerate(told) if reason == CONFIRMATION]
        assert glitch < again <= glitch + batch
        assert told[again][0] == told[glitch][0]
    assert steering.stop_reason.startswith("max_points")


@pytest.mark.parametrize("row", [0, 1, 5])
def test_a_narrow_peak_that_is_read_twice_ends_the_run(row: int) -> None:
    steering = begun(Doubting(vocs()), until={"target": 500.0})
    peak: dict[str, float] = {}

    def measure(at: int, point: dict[str, float]) -> float:
        if at == row:
            peak.update(point)
        return 900.0 if point == peak else hill(point)

    told = drive(steering, measure)
    assert steering.stop_reason == "target: f = 900"
    assert [reason for _, reason in told].count(CONFIRMATION) == 1
    assert len(told) == row + 2


def test_a_reading_that_others_support_needs_no_second_one() -> None:
    values = [1.0, 3.0, 2.0, 6.0, 10.5]
    steering = begun(Doubting(vocs()), until={"target": 10.0})
    told = drive(steering, lambda row, _: values[row])
    assert steering.stop_reason == "target: f = 10.5"
    assert len(told) == len(values)


def test_two_readings_that_reach_the_target_support_each_other() -> None:
    values = [0.0, 20.0, 19.0, 0.0]
    steering = begun(Doubting(vocs()), until={"target": 10.0}, batch=4)
    told = drive(steering, lambda row, _: values[row])
    assert steering.stop_reason == "target: f = 20"
    assert len(told) == len(values)


def test_an_agent_without_doubts_is_believed_at_once() -> None:
    steering = begun(SobolAgent(vocs()), until={"target": 500.0})
    assert len(drive(steering, lambda row, point: 900.0 if row == 2 else 0.0)) == 3


def test_under_hard_limits_nothing_is_measured_again() -> None:
    agent = BayesianAgent(vocs(), seed=1, hard={"f": ["GREATER_THAN", 0.0]})
    steering = begun(agent, until={"target": 500.0})
    assert len(drive(steering, lambda row, point: 900.0 if row == 2 else 50.0)) == 3


def test_a_refused_confirmation_is_not_asked_for_again() -> None:
    steering = begun(Doubting(vocs()), until={"target": 500.0})
    (first,) = steering.ask()
    steering.admit(first, {})
    steering.tell(first, [{"f": 900.0}])
    (again,) = steering.ask()
    assert again.decision.reason == CONFIRMATION
    steering.abandon(again, "device")
    (other,) = steering.ask()
    assert other.decision.reason != CONFIRMATION
    assert not steering.stop_reason


@pytest.mark.integration
@pytest.mark.parametrize("glitch", [0, 2, 5])
def test_the_search_goes_on_after_a_glitch_at_the_beginning(glitch: int) -> None:
    steering = begun(BayesianAgent(vocs(), seed=2), until={"target": 101.0})
    told = drive(steering, lambda row, point: hill(point) + 60.0 * 10.0 * (row == glitch))
    assert sum("once more" in reason for _, reason in told) == 1  # from row 4 on the model may say so itself
    assert hill(dict(steering.recommendation().point)) > 95.0  # type: ignore[union-attr]


@pytest.mark.parametrize(("decided_by", "asks"), [("agent", 1), ("session", 0)])
@pytest.mark.parametrize("reason", [CONFIRMATION, "any other words"])
def test_who_decided_is_told_by_no_words(decided_by: DecidedBy, asks: int, reason: str) -> None:
    """A restored session asks the agent again for what the agent had proposed, and only for that."""

    class Counting(SobolAgent):
        asked = 0

        def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
            self.asked += 1
            return super().suggest(num_points)

    agent = Counting(vocs())
    point = dict.fromkeys(agent.space.names, 0.25)
    event = Proposal("00000", point, decision=Decision(reason=reason), decided_by=decided_by).decision_event(
        agent.vocs.variables, ["f"], "counting"
    )
    metadata = RunMetadata(
        package_version="1", agent=agent.config(), motors=agent.space.names, outcomes=["f"], max_points=9, batch=1,
        finish="stay",
    )  # fmt: skip
    columns = {key: [value] for key, value in event.items()}
    record = assemble_record({"uid": "run"}, None, metadata, decisions=columns, primary={}, abandoned={})
    session = begun(agent)
    session.restore(record)
    assert agent.asked == asks
    (waiting,) = session.ask()
    assert (waiting.proposal_id, waiting.decided_by, dict(waiting.proposed)) == ("00000", decided_by, point)


def test_runs_of_earlier_schemas_tell_who_decided_by_the_reason() -> None:
    agent = SobolAgent(vocs())
    events = [
        Proposal(f"{i:05d}", {"x": 0.0, "y": 0.0}, decision=Decision(reason=reason)).decision_event(
            agent.vocs.variables, ["f"], "sobol"
        )
        for i, reason in enumerate([CONFIRMATION, "sobol"])
    ]
    columns = {key: [event[key] for event in events] for key in events[0] if key != DECISION.decided_by}
    metadata = RunMetadata(
        schema_version="2.2", package_version="1", agent=agent.config(), motors=agent.space.names, outcomes=["f"],
        max_points=9, batch=1, finish="stay",
    )  # fmt: skip
    record = assemble_record({"uid": "run"}, None, metadata, decisions=columns, primary={}, abandoned={})
    assert [one.decided_by for one in record.proposals] == ["session", "agent"]
