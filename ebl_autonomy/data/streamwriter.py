"""Writing the events of one stream: columns in tables, arrays beside them, in rows of the same order.

The first table is the record of what is stored. A row is appended to it last, after the row's arrays and its cells in
every other table. A row that it has is therefore stored completely, and a row that it lacks is written again, whatever
the other nodes hold: arrays are written at the row's index, and the other tables identify their rows themselves.

A row is identified by its sequence number and its time, because a plan that is rewound uses the numbers again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from tiled.client.utils import ClientError
from tiled.structures.array import ArrayStructure, BuiltinDtype
from tiled.structures.core import StructureFamily
from tiled.structures.data_source import DataSource

from ebl_autonomy.data.forms import MISSING, Form, as_metadata, choose_form, to_text
from ebl_autonomy.data.names import EXACT, METADATA, StoredNames
from ebl_autonomy.errors import BadInputError

__all__ = ["MAX_COLUMNS", "RowId", "StreamWriter", "get_or_create", "row_ids"]

MAX_COLUMNS = 1024
"""Columns of one table. SQL databases take between 1600 and 2000."""
REQUEST_BYTES = 32 * 2**20
"""Size of the arrays that are sent in one request, unless one row is larger."""
CHUNK_BYTES = 8 * 2**20
"""Size of the chunks in which arrays are stored, unless one row is larger."""

RowId = tuple[int, float]

_RECORD, _EXACT_TABLE = "internal", "exact"
_TYPES = {"float": pa.float64(), "int": pa.int64(), "bool": pa.bool_(), "text": pa.string(), "json": pa.string()}
_TIME = Form("float")
_LIST_ITEM_BYTES = 32
_CONFLICT = 409


def get_or_create(node: Any, key: str, create: Callable[[str], Any]) -> tuple[Any, bool]:
    """The child `key` of a container, made by ``create(key)`` unless it is there; and whether it was made."""
    try:
        return create(key), True
    except ClientError as error:
        if error.response.status_code != _CONFLICT:
            raise
        return node[key], False


def row_ids(table: Any, prefix: str = "") -> list[RowId]:
    """The identities of the rows of a table, in its order; the same row may be there twice."""
    seq_num, time = f"{prefix}seq_num", f"{prefix}time"
    frame = table.read([seq_num, time])
    return list(zip(frame[seq_num].tolist(), frame[time].tolist(), strict=True))


class StreamWriter:
    """The events of one stream, written in groups; what is stored already is not written again.

    Parameters
    ----------
    node : tiled container
        Of the stream.
    names : StoredNames
        Of the keys of the stream.
    is_new : bool
        Whether the node was made just now, so that nothing has to be looked up in it.
    access_tags : list of str, optional
        For every node that is created.

    Attributes
    ----------
    descriptions : dict
        The description of each key, by its stored name.
    buffered_bytes : int
        Size of the buffered arrays.
    """

    def __init__(self, node: Any, names: StoredNames, is_new: bool, access_tags: list[str] | None = None) -> None:
        self.node = node
        self.names = names
        self.buffered_bytes = 0
        self._tags = access_tags
        self.descriptions: dict[str, Mapping[str, Any]] = {}
        self._forms: dict[str, Form] = {}
        self._buffer: list[_Row] = []
        self._rows: dict[RowId, None] = {}  # stored or buffered, in order
        self._tables: list[_Table] = []  # the first one is the record
        self._exact: _Table | None = None
        self._arrays: dict[str, Any] = {}
        if not is_new:
            self._resume()

    @property
    def holds_rows(self) -> bool:
        """Whether rows are buffered."""
        return bool(self._buffer)

    @property
    def nodes(self) -> list[Any]:
        """The nodes of tables and arrays that were written to."""
        tables = [*self._tables, self._exact] if self._exact else self._tables
        return [*(table.client for table in tables), *self._arrays.values()]

    def describe(self, data_keys: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the descriptions of keys, by their stored names."""
        self.descriptions.update(data_keys)

    def add(self, event: Mapping[str, Any]) -> None:
        """Buffer an event, by the stored names of its keys. Nothing happens if its row is stored or buffered."""
        row = _Row((int(event["seq_num"]), float(event["time"])), event["data"], event["timestamps"])
        if row.id not in self._rows:
            self._rows[row.id] = None
            self._buffer.append(row)
            self.buffered_bytes += sum(map(_size_of, row.data.values()))

    def flush(self) -> None:
        """Write the buffered rows."""
        rows = self._buffer
        if not rows:
            return
        if not self._tables:
            self._choose_forms(rows)
            self._open_tables()
        first = len(self._rows) - len(rows)
        columns, exact = self._convert(rows, first)
        if self._exact is None and any(exact):
            self._open_exact()
            self._fill_exact(list(self._rows)[:first])
        if self._exact is not None:
            self._exact.append([row.id for row in rows], {EXACT: pa.array(exact, pa.string())})
        for table in reversed(self._tables):
            table.append([row.id for row in rows], columns)
        self._buffer = []
        self.buffered_bytes = 0

    # -- tables ----------------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        children = set(self.node)
        record = next((key for key in (_RECORD, f"{_RECORD}_0") if key in children), None)
        if record is None:
            return  # the forms are in its metadata: nothing that may be there without it is of use
        ours = self.node[record].metadata.get(METADATA)
        if ours is None and record != _RECORD:
            raise BadInputError(
                f"the stream at {self.node.uri} was begun by another writer in several tables, which this version "
                "cannot continue: delete the run in Tiled to have it written again"
            )
        self._forms = (
            {key: Form.from_json(form) for key, *form in ours["forms"]} if ours else _found_forms(self.node, children)
        )
        self._open_tables()
        self._rows = dict.fromkeys(self._tables[0].stored)
        if f"{_RECORD}_{_EXACT_TABLE}" in children:
            self._open_exact()
            self._fill_exact(list(self._rows))

    def _choose_forms(self, rows: Sequence[_Row]) -> None:
        present = {key: None for row in rows for key in row.data}
        described = [key for key in self.descriptions if key in present]
        for key in dict.fromkeys([*described, *present]):
            values = [row.data.get(key, MISSING) for row in rows]
            self._forms[key] = choose_form(self.descriptions.get(key, {}), values)

    def _open_tables(self) -> None:
        types = {key: _TYPES[form.kind] for key, form in self._forms.items() if form.kind in _TYPES}
        types.update({f"ts_{key}": pa.float64() for key in self._forms})
        columns = list(types)
        step = MAX_COLUMNS - 2
        parts = [columns[start : start + step] for start in range(0, len(columns), step)] or [[]]
        forms = [[key, *form.to_json()] for key, form in self._forms.items()]
        for index, part in enumerate(parts):
            label = str(index) if len(parts) > 1 else ""
            schema = [(name, types[name]) for name in part]
            self._tables.append(self._open(label, schema, f"part_{index}_" if index else "", {"forms": forms}))

    def _open_exact(self) -> None:
        self._exact = self._open(_EXACT_TABLE, [(EXACT, pa.string())], f"part_{_EXACT_TABLE}_", {})

    def _fill_exact(self, ids: Sequence[RowId]) -> None:
        """Give every stored row a cell: those that were written before there was a misfit have none."""
        assert self._exact is not None
        self._exact.append(ids, {EXACT: pa.array([""] * len(ids), pa.string())})

    def _open(self, label: str, schema: Sequence[tuple[str, pa.DataType]], prefix: str, ours: dict[str, Any]) -> _Table:
        fields = [(f"{prefix}seq_num", pa.int64()), (f"{prefix}time", pa.float64()), *schema]
        metadata = {name: as_metadata(self.descriptions[name]) for name, _ in schema if name in self.descriptions}
        client, is_new = get_or_create(
            self.node,
            f"{_RECORD}_{label}" if label else _RECORD,
            lambda key: self.node.create_appendable_table(
                schema=pa.schema(fields), key=key, metadata={**metadata, METADATA: ours}, access_tags=self._tags
            ),
        )
        return _Table(client, prefix, [] if is_new else row_ids(client, prefix))

    # -- values ----------------------------------------------------------------------------------------------------

    def _convert(self, rows: Sequence[_Row], first: int) -> tuple[dict[str, pa.Array], list[str]]:
        """Write the arrays of the rows, of which the first has the index `first`; returns their columns and misfits."""
        columns: dict[str, pa.Array] = {}
        exact: list[dict[str, Any]] = [{} for _ in rows]
        for key, form in self._forms.items():
            values = [row.data.get(key, MISSING) for row in rows]
            if form.kind == "array":
                arrays, misfits = form.rows(values)
                self._write_array(key, form, arrays, first)
            else:
                cells, misfits = form.cells(values)
                columns[key] = pa.array(cells, _TYPES[form.kind])
            for index in misfits:
                if values[index] is MISSING:
                    exact[index].setdefault("missing", []).append(key)
                else:
                    exact[index].setdefault("data", {})[key] = values[index]
            times = [row.timestamps.get(key, MISSING) for row in rows]
            cells, misfits = _TIME.cells(times)
            columns[f"ts_{key}"] = pa.array(cells, pa.float64())
            for index in misfits:
                if times[index] is not MISSING:
                    exact[index].setdefault("timestamps", {})[key] = times[index]
        for row, entry in zip(rows, exact, strict=True):
            if unknown := row.data.keys() - self._forms.keys():
                entry.setdefault("data", {}).update({key: row.data[key] for key in unknown})
                times_of_unknown = {key: row.timestamps[key] for key in unknown if key in row.timestamps}
                entry.setdefault("timestamps", {}).update(times_of_unknown)
        return columns, [to_text(entry) if entry else "" for entry in exact]

    def _write_array(self, key: str, form: Form, arrays: Sequence[Any], first: int) -> None:
        row_bytes = arrays[0].nbytes
        if key not in self._arrays:
            # Whole chunks only: Tiled takes a chunk that is filled in part for a full one when the array grows.
            count = min(first + len(arrays), max(1, CHUNK_BYTES // row_bytes))
            self._arrays[key], _ = get_or_create(self.node, key, lambda key: self._new_array(key, form, count))
        step = max(1, REQUEST_BYTES // row_bytes)
        for start in range(0, len(arrays), step):
            piece = np.stack(arrays[start : start + step])
            self._arrays[key].patch(piece, offset=(first + start,), extend=True)

    def _new_array(self, key: str, form: Form, count: int) -> Any:
        shape = (count, *form.shape)
        structure = ArrayStructure(
            data_type=BuiltinDtype.from_numpy_dtype(np.dtype(form.dtype)),
            shape=shape,
            chunks=tuple((size,) for size in shape),
            dims=("time", *(f"{key}_dim_{axis}" for axis in range(1, len(shape)))),
        )
        return self.node.new(
            StructureFamily.array,
            [DataSource(structure=structure, structure_family=StructureFamily.array)],
            key=key,
            metadata=as_metadata(self.descriptions.get(key, {})),
            access_tags=self._tags,
        )


@dataclass(frozen=True, slots=True)
class _Row:
    id: RowId
    data: Mapping[str, Any]
    timestamps: Mapping[str, Any]


class _Table:
    """A table that holds each row once; all but the record name the columns of their row ids with a prefix."""

    def __init__(self, client: Any, prefix: str, stored: Iterable[RowId]) -> None:
        self.client = client
        self._prefix = prefix
        self._schema: pa.Schema = client.structure().arrow_schema_decoded
        self.stored = dict.fromkeys(stored)

    def append(self, ids: Sequence[RowId], columns: Mapping[str, pa.Array]) -> None:
        """Append the rows that the table lacks."""
        new = [index for index, row in enumerate(ids) if row not in self.stored]
        if not new:
            return
        columns = {
            **columns,
            f"{self._prefix}seq_num": pa.array([seq_num for seq_num, _ in ids], pa.int64()),
            f"{self._prefix}time": pa.array([time for _, time in ids], pa.float64()),
        }
        arrays = [columns.get(field.name, pa.nulls(len(ids), field.type)) for field in self._schema]
        table = pa.table(arrays, schema=self._schema)
        self.client.append_partition(0, table if len(new) == len(ids) else table.take(new))
        self.stored.update(dict.fromkeys(ids))


def _size_of(value: Any) -> int:
    """Bytes of an array; of nested lists about as many as in memory, from their first elements."""
    if isinstance(value, (list, tuple)):
        return len(value) * max(_LIST_ITEM_BYTES, _size_of(value[0])) if value else 0
    return int(getattr(value, "nbytes", 0))


def _found_forms(node: Any, children: Iterable[str]) -> dict[str, Form]:
    """The forms of a stream that another writer has begun: what its table and its arrays can hold."""
    kinds = {type_: kind for kind, type_ in _TYPES.items() if kind != "json"}
    schema = node[_RECORD].structure().arrow_schema_decoded
    forms = {
        field.name: Form(kinds[field.type])
        for field in schema
        if field.name not in ("seq_num", "time") and not field.name.startswith("ts_") and field.type in kinds
    }
    for key in children:
        structure = node[key].structure()
        if isinstance(structure, ArrayStructure):
            forms[key] = Form("array", structure.data_type.to_numpy_dtype().str, tuple(structure.shape[1:]))
    return forms
