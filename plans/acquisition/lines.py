"""Makers of lines: from the point that an agent proposes to the line that is flown there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.guard import Line
from ebl_autonomy.pixels import PixelGrid

__all__ = ["Snake", "Stretch", "Sweep"]

ROUNDING: Final = 1e-9
"""How far beyond the end of the map a line may stop because of rounding, as a share of the map's width."""


@dataclass(frozen=True)
class Sweep:
    """Turns a proposal into a line along one motor, between two positions or relative to the proposed position.

    Attributes
    ----------
    motor : str
    start, stop : float
        In motor units; relative to the proposed position if `relative`.
    rows : int
        Number of rows on the line.
    seconds : float
        Seconds from start to stop.
    relative : bool
        Whether `start` and `stop` are relative to the proposed position.

    Raises
    ------
    BadInputError
        If a number is out of range. On a call: if `relative` is set and the motor is not a variable.
    """

    motor: str
    start: float
    stop: float
    rows: int
    seconds: float
    relative: bool = False

    def __post_init__(self) -> None:
        if self.rows < 1 or not self.seconds > 0.0:
            raise BadInputError(
                f"a sweep of {self.rows} rows in {self.seconds} s: give at least one row and a positive time"
            )

    def __call__(self, point: Mapping[str, float]) -> Line:
        """The line of a proposed point."""
        if self.relative and self.motor not in point:
            raise BadInputError(
                f"relative=True: {self.motor!r} is not a variable of the VOCS, which has {sorted(point)}"
            )
        middle = point[self.motor] if self.relative else 0.0
        ends = {self.motor: middle + self.start}, {self.motor: middle + self.stop}
        return Line(*ends, rows=self.rows, seconds=self.seconds)


@dataclass(frozen=True)
class Snake:
    """Turns a proposed row of a map into a line over the whole row; each row is flown against the one below it.

    Attributes
    ----------
    x, y : str
        The flying motor, and the motor that stands still at the row's centre.
    grid : PixelGrid
        One reading for each pixel.
    dwell_s : float
        Seconds for each pixel.
    """

    x: str
    y: str
    grid: PixelGrid
    dwell_s: float

    @property
    def rows(self) -> int:
        """Number of readings of one line."""
        return self.grid.shape[1]

    def __call__(self, point: Mapping[str, float]) -> Line:
        """The line through the row of pixels at a proposed point."""
        row, _ = self.grid.indices([self.grid.centres_x[0]], [point[self.y]])
        low, high = self.grid.x
        start, stop = (low, high) if int(row[0]) % 2 == 0 else (high, low)
        return Line({self.x: start}, {self.x: stop}, rows=self.rows, seconds=self.rows * self.dwell_s)


@dataclass(frozen=True)
class Stretch:
    """Turns a proposal that has a length of its own into a line from the proposed position; a length of 0 is no line.

    Attributes
    ----------
    x : str
        The flying motor.
    length : str
        The variable that holds the signed length of the line, in units of `x`.
    step : float
        Length for one reading, in units of `x`.
    bounds : (low, high)
        The map's edges along `x`.
    dwell_s : float
        Seconds for each reading, if no variable gives it.
    dwell : str
        The variable that gives the seconds for each reading; empty if there is none.
    """

    x: str
    length: str
    step: float
    bounds: tuple[float, float]
    dwell_s: float
    dwell: str = ""

    def is_line(self, point: Mapping[str, float]) -> bool:
        """Whether a proposal is a line, and not a point."""
        return abs(point[self.length]) >= 0.5 * self.step

    def __call__(self, point: Mapping[str, float]) -> Line:
        """The line of a proposed point; of a proposal that is no line, one of a single reading."""
        length = point[self.length] if self.is_line(point) else self.step
        rows = max(1, round(abs(length) / self.step))
        start, low, high = point[self.x], *self.bounds
        stop = start + length
        slack = ROUNDING * (high - low)
        if low - slack <= stop <= high + slack:
            stop = min(max(stop, low), high)
        seconds = rows * (point[self.dwell] if self.dwell else self.dwell_s)
        return Line({self.x: start}, {self.x: stop}, rows=rows, seconds=seconds)
