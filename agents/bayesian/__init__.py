"""Bayesian optimisation that begins where the beamline stands."""

from __future__ import annotations

from ebl_autonomy.agents.bayesian.agent import BayesianAgent
from ebl_autonomy.agents.bayesian.options import BayesianOptions

__all__ = ["BayesianAgent", "BayesianOptions"]
