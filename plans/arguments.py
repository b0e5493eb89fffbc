"""Checks of what a user gives as arguments."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ebl_autonomy.errors import BadInputError

__all__ = ["check_integer", "check_keys", "check_length", "check_list", "check_seconds"]


def check_integer(name: str, value: Any, least: int) -> None:
    """Raise `BadInputError` unless the argument `name` is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        wanted = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise BadInputError(f"{name}={value!r}: give {wanted}")


def check_seconds(name: str, value: Any) -> None:
    """Raise `BadInputError` unless the argument `name` is a positive number of seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise BadInputError(f"{name}={value!r}: give a positive number of seconds")


def check_length(name: str, value: Any) -> None:
    """Raise `BadInputError` unless the argument `name` is a positive length, or one along x and one along y."""
    sizes = value if isinstance(value, (list, tuple)) and len(value) == 2 else [value]
    if any(isinstance(size, bool) or not isinstance(size, (int, float)) or not 0 < size < math.inf for size in sizes):
        raise BadInputError(f"{name}={value!r}: give a positive number, or one for x and one for y, in motor units")


def check_keys(document: Any, path: str = "") -> None:
    """Raise `BadInputError` if a mapping inside a document has a key that bluesky's documents may not have."""
    if isinstance(document, Mapping):
        for key, entry in document.items():
            where = f"{path}[{key!r}]" if path else str(key)
            if not isinstance(key, str) or "." in key or "/" in key:
                raise BadInputError(
                    f"the name {key!r} (in {path or 'md'}) cannot be a key of a bluesky document, which has no '.' and "
                    "no '/': rename the device, the channel or the phase"
                )
            check_keys(entry, where)
    elif isinstance(document, (list, tuple)):
        for entry in document:
            check_keys(entry, path)


def check_list(name: str, devices: Any) -> None:
    """Raise `BadInputError` unless the argument `name` is a list of devices."""
    if not isinstance(devices, Sequence):
        raise BadInputError(f"{name}={devices!r}: give a list of devices")
