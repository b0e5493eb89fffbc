"""The contract of a device: what our plans ask of motors and detectors, ophyd's and ophyd-async's alike."""

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
    """Hold a device to what our plans rely on, inside a real RunEngine.

    It has a name; its readings and its configuration have exactly the keys, kinds and shapes that it describes, twice
    in a row; its hints name keys that it reads; it stages, unstages, and may be unstaged twice; a trigger ends. A motor
    arrives at each of `positions` and says so under its own name, and refuses a position outside its limits before it
    moves; it is put back where it was.

    Parameters
    ----------
    device : Readable
    RE : RunEngine
        ophyd-async's devices must have been connected on its loop.
    positions : sequence of float
        Where to move a motor; none are moved if there are none.
    tolerance : float
        How far from a position it may stand.
    timeout_s : float
        Wall seconds for a move, a trigger or staging.

    Raises
    ------
    AssertionError
        Says which rule was broken.
    """
    assert isinstance(device, Readable), f"{device!r} is not Readable: it needs name, read() and describe()"
    assert isinstance(device.name, str), f"{device!r} has the name {device.name!r}"
    assert device.name, f"{device!r} has no name"
    assert hasattr(device, "parent"), f"{device.name} has no attribute parent: None for a device of its own"
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
            raise AssertionError(f"{device.name} cannot be unstaged twice ({error}): clean-up may do that") from error
        yield from _staging(device, "stage", timeout_s)
    for _ in range(2):
        if triggers:
            yield from trigger_detectors([device], timeout_s)
        described = yield from ask(device.describe)
        reading = yield Msg("read", device)
        # What a detector writes to files itself comes in documents of its own.
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
    """Whether it has a protocol's methods; without narrowing it to that protocol alone."""
    return isinstance(device, protocol)


def _staging(device: Any, command: str, timeout_s: float) -> MsgGenerator[None]:
    """Stage or unstage, and wait where the device says that it takes time."""
    group = f"ebl-check-{command}"
    yield Msg(command, device, group=group)
    yield Msg("wait", None, group=group, timeout=timeout_s)


def _check_keys(name: str, described: Mapping[str, Any], reading: Mapping[str, Any]) -> None:
    unread, undescribed = sorted(set(described) - set(reading)), sorted(set(reading) - set(described))
    assert not unread, f"{name} describes {unread} and does not read it"
    assert not undescribed, f"{name} reads {undescribed} undescribed"
    for key, spec in described.items():
        _check_value(name, key, spec, reading[key])


def _check_value(name: str, key: str, spec: Mapping[str, Any], item: Mapping[str, Any]) -> None:
    assert {"value", "timestamp"} <= set(item), f"{name}: the reading of {key} has no value and timestamp"
    assert {"source", "dtype", "shape"} <= set(spec), f"{name}: the description of {key} lacks source, dtype or shape"
    value, dtype, stamp = item["value"], spec["dtype"], item["timestamp"]
    assert dtype in _KINDS, f"{name}: {key} has the dtype {dtype!r}, which is none of {sorted(_KINDS)}"
    # ophyd describes a choice as the integer that it is on the wire, and reads the word.
    kinds = (*_KINDS[dtype], str) if "enum_strs" in spec else _KINDS[dtype]
    assert isinstance(value, kinds), f"{name}: {key} is described as {dtype} and reads {type(value).__name__}"
    assert isinstance(stamp, (int, float)), f"{name}: the timestamp of {key} is {stamp!r}"
    assert math.isfinite(stamp), f"{name}: the timestamp of {key} is {stamp!r}"
    shape, found = list(spec["shape"]), list(np.shape(value))
    if dtype == "array":
        # None stands for a length that changes.
        fits = len(shape) == len(found) and all(n in (None, m) for n, m in zip(shape, found, strict=True))
        assert fits, f"{name}: {key} is described as {shape} and reads {found}"
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
        return  # the guard asks for limits of the user's then
    before = yield from read_position(motor)
    margin = 0.01 * (limits[1] - limits[0])
    # It is the device that must refuse, so this gate lets pass what the device's own limits forbid.
    lenient = Gate(None, Envelope(), {motor.name: (limits[0] - margin, limits[1] + margin)})
    for outside in lenient.limits[motor.name]:
        try:
            yield from move_motors({motor.name: motor}, {motor.name: outside}, timeout_s, lenient)
        except Exception:  # noqa: BLE001 - a device may refuse in whatever way it likes
            after = yield from read_position(motor)
            assert after == before, f"{motor.name} moved from {before} to {after} although it refused {outside}"
            continue
        raise AssertionError(f"{motor.name} took {outside}, outside its limits {limits}")
