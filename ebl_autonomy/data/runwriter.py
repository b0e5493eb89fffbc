"""Writing one run to Tiled, resumable after an interruption.

The writer extends the run writer of bluesky-tiled-plugins in two ways. Buffered rows are written when the caller
flushes them, not by count. A run that is partly stored is resumed: existing nodes are reused, and stored rows are not
sent again. A document may therefore be passed any number of times and is stored once.

That run writer is private to its package. The attributes that this module uses are checked at import, so that an
incompatible version fails before anything is measured.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
from bluesky_tiled_plugins.writing import tiled_writer
from event_model import DocumentNames

__all__ = ["ResumableRun"]

_NEVER = 10**9


def _require(thing: Any, *names: str) -> None:
    """Raise ImportError if `thing`, from the installed bluesky-tiled-plugins, lacks one of the attributes `names`."""
    if missing := [name for name in names if not hasattr(thing, name)]:
        raise ImportError(
            f"bluesky-tiled-plugins {version('bluesky-tiled-plugins')} cannot write resumable runs: its run writer "
            f"lacks {missing}. Install a version that ebl-autonomy was tested with: pip install --upgrade ebl-autonomy"
        )


_require(tiled_writer, "MAX_ARRAY_SIZE", "RESERVED_DATA_KEYS", "RunNormalizer", "_RunWriter")
_require(
    tiled_writer._RunWriter(None),  # an instance: most attributes are set in __init__
    "_desc_nodes",
    "_external_data_cache",
    "_int_array_keys",
    "_internal_arrays",
    "_internal_data_cache",
    "_internal_tables",
    "_write_external_data",
    "_write_internal_data",
)


_require(tiled_writer.RunNormalizer(), "_desc_name_by_uid", "_ext_keys", "_int_keys", "dispatcher", "patches")


class ResumableRun:
    """One run that is being written to Tiled.

    Parameters
    ----------
    client : tiled container
        The container of the runs.
    """

    def __init__(self, client: Any) -> None:
        self._writer = _Writer(client.include_data_sources())
        # Converts documents of older schemas, and external assets, to the current schema.
        self._normalizer = _Normalizer()
        self._normalizer.subscribe(self._writer)

    @property
    def holds_rows(self) -> bool:
        """Whether rows are buffered."""
        return self._writer.holds_rows

    def give(self, name: str, doc: dict[str, Any]) -> None:
        """Take one document. Rows are buffered; everything else is written at once."""
        self._normalizer(name, _with_float_scalars(doc) if name == "descriptor" else doc)

    def flush(self) -> None:
        """Write the buffered rows with one append per stream."""
        self._writer.flush()


class _Normalizer(tiled_writer.RunNormalizer):
    """Knows for each stream which keys are external; upstream, one set of keys serves all streams of a run.

    A fly line needs that: the detector's file is referenced in the stream of the flyer, while `primary` holds the value
    of each row under the same key.
    """

    def __init__(self) -> None:
        super().__init__()
        self._keys: dict[str, tuple[set[str], set[str]]] = {}

    def descriptor(self, doc: Any) -> None:
        self._take_keys(doc["name"])
        super().descriptor(doc)

    def event(self, doc: Any) -> None:
        self._take_keys(self._desc_name_by_uid[doc["descriptor"]])
        renamed = doc["data"].keys() & set(tiled_writer.RESERVED_DATA_KEYS)
        if not (self._ext_keys or doc.get("filled") or renamed or self.patches.get("event")):
            # Nothing to convert. Copying and validating an event upstream costs more time than writing it.
            event = {key: value for key, value in doc.items() if key != "filled"}
            self.dispatcher.process(DocumentNames.event, event)
            return
        super().event(doc)

    def _take_keys(self, stream: str) -> None:
        self._int_keys, self._ext_keys = self._keys.setdefault(stream, (set(), set()))


class _Writer(tiled_writer._RunWriter):
    root_node: Any

    def __init__(self, client: Any) -> None:
        super().__init__(_GetOrCreate(client), batch_size=_NEVER, max_array_size=tiled_writer.MAX_ARRAY_SIZE)
        self._stored_rows: dict[str, int] = {}
        self._stored_arrays: dict[tuple[str, str], int] = {}
        self._given: dict[str, int] = {}
        self._floats: dict[str, set[str]] = {}

    @property
    def holds_rows(self) -> bool:
        return any(self._internal_data_cache.values()) or bool(self._external_data_cache)

    def start(self, doc: Any) -> None:
        super().start(doc)
        # The base: children of the node itself would have the layout that client.v2 sets for every client of a process.
        self.root_node = _GetOrCreate(self.root_node.base)

    def descriptor(self, doc: Any) -> None:
        name = doc["name"]
        known = name in self._desc_nodes
        super().descriptor(doc)
        self._floats[name] = {key for key, spec in doc.get("data_keys", {}).items() if _is_float(spec)}
        if known:
            return
        node = self._desc_nodes[name]
        children = set(node)
        if "internal" in children:
            table = node["internal"]
            self._internal_tables[name] = table
            self._stored_rows[name] = len(table.read(["seq_num"]))
        for key in self._int_array_keys[name] & children:
            array = node[key]
            self._internal_arrays[f"{name}/{key}"] = array
            self._stored_arrays[name, key] = int(array.shape[0])
        self._desc_nodes[doc["uid"]] = self._desc_nodes[name] = _GetOrCreate(node)

    def event(self, doc: Any) -> None:
        name = self._desc_nodes[doc["descriptor"]].item["id"]
        count = self._given[name] = self._given.get(name, 0) + 1
        if count <= self._stored_rows.get(name, 0):
            return
        # Arrays are written before the table, so an interrupted write may have stored an array but not its table row.
        stored = {key for key in self._int_array_keys[name] if count <= self._stored_arrays.get((name, key), 0)}
        floats = self._floats[name]
        data = {
            key: float(value) if key in floats and value is not None and np.ndim(value) == 0 else value
            for key, value in doc["data"].items()
            if key not in stored
        }
        super().event({**doc, "data": data})

    def flush(self) -> None:
        for name, rows in self._internal_data_cache.items():
            if rows:
                self._write_internal_data(rows, desc_node=self._desc_nodes[name])
                rows.clear()
        for key, datum in list(self._external_data_cache.items()):
            self._write_external_data(datum)
            del self._external_data_cache[key]

    def _append_with_retry(self, df_client: Any, table: Any, desc_name: str) -> None:  # called from 2.0.12 on
        # No retry here: an append whose response was lost may have been stored. The caller checks before it retries.
        df_client.append_partition(0, table)


def _with_float_scalars(descriptor: dict[str, Any]) -> dict[str, Any]:
    """The descriptor with integers described as floats, unless the device gives a ``dtype_numpy``.

    The type of a column is fixed, and simulated devices describe a position as an integer while it is at 0.
    """
    keys = {
        key: {**spec, "dtype": "number"} if spec["dtype"] == "integer" and "dtype_numpy" not in spec else spec
        for key, spec in descriptor.get("data_keys", {}).items()
    }
    return {**descriptor, "data_keys": keys}


def _is_float(spec: dict[str, Any]) -> bool:
    return spec["dtype"] == "number" and np.issubdtype(np.dtype(spec.get("dtype_numpy", "f8")), np.floating)


class _GetOrCreate:
    """A container that returns an existing child instead of creating it again."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    def __iter__(self) -> Any:
        return iter(self._node)

    def create_container(self, key: str, **arguments: Any) -> Any:
        found = self._find(key)
        return found if found is not None else self._node.create_container(key=key, **arguments)

    def new(self, key: str, **arguments: Any) -> Any:
        found = self._find(key)
        return found if found is not None else self._node.new(key=key, **arguments)

    def _find(self, key: str) -> Any:
        try:
            return self._node[key]
        except KeyError:
            return None
