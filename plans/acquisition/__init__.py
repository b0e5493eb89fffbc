"""How a proposal becomes rows: read at a point, measured by a user's stub, or flown along a line."""

from ebl_autonomy.lazy import public_dir
from ebl_autonomy.plans.acquisition.fly import FlyLine
from ebl_autonomy.plans.acquisition.lines import Snake, Stretch, Sweep
from ebl_autonomy.plans.acquisition.mixed import PointOrLine
from ebl_autonomy.plans.acquisition.point import AtPoint
from ebl_autonomy.plans.acquisition.protocol import Acquisition, Row
from ebl_autonomy.plans.acquisition.stub import Measure, UserStub

__all__ = [
    "Acquisition",
    "AtPoint",
    "FlyLine",
    "Measure",
    "PointOrLine",
    "Row",
    "Snake",
    "Stretch",
    "Sweep",
    "UserStub",
]

__dir__ = public_dir(__name__)
