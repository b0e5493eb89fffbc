"""What decides: generators in the sense of gest-api, which know no device."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ebl_autonomy.agents.base import Agent, AgentOptions, Explains, MindsTravel, StartsHere, make_agent

if TYPE_CHECKING:
    from ebl_autonomy.agents.bayesian import BayesianAgent
    from ebl_autonomy.agents.coordinate_scan import CoordinateScanAgent
    from ebl_autonomy.agents.grid import GridAgent
    from ebl_autonomy.agents.sobol import SobolAgent

# Loaded when asked for: the Bayesian agent brings torch.
_HOME = {
    "BayesianAgent": "ebl_autonomy.agents.bayesian",
    "CoordinateScanAgent": "ebl_autonomy.agents.coordinate_scan",
    "GridAgent": "ebl_autonomy.agents.grid",
    "SobolAgent": "ebl_autonomy.agents.sobol",
}

__all__ = [
    "Agent",
    "AgentOptions",
    "BayesianAgent",
    "CoordinateScanAgent",
    "Explains",
    "GridAgent",
    "MindsTravel",
    "SobolAgent",
    "StartsHere",
    "make_agent",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ebl_autonomy.agents' has no attribute {name!r}")
