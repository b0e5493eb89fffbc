"""Adaptive mapping: an agent chooses the pixels of a map that are worth measuring, as points or as fly lines."""

import logging
import math
from collections.abc import Sequence
from typing import Any

from bluesky.protocols import Flyable, NamedMovable, Readable
from bluesky.utils import MsgGenerator, plan

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans.acquisition import PointOrLine, Stretch
from ebl_autonomy.plans.arguments import check_list, check_seconds
from ebl_autonomy.plans.devices import check_devices, describe
from ebl_autonomy.plans.queueing import checked_by_queue, refuse_names
from ebl_autonomy.plans.result import RunResult
from ebl_autonomy.plans.setpoints import SoftSetpoint
from ebl_autonomy.plans.setup import generator_of
from ebl_autonomy.plans.steered_run import acquisition_of, steer
from ebl_autonomy.records import Finish
from ebl_autonomy.space import Space

__all__ = ["adaptive_map"]

logger = logging.getLogger(__name__)


@checked_by_queue
@plan
def adaptive_map(
    detectors: Sequence[Readable[Any]],
    x: NamedMovable[float],
    y: NamedMovable[float],
    agent: Any,
    *,
    max_points: int,
    batch: int = 8,
    dwell: NamedMovable[float] | None = None,
    flyers: Sequence[Flyable] = (),
    step: float | None = None,
    dwell_s: float = 0.1,
    until: Any = None,
    derive: Any = None,
    envelope: Any = None,
    md: dict[str, Any] | None = None,
    vocs: Any = None,
    baseline: Sequence[Readable[Any]] = (),
    finish: Finish = "return",
    retries: int = 1,
    max_failures: int | None = None,
    move_timeout_s: float | None = None,
    trigger_timeout_s: float | None = None,
    position_tolerance: dict[str, float] | None = None,
) -> MsgGenerator[RunResult]:
    """Measure a map where an agent expects to learn most, until its error, a budget or the number of points ends it.

    Parameters
    ----------
    detectors : sequence of Readable
        Triggered and read at every point. They, or `derive`, provide the channels, which are the outcomes of the VOCS.
    x, y : Movable
        The motors of the map's two axes; lines are flown along `x`.
    agent : gest-api Generator, str or mapping
        As for `optimize`; usually ``"mapping"`` with `vocs`. Its variables are `x` and `y`; the time at each point, if
        `dwell` is given; and the length of a fly line, if `flyers` are given. Without a target for the error, it ends
        only with the last pixel.
    max_points : int
        Maximum number of rows.
    batch : int
        Proposals per decision, measured in the order with the least travel.
    dwell : Movable, optional
        Sets the exposure of the detectors, s. The agent then chooses it for each point.
    flyers : sequence of Flyable, optional
        See `FlyLine`. They record what the detectors read at a point. The agent's VOCS then has a variable for the
        length of a line, which is no motor: in units of `x`, from the proposed position, negative for a flight
        downwards, and 0 for a point.
    step : float, optional
        Length of a line for each of its readings, in units of `x`; by default the width of the agent's pixels.
    dwell_s : float
        Seconds for each reading of a line, without `dwell`.
    until, derive, envelope, md, vocs, baseline, finish, retries, max_failures, move_timeout_s, trigger_timeout_s,
    position_tolerance
        As for `optimize`. Budgets in seconds and in dose are those of `until` and `envelope`; a target for the error is
        the agent's option ``target_error``. By default a motor that tells no tolerance may stand half a pixel of the
        agent beside its target, or one of its steps, if these are coarser; a line says so. Where the envelope allows no
        single move to a point, the motors go there by several.

    Returns
    -------
    RunResult
        The map itself is the agent's: see `ebl_autonomy.agents.mapping.MappingAgent.map`, and the report of the run.

    Raises
    ------
    BadInputError, DataError, AgentError, MeasurementError, UserFunctionError
        As for `optimize`.
    """
    check_seconds("dwell_s", dwell_s)
    if math.isinf(dwell_s):
        raise BadInputError(f"dwell_s={dwell_s!r}: give the seconds for each reading of a line")
    _check_step(step, bool(flyers))
    refuse_names("flyers", flyers)
    check_list("flyers", flyers)
    generator, space = generator_of(agent, vocs)
    motors: list[Any] = [x, y, *([] if dwell is None else [dwell])]
    refuse_names("x, y and dwell", motors)
    check_devices(detectors if isinstance(detectors, Sequence) else [], motors)
    length = yield from _length_of_lines(space, motors, bool(flyers))
    acquisition = acquisition_of(detectors, None, trigger_timeout_s)
    if length is not None:
        low, high = _domain(space, x.name)
        stretch = Stretch(
            x.name, length.name, _step(step, generator), (low, high), dwell_s, "" if dwell is None else dwell.name
        )
        acquisition = PointOrLine(detectors, flyers, x, stretch, trigger_timeout_s)
        motors.append(length)
    return (
        yield from steer(
            acquisition,
            motors,
            generator,
            plan_name="adaptive_map",
            max_points=max_points,
            batch=batch,
            until=until,
            derive=derive,
            envelope=envelope,
            md=md,
            vocs=None if hasattr(generator, "vocs") else vocs,
            baseline=baseline,
            finish=finish,
            retries=retries,
            max_failures=max_failures,
            move_timeout_s=move_timeout_s,
            trigger_timeout_s=trigger_timeout_s,
            position_tolerance=position_tolerance,
            routes=True,
        )
    )


def _length_of_lines(space: Space, motors: Sequence[Any], flies: bool) -> MsgGenerator[SoftSetpoint | None]:
    """The setpoint of the one variable that is no motor; None if all are motors.

    Raises
    ------
    BadInputError
        If there are lines and no such variable, such a variable and no lines, or several of them.
    """
    keys = yield from describe(motors)
    named = {*keys, *(motor.name for motor in motors)}
    spare = [name for name in space.names if name not in named]
    if flies and len(spare) != 1:
        raise BadInputError(
            f"flyers= are given, so one variable of the VOCS must be the length of a line; besides the motors "
            f"{[motor.name for motor in motors]} there are {spare}: add it, such as 'line_length': [-width, width], "
            "and name it in the agent's option 'line'"
        )
    if spare and not flies:
        raise BadInputError(
            f"the variables {spare} are not motors of the map, {[motor.name for motor in motors]}: leave them out, "
            "give dwell= for the time at each point, or flyers= for a length of lines"
        )
    return SoftSetpoint(spare[0], _domain(space, spare[0])) if spare else None


def _domain(space: Space, name: str) -> tuple[float, float]:
    if name not in space.names:
        raise BadInputError(f"the motor {name!r} of x= is no variable of the VOCS, which has {space.names}: rename it")
    i = space.names.index(name)
    return float(space.low[i]), float(space.high[i])


def _check_step(step: Any, flies: bool) -> None:
    if step is None:
        return
    if isinstance(step, bool) or not isinstance(step, (int, float)) or not 0.0 < step < math.inf:
        raise BadInputError(
            f"step={step!r}: give a positive length, in units of x, for each reading of a line; the size of a pixel is "
            "the agent's option 'step'"
        )
    if not flies:
        logger.warning(
            "step=%r of adaptive_map has no effect without flyers: the size of a pixel is the agent's option 'step'",
            step,
        )


def _step(given: float | None, generator: Any) -> float:
    """Length for one reading."""
    if given is not None:
        return float(given)
    pixels = getattr(generator, "pixels", None)
    if pixels is None:
        raise BadInputError(
            f"the agent {type(generator).__name__} has no pixels: give step=, the length for one reading"
        )
    return float(pixels.step[0])
