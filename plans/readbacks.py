"""Which reading of a motor is its position, and which motor a variable stands for.

A motor's position is usually read under the motor's own name, but not always: an ophyd ``PVPositioner`` called ``gap``
reads ``gap_readback``, and a readback may be renamed or left out of the readings.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

from bluesky.protocols import Locatable

from ebl_autonomy.errors import BadInputError, DeviceFailedError
from ebl_autonomy.plans.coupled import axis_of

__all__ = ["aliases_of", "bind", "device_name", "joined", "position_in", "position_key"]


def device_name(motors: Mapping[str, Any], name: str) -> str:
    """The name of the motor of a variable, which differs from the variable's if that is the name of a reading."""
    return str(getattr(motors[name], "name", name))


def position_key(motor: Any, keys: Collection[str]) -> str | None:
    """The one of a motor's keys that holds its position; None if none does, or if it is not known which one.

    It has the name of the motor or of its readback signal. If there is no such signal, it is the only hinted key, or
    the only key.
    """
    if motor.name in keys:
        return str(motor.name)
    readbacks = list(_readbacks(motor))
    if readbacks:
        return next((name for name in readbacks if name in keys), None)
    hinted = [name for name in (getattr(motor, "hints", None) or {}).get("fields", ()) if name in keys]
    found = hinted or list(keys)
    return found[0] if len(found) == 1 else None


def position_in(motor: Any, answer: Mapping[str, Any], variable: str = "") -> Any:
    """The position in a motor's answer: its location if it is `Locatable`, otherwise its reading.

    A variable with the name of a reading tells which one that is, if the motor does not.

    Raises
    ------
    DeviceFailedError
        If it is not known where the position is.
    """
    if isinstance(motor, Locatable):
        return answer["readback"]
    if (axis := axis_of(motor)) is not motor:
        return axis.position
    own = [name for name in (motor.name, *_readbacks(motor)) if name in answer]
    if own:
        return answer[own[0]]["value"]
    if isinstance(position := getattr(motor, "position", None), Real):
        return position
    key = position_key(motor, [name for name, item in answer.items() if isinstance(item["value"], Real)])
    if key is None and variable in answer:
        key = variable
    if key is not None:
        return answer[key]["value"]
    raise DeviceFailedError(
        [motor.name],
        f"it gives no reading called {motor.name!r}, only {sorted(answer)}, and has neither locate() nor a position: "
        "hint the reading that is its position and a number, or give the variable the name of that reading",
    )


def bind(variables: Sequence[str], motors: Sequence[Any], keys: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """The motor of each variable, in the order of the motors; a motor that is no variable has its own name.

    Parameters
    ----------
    variables : sequence of str
        Each the name of a motor, or of a reading that one motor gives.
    motors : sequence of motor
    keys : mapping of str to collection of str
        The keys of each motor's readings, by the motor's name.

    Raises
    ------
    BadInputError
        If no motor or more than one belongs to a variable, or a motor belongs to two.
    """
    own = {motor.name for motor in motors}
    named: dict[str, str] = {}
    for variable in variables:
        owners = [variable] if variable in own else [name for name in keys if variable in keys[name]]
        if len(owners) > 1:
            raise BadInputError(f"the variable {variable!r} is a reading of the motors {owners}: name one of them")
        if not owners:
            readings = sorted({key for given in keys.values() for key in given} - own)
            also = f", or of one of their readings {readings}" if readings else ""
            unknown = [name for name in variables if name not in own and not any(name in keys[one] for one in keys)]
            raise BadInputError(
                f"the variables {unknown} are not motors: there are {[motor.name for motor in motors]}. A variable "
                f"must have the name of its motor{also}."
            )
        if owners[0] in named:
            raise BadInputError(
                f"the variables {named[owners[0]]!r} and {variable!r} are the same motor {owners[0]!r}: keep one"
            )
        named[owners[0]] = variable
    return {named.get(motor.name, motor.name): motor for motor in motors}


def aliases_of(motors: Mapping[str, Any], keys: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Other names by which a user may call a variable's motor in limits and tolerances, and the variable of each."""
    found = {}
    for variable, motor in motors.items():
        for alias in (motor.name, position_key(motor, keys.get(motor.name, ()))):
            if alias is not None and alias not in motors:
                found[str(alias)] = variable
    return found


def joined(steered: Mapping[str, Any], flown: Mapping[str, Any]) -> dict[str, Any]:
    """All moving motors: of the variables, by variable, and of an acquisition, by name.

    Raises
    ------
    BadInputError
        If a motor is in both under different names.
    """
    for name, motor in flown.items():
        for variable, other in steered.items():
            if other is motor and variable != name:
                raise BadInputError(
                    f"the flown motor {name!r} is the variable {variable!r}: give the variable the name {name!r}"
                )
    return {**steered, **flown}


def _readbacks(motor: Any) -> Iterator[str]:
    """Names of the signals that are by convention the readback of a motor, of ophyd and of ophyd-async."""
    motor = axis_of(motor)
    logic = getattr(motor, "movable_logic", None)
    signals = (
        *(getattr(motor, name, None) for name in ("readback", "user_readback")),
        getattr(logic, "readback", None),
    )
    for signal in signals:
        if isinstance(name := getattr(signal, "name", None), str) and name:
            yield name
