"""A journal of documents on disk, so that neither a dead server nor a dead session loses what was measured."""

from __future__ import annotations

import base64
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

__all__ = ["Journal", "decode", "encode", "leftovers"]

Document = tuple[str, dict[str, Any]]


def encode(name: str, doc: Any) -> str:
    """One document as one line; numpy arrays and NaN come back as they were."""
    return json.dumps([name, doc], default=_as_json, separators=(",", ":"))


def decode(line: str) -> Document:
    """The document of one line."""
    name, doc = json.loads(line, object_hook=_from_json)
    return name, doc


class Journal:
    """The documents of one run in a file; locked while a process writes it.

    Parameters
    ----------
    path : Path

    Raises
    ------
    BlockingIOError
        If another process, or another journal of this one, writes it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file: IO[str] = path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise

    def append(self, name: str, doc: Any) -> None:
        """Write one document through to the operating system, which keeps it if this process is killed."""
        self._file.write(encode(name, doc) + "\n")
        self._file.flush()

    def documents(self) -> Iterator[Document]:
        """Everything journalled so far; a last line that was cut short by a crash is left out."""
        with self.path.open() as file:
            for line in file:
                if line.endswith("\n"):
                    yield decode(line)

    def close(self) -> None:
        """Keep the file, for another process to finish."""
        self._file.close()

    def remove(self) -> None:
        """The run is complete elsewhere: forget it."""
        self.path.unlink(missing_ok=True)
        self._file.close()


def leftovers(directory: Path) -> list[Journal]:
    """Journals of runs that nobody is writing: a session died before they were complete."""
    found = []
    for path in sorted(directory.glob("*.jsonl")):
        try:
            found.append(Journal(path))
        except BlockingIOError:
            continue  # another session's run, under way
    return found


def _as_json(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"__ndarray__": [value.dtype.str, list(value.shape), data]}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    raise TypeError(f"a document holds a {type(value).__name__}, which has no JSON form: {value!r}")


def _from_json(value: dict[str, Any]) -> Any:
    if set(value) == {"__ndarray__"}:
        dtype, shape, data = value["__ndarray__"]
        return np.frombuffer(base64.b64decode(data), dtype=dtype).reshape(shape).copy()
    return value
