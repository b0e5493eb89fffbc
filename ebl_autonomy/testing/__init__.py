"""Contract suites for agents, devices and plans: those of this package keep them, and users can check their own."""

from __future__ import annotations

from ebl_autonomy.lazy import public_dir
from ebl_autonomy.testing.agents import check_agent
from ebl_autonomy.testing.devices import check_device
from ebl_autonomy.testing.measured import measured_file
from ebl_autonomy.testing.plans import check_plan, check_plan_signature
from ebl_autonomy.testing.problems import Problem, problems

__all__ = ["Problem", "check_agent", "check_device", "check_plan", "check_plan_signature", "measured_file", "problems"]

__dir__ = public_dir(__name__)
