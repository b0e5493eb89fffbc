"""Numerics behind the agents: what a model must answer, and the engines that answer it."""

from __future__ import annotations

from ebl_autonomy.models.engine import Box, Diagnosis, Engine, Goal, Hard, Inputs, Observations

__all__ = ["Box", "Diagnosis", "Engine", "Goal", "Hard", "Inputs", "Observations"]
