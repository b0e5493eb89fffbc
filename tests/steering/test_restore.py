"""A session restored from a record continues like the recorded one: next proposal, budgets, counters."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebl_autonomy import VOCS, __version__
from ebl_autonomy.agents import make_agent
from ebl_autonomy.errors import BadInputError, NoMoreProposals, RefusedError
from ebl_autonomy.guard import Envelope, Gate
from ebl_autonomy.records import (
    ABANDONMENT,
    PROPOSAL_ID,
    ROW,
    RULE_RUN,
    RunMetadata,
    RunRecord,
    assemble_record,
)
from ebl_autonomy.space import vocs_dict
from ebl_autonomy.steering import Proposal, SteeringSession, restore_agent, restore_session

LIMITS = {"x": (-1.0, 1.0), "y": (-1.0, 1.0)}
ENVELOPE: dict[str, Any] = {
    "forbidden": [{"box": {"x": (-0.25, 0.25), "y": (-0.5, 0.5)}}],
    "max_dose": 60.0,
    "dose_key": "dose",
    "max_points": 30,
}
UNTIL: dict[str, Any] = {"seconds": 200.0, "clock": "clock", "target": 1e-4, "improvement": 1e-3, "patience": 2}


class Recorded:
    """A session whose streams are kept in lists, as a plan writes them to the run."""

    def __init__(
        self, agent: str, seed: int, batch: int, max_points: int, searched: dict[str, tuple[float, float]] | None = None
    ) -> None:
        vocs = VOCS(
            variables={name: list(limits) for name, limits in LIMITS.items()},
            objectives={"f": "MINIMIZE"},
            constraints={"g": ["GREATER_THAN", -0.5]},
            constants={"k": 3},
        )
        config = {"agent": agent, "vocs": vocs_dict(vocs), "options": {"seed": seed}}
        self.metadata = RunMetadata(
            package_version=__version__, agent=config, motors=list(LIMITS), outcomes=["f", "g"], envelope=ENVELOPE,
            until=UNTIL, limits=LIMITS, max_points=max_points, batch=batch, finish="stay", clock="clock",
            searched=searched or {},
        )  # fmt: skip
        generator: Any = make_agent(config)
        if searched:
            generator.search_within(searched)
        self.now = 0.0
        gate = Gate(vocs, Envelope.of(ENVELOPE), dict(LIMITS))
        self.session = SteeringSession(
            generator, gate, until=UNTIL, max_points=max_points, batch=batch, clock=lambda: self.now
        )
        self.session.begin()
        self.decisions: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.abandoned: list[dict[str, Any]] = []

    def ask(self) -> list[Proposal]:
        proposals = self.session.ask()
        for proposal in proposals:
            self.decisions.append(proposal.decision_event(self.session.space.vocs.variables, ["f", "g"], "any"))
        return proposals

    def end(self, proposal: Proposal, how: str) -> None:
        """End one proposal: refused by the gate, measured or abandoned."""
        session = self.session
        self.now += 1.25
        try:
            session.admit(proposal, {})
        except RefusedError as error:
            self._abandon(proposal, "refused", error.rule, error.message)
            session.refuse(proposal, error)
            return
        if how == "fails":
            self._abandon(proposal, "abandoned", "device", "no beam")
            session.abandon(proposal, "device")
            return
        x, y = proposal.target["x"], proposal.target["y"]
        row = {
            "x": x, "y": y, "f": math.nan if how == "invalid" else (x - 0.4) ** 2 + (y + 0.6) ** 2, "g": x,
            "dose": 1.5 + x, "clock": 3.0 * self.now, "time": self.now, PROPOSAL_ID: proposal.proposal_id,
            ROW.row: 0, ROW.attempt: 1, ROW.valid: how != "invalid", ROW.invalid_reason: "",
            ROW.seconds_elapsed: session.elapsed(),
        }  # fmt: skip
        self.rows.append(row)
        session.tell(proposal, [row])

    def _abandon(self, proposal: Proposal, status: Any, rule: str, reason: str) -> None:
        event = proposal.abandonment_event(status, rule, reason, 1, self.session.elapsed())
        self.abandoned.append({**event, "time": self.now})

    def cut(self) -> None:
        """The events that a run writes when it is ended early."""
        for proposal in self.session.open_proposals:
            self._abandon(proposal, "abandoned", RULE_RUN, "the run ended")

    def record(self) -> RunRecord:
        metadata = RunMetadata.read(self.metadata.model_dump(mode="json"))
        streams = {"decisions": self.decisions, "primary": self.rows, "abandoned": self.abandoned}
        columns = {
            name: {key: [event[key] for event in events] for key in events[0]} if events else {}
            for name, events in streams.items()
        }
        return assemble_record({"uid": "u"}, None, metadata, **columns)


def state(session: SteeringSession) -> dict[str, Any]:
    """The public state that the next steps depend on."""
    return {
        "counts": session.counts,
        "known": session.known,
        "rows": session.rows,
        "points": session.gate.points,
        "dose": session.gate.dose,
        "best": session.best_reading,
        "stop": session.stop_reason,
    }


@pytest.mark.integration
@settings(max_examples=40, deadline=None)
@given(
    agent=st.sampled_from(["sobol", "grid", "coordinate_scan"]),
    seed=st.integers(0, 99),
    batch=st.integers(1, 4),
    fates=st.lists(st.sampled_from(["measured", "measured", "measured", "invalid", "fails"]), max_size=34),
    cut_early=st.booleans(),
    backwards=st.booleans(),
)
def test_a_restored_session_goes_on_as_the_original(
    agent: str, seed: int, batch: int, fates: list[str], cut_early: bool, backwards: bool
) -> None:
    original = Recorded(agent, seed, batch, max_points=25)
    check_goes_on(original, fates, cut_early, backwards)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("count", [0, 4, 11, 19])
def test_a_restored_bayesian_session_goes_on_as_the_original(batch: int, count: int) -> None:
    original = Recorded("bayesian", count, batch, max_points=25)
    check_goes_on(
        original, (["measured", "fails", "measured", "invalid", "measured"] * 5)[:count], count % 2 == 0, batch > 1
    )


@pytest.mark.parametrize("agent", ["bayesian", "coordinate_scan", "grid", "sobol"])
def test_a_restored_agent_searches_the_same_part_of_the_domain(agent: str) -> None:
    original = Recorded(agent, 1, 2, max_points=25, searched={"x": (0.3, 0.8)})
    check_goes_on(original, ["measured", "fails", "measured", "invalid", "measured"] * 2, True, False)
    assert original.decisions
    assert all(0.3 <= decision["x"] <= 0.8 for decision in original.decisions)


def test_an_agent_that_cannot_search_a_part_cannot_be_restored_into_one() -> None:
    original = Recorded("sobol", 0, 1, max_points=5, searched={"x": (0.3, 0.8)})
    with pytest.raises(BadInputError, match=r"searched only .* has no search_within"):
        restore_session(original.record(), agent=object())  # type: ignore[arg-type]


def check_goes_on(original: Recorded, fates: list[str], cut_early: bool, backwards: bool) -> None:
    waiting: list[Proposal] = []
    left = list(fates)
    while left and not original.session.stop_reason:
        try:
            waiting = waiting or original.ask()
        except NoMoreProposals:  # the grid is complete
            with pytest.raises(NoMoreProposals):
                restore_session(original.record()).ask()
            return
        original.end(waiting.pop(-1 if backwards else 0), left.pop(0))  # in the order of the shortest path
    if cut_early and waiting:
        record = (original.cut(), original.record())[1]
    else:
        record = original.record()
    restored = restore_session(record)
    assert state(restored) == state(original.session)
    assert restored.elapsed() == pytest.approx(original.session.elapsed(), abs=0.5)
    if original.session.stop_reason:
        return
    try:
        expected = waiting or original.session.ask()
    except NoMoreProposals:  # the grid is complete
        with pytest.raises(NoMoreProposals):
            restored.ask()
        return
    found = restored.ask()
    assert [p.proposal_id for p in found] == [p.proposal_id for p in expected]
    assert [p.answer for p in found] == [p.answer for p in expected]
    assert [p.batch for p in found] == [p.batch for p in expected]
    for mine, theirs in zip(found, expected, strict=True):  # and the next step
        for session, proposal in ((restored, mine), (original.session, theirs)):
            try:
                session.admit(proposal, {})
            except RefusedError as error:
                session.refuse(proposal, error)
            else:
                target = proposal.target
                session.tell(proposal, [{"f": target["x"] ** 2, "g": target["y"], "dose": 1.0, "clock": 1e3}])
    assert state(restored) == state(original.session)
    assert answers(restored) == answers(original.session)


def answers(session: SteeringSession) -> list[Any]:
    """The next answers of the agent; empty if it has no more."""
    try:
        return [proposal.answer for proposal in session.ask()]
    except NoMoreProposals:
        return []


@pytest.mark.parametrize("agent", ["bayesian", "sobol"])
def test_a_restored_agent_knows_what_the_original_knew(agent: str) -> None:
    original = Recorded(agent, 3, 2, 30)
    for _ in range(3):
        for proposal in original.ask():
            original.end(proposal, "accept")
    original.session.finish()
    restored: Any = restore_agent(original.record())
    known: Any = original.session.agent
    assert restored.results == known.results
    assert restored.best() == known.best()
    (point,) = known.suggest(1)
    assert restored.predict([point]) == known.predict([point])


def test_a_session_that_has_begun_cannot_be_restored() -> None:
    original = Recorded("sobol", 0, 1, max_points=5)
    original.ask()
    with pytest.raises(BadInputError, match="use a fresh one"):
        original.session.restore(original.record())


def test_more_points_can_be_asked_for() -> None:
    original = Recorded("sobol", 0, 1, max_points=3)
    while not original.session.stop_reason:
        original.end(original.ask()[0], "measured")
    assert original.session.stop_reason.startswith("max_points")
    assert restore_session(original.record()).stop_reason.startswith("max_points")
    longer = restore_session(original.record(), max_points=9)
    assert longer.stop_reason == ""
    assert len(longer.ask()) == 1


def test_a_generator_that_draws_anew_measures_what_was_recorded(caplog: pytest.LogCaptureFixture) -> None:
    original = Recorded("sobol", 0, 2, max_points=9)
    proposals = original.ask()
    other = make_agent({**original.metadata.agent, "options": {"seed": 5}})
    session = restore_session(original.record(), agent=other)
    assert [p.answer["x"] for p in session.ask()] == [p.answer["x"] for p in proposals]
    assert "does not repeat the proposals of the run" in caplog.text


def test_the_record_needs_the_pasts_that_the_run_knew() -> None:
    original = Recorded("bayesian", 0, 1, max_points=5)
    original.metadata = original.metadata.model_copy(update={"prior": ["gone"]})
    with pytest.raises(BadInputError, match=r"\['gone'\]: pass client="):
        restore_session(original.record())


def test_abandonments_keep_their_keys() -> None:
    original = Recorded("sobol", 0, 1, max_points=5)
    original.end(original.ask()[0], "fails")
    assert set(original.abandoned[0]) == {*vars(ABANDONMENT).values(), "time"}


@pytest.mark.parametrize("agent", ["mapping", "energy"])
def test_a_restored_agent_leaves_out_what_the_envelope_forbids(agent: str) -> None:
    variables = {"x": [0.0, 40.0], **({"y": [0.0, 40.0]} if agent == "mapping" else {})}
    metadata = RunMetadata(
        package_version=__version__, agent={"agent": agent, "vocs": {"variables": variables, "observables": ["f"]}},
        motors=list(variables), outcomes=["f"], envelope={"forbidden": [{"box": {"x": (0.0, 30.0)}}]}, until={},
        limits=dict.fromkeys(variables, (0.0, 40.0)), max_points=25, batch=1, finish="stay", clock="",
    )  # fmt: skip
    record = assemble_record({"uid": "u"}, None, metadata, decisions={}, primary={}, abandoned={})
    for restored in (restore_agent(record), restore_session(record).agent):
        assert min(point["x"] for point in restored.suggest(12)) > 30.0
