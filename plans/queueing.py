"""What a queue server must know of our plans beyond their signatures, so that it refuses a wrong item as it is added.

From a signature, bluesky-queueserver learns that a parameter takes devices, but not which there are: it accepts any
string and hands a name that it does not know to the plan. It also drops annotations that are not plain types.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from ebl_autonomy.errors import BadInputError

__all__ = ["checked_by_queue", "refuse_names"]

Plan = TypeVar("Plan", bound=Callable[..., Any])

_JSON: Final = {"annotation": "typing.Optional[typing.Dict[str, typing.Any]]"}

_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "detectors": {"annotation": "typing.Sequence[Detector]", "devices": {"Detector": ["__READABLE__:?.*"]}},
    "motors": {"annotation": "typing.Sequence[Motor]", "devices": {"Motor": ["__MOTOR__:?.*"]}},
    "baseline": {"annotation": "typing.Sequence[Readable]", "devices": {"Readable": ["__READABLE__:?.*"]}},
    **{name: {"annotation": "Motor", "devices": {"Motor": ["__MOTOR__:?.*"]}} for name in ("x", "y", "energy")},
    "dwell": {"annotation": "typing.Optional[Motor]", "devices": {"Motor": ["__MOTOR__:?.*"]}},
    "flyers": {"annotation": "typing.Sequence[Flyer]", "devices": {"Flyer": ["__FLYABLE__:?.*"]}},
    "measure": {"annotation": "typing.Optional[Stub]", "plans": {"Stub": [":.*"]}},
    "agent": {"annotation": "typing.Union[str, typing.Dict[str, typing.Any]]"},
    "until": _JSON,
    "envelope": _JSON,
    "vocs": _JSON,
    "derive": {"annotation": "typing.Union[typing.Dict[str, str], typing.List[str], str, None]"},
    "regions": _JSON,
    "approve": {"annotation": "typing.Optional[str]"},
    "realign": {"annotation": "typing.Literal[None]"},
    "prior": {"annotation": "typing.Sequence[str]"},
}
"""Parameters of our plans by name, in the form of bluesky-queueserver's ``parameter_annotation_decorator``."""


def checked_by_queue(plan: Plan) -> Plan:
    """A plan whose parameters a queue server checks: the devices by name, JSON where Python would take objects too.

    Only a note for the queue server is added, under the name that its own decorator uses; it need not be installed.
    """
    known = {name: entry for name, entry in _PARAMETERS.items() if name in inspect.signature(plan).parameters}
    plan._custom_parameter_annotation_ = {"parameters": known}  # type: ignore[attr-defined]
    return plan


def refuse_names(argument: str, devices: Any) -> None:
    """Refuse names where devices belong: a queue server replaces the names that it knows, and leaves the others.

    Parameters
    ----------
    argument : str
        The name of the argument, for the message.
    devices : device, str, or a sequence of them

    Raises
    ------
    BadInputError
        If there is a name; the message tells it and the devices that were found.
    """
    given = devices if isinstance(devices, Sequence) and not isinstance(devices, str) else [devices]
    found = [str(device.name) for device in given if hasattr(device, "name")]
    for name in given:
        if isinstance(name, str):
            raise BadInputError(
                f"{argument}: no such device {name!r}: there are {found}. Give the device itself, not its name; in a "
                "queue item, a name that `qserver allowed devices` lists"
            )
