"""The forms in which the store holds values: columns of one type, regular arrays, and JSON text for everything else.

A form is chosen from the description of a key and its first values. If they contradict each other, the values decide.
A later value that its form cannot hold exactly is a misfit: its cell is left empty, and the value itself is stored as
JSON elsewhere in the same row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ebl_autonomy.data.arraytext import INLINE, as_inline, escaped, from_inline, has_alike, unescaped
from ebl_autonomy.data.plain import json_form, plain

__all__ = ["MISSING", "Form", "as_metadata", "choose_form", "from_text", "to_text"]

Array = NDArray[Any]

_EXACT_FLOATS = 2**53
"""Every integer up to this size is a float. Larger ones are read inexactly from a column that has an empty cell."""
_INT64: Final = np.iinfo(np.int64)
_LARGEST_FLOAT = 2.0**63 - 1024
"""The largest float that is an int64. The server makes floats of integers that are appended with an empty cell."""
_READABLE_SIZE = 64
"""Arrays with more elements than this are stored in JSON as base64, which is shorter."""
_ITEM_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8), "c": (8, 16)}
"""Kinds of dtype, with the bytes of an element, that arrays are stored with."""


class _Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""Stands for the value of a key that an event lacks."""


@dataclass(frozen=True)
class Form:
    """How the values of one key are stored.

    Attributes
    ----------
    kind : str
        ``"float"``, ``"int"``, ``"bool"``, ``"text"``, ``"json"``: a column; ``"array"``: an array of its own.
    dtype : str
        Of an array: the numpy dtype of its elements.
    shape : tuple of int
        Of an array: the shape of one row.
    """

    kind: str
    dtype: str = ""
    shape: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, entry: Sequence[Any]) -> Form:
        """The form that `to_json` has written."""
        kind, dtype, shape = entry
        return cls(kind, dtype, tuple(shape))

    def to_json(self) -> list[Any]:
        """The form as a JSON value."""
        return [self.kind, self.dtype, list(self.shape)]

    def cells(self, values: Sequence[Any]) -> tuple[list[Any], list[int]]:
        """What is stored in a column for `values`, and the indices of the values that must be stored exactly as well.

        A cell without a value is None; for a missing key too.
        """
        if self.kind == "float" and all(type(value) is float for value in values):
            return list(values), []  # most columns
        convert = _CONVERTERS[self.kind]
        cells, misfits = [], []
        for index, value in enumerate(values):
            cell, fits = convert(value)
            cells.append(cell)
            if not fits:
                misfits.append(index)
        if self.kind == "int" and None in cells:
            cells = [None if cell is not None and float(cell) > _LARGEST_FLOAT else cell for cell in cells]
        return cells, misfits

    def rows(self, values: Iterable[Any]) -> tuple[list[Array], list[int]]:
        """What is stored in an array for `values`, one row each, and the indices of the values that do not fit."""
        dtype = np.dtype(self.dtype)
        rows, misfits = [], []
        for index, value in enumerate(values):
            row = _as_row(value, dtype, self.shape)
            if row is None:
                row = np.full(self.shape, math.nan if dtype.kind in "fc" else 0, dtype)
                misfits.append(index)
            rows.append(row)
        return rows, misfits

    def restored(self, column: Any) -> list[Any]:
        """The values of a column, without the misfits; `MISSING` where the event lacked the key.

        Parameters
        ----------
        column : sequence
            One cell per row, as Tiled gives it.
        """
        restore = _RESTORERS.get(self.kind)
        cells = column.tolist() if isinstance(column, np.ndarray) and column.ndim == 1 else list(column)
        return cells if restore is None else [restore(cell) for cell in cells]


def choose_form(description: Mapping[str, Any], values: Iterable[Any]) -> Form:
    """The form for a key.

    Parameters
    ----------
    description : mapping
        The key's entry in the descriptor.
    values : iterable
        Its first values, at least one; `MISSING` and None say nothing.
    """
    known = [_plain(value) for value in values if value is not None and value is not MISSING]
    sorts = {_sort_of(value) for value in known}
    if not known:
        return _described_form(description)
    if len(sorts) > 1:
        return Form("json")
    match sorts.pop():
        case "number":
            return _number_form(description, known)
        case "bool":
            return Form("bool")
        case "text":
            return Form("text")
        case "array":
            return _array_form(description, known)
        case _:
            return Form("json")


def to_text(value: Any) -> str:
    """A value as JSON text; `from_text` restores it. NaN and infinite numbers are written as Python's json does."""
    count = 0

    def form(item: Any) -> Any:
        nonlocal count
        found = json_form(item)
        if not isinstance(found, np.ndarray) or _reads_well(found):
            return found.tolist() if isinstance(found, np.ndarray) else found
        count += 1
        return as_inline(found)

    text = json.dumps(value, default=form, separators=(",", ":"))
    return json.dumps(escaped(plain(value)), default=form, separators=(",", ":")) if has_alike(text, count) else text


def from_text(text: str) -> Any:
    """The value that `to_text` has written: short arrays of numbers as lists, others as arrays."""
    return json.loads(text, object_hook=_array_or_itself)


def as_metadata(value: Any) -> Any:
    """A value as Tiled's metadata can hold it.

    Integers beyond 64 bits, NaN and infinite numbers become text, e.g. ``"Infinity"``: JSON has no such numbers.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, Mapping):
        return {_encodable(str(key)): as_metadata(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_metadata(item) for item in value]
    if isinstance(value, int) and not _INT64.min <= value <= _INT64.max:
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if isinstance(value, complex):
        return str(value)
    return value


# -- choosing ------------------------------------------------------------------------------------------------------


def _sort_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "text"
    return "array" if isinstance(value, (list, tuple, np.ndarray)) else "other"


def _described_form(description: Mapping[str, Any]) -> Form:
    match description.get("dtype"):
        case "number" | "integer":
            return Form("int" if _described_dtype(description, "iu") else "float")
        case "string":
            return Form("text")
        case "boolean":
            return Form("bool")
        case _:
            return Form("json")


def _number_form(description: Mapping[str, Any], values: Sequence[Any]) -> Form:
    if any(isinstance(value, float) for value in values):
        return Form("float")
    described_as_float = description.get("dtype") in ("number", "integer") and not _described_dtype(description, "iu")
    if described_as_float and all(_float_cell(value)[1] for value in values):
        return Form("float")
    return Form("int")


def _array_form(description: Mapping[str, Any], values: Sequence[Any]) -> Form:
    arrays = [_regular(value) for value in values]
    first = arrays[0]
    varies = any(not size for size in description.get("shape") or ())
    if varies or first is None or any(array is None or array.shape != first.shape for array in arrays):
        return Form("json")
    regular = [array for array in arrays if array is not None]
    own = np.result_type(*regular).newbyteorder("<")
    described = _described_dtype(description, "biufc")
    # A description without a dtype says float64: images of small integers keep theirs.
    candidates = [described] if described and (described.kind == own.kind or described.itemsize == own.itemsize) else []
    for dtype in (*candidates, own):
        if all(_exactly(array, dtype) is not None for array in regular):
            return Form("array", dtype.str, first.shape)
    return Form("json")


def _described_dtype(description: Mapping[str, Any], kinds: str) -> np.dtype[Any] | None:
    try:
        dtype = np.dtype(description.get("dtype_numpy") or "O").newbyteorder("<")
    except (TypeError, ValueError):
        return None
    return dtype if dtype.kind in kinds and dtype.itemsize in _ITEM_SIZES[dtype.kind] else None


# -- cells of columns ----------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """A Python scalar for a numpy scalar and for an array without dimensions; everything else as it is."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        item = value.item()
        return item if isinstance(item, (bool, int, float, str)) else value
    return value


def _float_cell(value: Any) -> tuple[float | None, bool]:
    value = _plain(value)
    if isinstance(value, float):
        return value, True
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value), float(value) == value
        except OverflowError:
            return None, False
    return None, False  # None too: an empty cell is read as NaN


def _int_cell(value: Any) -> tuple[int | None, bool]:
    value = _plain(value)
    if isinstance(value, int) and not isinstance(value, bool) and _INT64.min <= value <= _INT64.max:
        # The server reads a column with an empty cell as floats. Large numbers are stored exactly as well.
        return value, abs(value) <= _EXACT_FLOATS
    return None, value is None


def _bool_cell(value: Any) -> tuple[bool | None, bool]:
    value = _plain(value)
    return (value, True) if isinstance(value, bool) else (None, value is None)


def _text_cell(value: Any) -> tuple[str | None, bool]:
    value = _plain(value)
    if isinstance(value, str) and "\0" not in value and _encodable(value) == value:
        return value, True
    return None, value is None


def _json_cell(value: Any) -> tuple[str | None, bool]:
    return (None if value is MISSING else to_text(value)), True


_CONVERTERS: dict[str, Callable[[Any], tuple[Any, bool]]] = {
    "float": _float_cell,
    "int": _int_cell,
    "bool": _bool_cell,
    "text": _text_cell,
    "json": _json_cell,
}


_BOOLEANS = {"True": True, "False": False}
"""Tiled's client gives a column of booleans as text if one of its cells is empty."""


def _has_number(cell: Any) -> bool:
    return isinstance(cell, (int, float, np.number, np.bool_)) and bool(cell == cell)


_RESTORERS: dict[str, Callable[[Any], Any]] = {  # an empty cell is None, NaN or pandas.NA
    "float": lambda cell: float(cell) if _has_number(cell) else math.nan,
    "int": lambda cell: int(cell) if _has_number(cell) else None,
    "bool": lambda cell: _BOOLEANS.get(cell) if isinstance(cell, str) else bool(cell) if _has_number(cell) else None,
    "text": lambda cell: cell if isinstance(cell, str) else None,
    "json": lambda cell: from_text(cell) if isinstance(cell, str) else MISSING,
}


# -- rows of arrays ------------------------------------------------------------------------------------------------


def _as_row(value: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array | None:
    if isinstance(value, np.ndarray) and value.dtype == dtype and value.shape == shape:
        return value
    array = _regular(value)
    return None if array is None or array.shape != shape else _exactly(array, dtype)


def _regular(value: Any) -> Array | None:
    """The value as an array with one element or more of a kind that can be stored; None if it is none."""
    if not isinstance(value, (list, tuple, np.ndarray)):
        return None
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):  # ragged
        return None
    if array.ndim == 0 or array.size == 0 or array.dtype.itemsize not in _ITEM_SIZES.get(array.dtype.kind, ()):
        return None
    if array.dtype.kind == "f" and not isinstance(value, np.ndarray) and _has_rounded(value, array):
        return None
    return array


def _has_rounded(value: Any, array: Array) -> bool:
    """Whether integers of a list have lost digits when they became floats."""
    if not (np.abs(array) >= _EXACT_FLOATS).any():
        return False
    flat = np.asarray(value, dtype=object).ravel()
    return any(isinstance(item, int) and not _float_cell(item)[1] for item in flat)


def _exactly(array: Array, dtype: np.dtype[Any]) -> Array | None:
    """The array with another dtype; None unless every element keeps its value."""
    if array.dtype == dtype:
        return array
    before, after = array.dtype.kind, dtype.kind
    if before in "iu" and after in "iu":
        limits = np.iinfo(dtype)
        exact = limits.min <= int(array.min()) and int(array.max()) <= limits.max
    elif before in "iu" and after == "f":
        largest = 2 ** (np.finfo(dtype).nmant + 1)
        exact = -largest <= int(array.min()) and int(array.max()) <= largest
    elif before == after and before in "fc":
        with np.errstate(over="ignore"):
            exact = np.array_equal(array.astype(dtype), array, equal_nan=True)
    else:
        exact = False
    return array.astype(dtype) if exact else None


# -- JSON ----------------------------------------------------------------------------------------------------------


def _reads_well(array: Array) -> bool:
    """Whether an array is stored as a list: a short one, and one of records."""
    as_list = array.dtype.kind in "biuU" or (array.dtype.kind == "f" and array.dtype.itemsize <= 8)
    return array.dtype.kind in "OV" or (as_list and array.size <= _READABLE_SIZE)


def _array_or_itself(value: dict[str, Any]) -> Any:
    mapping = unescaped(value)
    return from_inline(value[INLINE]) if mapping is None else mapping


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
