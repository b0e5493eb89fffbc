"""Gaussian processes on the nearest measured pixels of a map: the cost of a new point does not grow with the map."""

from ebl_autonomy.lazy import public_dir
from ebl_autonomy.surrogates.neighbours.field import NeighbourField

__all__ = ["NeighbourField"]

__dir__ = public_dir(__name__)
