"""A model of the maps of several channels, whose cost per measured pixel does not grow with the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ebl_autonomy.surrogates.neighbours import kriging, lists

__all__ = ["Channel", "NeighbourField"]

FloatArray = np.ndarray
PRIOR: Final = 0.5
"""Weight of the map's variance against the variance of the neighbours of a pixel, in measurements."""
FINE: Final = 40
"""Pixels per measured pixel that are predicted, at most, before the map is asked for: the others have neighbours among
them, and the next measurements would change them all."""
LEAST_SPREAD: Final = 1e-12


@dataclass(frozen=True)
class Channel:
    """One channel of a map.

    Attributes
    ----------
    poisson : bool
        Whether it counts: the variance of a measurement is then its expectation.
    """

    poisson: bool = False


class NeighbourField:
    """The maps of several channels, measured at the same pixels, each predicted from the measured pixels around it.

    Parameters
    ----------
    shape : (rows, columns)
    step : (x, y)
        Size of a pixel, in any unit.
    channels : sequence of Channel

    Attributes
    ----------
    values : ndarray, shape (channels, pixels)
        Mean of the measurements of a pixel, per unit of exposure; 0 where there is none.
    exposures : ndarray, shape (channels, pixels)
        Total exposure of the valid measurements of a pixel.
    visits : ndarray of int, shape (pixels,)
        How often a pixel was measured, valid or not.
    mean, variance : ndarray, shape (channels, pixels)
        The prediction and its variance, of the pixels of the lattice; see `update`.
    distance : ndarray, shape (pixels,)
        From each pixel of the lattice to the nearest measured one, in units of `step`'s; infinite without one.
    """

    def __init__(self, shape: tuple[int, int], step: tuple[float, float], channels: Sequence[Channel]) -> None:
        self.shape, self.step, self.channels = shape, step, tuple(channels)
        self.pixels = shape[0] * shape[1]
        count = len(self.channels)
        self.values = np.zeros((count, self.pixels))
        self.exposures = np.zeros((count, self.pixels))
        self.visits = np.zeros(self.pixels, dtype=np.int64)
        self.mean = np.full((count, self.pixels), np.nan)
        self.variance = np.full((count, self.pixels), np.inf)
        self.distance = np.full(self.pixels, np.inf)
        self.sites = 0
        self._sectors = lists.sector_table(shape, step)
        dy, dx = np.arange(shape[0])[:, None] * step[1], np.arange(shape[1])[None, :] * step[0]
        self._squares = dy**2 + dx**2
        self._neighbours = np.full((self.pixels, lists.SLOTS), -1, dtype=np.int32)
        self._changed = np.empty(self.pixels + 1, dtype=np.int32)
        self._stale = np.ones(self.pixels, dtype=bool)
        self._changes: list[np.ndarray] | None = None
        """The pixels that became stale since the last update; None for any."""
        self._updated = 0
        self.spread = np.ones(count)
        self._nugget = np.zeros(count)
        self._tables = [np.exp(-np.sqrt(self._squares) / (20.0 * max(step)))] * count

    def add(self, pixel: int, values: FloatArray, exposures: FloatArray) -> None:
        """Add a measurement.

        Parameters
        ----------
        pixel : int
        values : ndarray, shape (channels,)
            Per unit of exposure; NaN where the channel was not measured.
        exposures : ndarray, shape (channels,)
            The weight of this measurement against others of the same channel.
        """
        valid = np.isfinite(values)
        before = self.exposures[:, pixel]
        total = before + np.where(valid, exposures, 0.0)
        weighted = self.values[:, pixel] * before + np.where(valid, values * exposures, 0.0)
        self.values[:, pixel] = np.divide(weighted, total, out=np.zeros_like(total), where=total > 0.0)
        self.visits[pixel] += 1
        count = 0
        if valid.any():
            self.sites += not before.any()
            count = lists.insert(pixel, self.shape[1], self._sectors, self._squares, self._neighbours, self._changed)
        self.exposures[:, pixel] = total
        self._changed[count] = pixel
        changed = self._changed[: count + 1].copy()
        self._stale[changed] = True
        if self._changes is not None:
            self._changes.append(changed)

    def refit(self) -> None:
        """Infer the variances of the channels from all measurements so far; every prediction becomes stale."""
        for c, channel in enumerate(self.channels):
            known = self.exposures[c] > 0.0
            values, exposures = self.values[c][known], self.exposures[c][known]
            if not len(values):
                continue
            noise = float(np.mean(np.maximum(values, 0.0) / exposures)) if channel.poisson else 0.0
            total = float(np.var(values))
            self.spread[c] = max(total - noise, 1e-3 * total, LEAST_SPREAD)
        self._stale[:] = True
        self._changes = None

    @property
    def stride(self) -> int:
        """Spacing of the lattice, in pixels: a power of two."""
        stride = 1
        while self.pixels > FINE * max(self.sites, 1) * stride**2:
            stride *= 2
        return stride

    def update(self, whole: bool = False) -> None:
        """Predict the pixels of the lattice whose neighbours have changed, or all such pixels of the map."""
        stride = self.stride
        if self._changes is None or whole or stride != self._updated:
            candidates = np.flatnonzero(self._stale)
        else:
            candidates = np.unique(np.concatenate(self._changes)) if self._changes else np.empty(0, dtype=np.int64)
            candidates = candidates[self._stale[candidates]]
        if not whole and stride > 1:
            rows, columns = candidates // self.shape[1], candidates % self.shape[1]
            candidates = candidates[(rows % stride == 0) & (columns % stride == 0)]
        for c, channel in enumerate(self.channels):
            kriging.predict(
                candidates,
                len(candidates),
                self.shape[1],
                self._neighbours,
                self.values[c],
                self.exposures[c],
                channel.poisson,
                self._nugget[c],
                self.spread[c],
                PRIOR,
                self._tables[c],
                True,
                self.mean[c],
                self.variance[c],
            )
        lists.nearest(candidates, self.shape[1], self._squares, self._neighbours, self.distance)
        self._stale[candidates] = False
        self._changes, self._updated = [], stride
