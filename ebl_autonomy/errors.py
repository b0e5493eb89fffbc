"""All errors that this package raises on purpose, in one tree.

Each message holds the offending value and the remedy, because the reader is running a beamline.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError

Options = TypeVar("Options", bound=BaseModel)


class EblError(Exception):
    """Base of all errors raised by ebl_autonomy."""


class BadInputError(EblError, ValueError):
    """The caller asked for something that cannot be done; raised before anything moves."""


class RefusedError(EblError):
    """The guard refused a proposal.

    Parameters
    ----------
    rule : str
        The rule that refused: ``"keys"``, ``"type"``, ``"domain"``, ``"limits"``, ``"forbidden"``, ``"step"``,
        ``"points"``, ``"seconds"`` or ``"dose"``.
    message : str
        The value, the bound that it violates, and the remedy.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"refused by rule '{rule}': {message}")
        self.rule = rule
        self.message = message


class BudgetSpentError(RefusedError):
    """A budget of the envelope (points, time, dose) is used up, which ends the run."""


class AgentError(EblError, RuntimeError):
    """An agent failed to answer, or returned something that no plan can use."""


class NoMoreProposals(AgentError, ValueError):  # noqa: N818 - a normal end, like StopIteration
    """The agent has fewer points to propose than were requested: a grid is measured, a design is complete.

    It is also a ``ValueError``, which gest-api requires of a ``suggest(n)`` that cannot return n points.

    Parameters
    ----------
    message : str
    remaining : int
        Number of points that the agent can still propose; 0 ends the run successfully.
    """

    def __init__(self, message: str, remaining: int = 0) -> None:
        super().__init__(message)
        self.remaining = remaining


class DeviceFailedError(EblError, RuntimeError):
    """Motors or detectors reported a failure, or raised one.

    Parameters
    ----------
    devices : sequence of str
        Names of the devices that failed.
    said : str
        The reported failure.
    """

    def __init__(self, devices: Sequence[str], said: str) -> None:
        super().__init__(f"{', '.join(devices)} failed: {said}")
        self.devices = tuple(devices)


class OffTargetError(DeviceFailedError):
    """Motors do not stand where they were sent, so a measurement would belong to another point.

    Parameters
    ----------
    devices : sequence of str
        Names of the motors.
    said : str
        Asked position, position read, tolerance and remedy.
    """


class DeviceTimeoutError(EblError, TimeoutError):
    """Motors did not arrive, or detectors did not answer, within their time limit.

    Parameters
    ----------
    devices : sequence of str
        Names of the devices that timed out.
    message : str
    """

    def __init__(self, devices: Sequence[str], message: str) -> None:
        super().__init__(message)
        self.devices = tuple(devices)


class LineCutError(EblError, RuntimeError):
    """A pause or a failure cut a fly line short. The line is not repeated, because the sample has seen the beam.

    Parameters
    ----------
    message : str
    interrupted : bool
        Whether a pause or a suspender cut the line; if so, no device is at fault.
    devices : sequence of str
        The devices that failed, by name.
    """

    def __init__(self, message: str, interrupted: bool, devices: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.interrupted = interrupted
        self.devices = tuple(devices)


class ProgramExitError(EblError, RuntimeError):
    """A user's function (an agent, a derivation, a measuring stub) tried to end the program.

    Parameters
    ----------
    exit_ : SystemExit
    """

    def __init__(self, exit_: SystemExit) -> None:
        super().__init__(f"a function that the run called tried to end the program with exit({exit_.code!r})")


class UserFunctionError(EblError, RuntimeError):
    """A user's function (a derivation, a measuring stub) has a programming error, which no other point would mend.

    The exception that the function raised is the cause; the message says where it was raised.
    """


class MeasurementError(EblError, RuntimeError):
    """Too many points in a row could not be measured, or gave no valid row: the fault does not lie with a point."""


class DataError(EblError):
    """A run in Tiled, or a file of measurements, cannot be read."""


class TiledUnreachableError(EblError, ConnectionError):
    """No Tiled server answered at the given address."""


def unknown_text(name: object, known: Iterable[str], kind: str = "keys") -> str:
    """``unknown, did you mean 'seed'? The keys are ['clock', 'seed']``, without the question if nothing is alike."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    question = f", did you mean {close[0]!r}?" if close else "."
    return f"unknown{question} The {kind} are {known}"


_KIND: Final = re.compile(
    r"(constrained-)?(float|int|str|bool)|(list|dict|tuple|literal|function-[a-z]+|nullable)\[.*\]"
)
"""What pydantic adds to the path of a key for each kind of value that is allowed there."""


def validation_text(error: ValidationError, kind: type[BaseModel] | None = None, path: str = "") -> str:
    """The errors that pydantic found, on one line: each key by its path from the outside, with its value and fault.

    Parameters
    ----------
    error : ValidationError
    kind : type of pydantic model, optional
        The model that was validated; its keys are proposed for unknown ones.
    path : str
        Where the model itself stands, for example ``"agent.options"``.
    """
    faults: list[str] = []
    values: dict[str, int] = {}
    """Where the fault of each key with a wrong value stands."""
    for fault in error.errors():
        location = [part for part in fault["loc"] if not _KIND.fullmatch(str(part))]
        key = ".".join(map(str, ([path] if path else []) + location))
        if fault["type"] == "extra_forbidden":
            faults.append(f"{key}: {unknown_text(fault['loc'][-1], _keys_at(kind, fault['loc'][:-1]))}")
        elif fault["type"] == "missing":
            faults.append(f"{key}: missing")
        elif key in values:  # each kind of value that is allowed has a fault of its own
            faults[values[key]] += f", or: {fault['msg']}"
        else:
            values[key] = len(faults)
            faults.append(f"{key}={fault['input']!r:.60}: {fault['msg']}")
    return "; ".join(faults)


def _keys_at(kind: Any, location: Sequence[int | str]) -> list[str]:
    """The keys of the model that lies at `location` in the model `kind`; none if no model lies there."""
    for step in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel) and step in kind.model_fields:
            kind = kind.model_fields[str(step)].annotation
        else:  # the elements of a list, or the values of a mapping
            kind = (get_args(kind) or (None,))[-1]
    return sorted(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def validated(kind: type[Options], given: Any, path: str) -> Options:
    """Options as an object: given as one, as a JSON mapping of its fields, or as None for its defaults.

    Parameters
    ----------
    kind : type of pydantic model
    given : kind, mapping or None
    path : str
        The argument, for the message: ``"envelope"``, or ``"agent.options"`` for what stands inside another one.

    Raises
    ------
    BadInputError
        If it is no mapping, or the mapping has an unknown key or a wrong value. The message gives the path of the key.
    """
    if isinstance(given, kind):
        return given
    if not isinstance(given, Mapping | None):
        raise BadInputError(f"{path}={given!r:.80}: give a mapping with the keys {sorted(kind.model_fields)}")
    try:
        return kind.model_validate(dict(given or {}))
    except ValidationError as error:
        raise BadInputError(validation_text(error, kind, path)) from error
