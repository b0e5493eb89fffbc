"""Agents: gest-api generators that decide what to measure next and depend on no device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebl_autonomy.agents.base import Agent, AgentOptions
from ebl_autonomy.agents.making import make_agent
from ebl_autonomy.agents.protocols import BoundsAware, Explains, PositionAware, Suspects, TravelAware, Withdraws
from ebl_autonomy.lazy import lazy_attributes

if TYPE_CHECKING:
    from ebl_autonomy.agents.bayesian import BayesianAgent, BayesianOptions
    from ebl_autonomy.agents.coordinate_scan import CoordinateScanAgent, CoordinateScanOptions
    from ebl_autonomy.agents.energy import EnergyAgent, EnergyOptions
    from ebl_autonomy.agents.grid import GridAgent, GridOptions
    from ebl_autonomy.agents.mapping import MappingAgent, MappingOptions
    from ebl_autonomy.agents.roi import ROIAgent, ROIOptions
    from ebl_autonomy.agents.sobol import SobolAgent

# Loaded on demand, because the Bayesian agent can load torch.

__all__ = [
    "Agent",
    "AgentOptions",
    "BayesianAgent",
    "BayesianOptions",
    "BoundsAware",
    "CoordinateScanAgent",
    "CoordinateScanOptions",
    "EnergyAgent",
    "EnergyOptions",
    "Explains",
    "GridAgent",
    "GridOptions",
    "MappingAgent",
    "MappingOptions",
    "PositionAware",
    "ROIAgent",
    "ROIOptions",
    "SobolAgent",
    "Suspects",
    "TravelAware",
    "Withdraws",
    "make_agent",
]


__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "BayesianAgent": ".bayesian",
        "BayesianOptions": ".bayesian",
        "CoordinateScanAgent": ".coordinate_scan",
        "CoordinateScanOptions": ".coordinate_scan",
        "EnergyAgent": ".energy",
        "EnergyOptions": ".energy",
        "GridAgent": ".grid",
        "GridOptions": ".grid",
        "MappingAgent": ".mapping",
        "MappingOptions": ".mapping",
        "ROIAgent": ".roi",
        "ROIOptions": ".roi",
        "SobolAgent": ".sobol",
    },
)
