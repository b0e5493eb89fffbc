"""Transforms of outcomes to the latent scale, on which a Gaussian process models them well, and of predictions back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ebl_autonomy.space import FloatArray

__all__ = ["POWERS", "OutcomeTransform", "in_units"]

POWERS: Final = (1.0, 0.5, 0.0)
"""The identity, the square root and the logarithm."""
OFFSET: Final = 0.01
"""What is added to values before a power or logarithm is taken, as a share of their median."""
SPAN: Final = 10.0
"""Where nothing else decides, a positive outcome that spans more than this factor is modelled by its logarithm. Without
it, a spot that is 100 x too large would flatten the differences near the focus."""


@dataclass(frozen=True)
class OutcomeTransform:
    """``z = (f(y) - shift) / scale``, where f is the transform of Box and Cox 1964 (J. R. Stat. Soc. B 26, 211).

    ``f(y) = ((y + offset)^power - 1) / power``, which is the logarithm at power 0 and ``y - 1`` at power 1. For the
    values from which the transform was made, z has mean 0 and standard deviation 1. The offset limits the influence of
    values near zero: on a logarithmic scale, a millionth and a billionth are as far apart as a thousand and one.

    Attributes
    ----------
    power : float
        One of `POWERS`.
    shift, scale, offset : float
    """

    power: float
    shift: float
    scale: float
    offset: float = 0.0

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
        offset = OFFSET * float(np.median(y)) if power != 1.0 and len(y) else 0.0
        values = cls(power, 0.0, 1.0, offset).forward(y)
        peak = float(np.abs(values).max(initial=0.0)) or 1.0  # the squares of the largest floats overflow
        shift = peak * float((values / peak).mean()) if len(y) else 0.0
        scale = peak * float((values / peak).std()) if len(y) > 1 else 1.0
        flat = not (np.isfinite(scale) and scale > 1e-12 * max(abs(shift), 1e-300))
        return cls(power, shift, 1.0 if flat else scale, offset)

    @property
    def in_words(self) -> str:
        """What `Diagnosis.modelled_as` says."""
        return {1.0: "as it is", 0.5: "by its square root", 0.0: "by its logarithm"}[self.power]

    @staticmethod
    def fits(y: FloatArray) -> bool:
        """Whether powers other than 1 apply to the values."""
        return bool(len(y)) and bool(y.min() > 0)

    def forward(self, y: FloatArray) -> FloatArray:
        """Values to z. A value for which f is undefined becomes the smallest z, so that bounds keep their meaning."""
        y = np.asarray(y, dtype=float) + self.offset
        if self.power == 1.0:
            y = y - 1.0
        elif self.power == 0.0:
            with np.errstate(divide="ignore", invalid="ignore"):
                y = np.where(y > 0, np.log(np.where(y > 0, y, 1.0)), -np.inf)
        else:
            y = (np.maximum(y, 0.0) ** self.power - 1.0) / self.power
        z: FloatArray = (y - self.shift) / self.scale
        return z

    def log_slopes(self, y: FloatArray) -> float:
        """The sum of log dz/dy, without which likelihoods under different transforms cannot be compared."""
        total = -len(y) * np.log(self.scale)
        return float(total + (self.power - 1.0) * np.log(y + self.offset).sum() if self.power != 1.0 else total)

    def variance(self, y: FloatArray, variance: FloatArray) -> FloatArray:
        """Variances of y to variances of z, by the delta method."""
        slope = np.maximum(np.abs(y + self.offset), 1e-300) ** (self.power - 1.0) / self.scale
        return np.asarray(variance * slope**2, dtype=float)

    def backward(self, mean: FloatArray, std: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of a normally distributed z to those of y."""
        m, s = mean * self.scale + self.shift, std * self.scale
        if self.power == 1.0:
            return m + 1.0, s
        if self.power == 0.0:
            s2 = np.minimum(s**2, 50.0)  # beyond this the moments of a log-normal overflow
            expected = np.exp(np.minimum(m + s2 / 2.0, 700.0))
            return expected - self.offset, expected * np.sqrt(np.expm1(s2))
        root = np.maximum(1.0 + 0.5 * m, 0.0)
        return root**2 + s**2 / 4.0 - self.offset, np.sqrt((root * s) ** 2 + s**4 / 8.0)


def in_units(
    means: FloatArray, stds: FloatArray, transforms: Sequence[OutcomeTransform]
) -> tuple[FloatArray, FloatArray]:
    """Means and standard deviations of z, shape (n, m) each, to those of the outcomes, column by column."""
    columns = [transforms[i].backward(means[:, i], stds[:, i]) for i in range(means.shape[1])]
    return np.stack([mean for mean, _ in columns], axis=1), np.stack([std for _, std in columns], axis=1)
