"""What the counts in windows of several sizes say about a rate: exact Poisson tails, whatever was measured or not.

Counts and exposures are summed separately. So gaps, scattered points, and pixels of different dwell time, live time or
I0 need no interpolation, and a sum of counts is again a Poisson number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage, special

from ebl_autonomy.analysis.regions.maps import Maps, estimated_std
from ebl_autonomy.scales import FloatArray

__all__ = ["Evidence"]

_TINY: Final = 1e-12


@dataclass(frozen=True, eq=False)
class Evidence:
    """Sums of counts and exposures of one channel; for values that are no counts, sums weighted by 1 / variance.

    Attributes
    ----------
    total : FloatArray, shape (ny, nx)
        Counts, or values over their variance; 0 where not measured.
    weight : FloatArray, shape (ny, nx)
        Exposure, or 1 over the variance; 0 where not measured.
    counts : bool
    """

    total: FloatArray
    weight: FloatArray
    counts: bool

    @classmethod
    def of(cls, maps: Maps, channel: str) -> Evidence:
        """The evidence of single pixels."""
        exposure = maps.exposure(channel)
        known = exposure > 0.0
        values = np.where(known, maps.channels[channel], 0.0)
        if channel not in maps.std:
            return cls(values, exposure, True)
        given = maps.std[channel]
        std = np.broadcast_to(estimated_std(np.where(known, values, np.nan)) if given is None else given, maps.shape)
        known &= np.isfinite(std) & (std >= 0.0)
        # Values without noise keep a finite weight.
        floor = 1e-9 * max(float(np.abs(values).max(initial=0.0)), 1e-300)
        weight = np.where(known, 1.0 / np.maximum(np.where(known, std, 1.0), floor) ** 2, 0.0)
        return cls(values * weight, weight, False)

    def over(self, size: int) -> Evidence:
        """The evidence in windows of ``size x size`` pixels around each pixel."""
        if size == 1:
            return self
        return Evidence(_box(self.total, size), _box(self.weight, size), self.counts)

    def part(self, window: tuple[slice, slice]) -> Evidence:
        """That of a window of the map."""
        return Evidence(self.total[window], self.weight[window], self.counts)

    @property
    def known(self) -> np.ndarray:
        """Where something was measured."""
        return self.weight > 0.0

    @property
    def rate(self) -> FloatArray:
        """Mean rate or value; NaN where nothing was measured."""
        rate: FloatArray = np.divide(self.total, self.weight, out=np.full(self.total.shape, np.nan), where=self.known)
        return rate

    @property
    def std(self) -> FloatArray:
        """Standard deviation of `rate`; of counts by Poisson's law, with half a count for none."""
        weight = np.maximum(self.weight, _TINY)
        return np.asarray(np.sqrt(np.maximum(self.total, 0.5)) / weight if self.counts else 1.0 / np.sqrt(weight))

    def above(self, level: FloatArray | float) -> FloatArray:
        """Probability of at least this total if the true rate is `level`; 1 where nothing was measured or it is less.

        What is no more than expected is no sign of anything, so its probability, about a half or more, is not computed.
        """
        tail = np.ones(self.total.shape)
        expected = np.maximum(level * self.weight, _TINY)
        more = self.known & (self.total > (expected if self.counts else level * self.weight))
        if self.counts:
            tail[more] = special.gammainc(self.total[more], expected[more])
        else:
            excess = (self.total - level * self.weight)[more]
            tail[more] = special.ndtr(-excess / np.sqrt(self.weight[more]))
        return tail

    def below(self, level: FloatArray | float) -> FloatArray:
        """Probability of at most this total if the true rate is `level`; 1 where nothing was measured or it is more."""
        tail = np.ones(self.total.shape)
        expected = np.maximum(level * self.weight, _TINY)
        less = self.known & (self.total < (expected if self.counts else level * self.weight))
        if self.counts:
            tail[less] = special.gammaincc(self.total[less] + 1.0, expected[less])
        else:
            deficit = (level * self.weight - self.total)[less]
            tail[less] = special.ndtr(-deficit / np.sqrt(self.weight[less]))
        return tail

    def within(self, mask: np.ndarray) -> tuple[float, float]:
        """Mean rate inside of a mask and its standard deviation; NaN and infinity if nothing was measured there."""
        total, weight = float(self.total[mask].sum()), float(self.weight[mask].sum())
        if weight <= 0.0:
            return math.nan, math.inf
        if self.counts:
            return total / weight, math.sqrt(max(total, 0.5)) / weight
        return total / weight, 1.0 / math.sqrt(weight)


def stabilised(rate: FloatArray, counts: bool) -> FloatArray:
    """Rates on a scale on which Poisson noise is the same everywhere: their square root; values as they are."""
    return np.sqrt(np.maximum(rate, 0.0)) if counts else rate


def _box(values: FloatArray, size: int) -> FloatArray:
    summed = ndimage.uniform_filter(values, size, mode="constant") * size**2
    # Running sums leave rounding behind where the sum is 0.
    scale = float(np.abs(values).max(initial=0.0))
    return np.where(np.abs(summed) <= 1e-9 * scale, 0.0, summed)
