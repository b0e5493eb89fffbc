"""What is wrong with a VOCS that was written by hand: the path of the key, its value and the remedy.

gest-api names the section at most, drops unknown keys of an entry and elements that are too many, and puts some errors
of a list down to Python. A VOCS in a queue item is JSON that somebody typed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

from gest_api.vocs import (
    VOCS,
    BoundsConstraint,
    Constant,
    ConstantDict,
    ExploreObjective,
    GreaterThanConstraint,
    LessThanConstraint,
    MaximizeObjective,
    MinimizeObjective,
    Observable,
    ObservableDict,
    VariableDict,
)
from pydantic import BaseModel, ValidationError

from ebl_autonomy.errors import BadInputError, unknown_text, validation_text

__all__ = ["check_entries", "check_section", "first_mistake"]

FORMS: Final = (
    "Give variables as {name: [low, high]}, objectives as {name: 'MINIMIZE'} or 'MAXIMIZE', constraints as "
    "{name: ['LESS_THAN', value]}"
)
_OBJECTIVES: Final = ("MINIMIZE", "MAXIMIZE", "EXPLORE")
_NUMBERS_AFTER: Final = {"LESS_THAN": 1, "GREATER_THAN": 1, "BOUNDS": 2}
"""How many numbers follow the kind of a constraint."""

_CLASSES: Final[dict[str, tuple[type[BaseModel], ...]]] = {
    "objectives": (MinimizeObjective, MaximizeObjective, ExploreObjective),
    "constraints": (LessThanConstraint, GreaterThanConstraint, BoundsConstraint),
    "constants": (Constant,),
    "observables": (Observable,),
}
"""The classes that an entry may have as its ``type``. Variables are checked where they are read."""

_BUILDERS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "variables": VariableDict,
    "constants": ConstantDict,
    "observables": ObservableDict,
}


def check_entries(fields: Any, path: str) -> None:
    """Refuse what gest-api would drop or misread, before it is asked.

    Parameters
    ----------
    fields : mapping
        The VOCS as a mapping.
    path : str
        Where it stands, for example ``"agent.vocs"``.

    Raises
    ------
    BadInputError
        The message gives the path of the key, its value and the remedy.
    """
    sections = sorted(VOCS.model_fields)
    if not isinstance(fields, Mapping):
        raise BadInputError(f"{path}={fields!r:.80} is not a VOCS: give a mapping with the keys {sections}. {FORMS}.")
    for section, entries in fields.items():
        where = f"{path}.{section}"
        if section not in sections:
            raise BadInputError(f"{where}: {unknown_text(section, sections)}")
        check_section(section, entries, where)


def check_section(section: str, entries: Any, path: str) -> None:
    """As `check_entries`, for one section of a VOCS, such as ``"constraints"``, that stands at `path`."""
    if section == "observables" and isinstance(entries, (list, tuple, set, frozenset)):
        if wrong := [name for name in entries if not isinstance(name, str)]:
            raise BadInputError(f"{path}: not a VOCS: {wrong[0]!r} is no name of an outcome")
        return
    if not isinstance(entries, Mapping):
        raise BadInputError(f"{path}={entries!r:.80}: not a VOCS: give a mapping by name. {FORMS}.")
    for name, entry in entries.items():
        if fault := _fault(section, entry):
            raise BadInputError(f"{path}.{name}={entry!r:.80}: not a VOCS: {fault}")


def first_mistake(fields: Mapping[str, Any], path: str) -> str:
    """The path, value and fault of the first entry that gest-api refuses; empty if it refuses none alone."""
    for section, build in _BUILDERS.items():
        entries = fields.get(section)
        for name, entry in entries.items() if isinstance(entries, Mapping) else ():
            where = f"{path}.{section}.{name}"
            try:
                build({name: deepcopy(entry)})  # it removes keys
            except ValidationError as error:
                return validation_text(error, path=where)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                return f"{where}={entry!r:.80}: {str(error).rstrip('.')}"
    return "" if "variables" in fields else f"{path}.variables: missing"


def _fault(section: str, entry: Any) -> str:
    """What is wrong with an entry of a section; empty if nothing is, or if gest-api says it well."""
    if section not in _CLASSES or isinstance(entry, BaseModel):
        return ""
    if isinstance(entry, Mapping) and (section != "constants" or "type" in entry):
        return _fault_of_mapping(_CLASSES[section], entry)
    if section == "objectives":
        return _fault_of_kind(entry, _OBJECTIVES)
    if section == "constraints":
        return _fault_of_constraint(entry)
    return ""


def _fault_of_mapping(classes: Sequence[type[BaseModel]], entry: Mapping[str, Any]) -> str:
    by_name = {one.__name__: one for one in classes}
    if "type" not in entry:
        return f"it has no 'type': give one of {list(by_name)}"
    kind = entry["type"]
    if not isinstance(kind, str) or kind not in by_name:
        return f"its type {kind!r} is {unknown_text(kind, by_name, 'types')}"
    known = ["type", *by_name[kind].model_fields]
    for key in entry:
        if key not in known:
            return f"its key {key!r} is {unknown_text(key, known)}"
    try:
        by_name[kind].model_validate({key: value for key, value in entry.items() if key != "type"})
    except ValidationError as error:
        return validation_text(error)
    return ""


def _fault_of_kind(kind: Any, kinds: Sequence[str]) -> str:
    if isinstance(kind, str) and kind.upper() in kinds:
        return ""
    return f"{kind!r} is {unknown_text(str(kind).upper(), kinds, 'kinds')}"


def _fault_of_constraint(entry: Any) -> str:
    form = "give ['LESS_THAN', value], ['GREATER_THAN', value] or ['BOUNDS', low, high]"
    if not isinstance(entry, (list, tuple)) or not entry:
        return form
    if fault := _fault_of_kind(entry[0], list(_NUMBERS_AFTER)):
        return fault
    numbers = entry[1:]
    if len(numbers) != _NUMBERS_AFTER[entry[0].upper()]:
        return form
    for number in numbers:
        try:
            float(number)
        except (TypeError, ValueError):
            return f"{number!r} is no number: {form}"
    return ""
