"""Steering: a session asks an agent, admits its proposals, reports results to it, stops, and can be restored.

`SteeringSession` depends on no RunEngine and no device: plans, services and tests drive the same object.
`restore_session` makes a session from a run in Tiled, `restore_agent` its agent alone.
"""

from ebl_autonomy.lazy import public_dir
from ebl_autonomy.steering.proposal import Proposal
from ebl_autonomy.steering.restoring import restore_agent, restore_session
from ebl_autonomy.steering.session import SteeringSession
from ebl_autonomy.steering.stopping import StopRules, Until

__all__ = ["Proposal", "SteeringSession", "StopRules", "Until", "restore_agent", "restore_session"]

__dir__ = public_dir(__name__)
