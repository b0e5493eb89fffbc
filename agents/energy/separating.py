"""With references: the energies that tell most of the amounts of the phases."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ebl_autonomy.agents.energy.readings import Choice, Readings, without_order
from ebl_autonomy.analysis.spectra.design import choose_energies
from ebl_autonomy.analysis.spectra.mixtures import BACKGROUNDS, PhaseFit, References, fit_phases
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import FloatArray

__all__ = ["Separating"]

FLOOR: Final = 0.02
"""Least prior standard deviation of a phase that proves absent, as a share of the sum of all phases."""
UNEXPLAINED: Final = 0.02
"""Least residual of a fit that may mean that the references do not explain the readings, as a share of their range."""
UNLIKELY: Final = 3.0
"""Least chi-square per degree of freedom that means it, where the noise is known."""
OUTLIER: Final = 8.0
"""Least outlier of a residual, in units of its median."""
CHECKED: Final = 5
"""Every so many energies, one is the farthest from all others: it checks whether the references explain all."""
WIDTH_EV: Final = 3.0
"""Distance within which a residual is about the same, in eV."""


class Separating:
    """Fits by references, and the energies of the optimal design for the phases that may be present.

    Parameters
    ----------
    references : References
    options : EnergyOptions
    """

    version = "phases/linear-combination"
    first = 0

    def __init__(self, references: References, options: Any) -> None:
        self.references, self.options = references, options

    def choose(
        self, readings: Readings, free: FloatArray, tried: FloatArray, pending: FloatArray, count: int
    ) -> Choice:
        """See `Way.choose`."""
        fit = self.fit(readings)
        known = np.concatenate([readings.energies, pending])
        checks = min((len(tried) + count) // CHECKED - len(tried) // CHECKED, count)
        energies = np.concatenate([free, np.clip(known, *self._range)])
        columns = self._columns(energies, fit)
        chosen: list[int] = []
        if count > checks:
            chosen = choose_energies(
                columns,
                count - checks,
                std=self._std(energies, fit, readings),
                prior_std=self._prior(columns.shape[1], fit),
                of_interest=len(self.references.names),
                known=list(range(len(free), len(energies))),
                criterion=self.options.criterion,
            ).tolist()
        reason = "separates the references"
        if fit is not None and (unexplained := self.unexplained(readings, fit)).any():
            chosen = self._about_residual(readings, fit, free, known, chosen, unexplained)
            reason = "a residual that no reference explains"
        elif fit is not None and (absent := self.absent(fit)):
            reason = f"separates the references without {', '.join(absent)}"
        for _ in range(checks):
            others = np.concatenate([tried, free[chosen]])
            distance = np.min(np.abs(free[:, None] - others[None, :]), axis=1) if len(others) else np.ones(len(free))
            distance[chosen] = -1.0
            chosen.append(int(np.argmax(distance)))
        return Choice(free[np.sort(chosen)], reason)

    def fit(self, readings: Readings) -> PhaseFit | None:
        """The fit of all spectra; None as long as one has too few readings, or they cannot tell the references apart."""
        unknowns = len(self.references.names) + BACKGROUNDS[self.options.background]
        seen = readings.seen
        if not seen or np.min(np.isfinite(readings.values[:, seen]).sum(axis=0)) < unknowns + 2:
            return None
        energies = np.clip(readings.energies, *self._range)
        try:
            self.references.require_distinct(energies)
        except BadInputError:  # such as of energies ahead of the edge only
            return None
        std = readings.std[:, seen]
        values = readings.values[:, seen]
        return fit_phases(
            energies,
            values,
            self.references,
            std=std if np.isfinite(std[np.isfinite(values)]).all() else None,
            background=self.options.background,
            shift_std_ev=self.options.shift_std_ev,
        )

    def spectrum(self, readings: Readings, energies: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Way.spectrum`."""
        mean = np.full((len(energies), len(readings.names)), np.nan)
        std = mean.copy()
        fit = self.fit(readings)
        if fit is not None:
            columns = self.references.at(energies)
            mean[:, readings.seen] = columns @ fit.weights
            std[:, readings.seen] = np.sqrt(np.einsum("kp,mpq,kq->km", columns, fit.covariance, columns))
        return mean, std

    def error(self, readings: Readings) -> FloatArray:
        """See `Way.error`: the largest standard deviation of a fraction."""
        error = np.full(len(readings.names), np.inf)
        fit = self.fit(readings)
        if fit is not None:
            error[readings.seen] = np.where(np.isnan(fit.fraction_std), np.inf, fit.fraction_std).max(axis=0)
        return error

    def noise(self, readings: Readings) -> FloatArray:
        """See `Way.noise`: the residual of the fit."""
        noise = np.zeros(len(readings.names))
        fit = self.fit(readings)
        if fit is not None:
            noise[readings.seen] = np.sqrt(np.nanmean(fit.residual**2, axis=0))
        return noise

    def flat(self, readings: Readings) -> Any:
        """See `Way.flat`: never, because the amounts of the phases tell it."""
        return np.zeros(len(readings.names), dtype=bool)

    def absent(self, fit: PhaseFit) -> list[str]:
        """The phases that are absent from all spectra: the upper end of their amount is small."""
        total = np.maximum(fit.weights.sum(axis=0), 1e-300)
        highest = (fit.high / total).max(axis=1)
        return [name for name, share in zip(fit.names, highest, strict=True) if share < FLOOR]

    def unexplained(self, readings: Readings, fit: PhaseFit) -> Any:
        """Whether the references do not explain each of the spectra that have readings, shape (m,), bool.

        The residual is larger than its known noise, or it is no noise: it has an order over the energies, or outliers.
        """
        if self._told(readings):
            return fit.reduced_chi2 > UNLIKELY
        found = np.zeros(fit.residual.shape[1], dtype=bool)
        order = np.argsort(readings.energies, kind="stable")
        for spectrum, (residual, values) in enumerate(
            zip(fit.residual[order].T, readings.values[order][:, readings.seen].T, strict=True)
        ):
            known = np.isfinite(residual)
            left = residual[known]
            size = float(np.sqrt(np.mean(left**2)))
            if size <= UNEXPLAINED * float(np.ptp(values[known])):
                continue
            outlier = np.max(np.abs(left)) > OUTLIER * float(np.median(np.abs(left)))
            found[spectrum] = outlier or not without_order(readings.energies[order][known], left)
        return found

    @property
    def _range(self) -> tuple[float, float]:
        return float(self.references.energies[0]), float(self.references.energies[-1])

    def _told(self, readings: Readings) -> bool:
        return bool(np.isfinite(readings.std[np.isfinite(readings.values)]).all())

    def _columns(self, energies: FloatArray, fit: PhaseFit | None) -> FloatArray:
        """The references, the background, and the change by a shift of the energy."""
        columns = [self.references.at(energies)]
        low, high = self._range
        middle, span = 0.5 * (low + high), high - low
        columns += [
            ((energies - middle) / span)[:, None] ** power for power in range(BACKGROUNDS[self.options.background])
        ]
        if self.options.shift_std_ev > 0.0:
            p = columns[0].shape[1]
            weights = np.full(p, 1.0 / p) if fit is None else fit.weights.mean(axis=1)
            ahead = self.references.at(np.clip(energies + 0.25, low, high))
            behind = self.references.at(np.clip(energies - 0.25, low, high))
            columns.append(((ahead - behind) @ weights / 0.5)[:, None])
        return np.concatenate(columns, axis=1)

    def _prior(self, unknowns: int, fit: PhaseFit | None) -> FloatArray:
        """Prior standard deviations: a phase that proves absent is known to be."""
        prior = np.ones(unknowns)
        if self.options.shift_std_ev > 0.0:
            prior[-1] = self.options.shift_std_ev
        if fit is not None:
            total = max(float(fit.weights.sum(axis=0).max()), 1e-12)
            prior *= total
            highest = fit.high.max(axis=1) / total
            prior[: len(highest)] = total * np.clip(highest, FLOOR, 1.0)
            if self.options.shift_std_ev > 0.0:
                prior[-1] = self.options.shift_std_ev
        return prior

    def _std(self, energies: FloatArray, fit: PhaseFit | None, readings: Readings) -> FloatArray:
        """Expected standard deviation of a reading at each energy."""
        columns = self.references.at(energies)
        level = columns.mean(axis=1) if fit is None else (columns @ fit.weights).mean(axis=1)
        largest = max(float(np.max(np.abs(level))), 1e-12)
        size = 0.01 * largest
        told = readings.std[np.isfinite(readings.std)]
        if len(told):
            size = float(np.median(told))
        elif fit is not None:
            size = max(float(np.sqrt(np.nanmean(fit.residual**2))), 1e-6 * largest)
        shape = {
            "constant": np.ones_like(level),
            "transmission": np.exp(0.5 * np.clip(level, -5.0, 10.0)),
            "fluorescence": np.sqrt(np.maximum(level, 0.02 * largest)),
        }[self.options.noise]
        return np.asarray(size * shape / float(np.median(shape)), dtype=float)

    def _about_residual(
        self,
        readings: Readings,
        fit: PhaseFit,
        free: FloatArray,
        known: FloatArray,
        chosen: list[int],
        unexplained: Any,
    ) -> list[int]:
        """The design, but every second energy is near the largest residual and apart from what is known."""
        places = list(chosen)
        size = np.nan_to_num(np.sqrt(np.nanmean(fit.residual[:, unexplained] ** 2, axis=1)))
        near = np.exp(-0.5 * ((free[:, None] - readings.energies[None, :]) / WIDTH_EV) ** 2)
        weight = 0.1 * size.max() + np.max(near * size, axis=1)
        taken = list(known)
        for turn in range(0, len(places), 2):
            distance = np.min(np.abs(free[:, None] - np.array(taken)[None, :]), axis=1)
            score = weight * np.minimum(distance / WIDTH_EV, 1.0)
            score[[place for place in places if place != places[turn]]] = -1.0
            places[turn] = int(np.argmax(score))
            taken.append(float(free[places[turn]]))
        return places
