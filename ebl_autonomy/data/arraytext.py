"""Arrays in JSON text: each stands there as a mapping with one reserved key.

A mapping of the user's that has just such a key is escaped, so that it is not taken for an array.
"""

from __future__ import annotations

import ast
import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = [
    "INLINE",
    "REFERENCE",
    "as_inline",
    "descr_of",
    "dtype_of",
    "escaped",
    "from_inline",
    "has_alike",
    "unescaped",
]

INLINE = "__ndarray__"
"""Key of an array whose bytes stand in the text."""
REFERENCE = "__array__"
"""Key of an array whose bytes stand elsewhere."""
_ESCAPE = "escaped"


def as_inline(array: np.ndarray) -> dict[str, Any]:
    """The mapping that stands for an array: dtype, shape, and the bytes in base64."""
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {INLINE: [descr_of(array.dtype), list(array.shape), data]}


def from_inline(held: Sequence[Any]) -> np.ndarray:
    """The array of a mapping that `as_inline` has made, from what its key holds."""
    descr, shape, data = held
    raw, dtype = base64.b64decode(data, validate=True), dtype_of(descr)
    return np.frombuffer(raw, dtype).reshape(shape).copy() if raw else np.empty(shape, dtype)


def descr_of(dtype: np.dtype[Any]) -> str:
    """A dtype, structured or not, as text; `dtype_of` restores it."""
    return str(np.lib.format.dtype_to_descr(dtype))


def dtype_of(descr: str) -> np.dtype[Any]:
    """The dtype that `descr_of` has written."""
    return np.lib.format.descr_to_dtype(ast.literal_eval(descr)) if descr.startswith("[") else np.dtype(descr)


def has_alike(text: str, arrays: int) -> bool:
    """Whether JSON text with a number of arrays in it has other mappings with the reserved keys, too."""
    return "array__" in text and sum(text.count(f'"{key}":') for key in (INLINE, REFERENCE)) > arrays


def escaped(value: Any) -> Any:
    """A value in which the mappings that look like arrays are escaped, at any depth. Arrays stay as they are."""
    if isinstance(value, dict):
        held = {key: escaped(item) for key, item in value.items()}
        return {key: {_ESCAPE: item} for key, item in held.items()} if _is_alike(held) else held
    return [escaped(item) for item in value] if isinstance(value, list) else value


def unescaped(mapping: dict[str, Any]) -> dict[str, Any] | None:
    """The mapping that `escaped` has made this one of; None if it stands for an array, itself if it is neither."""
    if not _is_alike(mapping):
        return mapping
    ((key, held),) = mapping.items()
    return {key: held[_ESCAPE]} if isinstance(held, dict) and held.keys() == {_ESCAPE} else None


def _is_alike(mapping: dict[str, Any]) -> bool:
    return len(mapping) == 1 and (INLINE in mapping or REFERENCE in mapping)
