"""How far from its target a motor may stand when a point is measured."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from bluesky.protocols import NamedMovable
from bluesky.utils import MsgGenerator

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans.devices import read_resolution, read_tolerance
from ebl_autonomy.space import Space

__all__ = ["Tolerances", "check_tolerances", "find_tolerances"]

logger = logging.getLogger(__name__)

SHARE: Final = 0.01
"""Tolerance of a motor that tells none, as a share of its variable's domain, on the variable's scale."""
GAP_SHARE: Final = 0.25
"""Largest tolerance that is not given by the user, as a share of the smallest gap between two discrete values."""
PIXEL_SHARE: Final = 0.5
"""Tolerance of a motor that tells none, as a share of the pixels of its map: a reading counts where it was read."""


@dataclass(frozen=True)
class Tolerances:
    """Largest distances of motors from their targets. A motor that is in neither mapping is not checked.

    Attributes
    ----------
    fixed : dict of str to float
        In motor units.
    shares : dict of str to float
        Of variables on a logarithmic scale: as a share of the target, whose size differs by decades.
    """

    fixed: dict[str, float] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)

    def of(self, name: str, target: float) -> float | None:
        """The tolerance of a motor that is sent to `target`, in motor units; None if it is not checked."""
        if name in self.shares:
            return self.shares[name] * abs(target)
        return self.fixed.get(name)

    def at(self, point: Mapping[str, float]) -> dict[str, float]:
        """The tolerance of each motor that is checked, at the targets of `point`, in motor units."""
        found = {name: self.of(name, target) for name, target in point.items()}
        return {name: tolerance for name, tolerance in found.items() if tolerance is not None}


def check_tolerances(given: Any, motors: Mapping[str, Any], space: Space) -> dict[str, float]:
    """The user's tolerances, by motor name, in motor units.

    Raises
    ------
    BadInputError
        If `given` is not a mapping of motor names to positive numbers, or a tolerance is so large that two values of a
        discrete variable cannot be told apart.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise BadInputError(f"position_tolerance={given!r:.80}: give a mapping of motor names to positive numbers")
    if unknown := [name for name in given if name not in motors]:
        raise BadInputError(f"position_tolerance names {unknown}, which are not among the motors {list(motors)}")
    for name, tolerance in given.items():
        if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0.0 < tolerance < math.inf:
            raise BadInputError(
                f"position_tolerance of {name!r} is {tolerance!r}: give a positive number, in the motor's unit"
            )
        gap = _smallest_gap(space, name)
        if gap is not None and 2.0 * tolerance >= gap:
            raise BadInputError(
                f"position_tolerance of {name!r} is {tolerance!r}, but two of its values are only {gap} apart: give "
                f"less than {gap / 2.0}"
            )
    return {name: float(tolerance) for name, tolerance in given.items()}


def find_tolerances(
    motors: Mapping[str, NamedMovable[Any]],
    space: Space,
    given: Mapping[str, float],
    pixels: Mapping[str, float] | None = None,
) -> MsgGenerator[Tolerances]:
    """The tolerance of each motor: as given, or the motor's own, or a small share of the variable's domain.

    Of a variable on a logarithmic scale it is the same share of that scale, and so at each target a share of the
    target. Of an axis of a map it is half a pixel, or the steps in which the motor moves if they are coarser. A motor
    that is no variable and tells no tolerance has none, and its position is not checked.

    Parameters
    ----------
    pixels : mapping of str to float, optional
        Size of the pixels along each axis of a map, in motor units.
    """
    found, pixels = Tolerances(), pixels or {}
    for name, motor in motors.items():
        if name in given:
            found.fixed[name] = given[name]
            continue
        low, high = _domain(space, name)
        own = yield from read_tolerance(motor, max(abs(low), abs(high)))
        if name in pixels:
            found.fixed[name] = yield from _within_pixel(name, motor, own, pixels[name])
            continue
        if own is None and name not in space.names:
            continue
        if own is None and _is_logarithmic(space, name):
            found.shares[name] = min((high / low) ** SHARE - 1.0, _most_share(space, name))
            continue
        gap = _smallest_gap(space, name)
        most = math.inf if gap is None else GAP_SHARE * gap
        found.fixed[name] = min(SHARE * (high - low) if own is None else own, most)
    return found


def _within_pixel(name: str, motor: NamedMovable[Any], own: float | None, pixel: float) -> MsgGenerator[float]:
    """The tolerance along an axis of a map; one that cannot tell its pixels apart is logged."""
    half = PIXEL_SHARE * pixel
    steps = yield from read_resolution(motor)
    tolerance = max(half, steps or 0.0) if own is None else own
    if tolerance > half:
        told = f"moves in steps of {steps:.6g}" if own is None else f"has arrived within {own:.6g} of its target"
        logger.warning(
            "%s %s, and the pixels of the map are %.6g: readings count for the pixel where they were read, so that "
            "some pixels may stay unmeasured; a larger step fits the motor",
            name,
            told,
            pixel,
        )
    return tolerance


def _is_logarithmic(space: Space, name: str) -> bool:
    return bool(space.logarithmic[space.names.index(name)])


def _most_share(space: Space, name: str) -> float:
    """Like `GAP_SHARE`, as a share of the target: the nearest other value lies below it."""
    if name not in space.choices:
        return math.inf
    values = np.asarray(space.choices[name], float)
    return GAP_SHARE * float(np.min(np.diff(values) / values[1:]))


def _domain(space: Space, name: str) -> tuple[float, float]:
    if name not in space.names:
        return 0.0, 0.0
    i = space.names.index(name)
    return float(space.low[i]), float(space.high[i])


def _smallest_gap(space: Space, name: str) -> float | None:
    return float(np.min(np.diff(space.choices[name]))) if name in space.choices else None
