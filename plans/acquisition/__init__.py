"""One room for the ways in which a proposal becomes rows: at a point, by the user's own stub, along a flown line."""

from ebl_autonomy.lazy import public_dir
from ebl_autonomy.plans.acquisition.fly import FlyLine
from ebl_autonomy.plans.acquisition.point import AtPoint
from ebl_autonomy.plans.acquisition.protocol import Acquisition, Row
from ebl_autonomy.plans.acquisition.stub import Measure, UserStub

__all__ = ["Acquisition", "AtPoint", "FlyLine", "Measure", "Row", "UserStub"]

__dir__ = public_dir(__name__)
