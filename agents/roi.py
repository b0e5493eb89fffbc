"""A coarse map, the regions of interest in it, and their fine scans, by one agent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from ebl_autonomy.agents.base import Agent, AgentOptions
from ebl_autonomy.agents.map_vocs import check_map_vocs
from ebl_autonomy.analysis.regions import (
    Limits,
    Maps,
    Region,
    RegionOptions,
    Regions,
    are_counts,
    check_margin,
    check_names,
    find_regions,
)
from ebl_autonomy.errors import AgentError, BadInputError, NoMoreProposals, unknown_text
from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.records import Decision
from ebl_autonomy.space import VOCS, FloatArray, outcome_names

__all__ = ["ROIAgent", "ROIOptions"]

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Size = Positive | tuple[Positive, Positive]

COARSE = 32
"""Pixels of the coarse map along each axis, if no step is given."""
SAME = 0.01
"""Largest distance between a pixel of the coarse map and the reading that answers it, as a share of the pixel."""


class ROIOptions(AgentOptions):
    """Options of `ROIAgent`; import it from ``ebl_autonomy.agents``.

    Attributes
    ----------
    coarse_step : float or (x, y), optional
        Size of the coarse map's pixels, in motor units; by default 1/32 of the domain.
    fine_step : float or (x, y), optional
        That of the fine scans; by default as the regions suggest.
    regions : RegionOptions
        How regions are found and ranked. Its limits apply within the domain.
    counts : list of str, optional
        The channels that are counts. By default those whose readings are whole numbers of at least 0; all others are
        values, whose noise is estimated.
    i0, live : str, optional
        The outcomes that hold the incident intensity, and the live time in seconds. They are no channels.
    dwell_s : float, optional
        Dwell time of the coarse map, for suggested dwell times, if there is no live time.
    """

    coarse_step: Size | None = None
    fine_step: Size | None = None
    regions: RegionOptions = RegionOptions()
    counts: tuple[str, ...] | None = None
    i0: str | None = None
    live: str | None = None
    dwell_s: Positive | None = None


class ROIAgent(Agent):
    """Measures a coarse map, finds the regions of interest in it, and scans these finely, the best first.

    The VOCS has two variables, the fast axis first; its observables (or objectives) are the channels. Every map is
    measured row by row, each second row backwards. The regions follow from the coarse map alone, so fine readings do
    not change them. If a reading of the coarse map is missing while others wait for proposals, the map has a gap there.
    If only a part of the domain is searched (see `search_within`), that part is mapped.

    Parameters
    ----------
    vocs : VOCS or mapping
    seed : int
        Of the clusters of regions.
    **options
        See `ebl_autonomy.agents.ROIOptions`.

    Raises
    ------
    NoMoreProposals
        By ``suggest(n)`` if fewer than n points are left; its ``remaining`` is their number.
    """

    name = "roi"
    Options: ClassVar[type[AgentOptions]] = ROIOptions
    orders_batches = True

    def __init__(self, vocs: VOCS | Mapping[str, Any], seed: int = 0, **options: Any) -> None:
        super().__init__(vocs, seed, **options)
        chosen = self._chosen
        for key, names in (
            ("counts", chosen.counts or ()),
            ("i0", [chosen.i0] if chosen.i0 else []),
            ("live", [chosen.live] if chosen.live else []),
        ):
            for name in names:
                if name not in outcome_names(self.vocs):
                    raise BadInputError(
                        f"{key}: {name!r} is {unknown_text(name, outcome_names(self.vocs), 'outcomes')}"
                    )
        if not self.channels:
            raise BadInputError(
                f"the VOCS has no channel beside {[chosen.i0, chosen.live]}: name at least one observable"
            )
        check_names(self.channels, chosen.regions)
        x, y = (tuple(map(float, side)) for side in zip(self.space.low, self.space.high, strict=True))
        check_margin(chosen.regions, (x[0], x[1]), (y[0], y[1]))
        self._space_changed()

    @property
    def _chosen(self) -> ROIOptions:
        assert isinstance(self.options, ROIOptions)
        return self.options

    @property
    def channels(self) -> tuple[str, ...]:
        """The outcomes that are maps."""
        apart = {self._chosen.i0, self._chosen.live}
        return tuple(name for name in outcome_names(self.vocs) if name not in apart)

    @property
    def coarse(self) -> PixelGrid:
        """The pixels of the coarse map."""
        return self._coarse

    def regions(self) -> Regions:
        """The regions of the coarse map, the best first; see `find_regions`.

        Raises
        ------
        AgentError
            If the coarse map is not complete.
        """
        known = int(np.isfinite(self._first).sum())
        if known < self._coarse.size:
            raise AgentError(
                f"{known} of {self._coarse.size} pixels of the coarse map are measured: regions follow from all of them"
            )
        return self._found()

    def coarse_maps(self) -> Maps:
        """The coarse map as far as it is measured; NaN elsewhere."""
        shape = self._coarse.shape
        chosen = self._chosen
        known = np.isfinite(self._first)
        rows = self._first[known].astype(int)

        def of(name: str) -> FloatArray:
            values = np.full(shape, np.nan)
            values[known] = [float(self._results[row][name]) for row in rows]
            return values

        maps = {name: of(name) for name in self.channels}
        counts = chosen.counts if chosen.counts is not None else [n for n, one in maps.items() if are_counts(one)]
        return Maps(
            maps,
            self._coarse.centres_x,
            self._coarse.centres_y,
            i0=of(chosen.i0) if chosen.i0 else None,
            live=of(chosen.live) if chosen.live else None,
            dwell_s=chosen.dwell_s,
            std={name: None for name in maps if name not in counts},
        )

    def _space_changed(self) -> None:
        low, high = self.space.low, self.space.high
        step = self._chosen.coarse_step
        x, y = (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))
        wanted = (high - low) / COARSE if step is None else step
        self._coarse = PixelGrid.of_step(x, y, np.asarray(wanted).tolist())
        self._coarse_order = self._coarse.snake()
        self._limits = self._limits_within(x, y)
        if (fine := self._chosen.fine_step or self._chosen.regions.step) is not None:
            PixelGrid.of_step(x, y, fine)  # a step in a wrong unit gives more pixels than any map has
        self._regions: Regions | None = None
        self._known: bytes | None = None
        self._noted = 0
        self._done: set[tuple[float, ...]] = set()
        self._first: FloatArray = np.full(self._coarse.shape, np.nan)
        """Number of the first result in each pixel of the coarse map, shape (ny, nx); NaN without one."""
        self._fine: list[tuple[tuple[float, ...], str]] = []
        self._begun = 0
        """Number of pixels at the beginning of the fine scans that are known to be measured."""
        self._learn()

    def _learn(self) -> None:
        """Note which points are known; only what is new is looked at, because maps have many points."""
        new = self._asked[self._noted :]
        row, column = self._coarse_pixels(new)
        for number in np.flatnonzero(row >= 0):
            if math.isnan(self._first[row[number], column[number]]):
                self._first[row[number], column[number]] = self._noted + number
        self._done.update(self._key(point) for point in new)
        self._noted += len(new)

    def _key(self, point: Mapping[str, Any]) -> tuple[float, ...]:
        return tuple(float(point[name]) for name in self.space.names)

    def _coarse_pixels(self, points: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        """The pixels of the coarse map that points lie in the middle of; -1 for the others."""
        x, y = (np.array([float(point[name]) for point in points]) for name in self.space.names)
        row, column = self._coarse.indices(x, y)
        width, height = self._coarse.step
        off = (np.abs(x - self._coarse.centres_x[column]) > SAME * width) | (
            np.abs(y - self._coarse.centres_y[row]) > SAME * height
        )
        return np.where(off, -1, row), np.where(off, -1, column)

    def _found(self) -> Regions:
        """The regions of what is known of the coarse map; computed once for each state of it."""
        state = self._first.tobytes()
        if self._regions is None or state != self._known:
            self._regions, self._known = find_regions(self.coarse_maps(), self._region_options()), state
            self._fine, self._begun = self._fine_scans(self._regions), 0
        return self._regions

    def _region_options(self) -> RegionOptions:
        changes: dict[str, Any] = {"limits": self._limits, "seed": self.options.seed}
        if self._chosen.fine_step is not None:
            changes["step"] = self._chosen.fine_step
        return self._chosen.regions.model_copy(update=changes)

    def _limits_within(self, *domain: tuple[float, float]) -> Limits:
        """The limits of the regions: those that were given, within the domain."""
        given, sides = self._chosen.regions.limits, []
        for name, limit, (low, high) in zip(self.space.names, (given.x, given.y), domain, strict=True):
            side = (low, high) if limit is None else (max(low, limit[0]), min(high, limit[1]))
            if not side[0] < side[1]:
                raise BadInputError(
                    f"regions.limits {limit} of {name!r} lie outside of the domain [{low:g}, {high:g}], so no region "
                    "could be scanned: correct one of them"
                )
            sides.append(side)
        return Limits(x=sides[0], y=sides[1])

    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        left = self._coarse_left()
        if len(left):
            points = self._points(self._coarse, self._coarse_order[left[:count]])
            reasons = [f"coarse map, pixel {number + 1} of {self._coarse.size}" for number in left[:count]]
        else:
            points, reasons = self._fine_left(count)
        if len(points) < count:
            raise NoMoreProposals(f"suggest({count}): {self._what_is_left(len(points))}", remaining=len(points))
        units = self.space.unit(points)
        return [
            (unit, Decision(reason=reason, model_version="none")) for unit, reason in zip(units, reasons, strict=True)
        ]

    def _coarse_left(self) -> np.ndarray:
        """The pixels of the coarse map that are neither measured nor pending: places in the snake, ascending."""
        done = np.isfinite(self._first)
        if not done.all():
            row, column = self._coarse_pixels(list(self._pending))
            done[row[row >= 0], column[row >= 0]] = True
        return np.flatnonzero(~done.ravel()[self._coarse_order])

    def _points(self, grid: PixelGrid, numbers: np.ndarray) -> list[dict[str, float]]:
        """The centres of pixels as points."""
        x, y = grid.centres(numbers)
        return [dict(zip(self.space.names, point, strict=True)) for point in zip(x.tolist(), y.tolist(), strict=True)]

    def _fine_left(self, count: int) -> tuple[list[dict[str, float]], list[str]]:
        """The first `count` pixels of fine scans that are neither measured nor pending."""
        pending = {self._key(point) for point in self._pending}
        points: list[dict[str, float]] = []
        reasons: list[str] = []
        self._found()
        while self._begun < len(self._fine) and self._fine[self._begun][0] in self._done:
            self._begun += 1
        for key, reason in self._fine[self._begun :]:
            if key not in self._done and key not in pending:
                pending.add(key)
                points.append(dict(zip(self.space.names, key, strict=True)))
                reasons.append(reason)
                if len(points) == count:
                    break
        return points, reasons

    def _fine_scans(self, regions: Regions) -> list[tuple[tuple[float, ...], str]]:
        """Every pixel of the fine scans, in order, with the reason.

        Exactly as it will be proposed: a result is recognised by the point that it answers.
        """
        found = []
        for region in regions:
            grid = self.fine(region)
            points = self._points(grid, grid.snake())
            for number, values in enumerate(self.space.points(self.space.unit(points)), 1):
                found.append((self._key(values), f"{region.label}, pixel {number} of {grid.size}: {region.reason}"))
        return found

    def fine(self, region: Region) -> PixelGrid:
        """The pixels of the fine scan of a region."""
        return PixelGrid.of_step(region.x, region.y, region.step)

    def _what_is_left(self, left: int) -> str:
        if len(self._coarse_left()):
            return (
                f"{left} pixels of the coarse map are left; ask for these, and for the regions when they are measured"
            )
        found = self._found()
        if left:
            return f"{left} pixels of the fine scans are left"
        if not found:
            return f"the coarse map is measured, and has no region to scan: {found.reason}"
        return f"the coarse map and {len(found)} regions are measured; give a larger max_regions for more"

    def _validate_vocs(self, vocs: VOCS) -> None:
        if len(chosen := check_map_vocs(vocs)) != 2:
            raise BadInputError(f"a map needs two variables, the fast axis first; the VOCS has {chosen}")
