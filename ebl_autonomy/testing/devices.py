"""The contract of motors and detectors that plans rely on, for ophyd and ophyd-async devices alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bluesky import RunEngine
from bluesky.protocols import Configurable, HasHints, Movable, Readable, Stageable, Triggerable
from bluesky.utils import Msg, MsgGenerator
from ophyd.utils import LimitError

from ebl_autonomy.errors import DeviceFailedError
from ebl_autonomy.guard import Envelope, Gate
from ebl_autonomy.plans.devices import ask, check_value, read_limits, read_position
from ebl_autonomy.plans.failures import is_limit_error, is_no_answer
from ebl_autonomy.plans.stubs import make_gate, move_motors, trigger_detectors
from ebl_autonomy.records import to_float

__all__ = ["check_device"]

_KINDS: dict[str, Any] = {
    "number": (int, float, np.number),
    "integer": (int, np.integer),
    "boolean": (bool, np.bool_, int),
    "string": (str,),
    "array": (list, tuple, np.ndarray),
}
_TIDY_S = 0.05
_NUMBERS = ("integer", "number")


def check_device(
    device: Any,
    RE: RunEngine,
    *,
    positions: Sequence[float] = (),
    tolerance: float = 1e-6,
    timeout_s: float = 60.0,
) -> None:
    """Check in a real RunEngine that a device keeps the contract that plans rely on.

    Any device:

    * It has a name and a parent. It can be staged and unstaged, and unstaged twice. A trigger completes.
    * Once it is staged and triggered, which is when bluesky asks, it describes exactly the keys that it reads, with
      their types and shapes, and again the same keys after the next trigger. An integer may become a number, unless it
      has a ``dtype_numpy``. The configuration keeps these rules too. Hints name keys that it describes.
    * Reading it twice changes neither its keys nor its configuration.
    * Unstaging gives the configuration back that it had before staging.

    A motor, if there are `positions`:

    * Its position is known: from ``locate()``, a reading called like the motor or its readback signal, a ``position``,
      or the only hinted reading. It arrives at each of `positions`, reads it, and stays there.
    * Limits are optional; where it has one, it refuses a position beyond it before it moves: in ``check_value()``, or
      in ``set()`` with the ``LimitError`` of ophyd or of ophyd-async, so that a plan knows that the position was wrong
      and not the motor.

    The check returns a motor to its original position.

    Parameters
    ----------
    device : Readable
    RE : RunEngine
        ophyd-async devices must be connected on its event loop.
    positions : sequence of float
        Positions to move a motor to, in motor units; without any, the motor is not moved.
    tolerance : float
        Largest accepted distance from a position, in motor units.
    timeout_s : float
        Time limit for a move, a trigger or staging, in wall-clock seconds.

    Raises
    ------
    AssertionError
        If the device breaks a rule; the message names the device and the rule.
    """
    assert isinstance(device, Readable), f"{device!r} is not Readable: it needs name, read() and describe()"
    assert isinstance(device.name, str), f"{device!r} has the name {device.name!r}"
    assert device.name, f"{device!r} has no name"
    assert hasattr(device, "parent"), f"{device.name} has no attribute parent: set it to None for a top-level device"
    RE(_readings(device, timeout_s))
    if positions:
        assert isinstance(device, Movable), f"{device.name} is not Movable: it needs set()"
        RE(_moves(device, positions, tolerance, timeout_s))


def _readings(device: Any, timeout_s: float) -> MsgGenerator[None]:
    stages = _is(device, Stageable)
    before = yield from _configuration(device, late=stages)
    if stages:
        yield from _staging(device, "stage", timeout_s)
        yield from _staging(device, "unstage", timeout_s)
        try:
            yield from _staging(device, "unstage", timeout_s)
        except Exception as error:
            raise AssertionError(f"{device.name} cannot be unstaged twice ({error}): clean-up may do so") from error
        yield from _staging(device, "stage", timeout_s)
    described: dict[str, Any] = {}
    for _ in range(2):
        if _is(device, Triggerable):
            yield from trigger_detectors([device], timeout_s)
        described = yield from _check_reading(device, described, "after the next trigger")
    configured = yield from _configuration(device)
    for _ in range(2):
        yield from _check_reading(device, described, "when it is read again")
    changed = _changes(configured, (yield from _configuration(device)), described)
    assert not changed, f"reading {device.name} changes its configuration: {changed}"
    if _is(device, Configurable):
        specs = yield from ask(device.describe_configuration)
        reading = yield from ask(device.read_configuration)
        _check_keys(f"the configuration of {device.name}", specs, reading)
    if _is(device, HasHints):
        unknown = sorted(set(device.hints.get("fields", [])) - set(described))
        assert not unknown, f"{device.name} hints at {unknown}, which it does not describe"
    if stages:
        yield from _staging(device, "unstage", timeout_s)
        after = yield from _configuration(device, late=True)
        changed = _changes(before, after, described)
        assert not changed, f"unstaging {device.name} does not restore what staging changed: {changed}"


def _check_reading(device: Any, earlier: Mapping[str, Any], when: str) -> MsgGenerator[dict[str, Any]]:
    """Read, and hold the reading against its description, and that against an earlier one; returns the first of these.

    A run has one description of a stream: what the device describes later must be the same.
    """
    described = yield from ask(device.describe)
    reading = yield Msg("read", device)
    _check_keys(device.name, described, reading)
    if not earlier:
        return dict(described)
    differ = sorted(set(earlier) ^ set(described))
    assert not differ, f"{device.name} changes its keys {when}: {differ} come or go"
    for key, spec in described.items():
        first = earlier[key]
        for part in ("dtype", "shape", "dtype_numpy"):
            was, now = first.get(part), spec.get(part)
            may = part == "dtype" and "dtype_numpy" not in first and was in _NUMBERS and now in _NUMBERS
            same = list(was) == list(now) if part == "shape" else was == now
            assert same or may, f"{device.name} changes {part} of {key} {when}: {was!r} becomes {now!r}"
    return dict(earlier)


def _configuration(device: Any, late: bool = False) -> MsgGenerator[dict[str, str]]:
    """The configuration as text; nothing if it has none, or has none before it is staged."""
    if not _is(device, Configurable):
        return {}
    try:
        reading = yield from ask(device.read_configuration)
    except Exception:
        if not late:
            raise
        return {}
    return {key: repr(item["value"]) for key, item in reading.items()}


def _changes(before: Mapping[str, str], after: Mapping[str, str], described: Mapping[str, Any]) -> list[str]:
    """What differs of a configuration; a signal of ophyd has its reading there too, which is not compared."""
    keys = sorted((set(before) | set(after)) - set(described)) if before else []
    return [f"{key} was {before.get(key)} and is {after.get(key)}" for key in keys if before.get(key) != after.get(key)]


def _is(device: Any, protocol: type) -> bool:
    """Whether `device` has the methods of a protocol; unlike ``isinstance``, without narrowing its static type."""
    return isinstance(device, protocol)


def _staging(device: Any, command: str, timeout_s: float) -> MsgGenerator[None]:
    """Stage or unstage, and wait if the device returns a status."""
    group = f"ebl-check-{command}"
    yield Msg(command, device, group=group)
    yield Msg("wait", None, group=group, timeout=timeout_s)


def _check_keys(name: str, described: Mapping[str, Any], reading: Mapping[str, Any]) -> None:
    # Data that a detector writes to files has separate documents; ophyd reads the reference to them.
    outside = {key for key, spec in described.items() if "external" in spec}
    described = {key: spec for key, spec in described.items() if key not in outside}
    reading = {key: item for key, item in reading.items() if key not in outside}
    unread, undescribed = sorted(set(described) - set(reading)), sorted(set(reading) - set(described))
    assert not unread, f"{name} describes {unread} but does not read it"
    assert not undescribed, f"{name} reads {undescribed} but does not describe it"
    for key, spec in described.items():
        _check_value(name, key, spec, reading[key])


def _check_value(name: str, key: str, spec: Mapping[str, Any], item: Mapping[str, Any]) -> None:
    assert {"value", "timestamp"} <= set(item), f"{name}: the reading of {key} has no value and timestamp"
    assert {"source", "dtype", "shape"} <= set(spec), f"{name}: the description of {key} lacks source, dtype or shape"
    value, dtype, stamp = item["value"], spec["dtype"], item["timestamp"]
    assert dtype in _KINDS, f"{name}: {key} has the dtype {dtype!r}, which is not among {sorted(_KINDS)}"
    # ophyd describes an enum as the integer on the wire, and reads the string.
    kinds = (*_KINDS[dtype], str) if "enum_strs" in spec else _KINDS[dtype]
    if dtype == "integer" and "dtype_numpy" not in spec:
        kinds = (*kinds, *_KINDS["number"])  # a simulated motor describes an integer as long as it stands at 0
    assert isinstance(value, kinds), f"{name}: {key} is described as {dtype} but reads {type(value).__name__}"
    assert isinstance(stamp, (int, float)), f"{name}: the timestamp of {key} is {stamp!r}"
    assert math.isfinite(stamp), f"{name}: the timestamp of {key} is {stamp!r}"
    shape, found = list(spec["shape"]), list(np.shape(value))
    if dtype == "array":
        # None stands for a variable length.
        fits = len(shape) == len(found) and all(n in (None, m) for n, m in zip(shape, found, strict=True))
        assert fits, f"{name}: {key} is described as {shape} but reads {found}"
    else:
        assert not shape, f"{name}: {key} is described as a {dtype} of shape {shape}: a single value has the shape []"


def _moves(motor: Any, positions: Sequence[float], tolerance: float, timeout_s: float) -> MsgGenerator[None]:
    try:
        before = yield from read_position(motor)
    except DeviceFailedError as error:
        raise AssertionError(f"the position of {motor.name} is not known: {error}") from error
    limits = yield from read_limits(motor)
    low, high = min(before, *positions), max(before, *positions)
    wanted = (low, high) if limits is None else (max(limits[0], low), min(limits[1], high))
    gate = yield from make_gate([motor], {"limits": {motor.name: wanted}})
    for target in positions:
        yield from move_motors({motor.name: motor}, {motor.name: target}, timeout_s, gate)
        # ophyd tells of the end of a move before it has tidied up, and never ends a move that begins meanwhile.
        yield Msg("sleep", None, _TIDY_S)
        here = yield from read_position(motor)
        assert abs(here - target) <= tolerance, f"{motor.name} was sent to {target} and stands at {here}"
        reading = yield Msg("read", motor)
        moved = abs(here - (yield from read_position(motor)))
        assert moved <= tolerance, f"reading {motor.name} moves it by {moved}"
        # A motor that can be located, or whose readback is left out of its readings, need not read its position.
        if motor.name in reading:
            value = to_float(reading[motor.name]["value"])
            assert abs(value - target) <= tolerance, f"{motor.name} was sent to {target} and reads {value}"
    for outside in _beyond(limits):
        yield from _check_refused(motor, outside, timeout_s)
    yield from move_motors({motor.name: motor}, {motor.name: before}, timeout_s, gate)


def _beyond(limits: tuple[float, float] | None) -> list[float]:
    """Positions a little beyond each limit that there is."""
    if limits is None:
        return []
    finite = [abs(limit) for limit in limits if math.isfinite(limit)]
    span = limits[1] - limits[0] if len(finite) == len(limits) else max(*finite, 1.0)
    margin = 0.01 * span
    return [limit + sign * margin for limit, sign in zip(limits, (-1.0, 1.0), strict=True) if math.isfinite(limit)]


def _check_refused(motor: Any, outside: float, timeout_s: float) -> MsgGenerator[None]:
    before = yield from read_position(motor)
    error = yield from _error_beyond(motor, before, outside, timeout_s)
    after = yield from read_position(motor)
    assert error is not None, f"{motor.name} accepted {outside}, outside its limits"
    assert after == before, f"{motor.name} moved from {before} to {after} although it refused {outside}"
    assert is_limit_error(error), (
        f"{motor.name} refuses {outside}, beyond its limits, with {error!r}: raise a LimitError, which tells a wrong "
        "position from a motor that fails"
    )


def _error_beyond(motor: Any, before: float, outside: float, timeout_s: float) -> MsgGenerator[Exception | None]:
    """The error with which a motor refuses a position, if it does; of a check, which may raise anything, a limit's."""
    try:
        yield from check_value(motor, outside)
    except Exception as error:  # noqa: BLE001 - a device may refuse with any exception
        return None if is_no_answer(error) else LimitError(str(error))
    # The device itself must refuse, so this gate admits positions outside the device's own limits.
    lenient = Gate(None, Envelope(), {motor.name: (min(before, outside), max(before, outside))})
    try:
        yield from move_motors({motor.name: motor}, {motor.name: outside}, timeout_s, lenient)
    except Exception as error:  # noqa: BLE001
        return error
    return None
