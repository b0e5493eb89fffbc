"""The steps that our plans are made of, for people who write their own."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from bluesky.protocols import NamedMovable, Readable, Stoppable, Triggerable
from bluesky.utils import FailedPause, FailedStatus, Msg, MsgGenerator, RunEngineControlException
from ophyd.utils import LimitError

from ebl_autonomy.errors import DeviceFailedError, DeviceTimeoutError
from ebl_autonomy.plans.devices import check_value

__all__ = ["move_motors", "think", "trigger_detectors", "waypoints"]

T = TypeVar("T")

logger = logging.getLogger(__name__)
_groups = itertools.count()

_NO_FAULT = (RunEngineControlException, FailedPause)
"""What the RunEngine itself throws into a plan to end it."""


def move_motors(
    motors: Mapping[str, NamedMovable[float]], targets: Mapping[str, float], timeout_s: float
) -> MsgGenerator[None]:
    """Move all motors at the same time and wait for the slowest.

    Each motor is asked first whether it takes its position, so that none moves if one refuses. If one is late or fails,
    all are told to stop.

    Parameters
    ----------
    motors : mapping of str to motor
    targets : mapping of str to float
        By the names of `motors`, in motor units.
    timeout_s : float
        Wall seconds.

    Raises
    ------
    DeviceTimeoutError
        If a motor does not arrive in time.
    DeviceFailedError
        If a move fails or cannot be begun; a LimitError is raised as it is, and so is whatever a motor raises when it
        is asked.
    """
    for name, target in targets.items():
        yield from check_value(motors[name], target)
    group = f"ebl-move-{next(_groups)}"
    begun: dict[str, Any] = {}
    waiting = False  # a device may raise a TimeoutError of its own
    try:
        for name, target in targets.items():
            begun[name] = None  # it may move even if it raises
            begun[name] = yield Msg("set", motors[name], target, group=group)
        waiting = True
        yield Msg("wait", None, group=group, timeout=timeout_s)
    except _NO_FAULT:
        raise
    except Exception as error:
        late = _late(begun)
        yield from _stop([motors[name] for name in begun], group)
        if isinstance(error, LimitError):
            raise
        if waiting and isinstance(error, TimeoutError):
            missed = {name: targets[name] for name in late}
            raise DeviceTimeoutError(
                late, f"not at {missed} within {timeout_s:.1f} s; the motors were stopped"
            ) from error
        raise _failure(begun, error) from error


def trigger_detectors(detectors: Sequence[Readable[Any]], timeout_s: float) -> MsgGenerator[None]:
    """Trigger every detector that can be triggered, and wait for all.

    Raises
    ------
    DeviceTimeoutError
        If a detector does not finish in time.
    DeviceFailedError
        If one fails or cannot be triggered.
    """
    group = f"ebl-trigger-{next(_groups)}"
    begun: dict[str, Any] = {}
    waiting = False
    try:
        for detector in detectors:
            if isinstance(detector, Triggerable):
                name = getattr(detector, "name", repr(detector))
                begun[name] = None
                begun[name] = yield Msg("trigger", detector, group=group)
        waiting = True
        if begun:
            yield Msg("wait", None, group=group, timeout=timeout_s)
    except _NO_FAULT:
        raise
    except Exception as error:
        if waiting and isinstance(error, TimeoutError):
            late = _late(begun)
            raise DeviceTimeoutError(late, f"no answer from {late} within {timeout_s:.1f} s") from error
        raise _failure(begun, error) from error


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


def _late(begun: Mapping[str, Any]) -> list[str]:
    """Who has not finished, by the statuses of what was begun."""
    return [name for name, status in begun.items() if status is None or not status.done] or list(begun)


def _failure(begun: Mapping[str, Any], error: Exception) -> DeviceFailedError:
    """Who failed, and what it said, of a status that failed or of a call that raised."""
    failed: Any = None
    said = error
    if isinstance(error, FailedStatus):
        failed = error.args[0] if error.args else error
        said = error.__cause__ if isinstance(error.__cause__, Exception) else error
    names = [name for name, status in begun.items() if status is failed]
    # The RunEngine throws a failure into whatever step the plan is at: it may be of an earlier one, or come in place of
    # the very status that failed.
    if not names and hasattr(getattr(failed, "obj", None), "name"):
        names = [failed.obj.name]
    names = names or [name for name, status in begun.items() if status is None] or ["a device"]
    return DeviceFailedError(names, f"{type(said).__name__}: {said}")


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
