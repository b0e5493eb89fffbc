"""What surveys are made of: the coarse map, its regions, and the scans of each, within budgets for all of them."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.utils import Msg, MsgGenerator, RunEngineControlException

from ebl_autonomy.analysis.regions import (
    Limits,
    Maps,
    Region,
    RegionOptions,
    Regions,
    are_counts,
    check_names,
    find_regions,
)
from ebl_autonomy.errors import BadInputError, RefusedError, unknown_text, validated
from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.plans.arguments import check_integer, check_length, check_list, check_seconds
from ebl_autonomy.plans.devices import check_devices, read_limits, read_positions
from ebl_autonomy.plans.ending import announce
from ebl_autonomy.plans.events import EventTag
from ebl_autonomy.plans.queueing import refuse_names
from ebl_autonomy.plans.raster import Budget, Raster, Stage, fixed_motors
from ebl_autonomy.plans.result import RunResult
from ebl_autonomy.plans.row_times import RowTimes
from ebl_autonomy.plans.stubs import make_gate
from ebl_autonomy.plans.survey_sizes import check_sizes
from ebl_autonomy.plans.thinking import thought
from ebl_autonomy.plans.user_functions import called
from ebl_autonomy.records import NORMALISERS, SURVEY

__all__ = ["Survey", "found_regions", "make_survey"]

logger = logging.getLogger(__name__)

DWELL: Final = "seconds"
"""Column of the time at each pixel of the coarse map."""


@dataclass
class Survey:
    """A survey under way.

    Attributes
    ----------
    plan_name : str
    stage : Stage
    grid : PixelGrid
        Of the coarse map.
    channels : sequence of str
        Event keys of the maps.
    i0, live : str or None
        Event keys by which counts are normalised.
    coarse_dwell_s, fine_dwell_s : float, float or None
    options : RegionOptions
    approve, realign : see `roi_survey`
    budget : Budget
        What is left of it.
    md : dict
    home : dict of motor to float
        Where the motors were at first.
    dwell_limits : (low, high)
        The exposures that can be set, s.
    overhead_s : float or None
        Seconds that a scan takes beside its rows; measured with the coarse map if None.
    coarse : Raster or None
        The coarse map, after it was measured.
    left_out : list of str
        Labels of the regions that cannot be scanned.
    """

    plan_name: str
    stage: Stage
    grid: PixelGrid
    channels: Sequence[str]
    i0: str | None
    live: str | None
    coarse_dwell_s: float
    fine_dwell_s: float | None
    options: RegionOptions
    approve: Any
    realign: Any
    budget: Budget
    md: dict[str, Any]
    home: dict[Any, float]
    dwell_limits: tuple[float, float]
    overhead_s: float | None = None
    coarse: Raster | None = field(default=None, init=False)
    left_out: list[str] = field(default_factory=list, init=False)
    _move_s: float = field(default=0.0, init=False)
    """Seconds from pixel to pixel, beside the exposure."""

    @property
    def keys(self) -> list[str]:
        """The outcomes of each scan."""
        return [*self.channels, *(key for key in (self.i0, self.live) if key is not None)]

    def scan(self, raster: Raster, more: Mapping[str, Any] | None = None) -> MsgGenerator[RunResult]:
        """Measure a raster as a run of its own, and count it."""
        normalisers = [key for key in raster.channels if key in (self.i0, self.live) and key not in self.channels]
        survey = {**((more or {}).get(SURVEY) or {}), NORMALISERS: normalisers}
        result = yield from raster.run(self.budget, self.plan_name, {**self.md, SURVEY: survey})
        self.budget = self.budget.after(result)
        return result

    def measure_coarse(self) -> MsgGenerator[RunResult]:
        """The coarse map; it also tells how long a run takes beside its rows, and a row beside its exposure.

        Pauses, beam dumps and retries do not change what it tells of a row; after one of the first two, it tells
        nothing of the run.
        """
        self.coarse = Raster(self.stage, self.grid, self.keys, self.coarse_dwell_s)
        tag, times = EventTag("ebl_survey", {}), RowTimes()
        yield Msg("null", tag)  # so that the RunEngine notifies it of pauses
        began, clock = time.monotonic(), self.budget.until.clock
        result: RunResult = yield from bpp.subs_wrapper(self.scan(self.coarse), {"all": [times]})
        if clock is None:  # otherwise the seconds of the run are those of another clock
            self._move_s = max(times.seconds - self.coarse_dwell_s, 0.0)
            if self.overhead_s is None and not tag.interruptions:
                self.overhead_s = max(time.monotonic() - began - result.seconds, 0.0)
        return result

    def find(self) -> Regions:
        """The regions in the coarse map, the best first."""
        assert self.coarse is not None
        x, y = self.stage.x.name, self.stage.y.name
        columns = self.coarse.columns()
        columns[DWELL] = [self.coarse_dwell_s] * len(columns[x])
        values = [name for name in self.channels if not are_counts(np.array(columns[name]))]
        maps = Maps.from_points(
            columns,
            x,
            y,
            list(self.channels),
            i0=self.i0,
            live=self.live,
            dwell=None if self.live else DWELL,
            std=dict.fromkeys(values),
            step=self.grid.step,
        )
        return find_regions(maps, self._timed_options())

    def _timed_options(self) -> RegionOptions:
        """The options with the times that are known by now, where none were given."""
        given, known = self.options.model_fields_set, {}
        if "overhead_s" not in given and self.overhead_s is not None:
            known["overhead_s"] = self.overhead_s
        if "pixel_s" not in given and self.fine_dwell_s is not None:
            known["pixel_s"] = self.fine_dwell_s + self._move_s
        return self.options.model_copy(update=known)

    def fine_seconds(self, region: Region) -> float:
        """Seconds for each pixel of a fine scan, as near to what is suggested as can be set."""
        low, high = self.dwell_limits
        return min(max(self.fine_dwell_s or region.dwell_s or self.coarse_dwell_s, low), high)

    def brightest(self, region: Region) -> tuple[float, float]:
        """The position of the coarse reading in a region with the largest sum of the region's channels."""
        assert self.coarse is not None
        columns = {name: np.asarray(values) for name, values in self.coarse.columns().items()}
        x, y = columns[self.stage.x.name], columns[self.stage.y.name]
        inside = (x >= region.x[0]) & (x <= region.x[1]) & (y >= region.y[0]) & (y <= region.y[1])
        names = [name for name in region.channels or (region.channel,) if name in columns] or list(self.channels)
        total = np.where(inside, np.nansum([columns[name] for name in names], axis=0), -math.inf)
        if not inside.any():
            return 0.5 * (region.x[0] + region.x[1]), 0.5 * (region.y[0] + region.y[1])
        best = int(np.argmax(total))
        return float(x[best]), float(y[best])

    def link(self, coarse: RunResult, number: int, of: int, region: Region) -> dict[str, Any]:
        """What the start document of a scan says of its survey.

        Without the features, because the names of ratios, ``Cr/Fe``, may not be keys of a document.
        """
        told = region.model_dump(mode="json", exclude={"features"})
        return {"coarse": coarse.uid, "number": number, "of": of, "region": told}

    def fine_scans(self, coarse: RunResult, ranked: Sequence[Region]) -> MsgGenerator[list[RunResult]]:
        """A run for each region, as far as the budgets reach; a region that cannot be scanned is left out."""
        results: list[RunResult] = []
        for number, region in enumerate(ranked):
            if not self.budget.spent:
                yield from self.realigned()
            if self.budget.spent:
                break
            try:
                raster = yield from self.raster(region, self.keys)
            except BadInputError as error:
                self.leave_out(region, error)
                continue
            try:
                result = yield from self.scan(raster, {SURVEY: self.link(coarse, number, len(ranked), region)})
            except RefusedError as error:  # the exposure cannot be set; nothing was measured
                self.leave_out(region, error)
                continue
            results.append(result)
        return results

    def leave_out(self, region: Region, error: Exception) -> None:
        """Note and announce that a region cannot be scanned; the others are."""
        self.left_out.append(region.label)
        logger.warning("%s: left out, because it cannot be scanned: %s", region.label, error)
        announce(f"{region.label}: left out, because it cannot be scanned ({error})")

    def end(self, reason: str) -> str:
        """Why the survey ended: a spent budget, regions that were left out, or else `reason`."""
        if self.budget.spent or not self.left_out:
            return self.budget.spent or reason
        return f"all regions are scanned but {', '.join(self.left_out)}, which cannot be"

    def raster(self, region: Region, keys: Sequence[str]) -> MsgGenerator[Raster]:
        """The fine scan of a region, with rows that fit within the limits.

        Where the run-up of a row leads beyond the limits, the region is measured point by point; without detectors that
        can, it is flown no faster than the coarse map, whose run-up fits.
        """
        grid = PixelGrid.of_step(region.x, region.y, region.step)
        flown = Raster(self.stage, grid, keys, self.fine_seconds(region))
        refusal = yield from flown.refusal(self.budget, self.plan_name, self.md)
        if refusal is None:
            return flown
        if self.stage.detectors:
            stepped = Raster(replace(self.stage, flyers=()), grid, keys, flown.dwell_s)
            try:
                yield from stepped.check(self.budget, self.plan_name, self.md)
            except BadInputError as error:
                logger.info("%s: not point by point either (%s)", region.label, error)
            else:
                announce(f"{region.label}: point by point, because its rows cannot be flown ({refusal.message})")
                return stepped
        slow = grid.step[0] * self.coarse_dwell_s / self.grid.step[0]
        seconds = min(max(flown.dwell_s, slow), self.dwell_limits[1])
        announce(f"{region.label}: {seconds:.3g} s for each pixel, so that the run-up fits ({refusal.message})")
        return Raster(self.stage, grid, keys, seconds)

    def realigned(self) -> MsgGenerator[None]:
        """Align the beam again if that pays; a run of its own counts as those of the survey do."""
        if self.realign is not None:
            result = yield from self.realign()
            if isinstance(result, RunResult):
                self.budget = self.budget.after(result)

    def return_home(self) -> MsgGenerator[None]:
        """Move the motors back to where they were before the survey.

        A motor that cannot be moved back stays where it is, which is announced: what was measured is safe.
        """
        x, y, *others = self.stage.motors
        for motors in ([x, y], *([motor] for motor in others)):
            try:
                yield from fixed_motors({motor: self.home[motor] for motor in motors}, self.stage, self.budget)
            except RunEngineControlException:
                raise
            except Exception as error:  # noqa: BLE001 - a device may raise anything; the last move must lose nothing
                names = " and ".join(motor.name for motor in motors)
                logger.warning("%s: not moved back to where the survey began (%s)", names, error)


def make_survey(
    plan_name: str,
    detectors: Sequence[Any],
    x: Any,
    y: Any,
    *,
    channels: Sequence[str],
    coarse_step: float,
    area: Mapping[str, Sequence[float]] | None,
    coarse_dwell_s: float,
    fine_step: float | None,
    fine_dwell_s: float | None,
    regions: Any,
    max_regions: int,
    i0: str | None,
    live: str | None,
    dwell: Any,
    flyers: Sequence[Any],
    approve: Any,
    realign: Any,
    until: Any,
    envelope: Any,
    overhead_s: float | None,
    md: Mapping[str, Any] | None,
    settings: Mapping[str, Any],
    others: Mapping[Any, tuple[float, float]] | None = None,
) -> MsgGenerator[Survey]:
    """Check all arguments and query the devices; nothing moves. Parameters are those of `roi_survey`.

    Parameters
    ----------
    settings : mapping
        More arguments of `steer`, the same for all scans.
    others : mapping of motor to (low, high)
        Motors that also return to where they were, with the domain of each.

    Raises
    ------
    BadInputError
        If an argument is invalid.
    """
    others, flyers = others or {}, flyers or ()
    refuse_names("x and y", [x, y])
    refuse_names("flyers", flyers)
    refuse_names("dwell", dwell)
    check_list("flyers", flyers)
    check_list("detectors", detectors)
    moved = [x, y, *others, *([] if dwell is None else [dwell])]
    check_devices(detectors, moved)
    check_length("coarse_step", coarse_step)
    if md is not None and not isinstance(md, Mapping):
        raise BadInputError(f"md={md!r}: give a mapping")
    check_integer("max_regions", max_regions, 1)
    check_seconds("coarse_dwell_s", coarse_dwell_s)
    if fine_dwell_s is not None:
        check_seconds("fine_dwell_s", fine_dwell_s)
    if overhead_s is not None and (
        isinstance(overhead_s, bool) or not isinstance(overhead_s, (int, float)) or not 0.0 <= overhead_s < math.inf
    ):
        raise BadInputError(f"overhead_s={overhead_s!r}: give seconds, 0 or above, or None to measure them")
    if not (approve is None or approve == "pause" or callable(approve)):
        raise BadInputError(f"approve={approve!r}: give 'pause', a function of the regions, or None")
    if realign is not None and not callable(realign):
        raise BadInputError(f"realign={realign!r}: give a plan function without arguments, such as Realign(...)")
    scanned = [motor.name for motor in (x, y, *others)]
    if unknown := sorted(set(settings.get("position_tolerance") or ()) - set(scanned)):
        raise BadInputError(f"position_tolerance names {unknown}: {unknown_text(unknown[0], scanned, 'motors')}")
    if not channels or not isinstance(channels, Sequence) or isinstance(channels, str):
        raise BadInputError(f"channels={channels!r}: give a list with the event keys of the maps")
    budget = Budget.of(until, envelope)
    edges = yield from _area(area, x, y, budget)
    given = validated(RegionOptions, regions, "regions")
    chosen: dict[str, Any] = {"limits": _limits(given.limits, edges)}
    if given.max_regions is None:
        chosen["max_regions"] = max_regions
    if fine_step is not None:
        chosen["step"] = fine_step
    at = yield from read_positions({motor.name: motor for motor in moved})
    budget = budget.bounded((yield from _without_limits({x: edges[0], y: edges[1], **others}, at)))
    gate = yield from make_gate(moved, budget.envelope)
    dwell_limits = (0.0, math.inf) if dwell is None else gate.limits[dwell.name]
    for name, seconds in (("coarse_dwell_s", coarse_dwell_s), ("fine_dwell_s", fine_dwell_s)):
        if seconds is not None and not dwell_limits[0] <= seconds <= dwell_limits[1]:
            low, high = dwell_limits
            raise BadInputError(f"{name}={seconds!r}: {dwell.name!r} can be set from {low:g} to {high:g} s")
    survey = Survey(
        plan_name,
        Stage(detectors, x, y, flyers, dwell, dict(settings), list(others)),
        PixelGrid.of_step(edges[0], edges[1], coarse_step),
        list(channels),
        i0,
        live,
        coarse_dwell_s,
        fine_dwell_s,
        validated(RegionOptions, {**given.model_dump(exclude_unset=True), **chosen}, "regions"),
        approve,
        realign,
        budget,
        dict(md or {}),
        {motor: at[motor.name] for motor in moved},
        dwell_limits,
        overhead_s,
    )
    check_names(survey.channels, survey.options)
    check_sizes(survey, edges)
    coarse = Raster(survey.stage, survey.grid, survey.keys, coarse_dwell_s)
    yield from coarse.check(survey.budget, plan_name, survey.md)
    return survey


def found_regions(survey: Survey) -> MsgGenerator[tuple[RunResult, list[Region], str]]:
    """Measure the coarse map, find its regions, and ask the user.

    Returns
    -------
    RunResult, list of Region, str
        The coarse run, the approved regions, and why there are no more.
    """
    result = yield from survey.measure_coarse()
    found = yield from thought(survey.find)
    if found.reason:
        announce(f"survey {result.uid[:8]}: {found.reason}")
    ranked = yield from _approved(list(found), survey.approve, (survey.stage.x.name, survey.stage.y.name))
    reason = "all regions are scanned" if ranked else found.reason or "no region was approved"
    return result, ranked, reason


def _area(
    area: Mapping[str, Sequence[float]] | None, x: Any, y: Any, budget: Budget
) -> MsgGenerator[tuple[tuple[float, float], tuple[float, float]]]:
    """The edges of the survey along x and y, inside the limits of motors and envelope."""
    if area is not None and (not isinstance(area, Mapping) or set(area) != {x.name, y.name}):
        raise BadInputError(f"area={area!r}: give {{{x.name!r}: [low, high], {y.name!r}: [low, high]}}")
    found = []
    for motor in (x, y):
        own = yield from read_limits(motor)
        low, high = own or (-math.inf, math.inf)
        allowed = budget.envelope.limits.get(motor.name)
        if allowed is not None:
            low, high = max(low, allowed[0]), min(high, allowed[1])
        wanted = (low, high) if area is None else area[motor.name]
        if (
            not isinstance(wanted, (Sequence, np.ndarray))
            or len(wanted) != 2
            or any(isinstance(end, bool) or not isinstance(end, (int, float)) or math.isnan(end) for end in wanted)
        ):
            raise BadInputError(f"area={area!r}: {motor.name!r} needs two numbers, the lower one first")
        first, last = map(float, wanted)
        if not (math.isfinite(first) and math.isfinite(last)):
            raise BadInputError(f"{motor.name!r} has no limits: give area={{{motor.name!r}: [low, high], ...}}")
        if not low <= first < last <= high:
            raise BadInputError(
                f"area={area!r}: {motor.name!r} must lie within its limits [{low:g}, {high:g}], the lower end first"
            )
        found.append((first, last))
    return found[0], found[1]


def _limits(given: Limits, edges: Sequence[tuple[float, float]]) -> Limits:
    """The part of the survey's area in which regions are wanted."""
    sides = []
    for name, wanted, (low, high) in zip("xy", (given.x, given.y), edges, strict=True):
        side = (low, high) if wanted is None else (max(low, wanted[0]), min(high, wanted[1]))
        if not side[0] < side[1]:
            raise BadInputError(f"regions.limits.{name}={wanted}: the area of the survey is [{low:g}, {high:g}]")
        sides.append(side)
    return Limits(x=sides[0], y=sides[1])


def _without_limits(
    domains: Mapping[Any, tuple[float, float]], at: Mapping[str, float]
) -> MsgGenerator[dict[str, tuple[float, float]]]:
    """For motors without limits of their own, the interval that holds their domain and where they stand."""
    found = {}
    for motor, (low, high) in domains.items():
        if (yield from read_limits(motor)) is None:
            found[motor.name] = (min(low, at[motor.name]), max(high, at[motor.name]))
    return found


def _approved(ranked: list[Region], approve: Any, axes: tuple[str, str]) -> MsgGenerator[list[Region]]:
    """The regions that are to be scanned, after the user was asked."""
    for number, region in enumerate(ranked):
        sides = zip(axes, (region.x, region.y), strict=True)
        box = ", ".join(f"{name} {low:.6g} to {high:.6g}" for name, (low, high) in sides)
        announce(f"region {number}: {region.label}, {box}, {region.reason}")
    if not ranked or approve is None:
        return ranked
    if approve == "pause":
        announce(f"{len(ranked)} regions: RE.resume() scans them, RE.stop() ends the survey")
        yield from bps.checkpoint()
        yield from bps.pause()
        return ranked
    chosen = called("approve=", approve, list(ranked))
    if not isinstance(chosen, Sequence) or any(not isinstance(one, Region) for one in chosen):
        raise BadInputError(f"approve= returned {chosen!r:.200}: it must return a list of regions")
    return list(chosen)
