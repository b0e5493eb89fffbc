"""The readings of one stream, as they were emitted, out of whichever form the store has given them.

`ebl_autonomy.data.streamwriter` writes what is read here: columns in one table or several, arrays beside them, other
values as JSON text, and stored names for keys that the store cannot hold. Runs of other writers, of the layout before
that, and of archives are read too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ebl_autonomy.data.forms import MISSING, Form, from_text
from ebl_autonomy.data.names import EXACT, METADATA, is_hidden, stored_stream_name
from ebl_autonomy.data.plain import plain

__all__ = ["StoredStream", "find_stream", "stored_events"]

_TABLE = re.compile(r"internal(?:_(\d+|exact))?")
_EXACT_TABLE = "internal_exact"
_TIMESTAMP = "ts_"
_ROW = ("seq_num", "time")

Columns = dict[str, list[Any]]
_RowId = tuple[Any, ...]


def stored_events(run: Any, stream: str) -> Iterator[dict[str, Any]]:
    """The events of a stream as they were emitted, in the order in which they were stored.

    Parameters
    ----------
    run : tiled run
        As ``client[uid]``; it may still be going on.
    stream : str
        Its name as the plan gave it.

    Yields
    ------
    dict
        ``seq_num``, ``time``, ``data`` and ``timestamps``. Regular arrays are numpy arrays, everything else is what
        JSON has: numbers, text, lists, dictionaries. What detectors wrote into files is not in it: read
        ``run[stream][key]``.
    """
    rows = StoredStream(run, stream).read()
    for index in range(rows.count):
        data = {key: values[index] for key, values in rows.columns.items()}
        timestamps = {key: times[index] for key, times in rows.timestamps.items()}
        yield {
            **{key: values[index] for key, values in rows.labels.items()},
            "data": {key: value for key, value in data.items() if value is not MISSING},
            "timestamps": {key: time for key, time in timestamps.items() if time is not MISSING},
        }


def find_stream(run: Any, stream: str) -> Any:
    """The node with the readings of a stream, in whichever layout; None if the stream is not there (yet)."""
    from tiled.client.composite import CompositeClient

    stream = plain(stream)
    for name in dict.fromkeys([stored_stream_name(stream), stream]):
        if "/" in name:
            continue  # Tiled would look for a node below another one
        try:
            held = run[name]
            # In the older layout beside "timestamps": out of an archive, or once anything in this process touched
            # client.v2 (or hasattr did), which leaves that layout to every client.
            return held if isinstance(held, CompositeClient) else held["data"]
        except KeyError:
            continue
    return None


@dataclass(frozen=True)
class Rows:
    """Rows of a stream.

    Attributes
    ----------
    count : int
    labels : dict of str to list
        ``seq_num`` and ``time``, one entry per row.
    columns : dict of str to list
        The values, by the original names of the keys.
    timestamps : dict of str to list
        The time stamps of the keys, s.
    """

    count: int
    labels: Columns
    columns: Columns
    timestamps: Columns


class StoredStream:
    """One stream of a run.

    Parameters
    ----------
    run : tiled run
        Out of Tiled, or of an archive that databroker serves.
    stream : str
        Its name as the plan gave it. A stream that is not there has no names and no rows.
    """

    def __init__(self, run: Any, stream: str) -> None:
        held = find_stream(run, stream)
        self._archive = None if hasattr(held, "base") else held  # an archive has no tables: each column is an array
        self._node = held.base if hasattr(held, "base") else None
        self._nodes: dict[str, Any] = {}
        self._tables: list[str] = []
        self._originals: Mapping[str, str] = {}
        self._forms: dict[str, Form] = {}
        self._names_forms = False  # other writers do not say which arrays are readings, and which are files
        if self._node is None:
            return
        self._nodes = dict(self._node.items())
        self._tables = sorted(
            (key for key in self._nodes if (match := _TABLE.fullmatch(key)) and match[1] != "exact"),
            key=lambda key: int(_TABLE.fullmatch(key)[1] or 0),  # type: ignore[index]
        )
        self._originals = (self._node.metadata.get(METADATA) or {}).get("names") or {}
        if self._tables:
            ours = self._nodes[self._tables[0]].metadata.get(METADATA)
            self._names_forms = ours is not None
            self._forms = {key: Form.from_json(form) for key, *form in (ours or {}).get("forms", [])}

    @property
    def names(self) -> list[str]:
        """The keys, with ``seq_num`` and ``time``, by their original names."""
        if self._archive is not None:
            return [str(name) for name in self._archive if not str(name).startswith(_TIMESTAMP)]
        columns = [name for table in self._tables for name in self._nodes[table].columns if _is_reading(name)]
        return [self._original(name) for name in (*columns, *self._arrays)]

    @property
    def object_keys(self) -> dict[str, list[str]]:
        """The keys of the readings of each device, by device name; empty if the store does not say."""
        found: dict[str, list[str]] = {}
        for key, described in (self._described.get("data_keys") or {}).items():
            if name := described.get("object_name"):
                found.setdefault(str(name), []).append(str(key))
        return found

    @property
    def hints(self) -> dict[str, list[str]]:
        """The hinted keys of each device, by device name."""
        hints = self._described.get("hints") or {}
        return {str(name): [str(key) for key in (of or {}).get("fields") or []] for name, of in hints.items()}

    @property
    def _described(self) -> Mapping[str, Any]:
        """What the descriptor of the stream says."""
        node: Any = self._node if self._archive is None else self._archive
        metadata = {} if node is None else node.metadata
        return (metadata.get("descriptors") or [metadata])[0] or {}  # an archive has the descriptors themselves

    def columns(self, names: Collection[str] | None = None, arrays: bool = True) -> Columns:
        """The columns of `read` and ``seq_num`` and ``time``, with None where a row has no value."""
        rows = self.read(names, arrays)
        labels = {key: values for key, values in rows.labels.items() if names is None or key in names}
        columns = {**labels, **rows.columns}  # a key called "time" hides that of the event
        return {key: [None if value is MISSING else value for value in values] for key, values in columns.items()}

    def read(self, names: Collection[str] | None = None, arrays: bool = True) -> Rows:
        """The rows, each once, with `MISSING` where an event lacked the key.

        Parameters
        ----------
        names : collection of str, optional
            The columns to read. The default is all that events held; what is in files is read by name only.
        arrays : bool
            Whether to read the keys of which the values are arrays.
        """
        if self._archive is not None:
            return self._read_archive(names, arrays)
        rows, ids = self._read_tables(names)
        for key in self._arrays if arrays else ():
            name = self._original(key)
            if name in names if names is not None else key in self._forms or not self._names_forms:
                column = _entries(np.asarray(self._nodes[key].read()))
                # What an interrupted writer has left beyond the rows of the table belongs to no row.
                rows.columns[name] = column[: rows.count] if self._tables else column
        if _EXACT_TABLE in self._nodes:
            self._restore_exact(rows, ids, names)
        return rows

    @property
    def _arrays(self) -> list[str]:
        return [key for key in self._nodes if not _TABLE.fullmatch(key)]

    def _original(self, name: str) -> str:
        return self._originals.get(name, name)

    def _read_archive(self, names: Collection[str] | None, arrays: bool) -> Rows:
        node: Any = self._archive
        wanted = [n for n in (self.names if names is None else names) if arrays or len(node[n].shape) == 1]
        data = node.read(variables=wanted) if wanted else {}
        columns = {name: _entries(np.asarray(data[name])) for name in wanted}
        return Rows(max((len(column) for column in columns.values()), default=0), {}, columns, {})

    def _read_tables(self, names: Collection[str] | None) -> tuple[Rows, list[_RowId]]:
        """The rows of the tables without what is stored exactly elsewhere, and their identities in order."""
        rows = Rows(0, {}, {}, {})
        ids: list[_RowId] = []
        # The first table is read first: a row is written to it last, so the others have it too.
        for table in self._tables:
            columns = self._nodes[table].columns
            row_columns = [name for name in columns if re.fullmatch(r"(part_\d+_)?(seq_num|time)", name)]
            wanted = [c for c in columns if names is None or (_is_reading(c) and self._original(c) in names)]
            if table != self._tables[0] and not wanted:
                continue
            frame = self._nodes[table].read(list(dict.fromkeys([*row_columns, *wanted])))
            found = list(zip(*(frame[name].tolist() for name in sorted(row_columns)), strict=True))
            positions = _first_positions(found or [(index, 0.0) for index in range(len(frame))])
            if table == self._tables[0]:
                ids = list(positions)
                rows = Rows(len(ids), {}, {}, {})
            order = [positions[row] for row in ids] if found else range(rows.count)
            for column in wanted:
                values = self._values(column, frame[column])
                if column in _ROW:
                    rows.labels[column] = [values[position] for position in order]
                elif not is_hidden(column):
                    into = rows.timestamps if column.startswith(_TIMESTAMP) else rows.columns
                    into[self._original(column.removeprefix(_TIMESTAMP))] = [values[position] for position in order]
        return rows, ids

    def _values(self, column: str, cells: Any) -> list[Any]:
        if column.startswith(_TIMESTAMP):
            return [MISSING if time is None or time != time else time for time in cells.tolist()]
        form = self._forms.get(column)
        return cells.tolist() if form is None else form.restored(cells.tolist())

    def _restore_exact(self, rows: Rows, ids: list[_RowId], names: Collection[str] | None) -> None:
        """Put the values in place that do not fit the form of their column."""
        frame = self._nodes[_EXACT_TABLE].read()
        positions = _first_positions(zip(frame["part_exact_seq_num"], frame["part_exact_time"], strict=True))
        cells = frame[EXACT].tolist()
        for index, row in enumerate(ids):
            entry = from_text(cells[positions[row]] or "{}") if row in positions else {}
            values = {**dict.fromkeys(entry.get("missing", []), MISSING), **entry.get("data", {})}
            for into, found in ((rows.columns, values), (rows.timestamps, entry.get("timestamps", {}))):
                for key, value in found.items():
                    name = self._original(key)
                    if names is None or (name in names and into is rows.columns):
                        into.setdefault(name, [MISSING] * rows.count)[index] = value


def _first_positions(ids: Iterable[_RowId]) -> dict[_RowId, int]:
    """Where each row is first found: an append that arrived after its time-out has written its rows again."""
    positions: dict[_RowId, int] = {}
    for position, row in enumerate(ids):
        positions.setdefault(row, position)
    return positions


def _is_reading(column: str) -> bool:
    return not column.startswith(_TIMESTAMP) and not is_hidden(column)


def _entries(column: Any) -> list[Any]:
    """One entry per row: a number, a string, or an array of its own."""
    return list(column) if column.ndim > 1 else list(column.tolist())
