"""The mapping agent keeps the contract of all agents."""

import pytest

from ebl_autonomy.agents import MappingAgent
from ebl_autonomy.testing import check_agent


@pytest.mark.integration  # runs on all the problems
def test_the_agent_keeps_the_contract() -> None:
    check_agent(MappingAgent, constraints=False, discrete=False, contextual=True, log_scale=False, bounds=True)
