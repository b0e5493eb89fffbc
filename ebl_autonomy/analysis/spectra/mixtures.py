"""Phases in a spectrum: linear combinations of reference spectra, with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from scipy.optimize import nnls
from scipy.stats import norm, t

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import FloatArray

__all__ = ["PhaseFit", "References", "fit_phases"]

ALIKE: Final = 0.9999
"""Cosine between two references above which no measurement tells them apart."""
CONDITION: Final = 1e6
"""Largest condition number of the normalised references together."""
BACKGROUNDS: Final = {"none": 0, "constant": 1, "linear": 2}


@dataclass(frozen=True)
class References:
    """Reference spectra of pure phases over common energies.

    Parameters
    ----------
    energies : FloatArray, shape (r,)
        In eV, ascending.
    spectra : mapping of str to FloatArray, shape (r,) each

    Raises
    ------
    BadInputError
        If the shapes differ, energies do not ascend, a value is not finite, or references are collinear.
    """

    energies: FloatArray
    spectra: Mapping[str, FloatArray]

    def __post_init__(self) -> None:
        energies = np.asarray(self.energies, dtype=float)
        if not self.spectra:
            raise BadInputError("references={}: give at least one reference spectrum")
        if energies.ndim != 1 or len(energies) < 2 or not np.all(np.diff(energies) > 0.0):
            raise BadInputError("reference_energies must be a list of at least 2 ascending energies in eV")
        for name, spectrum in self.spectra.items():
            if np.shape(spectrum) != energies.shape:
                raise BadInputError(
                    f"reference {name!r} has {np.size(spectrum)} values, but there are {len(energies)} "
                    "reference_energies: give one value per energy"
                )
            if not np.all(np.isfinite(np.asarray(spectrum, dtype=float))):
                raise BadInputError(f"reference {name!r} has values that are not finite: cut them off, or fill them in")
            if not np.any(spectrum):
                raise BadInputError(f"reference {name!r} is zero at all energies: leave it out")
        object.__setattr__(self, "energies", energies)
        object.__setattr__(self, "spectra", {n: np.asarray(s, dtype=float) for n, s in self.spectra.items()})

    @property
    def names(self) -> list[str]:
        """The phases, in order."""
        return list(self.spectra)

    def at(self, energies: FloatArray) -> FloatArray:
        """The references at n energies, by linear interpolation, shape (n, p).

        Raises
        ------
        BadInputError
            If an energy lies outside the range of the references.
        """
        self.require_cover(float(np.min(energies)), float(np.max(energies)))
        return np.stack([np.interp(energies, self.energies, spectrum) for spectrum in self.spectra.values()], axis=1)

    def require_cover(self, low: float, high: float) -> None:
        """Check that the references cover a range.

        Raises
        ------
        BadInputError
            If they do not; the message names both ranges.
        """
        first, last = float(self.energies[0]), float(self.energies[-1])
        tolerance = 1e-6 * (last - first)
        if low < first - tolerance or high > last + tolerance:
            raise BadInputError(
                f"the references cover {first:g} to {last:g} eV, but the energies reach from {low:g} to {high:g} eV: "
                "narrow the energies, or extend the references (ahead of the edge, a normalised reference is 0)"
            )

    def require_distinct(self, energies: FloatArray) -> None:
        """Check that measurements at these energies tell all references apart.

        Raises
        ------
        BadInputError
            If two references, or several together, are collinear; the message names them.
        """
        columns = self.at(energies)
        lengths = np.linalg.norm(columns, axis=0)
        if not np.all(lengths > 0.0):
            nothing = [name for name, length in zip(self.names, lengths, strict=True) if not length > 0.0]
            raise BadInputError(f"references {nothing} are zero at the {len(energies)} energies: choose other energies")
        unit = columns / lengths
        for i, j in combinations(range(unit.shape[1]), 2):
            cosine = float(unit[:, i] @ unit[:, j])
            if cosine > ALIKE:
                raise BadInputError(
                    f"references {self.names[i]!r} and {self.names[j]!r} have the same shape at the {len(energies)} "
                    f"energies from {np.min(energies):g} to {np.max(energies):g} eV (cosine {cosine:.6f}): no "
                    "measurement there tells them apart; leave one out"
                )
        if len(energies) >= unit.shape[1]:
            _, values, rows = np.linalg.svd(unit, full_matrices=False)
            if values[-1] * CONDITION < values[0]:
                part = [
                    n for n, w in zip(self.names, np.abs(rows[-1]), strict=True) if w > 0.1 * np.abs(rows[-1]).max()
                ]
                raise BadInputError(
                    f"references {part} are linearly dependent at these energies: leave one of them out"
                )


@dataclass(frozen=True)
class PhaseFit:
    """Linear combinations of references that fit m spectra at n energies.

    Attributes
    ----------
    names : list of str, length p
        The phases.
    weights : FloatArray, shape (p, m)
        Amount of each phase: the factor of its reference, not negative.
    low, high : FloatArray, shape (p, m)
        Confidence interval of each weight. Its ends are those of the fit without the condition that weights are not
        negative, cut at 0, so that it holds the true weight as often as it claims even where a phase is absent.
    fractions : FloatArray, shape (p, m)
        The weights divided by their sum; NaN where the sum is 0.
    fraction_std : FloatArray, shape (p, m)
        Standard deviation of the fractions, to first order.
    covariance : FloatArray, shape (m, p, p)
        Of the weights, without the condition.
    residual : FloatArray, shape (n, m)
        Reading minus fit; NaN where there is no reading.
    reduced_chi2 : FloatArray, shape (m,)
        Mean square of the residual in units of `std`, per degree of freedom; 1 where `std` was not given.
    shift_ev : FloatArray, shape (m,)
        How much higher than in the references the energies of the spectrum read; 0 unless it was fitted.
    """

    names: list[str]
    weights: FloatArray
    low: FloatArray
    high: FloatArray
    fractions: FloatArray
    fraction_std: FloatArray
    covariance: FloatArray
    residual: FloatArray
    reduced_chi2: FloatArray
    shift_ev: FloatArray


def fit_phases(
    energies: FloatArray,
    spectra: FloatArray,
    references: References,
    *,
    std: FloatArray | float | None = None,
    background: str = "none",
    shift_std_ev: float = 0.0,
    level: float = 0.95,
) -> PhaseFit:
    """Fit spectra by non-negative linear combinations of references, by weighted least squares.

    Parameters
    ----------
    energies : FloatArray, shape (n,)
        In eV.
    spectra : FloatArray, shape (n,) or (n, m)
        NaN where a reading is missing.
    references : References
    std : FloatArray, shape (n,) or (n, m), or float, optional
        Standard deviation of each reading. By default, all readings of a spectrum have the same, which follows from the
        residual.
    background : {"none", "constant", "linear"}
        What is fitted beside the references, of either sign.
    shift_std_ev : float
        How far off the energies of the spectra may be, as a standard deviation; 0 for not at all.
    level : float
        Confidence level of the intervals.

    Raises
    ------
    BadInputError
        If shapes differ, there are fewer readings than unknowns, the references do not cover the energies or are
        collinear there, or an option is unknown or out of range.
    """
    energies = np.asarray(energies, dtype=float)
    readings = np.asarray(spectra, dtype=float)
    readings = readings[:, None] if readings.ndim == 1 else readings
    if energies.ndim != 1 or readings.ndim != 2 or len(readings) != len(energies):
        raise BadInputError(f"energies {energies.shape} and spectra {np.shape(spectra)}: give (n,) and (n, m)")
    if background not in BACKGROUNDS:
        raise BadInputError(f"background={background!r}: give one of {list(BACKGROUNDS)}")
    if not 0.0 < level < 1.0:
        raise BadInputError(f"level={level:g}: give a confidence level between 0 and 1, such as 0.95")
    if not shift_std_ev >= 0.0:
        raise BadInputError(f"shift_std_ev={shift_std_ev:g}: give a standard deviation in eV, or 0")
    errors = _errors(std, readings)
    references.require_distinct(energies)
    fits = []
    for column in range(readings.shape[1]):
        known = np.isfinite(readings[:, column])
        error = None if errors is None else errors[known, column]
        fit = _Fit(references, energies[known], readings[known, column], error, BACKGROUNDS[background], level)
        fits.append(fit.with_shift(shift_std_ev) if shift_std_ev > 0.0 else fit.without_shift())
    residual = np.full(readings.shape, np.nan)
    for column, fit in enumerate(fits):
        residual[np.isfinite(readings[:, column]), column] = fit.residual

    def together(part: str) -> FloatArray:
        return np.stack([getattr(fit, part) for fit in fits], axis=1)

    return PhaseFit(
        names=references.names,
        weights=together("weights"),
        low=together("low"),
        high=together("high"),
        fractions=together("fractions"),
        fraction_std=together("fraction_std"),
        covariance=np.stack([fit.covariance for fit in fits]),
        residual=residual,
        reduced_chi2=np.array([fit.reduced_chi2 for fit in fits]),
        shift_ev=np.array([fit.shift for fit in fits]),
    )


class _Fit:
    """The fit of one spectrum, all of whose readings are finite."""

    def __init__(
        self,
        references: References,
        energies: FloatArray,
        readings: FloatArray,
        std: FloatArray | None,
        lines: int,
        level: float,
    ) -> None:
        self.references, self.energies, self.readings, self.level = references, energies, readings, level
        self.known_std = std is not None
        self.error = np.ones(len(energies)) if std is None else std
        self.phases = len(references.names)
        span = max(float(np.ptp(energies)), 1e-12) if len(energies) else 1.0
        middle = float(np.mean(energies)) if len(energies) else 0.0
        self.lines = (
            np.stack([((energies - middle) / span) ** power for power in range(lines)], axis=1)
            if lines
            else np.zeros((len(energies), 0))
        )
        self.shift = 0.0
        unknowns = self.phases + lines
        if len(energies) < unknowns + (0 if self.known_std else 1):
            raise BadInputError(
                f"{len(energies)} readings for {unknowns} unknowns ({self.phases} phases and {lines} of the background)"
                f"{'' if self.known_std else ' and the noise'}: measure more energies, or leave phases out"
            )

    def without_shift(self) -> _Fit:
        self._solve(self.references.at(self.energies), None, 0.0)
        return self

    def with_shift(self, shift_std: float) -> _Fit:
        """Newton's steps on the shift, whose derivative is one more column of either sign."""
        span = (float(self.references.energies[0]), float(self.references.energies[-1]))
        for _ in range(20):
            columns = self.references.at(np.clip(self.energies - self.shift, *span))
            half = 0.25
            ahead = self.references.at(np.clip(self.energies - self.shift + half, *span))
            behind = self.references.at(np.clip(self.energies - self.shift - half, *span))
            weights = self._non_negative(columns)
            slope = -((ahead - behind) @ weights) / (2.0 * half)
            if not np.any(slope):
                break
            step = self._solve(columns, slope, shift_std)
            self.shift += float(np.clip(step, -1.0, 1.0))
            if abs(step) < 1e-4:
                break
        return self if hasattr(self, "weights") else self.without_shift()

    def _non_negative(self, columns: FloatArray, extra: FloatArray | None = None) -> FloatArray:
        """Weights of the phases; the background and the extra column have either sign, so each enters twice."""
        free = self.lines if extra is None else np.column_stack([self.lines, extra])
        design = np.column_stack([columns, free, -free]) / self.error[:, None]
        solution, _ = nnls(design, self.readings / self.error)
        weights: FloatArray = solution[: self.phases]
        self._free = solution[self.phases : self.phases + free.shape[1]] - solution[self.phases + free.shape[1] :]
        return weights

    def _solve(self, columns: FloatArray, slope: FloatArray | None, shift_std: float) -> float:
        """Fit with the references at the present shift; returns the step of the shift that the slope asks for."""
        self.weights = self._non_negative(columns, slope)
        free = self.lines if slope is None else np.column_stack([self.lines, slope])
        self.residual = self.readings - columns @ self.weights - free @ self._free
        design = np.column_stack([columns, free]) / self.error[:, None]
        information = design.T @ design
        freedom = len(self.readings) - design.shape[1]
        chi2 = float(np.sum((self.residual / self.error) ** 2))
        variance = 1.0 if self.known_std else chi2 / max(freedom, 1)
        self.reduced_chi2 = chi2 / max(freedom, 1) if self.known_std else 1.0
        if slope is not None:
            information[-1, -1] += variance / shift_std**2
        whole = np.linalg.pinv(information, hermitian=True)
        target = design.T @ (self.readings / self.error)
        if slope is not None:
            target[-1] -= self.shift * variance / shift_std**2
        unconstrained = (whole @ target)[: self.phases]
        self.covariance = variance * whole[: self.phases, : self.phases]
        spread = np.sqrt(np.maximum(np.diag(self.covariance), 0.0))
        quantile = (
            norm.ppf(0.5 + 0.5 * self.level) if self.known_std else t.ppf(0.5 + 0.5 * self.level, max(freedom, 1))
        )
        self.low = np.minimum(np.maximum(unconstrained - quantile * spread, 0.0), self.weights)
        self.high = np.maximum(unconstrained + quantile * spread, self.weights)
        total = float(self.weights.sum())
        if total > 0.0:
            self.fractions = self.weights / total
            change = (np.eye(self.phases) - self.fractions[:, None]) / total
            self.fraction_std = np.sqrt(np.maximum(np.diag(change @ self.covariance @ change.T), 0.0))
        else:
            self.fractions = self.fraction_std = np.full(self.phases, np.nan)
        return float(self._free[-1]) if slope is not None else 0.0


def _errors(std: FloatArray | float | None, readings: FloatArray) -> FloatArray | None:
    if std is None:
        return None
    given = np.asarray(std, dtype=float)
    given = given[:, None] if given.ndim == 1 else given
    try:
        errors = np.broadcast_to(given, readings.shape)
    except ValueError as error:
        raise BadInputError(
            f"std has the shape {np.shape(std)}, the spectra {readings.shape}: give one each"
        ) from error
    if not np.all(errors[np.isfinite(readings)] > 0.0):
        raise BadInputError("std must be positive and finite wherever a spectrum has a reading")
    return np.array(errors)
