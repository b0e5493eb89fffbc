"""Motors that are axes of one pseudo positioner, which must be set together.

An axis of ophyd's `PseudoPositioner` that is set alone cancels the move of the others, or sends them to where they were
sent last, from which a user may have moved them since.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ophyd import PseudoPositioner, PseudoSingle

from ebl_autonomy.errors import BadInputError

__all__ = ["Setting", "axis_targets", "check_axes", "settings"]


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
        Positions at the end of the move, in motor units, of the other motors that are known. A pseudo axis that is not
        named goes where it was sent last, as ophyd does it.
    """
    groups: dict[int, list[str]] = {}
    for name in targets:
        parent = _parent(motors[name])
        groups.setdefault(id(motors[name] if parent is None else parent), []).append(name)
    found = []
    for names in groups.values():
        motor = motors[names[0]]
        parent = _parent(motor)
        if parent is None:
            found.append(Setting(motor, targets[names[0]], (names[0],)))
            continue
        known = {**positions, **targets}
        axes = zip(parent.pseudo_positioners, parent.target, strict=True)
        value = parent.PseudoPosition(*(known.get(axis.name, last) for axis, last in axes))
        found.append(Setting(parent, value, tuple(names)))
    return found


def axis_targets(device: Any, args: Sequence[Any]) -> dict[Any, float]:
    """The pseudo axes of `device` and their targets if it is set to `args`; empty if it is no pseudo positioner.

    Parameters
    ----------
    device : Movable
    args : sequence
        Arguments of a ``set`` message: the positions of all pseudo axes, as one tuple or one by one, or a mapping of
        some of their attributes to positions (as bluesky's `mv` makes it).
    """
    if not isinstance(device, PseudoPositioner) or not args:
        return {}
    axes: dict[str, Any] = {str(axis.attr_name): axis for axis in device.pseudo_positioners}
    if isinstance(args[0], Mapping):
        return {axes[name]: value for name, value in args[0].items() if name in axes}
    values = args[0] if len(args) == 1 and isinstance(args[0], Sequence) else args
    return dict(zip(axes.values(), values, strict=False))


def check_axes(motors: Sequence[Any]) -> None:
    """Check that no motor is moved by another one.

    Raises
    ------
    BadInputError
        If a pseudo axis and a real axis of the same pseudo positioner are both among the motors.
    """
    for motor in motors:
        parent = _parent(motor)
        reals = parent.real_positioners if parent is not None else ()
        if both := [real.name for real in motors if any(real is one for one in reals)]:
            raise BadInputError(
                f"the motors {[motor.name, *both]} move each other, because {motor.name!r} is computed from {both}: "
                "give either the pseudo axes or the real ones"
            )


def _parent(motor: Any) -> Any:
    """The pseudo positioner of a pseudo axis; None for any other motor."""
    parent = getattr(motor, "parent", None)
    return parent if isinstance(motor, PseudoSingle) and isinstance(parent, PseudoPositioner) else None
