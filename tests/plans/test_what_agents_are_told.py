"""An agent ingests one result per proposal: the measured outcomes, or NaN if there are none."""

import math
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.utils import RunEngineInterrupted
from scripted import Point, Scripted, at, pause_in_exposure
from simple import BOUNDS, ENVELOPE, Documents, sobol, truth, vocs

from ebl_autonomy import VOCS
from ebl_autonomy.errors import AgentError, BadInputError, MeasurementError, NoMoreProposals
from ebl_autonomy.plans import optimize
from ebl_autonomy.records import Best, Decision


def known(told: list[Point]) -> dict[tuple[float, float], float]:
    """Objective by point; fails if a point was ingested twice."""
    points = [(result["mx"], result["my"]) for result in told]
    assert len(points) == len(set(points))
    return {point: result["bowl"] for point, result in zip(points, told, strict=True)}


def same(a: Mapping[Any, float], b: Mapping[Any, float]) -> bool:
    """Equality with NaN equal to NaN."""
    return a.keys() == b.keys() and all(a[k] == b[k] or (math.isnan(a[k]) and math.isnan(b[k])) for k in a)


# -- proposals without a row -----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3])
def test_refused_and_abandoned_proposals_are_told_as_not_measured(RE: RunEngine, bench: Any, batch: int) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: RuntimeError("readout") if n == 2 else None
    agent = Scripted([at(0.25), at(9.0), at(0.5), at(1.0), {"mx": math.nan, "my": 0.0}, {"mx": 0.1}])
    RE(optimize([bowl], motors, agent, max_points=9, batch=batch, retries=0, envelope=ENVELOPE))
    expected = {
        (0.25, 0.0): truth(0.25, 0.0),
        (9.0, 0.0): math.nan,  # refused
        (0.5, 0.0): math.nan,  # abandoned
        (1.0, 0.0): truth(1.0, 0.0),
    }  # and no result for an entry that is not a point
    assert same(known(agent.told), expected)


def test_what_is_told_of_a_proposal_without_a_row_is_complete(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    given = vocs(observables=["width"], constants={"energy": 8.0})
    agent = Scripted([{**at(0.5), "_id": 7}, {**at(9.0), "_id": 8}], given)
    derive = {"width": lambda readings: readings["bowl"] ** 0.5}
    RE(optimize([bowl], motors, agent, max_points=9, derive=derive, envelope=ENVELOPE))
    measured, refused = agent.told
    width = truth(0.5, 0.0) ** 0.5
    assert measured == {**at(0.5), "bowl": truth(0.5, 0.0), "width": width, "energy": 8.0, "_id": 7}
    assert str(refused) == str({**at(9.0), "energy": 8.0, "bowl": math.nan, "width": math.nan, "_id": 8})


ENDS: dict[str, dict[str, Any]] = {
    "budget of points": {"envelope": {**ENVELOPE, "max_points": 2}},
    "budget of dose": {"envelope": {**ENVELOPE, "max_dose": 1.5, "dose_key": "dose"}},
    "target": {"until": {"target": truth(0.5, 0.0)}},
    "clock": {"until": {"seconds": 1.0, "clock": "clock"}},
}


@pytest.mark.parametrize("end", list(ENDS))
def test_untried_proposals_of_the_last_batch_are_not_told_as_measured(
    RE: RunEngine, docs: Documents, bench: Any, end: str
) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.25), at(0.5), at(1.0), at(1.5)])
    derive = {"dose": lambda readings: 1.0, "clock": lambda readings: float(bowl.triggers)}
    given = {"envelope": ENVELOPE, **ENDS[end]}
    plan = optimize([bowl], motors, agent, max_points=9, batch=4, derive=derive, finish="stay", **given)
    result = RE(plan).plan_result
    assert (result.accepted, result.abandoned) == (2, 2)
    assert result.stop_reason.startswith(end.split()[0] if end != "clock" else "seconds")
    assert bowl.triggers == 2
    assert motors[0].position == 0.5
    told = known(agent.told)
    assert {point: value for point, value in told.items() if not math.isnan(value)} == {
        (0.25, 0.0): truth(0.25, 0.0),
        (0.5, 0.0): truth(0.5, 0.0),
    }
    assert [(gone["status"], gone["attempts"]) for gone in docs.events["abandoned"]] == [("abandoned", 0)] * 2
    assert all(result.stop_reason in gone["reason"] for gone in docs.events["abandoned"])


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_no_more_points_are_asked_for_than_may_be_measured(RE: RunEngine, bench: Any, batch: int) -> None:
    bowl, motors = bench
    asked: list[int] = []
    agent = Scripted([at(0.1 * k) for k in range(20)])
    suggest = agent.suggest
    agent.suggest = lambda n=None: (asked.append(n), suggest(n))[1]  # type: ignore[method-assign, func-returns-value]
    assert RE(optimize([bowl], motors, agent, max_points=4, batch=batch, envelope=ENVELOPE)).plan_result.accepted == 4
    assert sum(asked) == 4
    assert max(asked) == batch


# -- how often, and when ---------------------------------------------------------------------------------------


def test_each_batch_is_told_before_the_next_is_asked_for(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.1 * k) for k in range(7)])
    RE(optimize([bowl], motors, agent, max_points=9, batch=3, envelope=ENVELOPE))
    assert [len(call) for call in agent.calls] == [3, 3, 1]
    assert len(known(agent.told)) == 7
    assert [d["points_known"] for d in docs.events["decisions"]] == [0] * 3 + [3] * 3 + [6]
    assert [d["batch"] for d in docs.events["decisions"]] == [0] * 3 + [1] * 3 + [2]


@pytest.mark.parametrize("batch", [1, 3])
def test_what_was_measured_before_a_failure_is_told(RE: RunEngine, docs: Documents, bench: Any, batch: int) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: RuntimeError("dead") if n > 4 else None
    agent = Scripted([at(0.1 * k) for k in range(1, 10)])
    plan = optimize([bowl], motors, agent, max_points=9, batch=batch, retries=0, max_failures=1, envelope=ENVELOPE)
    with pytest.raises(MeasurementError):
        RE(plan)
    told = {point: value for point, value in known(agent.told).items() if not math.isnan(value)}
    assert told == {(row["mx"], row["my"]): row["bowl"] for row in docs.events["primary"]}
    assert len(told) == 4
    decided = {d["proposal_id"] for d in docs.events["decisions"]}
    ended = [row["proposal_id"] for stream in ("primary", "abandoned") for row in docs.events[stream]]
    assert sorted(ended) == sorted(decided)  # each proposal has one end


@pytest.mark.parametrize("batch", [1, 3])
def test_what_was_measured_before_the_user_ended_the_run_is_told(
    RE: RunEngine, docs: Documents, bench: Any, batch: int
) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.1 * k) for k in range(1, 10)])
    pause_in_exposure(RE, bowl, 5)
    with pytest.raises(RunEngineInterrupted):
        RE(optimize([bowl], motors, agent, max_points=9, batch=batch, envelope=ENVELOPE))
    RE.abort()
    told = {point: value for point, value in known(agent.told).items() if not math.isnan(value)}
    assert told == {(row["mx"], row["my"]): row["bowl"] for row in docs.events["primary"]}
    assert len(told) == 4


def test_an_agent_may_think_through_several_pauses(RE: RunEngine, docs: Documents, bench: Any) -> None:
    """It thinks on while the RunEngine is paused, and the RunEngine can be paused again while it still thinks."""
    bowl, motors = bench
    agent = Scripted([at(0.5)])
    suggest, resumed = agent.suggest, threading.Event()

    def slowly(count: int | None = None) -> Any:
        RE.request_pause()
        resumed.wait()
        RE.request_pause()
        agent.suggest = suggest  # type: ignore[method-assign]
        return suggest(count)

    agent.suggest = slowly  # type: ignore[method-assign]
    with pytest.raises(RunEngineInterrupted):
        RE(optimize([bowl], motors, agent, max_points=9, envelope=ENVELOPE))
    RE.msg_hook = lambda msg: resumed.set()
    with pytest.raises(RunEngineInterrupted):
        RE.resume()
    RE.resume()
    assert [row["mx"] for row in docs.events["primary"]] == [0.5]
    assert len(docs.events["decisions"]) == 1


# -- what a row gives ------------------------------------------------------------------------------------------


def test_a_context_that_is_measured_is_told(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    variables = {**{name: list(bounds) for name, bounds in BOUNDS.items()}, "hall": {"type": "ContextualVariable"}}
    agent = Scripted([{**at(0.5), "hall": 0.0}], VOCS(variables=variables, objectives={"bowl": "MINIMIZE"}))
    derive = {"hall": lambda readings: 20.0 + readings["mx"], "bowl_std": lambda readings: 0.25}
    RE(optimize([bowl], motors, agent, max_points=1, derive=derive, envelope=ENVELOPE))
    assert agent.told == [{**at(0.5), "hall": 20.5, "bowl": truth(0.5, 0.0), "bowl_std": 0.25}]


@pytest.mark.parametrize("role", ["objective", "constraint", "observable"])
def test_a_row_is_invalid_if_a_derivation_fails_whatever_it_is_for(
    RE: RunEngine, docs: Documents, bench: Any, role: str
) -> None:
    bowl, motors = bench
    more: dict[str, Any] = {
        "objective": {"objectives": {"bowl": "MINIMIZE", "flux": "MAXIMIZE"}},
        "constraint": {"constraints": {"flux": ["GREATER_THAN", 1.0]}},
        "observable": {"observables": ["flux"]},
    }[role]
    fields = {"variables": {k: list(v) for k, v in BOUNDS.items()}, "objectives": {"bowl": "MINIMIZE"}, **more}
    agent = Scripted([at(0.1), at(0.2)], VOCS(**fields))
    derive = {"flux": lambda readings: 1.0 / (readings["mx"] > 0.15)}
    RE(optimize([bowl], motors, agent, max_points=2, derive=derive, envelope=ENVELOPE))
    assert [row["valid"] for row in docs.events["primary"]] == [False, True]
    assert "derivation flux failed: ZeroDivisionError" in docs.events["primary"][0]["invalid_reason"]
    assert str([result["flux"] for result in agent.told]) == "[nan, 1.0]"
    assert agent.told[0]["bowl"] == truth(0.1, 0.0)  # the readings are kept


@pytest.mark.parametrize("role", ["objectives", "constraints", "observables"])
def test_nan_makes_a_row_invalid_where_the_outcome_decides(
    RE: RunEngine, docs: Documents, bench: Any, role: str
) -> None:
    bowl, motors = bench
    more: dict[str, Any] = {
        "objectives": {"flux": "MAXIMIZE"},
        "constraints": {"flux": ["GREATER_THAN", 1.0]},
        "observables": ["flux"],
    }
    fields = {"objectives": {"bowl": "MINIMIZE"}, role: more[role]}
    agent = Scripted([at(0.1)], VOCS(variables={k: list(v) for k, v in BOUNDS.items()}, **fields))
    derive = {"flux": lambda readings: math.nan}
    RE(optimize([bowl], motors, agent, max_points=1, derive=derive, envelope=ENVELOPE))
    (row,) = docs.events["primary"]
    assert row["valid"] == (role == "observables")
    assert row["invalid_reason"] == ("" if role == "observables" else "flux is nan")


def test_derivations_see_what_the_users_stub_returned(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench

    def scan(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.trigger(bowl, wait=True)
        return {"height": 4.0}

    agent = Scripted([at(0.5)])
    derive = {"bowl": lambda readings: readings["height"] + readings["mx"]}
    RE(optimize([bowl], motors, agent, max_points=1, measure=scan, derive=derive, envelope=ENVELOPE))
    assert agent.told == [{**at(0.5), "bowl": 4.5}]
    (row,) = docs.events["primary"]
    assert (row["height"], row["bowl"], row["valid"]) == (4.0, 4.5, True)


def test_a_stub_that_fails_in_an_event_of_its_own_leaves_a_run_that_is_closed(
    RE: RunEngine, docs: Documents, bench: Any
) -> None:
    bowl, motors = bench

    def half(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.create("extra")
        raise BadInputError("no such edge")

    with pytest.raises(BadInputError, match="no such edge"):
        RE(optimize([bowl], motors, Scripted([at(0.5)]), max_points=1, measure=half, envelope=ENVELOPE))
    assert docs.stop["exit_status"] == "fail"
    assert "no such edge" in docs.stop["reason"]
    (gone,) = docs.events["abandoned"]
    assert "no such edge" in gone["reason"]


@pytest.mark.parametrize("many", [False, True], ids=["one row", "many rows"])
def test_a_stub_whose_keys_change_is_told_which(RE: RunEngine, docs: Documents, bench: Any, many: bool) -> None:
    """The descriptor is written with the first row: later rows cannot have other keys."""
    bowl, motors = bench

    def forgetful(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.null()
        outcome = {"bowl": point["mx"], **({"edge": 1.0} if point["mx"] == 0.5 else {})}
        return [outcome, outcome] if many else outcome

    agent = Scripted([at(0.25), at(0.5), at(1.0)])
    with pytest.raises(BadInputError, match=r"\['edge'\].*give the same keys with each row"):
        RE(optimize([bowl], motors, agent, max_points=9, measure=forgetful, envelope=ENVELOPE))
    assert [row["mx"] for row in docs.events["primary"]] == ([0.25, 0.25] if many else [0.25])
    (gone,) = docs.events["abandoned"]
    assert "'edge'" in gone["reason"]


def test_a_list_whose_rows_differ_is_told_by_which_key(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench

    def uneven(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.null()
        return [{"bowl": 1.0, "edge": 2.0}, {"bowl": 1.0}]

    with pytest.raises(BadInputError, match=r"\['edge'\] are not in every row"):
        RE(optimize([bowl], motors, Scripted([at(0.5)]), max_points=2, measure=uneven, envelope=ENVELOPE))
    (gone,) = docs.events["abandoned"]
    assert "'edge'" in gone["reason"]
    assert docs.events["primary"] == []


# -- what an agent answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says", "end"),
    [(Best(point=at(1.5), outcome={"bowl": 0.0}), 1.5), ({"mx": 1.5, "my": 0.0}, 0.5), (None, 0.5)],
    ids=["a Best", "something else", "nothing"],
)
def test_an_agents_own_best_point_counts_if_it_is_one(RE: RunEngine, bench: Any, says: Any, end: float) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.5, -0.25), at(1.5), at(1.0)])
    agent.best = lambda: says  # type: ignore[attr-defined]
    result = RE(optimize([bowl], motors, agent, max_points=3, envelope=ENVELOPE)).plan_result
    assert result.best.point["mx"] == end
    assert motors[0].position == end


@pytest.mark.parametrize(
    "answer",
    ["points", 7, {"mx": 0.1, "my": 0.2}, None, (p for p in [])],
    ids=["text", "number", "point", "none", "generator"],
)
def test_an_answer_that_is_no_list_ends_the_run(RE: RunEngine, docs: Documents, bench: Any, answer: Any) -> None:
    bowl, motors = bench
    agent = Scripted([])
    agent.suggest = lambda n=None: answer  # type: ignore[method-assign]
    with pytest.raises(AgentError, match=rf"suggest\(1\) answered a {type(answer).__name__}, not a list"):
        RE(optimize([bowl], motors, agent, max_points=3, envelope=ENVELOPE))
    assert docs.stop["exit_status"] == "fail"


def test_an_agent_that_has_fewer_points_left_is_asked_for_these(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.1 * k) for k in range(5)])
    suggest = agent.suggest

    def exactly(count: int | None = None) -> list[Point]:
        left = len(agent.points)
        if (count or 1) > left:
            raise NoMoreProposals("the list is done", remaining=left)
        return suggest(count)

    agent.suggest = exactly  # type: ignore[method-assign]
    result = RE(optimize([bowl], motors, agent, max_points=99, batch=3, envelope=ENVELOPE)).plan_result
    assert result.accepted == 5
    assert result.stop_reason == "agent: the list is done"


def test_surplus_answers_are_counted_in_the_run(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([])
    agent.suggest = lambda n=None: [at(0.1), at(0.2), at(0.3)]  # type: ignore[method-assign]
    RE(optimize([bowl], motors, agent, max_points=1, envelope=ENVELOPE))
    (gone,) = docs.events["abandoned"]
    assert (gone["proposal_id"], gone["status"], gone["rule"]) == ("", "refused", "batch")
    assert gone["proposed"] == "2 proposals"
    assert gone["reason"] == "the agent returned 3 proposals, but 1 were requested"


def test_what_is_said_of_each_proposal_stands_in_its_own_row(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.1), at(0.2), at(0.3)])
    said = [Decision(mean={"bowl": 0.5 * k}, std={"bowl": 0.1}, reason=f"reason {k}") for k in range(2)]
    agent.decisions = lambda: said  # type: ignore[attr-defined]
    RE(optimize([bowl], motors, agent, max_points=3, batch=3, envelope=ENVELOPE))
    rows = docs.events["decisions"]
    assert [(row["mx"], row["reason"], row["agent"]) for row in rows] == [
        (0.1, "reason 0", "Scripted"),
        (0.2, "reason 1", "Scripted"),
        (0.3, "", "Scripted"),  # without a decision
    ]
    assert str([row["bowl_mean"] for row in rows]) == "[0.0, 0.5, nan]"


def test_an_agent_is_recorded_by_its_name(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    RE(optimize([bowl], motors, sobol(), max_points=1, envelope=ENVELOPE))
    assert [row["agent"] for row in docs.events["decisions"]] == ["sobol"]


def test_an_endless_answer_is_recorded_in_short(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([{"mx": "x" * 100_000, "my": 0.0}, at(0.5)])
    assert RE(optimize([bowl], motors, agent, max_points=1, envelope=ENVELOPE)).plan_result.refused == 1
    (gone,) = docs.events["abandoned"]
    assert len(gone["proposed"]) <= 1000
    assert len(gone["reason"]) <= 1000


class Speechless(Scripted):
    """An agent whose `explain` raises."""

    def explain(self) -> str:
        raise ZeroDivisionError("no words")


def test_an_agent_that_fails_to_explain_itself_does_not_fail_the_run(
    RE: RunEngine, docs: Documents, bench: Any
) -> None:
    bowl, motors = bench
    RE(optimize([bowl], motors, Speechless([at(0.5)]), max_points=1, envelope=ENVELOPE))
    assert docs.stop["exit_status"] == "success"
    assert docs.events["explanation"] == [{"explanation": "no explanation: no words"}]


# -- the start document ----------------------------------------------------------------------------------------


def test_the_users_metadata_is_in_the_start_document(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    RE(optimize([bowl], motors, Scripted([at(0.5)]), max_points=1, md={"sample": "gold"}, envelope=ENVELOPE))
    assert docs.start["sample"] == "gold"
    assert docs.start["plan_name"] == "optimize"
    assert docs.start["ebl_autonomy"]["motors"] == ["mx", "my"]


@pytest.mark.parametrize("md", [{"ebl_autonomy": {}}, ["sample"], "sample"], ids=str)
def test_metadata_that_would_hide_the_runs_own_is_refused(RE: RunEngine, docs: Documents, bench: Any, md: Any) -> None:
    bowl, motors = bench
    with pytest.raises(BadInputError, match="md="):
        RE(optimize([bowl], motors, Scripted([at(0.5)]), max_points=1, md=md, envelope=ENVELOPE))
    assert docs.all == []
