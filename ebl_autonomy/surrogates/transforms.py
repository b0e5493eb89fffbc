"""Transforms of outcomes to the latent scale, on which a Gaussian process models them well, and of predictions back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ebl_autonomy.space import FloatArray

__all__ = ["POWERS", "OutcomeTransform", "in_units"]

POWERS: Final = (1.0, 0.5, 0.0)
"""The identity, the square root and the logarithm."""
STRAIGHT: Final = 1.1
"""Positive values whose largest is at most this many times the smallest are modelled as they are: every power is a
straight line over such a range, and which of them fits best would be decided by rounding."""
OFFSET: Final = 0.01
"""What is added to values before a power or logarithm is taken, as a share of their median."""
SPAN: Final = 10.0
"""Where nothing else decides, a positive outcome that spans more than this factor is modelled by its logarithm. Without
it, a spot that is 100 x too large would flatten the differences near the focus."""

FLAT: Final = 4.0 * float(np.finfo(float).eps)
"""Values that differ by less than this share of the largest differ by rounding, and count as equal."""


@dataclass(frozen=True)
class OutcomeTransform:
    """``z = (f(y / unit + offset) - shift) / scale``, with the power transforms of Box and Cox 1964.

    J. R. Stat. Soc. B 26, 211, up to constants: f(u) is ``u^power / power``, and the logarithm at power 0. For the
    values from which the transform was made, z has mean 0 and standard deviation 1, whatever their unit and, at power
    1, whatever is added to them. The offset limits the influence of values near zero: on a logarithmic scale, a
    millionth and a billionth are as far apart as a thousand and one.

    Attributes
    ----------
    power : float
        One of `POWERS`.
    shift, scale, offset : float
        Without unit.
    unit : float
        A power of two close to the largest magnitude, in the outcome's unit. To divide by it changes no digit, so the
        same values in a unit that is 2^k times as large have the same z, bit for bit.
    """

    power: float
    shift: float
    scale: float
    offset: float = 0.0
    unit: float = 1.0

    @classmethod
    def of(cls, y: FloatArray, power: float | None = None) -> OutcomeTransform:
        """The transform for measured values, shape (n,), none of them NaN.

        Parameters
        ----------
        power : float, optional
            One of `POWERS`; by default the logarithm for positive values that span more than a decade.
        """
        if power is None:
            power = 0.0 if cls.fits(y) and bool(y.max() > SPAN * y.min()) else 1.0
        peak = float(np.abs(y).max(initial=0.0))
        unit = math.ldexp(1.0, math.frexp(peak)[1] - 1) if peak > 0.0 else 1.0
        offset = OFFSET * float(np.median(y / unit)) if power != 1.0 and len(y) else 0.0
        values = cls(power, 0.0, 1.0, offset, unit).forward(y)
        if len(y) < 2:
            return cls(power, float(values.sum()), 1.0, offset, unit)
        # Deviations from one of the values keep the digits that an offset leaves, and are 0 where all are equal.
        deviations = values - values[0]
        shift, scale = float(values[0] + deviations.mean()), float(deviations.std())
        flat = scale <= FLAT * float(np.abs(values).max())
        return cls(power, shift, 1.0 if flat else scale, offset, unit)

    @property
    def whole_scale(self) -> float:
        """The scale for values that are not divided by the unit, so that transforms of one power can be compared."""
        return float(self.scale * self.unit**self.power)

    @property
    def in_words(self) -> str:
        """What `Diagnosis.modelled_as` says."""
        return {1.0: "as it is", 0.5: "by its square root", 0.0: "by its logarithm"}[self.power]

    @staticmethod
    def fits(y: FloatArray) -> bool:
        """Whether powers other than 1 apply to the values."""
        return bool(len(y)) and bool(y.min() > 0)

    @classmethod
    def matters(cls, y: FloatArray) -> bool:
        """Whether powers other than 1 apply to the values, and differ from it over their range."""
        return cls.fits(y) and bool(y.max() > STRAIGHT * y.min())

    def forward(self, y: FloatArray) -> FloatArray:
        """Values to z. A value for which f is undefined becomes the smallest z, so that bounds keep their meaning."""
        u = np.asarray(y, dtype=float) / self.unit + self.offset
        if self.power == 0.0:
            with np.errstate(divide="ignore", invalid="ignore"):
                u = np.where(u > 0, np.log(np.where(u > 0, u, 1.0)), -np.inf)
        elif self.power != 1.0:
            u = np.maximum(u, 0.0) ** self.power / self.power
        z: FloatArray = (u - self.shift) / self.scale
        return z

    def log_slopes(self, y: FloatArray) -> float:
        """The sum of log dz/dy, without which likelihoods under different transforms cannot be compared."""
        total = -len(y) * (math.log(self.scale) + math.log(self.unit))
        if self.power == 1.0:
            return total
        return total + (self.power - 1.0) * float(np.log(y / self.unit + self.offset).sum())

    def variance(self, y: FloatArray, variance: FloatArray) -> FloatArray:
        """Variances of y to variances of z, by the delta method."""
        u = np.maximum(np.abs(y / self.unit + self.offset), 1e-300)
        return np.asarray(variance * (u ** (self.power - 1.0) / self.scale / self.unit) ** 2, dtype=float)

    def backward(self, mean: FloatArray, std: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of a normally distributed z to those of y."""
        m, s = mean * self.scale + self.shift, std * self.scale
        if self.power == 0.0:
            s2 = np.minimum(s**2, 50.0)  # beyond this the moments of a log-normal overflow
            expected = np.exp(np.minimum(m + s2 / 2.0, 700.0))
            m, s = expected, expected * np.sqrt(np.expm1(s2))
        elif self.power != 1.0:
            root = np.maximum(0.5 * m, 0.0)
            m, s = root**2 + s**2 / 4.0, np.sqrt((root * s) ** 2 + s**4 / 8.0)
        return (m - self.offset) * self.unit, s * self.unit


def in_units(
    means: FloatArray, stds: FloatArray, transforms: Sequence[OutcomeTransform]
) -> tuple[FloatArray, FloatArray]:
    """Means and standard deviations of z, shape (n, m) each, to those of the outcomes, column by column."""
    columns = [transforms[i].backward(means[:, i], stds[:, i]) for i in range(means.shape[1])]
    return np.stack([mean for mean, _ in columns], axis=1), np.stack([std for _, std in columns], axis=1)
