"""The contract of a device: what our plans ask of motors and detectors, ophyd's and ophyd-async's alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.protocols import Movable, Readable, Stageable, Triggerable
from bluesky.utils import Msg, MsgGenerator

from ebl_autonomy.plans.devices import ask, check_value, read_limits, read_position
from ebl_autonomy.plans.stubs import move_motors

__all__ = ["check_device"]

_KINDS: dict[str, Any] = {
    "number": (int, float, np.number),
    "integer": (int, np.integer),
    "boolean": (bool, np.bool_, int),
    "string": str,
    "array": (list, tuple, np.ndarray),
}


def check_device(device: Any, RE: RunEngine, *, positions: Sequence[float] = (), tolerance: float = 1e-6) -> None:
    """Hold a device to what our plans rely on, inside a real RunEngine.

    It has a name; its readings have exactly the keys and kinds that it describes, twice in a row; it stages and
    unstages; a trigger ends. A motor arrives at each of `positions`, and refuses a position outside its limits before
    it moves.

    Parameters
    ----------
    device : Readable
    RE : RunEngine
        ophyd-async's devices must have been connected on its loop.
    positions : sequence of float
        Where to move a motor.
    tolerance : float
        How far from a position it may stand.

    Raises
    ------
    AssertionError
        Says which rule was broken.
    """
    assert isinstance(device, Readable), f"{device!r} is not Readable: it needs name, read() and describe()"
    assert isinstance(device.name, str), f"{device!r} has the name {device.name!r}"
    assert device.name, f"{device!r} has no name"
    RE(_readings(device))
    if positions:
        assert isinstance(device, Movable), f"{device.name} is not Movable: it needs set()"
        RE(_moves(device, positions, tolerance))
        RE(_refuses(device))


def _readings(device: Any) -> MsgGenerator[None]:
    if isinstance(device, Stageable):
        yield from bps.stage(device, wait=True)
        yield from bps.unstage(device, wait=True)
        yield from bps.stage(device, wait=True)
    for _ in range(2):
        if isinstance(device, Triggerable):
            yield from bps.trigger(device, wait=True)
        described = yield from ask(device.describe)
        reading = yield Msg("read", device)
        inside = {key for key, spec in described.items() if "external" not in spec}
        assert set(reading) >= inside, f"{device.name} describes {sorted(inside - set(reading))} and does not read it"
        assert set(reading) <= set(described), (
            f"{device.name} reads {sorted(set(reading) - set(described))} undescribed"
        )
        for key in inside:
            _check_value(device.name, key, described[key], reading[key])
    if isinstance(device, Stageable):
        yield from bps.unstage(device, wait=True)


def _check_value(name: str, key: str, spec: dict[str, Any], item: dict[str, Any]) -> None:
    assert {"value", "timestamp"} <= set(item), f"{name}: the reading of {key} has no value and timestamp"
    assert {"source", "dtype", "shape"} <= set(spec), f"{name}: the description of {key} lacks source, dtype or shape"
    value, dtype = item["value"], spec["dtype"]
    assert isinstance(value, _KINDS[dtype]), f"{name}: {key} is described as {dtype} and reads {type(value).__name__}"
    if dtype == "array":
        shape = [n for n in spec["shape"] if n is not None]
        assert list(np.shape(value)) == shape, (
            f"{name}: {key} is described as {shape} and reads {list(np.shape(value))}"
        )


def _moves(motor: Any, positions: Sequence[float], tolerance: float) -> MsgGenerator[None]:
    for target in positions:
        yield from move_motors({motor.name: motor}, {motor.name: target}, 60.0)
        here = yield from read_position(motor)
        assert abs(here - target) <= tolerance, f"{motor.name} was sent to {target} and stands at {here}"


def _refuses(motor: Any) -> MsgGenerator[None]:
    limits = yield from read_limits(motor)
    if limits is None:
        return  # the guard asks for limits of the user's then
    before = yield from read_position(motor)
    for outside in (limits[0] - 1.0, limits[1] + 1.0, math.nan):
        try:
            yield from check_value(motor, outside)
            yield from bps.abs_set(motor, outside, wait=True)
        except Exception:  # noqa: BLE001 - a device may refuse in whatever way it likes
            continue
        if math.isfinite(outside):
            raise AssertionError(f"{motor.name} took {outside}, outside its limits {limits}")
    after = yield from read_position(motor)
    assert after == before, f"{motor.name} moved from {before} to {after} although it refused"
