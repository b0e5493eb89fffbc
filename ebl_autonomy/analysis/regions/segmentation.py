"""Where a channel is more than its background, and more than chance makes of the background."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from ebl_autonomy.analysis.regions.evidence import Evidence, stabilised
from ebl_autonomy.analysis.regions.maps import Maps
from ebl_autonomy.scales import FloatArray

__all__ = ["Segment", "Segmentation", "segment", "segment_together"]

EIGHT: Final = np.ones((3, 3), dtype=bool)
"""Neighbours of a pixel, those at its corners too."""
_EXCLUDED: Final = 0.02
"""A pixel lies below the threshold if its own counts are so improbable at the threshold."""

ROUNDS: Final = 10
"""At most, of the search for the background; it usually takes three."""


@dataclass(frozen=True, eq=False)
class Segment:
    """A connected part of the map.

    Attributes
    ----------
    channel : str
        The channel that it is a segment of; several joined by ``+``.
    mask : bool array, shape (ny, nx)
    confidence : float
        Probability that it is no accident of noise: 1 minus the number of accidents, as pronounced as this, that are
        expected anywhere in the map.
    channels : tuple of str
        The channels, if they are several; by default the one.
    """

    channel: str
    mask: np.ndarray
    confidence: float
    channels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.channels:
            object.__setattr__(self, "channels", (self.channel,))

    @classmethod
    def of_several(cls, channels: Iterable[str], mask: np.ndarray, confidence: float) -> Segment:
        """A segment of several channels, each named once."""
        names = tuple(dict.fromkeys(channels))
        return cls("+".join(names), mask, confidence, names)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The segments of one channel.

    Attributes
    ----------
    segments : tuple of Segment
    background : FloatArray, shape (ny, nx)
        The rate between the segments.
    threshold : float
        The rate above which a pixel belongs to a segment.
    reason : str
        Why there is no segment; empty if there are some.
    """

    channel: str
    segments: tuple[Segment, ...]
    background: FloatArray
    threshold: float
    reason: str

    @property
    def mask(self) -> np.ndarray:
        """All segments together, shape (ny, nx)."""
        mask = np.zeros(self.background.shape, dtype=bool)
        for one in self.segments:
            mask |= one.mask
        return mask


def segment(
    maps: Maps,
    channel: str,
    *,
    scales: tuple[int, ...] = (1, 3, 5, 9),
    false_alarms: float = 0.01,
    level: float = 1.0,
    threshold: float | None = None,
    min_pixels: int = 1,
    min_confidence: float = 0.5,
    saturation: float | None = None,
) -> Segmentation:
    """The segments of one channel.

    A pixel belongs to a segment if the rate in a window around it exceeds a threshold, and if so many counts in this
    window are no accident of the background: over all windows of the map, `false_alarms` accidents are expected. Small
    windows come first, so that bright things keep their outlines and faint, large ones are found at all. The threshold
    is that of Otsu (1979, IEEE Trans. SMC 9, 62) on the square roots of the rates, on which Poisson noise is the same
    everywhere, between the significant pixels and as many of the background: of all pixels of the map, Otsu's threshold
    splits the background if the sample is small.

    Parameters
    ----------
    maps : Maps
    channel : str
    scales : tuple of int
        Sizes of the windows in pixels, odd.
    false_alarms : float
        Number of accidents expected in the map.
    level : float
        Factor on Otsu's threshold above the background.
    threshold : float, optional
        The threshold itself, in the unit of the rates, in place of Otsu's.
    min_pixels : int
        Smallest segment.
    min_confidence : float
        Segments with less are left out.
    saturation : float, optional
        The rate that the detector cannot exceed; for the reason if the map is constant.

    Returns
    -------
    Segmentation
        In the order of the segments' first pixels.
    """
    evidence = Evidence.of(maps, channel)
    nothing = _nothing_to_see(evidence, channel, saturation)
    if nothing:
        return Segmentation(channel, (), np.full(maps.shape, math.nan), math.nan, nothing)
    windows = [evidence.over(size) for size in scales if size <= max(1, min(maps.shape) // 2)] or [evidence]
    smooth = stabilised(evidence.over(3).rate, evidence.counts)
    tests = len(windows) * float(evidence.known.sum())
    background, chance = _background(windows, smooth, false_alarms / tests)
    significant = chance < false_alarms / tests
    if not significant.any():
        return Segmentation(
            channel, (), np.full(maps.shape, background), math.nan,
            f"{channel}: no place differs from the background ({background:.3g}) by more than chance: count longer, or "
            "measure where the sample is",
        )  # fmt: skip
    if threshold is None:
        finest = _finest(windows, background, false_alarms / tests, smooth)
        threshold = _threshold(finest, significant, background, evidence.counts, level)
    mask = _mask(windows, background, threshold, false_alarms / tests)
    segments, left_out = [], 0
    labels, number = ndimage.label(mask, EIGHT)
    for i, place in enumerate(ndimage.find_objects(labels), 1):
        part = np.zeros(maps.shape, dtype=bool)
        part[place] = labels[place] == i
        # Whatever its shape, it was found by its most significant window, one of so many.
        accident = min(tests * float(chance[part].min()), 1.0)
        confidence = min(confidence_of(evidence, part, mask), 1.0 - accident)
        if part.sum() >= min_pixels and confidence >= min_confidence:
            segments.append(Segment(channel, part, confidence))
        else:
            left_out += 1
    reason = "" if segments else (
        f"{channel}: {number} places are above {threshold:.3g}, and none is larger than {min_pixels - 1} pixels and "
        f"stands out from its surroundings with a confidence of {min_confidence:g}"
    )  # fmt: skip
    return Segmentation(channel, tuple(segments), np.full(maps.shape, background), threshold, reason)


def segment_together(segmentations: list[Segmentation]) -> tuple[Segment, ...]:
    """Connected parts in which at least one channel has a segment; each named after all its channels."""
    if not segmentations:
        return ()
    union = np.any([one.mask for one in segmentations], axis=0)
    labels, number = ndimage.label(union, EIGHT)
    together = []
    for i in range(1, number + 1):
        mask = labels == i
        parts = [part for one in segmentations for part in one.segments if mask[part.mask].any()]
        names = [name for part in parts for name in part.channels]
        together.append(Segment.of_several(names, mask, max(part.confidence for part in parts)))
    return tuple(together)


def confidence_of(evidence: Evidence, mask: np.ndarray, taken: np.ndarray) -> float:
    """Probability that the contrast of a segment is no accident.

    The rate inside is compared with that in a ring around it, as large as the segment. The standard deviation of the
    difference has three parts: the counts inside, those in the ring, and how much the ring varies by more than its
    counts explain, which no counting time removes. An accident could have happened wherever the segment fits.

    Parameters
    ----------
    evidence : Evidence
        Of single pixels.
    mask : bool array, shape (ny, nx)
        The segment.
    taken : bool array, shape (ny, nx)
        All segments; the ring leaves them out.
    """
    ring = surroundings(evidence, mask, taken)
    inside, noise = evidence.within(mask)
    if not ring.any() or not math.isfinite(inside):
        return 0.0
    outside, outside_noise = evidence.within(ring)
    if evidence.counts:  # the counts that the background alone would give
        noise = math.sqrt(max(outside * float(evidence.weight[mask].sum()), 0.5)) / float(evidence.weight[mask].sum())
    rates, own = evidence.rate[ring], evidence.std[ring]
    excess = float(np.median((rates - np.median(rates)) ** 2) / 0.455 - np.median(own**2)) if ring.sum() > 8 else 0.0
    z = (inside - outside) / math.sqrt(noise**2 + outside_noise**2 + max(excess, 0.0))
    trials = max(float(evidence.known.sum()) / float(mask.sum()), 1.0)
    return float(np.clip(1.0 - trials * 0.5 * math.erfc(z / math.sqrt(2.0)), 0.0, 1.0))


def surroundings(evidence: Evidence, mask: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """The measured pixels around a segment, at least as many as it has, beginning two pixels away; no other segment."""
    wanted = max(int(mask.sum()), 8)
    free = evidence.known & ~taken
    ring = np.zeros(mask.shape, dtype=bool)
    grown = ndimage.binary_dilation(mask, EIGHT)
    for _ in range(max(mask.shape)):
        grown = ndimage.binary_dilation(grown, EIGHT)
        ring = grown & free & ~ndimage.binary_dilation(mask, EIGHT)
        if ring.sum() >= wanted or grown.all():
            break
    return ring if ring.any() else ndimage.binary_dilation(mask, EIGHT) & free


def _background(windows: list[Evidence], smooth: FloatArray, alarm: float) -> tuple[float, FloatArray]:
    """The rate between things, and for each pixel the smallest chance that a window around it is so by accident.

    Beginning below Otsu's threshold, where no thing is, it is the mean of all pixels that are not significantly above
    it: first of single pixels, so that noise is not taken for things, then of all windows.
    """
    single = windows[0]
    level = _mean(single, single.known & ~(smooth > _otsu(smooth[np.isfinite(smooth)])))
    chance = single.above(level)
    for number in range(ROUNDS):
        free = single.known & (chance >= alarm)
        if not free.any():
            break
        before, level = level, _mean(single, free)
        chance = np.min([one.above(level) for one in windows], axis=0)
        if number and abs(level - before) <= 1e-6 * abs(before):
            break
    return level, chance


def _mean(evidence: Evidence, mask: np.ndarray) -> float:
    """Mean rate; of counts with one more, because no counts do not prove that the rate is 0."""
    return float((evidence.total[mask].sum() + evidence.counts) / max(evidence.weight[mask].sum(), 1e-300))


def _mask(windows: list[Evidence], background: float, threshold: float, alarm: float) -> np.ndarray:
    """The pixels whose smallest significant window is above the threshold, unless a smaller one excludes it."""
    mask = np.zeros(windows[0].total.shape, dtype=bool)
    excluded = mask.copy()
    for window in windows:
        found = (window.above(background) < alarm) & (np.nan_to_num(window.rate) > threshold)
        mask |= found & ~excluded
        excluded |= window.below(threshold) < _EXCLUDED
    return mask


def _nothing_to_see(evidence: Evidence, channel: str, saturation: float | None) -> str:
    """Why a map cannot have segments; empty if it can."""
    rates = evidence.rate[evidence.known]
    if not len(rates):
        return f"{channel}: no pixel was measured (NaN, no live time, or no I0): check the detector and the shutter"
    if len(rates) == 1:
        return f"{channel}: one pixel has no surroundings to stand out from: measure a map"
    if not rates.any():
        return f"{channel}: no counts anywhere: count longer, or check the detector"
    if saturation is not None and (rates >= saturation * (1.0 - 1e-9)).mean() > 0.9:
        return f"{channel}: saturated at {saturation:g} nearly everywhere: attenuate the beam"
    if np.ptp(rates) <= 1e-9 * np.abs(rates).max():
        return f"{channel}: {rates[0]:.3g} everywhere, as a saturated detector shows: attenuate the beam, or check it"
    return ""


def _otsu(values: FloatArray) -> float:
    from skimage.filters import threshold_otsu  # half a second to import

    return float(threshold_otsu(values)) if np.ptp(values) > 0.0 else float(values[0])


def _finest(windows: list[Evidence], background: float, alarm: float, smooth: FloatArray) -> FloatArray:
    """Of significant pixels, the rate in their smallest significant window; of others, `smooth`. Stabilised.

    The large windows around something small and bright would hide how bright it is.
    """
    rates = smooth.copy()
    for window in reversed(windows):
        found = window.above(background) < alarm
        rates[found] = stabilised(window.rate, window.counts)[found]
    return rates


def _threshold(rates: FloatArray, significant: np.ndarray, background: float, counts: bool, level: float) -> float:
    """Otsu's threshold between the significant pixels and as many of the background, on the scale of the rates."""
    inside = rates[significant & np.isfinite(rates)]
    outside = np.sort(rates[~significant & np.isfinite(rates)])
    if len(outside) > len(inside):  # evenly from the darkest to the brightest
        outside = outside[np.linspace(0, len(outside) - 1, max(len(inside), 1)).round().astype(int)]
    otsu = _unstabilised(_otsu(np.concatenate([inside, outside])), counts)
    return background + level * (otsu - background)


def _unstabilised(value: float, counts: bool) -> float:
    return float(value) ** 2 if counts else float(value)
