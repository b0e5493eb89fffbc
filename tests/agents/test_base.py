"""The common behaviour of all agents: results, proposals, the best point, configuration."""

import json
import math
from typing import Any, ClassVar

import numpy as np
import pytest

from ebl_autonomy.agents import Agent, SobolAgent, Withdraws, make_agent
from ebl_autonomy.errors import AgentError, BadInputError
from ebl_autonomy.records import Decision
from ebl_autonomy.space import VOCS, FloatArray

VOCS_FIELDS: dict[str, Any] = {
    "variables": {"x": [0.0, 10.0], "n": {"type": "DiscreteVariable", "values": [1, 2, 5]}},
    "objectives": {"f": "MINIMIZE"},
    "constraints": {"g": ["GREATER_THAN", 0.0]},
    "constants": {"energy": 7.1},
}


def agent(**more: Any) -> SobolAgent:
    return SobolAgent({**VOCS_FIELDS, **more}, seed=3)


def result(x: float = 1.0, n: float = 2.0, f: float = 1.0, g: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"x": x, "n": n, "f": f, "g": g, **more}


def without_ids(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in point.items() if name != "_id"} for point in points]


def test_suggested_points_have_variables_and_constants() -> None:
    (point,) = agent().suggest()
    assert set(point) == {"x", "n", "energy", "_id"}
    assert point["energy"] == 7.1
    assert point["n"] in (1.0, 2.0, 5.0)


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", True])
def test_a_number_of_points_that_is_none_is_refused(count: Any) -> None:
    with pytest.raises(BadInputError, match="positive integer"):
        agent().suggest(count)


def test_numpy_integers_count() -> None:
    points = agent().suggest(np.int64(3))
    assert len(points) == 3


def test_a_proposal_is_out_until_its_result_comes() -> None:
    a = agent()
    points = a.suggest(3)
    assert a.pending == tuple(points)
    a.ingest([result(**{k: points[1][k] for k in ("x", "n")})])
    assert a.pending == (points[0], points[2])
    a.ingest([result(x=0.123)])  # foreign: answers no pending proposal
    assert a.pending == (points[0], points[2])
    assert a.suggest(1)[0] not in points


def test_a_proposal_is_out_until_it_is_withdrawn() -> None:
    a = agent()
    assert isinstance(a, Withdraws)
    points = a.suggest(4)
    a.withdraw([points[2], {"x": points[0]["x"] + 1e-12, "n": points[0]["n"]}, {"x": points[0]["x"]}, {"y": 1.0}])
    assert a.pending == (points[0], points[1], points[3])
    a.withdraw([{"n": points[0]["n"], "x": points[0]["x"]}, points[0]])  # constants are not compared
    assert a.pending == (points[1], points[3])
    a.withdraw(a.pending)
    assert a.pending == ()
    assert without_ids(a.suggest(4)) == without_ids(points)


def test_a_point_proposed_twice_is_out_twice() -> None:
    a = Constant(VOCS_FIELDS)
    (point, again) = a.suggest(2)
    assert without_ids([point]) == without_ids([again])
    a.ingest([result(x=point["x"], n=point["n"])])
    assert a.pending == (again,)
    (third,) = a.suggest(1)
    a.withdraw([third])
    assert a.pending == (again,)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"x": 1.0, "f": 1.0, "g": 1.0}, r"lacks \['n'\]"),
        ({"x": 1.0, "n": 1.0, "f": 1.0}, r"lacks \['g'\]"),
        (result(f="1.0"), "'f' is '1.0'"),
        (result(f=None), "'f' is None"),
        (result(x=math.nan), "'x' is nan: it must be finite"),
        (result(f_std="wide"), "'f_std'"),
    ],
)
def test_a_result_that_is_none_is_refused_and_none_of_its_batch_is_taken(bad: dict[str, Any], says: str) -> None:
    a = agent()
    with pytest.raises(BadInputError, match=says):
        a.ingest([result(), bad])
    assert a.results == ()


def test_an_infinite_outcome_is_an_invalid_measurement() -> None:
    a = agent()
    a.ingest([result(x=1.0, f=-math.inf), result(x=2.0, f=5.0)])
    assert math.isnan(a.results[0]["f"])
    assert a.best().point["x"] == 2.0


def test_other_keys_are_ignored_and_standard_deviations_kept() -> None:
    a = agent()
    a.ingest([result(f_std=0.1, comment="bright", _id=7)])
    assert a.results == ({"x": 1.0, "n": 2.0, "f": 1.0, "g": 1.0, "f_std": 0.1, "_id": 7},)


def test_results_are_copies() -> None:
    a = agent()
    given = result()
    a.ingest([given])
    given["f"] = -1.0
    a.results[0]["f"] = -2.0
    assert a.results[0]["f"] == 1.0


def test_the_best_point_is_feasible_if_any_is() -> None:
    a = agent()
    with pytest.raises(AgentError, match="0 results"):
        a.best()
    a.ingest([result(f=math.nan)])
    with pytest.raises(AgentError, match="1 results"):
        a.best()
    a.ingest([result(x=3.0, f=-5.0, g=-1.0)])
    assert not a.best().feasible
    a.ingest([result(x=4.0, f=9.0, g=0.0)])  # GREATER_THAN 0 does not hold at 0
    assert not a.best().feasible
    a.ingest([result(x=5.0, f=2.0), result(x=6.0, f=1.0), result(x=7.0, f=0.5, g=math.nan)])
    best = a.best()
    assert best.feasible
    assert best.point == {"x": 6.0, "n": 2.0}
    assert best.outcome == {"f": 1.0, "g": 1.0}
    assert best.mean == {}


def test_the_best_of_a_maximisation_is_the_largest() -> None:
    a = agent(objectives={"f": "MAXIMIZE"})
    a.ingest([result(x=1.0, f=1.0), result(x=2.0, f=3.0), result(x=3.0, f=2.0)])
    assert a.best().point["x"] == 2.0


def test_context_is_suggested_at_its_latest_valid_value() -> None:
    a = agent(variables={**VOCS_FIELDS["variables"], "current": "CONTEXTUAL"})
    assert a.suggest()[0]["current"] == 0.0
    a.ingest([result(current=399.0), result(current=math.nan)])
    assert a.suggest()[0]["current"] == 399.0
    with pytest.raises(BadInputError, match="current"):
        a.ingest([result()])


def test_start_from_fills_defaults_only_before_the_first_result() -> None:
    a = agent()
    a.start_from({"x": 4.0, "n": 2.0, "other": 1.0})
    assert a.vocs.variables["x"].default_value == 4.0
    a.start_from({"x": 5.0})
    assert a.vocs.variables["x"].default_value == 4.0, "a default that is given stays"
    b = agent()
    b.start_from({"x": 11.0, "n": math.nan})
    assert b.vocs.variables["x"].default_value is None, "a place outside the domain cannot be proposed"
    assert b.vocs.variables["n"].default_value is None
    b.ingest([result()])
    b.start_from({"x": 5.0})
    assert b.vocs.variables["x"].default_value is None


def test_where_it_started_is_in_the_configuration() -> None:
    a = agent()
    a.start_from({"x": 4.0})
    again = SobolAgent.from_config(json.loads(json.dumps(a.config(), allow_nan=False)))
    assert again.vocs.variables["x"].default_value == 4.0
    assert again.config() == a.config()


def test_the_callers_vocs_is_not_touched() -> None:
    vocs = VOCS(variables={"x": [0.0, 1.0]}, objectives={"f": "MINIMIZE"})
    a = SobolAgent(vocs)
    a.start_from({"x": 0.5})
    assert vocs.variables["x"].default_value is None


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"agent": "sobol"}, "'vocs'"),
        ({"vocs": VOCS_FIELDS}, "'agent'"),
        ({"agent": "sobol", "vocs": VOCS_FIELDS, "seed": 1}, r"agent\.options\.seed"),
        ({"agent": "newton", "vocs": VOCS_FIELDS}, "newton"),
        ({"agent": "sobol", "vocs": VOCS_FIELDS, "options": {"sead": 1}}, "sead"),
        ({"agent": "sobol", "vocs": VOCS_FIELDS, "options": {"seed": "x"}}, "seed"),
        ({"agent": "sobol", "vocs": VOCS_FIELDS, "options": {"vocs": {}}}, "beside 'options'"),
        ("sobol", "'sobol'"),
    ],
)
def test_a_configuration_that_is_none_is_refused(config: Any, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        make_agent(config)


def test_from_config_of_another_agents_configuration_is_refused() -> None:
    from ebl_autonomy.agents import GridAgent

    with pytest.raises(BadInputError, match="'sobol', not a GridAgent"):
        GridAgent.from_config(agent().config())
    assert isinstance(Agent.from_config(agent().config()), SobolAgent)


class Constant(Agent):
    """An agent without an entry point."""

    name: ClassVar[str] = "constant"
    answer: ClassVar[list[float]] = [0.5, 0.5]
    surplus: ClassVar[int] = 0

    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        return [(np.array(self.answer), Decision(reason="always"))] * (count + self.surplus)


def test_an_agent_without_entry_point_is_made_from_its_configuration() -> None:
    a = Constant(VOCS_FIELDS, seed=5)
    assert Constant.from_config(a.config()).options.seed == 5
    with pytest.raises(BadInputError, match="constant"):
        make_agent(a.config())


def test_an_agent_that_breaks_down_is_stopped() -> None:
    class Broken(Constant):
        answer: ClassVar[list[float]] = [math.nan, 0.5]

    class Generous(Constant):
        surplus: ClassVar[int] = 1

    broken = Broken(VOCS_FIELDS)
    with pytest.raises(AgentError, match="nan"):
        broken.suggest(1)
    assert broken.pending == ()
    with pytest.raises(AgentError, match="made 2 proposals where 1 were requested"):
        Generous(VOCS_FIELDS).suggest(1)


def test_a_proposal_outside_the_cube_is_not_clipped_into_the_domain() -> None:
    class Outside(Constant):
        answer: ClassVar[list[float]] = [1.2, 1.0 + 1e-6]

    (point,) = Outside(VOCS_FIELDS).suggest(1)
    assert point["x"] == pytest.approx(12.0)
    assert point["n"] > 5.0


@pytest.mark.parametrize("objectives", [{}, {"f": "MINIMIZE", "h": "MINIMIZE"}, {"f": "EXPLORE"}])
def test_objectives_that_it_cannot_pursue_are_refused(objectives: dict[str, str]) -> None:
    with pytest.raises(BadInputError, match="objective"):
        Constant({**VOCS_FIELDS, "objectives": objectives})


def test_without_an_objective_there_is_no_best_point() -> None:
    a = agent(objectives={}, observables=["f"])
    a.ingest([result()])
    with pytest.raises(AgentError, match=r"no objective, so none of the 1 results"):
        a.best()


def test_the_best_of_two_objectives_is_near_the_best_of_each() -> None:
    a = agent(objectives={"f": "MINIMIZE", "h": "MAXIMIZE"})
    with pytest.raises(AgentError, match="'f' and 'h' among 0"):
        a.best()
    a.ingest([result(x=9.0, f=-99.0, h=math.nan)])
    with pytest.raises(AgentError, match="'f' and 'h' among 1"):
        a.best()
    a.ingest([result(x=1.0, f=0.0, h=0.0), result(x=2.0, f=30.0, h=0.9), result(x=3.0, f=100.0, h=1.0)])
    assert a.best().point["x"] == 2.0
    assert a.best().outcome == {"f": 30.0, "h": 0.9, "g": 1.0}
