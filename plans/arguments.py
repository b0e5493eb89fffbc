"""Checks of the numbers that a user gives as arguments."""

from typing import Any

from ebl_autonomy.errors import BadInputError

__all__ = ["check_integer", "check_seconds"]


def check_integer(name: str, value: Any, least: int) -> None:
    """Raise `BadInputError` unless the argument `name` is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        wanted = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise BadInputError(f"{name}={value!r}: give {wanted}")


def check_seconds(name: str, value: Any) -> None:
    """Raise `BadInputError` unless the argument `name` is a positive number of seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise BadInputError(f"{name}={value!r}: give a positive number of seconds")
