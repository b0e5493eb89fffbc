"""Plans for the RunEngine: `optimize`, `explore`, `go_to_best`, and the stubs and acquisitions in them."""

from ebl_autonomy.guard import Envelope, Line
from ebl_autonomy.lazy import public_dir
from ebl_autonomy.plans.acquisition import Acquisition, AtPoint, FlyLine, PointOrLine, Snake, Stretch, Sweep, UserStub
from ebl_autonomy.plans.best_point import go_to_best
from ebl_autonomy.plans.exploration import explore
from ebl_autonomy.plans.optimization import OptimizeResult, optimize
from ebl_autonomy.plans.result import RunResult
from ebl_autonomy.plans.setup import prepare
from ebl_autonomy.plans.steered_run import steer
from ebl_autonomy.plans.stubs import make_gate, move_motors, trigger_detectors
from ebl_autonomy.plans.thinking import think
from ebl_autonomy.steering import Until

__all__ = [
    "Acquisition",
    "AtPoint",
    "Envelope",
    "FlyLine",
    "Line",
    "OptimizeResult",
    "PointOrLine",
    "RunResult",
    "Snake",
    "Stretch",
    "Sweep",
    "Until",
    "UserStub",
    "explore",
    "go_to_best",
    "make_gate",
    "move_motors",
    "optimize",
    "prepare",
    "steer",
    "think",
    "trigger_detectors",
]

__dir__ = public_dir(__name__)
