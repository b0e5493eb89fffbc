"""Search along linear combinations of motors, such as height and pitch, instead of single motors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import FloatArray, Space

__all__ = ["Coordinates"]


class Coordinates:
    """A linear transform of the motors, for example from up- and downstream jacks to height and pitch.

    Each searched coordinate is scaled to span 0 to 1 over the domain. A corner of the cube of searched coordinates may
    lie outside the domain; `unit` moves such points inside.

    Parameters
    ----------
    space : Space
    given : mapping of str to mapping of str to float
        Weights of each coordinate, which is the weighted sum of the motors in their own units, for example
        ``{"height": {"up": 0.5, "down": 0.5}, "pitch": {"up": 1.0, "down": -1.0}}``. A motor that has no weight in any
        coordinate is a coordinate itself.

    Raises
    ------
    BadInputError
        If a motor is unknown, discrete or on a logarithmic scale, or the transform is not invertible.
    """

    def __init__(self, space: Space, given: Mapping[str, Mapping[str, float]]) -> None:
        self.plain = not given
        """Whether the coordinates are the motors themselves."""
        used = {motor for weights in given.values() for motor in weights}
        if unknown := sorted(used - set(space.names)):
            raise BadInputError(f"coordinates name {unknown}, which are not variables: the variables are {space.names}")
        if fixed := sorted(used & set(space.choices)):
            raise BadInputError(f"coordinates name {fixed}, which are discrete: leave them out")
        if scaled := sorted(used & {name for name, log in zip(space.names, space.logarithmic, strict=True) if log}):
            raise BadInputError(f"coordinates name {scaled}, which have a logarithmic scale: leave them out")
        rows = {**{str(name): dict(weights) for name, weights in given.items()}}
        rows.update({name: {name: 1.0} for name in space.names if name not in used})
        self.names = list(rows)
        # In units of the domain, because ranges of 1e-9 beside 1e9 would hide that coordinates are independent.
        matrix = np.array([[float(w.get(name, 0.0)) for name in space.names] for w in rows.values()]) * space.span
        if zero := sorted(name for name, row in zip(rows, matrix, strict=True) if not row.any()):
            raise BadInputError(f"coordinates {zero} have no weight that is not 0: give each the motors that it moves")
        self._forward = matrix / np.abs(matrix).sum(axis=1, keepdims=True)
        if matrix.shape[0] != matrix.shape[1] or np.linalg.matrix_rank(self._forward) < len(matrix):
            raise BadInputError(
                f"the coordinates {sorted(given)} of the motors {sorted(used)} do not determine the motor positions: "
                "give as many independent coordinates as motors, none of them negligible over its range in all"
            )
        self._backward = np.linalg.inv(self._forward)

    def search(self, unit: FloatArray) -> FloatArray:
        """Searched coordinates, shape (n, d), of points in the unit cube of motors, shape (n, d)."""
        if self.plain:
            return unit
        points: FloatArray = 0.5 + (unit - 0.5) @ self._forward.T
        return points

    def of_one_motor(self, unit: FloatArray) -> FloatArray:
        """Searched coordinates of a motor that is a coordinate itself, shape (n,), at `unit`, shape (n,)."""
        return unit if self.plain else 0.5 + (unit - 0.5)

    def motors(self, points: FloatArray) -> FloatArray:
        """Coordinates of single motors, shape (n, d), of searched coordinates, shape (n, d); not moved inside."""
        if self.plain:
            return points
        units: FloatArray = 0.5 + (points - 0.5) @ self._backward.T
        return units

    def unit(self, points: FloatArray, centre: FloatArray) -> FloatArray:
        """Points in the unit cube of motors, shape (n, d), of searched coordinates, shape (n, d).

        A point outside the cube moves along the straight line to `centre`, shape (d,), a point inside the cube, up to
        a face of the cube. So a motor at its limit does not change the direction of the step.
        """
        if self.plain:
            return np.clip(points, 0.0, 1.0)
        inside = np.clip(self.motors(centre), 0.0, 1.0)
        step = self.motors(points) - inside
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(step > 0.0, (1.0 - inside) / step, np.where(step < 0.0, -inside / step, np.inf))
        share = np.minimum(room.min(axis=1), 1.0)
        units: FloatArray = np.clip(inside + share[:, None] * step, 0.0, 1.0)
        return units
