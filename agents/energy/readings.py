"""Results of spectra as arrays, and what the two ways to choose energies have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np

from ebl_autonomy.records import STD
from ebl_autonomy.space import FloatArray

__all__ = ["Choice", "Readings", "Way", "without_order"]

NO_ORDER: Final = 0.6
"""Ratio of the mean square difference of successive values to twice their variance, above which they are but noise.

The ratio of noise is 1, with a standard deviation of about 1 / sqrt(values); that of a step is near 0.
"""


def without_order(energies: FloatArray, values: FloatArray) -> bool:
    """Whether values over ascending energies, shape (n,) each, are a line and noise, by von Neumann's ratio."""
    above = energies - energies.mean()
    left = values - np.polyval(np.polyfit(above, values, 1), above)
    rounding = 1e-9 * float(np.max(np.abs(values)))
    if np.max(np.abs(left)) <= rounding:
        return True
    return float(np.mean(np.diff(left) ** 2)) > NO_ORDER * 2.0 * float(np.mean(left**2))


@dataclass(frozen=True)
class Readings:
    """The results with a finite reading of at least one spectrum.

    Attributes
    ----------
    names : list of str, length m
        The spectra.
    energies : FloatArray, shape (n,)
        Where the monochromator was read, in eV.
    values, std : FloatArray, shape (n, m)
        NaN where unknown.
    """

    names: list[str]
    energies: FloatArray
    values: FloatArray
    std: FloatArray

    @classmethod
    def of(cls, results: Sequence[Mapping[str, Any]], energy: str, names: list[str]) -> Readings:
        """The readings of results."""
        shape = (len(results), len(names))
        values = np.array([[result[name] for name in names] for result in results], dtype=float).reshape(shape)
        std = np.array([[result.get(n + STD, np.nan) for n in names] for result in results], dtype=float).reshape(shape)
        energies = np.array([result[energy] for result in results], dtype=float)
        good = np.isfinite(values).any(axis=1)
        return cls(names, energies[good], values[good], np.where(std[good] > 0.0, std[good], np.nan))

    def __len__(self) -> int:
        return len(self.energies)

    @property
    def seen(self) -> list[int]:
        """Numbers of the spectra with at least one reading."""
        return np.flatnonzero(np.isfinite(self.values).any(axis=0)).tolist()


@dataclass(frozen=True)
class Choice:
    """Chosen energies, in eV, and why."""

    energies: FloatArray
    reason: str
    score: FloatArray = field(default_factory=lambda: np.zeros(0))


class Way(Protocol):
    """A way to choose energies. It keeps nothing that its answers depend on."""

    version: str
    """Of the model, for the record of decisions."""
    first: int
    """Number of energies of the first sweep, which needs no model."""

    def choose(
        self, readings: Readings, free: FloatArray, tried: FloatArray, pending: FloatArray, count: int
    ) -> Choice:
        """`count` of the `free` energies.

        `tried` are all energies that were proposed, with invalid and pending ones; `pending` those without a result.
        """

    def spectrum(self, readings: Readings, energies: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of each spectrum, shape (k, m) each; NaN for a spectrum without readings."""

    def noise(self, readings: Readings) -> FloatArray:
        """Standard deviation of a reading of each spectrum, shape (m,); 0 if unknown."""

    def flat(self, readings: Readings) -> Any:
        """Whether enough readings show that a spectrum has nothing but noise, shape (m,), bool."""

    def error(self, readings: Readings) -> FloatArray:
        """What the option ``target_error`` is compared with, of each spectrum, shape (m,); infinite if unknown."""
