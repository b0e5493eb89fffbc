"""Bayesian optimisation that begins where the beamline stands."""

from __future__ import annotations

from ebl_autonomy.agents.bayesian.agent import BayesianAgent
from ebl_autonomy.agents.bayesian.options import BayesianOptions
from ebl_autonomy.lazy import public_dir

__all__ = ["BayesianAgent", "BayesianOptions"]

__dir__ = public_dir(__name__)
