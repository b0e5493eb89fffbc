"""Without references: the energies that tell most of the shape of a spectrum."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ebl_autonomy.agents.energy.readings import Choice, Readings, without_order
from ebl_autonomy.analysis.spectra.model import SpectrumModel
from ebl_autonomy.space import FloatArray

__all__ = ["Rebuilding"]

CHEMICAL_SHIFT_EV: Final = 4.0
"""How far above its tabulated energy an edge is expected: oxides lie above the element."""
SAMPLES: Final = 400
"""Energies over the domain at which the error is predicted."""
ENOUGH: Final = 2
"""Readings after which a spectrum may count as flat, in first sweeps."""
REMEMBERED: Final = 2
"""Fitted models that are kept: of all results, and of those at the beginning of the sweep under way."""


class Rebuilding:
    """The spectra by `SpectrumModel`, and the energies where they are most uncertain.

    Parameters
    ----------
    low, high : float
        Ends of the domain, in eV.
    edge : float, optional
        Tabulated edge, in eV.
    edge_std : float
        In eV.
    initial : int
        Number of energies of the first sweep.
    """

    version = "spectrum/warped-matern-5/2"

    def __init__(self, low: float, high: float, edge: float | None, edge_std: float, initial: int) -> None:
        self.low, self.high, self.edge_std, self.first = low, high, edge_std, initial
        self.edge = None if edge is None else edge + CHEMICAL_SHIFT_EV
        self._fitted: dict[bytes, SpectrumModel] = {}

    def choose(
        self, readings: Readings, free: FloatArray, tried: FloatArray, pending: FloatArray, count: int
    ) -> Choice:
        """See `Way.choose`."""
        if len(readings) < self.first:
            first = self._first_sweep(free, tried, count, more=not len(readings))
            if len(first) == count:
                return Choice(first, "first sweep")
        places, score = self.model(readings).most_uncertain(free, count, pending)
        return Choice(free[places], "most uncertain", score)

    def _first_sweep(self, free: FloatArray, tried: FloatArray, count: int, more: bool) -> FloatArray:
        """The next energies of the first sweep, ascending; fewer than `count` if it has no more."""
        size = max(self.first, len(tried) + count if more else 0)
        every = np.sort(np.concatenate([free, tried]))
        density = self._prior().density(every)
        detail = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(every))])
        wanted = np.interp(np.linspace(0.0, detail[-1], size), detail, every)
        # Of two neighbours in the design, one that was tried counts for the nearest only.
        left = list(wanted)
        for energy in np.sort(tried):
            if left:
                left.pop(int(np.argmin(np.abs(np.array(left) - energy))))
        places: list[int] = []
        for energy in left:
            order = np.argsort(np.abs(free - energy), kind="stable")
            places += [int(place) for place in order[: len(places) + 1] if place not in places][:1]
        return np.asarray(free[np.sort(places[:count]).astype(int)], dtype=float)

    def spectrum(self, readings: Readings, energies: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Way.spectrum`."""
        mean = np.full((len(energies), len(readings.names)), np.nan)
        std = mean.copy()
        if len(readings):
            mean[:, readings.seen], std[:, readings.seen] = self.model(readings).predict(energies)
        return mean, std

    def noise(self, readings: Readings) -> FloatArray:
        """See `Way.noise`."""
        noise = np.zeros(len(readings.names))
        if len(readings):
            noise[readings.seen] = self.model(readings).noise_std
        return noise

    def flat(self, readings: Readings) -> Any:
        """See `Way.flat`: a line and noise."""
        flat = np.zeros(len(readings.names), dtype=bool)
        order = np.argsort(readings.energies, kind="stable")
        for spectrum, column in enumerate(readings.values[order].T):
            known = np.isfinite(column)
            if known.sum() < ENOUGH * self.first:
                continue
            flat[spectrum] = without_order(readings.energies[order][known], column[known])
        return flat

    def error(self, readings: Readings) -> FloatArray:
        """See `Way.error`: the predicted root mean square error over the domain, as a share of the range."""
        error = np.full(len(readings.names), np.inf)
        if len(readings) >= 3:
            mean, std = self.spectrum(readings, np.linspace(self.low, self.high, SAMPLES))
            extent = np.ptp(mean, axis=0)
            known = extent > 0.0
            error[known] = np.sqrt(np.mean(std[:, known] ** 2, axis=0)) / extent[known]
        return error

    def model(self, readings: Readings) -> SpectrumModel:
        """The model of all spectra that have readings."""
        key = readings.energies.tobytes() + readings.values.tobytes() + readings.std.tobytes()
        if key not in self._fitted:
            model = self._prior()
            seen = readings.seen
            model.fit(readings.energies, readings.values[:, seen], readings.std[:, seen])
            while len(self._fitted) >= REMEMBERED:
                self._fitted.pop(next(iter(self._fitted)))
            self._fitted[key] = model
        return self._fitted[key]

    def _prior(self) -> SpectrumModel:
        return SpectrumModel(self.low, self.high, self.edge, self.edge_std)
