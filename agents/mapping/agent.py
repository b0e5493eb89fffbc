"""The mapping agent: what it has measured, what it proposes, and what it knows of the map."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np

from ebl_autonomy.agents.base import Agent, AgentOptions, Point, Prediction
from ebl_autonomy.agents.map_vocs import check_map_vocs
from ebl_autonomy.agents.mapping.choosing import Choice, Chooser
from ebl_autonomy.agents.mapping.options import MappingOptions
from ebl_autonomy.agents.mapping.setup import Setup, travel_of
from ebl_autonomy.agents.mapping.start import even_lines, even_pixels
from ebl_autonomy.errors import BadInputError, NoMoreProposals
from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.records import Decision
from ebl_autonomy.space import VOCS, FloatArray, Travel
from ebl_autonomy.surrogates.neighbours import NeighbourField

__all__ = ["MappingAgent"]

MODEL = "kriging on neighbours"
LEAST_COUNT = 1e-3
"""Least positive reading of a counter, which may be corrected for its dead time or normalised."""

logger = logging.getLogger(__name__)


class MappingAgent(Agent):
    """Adaptive mapping of one or more channels over two motors.

    The VOCS has two continuous variables, the fast axis first, and objectives or observables, which are the channels.
    Their domains are the edges of the map, which consists of pixels that are measured at their centres. The options
    `dwell` and `line` name further variables that the agent chooses.

    Each pixel is predicted from the measured pixels around it. The next point is where a measurement lowers the error
    of the maps most; if the speeds of the motors are known, most per second. A result counts for the pixel where the
    motors were read. A pixel without a valid outcome is not proposed again, and its surroundings are worth less.

    Parameters
    ----------
    vocs : VOCS or mapping
    seed : int
        Shifts the evenly spread first points.
    **options
        See `ebl_autonomy.agents.MappingOptions`.

    Raises
    ------
    NoMoreProposals
        By ``suggest(n)``, if fewer than n pixels are left or the predicted error has reached `target_error`.
    """

    name = "mapping"
    Options: ClassVar[type[AgentOptions]] = MappingOptions

    def __init__(self, vocs: VOCS | Mapping[str, Any], seed: int = 0, **options: Any) -> None:
        super().__init__(vocs, seed, **options)
        self._setup = Setup.of(self._mapping_options, self.space)
        grid = self._setup.grid
        # The configuration tells the pixels, also to whoever reads the run.
        self.options = self._mapping_options.model_copy(update={"step": list(grid.step)})
        self._field = NeighbourField(grid.shape, grid.step, self._setup.poisson)
        self._tried = np.zeros(grid.size, dtype=bool)
        """The pixels that were measured, or that a proposal was for."""
        self._failed = np.zeros(grid.size, dtype=bool)
        """The pixels where nothing valid was measured."""
        self._taken = 0
        self._warned: set[str] = set()
        self._avoided: list[dict[str, tuple[float, float]]] = []
        self._space_changed()

    def _validate_vocs(self, vocs: VOCS) -> None:
        check_map_vocs(vocs)

    def _space_changed(self) -> None:
        self._setup = self._setup.within(self._mapping_options, self.space)
        low, high = (dict(zip(self.space.names, ends, strict=True)) for ends in (self.space.low, self.space.high))
        name_x, name_y = self._setup.axes
        x, y = self._setup.grid.centres_x, self._setup.grid.centres_y
        columns = np.flatnonzero((x >= low[name_x]) & (x <= high[name_x]))
        rows = np.flatnonzero((y >= low[name_y]) & (y <= high[name_y]))
        if not len(rows) or not len(columns):
            raise BadInputError(
                f"no centre of a pixel of size {self._setup.grid.step} lies within {name_x!r}: [{low[name_x]:g}, "
                f"{high[name_x]:g}], {name_y!r}: [{low[name_y]:g}, {high[name_y]:g}]: widen the bounds, or make step "
                "smaller"
            )
        self._inside = np.zeros(self._setup.grid.shape, dtype=bool)
        self._inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        for box in self._avoided:
            first, last = box.get(name_x, (-math.inf, math.inf)), box.get(name_y, (-math.inf, math.inf))
            self._inside[np.ix_((y >= last[0]) & (y <= last[1]), (x >= first[0]) & (x <= first[1]))] = False
        if not self._inside.any():
            raise BadInputError(f"all pixels of the map lie in the forbidden regions {self._avoided}: narrow these")
        reach = (int(columns[0]), int(columns[-1]))
        self._chooser = Chooser(self._mapping_options, self._setup, travel_of(self._mapping_options), reach)
        start, seed = self._mapping_options.start, self.options.seed
        self._start = [Choice(p) for p in even_pixels(rows, columns, self._setup.grid, start, seed)]
        lines = even_lines(rows, columns, self._setup.grid, start, seed)
        if self._chooser.seconds(lines) < self._chooser.seconds(self._start):
            self._start = lines

    @property
    def _mapping_options(self) -> MappingOptions:
        assert isinstance(self.options, MappingOptions)
        return self.options

    def avoid(self, boxes: Sequence[Mapping[str, tuple[float, float]]]) -> None:
        """Propose no pixel whose centre lies inside of these boxes, in motor units; each call replaces the one before.

        A box that names more than the two axes, such as the dwell time, is left to the plan.

        Raises
        ------
        BadInputError
            If they leave no pixel; the agent proposes as before.
        """
        self._search_instead("_avoided", [dict(box) for box in boxes if {*box} <= {*self._setup.axes}])

    def set_travel(self, travel: Travel, measure_s: float) -> None:
        """Take the duration of moves and measurements (s), unless the options give `travel` or the agent has begun."""
        if self._results or self._pending or self._mapping_options.travel:
            return
        axes = {name: asdict(axis) for name, axis in travel.axes.items() if name in self.space.names}
        self.options = self._mapping_options.model_copy(update={"travel": axes, "measure_s": max(measure_s, 1e-3)})
        self._space_changed()

    # -- learning ----------------------------------------------------------------------------------------------

    def _learn(self) -> None:
        new = self._results[self._taken :]
        reached, asked = self._numbers(new), self._numbers(self._asked[self._taken :])
        for i, result in enumerate(new):
            exposure = max(float(result[self._mapping_options.dwell]), 1e-9) if self._mapping_options.dwell else 1.0
            values = np.array([float(result[name]) for name in self._setup.channels])
            self._check_counts(values)
            values[self._setup.poisson] /= exposure
            valid = bool(np.isfinite(values).any())
            if reached[i] >= 0:
                self._field.add(int(reached[i]), values, np.full(len(values), exposure))
                self._tried[reached[i]] = True
                self._failed[reached[i]] &= not valid
                self._failed[reached[i]] |= not valid and not (self._field.exposures[:, reached[i]] > 0.0).any()
            if asked[i] >= 0 and not self._length(self._asked[self._taken + i]):
                self._tried[asked[i]] = True  # also where the motors read beside it
        self._taken += len(new)

    def _check_counts(self, values: FloatArray) -> None:
        """Warn once of a channel that is said to count, but reads what no counter does."""
        for i, name in enumerate(self._setup.channels):
            doubtful = values[i] < 0.0 or 0.0 < values[i] < LEAST_COUNT
            if self._setup.poisson[i] and doubtful and name not in self._warned:
                self._warned.add(name)
                logger.warning(
                    "counts: the channel %r reads %.3g, which is no number of counts, so that its noise and its map "
                    "will be wrong: leave it out of counts=",
                    name,
                    values[i],
                )

    def _length(self, point: Mapping[str, Any]) -> float:
        """Length of the line of a proposal, in motor units; 0 for a point."""
        return float(point[self._mapping_options.line]) if self._mapping_options.line else 0.0

    def _numbers(self, points: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """The pixel of each of n points, shape (n,); -1 outside the map."""
        name_x, name_y = self._setup.axes
        return self._setup.grid.numbers([float(p[name_x]) for p in points], [float(p[name_y]) for p in points])

    # -- proposing ---------------------------------------------------------------------------------------------

    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        pending = [self._choice_of(point) for point in self._pending]
        free = self._inside.ravel() & ~self._tried
        for choice in pending:
            free[choice.pixels()] = False
        self._refuse(count, int(free.sum()))
        chosen: list[tuple[Choice, Decision]] = []
        begun = len(self._results) + sum(len(choice.pixels()) for choice in pending)
        for choice in self._start if begun < sum(len(one.pixels()) for one in self._start) else []:
            if len(chosen) < count and free[choice.pixels()].all():
                chosen.append((choice, Decision(reason="evenly", model_version="none")))
                free[choice.pixels()] = False
        if len(chosen) < count:
            self._field.update()
            taken = [*pending, *(choice for choice, _ in chosen)]
            given = (count - len(chosen), free, self._failed, taken, self._standing(), self._made + len(chosen))
            found = self._chooser.choose(self._field, *given)
            if len(found) + len(chosen) < count and self._field.stride > 1:
                self._field.update(whole=True)  # the lattice has too few free pixels
                found = self._chooser.choose(self._field, *given)
            chosen += [(choice, self._decision(choice)) for choice in found]
        if len(chosen) < count:  # lines have used up the pixels
            raise NoMoreProposals(f"suggest({count}): {len(chosen)} proposals are left", remaining=len(chosen))
        unit = self.space.unit([self._chooser.point(choice) for choice, _ in chosen])
        return [(row, decision) for row, (_, decision) in zip(unit, chosen, strict=True)]

    def _refuse(self, count: int, left: int) -> None:
        """Raise NoMoreProposals if there is nothing to propose any more."""
        if left < count:
            total = int(self._inside.sum())
            what = f"all {total} pixels are measured or pending" if not left else f"{left} of {total} pixels are left"
            raise NoMoreProposals(f"suggest({count}): {what}; make step smaller to go on", remaining=left)
        target = self._mapping_options.target_error
        if target is None or len(self._results) < sum(len(one.pixels()) for one in self._start):
            return
        errors = {
            name: error
            for (name, error), weight in zip(self.predicted_error().items(), self._setup.weights, strict=True)
            if weight > 0.0
        }
        if all(error <= target for error in errors.values()):
            text = ", ".join(f"{name} {error:.3g}" for name, error in errors.items())
            raise NoMoreProposals(
                f"the predicted errors of the maps (NRMSE: {text}) are within target_error={target:g} after "
                f"{len(self._results)} results",
                remaining=0,
            )

    def _choice_of(self, point: Mapping[str, Any]) -> Choice:
        """A pending proposal as pixels."""
        length = self._length(point)
        name_x, _ = self._setup.axes
        step = self._setup.grid.step[0]
        # A line begins at the edge of its first pixel.
        inside = {**point, name_x: float(point[name_x]) + math.copysign(0.5 * step, length)} if length else point
        return Choice(int(self._numbers([inside])[0]), round(length / step))

    def _standing(self) -> dict[str, float] | None:
        """Where the motors will be when all pending proposals are measured; None before the first."""
        if self._pending:
            last = self._pending[-1]
            name_x, _ = self._setup.axes
            return {**last, name_x: float(last[name_x]) + self._length(last)}
        return self._results[-1] if self._results else None

    def _decision(self, choice: Choice) -> Decision:
        known = choice.known(self._field)
        middle = int(known[len(known) // 2])
        dwell = choice.dwell_s or 1.0
        unit = np.where(self._setup.poisson, dwell, 1.0)
        mean = unit * self._field.mean[:, middle]
        std = unit * np.sqrt(self._field.trust * self._field.variance[:, middle])
        reason: str = "fill a gap" if choice.fills else self._mapping_options.aim
        reason += f", a line of {abs(choice.length)} pixels" if choice.length else ""
        finite = [i for i in range(len(mean)) if np.isfinite(mean[i]) and np.isfinite(std[i])]
        return Decision(
            mean={self._setup.channels[i]: float(mean[i]) for i in finite},
            std={self._setup.channels[i]: float(std[i]) for i in finite},
            acquisition=choice.worth,
            reason=reason,
            model_version=MODEL,
        )

    # -- queries -----------------------------------------------------------------------------------------------

    def predict(self, points: Sequence[Mapping[str, Any]]) -> Prediction:
        """See `Agent.predict`: the map at the nearest pixel of each point; empty before the first valid result.

        With `dwell`, counts are predicted for the dwell time of the point.
        """
        if not points or not self._field.sites:
            return {}
        self._field.update(whole=True)
        pixels = self._numbers([self._clipped(point) for point in points])
        dwell = self._mapping_options.dwell
        exposure = np.array([float(point[dwell]) for point in points]) if dwell else np.ones(len(points))
        std = self._std()
        return {
            name: (
                self._field.mean[i][pixels] * (exposure if self._setup.poisson[i] else 1.0),
                std[i][pixels] * (exposure if self._setup.poisson[i] else 1.0),
            )
            for i, name in enumerate(self._setup.channels)
        }

    @property
    def pixels(self) -> PixelGrid:
        """The pixels of the map."""
        return self._setup.grid

    @property
    def pixel_sizes(self) -> dict[str, float]:
        """Size of a pixel along each axis, in motor units."""
        return dict(zip(self._setup.axes, self.pixels.step, strict=True))

    def axes(self, shape: tuple[int, int] | None = None) -> tuple[FloatArray, FloatArray]:
        """Centres of the columns (x) and the rows (y) of a map, in motor units; see `map`."""
        grid = self._grid_of(shape)
        return grid.centres_x.copy(), grid.centres_y.copy()

    def map(self, shape: tuple[int, int] | None = None) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Mean and standard deviation of each channel, shape (rows, columns) each; NaN before the first result.

        The standard deviation is that of the error of the mean, without the noise of a measurement. With `dwell`,
        counts are per second.

        Parameters
        ----------
        shape : (rows, columns), optional
            By default, the pixels of the agent. Otherwise the map is interpolated between their centres.

        Raises
        ------
        BadInputError
            If a number of rows or columns is not positive.
        """
        self._field.update(whole=True)
        own, std = self._setup.grid, self._std()
        maps = {
            name: (self._field.mean[i].reshape(own.shape).copy(), std[i].reshape(own.shape).copy())
            for i, name in enumerate(self._setup.channels)
        }
        if shape is None or tuple(shape) == own.shape:
            return maps
        x, y = self.axes(shape)
        return {name: (_between(mean, own, x, y), _between(spread, own, x, y)) for name, (mean, spread) in maps.items()}

    def _grid_of(self, shape: tuple[int, int] | None) -> PixelGrid:
        own = self._setup.grid
        return own if shape is None else PixelGrid(own.x, own.y, (int(shape[0]), int(shape[1])))

    def predicted_error(self) -> dict[str, float]:
        """The expected root-mean-square error of each map, as a share of the map's standard deviation (NRMSE).

        NaN as long as nothing varies: what an empty map hides is not known.
        """
        self._field.update()
        errors = {}
        for i, name in enumerate(self._setup.channels):
            mean = self._field.on_lattice(self._field.mean[i])
            error = float(np.mean(self._field.on_lattice(self._squared_errors()[i])))
            varies = self._field.total[i] > 0.0 and math.isfinite(error)
            errors[name] = math.sqrt(error / (float(np.var(mean)) + error)) if varies and error > 0.0 else math.nan
        return errors

    def _squared_errors(self) -> FloatArray:
        """Expected squared errors, shape (channels, pixels)."""
        unmeasured = self._field.exposures == 0.0
        return np.where(unmeasured, self._field.trust[:, None], 1.0) * self._field.variance

    def _std(self) -> FloatArray:
        squared = self._squared_errors()
        return np.sqrt(np.where(np.isfinite(squared), squared, np.nan))

    def _clipped(self, point: Mapping[str, Any]) -> Point:
        """The nearest point of the map, in motor units."""
        edges = zip(self._setup.axes, (self._setup.grid.x, self._setup.grid.y), strict=True)
        return {name: min(max(float(point[name]), low), high) for name, (low, high) in edges}


def _between(values: FloatArray, grid: PixelGrid, x: FloatArray, y: FloatArray) -> FloatArray:
    """Values at the centres of pixels, shape (rows, columns), linearly interpolated at the crossings of x and y."""
    along = np.stack([np.interp(x, grid.centres_x, row) for row in values])
    return np.stack([np.interp(y, grid.centres_y, column) for column in along.T], axis=1)
