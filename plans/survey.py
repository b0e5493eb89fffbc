"""A survey: a coarse map, the regions of interest in it, and a fine scan of each, as runs that name each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bluesky import preprocessors as bpp
from bluesky.protocols import Flyable, NamedMovable, Readable
from bluesky.utils import MsgGenerator, plan

from ebl_autonomy.analysis.regions import Region
from ebl_autonomy.plans.queueing import checked_by_queue
from ebl_autonomy.plans.result import RunResult
from ebl_autonomy.plans.steered_run import LEAVES_MOTORS
from ebl_autonomy.plans.surveying import found_regions, make_survey

__all__ = ["SurveyResult", "roi_survey"]


@dataclass(frozen=True)
class SurveyResult:
    """The return value of `roi_survey`.

    Attributes
    ----------
    coarse : RunResult
        The coarse map.
    regions : tuple of Region
        The regions that were approved, best first.
    fine : tuple of RunResult
        One run for each region, in this order; fewer if a budget ended the survey, or a region cannot be scanned.
    stop_reason : str
        Why there are no more fine scans.
    """

    coarse: RunResult
    regions: tuple[Region, ...]
    fine: tuple[RunResult, ...]
    stop_reason: str


@checked_by_queue
@plan
def roi_survey(
    detectors: Sequence[Readable[Any]],
    x: NamedMovable[float],
    y: NamedMovable[float],
    *,
    channels: Sequence[str],
    coarse_step: float,
    area: dict[str, list[float]] | None = None,
    coarse_dwell_s: float = 0.05,
    fine_step: float | None = None,
    fine_dwell_s: float | None = None,
    regions: dict[str, Any] | None = None,
    max_regions: int = 10,
    i0: str | None = None,
    live: str | None = None,
    dwell: NamedMovable[float] | None = None,
    flyers: Sequence[Flyable] = (),
    approve: Any = None,
    realign: Any = None,
    until: Any = None,
    envelope: Any = None,
    overhead_s: float | None = None,
    md: dict[str, Any] | None = None,
    retries: int = 1,
    max_failures: int | None = None,
    move_timeout_s: float | None = None,
    trigger_timeout_s: float | None = None,
    position_tolerance: dict[str, float] | None = None,
) -> MsgGenerator[SurveyResult]:
    """Measure a coarse map, find the regions of interest in it, and scan only these finely.

    Each scan is a run of its own. The start document of a fine scan holds, under ``ebl_survey``, the uid of the coarse
    map, the region, and its rank. The motors return to where they were.

    Parameters
    ----------
    detectors : sequence of Readable
        Triggered and read at every point; with `flyers`, they may be empty.
    x, y : Movable
        The motors of the map's two axes; lines are flown along `x`.
    channels : sequence of str
        Event keys of the maps, such as the counts of elements. A channel whose readings are not whole numbers, such as
        a current, is a value with a noise that the map tells.
    coarse_step : float
        Size of a pixel of the coarse map, in motor units.
    area : dict, optional
        The rectangle to survey: ``{x: [low, high], y: [low, high]}``, in motor units; by default the motors' limits.
    coarse_dwell_s : float
        Seconds for each pixel of the coarse map.
    fine_step, fine_dwell_s : float, optional
        The same of the fine scans; by default what is suggested for each region.
    regions : RegionOptions or dict, optional
        How regions are found and ranked: see `ebl_autonomy.analysis.regions.RegionOptions`.
    max_regions : int
        Number of regions to scan finely.
    i0, live : str, optional
        Event keys of the incident intensity and of the detector's live time, s, by which counts are normalised.
    dwell : Movable, optional
        Sets the exposure of the detectors, s; suggested times are cut to its limits. Without it, points are measured
        with the detectors' present exposure.
    flyers : sequence of Flyable, optional
        Fly each row of the maps: see `FlyLine`.
    approve : "pause" or callable, optional
        ``"pause"`` prints the regions and pauses the RunEngine; after ``RE.resume()`` all of them are scanned. A
        function takes the list of regions and returns those to scan. By default nobody is asked.
    realign : callable, optional
        A plan function without arguments that is called before each fine scan, such as ``Realign``, which aligns the
        beam again if that pays. If it returns a `RunResult`, that run counts for the budgets.
    until, envelope : optional
        As for `optimize`; the budgets in seconds, dose and points are those of the whole survey. The envelope may name
        each motor of the survey; a forbidden box holds for the moving ones while the others stand inside of it.
    overhead_s : float, optional
        Seconds that each fine scan takes beside its rows; neighbouring regions are scanned together where this is
        faster. By default as for the coarse map, which is measured.
    md : dict, optional
        More metadata for each start document.
    retries, max_failures, move_timeout_s, trigger_timeout_s, position_tolerance
        As for `optimize`. By default a motor that tells no tolerance may stand half a pixel beside its target.

    Returns
    -------
    SurveyResult

    Raises
    ------
    BadInputError
        If an argument is invalid; nothing has moved.
    AgentError, MeasurementError, UserFunctionError
        As for `optimize`.
    """
    settings: dict[str, Any] = {
        "retries": retries,
        "max_failures": max_failures,
        "move_timeout_s": move_timeout_s,
        "trigger_timeout_s": trigger_timeout_s,
        "position_tolerance": position_tolerance,
    }
    survey = yield from make_survey(
        "roi_survey",
        detectors,
        x,
        y,
        channels=channels,
        coarse_step=coarse_step,
        area=area,
        coarse_dwell_s=coarse_dwell_s,
        fine_step=fine_step,
        fine_dwell_s=fine_dwell_s,
        regions=regions,
        max_regions=max_regions,
        i0=i0,
        live=live,
        dwell=dwell,
        flyers=flyers,
        approve=approve,
        realign=realign,
        until=until,
        envelope=envelope,
        overhead_s=overhead_s,
        md=md,
        settings=settings,
    )

    def steps() -> MsgGenerator[SurveyResult]:
        coarse, ranked, reason = yield from found_regions(survey)
        fine = yield from survey.fine_scans(coarse, ranked)
        yield from survey.return_home()
        return SurveyResult(coarse, tuple(ranked), tuple(fine), survey.end(reason))

    def back(error: Exception) -> MsgGenerator[None]:
        if not isinstance(error, LEAVES_MOTORS):
            yield from survey.return_home()

    result: SurveyResult = yield from bpp.contingency_wrapper(steps(), except_plan=back, auto_raise=True)
    return result
