"""The choice of the next points and lines, and of their dwell times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from scipy.ndimage import distance_transform_edt

from ebl_autonomy.agents.mapping.gain import Gains
from ebl_autonomy.agents.mapping.lines import Segment, best_segments
from ebl_autonomy.agents.mapping.options import MappingOptions
from ebl_autonomy.agents.mapping.setup import Setup
from ebl_autonomy.space import Travel
from ebl_autonomy.surrogates.neighbours import NeighbourField

__all__ = ["Choice", "Chooser"]

NEAR_BEST: Final = 256
"""The points of most worth, among which the one of most worth per second is proposed."""
POOLED: Final = 2.0
"""Largest ratio of a measurement's noise variance to the variance that it should explain. Only a few neighbours are
averaged, so no number of shorter dwell times makes up for it."""
DWELLS: Final = 25
"""Dwell times that are weighed."""
EVERY: Final = 10
"""One of so many points goes into the largest gap, whatever is expected there: a small region that no point has hit
is in no model."""
LEAST_PIXELS: Final = 2
"""Pixels of the shortest line."""


@dataclass(frozen=True)
class Choice:
    """A point or a line, in pixels.

    Attributes
    ----------
    pixel : int
        The point, or the first pixel of the line.
    length : int
        Number of the line's pixels; negative towards smaller columns; 0 for a point.
    dwell_s : float, optional
        Dwell time of each pixel, if the agent chooses it.
    worth : float
        Value of the acquisition function.
    fills : bool
        Whether it is there to fill a gap.
    """

    pixel: int
    length: int = 0
    dwell_s: float | None = None
    worth: float = math.nan
    fills: bool = False

    def pixels(self) -> np.ndarray:
        """All its pixels, in order."""
        if not self.length:
            return np.array([self.pixel])
        return self.pixel + np.arange(abs(self.length)) * (1 if self.length > 0 else -1)

    def known(self, field: NeighbourField) -> np.ndarray:
        """Those of its pixels that are on the lattice of a field, in order: the others are predicted on request only.

        At least one of a choice that was made on the lattice.
        """
        pixels = self.pixels()
        return np.asarray(pixels[pixels % field.shape[1] % field.stride == 0])


class Chooser:
    """Chooses what is worth the most, per second if the speeds of the motors are known.

    Parameters
    ----------
    options : MappingOptions
    setup : Setup
    travel : Travel
        Without axes, all moves take the same time.
    columns : (int, int)
        The first and the last column that may be measured.
    """

    def __init__(self, options: MappingOptions, setup: Setup, travel: Travel, columns: tuple[int, int]) -> None:
        self._options, self._setup, self._travel, self._columns = options, setup, travel, columns
        low, high = setup.dwells or (1.0, 1.0)
        self._dwell_s = math.sqrt(low * high)
        """The dwell time of a point as long as nothing is known."""
        axis = travel.axes.get(setup.axes[0])
        fastest = setup.grid.step[0] / axis.velocity if axis else 0.0
        self._line_dwell_s = min(max(low, fastest), high) if setup.dwells else max(options.measure_s, fastest)
        """Seconds per pixel of a line, as fast as the motor and the detector go: what is missed is measured later."""
        self._dwells = np.geomspace(low, high, DWELLS)

    def point(self, choice: Choice) -> dict[str, float]:
        """A choice as values of the variables, in motor units."""
        grid = self._setup.grid
        row, column = divmod(choice.pixel, grid.shape[1])
        name_x, name_y = self._setup.axes
        x = float(grid.centres_x[column])
        if choice.length:
            x = float(grid.edges_x[column if choice.length > 0 else column + 1])
        point = {name_x: x, name_y: float(grid.centres_y[row])}
        if self._options.dwell:
            default = self._line_dwell_s if choice.length else self._dwell_s
            point[self._options.dwell] = choice.dwell_s or default
        if self._options.line:
            end = column + choice.length + (0 if choice.length >= 0 else 1)
            point[self._options.line] = float(grid.edges_x[end]) - x if choice.length else 0.0
        return point

    def seconds(self, choices: Sequence[Choice]) -> float:
        """Duration of a series of choices; infinite with lines that are not asked for or too long."""
        total, here = 0.0, None
        for choice in choices:
            there = self.point(choice)
            if choice.length and not self._line_allowed(there):
                return math.inf
            total += (self._travel.seconds(here, there) if here else 0.0) + self._measure_s(choice)
            name_x, _ = self._setup.axes
            here = {**there, name_x: there[name_x] + there.get(self._options.line or "", 0.0)}
        return total

    def choose(
        self,
        field: NeighbourField,
        count: int,
        free: np.ndarray,
        failed: np.ndarray,
        taken: Sequence[Choice],
        here: Mapping[str, Any] | None,
        number: int,
    ) -> list[Choice]:
        """The next points and lines; fewer than `count` if the lattice of the field has no more free pixels.

        Parameters
        ----------
        field : NeighbourField
            Up to date.
        count : int
        free, failed : ndarray of bool, shape (pixels,)
            The pixels that may be proposed, and those where nothing valid was measured.
        taken : sequence of Choice
            What will be measured before.
        here : mapping, optional
            Where the motors will be then, in motor units.
        number : int
            Of the first choice: every `EVERY`-th goes into the largest gap.
        """
        options = self._options
        gains = Gains(field, self._setup.weights, self._dwell_s, options.aim, self._setup.thresholds)
        if failed.any():
            away = distance_transform_edt(~failed.reshape(field.shape), sampling=field.step[::-1])
            gains.doubt(field.on_lattice(away.ravel()))
        gains.forbid(free)
        for choice in taken:
            gains.claim(choice.pixel, choice.length)
        found: list[Choice] = []
        while len(found) < count:
            fill = (number + len(found)) % EVERY == 0 and self._setup.lines is None  # lines leave no such gaps
            point = self._best_point(gains, gains.gaps if fill else gains.worth, here)
            if point is None:
                break
            choice = self._better_line(gains, point, here) or point
            if options.dwell:
                choice = replace(choice, dwell_s=self._dwell_of(field, choice, here))
            found.append(choice)
            gains.claim(choice.pixel, choice.length)
            there = self.point(choice)
            here = {**there, self._setup.axes[0]: there[self._setup.axes[0]] + there.get(options.line or "", 0.0)}
        return found

    # -- points ------------------------------------------------------------------------------------------------

    def _best_point(self, gains: Gains, each: np.ndarray, here: Mapping[str, Any] | None) -> Choice | None:
        worth = each.ravel()
        best = int(np.argmax(worth))
        if not worth[best] > 0.0:
            return None
        if self._travel.axes and here is not None:
            size = min(NEAR_BEST, len(worth))
            near = np.sort(np.argpartition(-worth, size - 1)[:size])
            near = near[worth[near] > 0.0]
            stops = self._centres(np.array([gains.pixel(flat) for flat in near]))
            seconds = self._travel_s(here, stops) + self._options.measure_s + self._extra_s
            best = int(near[np.argmax(worth[near] / seconds)])
        return Choice(gains.pixel(best), worth=float(gains.worth.ravel()[best]), fills=each is gains.gaps)

    def _centres(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        rows, columns = np.divmod(pixels, self._setup.grid.shape[1])
        name_x, name_y = self._setup.axes
        return {name_x: self._setup.grid.centres_x[columns], name_y: self._setup.grid.centres_y[rows]}

    def _travel_s(self, here: Mapping[str, Any], stops: dict[str, np.ndarray]) -> np.ndarray:
        """Seconds to each of n stops, shape (n,); only the axes of the map move."""
        axes = {name: axis for name, axis in self._travel.axes.items() if name in stops}
        return Travel(axes).seconds_each({name: float(here[name]) for name in stops}, stops)

    @property
    def _extra_s(self) -> float:
        """The dwell time that a measurement takes besides `measure_s`."""
        return self._dwell_s if self._options.dwell else 0.0

    def _measure_s(self, choice: Choice) -> float:
        if not choice.length:
            return self._options.measure_s + self._extra_s
        return abs(choice.length) * self._line_dwell_s

    # -- lines -------------------------------------------------------------------------------------------------

    def _line_allowed(self, point: Mapping[str, float]) -> bool:
        """Whether there may be such a line: lines are asked for, and the duration of moves is known."""
        if self._options.line is None or self._setup.lines is None or not self._travel.axes:
            return False
        low, high = self._setup.lines
        return low <= point[self._options.line] <= high

    def _better_line(self, gains: Gains, point: Choice, here: Mapping[str, Any] | None) -> Choice | None:
        """The line that is worth more per second than `point`, if there is one."""
        grid = self._setup.grid
        if here is None or self._setup.lines is None or not self._travel.axes:
            return None
        move_s = float(self._travel_s(here, self._centres(np.array([point.pixel])))[0])
        rate = point.worth / (move_s + self._measure_s(point))
        # Along a line the next measurement is one pixel away, so a pixel speaks for a strip, not for a square.
        along = gains.stride * grid.step[0]
        strip = np.where(gains.worth > 0.0, gains.worth / np.maximum(gains.distance, along), 0.0) * along
        pixel_s = self._line_dwell_s * gains.stride
        best: Choice | None = None
        for _ in range(4):  # Dinkelbach's iteration to the largest ratio of worth to time
            segments = best_segments(strip, rate, pixel_s)
            ratios = self._ratios(segments, gains, pixel_s, here)
            index, backwards = np.unravel_index(int(np.argmax(ratios)), ratios.shape)
            if not ratios[index, backwards] > rate * (1.0 + 1e-9):
                break
            rate = float(ratios[index, backwards])
            best = self._line(segments[int(index)], gains, bool(backwards))
        return best if best is not None and abs(best.length) >= LEAST_PIXELS else None

    def _ratios(self, segments: Sequence[Segment], gains: Gains, pixel_s: float, here: Mapping[str, Any]) -> np.ndarray:
        """Worth per second of each segment, flown forwards and backwards, shape (segments, 2)."""
        name_x, name_y = self._setup.axes
        grid = self._setup.grid
        rows = np.array([segment.row for segment in segments]) * gains.stride
        first = np.array([segment.first for segment in segments]) * gains.stride
        last = np.array([segment.last for segment in segments]) + 1
        last = np.minimum(last * gains.stride, self._columns[1] + 1)
        length = (last - first) * grid.step[0]
        flown_s = (last - first) / gains.stride * pixel_s
        worth = np.array([segment.worth for segment in segments])
        ratios = np.full((len(segments), 2), -1.0)
        low, high = self._setup.lines or (0.0, 0.0)
        for k, (begin, sign) in enumerate(((first, 1.0), (last, -1.0))):
            stops = {name_x: grid.edges_x[begin], name_y: grid.centres_y[rows]}
            allowed = (low <= sign * length * (1.0 - 1e-9)) & (sign * length * (1.0 - 1e-9) <= high)
            ratio = worth / (self._travel_s(here, stops) + flown_s)
            ratios[:, k] = np.where(allowed & (last - first >= LEAST_PIXELS), ratio, -1.0)
        return ratios

    def _line(self, segment: Segment, gains: Gains, backwards: bool) -> Choice:
        columns = self._setup.grid.shape[1]
        first = segment.first * gains.stride
        last = min((segment.last + 1) * gains.stride - 1, self._columns[1])
        row = segment.row * gains.stride
        if backwards:
            return Choice(row * columns + last, first - last - 1, worth=segment.worth)
        return Choice(row * columns + first, last - first + 1, worth=segment.worth)

    # -- dwell times -------------------------------------------------------------------------------------------

    def _dwell_of(self, field: NeighbourField, choice: Choice, here: Mapping[str, Any] | None) -> float:
        """The dwell time that lowers the error most per second: longer where counts are few for what they must tell."""
        pixels = choice.known(field)
        gained = np.zeros(len(self._dwells))
        floor, shares = 0.0, 0.0
        for c, process in enumerate(field.processes):
            if process is None or not (self._setup.weights[c] > 0.0 and field.total[c] > 0.0):
                continue
            variance = field.trust[c] * field.variance[c, pixels]
            expected = np.maximum(field.mean[c, pixels], 0.0) if process.poisson else 0.0
            known = np.isfinite(variance) & (variance > 0.0)
            rate = np.broadcast_to(expected + process.nugget, variance.shape)[known]
            told = variance[known, None] * self._dwells / (variance[known, None] * self._dwells + rate[:, None])
            if known.any():
                share = self._setup.weights[c] / field.total[c] * float(np.mean(variance[known]))
                floor += share * float(np.mean(rate) / np.mean(variance[known])) / POOLED
                shares += share
            gained += self._setup.weights[c] / field.total[c] * np.sum(variance[known, None] * told, axis=0)
        if not gained.any():
            return self._dwell_s
        move_s = 0.0
        if here is not None and self._travel.axes:
            move_s = float(self._travel_s(here, self._centres(choice.pixels()[:1]))[0])
        if choice.length:
            axis = self._travel.axes[self._setup.axes[0]]
            each = np.maximum(self._dwells, self._setup.grid.step[0] / axis.velocity)
            seconds = move_s + abs(choice.length) * each
        else:
            seconds = move_s + self._options.measure_s + self._dwells
        enough = self._dwells >= min(floor / shares, float(self._dwells[-1]))
        return float(self._dwells[int(np.argmax(np.where(enough, gained / seconds, -1.0)))])
