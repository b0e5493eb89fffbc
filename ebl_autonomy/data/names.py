"""Names that the store can hold, for keys and streams that have others.

Tiled keeps the scalars of a stream in SQL tables. A column name has at most 63 bytes there, is compared without case,
and shares its namespace with the time stamps (``ts_<key>``) and with the columns that identify a row. Arrays are nodes
beside the tables. A name that does not fit is replaced by a readable part and a hash; the metadata of the stream say
which name stands for which.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from hashlib import blake2s
from typing import Any

__all__ = ["EXACT", "METADATA", "StoredNames", "is_hidden", "stored_stream_name"]

METADATA = "ebl_autonomy"
"""Key of our own entries in the metadata of streams and tables."""
EXACT = "ebl_exact"
"""Column with the values that do not fit the form of their column, as JSON."""

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_:-]*")
_MAX_LENGTH = 60  # 63 bytes less those of the prefix ts_
_READABLE_LENGTH = 44
_RESERVED = re.compile(r"(time|seq_num|internal(_\w+)?|ts_.*|part_.*|ebl_.*)", re.IGNORECASE)
_HIDDEN = re.compile(rf"part_\w+_(seq_num|time)|{EXACT}")


class StoredNames:
    """The stored name of each key of one stream.

    The same keys in the same order have the same stored names, so a writer that starts again finds its columns.
    """

    def __init__(self) -> None:
        self._stored: dict[str, str] = {}
        self._taken: set[str] = set()

    def add(self, keys: Iterable[str]) -> None:
        """Give each new key a stored name."""
        for key in keys:
            if key not in self._stored:
                fits = _is_plain(key) and not _RESERVED.fullmatch(key) and key.lower() not in self._taken
                self._stored[key] = name = key if fits else _replacement(key)
                self._taken.add(name.lower())

    @property
    def changed(self) -> dict[str, str]:
        """Original names, by stored name, where they differ."""
        return {stored: key for key, stored in self._stored.items() if stored != key}

    def of(self, key: str) -> str:
        """The stored name of a key; the key itself if it was never added."""
        return self._stored.get(key, key)

    def renamed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values by the stored names of their keys."""
        return {self.of(key): value for key, value in values.items()}


def stored_stream_name(name: str) -> str:
    """The key of a stream's node in its run."""
    # "streams" would be taken for the folder of the streams in an older layout.
    return name if _is_plain(name) and name != "streams" else _replacement(name)


def is_hidden(column: str) -> bool:
    """Whether a column serves the store and is not part of the readings."""
    return _HIDDEN.fullmatch(column) is not None


def _is_plain(name: str) -> bool:
    return _PLAIN.fullmatch(name) is not None and "--" not in name and len(name) <= _MAX_LENGTH


def _replacement(name: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    readable = re.sub(r"[^A-Za-z0-9]+", "_", ascii_only).strip("_")[:_READABLE_LENGTH]
    digest = blake2s(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    replacement = f"{readable}_{digest}"
    fits = replacement[0].isalpha() and not _RESERVED.fullmatch(replacement)
    return replacement if fits else f"key_{replacement.lstrip('_')}"
