"""The cost of a point: the seconds until the motors arrive, plus those of the measurement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ebl_autonomy.agents.bayesian.coordinates import Coordinates
from ebl_autonomy.agents.bayesian.options import BayesianOptions
from ebl_autonomy.space import AxisTravel, FloatArray, Space, Travel

__all__ = ["TravelCost"]


class TravelCost:
    """Seconds to move to and measure the next point; see `ebl_autonomy.surrogates.base.SearchRegion.seconds`.

    Parameters
    ----------
    options : BayesianOptions
        Its `travel` and `measure_s` are used.
    space : Space
    coordinates : Coordinates
    centre : FloatArray, shape (d,)
        In searched coordinates. Points outside the domain are moved towards it; see `Coordinates.unit`.
    here : mapping of str to float
        Motor positions at the start of the next move, in motor units.
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
        """Seconds, shape (k,), of points X, shape (k, inputs), from `here` or from point `after`, shape (inputs,)."""
        here = self._here
        if after is not None:
            here = {name: float(stop[0]) for name, stop in self._stops(after[None]).items()}
        return self._measure_s + self._travel.seconds_each(here, self._stops(X))

    def _stops(self, X: FloatArray) -> dict[str, FloatArray]:
        """Positions of each motor, shape (k,), in motor units."""
        space = self._space
        units = self._coordinates.unit(X[:, : space.dim], self._centre)
        return dict(zip(space.names, space.values(units).T, strict=True))
