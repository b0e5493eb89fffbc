"""Exploration without an objective: Sobol points, a grid, or any gest-api generator chooses the points."""

from collections.abc import Sequence
from typing import Any

from bluesky.protocols import NamedMovable, Readable
from bluesky.utils import MsgGenerator, plan

from ebl_autonomy.plans.acquisition import Acquisition, Measure
from ebl_autonomy.plans.queueing import checked_by_queue
from ebl_autonomy.plans.result import RunResult
from ebl_autonomy.plans.steered_run import acquisition_of, steer

__all__ = ["explore"]


@checked_by_queue
@plan
def explore(
    detectors: Sequence[Readable[Any]],
    motors: Sequence[NamedMovable[float]],
    agent: Any,
    *,
    max_points: int,
    batch: int = 1,
    measure: Measure | Acquisition | None = None,
    derive: Any = None,
    envelope: Any = None,
    md: dict[str, Any] | None = None,
    vocs: Any = None,
    position_tolerance: dict[str, float] | None = None,
) -> MsgGenerator[RunResult]:
    """Measure where an agent proposes, until it has no more proposals or `max_points` rows are recorded.

    The agent's VOCS needs only observables. The motors return to their start positions at the end. Parameters, return
    value and errors are the same as for `optimize`.
    """
    return (
        yield from steer(
            acquisition_of(detectors, measure),
            motors,
            agent,
            plan_name="explore",
            max_points=max_points,
            batch=batch,
            derive=derive,
            envelope=envelope,
            md=md,
            vocs=vocs,
            finish="return",
            position_tolerance=position_tolerance,
        )
    )
