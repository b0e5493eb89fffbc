"""Plans for the RunEngine: of optimization, maps, surveys and spectra, and the stubs and acquisitions in them."""

from ebl_autonomy.guard import Envelope, Line
from ebl_autonomy.lazy import public_dir
from ebl_autonomy.plans.acquisition import Acquisition, AtPoint, FlyLine, PointOrLine, Snake, Stretch, Sweep, UserStub
from ebl_autonomy.plans.best_point import go_to_best
from ebl_autonomy.plans.characterisation import CharacteriseResult, PhaseMap, characterise
from ebl_autonomy.plans.exploration import explore
from ebl_autonomy.plans.mapping import adaptive_map
from ebl_autonomy.plans.optimization import OptimizeResult, optimize
from ebl_autonomy.plans.realignment import Realign
from ebl_autonomy.plans.result import RunResult
from ebl_autonomy.plans.setup import prepare
from ebl_autonomy.plans.spectrum import adaptive_spectrum
from ebl_autonomy.plans.steered_run import steer
from ebl_autonomy.plans.stubs import make_gate, move_motors, trigger_detectors
from ebl_autonomy.plans.survey import SurveyResult, roi_survey
from ebl_autonomy.plans.thinking import think
from ebl_autonomy.steering import Until

__all__ = [
    "Acquisition",
    "AtPoint",
    "CharacteriseResult",
    "Envelope",
    "FlyLine",
    "Line",
    "OptimizeResult",
    "PhaseMap",
    "PointOrLine",
    "Realign",
    "RunResult",
    "Snake",
    "Stretch",
    "SurveyResult",
    "Sweep",
    "Until",
    "UserStub",
    "adaptive_map",
    "adaptive_spectrum",
    "characterise",
    "explore",
    "go_to_best",
    "make_gate",
    "move_motors",
    "optimize",
    "prepare",
    "roi_survey",
    "steer",
    "think",
    "trigger_detectors",
]

__dir__ = public_dir(__name__)
