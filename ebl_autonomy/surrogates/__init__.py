"""Numerics behind the agents: what a model must answer, and the engines that answer it."""

from __future__ import annotations

from ebl_autonomy.lazy import public_dir
from ebl_autonomy.surrogates.base import (
    Diagnosis,
    Goal,
    InputLayout,
    Observations,
    SafetyLimits,
    SearchRegion,
    Surrogate,
)

__all__ = ["Diagnosis", "Goal", "InputLayout", "Observations", "SafetyLimits", "SearchRegion", "Surrogate"]

__dir__ = public_dir(__name__)
