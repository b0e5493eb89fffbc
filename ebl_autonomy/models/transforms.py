"""Bringing an outcome into a form that a Gaussian process models well, and predictions back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ebl_autonomy.space import FloatArray

__all__ = ["OutcomeTransform"]

SPAN = 10.0
"""A positive outcome that spans more than this factor is modelled in its logarithm: a spot that is 100 x too large
must not flatten what happens near the focus."""


@dataclass(frozen=True)
class OutcomeTransform:
    """``z = (f(y) - shift) / scale`` with f the logarithm or the identity; z has mean 0 and standard deviation 1."""

    log: bool
    shift: float
    scale: float

    @classmethod
    def of(cls, y: FloatArray) -> OutcomeTransform:
        """Chosen from measured values, shape (n,), none of them NaN."""
        log = bool(len(y)) and bool(y.min() > 0) and bool(y.max() > SPAN * y.min())
        values = np.log(y) if log else y
        shift = float(values.mean()) if len(y) else 0.0
        scale = float(values.std()) if len(y) > 1 else 1.0
        return cls(log, shift, scale if np.isfinite(scale) and scale > 1e-12 * max(abs(shift), 1e-300) else 1.0)

    def forward(self, y: FloatArray) -> FloatArray:
        """Values to z; a value that has no logarithm becomes a very small z, so that bounds keep their meaning."""
        y = np.asarray(y, dtype=float)
        if self.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                y = np.where(y > 0, np.log(np.where(y > 0, y, 1.0)), -np.inf)
        z: FloatArray = (y - self.shift) / self.scale
        return z

    def variance(self, y: FloatArray, variance: FloatArray) -> FloatArray:
        """Variances of y to variances of z (delta method)."""
        slope = (1.0 / np.maximum(np.abs(y), 1e-300) if self.log else 1.0) / self.scale
        return np.asarray(variance * slope**2, dtype=float)

    def backward(self, mean: FloatArray, std: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of z to those of y (log-normal where the logarithm was taken)."""
        m, s = mean * self.scale + self.shift, std * self.scale
        if not self.log:
            return m, s
        s2 = np.minimum(s**2, 50.0)  # beyond this the moments of a log-normal overflow and say nothing
        expected = np.exp(np.minimum(m + s2 / 2.0, 700.0))
        return expected, expected * np.sqrt(np.expm1(s2))
