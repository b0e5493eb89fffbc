"""An agent is a function of its configuration, pasts and results, however they were added; see decision 3."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ebl_autonomy.agents import BayesianAgent

SQUARE: dict[str, Any] = {"x": [-1.0, 1.0], "y": [-1.0, 1.0]}
ONE: dict[str, Any] = {"variables": SQUARE, "objectives": {"f": "MINIMIZE"}}
TIMED: dict[str, Any] = {**ONE, "observables": ["hours"]}
CONTEXT: dict[str, Any] = {"variables": {**SQUARE, "current": "CONTEXTUAL"}, "objectives": {"f": "MINIMIZE"}}
TURNED = {"a": {"x": 1.0, "y": 1.0}, "b": {"x": 1.0, "y": -1.0}}


def measured(point: dict[str, Any], i: int) -> dict[str, Any]:
    x, y = point["x"], point["y"]
    return {
        **point,
        "f": (x - 0.4) ** 2 + 2.0 * (y + 0.3) ** 2 + 0.05 * math.sin(3.0 * i),
        "hours": math.nan if i % 5 == 3 else 0.1 * i + 0.01 * i * i,
        "current": math.nan if i % 6 == 4 else 400.0 - 3.0 * i,
    }


def past() -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    return [measured({"x": float(x), "y": float(y)}, 0) for x, y in rng.uniform(-1.0, 1.0, (20, 2))]


Making = Callable[[], BayesianAgent]


def with_past() -> BayesianAgent:
    agent = BayesianAgent(ONE, seed=0)
    agent.ingest_prior(past(), "before")
    return agent


MAKE: dict[str, Making] = {
    "plain": lambda: BayesianAgent(ONE, seed=0),
    "context": lambda: BayesianAgent(CONTEXT, seed=0),
    "clock": lambda: BayesianAgent(TIMED, seed=0, drift="on", clock="hours"),
    "coordinates": lambda: BayesianAgent(ONE, seed=0, coordinates=TURNED),
    "past": with_past,
    "hard": lambda: BayesianAgent(ONE, seed=0, hard={"f": ["LESS_THAN", 4.0]}),
    "two objectives": lambda: BayesianAgent(
        {**ONE, "objectives": {"f": "MINIMIZE", "hours": "MAXIMIZE"}}, seed=0, look_around=0.2
    ),
}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", sorted(MAKE))
def test_the_same_results_lead_to_the_same_proposal(kind: str, batch: int) -> None:
    lived = MAKE[kind]()
    results: list[dict[str, Any]] = []
    for _ in range(24 // batch):
        points = lived.suggest(batch)
        lived.predict(points)  # predictions change nothing
        new = [measured(point, len(results) + i) for i, point in enumerate(points)]
        lived.ingest(new)
        results += new
    replayed = MAKE[kind]()
    replayed.ingest(results)
    assert replayed.suggest(1) == lived.suggest(1)


def test_results_may_come_while_others_are_out() -> None:
    lived = BayesianAgent(ONE, seed=0)
    out = lived.suggest(9)
    lived.ingest([measured(point, i) for i, point in enumerate(out[:2])])
    lived.suggest(1)
    lived.ingest([measured(point, 2 + i) for i, point in enumerate(out[2:])])
    replayed = BayesianAgent(ONE, seed=0)
    replayed.ingest([measured(point, i) for i, point in enumerate(out)])
    (pending,) = lived.pending
    replayed._pending.append(dict(pending))
    assert replayed.suggest(1) == lived.suggest(1)


@pytest.mark.parametrize("kind", ["context", "clock"])
def test_what_was_not_measured_once_does_no_harm(kind: str) -> None:
    agent = MAKE[kind]()
    for i in range(25):
        agent.ingest([measured(agent.suggest(1)[0], i)])
    assert agent.best().outcome["f"] < 0.1
    assert all(math.isfinite(value) for value in agent.best().mean.values())
