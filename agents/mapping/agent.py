"""The mapping agent: what it has measured, what it proposes, and what it knows of the map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from gest_api.vocs import ContextualVariable, DiscreteVariable
from scipy.stats import qmc

from ebl_autonomy.agents.base import Agent, AgentOptions, Prediction
from ebl_autonomy.agents.mapping import gain
from ebl_autonomy.agents.mapping.options import MappingOptions
from ebl_autonomy.errors import BadInputError, NoMoreProposals
from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.records import Decision
from ebl_autonomy.space import VOCS, FloatArray, outcome_names
from ebl_autonomy.surrogates.neighbours import Channel, NeighbourField
from ebl_autonomy.vocs import is_logarithmic

__all__ = ["MappingAgent"]

LEAST_START = 10
"""The smallest number of evenly spread points before the first decision."""
DEFAULT_PIXELS = 100
"""Pixels along each axis of a map without a step."""
GROWTH = 1.15
"""The model's hyper-parameters are inferred again when the number of results has grown by this factor."""
MODEL = "neighbours"


class MappingAgent(Agent):
    """Adaptive mapping of one or more channels over two motors.

    The VOCS has two continuous variables, the fast axis first, and objectives or observables, which are the channels.

    Parameters
    ----------
    vocs : VOCS or mapping
    seed : int
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
        own = self._mapping_options
        self._channels = outcome_names(self.vocs)
        low, high = self.space.low, self.space.high
        step = (self.space.span[:2] / DEFAULT_PIXELS).tolist() if own.step is None else own.step
        self._grid = PixelGrid.of_step((low[0], high[0]), (low[1], high[1]), step)
        counting = own.counts if isinstance(own.counts, list) else self._channels if own.counts else []
        self._field = NeighbourField(
            self._grid.shape, self._grid.step, [Channel(poisson=name in counting) for name in self._channels]
        )
        self._weights = np.array([own.weights.get(name, 1.0) for name in self._channels])
        self._tried = np.zeros(self._grid.size, dtype=bool)
        self._taken = 0
        self._order = self._evenly()
        self._space_changed()

    def _validate_vocs(self, vocs: VOCS) -> None:
        chosen = {name: v for name, v in vocs.variables.items() if not isinstance(v, ContextualVariable)}
        for name, variable in chosen.items():
            if isinstance(variable, DiscreteVariable) or is_logarithmic(variable):
                raise BadInputError(
                    f"variable {name!r} is discrete or logarithmic: give an axis of a map as {{name: [low, high]}}"
                )
        if len(chosen) != 2:
            raise BadInputError(f"a map needs two variables, the fast axis first; the VOCS has {list(chosen)}")
        if vocs.constraints:
            raise BadInputError(
                f"a map has no constraints, the VOCS has {list(vocs.constraints)}: make them observables, "
                "and use search_within for a part of the map"
            )
        if not outcome_names(vocs):
            raise BadInputError("the VOCS has no channel: name at least one observable")

    def _space_changed(self) -> None:
        low, high = self.space.low, self.space.high
        x, y = self._grid.centres_x, self._grid.centres_y
        inside = ((y >= low[1]) & (y <= high[1]))[:, None] & ((x >= low[0]) & (x <= high[0]))[None, :]
        self._inside = inside.ravel()
        if not self._inside.any():
            raise BadInputError(
                f"no pixel of the map, in steps of {self._grid.step}, lies within [{low[0]:g}, {high[0]:g}] x "
                f"[{low[1]:g}, {high[1]:g}]: widen the bounds, or make step smaller"
            )

    @property
    def _mapping_options(self) -> MappingOptions:
        assert isinstance(self.options, MappingOptions)
        return self.options

    def _numbers(self, points: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """The pixel of each of n points, shape (n,), counted row by row; -1 outside the map."""
        name_x, name_y = self.space.names[:2]
        row, column = self._grid.indices([float(p[name_x]) for p in points], [float(p[name_y]) for p in points])
        return np.where(row < 0, -1, row * self._grid.shape[1] + column)

    def _position(self, pixel: int) -> dict[str, float]:
        """The centre of a pixel, in motor units."""
        row, column = divmod(pixel, self._grid.shape[1])
        name_x, name_y = self.space.names[:2]
        return {name_x: float(self._grid.centres_x[column]), name_y: float(self._grid.centres_y[row])}

    # -- learning ----------------------------------------------------------------------------------------------

    def _learn(self) -> None:
        due = _latest_refit(len(self._results))
        new = self._results[self._taken :]
        reached, asked = self._numbers(new), self._numbers(self._asked[self._taken :])
        for i, result in enumerate(new):
            values = np.array([result[name] for name in self._channels])
            if reached[i] >= 0:
                self._field.add(int(reached[i]), values, np.ones(len(values)))
            if asked[i] >= 0:
                self._tried[asked[i]] = True  # also where the motors read beside it
            self._taken += 1
            if self._taken == due:
                self._field.refit()

    # -- proposing ---------------------------------------------------------------------------------------------

    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        free = self._inside & (self._field.visits == 0) & ~self._tried
        pending = self._numbers(self._pending)
        free[pending] = False
        left = int(free.sum())
        if left < count:
            what = f"all {self._grid.size} pixels are measured or pending" if not left else f"{left} pixels are left"
            raise NoMoreProposals(f"suggest({count}): {what}; make step smaller to go on", remaining=left)
        chosen = [(pixel, Decision(reason="evenly", model_version="none")) for pixel in self._first(count, free)]
        free[[pixel for pixel, _ in chosen]] = False
        if len(chosen) < count:
            taken = [*pending.tolist(), *(pixel for pixel, _ in chosen)]
            chosen += self._most_gain(count - len(chosen), free, taken)
        unit = self.space.unit([self._position(pixel) for pixel, _ in chosen])
        return [(row, decision) for row, (_, decision) in zip(unit, chosen, strict=True)]

    def _first(self, count: int, free: np.ndarray) -> list[int]:
        """The next evenly spread pixels, at most `count`."""
        inside = int(self._inside.sum())
        wanted = min(max(LEAST_START, math.ceil(self._mapping_options.start * inside)), inside)
        short = wanted - self._made
        if short <= 0:
            return []
        order = self._order[free[self._order]]
        return [int(pixel) for pixel in order[: min(count, short)]]

    def _evenly(self) -> np.ndarray:
        """All pixels in an order whose every beginning covers the map evenly (Halton)."""
        rows, columns = self._grid.shape
        points = qmc.Halton(2, rng=self.options.seed).random(4 * self._grid.size)
        numbers = (points[:, 0] * rows).astype(np.int64) * columns + (points[:, 1] * columns).astype(np.int64)
        _, first = np.unique(numbers, return_index=True)
        return np.asarray(numbers[np.sort(first)])

    def _most_gain(self, count: int, free: np.ndarray, taken: Sequence[int]) -> list[tuple[int, Decision]]:
        self._field.update()
        gains = gain.reconstruction(self._field, self._weights)
        gains[~free] = -1.0
        for pixel in taken:
            gain.claim(gains, self._field, pixel)
        proposals = []
        for _ in range(count):
            pixel = int(np.argmax(gains))
            value = float(gains[pixel])
            proposals.append((pixel, self._decision(pixel, value)))
            gain.claim(gains, self._field, pixel)
        return proposals

    def _decision(self, pixel: int, value: float) -> Decision:
        mean, std = self._field.mean[:, pixel], np.sqrt(self._field.variance[:, pixel])
        known = [i for i in range(len(self._channels)) if np.isfinite(mean[i]) and np.isfinite(std[i])]
        return Decision(
            mean={self._channels[i]: float(mean[i]) for i in known},
            std={self._channels[i]: float(std[i]) for i in known},
            acquisition=value,
            reason=self._mapping_options.aim,
            model_version=MODEL,
        )

    # -- queries -----------------------------------------------------------------------------------------------

    def predict(self, points: Sequence[Mapping[str, Any]]) -> Prediction:
        """See `Agent.predict`: the map at the nearest pixel of each point; empty before the first valid result."""
        if not points or not self._field.sites:
            return {}
        self._field.update(whole=True)
        clipped = [self._clipped(point) for point in points]
        pixels = self._numbers(clipped)
        return {
            name: (self._field.mean[i][pixels], np.sqrt(self._field.variance[i][pixels]))
            for i, name in enumerate(self._channels)
        }

    def _clipped(self, point: Mapping[str, Any]) -> dict[str, float]:
        """The nearest point of the map, in motor units."""
        edges = zip(self.space.names[:2], (self._grid.x, self._grid.y), strict=True)
        return {name: min(max(float(point[name]), low), high) for name, (low, high) in edges}

    def axes(self) -> tuple[FloatArray, FloatArray]:
        """Centres of the columns (x) and the rows (y) of the map, in motor units."""
        return self._grid.centres_x.copy(), self._grid.centres_y.copy()

    def map(self) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Mean and standard deviation of each channel, shape (rows, columns) each; NaN before the first result."""
        self._field.update(whole=True)
        shape = self._grid.shape
        return {
            name: (self._field.mean[i].reshape(shape).copy(), np.sqrt(self._field.variance[i]).reshape(shape))
            for i, name in enumerate(self._channels)
        }


def _latest_refit(results: int) -> int:
    """The largest number of results, at most `results`, at which hyper-parameters are inferred; 0 for none."""
    due, latest = LEAST_START, 0
    while due <= results:
        latest, due = due, max(due + 1, math.ceil(due * GROWTH))
    return latest
