"""What Tiled holds, read with a plain client; and through the package's reader where names or forms were changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ebl_autonomy.data.streams import stored_events

__all__ = ["Row", "external_frames", "is_ordinary", "read_rows"]

Row = dict[str, Any]
"""``seq_num``, ``time`` and ``data``: key to value."""


def is_ordinary(key: str) -> bool:
    """Whether the plain client must find a key under its own name."""
    return key.isascii() and key.isidentifier() and not key.startswith("_") and len(key) < 50 and key == key.lower()


def read_rows(run: Any, stream: str, keys: set[str], external: set[str]) -> list[Row]:
    """The rows of a stream, in the stored order.

    Parameters
    ----------
    run : tiled run
    stream : str
    keys : set of str
        The emitted keys that are not external.
    external : set of str
        The keys whose values are in files.

    Raises
    ------
    ValueError
        If an array has another number of entries than the table has rows.
    """
    rows = _plain_rows(run, stream, external)
    exact = {(event["seq_num"], event["time"]): event["data"] for event in stored_events(run, stream)}
    odd = {key for key in keys if not is_ordinary(key) or key.startswith("odd")}
    for row in rows:
        data = exact.get((row["seq_num"], row["time"]), {})
        row["data"].update({key: data[key] for key in odd if key in data})
    return rows


def external_frames(run: Any, stream: str, key: str) -> np.ndarray[Any, Any]:
    """The frames of an external key as Tiled serves them, shape (frames, ...)."""
    return np.asarray(run[stream].base[key].read())


def _plain_rows(run: Any, stream: str, external: set[str]) -> list[Row]:
    try:
        parts = run[stream].base
    except KeyError:
        return []
    columns: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for name, node in parts.items():
        family = node.item["attributes"]["structure_family"]
        if family == "table":
            table = node.read()
            columns |= {str(column): table[column].tolist() for column in table}
        elif family == "array" and name not in external:
            arrays[name] = np.asarray(node.read())
    count = len(columns.get("seq_num", ()))
    rows = [
        {
            "seq_num": columns["seq_num"][i],
            "time": columns["time"][i],
            "data": {key: values[i] for key, values in columns.items()},
        }
        for i in range(count)
    ]
    for key, values in arrays.items():
        if len(values) != count:
            raise ValueError(f"array {key!r} of stream {stream!r} has {len(values)} entries, the table {count} rows")
        for row, value in zip(rows, values, strict=True):
            row["data"][key] = value
    return rows
