"""Fly lines from a path that is described with scanspec, e.g. the snake of a raster."""

import math
from typing import Any, Final

import numpy as np

from ebl_autonomy.errors import BadInputError, EblError
from ebl_autonomy.guard import Line

__all__ = ["lines_of"]

ROUNDING: Final = 1e-9
"""Relative difference of two sections of a line that counts as rounding."""


def lines_of(spec: Any, seconds_per_row: float | None = None) -> list[Line]:
    """The straight lines of a path, in their order.

    A line ends where the path jumps. Each line names all motors of the path, also those that stand still on it, so that
    preparing a flyer for it moves them to their places.

    Parameters
    ----------
    spec : scanspec.specs.Spec
        Its axes are names of motors, e.g. ``Fly(0.03 @ (Linspace("y", 0, 9, 10) * ~Linspace("x", 0, 9, 10)))``.
    seconds_per_row : float, optional
        For a path that gives its points no duration.

    Returns
    -------
    list of Line

    Raises
    ------
    BadInputError
        If the spec is no path, its points have no duration, or it is curved or changes its speed without a gap.
    EblError
        If scanspec is not installed.
    """
    try:
        from scanspec.core import Path
        from scanspec.specs import Spec
    except ImportError:
        raise EblError("paths need scanspec, which is not installed: pip install 'ebl-autonomy[ophyd-async]'") from None
    if not isinstance(spec, Spec):
        raise BadInputError(f"{spec!r} is no path: give a Spec of scanspec")
    if seconds_per_row is not None and not 0.0 < seconds_per_row < math.inf:
        raise BadInputError(f"seconds_per_row={seconds_per_row!r}: give a positive number of seconds")
    frames = Path(spec.calculate(bounds=True)).consume()
    names = [str(name) for name in frames.midpoints]
    lower, upper = (np.array([ends[name] for name in frames.midpoints]).T for ends in (frames.lower, frames.upper))
    given = frames.duration
    if given is None and seconds_per_row is None:
        raise BadInputError("the points of the path have no duration: give seconds_per_row, or durations to the spec")
    seconds = np.full(len(lower), seconds_per_row) if given is None else np.asarray(given, dtype=float)
    begins = [0, *(int(i) for i in np.flatnonzero(frames.gap) if i > 0)]
    lines = []
    for first, end in zip(begins, [*begins[1:], len(lower)], strict=True):
        _check_straight(names, (upper - lower)[first:end], seconds[first:end])
        start, stop = (dict(zip(names, map(float, ends), strict=True)) for ends in (lower[first], upper[end - 1]))
        lines.append(Line(start, stop, rows=end - first, seconds=float(seconds[first:end].sum())))
    return lines


def _check_straight(names: list[str], sections: Any, seconds: Any) -> None:
    """Check that all sections of a line have one length, one direction and one duration."""
    scale = float(np.abs(sections).max())
    same = np.all(np.abs(sections - sections[0]) <= ROUNDING * max(scale, 1.0)) and np.allclose(seconds, seconds[0])
    if not same or scale == 0.0:
        raise BadInputError(
            f"the path of {names} is curved, changes its speed, or stands still: describe straight lines, as "
            "Linspace does"
        )
