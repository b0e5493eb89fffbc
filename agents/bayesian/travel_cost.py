"""What a point costs: the seconds until the motors have arrived, and those of the measurement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ebl_autonomy.agents.bayesian.coordinates import Coordinates
from ebl_autonomy.agents.bayesian.options import BayesianOptions
from ebl_autonomy.space import AxisTravel, FloatArray, Space, Travel

__all__ = ["TravelCost"]


class TravelCost:
    """Seconds to measure points next; see `ebl_autonomy.surrogates.base.SearchRegion.seconds`.

    Parameters
    ----------
    options : BayesianOptions
        `travel` and `measure_s` of it.
    space : Space
    coordinates : Coordinates
    centre : FloatArray, shape (d,)
        In searched coordinates: points outside the domain are moved towards it, see `Coordinates.unit`.
    here : mapping of str to float
        Where the motors will stand when the next move begins.
    """

    def __init__(
        self,
        options: BayesianOptions,
        space: Space,
        coordinates: Coordinates,
        centre: FloatArray,
        here: Mapping[str, Any],
    ) -> None:
        self._travel = Travel({name: AxisTravel(**axis) for name, axis in options.travel.items()})
        self._measure_s = options.measure_s
        self._space, self._coordinates, self._centre, self._here = space, coordinates, centre, here

    def __call__(self, X: FloatArray, after: FloatArray | None) -> FloatArray:
        """Of points, shape (k, inputs), from `here`, or from the point `after`, shape (inputs,), of the same batch."""
        here = self._here
        if after is not None:
            here = {name: float(stop[0]) for name, stop in self._stops(after[None]).items()}
        return self._measure_s + self._travel.seconds_each(here, self._stops(X))

    def _stops(self, X: FloatArray) -> dict[str, FloatArray]:
        """Positions by motor, shape (k,) each."""
        space = self._space
        units = self._coordinates.unit(X[:, : space.dim], self._centre)
        return dict(zip(space.names, np.asarray(space.low + units * (space.high - space.low)).T, strict=True))
