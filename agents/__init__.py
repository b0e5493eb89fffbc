"""Agents: gest-api generators that decide what to measure next and depend on no device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebl_autonomy.agents.base import (
    Agent,
    AgentOptions,
    BoundsAware,
    Explains,
    PositionAware,
    TravelAware,
    Withdraws,
    make_agent,
)
from ebl_autonomy.lazy import lazy_attributes

if TYPE_CHECKING:
    from ebl_autonomy.agents.bayesian import BayesianAgent
    from ebl_autonomy.agents.coordinate_scan import CoordinateScanAgent
    from ebl_autonomy.agents.grid import GridAgent
    from ebl_autonomy.agents.sobol import SobolAgent

# Loaded on demand, because the Bayesian agent can load torch.

__all__ = [
    "Agent",
    "AgentOptions",
    "BayesianAgent",
    "BoundsAware",
    "CoordinateScanAgent",
    "Explains",
    "GridAgent",
    "PositionAware",
    "SobolAgent",
    "TravelAware",
    "Withdraws",
    "make_agent",
]


__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "BayesianAgent": ".bayesian",
        "CoordinateScanAgent": ".coordinate_scan",
        "GridAgent": ".grid",
        "SobolAgent": ".sobol",
    },
)
