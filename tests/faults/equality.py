"""When a stored value is the same as an emitted one.

A store may change the form of a value, never the value:

* numbers are equal if they are equal as numbers: ``1``, ``1.0`` and ``True``; NaN equals NaN, and a column of numbers
  may hold NaN for None;
* tuples, lists and arrays are equal if they have the same shape and equal elements;
* integers that do not fit the store's may be decimal text;
* an odd value of metadata (a date, a path, an enum, ...) may be any of the texts and values that the tape gives for it
  (see `tape.plain`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["same"]


def same(stored: Any, emitted: Any) -> bool:
    """Whether a stored value is the emitted one."""
    if isinstance(emitted, Mapping) and set(emitted) == {"odd"}:
        return any(same(stored, form) for form in emitted["odd"][1])
    if isinstance(emitted, Mapping):
        return (
            isinstance(stored, Mapping)
            and {str(key) for key in emitted} <= set(stored)
            and all(same(stored[str(key)], value) for key, value in emitted.items())
        )
    if isinstance(emitted, np.ndarray) or isinstance(stored, np.ndarray):
        return _same_arrays(stored, emitted)
    if isinstance(emitted, (list, tuple)):
        if isinstance(stored, str):
            stored = _from_text(stored)
        return (
            isinstance(stored, (list, tuple))
            and len(stored) == len(emitted)
            and all(same(a, b) for a, b in zip(stored, emitted, strict=True))
        )
    if emitted is None:
        return stored is None or stored == "null" or (isinstance(stored, float) and math.isnan(stored))
    if isinstance(emitted, str):
        return bool(stored == emitted)
    return _same_numbers(stored, emitted)


def _same_numbers(stored: Any, emitted: Any) -> bool:
    if isinstance(stored, str):
        return stored in (str(emitted), json.dumps(emitted))
    try:
        if isinstance(emitted, float) and math.isnan(emitted):
            return stored is None or math.isnan(stored)
        return bool(stored == emitted)
    except TypeError:
        return False


def _same_arrays(stored: Any, emitted: Any) -> bool:
    if isinstance(stored, str):
        stored = _from_text(stored)
    try:
        a, b = np.asarray(stored), np.asarray(emitted)
    except ValueError:  # ragged on one side
        return same(list(stored), list(emitted))
    if a.shape != b.shape:
        return False
    if a.dtype.kind in "OUS" or b.dtype.kind in "OUS":
        return same(a.tolist(), b.tolist())
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f"))


def _from_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
