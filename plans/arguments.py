"""Checks of what a user gives as arguments."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ebl_autonomy.errors import BadInputError

__all__ = ["check_document_keys", "check_integer", "check_length", "check_list", "check_seconds"]


def check_integer(name: str, value: Any, least: int) -> None:
    """Raise `BadInputError` unless the argument `name` is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        wanted = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise BadInputError(f"{name}={value!r}: give {wanted}")


def check_seconds(name: str, value: Any) -> None:
    """Raise `BadInputError` unless the argument `name` is a positive number of seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise BadInputError(f"{name}={value!r}: give a positive number of seconds")


def check_document_keys(what: str, value: Any) -> None:
    """Raise `BadInputError` if a key anywhere in a JSON value could not be stored: event-model allows no dot or slash.

    Parameters
    ----------
    what : str
        Names the value in the message.
    value : JSON value
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not key or set(str(key)) & {".", "/"}:
                raise BadInputError(
                    f"{what}: the name {key!r} cannot be stored with the run, because bluesky's documents allow no dot "
                    "and no slash in a key: give it another name"
                )
            check_document_keys(f"{what}.{key}", inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            check_document_keys(what, inner)


def check_length(name: str, value: Any) -> None:
    """Raise `BadInputError` unless the argument `name` is a positive length, or one along x and one along y."""
    sizes = value if isinstance(value, (list, tuple)) and len(value) == 2 else [value]
    if any(isinstance(size, bool) or not isinstance(size, (int, float)) or not 0 < size < math.inf for size in sizes):
        raise BadInputError(f"{name}={value!r}: give a positive number, or one for x and one for y, in motor units")


def check_list(name: str, devices: Any) -> None:
    """Raise `BadInputError` unless the argument `name` is a list of devices."""
    if not isinstance(devices, Sequence):
        raise BadInputError(f"{name}={devices!r}: give a list of devices")
