"""Scales on which a variable is searched, other than its value."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

__all__ = ["FloatArray", "Logarithm", "Ranks", "Scale"]

LARGEST: Final = 300.0
"""Largest decimal logarithm of a value; beyond it, numbers would overflow."""


class Scale(Protocol):
    """A monotonic function of a variable's value."""

    def forward(self, values: FloatArray) -> FloatArray:
        """Values, shape (n,), on this scale, shape (n,)."""

    def backward(self, scaled: FloatArray) -> FloatArray:
        """The inverse of `forward`."""


class Logarithm:
    """The decimal logarithm; zero and negative values count as the smallest positive number."""

    def forward(self, values: FloatArray) -> FloatArray:
        """See `Scale.forward`."""
        logarithms: FloatArray = np.log10(np.maximum(values, np.finfo(float).tiny))
        return logarithms

    def backward(self, scaled: FloatArray) -> FloatArray:
        """See `Scale.backward`."""
        values: FloatArray = 10.0 ** np.clip(scaled, -LARGEST, LARGEST)
        return values


class Ranks:
    """The ranks of the values of a discrete variable, so that all neighbours are equally distant.

    Parameters
    ----------
    values : FloatArray, shape (k,)
        Two or more values, ascending. Between them and beyond them, ranks are interpolated and extrapolated linearly.
    """

    def __init__(self, values: FloatArray) -> None:
        self._values = values
        self._ranks = np.arange(len(values), dtype=float)

    def forward(self, values: FloatArray) -> FloatArray:
        """See `Scale.forward`."""
        return _interpolated(values, self._values, self._ranks)

    def backward(self, scaled: FloatArray) -> FloatArray:
        """See `Scale.backward`."""
        return _interpolated(scaled, self._ranks, self._values)


def _interpolated(x: FloatArray, known: FloatArray, values: FloatArray) -> FloatArray:
    """Linear interpolation in a table of two or more ascending points, extended straight beyond its ends."""
    i = np.clip(np.searchsorted(known, x, side="right") - 1, 0, len(known) - 2)
    share = (x - known[i]) / (known[i + 1] - known[i])
    result: FloatArray = values[i] + share * (values[i + 1] - values[i])
    return result
