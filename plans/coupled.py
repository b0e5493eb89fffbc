"""Motors that are axes of one device, which must be set together.

An axis of ophyd's `PseudoPositioner` that is set alone cancels the move of the others, or sends them to where they were
sent last, from which a user may have moved them since. Derived signals of one ophyd-async device overtake each other in
the same way; the device that contains them can set them together if its ``set`` takes a TypedDict of their attributes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints, is_typeddict

from bluesky.protocols import Movable
from ophyd import PseudoPositioner, PseudoSingle
from ophyd.ophydobj import OphydObject

from ebl_autonomy.errors import BadInputError

__all__ = ["Setting", "ancestors", "axis_of", "axis_targets", "check_axes", "neighbours", "settings"]


@dataclass(frozen=True)
class Setting:
    """What one device is set to.

    Attributes
    ----------
    device : Movable
        A motor, or the pseudo positioner of several.
    value : float, tuple of float or dict of str to float
        In motor units; for a pseudo positioner the positions of all its pseudo axes, for a device of ophyd-async the
        positions of its axes by attribute.
    names : tuple of str
        Names of the motors that the device moves.
    """

    device: Any
    value: Any
    names: tuple[str, ...]


def settings(motors: Mapping[str, Any], targets: Mapping[str, float], positions: Mapping[str, float]) -> list[Setting]:
    """What the devices are set to, so that motors go to their targets and the other axes stay.

    Parameters
    ----------
    motors : mapping of str to motor
    targets : mapping of str to float
        Targets of the motors that move, in motor units.
    positions : mapping of str to float
        Positions at the end of the move, in motor units, of the other motors and of `neighbours` that are known. A
        pseudo axis that is not named goes where it was sent last, as ophyd does it.
    """
    groups: dict[int, list[str]] = {}
    for name in targets:
        parent = _parent(motors[name])
        groups.setdefault(id(motors[name] if parent is None else parent), []).append(name)
    found = []
    names_of = {id(axis_of(motor)): name for name, motor in motors.items()}
    known = {**positions, **targets}
    for names in groups.values():
        motor = motors[names[0]]
        parent = _parent(motor)
        value: Any = targets[names[0]]
        if isinstance(parent, PseudoPositioner):
            axes = zip(parent.pseudo_positioners, parent.target, strict=True)
            value = parent.PseudoPosition(*(known.get(names_of.get(id(axis), axis.name), last) for axis, last in axes))
        elif parent is not None and len(names) > 1:
            joint = {key: names_of.get(id(axis), axis.name) for key, axis in _joint_axes(parent).items()}
            value = {key: known[name] for key, name in joint.items()}
        else:  # a derived signal that is set alone leaves the others where they were sent
            parent = motor
        found.append(Setting(parent, value, tuple(names)))
    return found


def axis_of(motor: Any) -> Any:
    """The axis of a pseudo positioner that has only one, such as the energy of a monochromator; else the motor."""
    return motor.pseudo_positioners[0] if _is_single(motor) else motor


def neighbours(motors: Mapping[str, Any]) -> dict[str, Any]:
    """The other pseudo axes of the motors' pseudo positioners, by name: what must stand still while the motors move."""
    steered = {id(axis_of(motor)) for motor in motors.values()}
    parents = [parent for motor in motors.values() if (parent := _parent(motor)) is not None]
    return {axis.name: axis for parent in parents for axis in _axes(parent).values() if id(axis) not in steered}


def axis_targets(device: Any, args: Sequence[Any], named: Mapping[str, Any] | None = None) -> dict[Any, float]:
    """The pseudo axes of `device` and their targets if it is set to `args`; empty if it is neither such an axis nor a
    pseudo positioner.

    Parameters
    ----------
    device : Movable
    args : sequence
        Arguments of a ``set`` message: the positions of all pseudo axes, as one tuple or one by one, or a mapping of
        some of their attributes to positions (as bluesky's `mv` makes it).
    named : mapping of str to any, optional
        Keyword arguments of the message, of which those that are attributes of axes are positions.
    """
    if isinstance(device, PseudoSingle):
        return {device: args[0]} if args else {}
    axes = _axes(device)
    given = args[0] if args and isinstance(args[0], Mapping) else {} if args else named or {}
    if given or not args or not axes:
        return {axes[name]: value for name, value in given.items() if name in axes}
    values = args[0] if len(args) == 1 and isinstance(args[0], Sequence) else args
    return dict(zip(axes.values(), values, strict=False))


def check_axes(motors: Sequence[Any]) -> None:
    """Check that each motor has one position, and that no motor is moved by another one.

    Raises
    ------
    BadInputError
        If a pseudo positioner of several axes is among the motors, or a motor together with a part of it, or a pseudo
        axis together with a real axis of the same pseudo positioner.
    """
    for motor in motors:
        if isinstance(motor, PseudoPositioner) and not _is_single(motor):
            axes = [axis.name for axis in motor.pseudo_positioners]
            raise BadInputError(
                f"{motor.name!r} has the axes {axes}, and no position of its own: give those axes as motors that are "
                "variables"
            )
        for other in motors:
            if any(other is ancestor for ancestor in ancestors(motor)):
                raise BadInputError(
                    f"the motors {[motor.name, other.name]} move each other, because {motor.name!r} is a part of "
                    f"{other.name!r}: give one of them"
                )
        parent = _parent(motor)
        reals = parent.real_positioners if isinstance(parent, PseudoPositioner) else ()
        if both := [real.name for real in motors if any(real is one for one in reals)]:
            raise BadInputError(
                f"the motors {[motor.name, *both]} move each other, because {motor.name!r} is computed from {both}: "
                "give either the pseudo axes or the real ones"
            )


def ancestors(device: Any) -> Iterator[Any]:
    """The devices that contain a device, the innermost first."""
    parent = getattr(device, "parent", None)
    while parent is not None:
        yield parent
        parent = getattr(parent, "parent", None)


def _parent(motor: Any) -> Any:
    """The device that sets a motor together with others, or the motor itself if it is one with one axis; else None."""
    if _is_single(motor):
        return motor
    parent = getattr(motor, "parent", None)
    if isinstance(parent, PseudoPositioner):
        return parent if isinstance(motor, PseudoSingle) else None
    return parent if any(axis is motor for axis in _joint_axes(parent).values()) else None


def _axes(parent: Any) -> dict[str, Any]:
    """The axes that a device sets together, by attribute."""
    if isinstance(parent, PseudoPositioner):
        return {str(axis.attr_name): axis for axis in parent.pseudo_positioners}
    return _joint_axes(parent)


def _joint_axes(device: Any) -> dict[str, Any]:
    """The parts of an ophyd-async device whose positions its ``set`` takes as a TypedDict, by attribute."""
    if isinstance(device, OphydObject) or not isinstance(device, Movable):
        return {}
    try:
        hints = get_type_hints(device.set)
    except Exception:  # noqa: BLE001 - annotations are free: names that cannot be resolved say nothing
        return {}
    for kind in hints.values():
        if is_typeddict(kind):
            axes = {key: getattr(device, key, None) for key in get_type_hints(kind)}
            return axes if all(isinstance(axis, Movable) for axis in axes.values()) else {}
    return {}


def _is_single(motor: Any) -> bool:
    return isinstance(motor, PseudoPositioner) and len(motor.pseudo_positioners) == 1
