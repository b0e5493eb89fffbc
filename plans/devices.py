"""Querying devices before a plan moves them: positions, limits, tolerances, units, speeds and data keys.

All queries are messages or awaitables, because ophyd devices answer synchronously and ophyd-async devices do not.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any, Final, TypeVar

import numpy as np
from bluesky.protocols import Checkable, Locatable, Movable, NamedMovable, Readable
from bluesky.utils import Msg, MsgGenerator, RunEngineControlException, maybe_await, separate_devices

from ebl_autonomy.errors import BadInputError, DeviceFailedError
from ebl_autonomy.plans.coupled import ancestors, axis_of, check_axes
from ebl_autonomy.plans.failures import answering, blaming
from ebl_autonomy.plans.queueing import refuse_names
from ebl_autonomy.plans.readbacks import position_in, position_key
from ebl_autonomy.plans.timely import within
from ebl_autonomy.space import AxisTravel, Travel

__all__ = [
    "ask",
    "check_devices",
    "check_value",
    "describe",
    "motor_units",
    "read_exposure",
    "read_limits",
    "read_limits_and_travel",
    "read_position",
    "read_positions",
    "read_resolution",
    "read_tolerance",
    "read_travel",
    "unique",
]

T = TypeVar("T")

EXPOSURES: Final = (
    "acquire_time",
    "exposure",
    "exposure_time",
    "count_time",
    "preset_time",
    "preset_real_time",
    "preset_live_time",
    "averaging_time",
)
"""Attributes by which detectors tell their exposure: of areaDetector, scalers, MCAs and electrometers among others."""


def ask(question: Callable[[], T | Awaitable[T]], limited: bool = True) -> MsgGenerator[T]:
    """The result of a call; an awaitable result is awaited on the RunEngine's loop.

    Parameters
    ----------
    question : callable
    limited : bool
        Whether an awaitable result must come in time; False if the call itself sees to that.

    Raises
    ------
    DeviceTimeoutError
        If an awaitable result does not come in time.
    Exception
        Whatever the call raised.
    """
    first = question()
    if not isinstance(first, Awaitable):
        return first
    name = getattr(getattr(question, "__self__", None), "name", "a device")
    asked: list[Awaitable[T]] = [first]
    answer: list[T] = []
    failure: list[Exception] = []

    async def put() -> None:
        try:
            waiting = asked.pop() if asked else question()
            answer.append(await (within(lambda: maybe_await(waiting), name) if limited else maybe_await(waiting)))
        except Exception as error:  # noqa: BLE001 - raised again in the plan
            failure.append(error)

    while not answer and not failure:  # a pause ends the wait early
        yield Msg("wait_for", None, [put])
    if failure:
        raise failure[0]
    return answer[0]


def check_devices(detectors: Sequence[Any], motors: Sequence[Any]) -> None:
    """Check that motors can be moved, that detectors can be read, and that names are unique.

    Raises
    ------
    BadInputError
        If a check fails; the message names the device and the remedy.
    """
    refuse_names("motors", motors)
    refuse_names("detectors", detectors)
    if not isinstance(motors, Sequence):
        raise BadInputError(f"motors={motors!r}: give a list of motors")
    if not motors:
        raise BadInputError("no motors were given: give the devices that the agent may move")
    for motor in motors:
        if not isinstance(motor, Movable) or not isinstance(motor, Readable):
            raise BadInputError(
                f"{getattr(motor, 'name', motor)!r} ({type(motor).__name__}) was given as a motor but cannot be moved: "
                "pass it as a detector, or pass its motor"
            )
    for detector in detectors:
        if not isinstance(detector, Readable):
            raise BadInputError(f"{detector!r} ({type(detector).__name__}) was given as a detector but cannot be read")
    for device in (*motors, *detectors):
        if not hasattr(device, "parent"):
            raise BadInputError(
                f"{getattr(device, 'name', device)!r} ({type(device).__name__}) has no attribute 'parent', which "
                "bluesky needs: set it to None, or to the device that contains it"
            )
    # A part of another device is read as that part; its name may be that device's, such as the readback of a motor.
    names = [motor.name for motor in motors]
    read = separate_devices([*motors, *detectors])
    names += [device.name for device in read if not any(device is motor for motor in motors)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadInputError(f"the device names {twice} appear twice among motors and detectors: each needs its own")
    check_axes(motors)


def unique(devices: Iterable[T]) -> list[T]:
    """Each device once, in the order in which they were given."""
    return list({id(device): device for device in devices}.values())


def describe(devices: Sequence[Readable[Any]]) -> MsgGenerator[dict[str, Any]]:
    """The data keys of the devices: key to description (dtype, shape, units).

    Raises
    ------
    BadInputError
        If a device cannot describe itself.
    """
    keys: dict[str, Any] = {}
    for device in devices:
        try:
            keys.update((yield from ask(device.describe)))
        except RunEngineControlException:
            raise
        except Exception as error:
            raise BadInputError(
                f"{getattr(device, 'name', device)!r} cannot be described ({type(error).__name__}: {error}): connect "
                "it, or repair its describe()"
            ) from error
    return keys


def read_position(motor: NamedMovable[float]) -> MsgGenerator[float]:
    """The position of the motor, in its own unit; see `read_positions`."""
    return (yield from read_positions({motor.name: motor}))[motor.name]


def read_positions(motors: Mapping[str, NamedMovable[float]]) -> MsgGenerator[dict[str, float]]:
    """The positions of motors, each in its own unit, all read at the same time.

    Raises
    ------
    DeviceFailedError
        If a motor cannot be read, or its position is not a finite number.
    """
    answers = yield from ask(lambda: _at_once({motor.name: _query(motor) for motor in motors.values()}), limited=False)
    positions = {}
    for (name, motor), answer in zip(motors.items(), answers, strict=True):
        if isinstance(answer, Exception):
            with blaming(motor, "it cannot be read"):
                raise answer
        value = position_in(motor, answer, name)
        if not isinstance(value, Real) or not math.isfinite(value):
            raise DeviceFailedError([motor.name], f"it reads {value!r}, but must stand at a finite number")
        positions[name] = float(value)
    return positions


def _query(motor: Any) -> Any:
    """The location or the reading of a motor, an awaitable of it, or the error that the motor raised."""
    try:
        return motor.locate() if isinstance(motor, Locatable) else motor.read()
    except Exception as error:  # noqa: BLE001 - raised again with the motor's name
        return error


def _at_once(answers: Mapping[str, Any]) -> list[Any] | Awaitable[list[Any]]:
    """The answers of devices, by name; an awaitable of them if one must be awaited, for a limited time each."""
    if not any(isinstance(answer, Awaitable) for answer in answers.values()):
        return list(answers.values())

    async def all_of_them() -> list[Any]:
        waiting = [within(partial(maybe_await, answer), name) for name, answer in answers.items()]
        return list(await asyncio.gather(*waiting, return_exceptions=True))

    return all_of_them()


def read_tolerance(motor: NamedMovable[float], largest: float = 0.0) -> MsgGenerator[float | None]:
    """The distance from a target, in motor units, at which the motor itself counts as arrived; None if it tells none.

    Taken from ``tolerance`` (apstools), ``atol`` and ``rtol`` (ophyd's ``PVPositionerIsClose``), or the retry deadband
    of an EPICS motor record (``retry_deadband``, ``rdbd``, ophyd-async's ``deadband``). A value that is not positive
    counts as none.

    Parameters
    ----------
    motor : motor
    largest : float
        Largest absolute value of a target, in motor units, for a relative tolerance.
    """
    for name in ("tolerance", "atol", "retry_deadband", "rdbd", "deadband"):
        tolerance = yield from _number(getattr(motor, name, None))
        if tolerance is None or not math.isfinite(tolerance) or tolerance <= 0.0:
            continue
        if name == "atol":
            relative = yield from _number(getattr(motor, "rtol", None))
            tolerance += (1e-5 if relative is None else relative) * largest  # 1e-5: of numpy.isclose, which it calls
        return tolerance
    return None


def read_resolution(motor: NamedMovable[float]) -> MsgGenerator[float | None]:
    """The steps in which a motor moves, in motor units; None if it tells none.

    Taken from ``resolution`` (apstools, and the field MRES of an EPICS motor record), ``motor_resolution``, ``mres``,
    or ``motor_step_size``, whose sign is a direction.
    """
    for name in ("resolution", "motor_resolution", "mres", "motor_step_size"):
        steps = yield from _number(getattr(motor, name, None))
        if steps is not None and math.isfinite(steps) and steps != 0.0:
            return abs(steps)
    return None


def read_limits(motor: NamedMovable[float]) -> MsgGenerator[tuple[float, float] | None]:
    """The motor's own soft limits in its unit, infinite on an open side; None without any.

    As in ophyd and in the motor record, limits whose lower end is not below the upper one, such as (0, 0), are none.
    """
    pair = getattr(axis_of(motor), "limits", None)
    if not (isinstance(pair, (Sequence, np.ndarray)) and len(pair) == 2):
        pair = (getattr(motor, "low_limit_travel", None), getattr(motor, "high_limit_travel", None))
    low, high = (yield from _number(pair[0])), (yield from _number(pair[1]))
    low = -math.inf if low is None or math.isnan(low) else low
    high = math.inf if high is None or math.isnan(high) else high
    if low >= high or not (math.isfinite(low) or math.isfinite(high)):
        return None
    return low, high


def read_travel(motor: NamedMovable[float]) -> MsgGenerator[AxisTravel | None]:
    """The motor's velocity, acceleration, settling and backlash; None if it reports no velocity."""
    velocity = yield from _number(getattr(motor, "velocity", None))
    if velocity is None or not velocity > 0:
        return None
    ramp = yield from _number(getattr(motor, "acceleration_time", getattr(motor, "acceleration", None)))
    settle = yield from _number(getattr(motor, "settle_time", None))
    backlash = yield from _number(getattr(motor, "backlash", None))
    return AxisTravel(velocity, max(ramp or 0.0, 0.0), max(settle or 0.0, 0.0), backlash or 0.0)


def read_limits_and_travel(
    motors: Mapping[str, NamedMovable[Any]],
) -> MsgGenerator[tuple[dict[str, tuple[float, float] | None], Travel]]:
    """The own limits of motors by name, and the speeds of those that report them; see `read_limits`, `read_travel`.

    Raises
    ------
    BadInputError
        If a motor does not answer.
    """
    limits: dict[str, tuple[float, float] | None] = {}
    axes: dict[str, AxisTravel] = {}
    for name, motor in motors.items():
        with answering(motor):
            limits[name] = yield from read_limits(motor)
            axis = yield from read_travel(motor)
        if axis is not None:
            axes[name] = axis
    return limits, Travel(axes)


def read_exposure(detector: Readable[Any]) -> MsgGenerator[float | None]:
    """The detector's exposure time, s; None if it reports none.

    It is the first of `EXPOSURES` that is a positive number, or a signal that reads one: of the detector, of its part
    ``cam`` or ``driver`` (areaDetector in ophyd and in ophyd-async), or else of the device that contains it, for a
    single channel of a scaler.
    """
    device: Any
    for device in (detector, *ancestors(detector)):
        for part in (device, getattr(device, "cam", None), getattr(device, "driver", None)):
            for name in EXPOSURES:
                seconds = yield from _number(getattr(part, name, None))
                if seconds is not None and 0.0 < seconds < math.inf:
                    return seconds
    return None


def check_value(motor: NamedMovable[float], value: float) -> MsgGenerator[None]:
    """Let the motor check a position before anything moves (ophyd raises LimitError).

    Raises
    ------
    Exception
        Whatever the motor raises.
    """
    if isinstance(motor, Checkable):
        yield from ask(lambda: motor.check_value(value))


def units(descriptions: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """The units of `names`, as far as they have one."""
    return {name: str(descriptions[name]["units"]) for name in names if descriptions.get(name, {}).get("units")}


def motor_units(motors: Mapping[str, Any], described: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The units of motors, by variable: of the reading that is their position, or else as the motor itself says.

    Parameters
    ----------
    motors : mapping of str to motor
    described : mapping of str to mapping
        The data keys of each motor, by the motor's name.
    """
    found = {}
    for variable, motor in motors.items():
        keys = described.get(motor.name, {})
        key = variable if variable in keys else position_key(motor, keys)
        unit = getattr(motor, "egu", None) if key is None else keys[key].get("units")
        if isinstance(unit, str) and unit:
            found[variable] = unit
    return found


def _number(source: Any) -> MsgGenerator[float | None]:
    """The value of a number or of a signal, as a float; None if it is not a number."""
    if isinstance(source, Real):
        return float(source)
    if isinstance(source, Readable):
        reading = yield from ask(source.read)
        value = reading[source.name]["value"] if source.name in reading else None
        if isinstance(value, Real):
            return float(value)
    return None
