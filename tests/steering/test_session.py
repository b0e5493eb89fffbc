"""The steering session, driven by plain Python."""

import math
from typing import Any

import pytest
from gest_api.generator import Generator

from ebl_autonomy import VOCS
from ebl_autonomy.agents import BayesianAgent, GridAgent, SobolAgent
from ebl_autonomy.errors import AgentError, BadInputError, NoMoreProposals, RefusedError
from ebl_autonomy.guard import Envelope, Gate, Move
from ebl_autonomy.records import Decision
from ebl_autonomy.steering import SteeringSession, Until

LIMITS = {"x": (-2.0, 2.0), "y": (-2.0, 2.0)}


def vocs(**more: Any) -> VOCS:
    given = {"objectives": {"f": "MINIMIZE"}, **more}
    return VOCS(variables={name: list(limits) for name, limits in LIMITS.items()}, **given)


def session(agent: Any, *, envelope: Any = None, **options: Any) -> SteeringSession:
    gate = Gate(agent.vocs, Envelope.of(envelope), LIMITS)
    return SteeringSession(agent, gate, **{"max_points": 100, **options})


def measure(point: Any) -> dict[str, float]:
    return {"f": (point["x"] - 0.5) ** 2 + (point["y"] + 0.25) ** 2}


def test_an_experiment_without_bluesky() -> None:
    steering = session(BayesianAgent(vocs(), seed=1), until={"target": 0.01}, max_points=60)
    here = {"x": -1.5, "y": 1.5}
    steering.begin()
    while not steering.stop_reason:
        for proposal in steering.ask():
            steering.admit(proposal, here)
            here = proposal.target
            steering.tell(proposal, [measure(here)])
    steering.finish()
    assert steering.stop_reason.startswith("target: f = ")
    assert steering.counts["accepted"] == steering.known == steering.rows < 60
    recommended, reading = steering.recommendation(), steering.best_reading
    assert recommended is not None
    assert reading is not None
    assert reading.outcome["f"] == measure(reading.point)["f"] < 0.01
    assert measure(recommended.point)["f"] < 0.05
    assert math.isfinite(recommended.std["f"])


class Scripted(Generator):
    """An agent with scripted answers that records the results it receives."""

    def __init__(self, answers: list[Any], given: VOCS | None = None, decisions: list[Decision] | None = None) -> None:
        self.vocs = given or vocs()
        self.answers, self.ingested = list(answers), []  # type: ignore[var-annotated]
        if decisions is not None:
            self.decisions = lambda: decisions

    def suggest(self, num_points: int | None = None) -> Any:
        return self.answers.pop(0) if self.answers else []

    def ingest(self, results: Any) -> None:
        self.ingested.append(list(results))

    def finalize(self) -> None: ...

    def _validate_vocs(self, vocs: VOCS) -> None: ...


def at(x: float, y: float = 0.0) -> dict[str, float]:
    return {"x": x, "y": y}


def drive(steering: SteeringSession, sizes: list[int]) -> None:
    """Ask and measure until an error ends it; the number of proposals of each answer is appended to `sizes`."""
    while True:
        proposals = steering.ask()
        sizes.append(len(proposals))
        for proposal in proposals:
            try:
                steering.admit(proposal, {})
            except RefusedError as error:
                steering.refuse(proposal, error)
            else:
                steering.tell(proposal, [measure(proposal.target)])


def test_the_agent_is_told_of_a_batch_when_it_is_over_and_in_its_own_order() -> None:
    agent = Scripted([[at(1.0), at(0.5), at(9.0)], [at(0.0)]])
    steering = session(agent, batch=3)
    first, second, outside = steering.ask()
    with pytest.raises(RefusedError) as refusal:
        steering.admit(outside, {})
    steering.refuse(outside, refusal.value)
    for proposal in (second, first):
        steering.admit(proposal, at(0.0))
        steering.tell(proposal, [measure(proposal.target)])
    assert agent.ingested == []
    steering.ask()
    (ingested,) = agent.ingested
    assert [result["x"] for result in ingested] == [1.0, 0.5, 9.0]
    assert math.isnan(ingested[2]["f"])
    assert steering.counts == {"accepted": 2, "refused": 1, "abandoned": 0}


def test_ids_are_unique_and_batches_are_counted() -> None:
    steering = session(SobolAgent(vocs()), batch=2)
    ids, batches = [], []
    for _ in range(3):
        for proposal in steering.ask():
            ids.append(proposal.proposal_id)
            batches.append(proposal.batch)
            steering.admit(proposal, {})
            steering.tell(proposal, [measure(proposal.target)])
    assert ids == [f"{i:05d}" for i in range(6)]
    assert batches == [0, 0, 1, 1, 2, 2]


def test_what_the_agent_answers_too_much_is_left_out() -> None:
    steering = session(Scripted([[at(0.1), at(0.2), at(0.3)]]), batch=2)
    assert len(steering.ask()) == 2
    assert steering.surplus == 1


def test_an_agent_with_nothing_more_ends_the_experiment_well() -> None:
    steering = session(GridAgent(vocs(), points_per_axis=2), batch=3)
    sizes: list[int] = []
    with pytest.raises(NoMoreProposals):
        drive(steering, sizes)
    assert sizes == [3, 1]


@pytest.mark.parametrize("answer", [7, "points", None, {"x": 1.0}])
def test_an_answer_that_is_no_list_is_the_agents_fault(answer: Any) -> None:
    with pytest.raises(AgentError, match="not a list of points"):
        session(Scripted([answer])).ask()


def test_refusals_in_a_row_end_the_experiment_and_a_row_resets_them() -> None:
    answers = [[at(9.0)]] * 24 + [[at(0.1)]] + [[at(9.0)]] * 25
    steering = session(Scripted(answers))
    with pytest.raises(AgentError, match="25 proposals in a row were refused, the last because: x = 9"):
        drive(steering, [])
    assert steering.counts == {"accepted": 1, "refused": 49, "abandoned": 0}


def test_what_was_never_tried_is_told_to_nobody_and_is_not_under_way() -> None:
    agent = SobolAgent(vocs())
    steering = session(agent, batch=2)
    first, second = steering.ask()
    steering.admit(first, {})
    steering.tell(first, [measure(first.target)])
    assert steering.open_proposals == [second]
    steering.abandon(second, "run")
    steering.finish()
    assert len(agent.results) == 1
    assert agent.pending == ()
    assert steering.open_proposals == []


def test_a_rule_of_ones_own_sees_the_decision() -> None:
    def trusted(move: Move) -> None:
        if move.decision is not None and move.decision.std.get("f", 0.0) > 1.0:
            raise RefusedError("trust", f"std {move.decision.std['f']} is larger than 1")

    agent = Scripted([[at(0.1)], [at(0.2)]], decisions=[Decision(std={"f": 3.0})])
    steering = SteeringSession(agent, Gate(agent.vocs, Envelope(), LIMITS, rules=[trusted]), max_points=5)
    (proposal,) = steering.ask()
    with pytest.raises(RefusedError, match=r"refused by rule 'trust': std 3\.0"):
        steering.admit(proposal, at(0.0))


@pytest.mark.parametrize(
    ("envelope", "options", "said"),
    [
        ({"max_points": 3}, {}, "budget: 3 points"),
        ({"max_dose": 7.0, "dose_key": "f"}, {}, "budget: the dose is 8.0"),
        ({"max_seconds": 10.0}, {}, "budget: 12.0 s"),
        ({}, {"max_points": 3}, "max_points: 3 points"),
        ({}, {"until": {"seconds": 10.0}}, "seconds: 12.0 s"),
        ({}, {"until": {"seconds": 4.0, "clock": "hours"}}, "seconds: 4.0 s"),
        ({}, {"until": {"target": 2.0}}, "target: f = 2"),
    ],
)
def test_budgets_and_stop_rules(envelope: Any, options: Any, said: str) -> None:
    now = [0.0]
    steering = session(SobolAgent(vocs()), envelope=envelope, clock=lambda: now[0], **options)
    steering.begin()
    while not steering.stop_reason:
        for proposal in steering.ask():
            steering.admit(proposal, {})
            if not steering.check_budgets(proposal):
                now[0] += 4.0
                steering.tell(proposal, [{"f": 2.0, "hours": 2.0 * steering.rows}])
    assert steering.stop_reason.startswith(said)
    assert steering.rows == (1 if said.startswith("target") else 4 if "dose" in said else 3)


def test_several_rows_of_one_proposal_are_several_results() -> None:
    agent = Scripted([[at(0.1)]])
    steering = session(agent, positions_from_rows=["x"])
    (proposal,) = steering.ask()
    steering.admit(proposal, {})
    steering.tell(proposal, [{"x": 0.0, "y": 5.0, "f": 2.0}, {"x": 1.0, "y": 5.0, "f": 1.0}])
    steering.finish()
    assert agent.ingested == [[{"x": 0.0, "y": 0.0, "f": 2.0}, {"x": 1.0, "y": 0.0, "f": 1.0}]]
    assert steering.rows == 2
    assert steering.best_reading is not None
    assert steering.best_reading.point == {"x": 1.0, "y": 0.0}


def test_two_objectives_have_a_front_and_a_compromise() -> None:
    agent = BayesianAgent(vocs(objectives={"f": "MINIMIZE", "g": "MINIMIZE"}), seed=0)
    steering = session(agent)
    for _ in range(8):
        for proposal in steering.ask():
            steering.admit(proposal, {})
            steering.tell(proposal, [{**measure(proposal.target), "g": proposal.target["x"]}])
    steering.finish()
    front, compromise = steering.front(), steering.recommendation()
    assert len(front) > 1
    assert compromise is not None
    values = [(one.outcome["f"], one.outcome["g"]) for one in front]
    assert all(not (a[0] <= b[0] and a[1] <= b[1]) for a in values for b in values if a != b)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("target_error", "the agent's option target_error"),
        ("max_points", "max_points"),
        ("dose", "envelope's max_dose"),
    ],
)
def test_what_ends_a_run_elsewhere_is_named(key: str, says: str) -> None:
    with pytest.raises(BadInputError, match=rf"until\.{key}: .*{says}"):
        Until.of({key: 1})
