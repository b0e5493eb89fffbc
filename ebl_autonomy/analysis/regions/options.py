"""What is asked of `find_regions`, and what it answers: both JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from ebl_autonomy.analysis.regions.patches import Patch
from ebl_autonomy.analysis.regions.rules import RuleLike

__all__ = ["Limits", "Phases", "Rank", "RankLike", "Region", "RegionOptions", "Regions"]

Interval = tuple[float, float]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Size = Positive | tuple[Positive, Positive]
"""One size for both axes, or one for each, in motor units."""
Channel = Annotated[str, Field(min_length=1)]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Region(_Options):
    """A part of the sample that is worth a fine scan.

    Attributes
    ----------
    label : str
        ``"Fe 1"``: its channel, and its rank in the list.
    channel : str
        The channel that it was found in; several joined by ``+``.
    channels : tuple of str
        The same, one by one.
    x, y : (low, high)
        The box to scan, in motor units, with its margin and inside the limits.
    clipped : bool
        Whether a limit of the stage has cut the box.
    area : float
        Area of the thing itself (not of the box), in square motor units.
    pixels : int
        Pixels of the coarse map that it covers.
    features : dict of str to float
        See `ebl_autonomy.analysis.regions.features_of`.
    cluster : int
        The kind that it belongs to most.
    memberships : tuple of float
        How much it belongs to each kind; they sum to 1.
    confidence : float
        Probability, from 0 to 1, that it is there and that what it was chosen for holds.
    score : float
        What it was ranked by; more is better.
    reason : str
    step : (x, y)
        Suggested step of the fine scan, in motor units.
    dwell_s : float, optional
        Suggested dwell time per point; None if the map holds no times.
    """

    label: str
    channel: str
    channels: tuple[str, ...] = ()
    x: Interval
    y: Interval
    clipped: bool = False
    area: float
    pixels: int
    features: dict[str, float]
    cluster: int = 0
    memberships: tuple[float, ...] = (1.0,)
    confidence: float
    score: float
    reason: str
    step: Interval
    dwell_s: float | None = None
    _patch: Patch | None = PrivateAttr(default=None)

    @property
    def mask(self) -> np.ndarray | None:
        """The pixels of the map that it covers, shape (ny, nx); None for a region read from JSON."""
        return None if self._patch is None else self._patch.whole

    def __eq__(self, other: object) -> bool:
        """Whether all fields are the same; the mask, which JSON does not hold, does not count."""
        return isinstance(other, Region) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self.label, self.x, self.y))

    def with_patch(self, patch: Patch) -> Region:
        """A copy that covers these pixels."""
        changed = self.model_copy()
        changed._patch = patch
        return changed


class Regions(list[Region]):
    """Regions, the best first.

    Attributes
    ----------
    reason : str
        Why there are none, or what was left out; empty otherwise.
    """

    def __init__(self, regions: list[Region] | tuple[Region, ...] = (), reason: str = "") -> None:
        super().__init__(regions)
        self.reason = reason


class Limits(_Options):
    """Where the stage can go, in motor units; None for an axis without limits."""

    x: Interval | None = None
    y: Interval | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name, side in (("x", self.x), ("y", self.y)):
            if side is not None and not side[0] < side[1]:
                raise ValueError(f"limits.{name}={side}: give (low, high)")
        return self


class Rank(_Options):
    """The order of regions.

    As text: ``"confidence"``, ``"ratio Cr/Fe"``, ``"feature area"``, ``"rule"``, ``"rarity"``, ``"cluster 1"``, each
    optionally followed by ``ascending``.

    Attributes
    ----------
    by : str
        ``confidence``; ``ratio`` of net rates, by what it is at least (a standard deviation below the measured one);
        ``feature``; ``rule``, how nearly the rules hold; ``similarity`` to the example `to`; ``rarity``, distance from
        the three most similar regions; ``cluster``, membership in the kind `cluster`.
    of : str, optional
        The ratio (``"Cr/Fe"``) or the feature.
    to : Region or features, optional
        The example.
    cluster : int, optional
    ascending : bool
        The smallest first.
    """

    by: Literal["confidence", "ratio", "feature", "rule", "similarity", "rarity", "cluster"] = "confidence"
    of: str | None = None
    to: Region | dict[str, float] | None = None
    cluster: int | None = Field(default=None, ge=0)
    ascending: bool = False

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needs = {"ratio": "of", "feature": "of", "similarity": "to", "cluster": "cluster"}.get(self.by)
        if needs is not None and getattr(self, needs) is None:
            raise ValueError(f"rank by {self.by} needs {needs!r}")
        if self.by == "ratio" and not re.fullmatch(r"[^/]+/[^/]+", self.of or ""):
            raise ValueError(f"rank by ratio of {self.of!r}: name two channels, such as 'Cr/Fe'")
        return self


def _rank_of(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    words = given.split()
    ascending = words[-1:] == ["ascending"]
    by, *rest = words[: len(words) - ascending] or [""]
    known = ("confidence", "ratio", "feature", "rule", "rarity", "cluster")
    if by not in known or len(rest) != (by in ("ratio", "feature", "cluster")):
        raise ValueError(
            f"{given!r} is no order of regions: give 'confidence', 'ratio Cr/Fe', 'feature area', 'rule', 'rarity' or "
            "'cluster 1', or a mapping with 'by' and 'to' for the similarity to an example"
        )
    fields: dict[str, Any] = {"by": by, "ascending": ascending}
    if rest:
        fields["cluster" if by == "cluster" else "of"] = rest[0]
    return fields


RankLike = Annotated[Rank, BeforeValidator(_rank_of)]
"""A rank as text, as JSON or as a `Rank`."""


class Phases(_Options):
    """Look for phases in place of channels: see `phase_maps` and `phase_segments`.

    Attributes
    ----------
    markers : mapping of str to str or None
        The channel that marks each phase; None for the one phase that has what the others leave.
    common : str
        The channel of the element that all phases hold.
    wanted : tuple of str, optional
        The phases to look for; by default all but the one that dominates most of the sample.
    ratios : mapping of str to float
        Of the rate of a marker to that of the common element in the pure phase; estimated if not given.
    dominance : float
        See `phase_segments`.
    """

    markers: dict[Channel, Channel | None] = Field(min_length=1)
    common: Channel
    wanted: tuple[Channel, ...] | None = None
    ratios: dict[Channel, Positive] = Field(default_factory=dict)
    dominance: float = Field(default=0.45, gt=0.0, le=1.0)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if unknown := [name for name in self.wanted or () if name not in self.markers]:
            raise ValueError(f"wanted={unknown}: the phases are {list(self.markers)}")
        return self


class RegionOptions(_Options):
    """Options of `find_regions`.

    Attributes
    ----------
    channels : tuple of str, optional
        Channels to look for regions in; all by default. Rules may name the others.
    phases : Phases, optional
        Look for phases, not channels.
    refine : int
        Outlines are drawn on pixels that are so many times smaller, interpolated between the measured ones.
    together : bool
        Whether channels that overlap make one region; otherwise each channel has its own.
    rules : tuple of Rule or str
        A region must satisfy one of them. Rules say which channels' regions are wanted.
    rank : Rank or str
    max_regions : int, optional
    scales : tuple of int
        Windows of pixels over which counts are added up, odd.
    false_alarms : float
        Number of accidents of noise expected in a map.
    level : float
        Factor on Otsu's threshold above the background: less gives larger regions.
    thresholds : mapping of str to float
        Rates or values above which a pixel belongs to a region, of channels for which Otsu's threshold is not wanted.
    saturation : float, optional
        The rate that the detector cannot exceed.
    min_pixels : int
    min_confidence : float
    merge : float
        Regions are merged if they share at least this part of the smaller one.
    parts : int
        Boxes at most for one region: an oblique or bent one needs several, because one would be mostly empty. With
        more than one, a box leaves out what a better region's box covers, so that nothing is measured twice.
    margin : float or (x, y), optional
        Space around each region; half a pixel of the map by default, because no more is known of its edge.
    limits : Limits
        Boxes lie inside.
    overhead_s : float
        Seconds that each fine scan takes beside those of its pixels: for opening a run, the way to its first pixel, and
        settling. Boxes become one where one scan takes no longer than two, so that there are fewer with more overhead.
    pixel_s : float, optional
        Seconds for each fine pixel, dwell and move, to compare with `overhead_s`; by default the suggested dwell time,
        or that of the map. Without any, the overhead does not count.
    time_share : float, optional
        Share of the time of a fine scan of the whole map that the fine scans may take together, with their overhead.
        Boxes then hold as much as they can of what is expected in them, the same of each channel or phase as nearly as
        this pays, and not every region has one. Without it, boxes hold every region.
    step : float or (x, y), optional
        Step of the fine scans. Without it, half of the `beam`, or that with `points_across` over the narrower side,
        and at most half a pixel of the map; with `time_share`, half a pixel everywhere.
    beam : float or (x, y), optional
        Full width of the beam at half maximum, in motor units.
    points_across : int
    precision : float
        Wanted relative standard deviation of each fine pixel in the weakest channel that matters.
    dwell_channels : tuple of str, optional
        The channels that matter; by default those of the region, of the rank and of the rules' limits.
    dwell_limits : (low, high), optional
        Seconds.
    clusters : int, optional
        Number of kinds; by default the number that separates them best.
    seed : int
    """

    channels: tuple[Channel, ...] | None = Field(default=None, min_length=1)
    phases: Phases | None = None
    refine: int = Field(default=1, ge=1, le=20)
    together: bool = False
    rules: tuple[RuleLike, ...] = ()
    rank: RankLike = Rank()
    max_regions: int | None = Field(default=None, ge=1)
    scales: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 3, 5, 9), min_length=1)
    false_alarms: float = Field(default=0.01, gt=0.0, le=1.0)
    level: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    thresholds: dict[str, float] = Field(default_factory=dict)
    saturation: Positive | None = None
    min_pixels: int = Field(default=1, ge=1)
    min_confidence: float = Field(default=0.5, ge=0.0, le=1.0)
    merge: float = Field(default=0.5, gt=0.0, le=1.0)
    parts: int = Field(default=1, ge=1, le=20)
    margin: Annotated[float, Field(ge=0.0)] | tuple[float, float] | None = None
    limits: Limits = Limits()
    overhead_s: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    pixel_s: Positive | None = None
    time_share: float | None = Field(default=None, gt=0.0, le=1.0)
    step: Size | None = None
    beam: Size | None = None
    points_across: int = Field(default=20, ge=1)
    precision: float = Field(default=0.1, gt=0.0, le=1.0)
    dwell_channels: tuple[Channel, ...] | None = None
    dwell_limits: tuple[Positive, Positive] | None = None
    clusters: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if even := [size for size in self.scales if size % 2 == 0]:
            raise ValueError(f"scales={even}: windows have a middle pixel, so give odd numbers")
        if isinstance(self.margin, tuple) and min(self.margin) < 0.0:
            raise ValueError(f"margin={self.margin}: give lengths of at least 0")
        if self.dwell_limits is not None and self.dwell_limits[0] > self.dwell_limits[1]:
            raise ValueError(f"dwell_limits={self.dwell_limits}: give (low, high)")
        if self.clusters is not None and self.rank.cluster is not None and self.rank.cluster >= self.clusters:
            raise ValueError(
                f"rank by cluster {self.rank.cluster}: with clusters={self.clusters}, the last is {self.clusters - 1}"
            )
        return self


def pair(size: float | tuple[float, float]) -> tuple[float, float]:
    """A size for each axis."""
    return size if isinstance(size, tuple) else (float(size), float(size))


FeatureTable = Mapping[str, float]
