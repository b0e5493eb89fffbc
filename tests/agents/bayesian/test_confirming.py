"""A reading that would be the best, if it were true, is measured again before anybody is sent there."""

from typing import Any

import numpy as np
import pytest

from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.agents.bayesian.confirming import row_to_confirm

pytestmark = pytest.mark.integration

ONE: dict[str, Any] = {"variables": {"x": [-1.0, 1.0], "y": [-1.0, 1.0]}, "objectives": {"f": "MAXIMIZE"}}
AT = {"x": -0.8, "y": 0.7}


def hill(point: dict[str, Any]) -> float:
    return float(10.0 + np.exp(-0.5 * ((point["x"] - 0.4) ** 2 + (point["y"] + 0.3) ** 2) / 0.5**2))


def searched(seed: int, **options: Any) -> BayesianAgent:
    """An agent that knows the hill, with a little noise."""
    rng = np.random.default_rng(seed)
    agent = BayesianAgent(ONE, seed=seed, **options)
    for _ in range(30):
        x, y = rng.uniform(-1.0, 1.0, 2)
        point = {"x": float(x), "y": float(y)}
        agent.ingest([{**point, "f": hill(point) + 0.01 * rng.standard_normal()}])
    return agent


@pytest.mark.parametrize("seed", range(3))
def test_a_glitch_is_measured_again_once_and_never_recommended(seed: int) -> None:
    agent = searched(seed)
    agent.ingest([{**AT, "f": 30.0}])
    assert "row 30: 30 measured" in str(agent.explain())
    assert hill(agent.best().point) > 10.7
    (again,) = agent.suggest(1)
    assert {name: again[name] for name in AT} == pytest.approx(AT)
    assert agent.decisions()[0].reason.startswith("row 30 once more: f 30 measured")
    (other,) = agent.suggest(1)  # while that one is pending
    assert other["x"] != pytest.approx(AT["x"])
    agent.ingest([{**again, "f": hill(again)}])
    (next_one,) = agent.suggest(1)
    assert not agent.decisions()[0].reason.startswith("row")
    assert next_one["x"] != pytest.approx(AT["x"])
    assert agent.best().outcome["f"] < 11.2


def test_suspects_are_told_by_number_and_are_not_the_best_elsewhere() -> None:
    assert BayesianAgent(ONE).suspects() == {}
    agent = searched(0)
    assert agent.suspects() == {}
    agent.ingest([{**AT, "f": 30.0}])
    assert agent.suspects() == {"f": [30]}
    elsewhere = agent.explain().elsewhere
    assert elsewhere is not None
    assert elsewhere.best < 11.2


def test_another_value_without_order_is_elsewhere() -> None:
    wheel = {"type": "DiscreteVariable", "values": range(1, 7), "ordered": False}
    agent = BayesianAgent({"variables": {"wheel": wheel}, "objectives": {"f": "MAXIMIZE"}}, seed=0)
    for value, read in zip(range(1, 7), (0.2, 0.9, 0.1, 0.5, 0.3, 0.0), strict=True):
        agent.ingest([{"wheel": value, "f": read}])
    told = agent.explain()
    assert told.elsewhere is not None
    assert (told.elsewhere.results, told.elsewhere.best) == (5, 0.5)
    assert "5 of 6 results lie more than a quarter of the domain away, or at another value of wheel," in str(told)


def test_a_glitch_is_not_on_the_front() -> None:
    rng = np.random.default_rng(5)
    agent = BayesianAgent({**ONE, "objectives": {"f": "MAXIMIZE", "g": "MINIMIZE"}}, seed=5)
    for i in range(30):
        x, y = rng.uniform(-1.0, 1.0, 2)
        point = {"x": float(x), "y": float(y)}
        agent.ingest([{**point, "f": 30.0 if i == 20 else hill(point), "g": 1.0 + (x - 0.1) ** 2 + 0.5 * y**2}])
    assert agent.suspects() == {"f": [20]}
    assert max(one.outcome["f"] for one in agent.front()) < 11.2
    assert agent.best().outcome["f"] < 11.2


@pytest.mark.parametrize("seed", range(3))
def test_a_peak_that_is_confirmed_is_the_best(seed: int) -> None:
    agent = searched(seed)
    agent.ingest([{**AT, "f": 30.0}])
    (again,) = agent.suggest(1)
    agent.ingest([{**again, "f": 30.1}])
    assert not {30, 31} & set(agent._state.suspects)
    assert agent.best().outcome["f"] >= 30.0


def test_a_glitch_downwards_is_not_worth_a_measurement() -> None:
    agent = searched(0)
    agent.ingest([{**AT, "f": -20.0}])
    assert list(agent._state.suspects) == [30]
    assert row_to_confirm(agent._state, np.empty((0, 2))) is None
    agent.suggest(1)
    assert "once more" not in agent.decisions()[0].reason


def test_nothing_is_confirmed_under_hard_limits() -> None:
    agent = searched(0, hard={"f": ["GREATER_THAN", 0.0]})
    agent.ingest([{**AT, "f": 30.0}])
    agent.suggest(1)
    assert "once more: f" not in agent.decisions()[0].reason
