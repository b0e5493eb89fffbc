"""Where a channel is more than its background, and more than chance makes of the background."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from ebl_autonomy.analysis.regions.evidence import Evidence, stabilised
from ebl_autonomy.analysis.regions.maps import Maps
from ebl_autonomy.analysis.regions.patches import EIGHT, Patch, Window, patches_of
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.scales import FloatArray

__all__ = ["Segment", "Segmentation", "segment", "segment_together"]

_EXCLUDED: Final = 0.02
"""A pixel lies below the threshold if its own counts are so improbable at the threshold."""

ROUNDS: Final = 10
"""At most, of the search for the background; it usually takes three."""
SLOPES: Final = 0.2
"""A background slopes if a plane makes so much less of the map significant: what a level one takes for a thing."""
FEW: Final = 5
"""Rows and columns without which no plane is told from a thing."""


class Segment:
    """A connected part of the map.

    Parameters
    ----------
    channel : str
        The channel that it is a segment of; several joined by ``+``.
    mask : bool array, shape (ny, nx), or Patch
    confidence : float
        Probability that it is no accident of noise: 1 minus the number of accidents, as pronounced as this, that are
        expected anywhere in the map.
    channels : sequence of str
        The channels, if they are several; by default the one.

    Raises
    ------
    BadInputError
        If the mask is no bool array with a true pixel.
    """

    def __init__(self, channel: str, mask: np.ndarray | Patch, confidence: float, channels: Iterable[str] = ()) -> None:
        if not isinstance(mask, Patch):
            given = np.asarray(mask)
            if given.dtype != bool or given.ndim != 2 or not given.any():
                raise BadInputError(
                    f"a segment of {channel!r} has a mask of shape {given.shape} and type {given.dtype}: give a bool "
                    "array of two dimensions, with a true pixel"
                )
            mask = Patch.of(given)
        self.channel, self.patch, self.confidence = channel, mask, confidence
        self.channels = tuple(channels) or (channel,)

    def __repr__(self) -> str:
        return f"<Segment of {self.channel!r}: {self.patch.pixels} pixels, confidence {self.confidence:.2g}>"

    @property
    def mask(self) -> np.ndarray:
        """Its pixels, shape (ny, nx)."""
        return self.patch.whole

    @classmethod
    def of_several(cls, channels: Iterable[str], patch: Patch, confidence: float) -> Segment:
        """A segment of several channels, each named once."""
        names = tuple(dict.fromkeys(channels))
        return cls("+".join(names), patch, confidence, names)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The segments of one channel.

    Attributes
    ----------
    segments : tuple of Segment
    background : FloatArray, shape (ny, nx)
        The rate between the segments.
    threshold : FloatArray, shape (ny, nx)
        The rate above which a pixel belongs to a segment.
    reason : str
        Why there is no segment; empty if there are some.
    """

    channel: str
    segments: tuple[Segment, ...]
    background: FloatArray
    threshold: FloatArray
    reason: str

    @property
    def mask(self) -> np.ndarray:
        """All segments together, shape (ny, nx)."""
        mask = np.zeros(self.background.shape, dtype=bool)
        for one in self.segments:
            one.patch.add_to(mask)
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
    splits the background if the sample is small. What is significant, and apart from everything that is above it, has
    a threshold of its own: so something bright does not hide something dim.

    The background is level, or a plane if a level one makes things of much of the map that a plane explains.

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
        empty = np.full(maps.shape, math.nan)
        return Segmentation(channel, (), empty, empty, nothing)
    windows = [evidence.over(size) for size in scales if size <= max(1, min(maps.shape) // 2)] or [evidence]
    smooth = stabilised(evidence.over(3).rate, evidence.counts)
    tests = len(windows) * float(evidence.known.sum())
    alarm = false_alarms / tests
    background, chance = _background(windows, smooth, alarm)
    significant = chance < alarm
    if not significant.any():
        return Segmentation(
            channel, (), background, np.full(maps.shape, math.nan),
            f"{channel}: no place differs from the background ({np.median(background):.3g}) by more than chance: count "
            "longer, or measure where the sample is",
        )  # fmt: skip
    if threshold is None:
        finest = _finest(windows, background, alarm, smooth)
        thresholds = _threshold(finest, significant, ~significant, background, evidence.counts, level)
        mask = _mask(windows, background, thresholds, alarm)
        mask |= _dim(windows, background, finest, significant, mask, alarm, level)
    else:
        thresholds = np.full(maps.shape, float(threshold))
        mask = _mask(windows, background, thresholds, alarm)
    segments, number = [], 0
    for number, part in enumerate(patches_of(mask), 1):  # noqa: B007 - their number is told
        # Whatever its shape, it was found by its most significant window, one of so many.
        accident = min(tests * float(part.of_map(chance).min()), 1.0)
        if part.pixels < min_pixels or 1.0 - accident < min_confidence:
            continue
        confidence = min(confidence_of(evidence, part, mask), 1.0 - accident)
        if confidence >= min_confidence:
            segments.append(Segment(channel, part, confidence))
    reason = "" if segments else (
        f"{channel}: {number} places are above {np.median(thresholds):.3g}, and none is larger than {min_pixels - 1} "
        f"pixels and stands out from its surroundings with a confidence of {min_confidence:g}"
    )  # fmt: skip
    return Segmentation(channel, tuple(segments), background, thresholds, reason)


def segment_together(segmentations: list[Segmentation]) -> tuple[Segment, ...]:
    """Connected parts in which at least one channel has a segment; each named after all its channels."""
    if not segmentations:
        return ()
    labels, _ = ndimage.label(np.any([one.mask for one in segmentations], axis=0), EIGHT)
    parts: dict[int, list[Segment]] = {}
    for one in segmentations:
        for part in one.segments:
            parts.setdefault(int(part.patch.of_map(labels)[0]), []).append(part)
    together = []
    for _, group in sorted(parts.items()):
        names = [name for part in group for name in part.channels]
        patch = group[0].patch.joined(*(part.patch for part in group[1:]))
        together.append(Segment.of_several(names, patch, max(part.confidence for part in group)))
    return tuple(together)


def confidence_of(evidence: Evidence, mask: np.ndarray | Patch, taken: np.ndarray) -> float:
    """Probability that the contrast of a segment is no accident.

    The rate inside is compared with that in a ring around it, as large as the segment. The standard deviation of the
    difference has three parts: the counts inside, those in the ring, and how much the ring varies by more than its
    counts explain, which no counting time removes. An accident could have happened wherever the segment fits.

    Parameters
    ----------
    evidence : Evidence
        Of single pixels.
    mask : bool array, shape (ny, nx), or Patch
        The segment.
    taken : bool array, shape (ny, nx)
        All segments; the ring leaves them out.
    """
    patch = Patch.of(mask)
    ((window, ring),) = surroundings(patch, [evidence.known & ~taken])
    within = evidence.part(patch.window)
    inside, noise = within.within(patch.mask)
    if not ring.any() or not math.isfinite(inside):
        return 0.0
    around = evidence.part(window)
    outside, outside_noise = around.within(ring)
    if evidence.counts:  # the counts that the background alone would give
        exposed = float(within.weight[patch.mask].sum())
        noise = math.sqrt(max(outside * exposed, 0.5)) / exposed
    excess = 0.0
    if np.count_nonzero(ring) > 8:
        rates = around.rate[ring]
        excess = float(np.median((rates - np.median(rates)) ** 2) / 0.455 - np.median(around.std[ring] ** 2))
    z = (inside - outside) / math.sqrt(noise**2 + outside_noise**2 + max(excess, 0.0))
    trials = max(float(np.count_nonzero(evidence.known)) / patch.pixels, 1.0)
    return min(max(1.0 - trials * 0.5 * math.erfc(z / math.sqrt(2.0)), 0.0), 1.0)


def surroundings(patch: Patch, free: Sequence[np.ndarray]) -> list[tuple[Window, np.ndarray]]:
    """The pixels around a segment, at least as many as it has, beginning two pixels away; of several channels.

    Parameters
    ----------
    patch : Patch
        The segment.
    free : sequence of bool array, shape (ny, nx)
        For each channel, where it was measured and has no segment.

    Returns
    -------
    list of (window, bool array)
        A window of the map, and the ring in it. If nothing is free two pixels away, it is next to the segment.
    """
    wanted = max(patch.pixels, 8)
    reach = 2 + int(math.sqrt(wanted))
    while True:
        window, mask = patch.around(reach)
        distance = ndimage.distance_transform_cdt(~mask, "chessboard")
        whole = mask.shape == patch.shape
        rings = []
        for one in free:
            away = np.where(one[window], distance, 0)
            sizes = np.cumsum(np.bincount(away[away > 1], minlength=3))
            enough = int(np.argmax(sizes >= wanted)) if sizes[-1] >= wanted else len(sizes)
            if not whole and (sizes[-1] < wanted or enough > reach):
                break
            ring = (away > 1) & (away <= enough)
            rings.append((window, ring if ring.any() else away == 1))
        else:
            return rings
        reach *= 2


def _background(windows: list[Evidence], smooth: FloatArray, alarm: float) -> tuple[FloatArray, FloatArray]:
    """The rate between things, and for each pixel the smallest chance that a window around it is so by accident.

    Beginning below Otsu's threshold, where no thing is, a level background comes first. A sloping one begins where that
    ends, and is kept if it explains more of the map.
    """
    known = windows[0].known
    free = known & ~(smooth > _otsu(smooth[np.isfinite(smooth)]))
    background, chance = _settled(windows, free, alarm, _level)
    things = np.count_nonzero(chance < alarm)
    # Of single pixels, because large windows around specks make much of the map significant.
    bright = np.count_nonzero(windows[0].above(background) < alarm)
    if bright > SLOPES * np.count_nonzero(known) and min(known.shape) >= FEW:
        sloping, its = _settled(windows, known & (chance >= alarm), alarm, _plane)
        if np.count_nonzero(its < alarm) < things - SLOPES * np.count_nonzero(known):
            return sloping, its
    return background, chance


def _settled(
    windows: list[Evidence],
    free: np.ndarray,
    alarm: float,
    surface: Callable[[Evidence, np.ndarray], FloatArray],
) -> tuple[FloatArray, FloatArray]:
    """The surface through all pixels that are not significantly above it.

    First of single pixels, so that noise is not taken for things, then of all windows.
    """
    single = windows[0]
    level = surface(single, free)
    chance = single.above(level)
    for number in range(ROUNDS):
        free = single.known & (chance >= alarm)
        if not free.any():
            break
        before, level = level, surface(single, free)
        chance = np.min([one.above(level) for one in windows], axis=0)
        if number and bool((np.abs(level - before) <= 1e-6 * np.abs(before)).all()):
            break
    return level, chance


def _level(evidence: Evidence, free: np.ndarray) -> FloatArray:
    """The mean rate where nothing is, shape (ny, nx)."""
    return np.full(free.shape, _mean(evidence, free))


def _plane(evidence: Evidence, free: np.ndarray) -> FloatArray:
    """The plane through the rates where nothing is, by weighted least squares; of counts, nowhere near 0."""
    ny, nx = free.shape
    down, across = np.meshgrid(np.linspace(-1.0, 1.0, ny), np.linspace(-1.0, 1.0, nx), indexing="ij")
    terms = np.stack([np.ones(free.shape), across, down], axis=-1)
    # Counts vary in proportion to their exposure, so the weights are those of the mean.
    weight = np.sqrt(evidence.weight[free])[:, None]
    found, *_ = np.linalg.lstsq(terms[free] * weight, np.nan_to_num(evidence.rate[free]) * weight[:, 0], rcond=None)
    plane = np.asarray(terms @ found)
    return np.maximum(plane, 0.01 * _mean(evidence, free)) if evidence.counts else plane


def _mean(evidence: Evidence, mask: np.ndarray) -> float:
    """Mean rate; of counts with one more, because no counts do not prove that the rate is 0."""
    return float((evidence.total[mask].sum() + evidence.counts) / max(evidence.weight[mask].sum(), 1e-300))


def _mask(windows: list[Evidence], background: FloatArray, threshold: FloatArray, alarm: float) -> np.ndarray:
    """The pixels whose smallest significant window is above the threshold, unless a smaller one excludes it."""
    mask = np.zeros(windows[0].total.shape, dtype=bool)
    excluded = mask.copy()
    for window in windows:
        found = (window.above(background) < alarm) & (np.nan_to_num(window.rate) > threshold)
        mask |= found & ~excluded
        excluded |= window.below(threshold) < _EXCLUDED
    return mask


def _dim(
    windows: list[Evidence],
    background: FloatArray,
    finest: FloatArray,
    significant: np.ndarray,
    found: np.ndarray,
    alarm: float,
    level: float,
) -> np.ndarray:
    """The pixels of significant things that lie apart from all that were found, by thresholds without the latter."""
    dim = np.zeros(found.shape, dtype=bool)
    reach, _ = ndimage.label(significant | found, EIGHT)
    for _ in range(ROUNDS):
        rest = significant & ~np.isin(reach, np.unique(reach[found | dim]))
        if not rest.any():
            break
        threshold = _threshold(finest, rest, ~significant, background, windows[0].counts, level)
        more = _mask(windows, background, threshold, alarm) & rest
        if not more.any():
            break
        dim |= more
    return dim


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


def _finest(windows: list[Evidence], background: FloatArray, alarm: float, smooth: FloatArray) -> FloatArray:
    """Of significant pixels, the rate in their smallest significant window; of others, `smooth`. Stabilised.

    The large windows around something small and bright would hide how bright it is.
    """
    rates = smooth.copy()
    for window in reversed(windows):
        found = window.above(background) < alarm
        rates[found] = stabilised(window.rate, window.counts)[found]
    return rates


def _threshold(
    rates: FloatArray, things: np.ndarray, between: np.ndarray, background: FloatArray, counts: bool, level: float
) -> FloatArray:
    """Otsu's threshold between the pixels of things and as many of those between them, above the background.

    `rates` are stabilised. So are their distances from the background, whose noise is then the same everywhere too.
    """
    floor = stabilised(background, counts)
    above = rates - floor
    inside = above[things & np.isfinite(rates)]
    outside = np.sort(above[between & np.isfinite(rates)])
    if len(outside) > len(inside):  # evenly from the darkest to the brightest
        outside = outside[np.linspace(0, len(outside) - 1, max(len(inside), 1)).round().astype(int)]
    otsu = _unstabilised(floor + _otsu(np.concatenate([inside, outside])), counts)
    return background + level * (otsu - background)


def _unstabilised(values: FloatArray, counts: bool) -> FloatArray:
    return values**2 if counts else values
