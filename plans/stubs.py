"""The stubs that our plans are made of, for use in your own plans."""

import contextlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from bluesky.protocols import NamedMovable, Readable, Status, Stoppable, Triggerable
from bluesky.utils import FailedStatus, Msg, MsgGenerator, RunEngineControlException
from ophyd.utils import LimitError

from ebl_autonomy.errors import BadInputError, DeviceTimeoutError
from ebl_autonomy.guard import AdmittedMove, Envelope, Gate, Move
from ebl_autonomy.plans.coupled import settings
from ebl_autonomy.plans.devices import check_value, read_limits, read_positions
from ebl_autonomy.plans.failures import NO_FAULT, failure, late
from ebl_autonomy.plans.queueing import refuse_names
from ebl_autonomy.plans.readbacks import device_name
from ebl_autonomy.plans.rewriting import refuse_rewriting

__all__ = ["carry_out", "make_gate", "move_motors", "trigger_detectors"]

T = TypeVar("T")

logger = logging.getLogger(__name__)
_groups = itertools.count()

TRIGGER_S: Final = 60.0
"""Wall seconds that devices may take to be triggered, staged or unstaged, unless ``trigger_timeout_s`` is given."""
SETTLE_STEP_S: Final = 0.05
STOP_S: Final = 1.0
"""Longest time that stopped motors may take to end their statuses, s."""


def move_motors(
    motors: Mapping[str, NamedMovable[float]],
    targets: Mapping[str, float],
    timeout_s: float,
    gate: Gate | None = None,
) -> MsgGenerator[None]:
    """Move all motors at the same time, through a gate, and wait for the slowest.

    The gate judges the move from the motors' current positions. Then each motor checks its target, so that no motor
    moves if one refuses. If a motor is late or fails, all motors are stopped.

    Parameters
    ----------
    motors : mapping of str to motor
        The moving motors, and all other motors that the gate's forbidden regions name.
    targets : mapping of str to float
        Targets by motor name, in motor units.
    timeout_s : float
        Wall seconds that the move may take.
    gate : Gate, optional
        See `make_gate`. The default gate checks the motors' own limits.

    Raises
    ------
    RefusedError
        If the gate refuses the move; nothing has moved.
    DeviceTimeoutError
        If a motor does not arrive in time.
    DeviceFailedError
        If a move fails or cannot be started.
    LimitError
        If a motor refuses its target (ophyd's error). Other errors of a motor's check are raised unchanged too.
    BadInputError
        If no gate is given and a motor has no limits of its own, a forbidden region names a motor that is not among
        `motors`, or a wrapper around the plan, such as ``relative_set_wrapper``, would send a motor elsewhere.
    """
    moved = {name: motors[name] for name in targets}
    if gate is None:
        gate = yield from make_gate(list(moved.values()))
    if not isinstance(gate, Gate):
        raise BadInputError(f"gate={gate!r} is not a gate: make it with 'gate = yield from make_gate(motors)'")
    if unknown := sorted(gate.envelope.region_motors - set(motors)):
        raise BadInputError(
            f"forbidden regions name {unknown}: add these motors to motors=, so that their positions can be read"
        )
    here = yield from read_positions(motors)
    admitted = gate.check_move(Move(dict(targets), here, bound_by_domain=False))
    yield from refuse_rewriting(moved, here)
    yield from carry_out(moved, admitted, timeout_s)


def make_gate(
    motors: Sequence[NamedMovable[float]], envelope: Envelope | Mapping[str, Any] | None = None
) -> MsgGenerator[Gate]:
    """A gate for your own plan, from the motors' limits and an envelope.

    Parameters
    ----------
    motors : sequence of motors
    envelope : Envelope or mapping, optional

    Raises
    ------
    BadInputError
        If a motor has no limits of its own or in the envelope, or the envelope is invalid.
    """
    limits = {}
    refuse_names("motors", motors)
    for motor in motors:
        limits[motor.name] = yield from read_limits(motor)
    return Gate(None, Envelope.of(envelope), limits)


def carry_out(
    motors: Mapping[str, NamedMovable[float]],
    admitted: AdmittedMove,
    timeout_s: float,
    names: Sequence[str] | None = None,
    check_uninterrupted: Callable[[], None] | None = None,
    checked: bool = False,
) -> MsgGenerator[None]:
    """Make an admitted move; see `move_motors`.

    Parameters
    ----------
    motors : mapping of str to motor
    admitted : AdmittedMove
    timeout_s : float
        Wall seconds that the move may take.
    names : sequence of str, optional
        The motors that are not at their targets yet; all by default.
    check_uninterrupted : callable, optional
        Called before each motor is set. Raises if the move must be judged again, because the RunEngine was paused and a
        user may have moved motors; the motors that have been set are stopped, and the error is raised unchanged.
    checked : bool
        Whether the motors have checked their targets already.

    Raises
    ------
    ValueError
        If the move was judged without the positions of its motors.
    """
    targets = {name: admitted.target[name] for name in (admitted.target if names is None else names)}
    if unknown := sorted(set(targets) - set(admitted.here)):
        raise ValueError(
            f"the move of {unknown} was judged without their positions: admit it again with the current ones"
        )
    if not targets:
        return
    each = settings(motors, targets, {**admitted.here, **admitted.target})
    for setting in each if not checked else ():
        yield from check_value(setting.device, setting.value)
    group = f"ebl-move-{next(_groups)}"
    begun: dict[str, Any] = {}
    waiting = False  # tells our time-out from a TimeoutError that a device raises
    interrupted: Exception | None = None
    try:
        for setting in each:
            if check_uninterrupted is not None:
                try:
                    check_uninterrupted()
                except Exception as error:
                    interrupted = error
                    raise
            begun.update(dict.fromkeys(setting.names))  # they may move even if set() raises
            status = yield Msg("set", setting.device, setting.value, group=group)
            begun.update(dict.fromkeys(setting.names, status))
        waiting = True
        yield Msg("wait", None, group=group, timeout=timeout_s)
        if not _all_done(begun):  # a pause has stopped the motors, and ended the wait before they said so
            yield from settle(begun, STOP_S)
    except NO_FAULT:
        raise
    except Exception as error:
        slow = late(begun)
        failed = failure({device_name(motors, name): status for name, status in begun.items()}, error)
        yield from stop_all([motors[name] for name in begun])
        yield from settle(begun, STOP_S)
        if error is interrupted or isinstance(error, LimitError):
            raise
        if waiting and isinstance(error, TimeoutError):
            missed = {name: targets[name] for name in slow}
            raise DeviceTimeoutError(
                [device_name(motors, name) for name in slow],
                f"not at {missed} within {timeout_s:.1f} s; the motors were stopped",
            ) from error
        raise failed from error


def trigger_detectors(detectors: Sequence[Readable[Any]], timeout_s: float) -> MsgGenerator[None]:
    """Trigger every triggerable detector, and wait for all.

    Raises
    ------
    DeviceTimeoutError
        If a detector does not finish in time.
    DeviceFailedError
        If a detector fails or cannot be triggered.
    """
    begun: dict[str, Any] = {}
    triggered = [one for one in detectors if isinstance(one, Triggerable)]
    yield from wait_all("trigger", triggered, timeout_s, timeout_s, _nothing, begun=begun)
    if not _all_done(begun):
        # A pause ended the wait. Who triggers again at once would take the end of this exposure for that of the next.
        yield from settle(begun, timeout_s)


def stage_devices(devices: Sequence[Any], timeout_s: float) -> MsgGenerator[None]:
    """Stage devices at the same time, and wait for all.

    Raises
    ------
    DeviceFailedError, DeviceTimeoutError
        If a device cannot be staged, or not in time; the error names it.
    """
    begun: dict[str, Any] = {}
    try:
        yield from _stage_all("stage", devices, timeout_s, begun)
    except (DeviceTimeoutError, *NO_FAULT):
        raise
    except Exception as error:
        raise failure(begun, error) from error


def unstage_devices(devices: Sequence[Any], timeout_s: float) -> MsgGenerator[None]:
    """Unstage devices at the same time, and wait for all.

    Raises
    ------
    DeviceTimeoutError
        If a device is not unstaged in time; the error names it. Other errors of devices are raised unchanged.
    """
    yield from _stage_all("unstage", devices, timeout_s, {})


def _stage_all(command: str, devices: Sequence[Any], timeout_s: float, begun: dict[str, Any]) -> MsgGenerator[None]:
    group = f"ebl-{command}-{next(_groups)}"
    for device in devices:
        begun[device.name] = None
        status = yield Msg(command, device, group=group)
        if isinstance(status, Status):
            begun[device.name] = status
        else:
            del begun[device.name]  # it was staged during the call
    if not begun:
        return
    deadline = time.monotonic() + timeout_s  # tells our time-out from a TimeoutError that a device raises
    try:
        yield Msg("wait", None, group=group, timeout=timeout_s)
    except TimeoutError as error:
        if time.monotonic() < deadline - 1e-3:
            raise
        names = late(begun)
        said = f"no answer to {command!r} from {names} within {timeout_s:g} s: raise trigger_timeout_s"
        raise DeviceTimeoutError(names, said) from error


def do_all(
    command: str, devices: Sequence[Any], timeout_s: float, values: Mapping[str, Any] | None = None
) -> MsgGenerator[None]:
    """Send all devices the same message, and wait for all.

    Parameters
    ----------
    command : str
        ``"trigger"``, ``"prepare"``, ``"kickoff"`` ...
    devices : sequence
    timeout_s : float
        Wall seconds for all devices to finish.
    values : mapping of str to any, optional
        The argument of the message for each device, by device name.

    Raises
    ------
    DeviceTimeoutError, DeviceFailedError
        If devices are late or fail; the error names them.
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
    """Like `do_all`, but run `meanwhile` every `every_s` seconds during the wait, and once at the end.

    A pause ends the wait early, while devices may still be busy. The statuses are added to `begun`, by device name, for
    `settle`.

    Raises
    ------
    DeviceTimeoutError, DeviceFailedError
        As for `do_all`.
    """
    group = f"ebl-{command}-{next(_groups)}"
    begun = {} if begun is None else begun
    deadline = math.inf  # tells our time-out from a TimeoutError that a device raises
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
    except NO_FAULT:
        raise
    except Exception as error:
        if isinstance(error, TimeoutError) and time.monotonic() >= deadline - 1e-3:
            names = late(begun)
            raise DeviceTimeoutError(names, f"no answer from {names} within {timeout_s:.1f} s") from error
        raise failure(begun, error) from error


def stop_all(devices: Sequence[Any]) -> MsgGenerator[None]:
    """Stop all devices that can be stopped; a failure to stop is logged."""
    for device in devices:
        if isinstance(device, Stoppable):
            try:
                yield Msg("stop", device)
            except RunEngineControlException:
                raise
            except FailedStatus:  # of the move that was just stopped
                continue
            except Exception:  # a device that fails to stop must not keep the others from stopping
                logger.exception("%s could not be stopped", getattr(device, "name", device))


def settle(begun: Mapping[str, Any], timeout_s: float) -> MsgGenerator[None]:
    """Wait until the statuses of stopped devices are done, and absorb their failures before a later step gets them."""
    deadline = time.monotonic() + timeout_s
    last = False
    while not last:
        # The RunEngine throws a failure into the following step, so one more step is needed after all are done.
        last = time.monotonic() > deadline or _all_done(begun)
        with contextlib.suppress(FailedStatus):
            yield Msg("sleep", None, SETTLE_STEP_S)


def _all_done(begun: Mapping[str, Any]) -> bool:
    return all(status is None or status.done for status in begun.values())


def _nothing() -> MsgGenerator[None]:
    yield from ()
