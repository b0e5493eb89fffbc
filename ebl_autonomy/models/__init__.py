"""Numerics behind the agents: what a model must answer, and the engines that answer it."""

from __future__ import annotations

from ebl_autonomy.models.engine import Box, Engine, Goal, Observations

__all__ = ["Box", "Engine", "Goal", "Observations"]
