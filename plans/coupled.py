"""Motors that are axes of one pseudo positioner, which must be set together.

An axis of ophyd's `PseudoPositioner` that is set alone cancels the move of the others, or sends them to where they were
sent last, from which a user may have moved them since.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ophyd import PseudoPositioner, PseudoSingle

from ebl_autonomy.errors import BadInputError

__all__ = ["Setting", "ancestors", "axis_of", "axis_targets", "check_axes", "neighbours", "settings"]


@dataclass(frozen=True)
class Setting:
    """What one device is set to.

    Attributes
    ----------
    device : Movable
        A motor, or the pseudo positioner of several.
    value : float or tuple of float
        In motor units; for a pseudo positioner the positions of all its pseudo axes.
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
        if parent is None:
            found.append(Setting(motor, targets[names[0]], (names[0],)))
            continue
        axes = zip(parent.pseudo_positioners, parent.target, strict=True)
        value = parent.PseudoPosition(*(known.get(names_of.get(id(axis), axis.name), last) for axis, last in axes))
        found.append(Setting(parent, value, tuple(names)))
    return found


def axis_of(motor: Any) -> Any:
    """The axis of a pseudo positioner that has only one, such as the energy of a monochromator; else the motor."""
    return motor.pseudo_positioners[0] if _is_single(motor) else motor


def neighbours(motors: Mapping[str, Any]) -> dict[str, Any]:
    """The other pseudo axes of the motors' pseudo positioners, by name: what must stand still while the motors move."""
    steered = {id(axis_of(motor)) for motor in motors.values()}
    parents = [parent for motor in motors.values() if (parent := _parent(motor)) is not None]
    return {axis.name: axis for parent in parents for axis in parent.pseudo_positioners if id(axis) not in steered}


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
    if not isinstance(device, PseudoPositioner):
        return {}
    axes: dict[str, Any] = {str(axis.attr_name): axis for axis in device.pseudo_positioners}
    given = args[0] if args and isinstance(args[0], Mapping) else {} if args else named or {}
    if given or not args:
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
        reals = parent.real_positioners if parent is not None else ()
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
    """The pseudo positioner of a pseudo axis, or the motor itself if it has only one; None for any other motor."""
    if _is_single(motor):
        return motor
    parent = getattr(motor, "parent", None)
    return parent if isinstance(motor, PseudoSingle) and isinstance(parent, PseudoPositioner) else None


def _is_single(motor: Any) -> bool:
    return isinstance(motor, PseudoPositioner) and len(motor.pseudo_positioners) == 1
