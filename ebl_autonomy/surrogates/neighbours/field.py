"""A model of the maps of several channels, whose cost per measured pixel does not grow with the map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from ebl_autonomy.surrogates.compilation import compilation_announced
from ebl_autonomy.surrogates.neighbours import fitting, kriging, lists
from ebl_autonomy.surrogates.neighbours.kriging import Process

__all__ = ["NeighbourField"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

FIRST_FIT: Final = 1
GROWTH: Final = 1.15
"""Hyper-parameters are inferred at `FIRST_FIT` measurements, and whenever their number has grown by this factor."""
FINE: Final = 40
"""Pixels of the lattice per measured pixel, at most. More would tell no more, and the next measurement would change
them all."""
SAME_UNIT: Final = 10.0
"""Steps that differ by a larger factor are taken for different units, and distances are counted in pixels."""


class NeighbourField:
    """The maps of several channels, measured at the same pixels, each predicted from the measured pixels around it.

    All that it knows depends on the measurements and their order only, not on when it was asked. Pixels are numbered
    row by row.

    Parameters
    ----------
    shape : (rows, columns)
    step : (x, y)
        Size of a pixel. A distance is a length if both steps are of the same order, else a number of pixels.
    poisson : sequence of bool
        Of each channel, whether it counts: the variance of a measurement is then its expectation.

    Attributes
    ----------
    values : ndarray, shape (channels, pixels)
        Mean of the measurements of a pixel, per unit of exposure; 0 where there is none.
    exposures : ndarray, shape (channels, pixels)
        Total exposure of the valid measurements of a pixel.
    stride : int
        Spacing of the lattice, in pixels, since the latest `update`.
    sites : int
        Number of pixels with a valid measurement.
    mean, variance : ndarray, shape (channels, pixels)
        The prediction and its variance, of the pixels of the lattice; see `update`.
    distance : ndarray, shape (pixels,)
        From each pixel of the lattice to the nearest measured one; 0 if it is measured, infinite without any.
    processes : list of Process or None
        The hyper-parameters of each channel; None before there are any.
    total : ndarray, shape (channels,)
        Variance of the measurements of each channel, their noise included.
    trust : ndarray, shape (channels,)
        The factor by which `variance` falls short of the squared errors.
    """

    _warm: ClassVar[bool] = False

    def __init__(self, shape: tuple[int, int], step: tuple[float, float], poisson: Sequence[bool]) -> None:
        self.shape, self.poisson = shape, tuple(poisson)
        self.pixels = shape[0] * shape[1]
        self.step = step if max(step) <= SAME_UNIT * min(step) else (1.0, 1.0)
        """Size of a pixel, in the unit of `distance`."""
        count = len(self.poisson)
        self.values: Floats = np.zeros((count, self.pixels))
        self.exposures: Floats = np.zeros((count, self.pixels))
        self.mean: Floats = np.full((count, self.pixels), np.nan)
        self.variance: Floats = np.full((count, self.pixels), np.inf)
        self.distance: Floats = np.full(self.pixels, np.inf)
        self.sites = 0
        self.processes: list[Process | None] = [None] * count
        self.total: Floats = np.zeros(count)
        self.trust: Floats = np.ones(count)
        self._added, self._next_fit = 0, FIRST_FIT
        self._sectors = lists.sector_table(shape, self.step)
        self._distances = np.hypot(
            np.arange(shape[0])[:, None] * self.step[1], np.arange(shape[1])[None, :] * self.step[0]
        )
        self._neighbours = np.full((self.pixels, lists.SLOTS), -1, dtype=np.int32)
        self._reaches = np.full((self.pixels, lists.SLOTS), np.inf, dtype=np.float32)
        self._rings = np.zeros(self.pixels, dtype=np.int32)
        """How far the lists with each measured pixel reach, in rings of pixels; 0 of a pixel that is not measured."""
        self._holders = np.empty(self.pixels, dtype=np.int32)
        self._scratch = np.empty((2, self.pixels))
        self._ahead: list[list[tuple[float, float, float, float]]] = [[] for _ in range(count)]
        """Of each channel and each new site: excess and squared error, variance and area of the prediction before."""
        self._stale: npt.NDArray[np.bool_] = np.ones(self.pixels, dtype=bool)
        self._changes: list[npt.NDArray[np.int32]] | None = None
        """The pixels that became stale since the last update; None for any."""
        self.stride = 0
        if not NeighbourField._warm:
            NeighbourField._warm = True
            with compilation_announced():
                _warm_up()

    def add(self, pixel: int, values: Floats, exposures: Floats) -> None:
        """Add a measurement.

        Parameters
        ----------
        pixel : int
        values : ndarray, shape (channels,)
            Per unit of exposure; NaN where the channel was not measured.
        exposures : ndarray, shape (channels,)
            Positive. The variance of a measurement falls as its exposure grows.
        """
        self._added += 1
        valid = np.isfinite(values)
        if valid.any():
            self._judge(pixel, values, exposures)
            before = self.exposures[:, pixel].copy()
            total = before + np.where(valid, exposures, 0.0)
            weighted = self.values[:, pixel] * before + np.where(valid, values, 0.0) * exposures
            self.values[:, pixel] = np.divide(weighted, total, out=np.zeros_like(total), where=total > 0.0)
            self.exposures[:, pixel] = total
            self.sites += not before.any()
            self._insert(pixel)
        if self._added == self._next_fit:
            self._fit()
            self._next_fit = max(self._next_fit + 1, math.ceil(self._next_fit * GROWTH))

    def _insert(self, pixel: int) -> None:
        """Add a measured pixel to the lists, and keep what it changes for the next update."""
        stride = self._stride()
        found, self._rings[pixel] = lists.insert(
            pixel,
            self._sectors,
            self._distances,
            self._neighbours,
            self._reaches,
            self._stale,
            stride,
            int(self._rings[pixel]),
            self._holders,
        )
        self._stale[pixel] = True
        if stride != self.stride:
            self._changes = None
        if self._changes is not None:
            row, column = divmod(pixel, self.shape[1])
            on_lattice = row % stride == 0 and column % stride == 0
            self._changes.append(
                np.append(self._holders[:found], np.int32(pixel)) if on_lattice else self._holders[:found].copy()
            )

    def _judge(self, pixel: int, values: Floats, exposures: Floats) -> None:
        """Keep the error of the prediction of a new site."""
        place = np.array([pixel])
        for c, process in enumerate(self.processes):
            if process is None or self.exposures[c, pixel] > 0.0 or not math.isfinite(values[c]):
                continue
            mean, variance = self._scratch
            kriging.predict(
                place,
                self._distances,
                self._neighbours,
                self.values[c],
                self.exposures[c],
                process,
                False,
                mean,
                variance,
            )
            lists.nearest(place, self._reaches, self.exposures, self.distance)
            if math.isfinite(mean[pixel]) and math.isfinite(variance[pixel]):
                squared = float((values[c] - mean[pixel]) ** 2)
                noise = kriging.noise_variance(0.5 * (values[c] + mean[pixel]), float(exposures[c]), process)
                area = float(self.distance[pixel] ** 2)
                self._ahead[c].append((squared - noise, squared, float(variance[pixel]), area))

    def _fit(self) -> None:
        """Infer the hyper-parameters from all measurements so far; every prediction becomes stale."""
        areas = np.square(np.min(self._reaches, axis=1), dtype=np.float64)
        areas[~np.isfinite(areas)] = 1.0
        for c, poisson in enumerate(self.poisson):
            measured = self.exposures[c] > 0.0
            if not measured.any():
                continue
            given = (self._distances, self._neighbours, self.values[c], self.exposures[c])
            process = fitting.fit(*given, poisson, areas)
            self.total[c] = np.var(self.values[c, measured])
            ahead = np.array(self._ahead[c]).reshape(-1, 4).T
            left = fitting.left_out(np.flatnonzero(measured), *given, process)
            self.trust[c] = fitting.trust(left, fitting.Errors(*ahead[:3]), ahead[3])
            self.processes[c] = process
        self._stale[:] = True
        self._changes = None

    def _stride(self) -> int:
        """Spacing of the lattice, in pixels: a power of two, which falls to 1 as the map is measured."""
        stride = 1
        while self.pixels > FINE * max(self._added, 1) * stride**2:
            stride *= 2
        return stride

    def update(self, whole: bool = False) -> None:
        """Predict the stale pixels of the lattice; with `whole`, those of all pixels, which then are the lattice."""
        stride = self._stride()
        if self._changes is None or whole or stride != self.stride:
            stale = np.flatnonzero(self._stale)
            if not whole and stride > 1:
                rows, columns = np.divmod(stale, self.shape[1])
                stale = stale[(rows % stride == 0) & (columns % stride == 0)]
        elif self._changes:
            stale = np.unique(np.concatenate(self._changes)).astype(np.int64)
        else:
            return
        for c, process in enumerate(self.processes):
            if process is not None:
                kriging.predict(
                    stale,
                    self._distances,
                    self._neighbours,
                    self.values[c],
                    self.exposures[c],
                    process,
                    True,
                    self.mean[c],
                    self.variance[c],
                )
        lists.nearest(stale, self._reaches, self.exposures, self.distance)
        self._stale[stale] = False
        self._changes, self.stride = [], 1 if whole else stride

    def on_lattice(self, array: np.ndarray) -> np.ndarray:
        """The values, shape (..., pixels), at the pixels of the lattice, as a view of shape (..., rows, columns)."""
        whole = array.reshape(*array.shape[:-1], *self.shape)
        return whole[..., :: self.stride, :: self.stride]


def _warm_up() -> None:
    """Compile or load all functions, so that no decision waits for them."""
    field = NeighbourField((2, 2), (1.0, 1.0), [True, False])
    for pixel in range(2):
        field.add(pixel, np.ones(2), np.ones(2))
    field.update(whole=True)
