"""Which phase a pixel belongs to: from the elements that mark the phases, or from the weights of a fit of spectra."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from ebl_autonomy.analysis.regions.evidence import Evidence
from ebl_autonomy.analysis.regions.maps import Maps
from ebl_autonomy.analysis.regions.options import Phases
from ebl_autonomy.analysis.regions.patches import patches_of
from ebl_autonomy.analysis.regions.segmentation import Segment, segment
from ebl_autonomy.errors import BadInputError, unknown_text
from ebl_autonomy.scales import FloatArray

__all__ = ["dominant_phase", "marker_ratios", "minority_phases", "phase_maps", "phase_segments", "phases_in"]


def phase_maps(
    maps: Maps,
    markers: Mapping[str, str | None],
    common: str,
    *,
    ratios: Mapping[str, float] | None = None,
    window: int = 3,
    present: npt.ArrayLike | None = None,
) -> Maps:
    """How much of a common element each phase holds, and each phase's share of it, from elements that mark the phases.

    LiFePO4, pyrite, stainless steel and hematite all hold Fe. P, S and Cr mark the first three, and what Fe they leave
    is hematite: ``markers={"LiFePO4": "P", "pyrite": "S", "steel": "Cr", "hematite": None}`` with ``common="Fe"``. The
    rate of a marker, over the ratio that it has to the common element in the pure phase, is the phase's part of the
    common element.

    Parameters
    ----------
    maps : Maps
    markers : mapping of str to str or None
        The channel that marks each phase; None for at most one phase, which has what the others leave.
    common : str
        The channel of the element that all phases hold.
    ratios : mapping of str to float, optional
        Ratio of each marker's rate to that of the common element in the pure phase, as a standard shows it. Those not
        given are estimated (see `marker_ratios`).
    window : int
        Counts are added up over this many pixels squared; odd.
    present : bool array, shape (ny, nx), optional
        Where the sample is, for example ``segment(maps, common).mask``. By default, where the common element is three
        standard deviations above 0.

    Returns
    -------
    Maps
        One channel of values per phase, its share of the common element, from 0 to 1; NaN where there is no sample. Its
        standard deviation is `window` times that of a pixel, because as many neighbours share their counts: so the
        average over a larger window has the standard deviation that it should have.

    Raises
    ------
    BadInputError
        If a channel is unknown, or more than one phase has no marker.
    """
    named = [name for name in (*markers.values(), common) if name is not None]
    if unknown := [name for name in named if name not in maps.channels]:
        raise BadInputError(f"the channel {unknown[0]!r}: {unknown_text(unknown[0], maps.channels, 'channels')}")
    unmarked = [phase for phase, marker in markers.items() if marker is None]
    if len(unmarked) > 1:
        raise BadInputError(f"{unmarked} have no marker: one phase at most can be what the others leave")
    found = dict(ratios or {})
    missing = [marker for marker in markers.values() if marker is not None and marker not in found]
    found |= marker_ratios(maps, missing, common, window) if missing else {}
    total = Evidence.of(maps, common).over(window)
    amounts: dict[str, FloatArray] = {}
    variances: dict[str, FloatArray] = {}
    for phase, marker in markers.items():
        if marker is not None:
            of = Evidence.of(maps, marker).over(window)
            amounts[phase], variances[phase] = of.rate / found[marker], (of.std / found[marker]) ** 2
    for phase in unmarked:
        amounts[phase] = np.maximum(total.rate - sum(amounts.values(), np.zeros(maps.shape)), 0.0)
        variances[phase] = total.std**2 + sum(variances.values(), np.zeros(maps.shape))
    whole = sum(amounts.values(), np.zeros(maps.shape))
    here = total.rate > 3.0 * total.std if present is None else np.asarray(present, dtype=bool)
    seen = total.known & here & (whole > 0.0)
    scale = np.where(seen, whole, np.nan)
    shares = {phase: amounts[phase] / scale for phase in markers}
    std = {phase: window * np.sqrt(variances[phase]) / scale for phase in markers}
    return Maps(shares, maps.x, maps.y, std=std)


def marker_ratios(maps: Maps, markers: list[str], common: str, window: int = 3) -> dict[str, float]:
    """Ratio of each marker's rate to that of the common element in the pure phase, estimated from the map itself.

    Where the common element is, the ratio is high in the phase that the marker marks, and low in the others: Otsu's
    threshold separates the two, and the median of the high side is the estimate. A map without the pure phase
    underestimates the ratio; give what a standard shows instead.

    Raises
    ------
    BadInputError
        If the common element is nowhere significant.
    """
    from skimage.filters import threshold_otsu  # half a second to import

    total = Evidence.of(maps, common).over(window)
    rate = np.nan_to_num(total.rate)
    bright = total.known & (rate > 10.0 * total.std)
    if not bright.any():
        raise BadInputError(
            f"{common!r} is nowhere significant, so no ratio to it can be estimated: give ratios=, or count longer"
        )
    found = {}
    for marker in markers:
        if marker not in maps.channels:
            raise BadInputError(f"the marker {marker!r}: {unknown_text(marker, maps.channels, 'channels')}")
        of = Evidence.of(maps, marker).over(window)
        ratio = (np.nan_to_num(of.rate) / np.maximum(rate, 1e-300))[bright & of.known]
        if not len(ratio) or not ratio.max() > 0.0:
            raise BadInputError(f"the marker {marker!r} was measured nowhere where {common!r} is: give ratios=")
        high = ratio[ratio > threshold_otsu(ratio)] if np.ptp(ratio) > 0.0 else ratio
        found[marker] = float(np.median(high if len(high) else ratio))
    return found


def dominant_phase(weights: Mapping[str, FloatArray], present: npt.ArrayLike | None = None) -> npt.NDArray[np.int64]:
    """The phase with the largest weight in each pixel, as `phase_maps` or a fit of spectra gives the weights.

    Parameters
    ----------
    weights : mapping of str to FloatArray, shape (ny, nx)
        Any unit that is the same for all phases; NaN counts as none.
    present : bool array, shape (ny, nx), optional
        Where the sample is; everywhere by default.

    Returns
    -------
    int array, shape (ny, nx)
        1 for the first phase, and so on; 0 where there is no weight or no sample.
    """
    stack = np.nan_to_num(np.stack([np.asarray(one, dtype=float) for one in weights.values()]), nan=0.0)
    labels = stack.argmax(axis=0) + 1
    here = stack.max(axis=0) > 0.0
    if present is not None:
        here &= np.asarray(present, dtype=bool)
    return np.where(here, labels, 0).astype(np.int64)


def phase_segments(
    shares: Maps, phases: Sequence[str], *, dominance: float = 0.45, min_pixels: int = 1
) -> tuple[Segment, ...]:
    """The connected parts in which a phase may dominate, to be ranked by `find_regions` (``segments=``).

    Parameters
    ----------
    shares : Maps
        As `phase_maps` gives them.
    phases : sequence of str
        The phases to look for, for example those of which there is little.
    dominance : float
        A pixel belongs to a phase that has at least this part of the largest share: 1 for where it dominates as
        measured, less to include where it may dominate after all. Pixels can belong to several phases.
    min_pixels : int

    Returns
    -------
    tuple of Segment
        Each with the probability that the phase's mean share is large enough.

    Raises
    ------
    BadInputError
        If there is no such phase, or `dominance` is not in (0, 1].
    """
    if unknown := [phase for phase in phases if phase not in shares.channels]:
        raise BadInputError(f"the phase {unknown[0]!r}: {unknown_text(unknown[0], shares.channels, 'phases')}")
    if not 0.0 < dominance <= 1.0:
        raise BadInputError(f"dominance={dominance!r}: give a number above 0, and at most 1")
    evidence = {phase: Evidence.of(shares, phase) for phase in shares.channels}
    largest = np.max(np.stack([np.nan_to_num(one) for one in shares.channels.values()]), axis=0)
    segments = []
    for phase in phases:
        dominant = (np.nan_to_num(shares.channels[phase]) >= dominance * largest) & (largest > 0.0)
        for patch in patches_of(dominant):
            if patch.pixels < min_pixels:
                continue
            within = {name: one.part(patch.window).within(patch.mask) for name, one in evidence.items()}
            mean, std = within.pop(phase)
            rival, rival_std = max(within.values(), default=(0.0, 0.0))
            noise = max(math.hypot(std, dominance * rival_std), 1e-12)
            segments.append(Segment(phase, patch, float(special.ndtr((mean - dominance * rival) / noise))))
    return tuple(segments)


def minority_phases(shares: Mapping[str, FloatArray]) -> tuple[str, ...]:
    """The phases that dominate somewhere, but in less than half of the sample.

    Parameters
    ----------
    shares : mapping of str to FloatArray, shape (ny, nx)
        As for `dominant_phase`.
    """
    areas = _areas(shares)
    return tuple(name for name, area in areas.items() if 0 < 2 * area < sum(areas.values()))


def _areas(shares: Mapping[str, FloatArray]) -> dict[str, int]:
    """Number of pixels in which each phase dominates."""
    labels = dominant_phase(shares)
    return {name: int((labels == i).sum()) for i, name in enumerate(shares, 1)}


def _all_but_the_largest(shares: Mapping[str, FloatArray]) -> tuple[str, ...]:
    """The phases that dominate somewhere, without the one that dominates most.

    Whether that one has more than half of the sample, a few noisy pixels could decide.
    """
    areas = _areas(shares)
    largest = max(areas, key=lambda name: areas[name])
    return tuple(name for name, area in areas.items() if area and name != largest)


@dataclass(frozen=True, eq=False)
class PhasesFound:
    """The wanted phases of a map.

    Attributes
    ----------
    segments : tuple of Segment
    reason : str
        Why there are none; empty if there are some.
    probabilities : mapping of str to FloatArray, shape (ny, nx)
        That each wanted phase dominates, in each fine pixel.
    """

    segments: tuple[Segment, ...]
    reason: str
    probabilities: Mapping[str, FloatArray] = field(default_factory=dict)


def phases_in(maps: Maps, fine: Maps, options: Phases, level: float, min_pixels: int) -> PhasesFound:
    """The segments of the wanted phases, and where these may dominate.

    Parameters
    ----------
    maps, fine : Maps
        As measured, which tells where the sample is and the ratios; and refined, on which the segments are drawn.
    options : Phases
    level : float
        Factor on the threshold of the common element; see `segment`.
    min_pixels : int
        Of `fine`.
    """
    common = options.common
    sample = segment(maps, common, level=level)
    if sample.reason:
        return PhasesFound((), sample.reason)
    factor = fine.shape[0] // maps.shape[0]
    present = np.nan_to_num(fine.rate(common)) > np.kron(sample.threshold, np.ones((factor, factor)))
    markers = [name for name in options.markers.values() if name is not None]
    missing = [name for name in markers if name not in options.ratios]
    ratios = {**(marker_ratios(maps, missing, common) if missing else {}), **options.ratios}
    shares = phase_maps(fine, options.markers, common, ratios=ratios, window=1, present=present)
    wanted = _all_but_the_largest(shares.channels) if options.wanted is None else options.wanted
    segments = phase_segments(shares, wanted, dominance=options.dominance, min_pixels=min_pixels)
    if not segments:
        reason = f"no part of at least {min_pixels} pixels, in which one of {list(wanted)} may dominate"
        return PhasesFound((), reason)
    probabilities = _probabilities(shares, factor)
    return PhasesFound(segments, "", {name: probabilities[name] for name in wanted})


def _probabilities(shares: Maps, factor: int) -> dict[str, FloatArray]:
    """That each phase dominates, in each pixel of shares on pixels that are `factor` times as fine as measured.

    What lies between two measured pixels is as little known as they differ: the standard deviation of a difference of
    shares is half of its range around the pixel, and the noise of what was measured.
    """
    values = {name: np.nan_to_num(one) for name, one in shares.channels.items()}
    seen = np.max(np.stack(list(values.values())), axis=0) > 0.0
    found = {}
    for name, share in values.items():
        lead = share - np.max(
            [one for other, one in values.items() if other != name] or [np.zeros(share.shape)], axis=0
        )
        size = 2 * factor + 1
        spread = 0.5 * (ndimage.maximum_filter(lead, size) - ndimage.minimum_filter(lead, size))
        noise = np.nan_to_num(np.asarray(shares.std[name], dtype=float)) / factor
        found[name] = np.where(seen, special.ndtr(lead / np.maximum(np.hypot(spread, noise), 1e-9)), 0.0)
    total = np.maximum(sum(found.values(), np.zeros(seen.shape)), 1e-300)
    return {name: one / total for name, one in found.items()}
