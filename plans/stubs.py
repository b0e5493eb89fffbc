"""The steps that our plans are made of, for people who write their own."""

import asyncio
import contextlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any, Final, TypeVar

from bluesky.protocols import NamedMovable, Readable, Stoppable, Triggerable
from bluesky.utils import FailedPause, FailedStatus, Msg, MsgGenerator, RunEngineControlException
from ophyd.utils import LimitError

from ebl_autonomy.errors import DeviceFailedError, DeviceTimeoutError
from ebl_autonomy.guard import AdmittedMove, Envelope, Gate, Move
from ebl_autonomy.plans.devices import check_value, read_limits, read_position

__all__ = ["carry_out", "make_gate", "move_motors", "think", "trigger_detectors", "waypoints"]

T = TypeVar("T")

logger = logging.getLogger(__name__)
_groups = itertools.count()

SETTLE_STEP_S: Final = 0.05

_NO_FAULT = (RunEngineControlException, FailedPause)
"""What the RunEngine itself throws into a plan to end it."""


def move_motors(
    motors: Mapping[str, NamedMovable[float]],
    targets: Mapping[str, float],
    timeout_s: float,
    gate: Gate | None = None,
) -> MsgGenerator[None]:
    """Move all motors at the same time, through a gate, and wait for the slowest.

    The motors are asked where they stand, and the gate judges the move from there. Then each motor is asked whether it
    takes its position, so that none moves if one refuses. If one is late or fails, all are told to stop.

    Parameters
    ----------
    motors : mapping of str to motor
    targets : mapping of str to float
        By the names of `motors`, in motor units.
    timeout_s : float
        Wall seconds.
    gate : Gate, optional
        See `make_gate`; if not given, one that keeps the motors' own limits.

    Raises
    ------
    RefusedError
        If the gate does not let the move pass; nothing has moved.
    DeviceTimeoutError
        If a motor does not arrive in time.
    DeviceFailedError
        If a move fails or cannot be begun; a LimitError is raised as it is, and so is whatever a motor raises when it
        is asked.
    BadInputError
        If no gate is given and a motor has no limits of its own.
    """
    moved = {name: motors[name] for name in targets}
    if gate is None:
        gate = yield from make_gate(list(moved.values()))
    here = {}
    for name, motor in moved.items():
        here[name] = yield from read_position(motor)
    admitted = gate.check_move(Move(dict(targets), here, bound_by_domain=False))
    yield from carry_out(moved, admitted, timeout_s)


def make_gate(
    motors: Sequence[NamedMovable[float]], envelope: Envelope | Mapping[str, Any] | None = None
) -> MsgGenerator[Gate]:
    """A gate for a plan of your own: the motors' limits, within an envelope.

    Parameters
    ----------
    motors : sequence of motors
    envelope : Envelope or mapping, optional

    Raises
    ------
    BadInputError
        If a motor has limits neither of its own nor in the envelope, or the envelope is wrong.
    """
    limits = {}
    for motor in motors:
        limits[motor.name] = yield from read_limits(motor)
    return Gate(None, Envelope.of(envelope), limits)


def carry_out(
    motors: Mapping[str, NamedMovable[float]],
    admitted: AdmittedMove,
    timeout_s: float,
    names: Sequence[str] | None = None,
) -> MsgGenerator[None]:
    """Make a move that a gate has let pass; see `move_motors`.

    Parameters
    ----------
    motors : mapping of str to motor
    admitted : AdmittedMove
    timeout_s : float
    names : sequence of str, optional
        The motors that do not stand at their targets yet; all if not given.

    Raises
    ------
    ValueError
        If the move was judged without knowing where the motors stand.
    """
    targets = {name: admitted.target[name] for name in (admitted.target if names is None else names)}
    if unknown := sorted(set(targets) - set(admitted.here)):
        raise ValueError(
            f"the move of {unknown} was judged without knowing where they stand: admit it again from there"
        )
    if not targets:
        return
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
    yield from do_all("trigger", [one for one in detectors if isinstance(one, Triggerable)], timeout_s)


def do_all(
    command: str, devices: Sequence[Any], timeout_s: float, values: Mapping[str, Any] | None = None
) -> MsgGenerator[None]:
    """Give all devices the same command, and wait for all.

    Parameters
    ----------
    command : str
        ``"trigger"``, ``"prepare"``, ``"kickoff"`` ...
    devices : sequence
    timeout_s : float
        Wall seconds.
    values : mapping of str to anything, optional
        What each device gets with the command, by its name.

    Raises
    ------
    DeviceTimeoutError, DeviceFailedError
        Naming the devices that are late, or failed.
    """
    yield from wait_all(command, devices, timeout_s, timeout_s, _nothing, values)


def wait_all(
    command: str,
    devices: Sequence[Any],
    timeout_s: float,
    every_s: float,
    meanwhile: Callable[[], MsgGenerator[None]],
    values: Mapping[str, Any] | None = None,
    begun: dict[str, Any] | None = None,
) -> MsgGenerator[None]:
    """As `do_all`, and do something every so many seconds while the devices are at work, and once at the end.

    A pause cuts the wait short: the devices may still be at work then. `begun` takes their statuses, by name, for
    `settle`.

    Raises
    ------
    DeviceTimeoutError, DeviceFailedError
        As `do_all`.
    """
    group = f"ebl-{command}-{next(_groups)}"
    begun = {} if begun is None else begun
    deadline = math.inf  # a device may raise a TimeoutError of its own
    try:
        for device in devices:
            name = getattr(device, "name", repr(device))
            begun[name] = None
            value = () if values is None else (values[name],)
            begun[name] = yield Msg(command, device, *value, group=group)
        deadline = time.monotonic() + timeout_s
        done = not begun
        while not done:
            left = deadline - time.monotonic()
            last = left <= every_s
            done = yield Msg("wait", None, group=group, timeout=max(min(left, every_s), 0.0), error_on_timeout=last)
            done = done is not False
            yield from meanwhile()
    except _NO_FAULT:
        raise
    except Exception as error:
        if isinstance(error, TimeoutError) and time.monotonic() >= deadline - 1e-3:
            late = _late(begun)
            raise DeviceTimeoutError(late, f"no answer from {late} within {timeout_s:.1f} s") from error
        raise _failure(begun, error) from error


def stop_all(devices: Sequence[Any]) -> MsgGenerator[None]:
    """Stop all devices that can be stopped; a failure to stop is logged."""
    for device in devices:
        if isinstance(device, Stoppable):
            try:
                yield Msg("stop", device)
            except RunEngineControlException:
                raise
            except FailedStatus:  # of what has just been stopped
                continue
            except Exception:  # a device that cannot be stopped must not keep the others from it
                logger.exception("%s could not be stopped", getattr(device, "name", device))


def settle(begun: Mapping[str, Any], timeout_s: float) -> MsgGenerator[None]:
    """Wait until what was stopped has said so, and take the failures of its statuses, lest they surface later."""
    deadline = time.monotonic() + timeout_s
    last = False
    while not last:
        # The RunEngine throws a failure into the step that follows it: one more step once all are done.
        last = time.monotonic() > deadline or all(status is None or status.done for status in begun.values())
        with contextlib.suppress(FailedStatus):
            yield Msg("sleep", None, SETTLE_STEP_S)


def _nothing() -> MsgGenerator[None]:
    yield from ()


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
    distances = [abs(stop[name] - start[name]) / most for name, most in max_step.items() if name in stop]
    steps = max([1, *(math.ceil(share * (1.0 - 1e-9)) for share in distances)])
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
    yield from stop_all(motors)
    with contextlib.suppress(FailedStatus, TimeoutError):
        yield Msg("wait", None, group=group, timeout=1.0)
