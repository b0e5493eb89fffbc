"""Journals of documents on disk: no measured row is lost when the server or the session dies."""

from __future__ import annotations

import base64
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from ebl_autonomy.data.folder import open_private

__all__ = ["Journal", "decode", "encode", "leftovers"]

Document = tuple[str, dict[str, Any]]


def encode(name: str, doc: Any) -> str:
    """One document as one JSON line. `decode` restores numpy arrays and NaN exactly.

    Raises
    ------
    TypeError
        If a value has no JSON form.
    """
    return json.dumps([name, doc], default=_as_json, separators=(",", ":"))


def decode(line: str) -> Document:
    """The name and the document of one line."""
    name, doc = json.loads(line, object_hook=_from_json)
    return name, doc


class Journal:
    """The documents of one run in a file, locked by the process that writes it.

    Parameters
    ----------
    path : Path
        The file; it is created, with its folder, if it does not exist.

    Raises
    ------
    BlockingIOError
        If another process, or another `Journal` of this process, holds the file.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._file: IO[str] = open_private(path, "a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise

    def append(self, name: str, doc: Any) -> None:
        """Append one document and flush it to the operating system, so that it survives a kill of this process.

        Raises
        ------
        TypeError
            If a value has no JSON form.
        """
        self._file.write(encode(name, doc) + "\n")
        self._file.flush()

    def documents(self) -> Iterator[Document]:
        """The journalled documents. A last line that a crash truncated is skipped."""
        with self.path.open() as file:
            for line in file:
                if line.endswith("\n"):
                    yield decode(line)

    def close(self) -> None:
        """Release the file and keep it, so that another process can finish the run."""
        self._file.close()

    def remove(self) -> None:
        """Delete the file, once the run is completely in Tiled."""
        self.path.unlink(missing_ok=True)
        self._file.close()


def leftovers(directory: Path) -> list[Journal]:
    """Journals that no process holds: their session ended before the run was completely in Tiled."""
    found = []
    for path in sorted(directory.glob("*.jsonl")):
        try:
            found.append(Journal(path))
        except BlockingIOError:
            continue  # another session is writing this run
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
