"""Sizes and times of a survey that are judged before anything moves."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ebl_autonomy.analysis.regions import check_margin
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.pixels import PixelGrid

if TYPE_CHECKING:
    from ebl_autonomy.plans.surveying import Survey

__all__ = ["check_sizes"]

logger = logging.getLogger(__name__)


def check_sizes(survey: Survey, edges: tuple[tuple[float, float], tuple[float, float]]) -> None:
    """Refuse sizes and times that no scan of the area can have.

    A budget of seconds that the exposures of the coarse map alone exceed is warned of: it is of the wall clock, which
    the devices of a simulation may outrun.

    Parameters
    ----------
    survey : Survey
    edges : two (low, high)
        Of the area along x and y, in motor units.

    Raises
    ------
    BadInputError
        If the margin is as large as the area, the fine pixels are too many, the suggested exposures cannot be set, or
        the coarse map has more pixels than there may be points.
    """
    options, budget = survey.options, survey.budget
    check_margin(options, *edges)
    if options.step is not None:
        PixelGrid.of_step(*edges, options.step)  # a step in a wrong unit gives more pixels than any map has
    if options.dwell_limits is not None:
        low, high = options.dwell_limits
        if high < survey.dwell_limits[0] or low > survey.dwell_limits[1]:
            raise BadInputError(
                f"regions.dwell_limits={options.dwell_limits}: the exposure can be set from {survey.dwell_limits[0]:g} "
                f"to {survey.dwell_limits[1]:g} s"
            )
    points = survey.grid.size
    if budget.envelope.max_points is not None and budget.envelope.max_points < points:
        raise BadInputError(
            f"envelope.max_points={budget.envelope.max_points}: the coarse map alone has {points} pixels: allow more, "
            "or give a larger coarse_step or a smaller area"
        )
    if survey.stage.dwell is None and not survey.stage.flyers:
        return  # the detectors' own exposure, which nobody knows here
    seconds = points * survey.coarse_dwell_s
    of_the_wall = {"envelope.max_seconds": budget.envelope.max_seconds}
    if budget.until.clock is None:
        of_the_wall["until.seconds"] = budget.until.seconds
    for name, most in of_the_wall.items():
        if most is not None and most < seconds:
            logger.warning(
                "%s=%g: the exposures of the coarse map alone take %.4g s: allow more, or give a larger coarse_step, a "
                "smaller area or a shorter coarse_dwell_s",
                name,
                most,
                seconds,
            )
