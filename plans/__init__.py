"""What the RunEngine runs: plans that ask, move, read and tell, and the stubs that they are made of."""

from ebl_autonomy.guard import Envelope
from ebl_autonomy.lazy import public_dir
from ebl_autonomy.plans.optimization import OptimizeResult, optimize
from ebl_autonomy.plans.setup import prepare
from ebl_autonomy.plans.stopping import Until
from ebl_autonomy.plans.stubs import move_motors, think, trigger_detectors

__all__ = ["Envelope", "OptimizeResult", "Until", "move_motors", "optimize", "prepare", "think", "trigger_detectors"]

__dir__ = public_dir(__name__)
