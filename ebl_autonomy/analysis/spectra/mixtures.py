"""Phases in a spectrum: linear combinations of reference spectra, with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from scipy.optimize import nnls
from scipy.special import ndtri, stdtrit

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import FloatArray

__all__ = ["PhaseFit", "References", "fit_phases"]

ALIKE: Final = 0.9999
"""Cosine between two references above which no measurement tells them apart."""
CONDITION: Final = 1e6
"""Largest condition number of the normalised references together."""
BACKGROUNDS: Final = {"none": 0, "constant": 1, "linear": 2}
"""Number of unknowns of each kind of background."""
MOST_DESIGNS: Final = 256
"""Designs that are kept during the fit of many spectra."""
STEPS: Final = 20
"""Largest number of Newton's steps on a shift."""
LARGEST_STEP_EV: Final = 1.0
DIFFERENCE_EV: Final = 0.25
"""Half the distance over which references are differentiated, in eV."""


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
    designs: dict[bytes, _Design] = {}
    for column in range(readings.shape[1]):
        known = np.isfinite(readings[:, column])
        error = None if errors is None else errors[known, column]
        key = known.tobytes() + (b"" if error is None else error.tobytes())
        if key not in designs:
            if len(designs) >= MOST_DESIGNS:
                designs.clear()
            designs[key] = _Design(references, energies[known], error, BACKGROUNDS[background], level)
        fit = _Fit(designs[key], readings[known, column])
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


class _Design:
    """What fits of spectra with the same energies and errors share."""

    def __init__(
        self, references: References, energies: FloatArray, std: FloatArray | None, lines: int, level: float
    ) -> None:
        self.phases = len(references.names)
        unknowns = self.phases + lines
        if len(energies) < unknowns + (0 if std is not None else 1):
            raise BadInputError(
                f"{len(energies)} readings for {unknowns} unknowns ({self.phases} phases and {lines} of the background)"
                f"{'' if std is not None else ' and the noise'}: measure more energies, or leave phases out"
            )
        self.references, self.energies = references, energies
        self.known_std = std is not None
        self.error = np.ones(len(energies)) if std is None else std
        above = (energies - np.mean(energies)) / max(float(np.ptp(energies)), 1e-12)
        self.lines = above[:, None] ** np.arange(lines)
        self.columns = references.at(energies)
        self.freedom = max(len(energies) - unknowns, 1)
        tail = 0.5 + 0.5 * level
        self.quantile = float(ndtri(tail) if self.known_std else stdtrit(self.freedom, tail))
        design = np.column_stack([self.columns, self.lines]) / self.error[:, None]
        self.inverse: FloatArray = np.asarray(np.linalg.pinv(design.T @ design, hermitian=True), dtype=float)

    def shifted(self, shift: float) -> FloatArray:
        """The references where the energies of the spectrum read higher by `shift`, in eV; constant beyond their ends.

        Shape (n, p).
        """
        known = self.references.energies
        return self.references.at(np.clip(self.energies - shift, known[0], known[-1]))


class _Fit:
    """The fit of one spectrum, all of whose readings are finite."""

    def __init__(self, design: _Design, readings: FloatArray) -> None:
        self.design, self.readings = design, readings
        self.shift = 0.0

    def without_shift(self) -> _Fit:
        """Fit with the energies as they are."""
        design = self.design
        weights, free = self._non_negative(design.columns, design.lines)
        self._take(design.columns @ weights + design.lines @ free, weights)
        scaled = np.column_stack([design.columns, design.lines]) / design.error[:, None]
        self._spread(design.inverse, design.inverse @ (scaled.T @ (self.readings / design.error)))
        return self

    def with_shift(self, shift_std: float) -> _Fit:
        """Newton's steps on the shift, whose derivative is one more column of either sign."""
        design = self.design
        weights, _ = self._non_negative(design.columns, design.lines)
        for _ in range(STEPS):
            columns = design.shifted(self.shift)
            slope = (design.shifted(self.shift + DIFFERENCE_EV) - design.shifted(self.shift - DIFFERENCE_EV)) @ weights
            free = np.column_stack([design.lines, slope / (2.0 * DIFFERENCE_EV)])
            weights, coefficients = self._non_negative(columns, free)
            self._take(columns @ weights + free @ coefficients, weights)
            scaled = np.column_stack([columns, free]) / design.error[:, None]
            information, target = scaled.T @ scaled, scaled.T @ (self.readings / design.error)
            precision = self.variance / shift_std**2
            information[-1, -1] += precision
            target[-1] -= self.shift * precision
            inverse = np.asarray(np.linalg.pinv(information, hermitian=True), dtype=float)
            solution = inverse @ target
            self._spread(inverse, solution)
            step = float(np.clip(solution[-1], -LARGEST_STEP_EV, LARGEST_STEP_EV))
            self.shift += step
            if abs(step) < 1e-4:
                break
        return self

    def _non_negative(self, columns: FloatArray, free: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weights of the phases, and coefficients of the free columns; these have either sign, so each enters twice."""
        design = self.design
        scaled = np.column_stack([columns, free, -free]) / design.error[:, None]
        solution, _ = nnls(scaled, self.readings / design.error)
        phases, width = design.phases, free.shape[1]
        return solution[:phases], solution[phases : phases + width] - solution[phases + width :]

    def _take(self, fitted: FloatArray, weights: FloatArray) -> None:
        design = self.design
        self.weights = weights
        self.residual = self.readings - fitted
        chi2 = float(np.sum((self.residual / design.error) ** 2)) / design.freedom
        self.reduced_chi2 = chi2 if design.known_std else 1.0
        self.variance = 1.0 if design.known_std else chi2

    def _spread(self, inverse: FloatArray, unconstrained: FloatArray) -> None:
        """Intervals and covariance, from the fit without the condition that weights are not negative."""
        phases = self.design.phases
        self.covariance = self.variance * inverse[:phases, :phases]
        spread = self.design.quantile * np.sqrt(np.maximum(np.diag(self.covariance), 0.0))
        self.low = np.minimum(np.maximum(unconstrained[:phases] - spread, 0.0), self.weights)
        self.high = np.maximum(unconstrained[:phases] + spread, self.weights)
        total = float(self.weights.sum())
        if total > 0.0:
            self.fractions = self.weights / total
            change = (np.eye(phases) - self.fractions[:, None]) / total
            self.fraction_std = np.sqrt(np.maximum(np.diag(change @ self.covariance @ change.T), 0.0))
        else:
            self.fractions = self.fraction_std = np.full(phases, np.nan)


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
