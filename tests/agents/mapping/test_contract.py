"""The mapping agent keeps the contract of all agents."""

from ebl_autonomy.agents import MappingAgent
from ebl_autonomy.testing import check_agent


def test_the_agent_keeps_the_contract() -> None:
    check_agent(MappingAgent, constraints=False, discrete=False, contextual=True, log_scale=False, bounds=True)
