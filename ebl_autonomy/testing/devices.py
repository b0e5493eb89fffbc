"""The contract of motors and detectors that plans rely on, for ophyd and ophyd-async devices alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bluesky import RunEngine
from bluesky.protocols import Configurable, HasHints, Movable, Readable, Stageable, Triggerable
from bluesky.utils import Msg, MsgGenerator

from ebl_autonomy.guard import Envelope, Gate
from ebl_autonomy.plans.devices import ask, read_limits, read_position
from ebl_autonomy.plans.stubs import make_gate, move_motors, trigger_detectors

__all__ = ["check_device"]

_KINDS: dict[str, Any] = {
    "number": (int, float, np.number),
    "integer": (int, np.integer),
    "boolean": (bool, np.bool_, int),
    "string": (str,),
    "array": (list, tuple, np.ndarray),
}


def check_device(
    device: Any,
    RE: RunEngine,
    *,
    positions: Sequence[float] = (),
    tolerance: float = 1e-6,
    timeout_s: float = 60.0,
) -> None:
    """Check in a real RunEngine that a device keeps the contract that plans rely on.

    The device has a name. Its readings and its configuration have exactly the keys, types and shapes that it describes,
    twice in a row. Its hints name keys that it describes. It can be staged and unstaged, and unstaged twice. A trigger
    completes. A motor arrives at each of `positions`, reports its position under its own name, and refuses a position
    outside its limits before it moves. The check returns the motor to its original position.

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
    stages, triggers = _is(device, Stageable), _is(device, Triggerable)
    if stages:
        yield from _staging(device, "stage", timeout_s)
        yield from _staging(device, "unstage", timeout_s)
        try:
            yield from _staging(device, "unstage", timeout_s)
        except Exception as error:
            raise AssertionError(f"{device.name} cannot be unstaged twice ({error}): clean-up may do so") from error
        yield from _staging(device, "stage", timeout_s)
    for _ in range(2):
        if triggers:
            yield from trigger_detectors([device], timeout_s)
        described = yield from ask(device.describe)
        reading = yield Msg("read", device)
        # Data that a detector writes to files has separate documents.
        inside = {key: spec for key, spec in described.items() if "external" not in spec}
        _check_keys(device.name, inside, reading)
    if _is(device, Configurable):
        described = yield from ask(device.describe_configuration)
        reading = yield from ask(device.read_configuration)
        _check_keys(f"the configuration of {device.name}", described, reading)
    if _is(device, HasHints):
        described = yield from ask(device.describe)
        unknown = sorted(set(device.hints.get("fields", [])) - set(described))
        assert not unknown, f"{device.name} hints at {unknown}, which it does not describe"
    if stages:
        yield from _staging(device, "unstage", timeout_s)


def _is(device: Any, protocol: type) -> bool:
    """Whether `device` has the methods of a protocol; unlike ``isinstance``, without narrowing its static type."""
    return isinstance(device, protocol)


def _staging(device: Any, command: str, timeout_s: float) -> MsgGenerator[None]:
    """Stage or unstage, and wait if the device returns a status."""
    group = f"ebl-check-{command}"
    yield Msg(command, device, group=group)
    yield Msg("wait", None, group=group, timeout=timeout_s)


def _check_keys(name: str, described: Mapping[str, Any], reading: Mapping[str, Any]) -> None:
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
    described = yield from ask(motor.describe)
    assert motor.name in described, f"motor {motor.name} reads {sorted(described)}: one must be {motor.name!r}"
    before = yield from read_position(motor)
    limits = yield from read_limits(motor)
    wanted = (min(before, *positions), max(before, *positions)) if limits is None else limits
    gate = yield from make_gate([motor], {"limits": {motor.name: wanted}})
    for target in positions:
        yield from move_motors({motor.name: motor}, {motor.name: target}, timeout_s, gate)
        here = yield from read_position(motor)
        assert abs(here - target) <= tolerance, f"{motor.name} was sent to {target} and stands at {here}"
        reading = yield Msg("read", motor)
        value = reading[motor.name]["value"]
        assert abs(value - target) <= tolerance, f"{motor.name} was sent to {target} and reads {value}"
    yield from _refuses(motor, timeout_s)
    yield from move_motors({motor.name: motor}, {motor.name: before}, timeout_s, gate)


def _refuses(motor: Any, timeout_s: float) -> MsgGenerator[None]:
    limits = yield from read_limits(motor)
    if limits is None:
        return  # the guard requires the user's limits in this case
    before = yield from read_position(motor)
    margin = 0.01 * (limits[1] - limits[0])
    # The device itself must refuse, so this gate admits positions outside the device's own limits.
    lenient = Gate(None, Envelope(), {motor.name: (limits[0] - margin, limits[1] + margin)})
    for outside in lenient.limits[motor.name]:
        try:
            yield from move_motors({motor.name: motor}, {motor.name: outside}, timeout_s, lenient)
        except Exception:  # noqa: BLE001 - a device may refuse with any exception
            after = yield from read_position(motor)
            assert after == before, f"{motor.name} moved from {before} to {after} although it refused {outside}"
            continue
        raise AssertionError(f"{motor.name} accepted {outside}, outside its limits {limits}")
