"""The guard: every motor move passes its gate, which enforces the user's envelope and the budgets."""

from ebl_autonomy.guard.dose import DoseCount
from ebl_autonomy.guard.envelope import Envelope, Interval, Region
from ebl_autonomy.guard.gate import Gate, Rule
from ebl_autonomy.guard.moves import AdmittedMove, Line, Move, watch_admissions
from ebl_autonomy.lazy import public_dir

__all__ = [
    "AdmittedMove",
    "DoseCount",
    "Envelope",
    "Gate",
    "Interval",
    "Line",
    "Move",
    "Region",
    "Rule",
    "watch_admissions",
]

__dir__ = public_dir(__name__)
