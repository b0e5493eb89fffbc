"""A model of a spectrum about an absorption edge, from few energies: a Gaussian process that knows what an edge is.

Ahead of the edge, a spectrum is a line with small peaks close to the edge. At the edge, it rises by a step within one
or two eV. Behind the edge, features widen: a photoelectron with wave number k = sqrt((E - E0) / 3.81 eV) in 1/Angstrom,
scattered at a distance R, gives oscillations of the phase 2 k R, so their width in energy grows with k; the lifetime of
the photoelectron smooths them further. The model holds this knowledge as priors of few hyper-parameters,
which a fit adapts to the spectrum at hand:

* the energy scale is warped, so that the length of correlation is short at the edge, long far ahead of it, and grows
  with k behind it (a Matern-5/2 kernel of the warped energy; Sampson and Guttorp 1992, J. Am. Stat. Assoc. 87, 108);
* the amplitude is smaller ahead of the edge;
* the mean is a line, plus a step and a second line behind the edge, whose coefficients have wide priors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

from ebl_autonomy.analysis.spectra import kernel
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import FloatArray

__all__ = ["SpectrumModel"]

PRIOR_MEAN: Final = np.array(
    [0.0, np.log(3.5), np.log(10.0), np.log(2.0), np.log(2.0), np.log(0.2), np.log(0.4), np.log(0.002)]
)
PRIOR_STD: Final = np.array([8.0, 0.4, 0.5, 0.4, 0.4, 0.8, 0.6, 2.5])
"""Of the hyper-parameters, in the order of `kernel.EDGE` and the following."""
HARD_EV: Final = 6000.0
GROWING: Final = 0.6
"""The model's unit of energy is 1 eV for hard X-rays; below, it grows with this power of the energy.

So do the widths of edges: the lifetime broadens K edges by 0.1 eV at 300 eV, L3 edges by 0.4 eV at 700 eV, and K edges
by 1.2 eV at 7 keV. The resolution of a monochromator is a share of the energy.
"""
UNITS: Final = (0.1, 1.0)
"""Bounds of the unit, in eV."""
FARTHEST: Final = 4.0
"""Bounds of the hyper-parameters, in standard deviations of the prior."""
ITERATIONS: Final = 40
FEW: Final = 16
"""Up to so many readings the fit begins at several places, because the edge may be in another gap."""
PRIOR_READINGS: Final = 0.3
"""Weight of the prior in the local surprise, in readings that surprised as the model expects."""


@dataclass(frozen=True)
class _Conditioned:
    """The process given the n readings of some of the spectra."""

    columns: npt.NDArray[np.int_]
    """Numbers of the spectra, shape (k,)."""
    features: FloatArray
    """Shape (n, 6)."""
    cholesky: FloatArray
    weights: FloatArray
    """Shape (n, k)."""
    surprise: FloatArray
    """Left-out residuals in units of their predicted standard deviation, root mean square over spectra, shape (n,)."""


class SpectrumModel:
    """The model of one or more spectra over the same energies, which share their hyper-parameters.

    Parameters
    ----------
    low, high : float
        Ends of the range of energies, in eV.
    edge : float, optional
        Where the edge is expected, in eV; by default, anywhere in the range.
    edge_std : float
        Standard deviation of that expectation, in eV.

    Attributes
    ----------
    parameters : FloatArray, shape (8,)
        The hyper-parameters, in the order of `kernel.EDGE` and the following, in the model's unit of energy.
    """

    def __init__(self, low: float, high: float, edge: float | None = None, edge_std: float = 8.0) -> None:
        self._unit = float(np.clip((0.5 * (low + high) / HARD_EV) ** GROWING, *UNITS)) if low + high > 0.0 else 1.0
        low, high, edge_std = low / self._unit, high / self._unit, edge_std / self._unit
        edge = None if edge is None else edge / self._unit
        self._mean, self._std = PRIOR_MEAN.copy(), PRIOR_STD.copy()
        self._mean[kernel.EDGE] = 0.5 * (low + high) if edge is None else edge
        self._std[kernel.EDGE] = (high - low) / 3.0 if edge is None else edge_std
        self.parameters: FloatArray = self._mean.copy()
        self._groups: list[_Conditioned] = []
        self._offset = self._scale = np.ones(0)

    @property
    def edge(self) -> float:
        """The most likely edge, in eV; the expected one before the fit."""
        return float(self.parameters[kernel.EDGE]) * self._unit

    @property
    def noise_std(self) -> FloatArray:
        """Fitted standard deviation of a reading of each spectrum, in its own unit, shape (m,)."""
        noise: FloatArray = np.exp(self.parameters[kernel.NOISE]) * self._scale
        return noise

    def density(self, energies: FloatArray) -> FloatArray:
        """Expected density of detail before anything is measured, shape (n,), in 1/eV.

        It is the inverse of the correlation length, averaged over the expectation of the edge.
        """
        energies = energies / self._unit
        total = np.zeros(len(energies))
        edges = self._mean[kernel.EDGE] + self._std[kernel.EDGE] * np.linspace(-1.5, 1.5, 13)
        for edge in edges:
            parameters = self._mean.copy()
            parameters[kernel.EDGE] = edge
            total += np.gradient(kernel.features(parameters, energies)[:, kernel.WARPED], energies) / len(edges)
        return total / self._unit

    def fit(self, energies: FloatArray, values: FloatArray, std: FloatArray | None = None) -> None:
        """Fit the hyper-parameters, and condition on the readings.

        Parameters
        ----------
        energies : FloatArray, shape (n,)
            In eV.
        values : FloatArray, shape (n, m)
            Readings of m spectra; NaN where one is missing.
        std : FloatArray, shape (n, m), optional
            Standard deviations of the readings, where they are known; 0 or NaN where not.

        Raises
        ------
        BadInputError
            If a spectrum has no reading.
        """
        known = np.isfinite(values)
        if not known.any(axis=0).all():
            raise BadInputError(
                f"spectra {np.flatnonzero(~known.any(axis=0)).tolist()} have no reading: leave them out"
            )
        order = np.argsort(energies, kind="stable")
        energies, values, known = energies[order] / self._unit, values[order], known[order]
        self._offset = np.array([column[seen][0] for column, seen in zip(values.T, known.T, strict=True)])
        extent = np.nanmax(values, axis=0) - np.nanmin(values, axis=0)
        self._scale = np.where(extent > 0.0, extent, np.maximum(np.abs(self._offset), 1.0))
        scaled = (values - self._offset) / self._scale
        told = np.zeros_like(values) if std is None else np.nan_to_num(std[order]) / self._scale
        groups = _groups(known)
        parts = [
            (energies[rows], scaled[np.ix_(rows, columns)], np.mean(told[np.ix_(rows, columns)] ** 2, axis=1), columns)
            for rows, columns in groups
        ]

        def cost(shifts: FloatArray) -> tuple[float, FloatArray]:
            found = sum(kernel.slope(self._mean + shifts * self._std, *part[:3]) for part in parts)
            return found[0] + 0.5 * float(shifts @ shifts), found[1:] * self._std + shifts

        starts = sorted(
            (np.clip((start - self._mean) / self._std, -FARTHEST, FARTHEST) for start in self._starts(*parts[0][:2])),
            key=lambda start: cost(start)[0],
        )
        fits = [
            minimize(
                cost,
                start,
                jac=True,
                method="L-BFGS-B",
                bounds=[(-FARTHEST, FARTHEST)] * len(self._mean),
                options={"maxiter": ITERATIONS},
            )
            for start in (starts if len(energies) <= FEW else starts[:1])
        ]
        best = min(fits, key=lambda fit: float(fit.fun))
        self.parameters = self._mean + best.x * self._std
        self._groups = [self._conditioned(*part) for part in parts]

    def predict(self, energies: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of each spectrum, without the noise of a reading, shape (n, m) each.

        The standard deviation is widened where the readings surprised the model, see `surprise`.
        """
        shape = (len(energies), len(self._scale))
        mean, std = np.zeros(shape), np.zeros(shape)
        features = kernel.features(self.parameters, energies / self._unit)
        for group in self._groups:
            cross = kernel.covariance(features, group.features)
            solved = solve_triangular(group.cholesky, cross.T, lower=True)
            left = np.sqrt(np.maximum(_variance(features) - np.sum(solved**2, axis=0), 0.0))
            mean[:, group.columns] = cross @ group.weights
            std[:, group.columns] = (left * _local_surprise(features, group))[:, None]
        return self._offset + self._scale * mean, self._scale * std

    def most_uncertain(
        self, candidates: FloatArray, count: int, pending: FloatArray | None = None
    ) -> tuple[npt.NDArray[np.int_], FloatArray]:
        """The candidates whose measurement tells most, one after the other.

        Each is where the predicted standard deviation is largest, given the ones before it. What is `pending` counts as
        measured.

        Returns
        -------
        chosen : int array, shape (count,)
            Places of the candidates, in the order of choice.
        std : FloatArray, shape (count,)
            The largest predicted standard deviation at each, as a share of the spectrum's range.
        """
        group = max(self._groups, key=lambda group: len(group.columns))
        features = kernel.features(self.parameters, candidates / self._unit)
        weight = np.max([_local_surprise(features, one) for one in self._groups], axis=0)
        noise = float(np.exp(2.0 * self.parameters[kernel.NOISE])) + kernel.JITTER
        solved = solve_triangular(group.cholesky, kernel.covariance(features, group.features).T, lower=True)
        left = np.maximum(_variance(features) - np.sum(solved**2, axis=0), 0.0)
        rows: list[FloatArray] = []

        def measure(other: FloatArray, of_other: FloatArray) -> None:
            """Take in a reading at one more energy: its row of the Cholesky factor."""
            nonlocal left
            column = kernel.covariance(features, other)[:, 0] - solved.T @ of_other[: len(solved)]
            for row, part in zip(rows, of_other[len(solved) :], strict=True):
                column = column - row * part
            own = float(_variance(other)[0] - np.sum(of_other**2)) + noise
            row = column / np.sqrt(max(own, noise))
            left = np.maximum(left - row**2, 0.0)
            rows.append(row)

        for energy in [] if pending is None else pending:
            nearest = int(np.argmin(np.abs(candidates - energy)))
            measure(features[nearest : nearest + 1], np.array([*solved[:, nearest], *(row[nearest] for row in rows)]))
        chosen, stds = [], []
        free = np.ones(len(candidates), dtype=bool)
        for _ in range(count):
            score = np.where(free, weight * np.sqrt(left), -1.0)
            best = int(np.argmax(score))
            chosen.append(best)
            stds.append(float(score[best]))
            free[best] = False
            measure(features[best : best + 1], np.array([*solved[:, best], *(row[best] for row in rows)]))
        return np.array(chosen), np.array(stds)

    # -- the process -------------------------------------------------------------------------------------------

    def _conditioned(
        self, energies: FloatArray, scaled: FloatArray, told: FloatArray, columns: npt.NDArray[np.int_]
    ) -> _Conditioned:
        features = kernel.features(self.parameters, energies)
        cholesky = kernel.factor(features, float(np.exp(2.0 * self.parameters[kernel.NOISE])), told)
        weights = cho_solve((cholesky, True), scaled)
        precision = np.diag(cho_solve((cholesky, True), np.eye(len(energies))))
        # Leaving reading i out changes its prediction by weights / precision, with the variance 1 / precision.
        surprise = np.sqrt(np.mean((weights / np.sqrt(precision)[:, None]) ** 2, axis=1))
        return _Conditioned(columns, features, cholesky, weights, surprise)

    def _starts(self, energies: FloatArray, scaled: FloatArray) -> list[FloatArray]:
        """Where the fit begins: the present parameters, and with the edge in the gap with the largest rise."""
        starts = [self.parameters]
        if len(energies) > 1:
            rise = np.mean(np.diff(scaled, axis=0), axis=1)
            for gap in np.argsort(-rise)[:1]:
                start = self._mean.copy()
                start[kernel.EDGE] = 0.5 * (energies[gap] + energies[gap + 1])
                starts.append(start)
        return starts


def _groups(known: npt.NDArray[np.bool_]) -> list[tuple[npt.NDArray[np.int_], npt.NDArray[np.int_]]]:
    """Rows and columns of the spectra that have their readings at the same energies; most readings first."""
    by_rows: dict[bytes, list[int]] = {}
    for column in range(known.shape[1]):
        by_rows.setdefault(known[:, column].tobytes(), []).append(column)
    groups = [(np.flatnonzero(known[:, columns[0]]), np.array(columns)) for columns in by_rows.values()]
    return sorted(groups, key=lambda group: -len(group[0]) * len(group[1]))


def _variance(features: FloatArray) -> FloatArray:
    """Prior variance of each energy, shape (n,)."""
    return np.asarray(
        features[:, kernel.AMPLITUDES] ** 2 + np.sum(features[:, kernel.LINES :] ** 2, axis=1), dtype=float
    )


def _local_surprise(features: FloatArray, group: _Conditioned) -> FloatArray:
    """How much larger than predicted errors are about each energy, shape (n,): from the left-out residuals nearby."""
    near = np.exp(-0.5 * (features[:, kernel.WARPED][:, None] - group.features[:, kernel.WARPED][None, :]) ** 2)
    square = (PRIOR_READINGS + near @ group.surprise**2) / (PRIOR_READINGS + near.sum(axis=1))
    return np.asarray(np.sqrt(square), dtype=float)
