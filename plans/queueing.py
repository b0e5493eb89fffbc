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
    "coarse_step": {"annotation": "typing.Union[float, typing.List[float]]"},
    "fine_step": {"annotation": "typing.Union[float, typing.List[float], None]"},
}
"""Parameters of our plans by name, in the form of bluesky-queueserver's ``parameter_annotation_decorator``."""

_DESCRIPTIONS: Final[dict[str, str]] = {
    "detectors": "Triggered and read at every point.",
    "motors": "The motors of the agent's variables.",
    "agent": "{'agent': name, 'vocs': {...}, 'options': {...}}, or a name with vocs.",
    "max_points": "Maximum number of rows.",
    "batch": "Proposals per decision.",
    "x": "The motor of the map's fast axis.",
    "y": "The motor of the map's slow axis.",
    "channels": "Event keys of the maps, such as the counts of elements.",
    "coarse_step": "Size of a pixel of the coarse map, in motor units; [x, y] if the pixels are not square.",
    "coarse_dwell_s": "Seconds for each pixel of the coarse map.",
    "fine_step": "Size of a pixel of the fine scans, in motor units; by default what suits each region.",
    "fine_dwell_s": "Seconds for each pixel of the fine scans; by default what suits each region.",
    "area": "The rectangle to survey, {x: [low, high], y: [low, high]}, in motor units; by default the motors' limits.",
    "regions": "Options of how regions are found and ranked: see RegionOptions.",
    "max_regions": "Number of regions to scan finely.",
    "i0": "Event key of the incident intensity, by which counts are normalised.",
    "live": "Event key of the detector's live time, s, by which counts are normalised.",
    "dwell": "The device that sets the exposure of the detectors, s.",
    "flyers": "Devices that record lines flown along x.",
    "approve": "'pause' lists the regions and pauses; after resuming, all of them are scanned.",
    "realign": "Not in a queue: it takes a function.",
    "until": "Stop rules: {'seconds': s, 'clock': key, 'target': value, 'improvement': value, 'patience': n}.",
    "measure": "A plan stub that measures instead of triggering and reading the detectors.",
    "derive": "Outcomes by name: {name: registered function}.",
    "envelope": "{'limits': {motor: [low, high]}, 'forbidden': [{'box': {motor: [low, high]}}], "
    "'max_step': {motor: length}, 'max_points': n, 'max_seconds': s, 'max_dose': dose, 'dose_key': key}.",
    "overhead_s": "Seconds that a scan takes beside its rows, for joining near regions; by default as measured.",
    "md": "More entries of the start document.",
    "vocs": "With an agent that is given by name: {'variables': {motor: [low, high]}, 'observables': [key], "
    "'objectives': {key: 'MINIMIZE'}, 'constraints': {key: ['LESS_THAN', value]}}.",
    "baseline": "Devices that are read at the start and at the end.",
    "finish": "Where the motors end: at the recommended point ('best'), at the last one ('stay'), or where they were "
    "before ('return').",
    "retries": "Number of retries for a point that could not be measured.",
    "max_failures": "Number of points in a row without a valid row that ends the run.",
    "move_timeout_s": "Seconds that a move may take; by default from the motors' velocities.",
    "trigger_timeout_s": "Seconds that a trigger or a staging may take; by default 60.",
    "prior": "Past runs that the agent learns from: uids.",
    "position_tolerance": "Largest distance of each motor from its target, {motor: distance}, in motor units; by "
    "default the motor's own.",
}
"""What a queue server's user reads of parameters, which a docstring may describe together with others or elsewhere."""


def checked_by_queue(plan: Plan) -> Plan:
    """A plan whose parameters a queue server checks: the devices by name, JSON where Python would take objects too.

    Only a note for the queue server is added, under the name that its own decorator uses; it need not be installed.
    """
    known: dict[str, dict[str, Any]] = {
        name: {**_PARAMETERS.get(name, {}), **({"description": _DESCRIPTIONS[name]} if name in _DESCRIPTIONS else {})}
        for name in inspect.signature(plan).parameters
        if name in _PARAMETERS or name in _DESCRIPTIONS
    }
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
