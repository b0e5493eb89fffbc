"""Results where motors were read: they answer the proposals by id, and a fresh agent goes on in the same way."""

from typing import Any

import numpy as np
import pytest
from gest_api.generator import Generator

from ebl_autonomy.agents import Agent, BayesianAgent, CoordinateScanAgent, GridAgent, SobolAgent
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.records import ASKED, ResultLayout
from ebl_autonomy.space import VOCS
from ebl_autonomy.testing import check_agent

VOCS_FIELDS: dict[str, Any] = {"variables": {"x": [-1.0, 4.0], "y": [-2.0, 2.0]}, "objectives": {"f": "MINIMIZE"}}
LAYOUT = ResultLayout(variables=("x", "y"), context=(), outcomes=("f",), positions_from_rows=frozenset({"x", "y"}))
KINDS: list[tuple[type[Agent], dict[str, Any]]] = [
    (BayesianAgent, {}),
    (CoordinateScanAgent, {"points": 5, "span": 0.5, "shrink": 0.2}),
    (GridAgent, {"points_per_axis": 12}),
    (SobolAgent, {}),
]


def told(point: dict[str, Any], off: float) -> dict[str, Any]:
    """The result of a point as a session makes it; the motors read `off` beside it, by a share of the domain."""
    row = {"x": point["x"] + 5.0 * off, "y": point["y"] - 4.0 * off}
    row["f"] = (row["x"] - 1.9) ** 2 + 4.0 * (row["y"] - 0.3) ** 2
    return LAYOUT.measured(row, point)


def names(points: Any) -> list[tuple[float, float]]:
    return [(point["x"], point["y"]) for point in points]


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("off", [0.004, -0.01])
@pytest.mark.parametrize("batch", [1, 3])
def test_an_agent_that_is_told_readbacks_goes_on_and_so_does_a_fresh_one(
    kind: type[Agent], options: dict[str, Any], off: float, batch: int
) -> None:
    agent, fresh = kind(VOCS_FIELDS, **options), kind(VOCS_FIELDS, **options)
    results: list[dict[str, Any]] = []
    asked: list[tuple[float, float]] = []
    for _ in range(36 // batch):
        points = agent.suggest(batch)
        asked += names(points)
        results += [told(point, off) for point in points]
        agent.ingest(results[-batch:])
        assert agent.pending == ()
    if kind is not CoordinateScanAgent:  # its scans pass through the best point each time
        assert len(set(asked)) == 36
    else:
        assert len(set(asked)) > 24
        assert "pass 4" in agent.decisions()[0].reason  # its steps are smaller than the distance to the readback
    fresh.ingest(results)
    replayed = kind(VOCS_FIELDS, **options)
    replayed.ingest(agent.results)
    following = agent.suggest(2)
    assert fresh.suggest(2) == following
    assert replayed.suggest(2) == following


def test_ids_are_integers_that_no_other_proposal_has() -> None:
    agent = SobolAgent(VOCS_FIELDS)
    assert agent.returns_id
    assert Generator.returns_id is False
    first = agent.suggest(3)
    agent.ingest([told(first[1], 0.0)])
    agent.withdraw([first[2]])
    agent.ingest([{**told(first[0], 0.0), "_id": 40}])  # of another agent
    second = agent.suggest(2)
    assert [p["_id"] for p in (*first, *second)] == [0, 1, 2, 41, 42]
    assert all(type(p["_id"]) is int for p in first)
    assert [p["_id"] for p in agent.pending] == [0, 41, 42]


def test_a_result_ends_the_proposal_with_its_id_and_not_the_one_at_its_place() -> None:
    agent = SobolAgent(VOCS_FIELDS)
    a, b = agent.suggest(2)
    agent.ingest([{"x": a["x"], "y": a["y"], "f": 1.0, "_id": b["_id"]}])
    assert agent.pending == (a,)
    agent.ingest([{"x": a["x"], "y": a["y"], "f": 1.0, "_id": 99}])  # an id that it never gave
    assert agent.pending == (a,)
    agent.ingest([{"x": a["x"], "y": a["y"], "f": 1.0}])  # a driver that drops ids
    assert agent.pending == ()


@pytest.mark.parametrize("asked", [np.nan, None, "0.5"])
def test_what_was_asked_must_be_a_number(asked: Any) -> None:
    agent = GridAgent(VOCS_FIELDS)
    with pytest.raises(BadInputError, match="proposed values"):
        agent.ingest([{"x": 0.1, "y": 0.2, "f": 1.0, "x" + ASKED: asked, "y" + ASKED: 0.2}])
    assert agent.results == ()


class ByPosition(CoordinateScanAgent):
    """An agent that knows its proposals again by their positions alone."""

    def ingest(self, results: Any) -> None:
        super().ingest(
            [{k: v for k, v in result.items() if k != "_id" and not k.endswith(ASKED)} for result in results]
        )


def test_the_contract_finds_an_agent_that_binds_by_position() -> None:
    with pytest.raises(AssertionError, match="bind results to proposals by their '_id'"):
        check_agent(
            lambda vocs: ByPosition(VOCS(**vocs.model_dump()), points=7, span=0.05),
            objectives=False, no_objective=False, explore=False,
        )  # fmt: skip
