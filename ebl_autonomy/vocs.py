"""The VOCS: made from JSON with every key checked, and written as JSON again.

gest-api ignores keys that it does not know, so a mistyped key would change nothing and nobody would notice. It has no
logarithmic scale either; `LogContinuousVariable` and `LogDiscreteVariable` add it. Its discrete variables do not say
whether their values have an order; `UnorderedVariable` says that they have none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, Final, Literal, Self, TypeVar, cast

import numpy as np
from gest_api import vocs as gest_vocs
from gest_api.vocs import (
    BaseVariable,
    ContextualVariable,
    ContinuousVariable,
    DiscreteVariable,
)
from pydantic import ValidationError, model_validator

from ebl_autonomy.errors import BadInputError, unknown_text, validation_text
from ebl_autonomy.vocs_mistakes import FORMS, check_entries, first_mistake

Variable = TypeVar("Variable", bound=BaseVariable)

__all__ = [
    "VOCS",
    "LogContinuousVariable",
    "LogDiscreteVariable",
    "UnorderedVariable",
    "is_logarithmic",
    "is_unordered",
    "make_vocs",
    "outcome_names",
    "vocs_dict",
]

MOST_INTEGERS: Final = 10_000
"""Largest number of integers of a continuous variable of integer type; each is a value of a discrete variable."""


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


class UnorderedVariable(DiscreteVariable):
    """A discrete variable whose values have no order; in JSON a DiscreteVariable with ``"ordered": false``.

    Its values are names in the form of numbers, such as the positions of a wheel with filters: neither their distance
    nor their order means anything.
    """

    ordered: Literal[False] = False


def is_unordered(variable: object) -> bool:
    """Whether the values of a variable have no order."""
    return isinstance(variable, UnorderedVariable)


def is_logarithmic(variable: object) -> bool:
    """Whether a variable is searched in its logarithm."""
    return isinstance(variable, (LogContinuousVariable, LogDiscreteVariable))


class VOCS(gest_vocs.VOCS):
    """A VOCS of gest-api that checks every key, and takes the forms that devices give.

    Tuples, ranges and arrays may stand in place of lists, so that ``{motor.name: motor.limits}`` is a mapping of
    variables. A variable that is described by a mapping may have ``"log_scale": true``, and a discrete one
    ``"ordered": false``. A continuous variable whose ``dtype`` is an integer becomes a discrete one of the integers in
    its domain.

    Raises
    ------
    BadInputError
        If a field is missing, unknown or wrong; the message gives the path of the key and the reason.
    """

    def __init__(self, **fields: Any) -> None:
        super().__init__(**_prepared(fields, "vocs"))


def make_vocs(vocs: gest_vocs.VOCS | Mapping[str, Any] | None, path: str = "vocs") -> VOCS:
    """A private copy of `vocs`, or the VOCS that a mapping describes; see `VOCS`.

    Parameters
    ----------
    vocs : VOCS or mapping
    path : str
        Where the mapping stands, for messages.

    Raises
    ------
    BadInputError
        If the mapping is not a VOCS; the message gives the path of the key and the reason. Unknown keys are refused,
        at every level.
    """
    if isinstance(vocs, VOCS):
        return cast(VOCS, vocs.model_copy(deep=True))
    if isinstance(vocs, gest_vocs.VOCS):
        return VOCS(**{name: getattr(vocs, name) for name in gest_vocs.VOCS.model_fields})
    return VOCS(**_prepared(vocs, path))


def vocs_dict(vocs: gest_vocs.VOCS) -> dict[str, Any]:
    """The VOCS as JSON, such that ``make_vocs(vocs_dict(v))`` equals ``v``.

    Strict JSON has no infinity, but the domain of a contextual variable is infinite by default. An infinite bound is
    written as ``"inf"``, which the VOCS parses.
    """
    dump = vocs.model_dump()
    for name, variable in vocs.variables.items():
        # The standard's own type, so that every reader of the VOCS knows it.
        if is_logarithmic(variable) or is_unordered(variable):
            dump["variables"][name]["type"] = type(variable).__mro__[1].__name__
    return {key: _plain(value) for key, value in dump.items() if value}


def outcome_names(vocs: gest_vocs.VOCS) -> list[str]:
    """Names of all measured quantities: objectives, then constraints, then observables."""
    return list(vocs.output_names)


# -- from JSON -------------------------------------------------------------------------------------------------

_TYPES: Final[dict[str, type[BaseVariable]]] = {
    one.__name__: one
    for one in (
        ContinuousVariable,
        DiscreteVariable,
        ContextualVariable,
        LogContinuousVariable,
        LogDiscreteVariable,
        UnorderedVariable,
    )
}
"""The types that a variable may have in a mapping."""
_SAID_BY_A_KEY: Final[dict[type[BaseVariable], dict[str, tuple[bool, type[BaseVariable]]]]] = {
    ContinuousVariable: {"log_scale": (True, LogContinuousVariable)},
    DiscreteVariable: {"log_scale": (True, LogDiscreteVariable), "ordered": (False, UnorderedVariable)},
}
"""Further keys of a type of gest-api, the value of each that changes the type, and the type that it is then."""


def _prepared(vocs: Any, path: str) -> dict[str, Any]:
    """The fields of a VOCS in the form that gest-api takes.

    Raises
    ------
    BadInputError
        See `VOCS`.
    """
    fields = vocs
    if isinstance(vocs, Mapping):
        fields = {key: _section(key, deepcopy(value), path) for key, value in vocs.items()}
    check_entries(fields, path)
    if mistake := first_mistake(fields, path):
        raise BadInputError(f"not a VOCS: {mistake}. {FORMS}.")
    return dict(fields)


def _section(key: str, given: Any, path: str) -> Any:
    """One section of a VOCS, in the form that gest-api takes; what has no such form is left to `check_entries`."""
    if key == "variables" and isinstance(given, Mapping):
        return {name: _variable(name, one, f"{path}.variables.{name}") for name, one in given.items()}
    if key == "constraints" and isinstance(given, Mapping):
        return {name: _constraint(one) for name, one in given.items()}
    return list(given) if key == "observables" and isinstance(given, (tuple, frozenset)) else given


def _variable(name: str, given: Any, path: str) -> Any:
    if isinstance(given, BaseVariable):
        return _with_integers(name, given)
    if isinstance(given, (frozenset, range)):
        return set(given)
    if not isinstance(given, Mapping):
        return _as_list(given)
    fields = dict(given)
    kind = fields.pop("type", None)
    if not isinstance(kind, str) or kind not in _TYPES:
        types = ", ".join(_TYPES)
        raise BadInputError(f"{path}.type={kind!r:.60}: not a VOCS: give the type of the variable, one of {types}")
    made = _TYPES[kind]
    further = _SAID_BY_A_KEY.get(made, {})
    known = {*made.model_fields, *further, "type"}
    for key in fields:
        if key not in known:
            raise BadInputError(f"{path}.{key}: {unknown_text(key, sorted(known))}")
    said = {}
    for key, (telling, changed) in further.items():
        flag = fields.pop(key, not telling)
        if not isinstance(flag, (bool, np.bool_)):
            raise BadInputError(f"{path}.{key}={flag!r:.60}: give true or false")
        if bool(flag) is telling:
            said[key] = made = changed
    if len(said) > 1:
        raise BadInputError(
            f"{path}: log_scale=true needs an order of the values, ordered=false denies it: leave one of the two out"
        )
    try:
        return _with_integers(name, made(**{key: _as_list(value) for key, value in fields.items()}))
    except ValidationError as error:
        raise BadInputError(f"not a VOCS: {validation_text(error, made, path)}") from error


def _constraint(given: Any) -> Any:
    if isinstance(given, Mapping):
        return {field: _as_list(value) for field, value in given.items()}
    return _as_list(given)


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
