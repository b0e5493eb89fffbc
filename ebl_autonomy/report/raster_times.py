"""The seconds that a raster would have taken with the motors of a run, by the run's own seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from scipy.optimize import nnls

from ebl_autonomy.analysis.rasters import even_raster
from ebl_autonomy.data.mapped import Mapped
from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.records import ROW, RunRecord, to_float
from ebl_autonomy.space import FloatArray

__all__ = ["RasterTimes"]

LEAST: Final = 5
"""Fewest proposals that tell the seconds."""
FAR: Final = 5.0
"""Proposals whose seconds are off by more typical deviations than this do not count, such as those with a pause."""


@dataclass(frozen=True)
class RasterTimes:
    """Seconds of a raster: so many for each point, for each line, and for each pixel of travel.

    Attributes
    ----------
    taken : float
        Seconds of the run itself, up to its last row.
    clock : bool
        Whether they are those of the beamline's clock; otherwise wall seconds.
    flown : bool
        Whether the raster flies its lines, as the run did.
    each, point, pixel : float
        Seconds for each proposal, for each row of it, and for each pixel of travel to it.
    shape : (int, int)
        Of the whole map.
    """

    taken: float
    clock: bool
    flown: bool
    each: float
    point: float
    pixel: float
    shape: tuple[int, int]

    @classmethod
    def of(cls, record: RunRecord, mapped: Mapped, pixels: PixelGrid) -> Self | None:
        """From the seconds of a run's proposals; None if they tell nothing."""
        done = sorted((p for p in record.proposals if p.rows and p.results), key=lambda p: p.rows[0])
        name = record.metadata.clock or "clock"
        clock = name in record.rows
        times = record.rows.get(name if clock else ROW.seconds_elapsed)
        if times is None:
            return None
        x, y = (
            [[to_float(p.results[end].get(axis)) / step for end in (0, -1)] for p in done]
            for axis, step in zip((mapped.x, mapped.y), pixels.step, strict=True)
        )
        # A raster needs no decisions: of wall seconds, those of a batch count before its first proposal.
        decided: dict[int, float] = {}
        for p in done:
            decided[p.batch] = decided.get(p.batch, 0.0) + p.seconds_to_decide
        thought = [decided.pop(p.batch, 0.0) for p in done]
        seconds, terms = [], []
        for i in range(1, len(done)):
            last, before = done[i].rows[-1], done[i - 1].rows[-1]
            seconds.append(to_float(times[last]) - to_float(times[before]) - (0.0 if clock else thought[i]))
            way = math.hypot(x[i][0] - x[i - 1][1], y[i][0] - y[i - 1][1])
            terms.append((1.0, float(len(done[i].rows)), way))
        began = to_float(record.baseline.get(name, times)[0]) if clock else 0.0
        taken = to_float(times[done[-1].rows[-1]]) - began if done else math.nan
        fitted = _fit(np.array(terms).reshape(-1, 3), np.array(seconds))
        if fitted is None or not taken > 0.0:
            return None
        flown = any(len(p.rows) > 1 for p in done)
        return cls(taken, clock, flown, *fitted, pixels.shape)

    def seconds(self, count: int) -> float:
        """Seconds of an even raster of at most `count` points."""
        rows, columns = even_raster(self.shape, count)
        down, along = self.shape[0] / len(rows), self.shape[1] / len(columns)
        points = len(rows) * len(columns)
        if self.flown:
            return len(rows) * (self.each + self.pixel * down) + points * self.point
        travel = len(rows) * ((len(columns) - 1) * along + down)
        return points * (self.each + self.point) + self.pixel * travel

    def points(self) -> int:
        """Number of points of the largest raster that takes no longer than the run did; 0 if none does."""
        low, high = 0, math.prod(self.shape)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.seconds(middle) <= self.taken else (low, middle - 1)
        return low


def _fit(terms: FloatArray, seconds: FloatArray) -> tuple[float, float, float] | None:
    """Non-negative seconds for each proposal, row and pixel of travel."""
    kept = np.isfinite(seconds) & np.isfinite(terms).all(axis=1)
    found = None
    for _ in range(3):
        if np.count_nonzero(kept) < LEAST or not seconds[kept].max() > 0.0:
            return None
        used = terms[kept]
        # With as many rows for each proposal, the seconds of a proposal and of a row cannot be told apart.
        columns = [1, 2] if np.ptp(used[:, 1]) == 0.0 else [0, 1, 2]
        found = np.zeros(3)
        found[columns] = nnls(used[:, columns], seconds[kept])[0]
        off = np.abs(seconds - terms @ found)
        typical = float(np.median(off[kept]))
        kept = kept & (off <= FAR * typical + 1e-9 * seconds[kept].max())
    return None if found is None else (float(found[0]), float(found[1]), float(found[2]))
