"""The steps that our plans are made of, for people who write their own."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from bluesky.protocols import NamedMovable, Readable, Stoppable, Triggerable
from bluesky.utils import FailedStatus, Msg, MsgGenerator, RunEngineControlException

from ebl_autonomy.plans.devices import check_value

__all__ = ["LatePositionError", "move_motors", "think", "trigger_detectors", "waypoints"]

T = TypeVar("T")

logger = logging.getLogger(__name__)
_groups = itertools.count()


class LatePositionError(TimeoutError):
    """A motor did not arrive, or a detector did not answer, within its time."""


def move_motors(
    motors: Mapping[str, NamedMovable[float]], targets: Mapping[str, float], timeout_s: float
) -> MsgGenerator[None]:
    """Move all motors at the same time and wait for the slowest.

    Each motor is asked first whether it takes its position, so that none moves if one refuses. A motor that is late
    is told to stop.

    Parameters
    ----------
    motors : mapping of str to motor
    targets : mapping of str to float
        By the names of `motors`, in motor units.
    timeout_s : float
        Wall seconds.

    Raises
    ------
    LatePositionError
        If a motor does not arrive in time. Whatever a motor raises is raised too.
    """
    for name, target in targets.items():
        yield from check_value(motors[name], target)
    group = f"ebl-move-{next(_groups)}"
    moving = []
    try:
        for name, target in targets.items():
            moving.append(motors[name])
            yield Msg("set", motors[name], target, group=group)
        yield Msg("wait", None, group=group, timeout=timeout_s)
    except TimeoutError as error:
        yield from _stop(moving, group)
        raise LatePositionError(f"not at {dict(targets)} within {timeout_s:.1f} s; the motors were stopped") from error
    except FailedStatus:
        yield from _stop(moving, group)
        raise


def trigger_detectors(detectors: Sequence[Readable[Any]], timeout_s: float) -> MsgGenerator[None]:
    """Trigger every detector that can be triggered, and wait for all.

    Raises
    ------
    LatePositionError
        If a detector does not finish in time. Whatever a detector raises is raised too.
    """
    group = f"ebl-trigger-{next(_groups)}"
    triggered = [detector for detector in detectors if isinstance(detector, Triggerable)]
    try:
        for detector in triggered:
            yield Msg("trigger", detector, group=group)
        if triggered:
            yield Msg("wait", None, group=group, timeout=timeout_s)
    except TimeoutError as error:
        names = [getattr(detector, "name", repr(detector)) for detector in triggered]
        raise LatePositionError(f"no answer from {names} within {timeout_s:.1f} s") from error


def think(executor: Executor, work: Callable[[], T]) -> MsgGenerator[T]:
    """Do `work` off the RunEngine's loop and wait for its result, so that pauses and suspenders still work.

    Raises
    ------
    Exception
        Whatever `work` raised.
    """
    future: Future[T] = executor.submit(work)

    async def done() -> None:
        # Not asyncio.wrap_future: a pause cancels what is being awaited, and must not cancel the work.
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def notify(_: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(event.set)

        future.add_done_callback(notify)
        await event.wait()

    while not future.done():  # a pause cuts the wait short
        yield Msg("wait_for", None, [done])
    return future.result()


def waypoints(
    start: Mapping[str, float], stop: Mapping[str, float], max_step: Mapping[str, float]
) -> list[dict[str, float]]:
    """Points on the straight way from `start` to `stop`, the last one included, none further apart than `max_step`."""
    steps = max([1, *(-int(-abs(stop[name] - start[name]) // most) for name, most in max_step.items() if name in stop)])
    way = [{name: start[name] + (stop[name] - start[name]) * k / steps for name in stop} for k in range(1, steps)]
    return [*way, dict(stop)]


def _stop(motors: Sequence[NamedMovable[float]], group: str) -> MsgGenerator[None]:
    """Stop what still moves, and take the failures that stopping causes, lest they surface in a later step."""
    for motor in motors:
        if isinstance(motor, Stoppable):
            try:
                yield Msg("stop", motor)
            except RunEngineControlException:
                raise
            except FailedStatus:  # of the move that has just been stopped
                continue
            except Exception:  # a motor that cannot even be stopped must not keep the others from it
                logger.exception("%s could not be stopped", motor.name)
    with contextlib.suppress(FailedStatus, TimeoutError):
        yield Msg("wait", None, group=group, timeout=1.0)
