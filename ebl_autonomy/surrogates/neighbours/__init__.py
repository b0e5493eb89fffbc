"""Gaussian processes on the nearest measured pixels of a map: the cost of a new point does not grow with the map."""

from ebl_autonomy.surrogates.neighbours.field import NeighbourField

__all__ = ["NeighbourField"]
