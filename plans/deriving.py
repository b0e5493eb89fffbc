"""Derived outcomes: functions of one row's readings, given as callables or by registered name."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ebl_autonomy import registry
from ebl_autonomy.errors import BadInputError, UserFunctionError
from ebl_autonomy.plans.user_functions import PROGRAMMING_ERRORS, programming_error

__all__ = ["DERIVATION", "Derivation", "Derived", "derived_values", "resolve_derivations"]

DERIVATION: Final = "derivation "
"""Begins the reason of a row that is invalid because a derivation failed."""

Derivation = Callable[[Mapping[str, Any]], float]
"""Maps one row's readings (key to value) to one number; NaN if the row gives no value."""


def resolve_derivations(derive: Mapping[str, Derivation | str] | Sequence[str] | None) -> dict[str, Derivation]:
    """Resolve derivations to functions by event key.

    Parameters
    ----------
    derive : mapping of str to callable or str, or sequence of str, or None
        A string is a name registered under the entry point ``ebl_autonomy.derivations``. In a sequence the name is
        also the event key.

    Raises
    ------
    BadInputError
        If a name is not registered, or an entry is neither a name nor callable.
    """
    if derive is None:
        return {}
    if isinstance(derive, str):
        derive = [derive]
    if not isinstance(derive, Mapping) and not (
        isinstance(derive, Sequence) and all(isinstance(name, str) for name in derive)
    ):
        raise BadInputError(f"derive={derive!r}: give a mapping of event keys to functions, or a list of names")
    wanted = dict(derive) if isinstance(derive, Mapping) else {name: name for name in derive}
    functions: dict[str, Derivation] = {}
    for key, source in wanted.items():
        try:
            function = registry.load(registry.DERIVATIONS, source) if isinstance(source, str) else source
        except BadInputError as error:
            raise BadInputError(f"derive.{key}: {error}") from error
        if not callable(function):
            raise BadInputError(f"derive.{key}={function!r:.80}: give a function of the readings, or its name")
        functions[key] = function
    return functions


@dataclass(frozen=True)
class Derived:
    """The derived values of one row.

    Attributes
    ----------
    values : dict of str to float
        NaN where a derivation failed.
    failed : str
        The reason of the first failure; empty without one.
    error : UserFunctionError or None
        The first programming error: the run ends as soon as the row is recorded.
    """

    values: dict[str, float]
    failed: str = ""
    error: UserFunctionError | None = None


def derived_values(
    functions: Mapping[str, Derivation],
    readings: Mapping[str, Any],
    shown_as: Callable[[dict[str, Any]], Mapping[str, Any]] = dict,
) -> Derived:
    """The derived values of one row.

    If a derivation raises, or returns no number, its value is NaN: the measured row is kept, but is invalid. The
    derivations get read-only views of the readings' arrays, because the run stores those arrays; one that works in
    place gets copies. `shown_as` makes what a derivation is given.
    """
    values: dict[str, float] = {}
    failed = ""
    fault: UserFunctionError | None = None
    given = {key: _read_only(value) for key, value in readings.items()}
    for key, function in functions.items():
        known = dict(values)
        values[key], wrong = math.nan, ""
        try:
            try:
                value = function(shown_as({**given, **known}))
            except ValueError as error:
                if "read-only" not in str(error):
                    raise
                value = function(shown_as({**copy.deepcopy(dict(readings)), **known}))
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything; the row must not be lost
            wrong = f"{DERIVATION}{key} failed: {type(error).__name__}: {error}"
            if fault is None and isinstance(error, PROGRAMMING_ERRORS):
                fault = programming_error(f"derivation {key!r}", error, function, {*given, *known})
        else:
            try:
                values[key] = float(value)
            except Exception:  # noqa: BLE001 - as above
                wrong = f"{DERIVATION}{key} returned {value!r:.80}"
        failed = failed or wrong
    return Derived(values, failed, fault)


def _read_only(value: Any) -> Any:
    """A view of an array that cannot be written through; a copy of a list; any other value unchanged."""
    if isinstance(value, np.ndarray):
        value = value.view()
        value.flags.writeable = False
        return value
    return copy.deepcopy(value) if isinstance(value, (list, dict)) else value
