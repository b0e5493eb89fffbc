"""Finds out, before anything moves, whether a wrapper around the plan changes where the plan sends motors.

``relative_set_wrapper`` adds the first position of a motor to each of its targets: what the gate has judged is then not
where the motor goes. A wrapper sees the messages of a plan alone, and the plan sees no wrapper. So the plan first sends
each motor, by a stand-in that moves nothing, to where it stands, and looks what arrives. A wrapper that notes where
motors stood before their first move, such as ``reset_positions_wrapper``, then knows it of motors too that are flown
and not set.
"""

from collections.abc import Mapping
from typing import Any, Final

from bluesky import preprocessors as bpp
from bluesky.protocols import NamedMovable
from bluesky.utils import Msg, MsgGenerator, single_gen
from ophyd.status import Status

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans.coupled import settings
from ebl_autonomy.plans.timely import delegated

__all__ = ["StandIn", "refuse_rewriting"]

_DELEGATED: Final = ("name", "parent", "position", "locate", "read", "describe", "hints", "stop", "pause", "resume")
"""What the RunEngine and its preprocessors ask of a device that is set; a stand-in has those that its device has."""


class StandIn:
    """Stands in for a device that is set, and equals it; `set` moves nothing until `released`, and then the device.

    Attributes
    ----------
    asked : list
        The values to which it was set before it was released.
    released : bool
    """

    def __init__(self, device: Any) -> None:
        self._device = device
        self.asked: list[Any] = []
        self.released = False

    def set(self, value: Any, **options: Any) -> Any:
        if self.released:
            return self._device.set(value, **options)
        self.asked.append(value)
        done = Status(self._device)
        done.set_finished()
        return done

    def __eq__(self, other: object) -> bool:
        return bool(self._device == (other._device if isinstance(other, StandIn) else other))

    def __hash__(self) -> int:
        return hash(self._device)

    def __repr__(self) -> str:
        return repr(self._device)


def refuse_rewriting(motors: Mapping[str, NamedMovable[Any]], here: Mapping[str, float]) -> MsgGenerator[None]:
    """Refuse a wrapper around the plan that changes where motors are sent; nothing moves.

    Parameters
    ----------
    motors : mapping of str to motor
    here : mapping of str to float
        Where they stand, in motor units. A wrapper that adds 0 to the targets changes nothing, and is not refused.

    Raises
    ------
    BadInputError
        If a motor would be sent elsewhere; the message names it and the remedy.
    """
    standing = {name: here[name] for name in motors if name in here}
    for setting in settings(motors, standing, standing):
        device = setting.device
        stand_in: StandIn = type("StandIn", (StandIn,), delegated(device, _DELEGATED))(device)
        # Not rewindable: after a pause the RunEngine would send the message again, to the device itself.
        yield from bpp.rewindable_wrapper(single_gen(Msg("set", stand_in, setting.value)), False)
        stand_in.released = True
        if any(asked != setting.value for asked in stand_in.asked):
            raise BadInputError(
                f"a wrapper around the plan sends {' and '.join(setting.names)} to {stand_in.asked[-1]!r} instead of "
                f"{setting.value!r}, so that no limit would hold: take relative_set_wrapper (or whatever changes the "
                "plan's 'set' messages) away, and give the domain in positions of the motors, such as "
                "[motor.position - 5, motor.position + 5]"
            )
