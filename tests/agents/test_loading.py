"""The import of an agent loads only the modules that this agent needs."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration  # starts processes


@pytest.mark.parametrize(
    "statement",
    [
        "from ebl_autonomy.agents import SobolAgent, GridAgent, CoordinateScanAgent, Agent, Withdraws",
        "from ebl_autonomy.agents import BayesianOptions, CoordinateScanOptions, GridOptions",
        "from ebl_autonomy.agents.bayesian import BayesianOptions",
        "from ebl_autonomy.agents.bayesian.prior_mean import LABEL",
    ],
)
def test_agents_without_a_model_load_neither_torch_nor_numba(statement: str) -> None:
    code = f"{statement}\nimport sys\nassert not {{'torch', 'numba', 'tiled', 'httpx'}} & set(sys.modules), 'loaded'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


def test_the_bayesian_agent_is_found_by_its_entry_point_and_its_package() -> None:
    from ebl_autonomy import registry
    from ebl_autonomy.agents import BayesianAgent, bayesian

    assert registry.load(registry.AGENTS, "bayesian") is bayesian.BayesianAgent is BayesianAgent
    assert BayesianAgent.Options is bayesian.BayesianOptions
    assert dir(bayesian) == ["BayesianAgent", "BayesianOptions"]


def test_the_options_of_each_agent_are_imported_from_where_their_docstrings_say() -> None:
    from ebl_autonomy import agents, registry

    for name in registry.names(registry.AGENTS):
        agent = registry.load(registry.AGENTS, name)
        options = agent.Options.__name__
        assert getattr(agents, options) is agent.Options
        assert options in agents.__all__
        if agent.Options is not agents.AgentOptions:
            assert f"`ebl_autonomy.agents.{options}`" in agent.__doc__
            assert "import it from ``ebl_autonomy.agents``" in agent.Options.__doc__
