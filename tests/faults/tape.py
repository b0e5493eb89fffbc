"""The tape: what a session's process did, as JSON lines on its standard output, which the parent reads.

The tape is independent of the package's journal. An entry is one ``write`` to a pipe, so a killed process loses
nothing that it had put there, and neither a full disk nor a limit on file sizes reaches it.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

__all__ = ["Entry", "Tape", "TapeReader", "plain"]

Entry = dict[str, Any]


class Tape:
    """The session's end. `put` may be called from any thread.

    Parameters
    ----------
    descriptor : int
        File descriptor to write to.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def put(self, kind: str, **content: Any) -> None:
        """Write one entry."""
        data = (json.dumps({"kind": kind, **content}, default=plain, separators=(",", ":")) + "\n").encode()
        with self._lock:
            while data:
                data = data[os.write(self._descriptor, data) :]


class TapeReader:
    """The parent's end: reads the tape in a thread of its own, until the process has ended.

    Parameters
    ----------
    stream : binary file
        The pipe.
    on_entry : callable, optional
        Called with each entry, in the reading thread.
    """

    def __init__(self, stream: IO[bytes], on_entry: Callable[[Entry], None] | None = None) -> None:
        self._stream = stream
        self._on_entry = on_entry
        self._entries: list[Entry] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def entries(self) -> list[Entry]:
        """All entries so far."""
        with self._changed:
            return list(self._entries)

    def wait_for(self, kind: str, timeout_s: float) -> Entry | None:
        """The first entry of a kind; None if the process ends without one.

        Raises
        ------
        TimeoutError
            If neither happens in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended or self._find(kind) is not None, timeout_s):
                raise TimeoutError(f"no {kind!r} entry on the tape within {timeout_s} s")
            return self._find(kind)

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the tape."""
        self._thread.join(timeout_s)

    def _find(self, kind: str) -> Entry | None:
        return next((entry for entry in self._entries if entry["kind"] == kind), None)

    def _read(self) -> None:
        for line in self._stream:
            if not line.endswith(b"\n"):
                break  # the process was killed within this entry
            entry = json.loads(line, object_hook=_restored)
            if self._on_entry is not None:
                self._on_entry(entry)
            with self._changed:
                self._entries.append(entry)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def plain(value: Any) -> Any:
    """JSON form of a value that has none; arrays come back as arrays, all else as ``{"odd": [type, texts]}``.

    The texts are the forms in which a store may keep such a value; `equality.same` knows them.
    """
    if isinstance(value, np.ndarray):
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"array": [value.dtype.str, list(value.shape), data]}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return {"odd": [type(value).__name__, _forms(value)]}


def _forms(value: Any) -> list[Any]:
    forms: list[Any] = [str(value), repr(value)]
    for name in ("isoformat", "total_seconds"):
        if hasattr(value, name):
            forms.append(getattr(value, name)())
    for name in ("value", "name"):
        if isinstance(getattr(value, name, None), (str, int, float)):
            forms.append(getattr(value, name))
    if isinstance(value, complex):
        forms += [{"real": value.real, "imag": value.imag}, [value.real, value.imag], str(value).strip("()")]
    return forms


def _restored(value: dict[str, Any]) -> Any:
    if set(value) == {"array"}:
        dtype, shape, data = value["array"]
        return np.frombuffer(base64.b64decode(data), dtype=dtype).reshape(shape).copy()
    return value
