"""Every error this package raises on purpose, in one tree.

Each message holds the offending value and the remedy, because whoever reads it stands at a beamline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

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
        Which rule refused: ``"keys"``, ``"type"``, ``"domain"``, ``"limits"``, ``"forbidden"``, ``"step"``,
        ``"points"``, ``"seconds"`` or ``"dose"``.
    message : str
        The value, the bound it broke, and the remedy.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"refused by rule '{rule}': {message}")
        self.rule = rule
        self.message = message


class BudgetSpentError(RefusedError):
    """A budget of the envelope (points, time, dose) is used up: the run ends here."""


class AgentError(EblError, RuntimeError):
    """An agent failed to answer, or answered something that no plan can use."""


class NoMoreProposals(AgentError, ValueError):  # noqa: N818 - it ends a run well, as StopIteration ends a loop
    """The agent has fewer points to propose than it was asked for: a grid is measured, a design is complete.

    A ``ValueError`` too, as gest-api wants it of a ``suggest(n)`` that cannot answer n points.

    Parameters
    ----------
    message : str
    remaining : int
        How many points it could still propose; none if 0, and the run ends well.
    """

    def __init__(self, message: str, remaining: int = 0) -> None:
        super().__init__(message)
        self.remaining = remaining


class DeviceFailedError(EblError, RuntimeError):
    """Motors or detectors reported a failure, or raised one.

    Parameters
    ----------
    devices : sequence of str
        Which, by name.
    said : str
        What was wrong.
    """

    def __init__(self, devices: Sequence[str], said: str) -> None:
        super().__init__(f"{', '.join(devices)} failed: {said}")
        self.devices = tuple(devices)


class DeviceTimeoutError(EblError, TimeoutError):
    """Motors did not arrive, or detectors did not answer, within their time.

    Parameters
    ----------
    devices : sequence of str
        Which, by name.
    message : str
    """

    def __init__(self, devices: Sequence[str], message: str) -> None:
        super().__init__(message)
        self.devices = tuple(devices)


class LineCutError(EblError, RuntimeError):
    """A flown line was cut by a pause or a failure, and is not flown again: the sample has seen the beam.

    Parameters
    ----------
    message : str
    interrupted : bool
        Whether a pause or a suspender cut it, which is no device's fault.
    """

    def __init__(self, message: str, interrupted: bool) -> None:
        super().__init__(message)
        self.interrupted = interrupted


class MeasurementError(EblError, RuntimeError):
    """Too many points in a row could not be measured: something is wrong with the beamline, not with a point."""


class DataError(EblError):
    """A run in Tiled cannot be read as an autonomous experiment."""


class TiledUnreachableError(EblError, ConnectionError):
    """No Tiled server answered at the address that was given."""


def validation_text(error: ValidationError) -> str:
    """What pydantic found wrong, on one line: each field with its fault."""
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())


def validated(kind: type[Options], given: Any, name: str) -> Options:
    """Options as an object: given as one, as a JSON mapping of its fields, or as None for its defaults.

    Parameters
    ----------
    kind : type of pydantic model
    given : kind, mapping or None
    name : str
        What the argument is called, for the message.

    Raises
    ------
    BadInputError
        If it is no mapping, or the mapping has an unknown key or a wrong value: names it.
    """
    if isinstance(given, kind):
        return given
    keys = sorted(kind.model_fields)
    if not isinstance(given, Mapping | None):
        raise BadInputError(f"{name}={given!r:.80}: give a mapping with the keys {keys}")
    try:
        return kind.model_validate(dict(given or {}))
    except ValidationError as error:
        raise BadInputError(f"{name}: {validation_text(error)}. Its keys are {keys}.") from error
