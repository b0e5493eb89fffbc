"""The lines of a journal: documents as JSON text, with the arrays beside it.

A line is ``[name, document, index, checksum]``. Short arrays stand in it; the bytes of others go into a file of their
own, at an offset that the line names. A line, or an array, that is not what was written is told from a good one.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ebl_autonomy.data.arraytext import (
    REFERENCE,
    as_inline,
    descr_of,
    dtype_of,
    escaped,
    from_inline,
    has_alike,
    unescaped,
)
from ebl_autonomy.data.plain import json_form, plain

__all__ = ["DamagedError", "Entry", "Fetch", "decode", "encode", "index_of", "is_former", "memory_of"]

INLINE_BYTES = 1024
"""Arrays up to this size stand in the line itself."""
_FREQUENT = ("event", "event_page", "datum", "datum_page", "stream_datum")
"""Documents that are made plain only if they have to be, for speed. The nesting of all others is bounded by that."""

Fetch = Callable[[int, np.ndarray], None]
"""``fetch(offset, array)`` fills an array with the bytes of the side file from an offset on; OSError if it cannot."""


class DamagedError(ValueError):
    """A line of a journal, or the array that it refers to, is not what was written."""


@dataclass(frozen=True)
class Entry:
    """One encoded document.

    Attributes
    ----------
    index : int
        Position among the documents of its run, from 1.
    name : str
        Kind of document.
    line : bytes
        The line of the journal, with its end of line.
    arrays : mapping of int to numpy.ndarray
        The arrays that the line refers to, by their offsets in the side file.
    """

    index: int
    name: str
    line: bytes
    arrays: Mapping[int, np.ndarray]

    @property
    def nbytes(self) -> int:
        """Size of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def without_arrays(self) -> Entry:
        """The same document once its arrays are in the side file."""
        return replace(self, arrays={})

    def with_copies(self) -> Entry:
        """The same document with arrays of its own, so that what its owner does to them later does not matter."""
        return replace(self, arrays={offset: array.copy() for offset, array in self.arrays.items()})

    def document(self, fetch: Fetch) -> dict[str, Any]:
        """The document; arrays that the entry does not hold are fetched.

        Raises
        ------
        DamagedError
            If an array cannot be fetched.
        """
        return decode(self.line, self._copy_to if self.arrays else fetch)[1]

    def _copy_to(self, offset: int, target: np.ndarray) -> None:
        target[...] = memory_of(self.arrays[offset])


def encode(index: int, name: str, doc: Any, offset: int = 0) -> Entry:
    """Encode a document. Everything gets a JSON form (see `plain`); `decode` restores arrays, NaN and numbers exactly.

    Parameters
    ----------
    index : int
        Position among the documents of its run, from 1.
    name : str
    doc : mapping
    offset : int
        Where in the side file the arrays will be.
    """
    arrays: dict[int, np.ndarray] = {}
    count = 0

    def form(value: Any) -> Any:
        nonlocal count
        found = json_form(value)
        if not isinstance(found, np.ndarray):
            return found
        count += 1
        return _reference(found, arrays, offset)

    def text_of(held: Any) -> str:
        return json.dumps([name, held, index], default=form, separators=(",", ":"))

    text = ""
    if name in _FREQUENT:
        # Keys that are no text, a cycle, and an integer too long raise.
        with suppress(TypeError, ValueError, RecursionError):
            text = text_of(doc)
    if not text or "\\ud" in text or has_alike(text, count):  # \ud: half a surrogate pair, perhaps
        arrays.clear()
        text = text_of(escaped(plain(doc)))
    body = text[:-1].encode()
    return Entry(index, name, b"%s,%d]\n" % (body, zlib.crc32(body)), arrays)


def decode(line: bytes, fetch: Fetch | None = None) -> tuple[str, dict[str, Any], int]:
    """The name, the document and the index of one line; the index of a line of the former format is 0.

    Raises
    ------
    DamagedError
        If the line, or an array that it refers to, is not what was written.
    """
    try:
        hook = (lambda value: _array_or_itself(value, fetch)) if b"array__" in line else None
        name, doc, *rest = json.loads(line, object_hook=hook)
    except (ValueError, TypeError, OSError, KeyError, SyntaxError, MemoryError, RecursionError) as error:
        raise DamagedError(f"the line {line[:60]!r}… cannot be read: {error}") from error
    if not isinstance(name, str) or not isinstance(doc, dict):
        raise DamagedError(f"the line {line[:60]!r}… holds no document")
    return name, doc, rest[0] if rest else 0


def _reference(array: np.ndarray, arrays: dict[int, np.ndarray], offset: int) -> dict[str, Any]:
    """What stands for an array in a line; an array for the side file is added to `arrays`."""
    whole = np.ascontiguousarray(array)
    if whole.nbytes <= INLINE_BYTES:
        return as_inline(array)
    if arrays:
        latest = max(arrays)
        offset = latest + arrays[latest].nbytes
    arrays[offset] = whole
    return {REFERENCE: [descr_of(whole.dtype), array.shape, offset, _checksum(whole)]}


def _array_or_itself(value: dict[str, Any], fetch: Fetch | None) -> Any:
    if (mapping := unescaped(value)) is not None:
        return mapping
    ((key, held),) = value.items()
    if key != REFERENCE:
        return from_inline(held)
    if fetch is None:
        raise KeyError("the file of the arrays is not given")
    descr, shape, offset, checksum = held
    array = np.empty(shape, dtype_of(descr))
    fetch(offset, memory_of(array))
    if _checksum(array) != checksum:
        raise ValueError(f"the array at {offset} has another checksum than when it was written")
    return array


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(memory_of(array).data)


def memory_of(array: np.ndarray) -> np.ndarray:
    """The memory of a contiguous array that is not empty."""
    return array.reshape(-1).view(np.uint8)


def index_of(line: bytes) -> int | None:
    """The index of an undamaged line; None if it is damaged, or of the former format."""
    body, _, checksum = line.rstrip(b"\n").rpartition(b",")
    try:
        return int(body.rpartition(b",")[2]) if int(checksum.rstrip(b"]")) == zlib.crc32(body) else None
    except ValueError:
        return None


def is_former(line: bytes) -> bool:
    """Whether a line is of the former format: without an index and a checksum."""
    try:
        return len(json.loads(line)) == 2 and bool(decode(line))
    except (ValueError, TypeError, RecursionError):
        return False
