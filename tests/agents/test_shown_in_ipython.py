"""What IPython shows of an agent: one line, and the explanation in words."""

from typing import Any

import pytest
from IPython.lib.pretty import pretty

from ebl_autonomy.agents import Agent, BayesianAgent, CoordinateScanAgent, GridAgent, SobolAgent

AGENTS: list[type[Agent]] = [BayesianAgent, CoordinateScanAgent, GridAgent, SobolAgent]


@pytest.mark.parametrize("kind", AGENTS)
def test_an_agent_is_one_line_with_its_variables_objectives_and_results(kind: type[Agent]) -> None:
    vocs = {"variables": {"x": [0, 1], "y": [0, 1]}, "objectives": {"f": "MAXIMIZE"}}
    agent = kind(vocs)
    assert pretty(agent) == repr(agent) == f"<{kind.__name__}: maximize f over x, y; 0 results>"
    (first,) = agent.suggest(1)
    assert repr(agent).endswith("; 0 results, 1 pending>")
    agent.ingest([{**first, "f": 1.0}])
    assert repr(agent).endswith("; 1 results>")


def test_an_agent_of_many_motors_is_still_one_line() -> None:
    vocs: dict[str, Any] = {
        "variables": {f"motor_{i}": [0, 1] for i in range(12)},
        "objectives": {"size": "MINIMIZE", "flux": "MAXIMIZE"},
        "constraints": {"total": ["GREATER_THAN", 0.0]},
    }
    assert repr(BayesianAgent(vocs)) == (
        "<BayesianAgent: minimize size and maximize flux over motor_0, motor_1, motor_2, 9 more under total; 0 results>"
    )


def test_an_explanation_is_shown_in_words() -> None:
    agent = BayesianAgent({"variables": {"x": [0, 1]}, "objectives": {"f": "MINIMIZE"}})
    agent.ingest([{"x": x, "f": (x - 0.3) ** 2} for x in (0.0, 0.2, 0.5, 0.9)])
    assert pretty(agent.explain()) == str(agent.explain())
