"""JSON forms: whatever a document holds is turned into text, numbers, lists and mappings before it is stored.

Metadata and readings come from users and devices, so they may hold any object. A document is never refused for that:
each object gets the form that reads best, at worst its `repr`.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import fractions
import pathlib
import types
import uuid
from collections import deque
from collections.abc import KeysView, Mapping, Set, ValuesView
from typing import Any

import numpy as np
from pydantic import BaseModel

__all__ = ["json_form", "plain"]

MAX_DEPTH = 200
"""Levels of nesting; what lies deeper becomes text. JSON readers give up at about 1000."""
MAX_BITS = 10_000
"""Size of the largest integer in decimal digits' form; Python itself refuses to convert integers of 4300 digits."""
MAX_REPR = 1000
"""Length of the text of an object that has no form of its own."""
_DEVICE_METHODS = ("read", "describe", "set", "trigger", "kickoff", "stage")
_KEYS = {True: "true", False: "false", None: "null"}


def json_form(value: Any) -> Any:
    """The form of an object that JSON does not know, one level deep: what it contains may need a form too.

    Returns
    -------
    str, int, float, bool, None, list, dict or numpy.ndarray
        An array has a dtype without Python objects and at least one dimension.

    Notes
    -----
    Dates and times become ISO text, time differences seconds, complex numbers text such as ``1+2j``. Paths, UUIDs,
    decimals and fractions become text; members of an Enum their values; bytes text, or base64 if they are no text; sets
    sorted lists; arrays with masked elements lists with None for those; dataclasses and pydantic models mappings;
    devices, classes and functions their names; anything else its `repr`.
    """
    if isinstance(value, np.ndarray):
        return _form_of_array(value)
    try:
        return _form_of_object(value)
    except Exception:  # noqa: BLE001 - the object's own code (an attribute, a conversion) may raise anything
        return _described(value)


def plain(value: Any) -> Any:
    """A value with everything in it in its JSON form: str, int, float, bool, None, list, dict with str keys, array.

    What contains itself, or lies deeper than `MAX_DEPTH`, becomes text. Lone surrogates, which no UTF-8 text can hold,
    are written as escapes.
    """
    return _plain(value, frozenset())


def _plain(value: Any, above: frozenset[int]) -> Any:
    if isinstance(value, enum.Enum):
        return _plain(value.value, above)
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= MAX_BITS else hex(value)
    if id(value) in above:
        return f"<a {type(value).__name__} that contains itself>"
    if len(above) >= MAX_DEPTH:
        return f"<a {type(value).__name__} nested too deep>"
    above |= {id(value)}
    if isinstance(value, dict):
        return {_key(key): _plain(item, above) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, above) for item in value]
    form = json_form(value)
    return form if isinstance(form, np.ndarray) else _plain(form, above)


def _form_of_array(array: np.ndarray) -> Any:
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        return array.tolist()  # None for what is masked
    if array.ndim == 0:
        return array.item() if array.dtype.hasobject else json_form(array[()])
    return array.tolist() if array.dtype.hasobject else array


def _form_of_object(value: Any) -> Any:
    if isinstance(value, np.generic):
        return _form_of_numpy_scalar(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, complex):
        return str(value).strip("()")
    if isinstance(value, (pathlib.PurePath, uuid.UUID, decimal.Decimal, fractions.Fraction)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _form_of_bytes(bytes(value))
    if isinstance(value, (Set, KeysView)):
        return _sorted(list(value))
    if isinstance(value, (deque, ValuesView)) or (isinstance(value, range) and len(value) <= MAX_BITS):
        return list(value)
    if isinstance(value, BaseModel):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(getattr(value, "name", None), str) and any(hasattr(value, method) for method in _DEVICE_METHODS):
        return str(value.name)
    if hasattr(value, "__array__"):
        return _form_of_array(np.asarray(value))
    return _described(value)


def _form_of_numpy_scalar(value: np.generic) -> Any:
    if isinstance(value, np.datetime64):
        return str(value)
    if isinstance(value, np.timedelta64):
        return None if np.isnat(value) else float(value / np.timedelta64(1, "ns")) * 1e-9
    if isinstance(value, np.complexfloating):
        return json_form(complex(value))
    if isinstance(value, np.floating):
        return float(value)  # item() of a long double is a long double
    if isinstance(value, np.void):
        return value.tolist() if value.dtype.names else _form_of_bytes(value.tobytes())
    return value.item()


def _form_of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def _sorted(members: list[Any]) -> list[Any]:
    try:
        return sorted(members)
    except TypeError:  # of several types
        return sorted(members, key=_described)


def _described(value: Any) -> str:
    try:
        return repr(value)[:MAX_REPR]
    except Exception:  # noqa: BLE001 - the object's own code may raise anything
        return f"<a {type(value).__name__} without a repr>"


def _key(key: Any) -> str:
    if isinstance(key, enum.Enum):
        return _key(key.value)
    if isinstance(key, str):
        return _text(key)
    if key is None or isinstance(key, bool):
        return _KEYS[key]
    form = json_form(key)
    return _text(form if isinstance(form, str) else _described(form))


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace").decode()
    return str.__str__(value)
