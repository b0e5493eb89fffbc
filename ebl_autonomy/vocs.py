"""The VOCS: made from JSON with every key checked, and written as JSON again.

gest-api ignores keys that it does not know, so a mistyped key would change nothing and nobody would notice. It has no
logarithmic scale either; `LogContinuousVariable` and `LogDiscreteVariable` add it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, Final, Literal, Self, TypeVar, cast

import numpy as np
from gest_api.vocs import (
    VOCS,
    BaseVariable,
    BoundsConstraint,
    Constant,
    ContextualVariable,
    ContinuousVariable,
    DiscreteVariable,
    ExploreObjective,
    GreaterThanConstraint,
    LessThanConstraint,
    MaximizeObjective,
    MinimizeObjective,
    Observable,
)
from pydantic import BaseModel, ValidationError, model_validator

from ebl_autonomy.errors import BadInputError, validation_text

Kind = TypeVar("Kind")
Variable = TypeVar("Variable", bound=BaseVariable)

__all__ = [
    "VOCS",
    "LogContinuousVariable",
    "LogDiscreteVariable",
    "is_logarithmic",
    "make_vocs",
    "outcome_names",
    "vocs_dict",
]

MOST_INTEGERS: Final = 10_000
"""Largest number of integers of a continuous variable of integer type; each is a value of a discrete variable."""
HOW: Final = (
    "Give variables as {name: [low, high]}, objectives as {name: 'MINIMIZE'} or 'MAXIMIZE', constraints as "
    "{name: ['LESS_THAN', value]}."
)


class LogContinuousVariable(ContinuousVariable):
    """A continuous variable that is searched in its logarithm; in JSON a ContinuousVariable with ``log_scale``."""

    log_scale: Literal[True] = True

    @model_validator(mode="after")
    def _positive(self) -> Self:
        return _only_positive(self, self.domain)


class LogDiscreteVariable(DiscreteVariable):
    """A discrete variable that is searched in its logarithm; in JSON a DiscreteVariable with ``log_scale``."""

    log_scale: Literal[True] = True

    @model_validator(mode="after")
    def _positive(self) -> Self:
        return _only_positive(self, self.values)


def is_logarithmic(variable: object) -> bool:
    """Whether a variable is searched in its logarithm."""
    return isinstance(variable, (LogContinuousVariable, LogDiscreteVariable))


def make_vocs(vocs: VOCS | Mapping[str, Any]) -> VOCS:
    """A private copy of `vocs`, or the VOCS that a mapping describes.

    A mapping may hold tuples, sets, ranges and arrays in place of lists. A variable that is described by a mapping may
    have ``"log_scale": true``. A continuous variable whose ``dtype`` is an integer becomes a discrete one of the
    integers in its domain.

    Raises
    ------
    BadInputError
        If the mapping is not a VOCS; the message names the field and the reason. Unknown keys are refused, at every
        level.
    """
    if isinstance(vocs, VOCS):
        copy = cast(VOCS, vocs.model_copy(deep=True))
        copy.variables = {name: _with_integers(name, variable) for name, variable in copy.variables.items()}
        return copy
    if not isinstance(vocs, Mapping):
        raise BadInputError(f"not a VOCS: {vocs!r:.80} is a {type(vocs).__name__}. {HOW}")
    _check_keys("the VOCS", vocs, VOCS.model_fields)
    try:
        return VOCS(**{key: _field(key, deepcopy(value)) for key, value in vocs.items()})
    except BadInputError:
        raise
    except (ValidationError, ValueError, TypeError, LookupError, AttributeError) as error:
        # gest-api indexes values before it checks their types, so a malformed VOCS raises many kinds of errors.
        raise BadInputError(f"not a VOCS: {error}. {HOW}") from error


def vocs_dict(vocs: VOCS) -> dict[str, Any]:
    """The VOCS as JSON, such that ``make_vocs(vocs_dict(v))`` equals ``v``.

    Strict JSON has no infinity, but the domain of a contextual variable is infinite by default. An infinite bound is
    written as ``"inf"``, which the VOCS parses.
    """
    dump = vocs.model_dump()
    for name, variable in vocs.variables.items():
        # The standard's own type, so that every reader of the VOCS knows it.
        if is_logarithmic(variable):
            dump["variables"][name]["type"] = type(variable).__mro__[1].__name__
    return {key: _plain(value) for key, value in dump.items() if value}


def outcome_names(vocs: VOCS) -> list[str]:
    """Names of all measured quantities: objectives, then constraints, then observables."""
    return list(vocs.output_names)


# -- from JSON -------------------------------------------------------------------------------------------------

_VARIABLES: Final[dict[str, tuple[type[BaseVariable], type[BaseVariable] | None]]] = {
    "ContinuousVariable": (ContinuousVariable, LogContinuousVariable),
    "DiscreteVariable": (DiscreteVariable, LogDiscreteVariable),
    "ContextualVariable": (ContextualVariable, None),
    "LogContinuousVariable": (LogContinuousVariable, LogContinuousVariable),
    "LogDiscreteVariable": (LogDiscreteVariable, LogDiscreteVariable),
}
"""The class of each type of variable, on a linear and on a logarithmic scale."""
_TYPES: Final[dict[str, tuple[type[BaseModel], ...]]] = {
    "objectives": (MinimizeObjective, MaximizeObjective, ExploreObjective),
    "constraints": (LessThanConstraint, GreaterThanConstraint, BoundsConstraint),
    "constants": (Constant,),
    "observables": (Observable,),
}
_LENGTHS: Final = {"LESS_THAN": 2, "GREATER_THAN": 2, "BOUNDS": 3}
"""Number of entries of a constraint that is given as a list."""


def _field(key: str, given: Any) -> Any:
    """One field of a VOCS, in the form that gest-api takes."""
    if key == "observables" and isinstance(given, (tuple, frozenset)):
        return list(given)
    if not isinstance(given, Mapping):
        return given  # a list of observables; gest-api refuses all others
    if key == "variables":
        return {name: _variable(name, one) for name, one in given.items()}
    return {name: _other(key, name, one) for name, one in given.items()}


def _variable(name: str, given: Any) -> Any:
    if isinstance(given, BaseVariable):
        return _with_integers(name, given)
    if isinstance(given, (frozenset, range)):
        return set(given)
    if not isinstance(given, Mapping):
        return _as_list(given)
    what = f"variable {name!r}"
    fields = dict(given)
    plain, logarithmic = _of_type(what, fields.pop("type", None), _VARIABLES)
    known = {*plain.model_fields, "type", *(["log_scale"] if logarithmic else [])}
    _check_keys(what, given, known)
    log_scale = fields.pop("log_scale", plain is logarithmic)
    if not isinstance(log_scale, (bool, np.bool_)):
        raise BadInputError(f"{what} has log_scale {log_scale!r}: it must be true or false")
    kind = logarithmic if log_scale and logarithmic else plain
    try:
        return _with_integers(name, kind(**{key: _as_list(value) for key, value in fields.items()}))
    except ValidationError as error:
        raise BadInputError(f"{what}: {validation_text(error)}") from error


def _other(key: str, name: str, given: Any) -> Any:
    """An objective, a constraint, a constant or an observable."""
    what = f"{key[:-1]} {name!r}"
    if isinstance(given, Mapping):
        kinds = {kind.__name__: kind for kind in _TYPES[key]}
        kind = _of_type(what, given.get("type"), kinds)
        _check_keys(what, given, {*kind.model_fields, "type"})
        return {field: _as_list(value) if field == "range" else value for field, value in given.items()}
    if key == "constraints" and isinstance(given, (list, tuple, np.ndarray)):
        given = _as_list(given)
        length = _LENGTHS.get(str(given[0]).upper(), len(given))
        if len(given) != length:
            raise BadInputError(f"{what} is {given}: {given[0]} takes {length - 1} values")
    return given


def _of_type(what: str, named: Any, kinds: Mapping[str, Kind]) -> Kind:
    if not isinstance(named, str) or named not in kinds:
        raise BadInputError(f"{what} has the type {named!r}: give 'type', one of {list(kinds)}")
    return kinds[named]


def _check_keys(what: str, given: Mapping[Any, Any], known: Iterable[str]) -> None:
    if unknown := sorted(map(str, set(given) - set(known))):
        raise BadInputError(f"{what} has the unknown keys {unknown}: its keys are {sorted(known)}")


def _as_list(value: Any) -> Any:
    """Arrays, tuples and the like as the lists that gest-api takes; everything else unchanged."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, (tuple, range, frozenset)) else value


def _with_integers(name: str, variable: BaseVariable) -> BaseVariable:
    """The variable itself, or the integers of a continuous variable of integer type as a discrete one."""
    if not isinstance(variable, ContinuousVariable) or isinstance(variable, ContextualVariable):
        return variable
    if not _is_integer(variable.dtype):
        return variable
    low, high = variable.domain
    if not high - low <= MOST_INTEGERS:
        raise BadInputError(
            f"variable {name!r} has more than {MOST_INTEGERS} integers in its domain [{low:g}, {high:g}]: leave its "
            "dtype out to search it as continuous"
        )
    kind = LogDiscreteVariable if is_logarithmic(variable) else DiscreteVariable
    integers = range(math.ceil(low), math.floor(high) + 1)
    if not integers:
        raise BadInputError(f"variable {name!r} has no integer in its domain [{low:g}, {high:g}]: widen it")
    return cast(BaseVariable, kind(values=integers, dtype=variable.dtype, default_value=variable.default_value))


def _is_integer(dtype: Any) -> bool:
    if dtype == "integer":
        return True
    try:
        return dtype is not None and np.issubdtype(np.dtype(dtype), np.integer)
    except TypeError:
        return False


def _only_positive(variable: Variable, values: Iterable[Any]) -> Variable:
    if wrong := [value for value in values if isinstance(value, (str, bytes)) or not value > 0.0]:
        raise ValueError(f"log_scale needs values above 0, not {wrong}: raise the lower end, or leave log_scale out")
    return variable


# -- to JSON ---------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """`value` as strict JSON: no sets, no numpy scalars, no types, no infinities."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=lambda item: (isinstance(item, str), item))
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
