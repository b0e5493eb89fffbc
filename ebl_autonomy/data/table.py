"""A stream as one table of numbers and text, for a spreadsheet: of `primary`, each row beside what decided it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

import numpy as np

from ebl_autonomy.data.forms import MISSING
from ebl_autonomy.data.lookup import find_run, start_of
from ebl_autonomy.data.streams import StoredStream
from ebl_autonomy.errors import DataError
from ebl_autonomy.records import DECISIONS, METADATA_KEY, PRIMARY, PROPOSAL_ID

__all__ = ["RunTable", "run_table"]

DECISION_PREFIX = "decision_"
READING_PREFIX = "reading_"


@dataclass(frozen=True)
class RunTable:
    """The rows of a stream.

    Attributes
    ----------
    uid : str
    columns : dict of str to list
        One entry per row; None where a row has no value.
    left_out : list of str
        Keys that are no column, because they hold arrays, lists, dictionaries, or data in files.
    """

    uid: str
    columns: dict[str, list[Any]]
    left_out: list[str]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values()), ()))

    def write_csv(self, file: IO[str]) -> None:
        """Write a header and one line per row. Numbers are exact: reading them back gives the same numbers."""
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(zip(*([_cell(v) for v in values] for values in self.columns.values()), strict=True))


def run_table(run: Any, client: Any = None, stream: str = PRIMARY) -> RunTable:
    """One stream of any run as a table.

    The columns are ``seq_num``, ``time`` (s since the epoch), ``datetime`` (local time), the motors, the outcomes, and
    the other keys of the stream in the order in which they are stored. A row of `primary` that answers a proposal also
    has what the agent decided, as ``decision_<key>``; ``decision_<motor>`` is the position that was asked. A key of the
    name of another column is called ``reading_<key>``.

    Parameters
    ----------
    run : str, int or tiled run
        See `find_run`.
    client : tiled container, optional
    stream : str

    Raises
    ------
    BadInputError
        See `find_run`.
    DataError
        If the run has no such stream, or it has no rows.
    """
    node = find_run(run, client)
    start = start_of(node)
    columns, left_out = _columns(node, stream)
    if not columns:
        raise DataError(
            f"run {start.get('uid', run)!r} has no rows in a stream {stream!r}; its streams are {_streams(node)}"
        )
    ours = start.get(METADATA_KEY) or {}
    motors = (ours or start).get("motors") or []
    first = ["seq_num", "time", "datetime", *motors, *ours.get("outcomes", [])]
    table = {name: columns[name] for name in [*first, *columns] if name in columns}
    if stream == PRIMARY and ours and PROPOSAL_ID in columns:
        decided, arrays = _columns(node, DECISIONS)
        at = {proposal: i for i, proposal in enumerate(decided.get(PROPOSAL_ID, []))}
        positions = [at.get(proposal) for proposal in columns[PROPOSAL_ID]]
        for name, values in decided.items():
            if name not in ("seq_num", "time", "datetime", PROPOSAL_ID):
                table[_free(DECISION_PREFIX + name, table)] = [None if i is None else values[i] for i in positions]
        left_out += [DECISION_PREFIX + name for name in arrays]
    return RunTable(str(start.get("uid", run)), table, left_out)


def _columns(node: Any, stream: str) -> tuple[dict[str, list[Any]], list[str]]:
    """The columns of numbers and text, those of the rows themselves first; and the names of all others."""
    stored = StoredStream(node, stream)
    rows = stored.read(arrays=False)
    columns: dict[str, list[Any]] = {key: rows.labels[key] for key in ("seq_num", "time") if key in rows.labels}
    times = columns.get("time", rows.columns.get("time", []))
    if times and all(isinstance(time, int | float) for time in times):
        columns["datetime"] = [_local(time) for time in times]
    left_out = [name for name in stored.names if name not in rows.columns and name not in columns]
    for name, values in rows.columns.items():
        if any(isinstance(value, list | tuple | dict | np.ndarray) for value in values):
            left_out.append(name)
        else:
            columns[_free(name, columns)] = [None if value is MISSING else value for value in values]
    return columns, left_out


def _free(name: str, taken: dict[str, list[Any]]) -> str:
    while name in taken:
        name = READING_PREFIX + name
    return name


def _local(time: float) -> str | None:
    try:
        return datetime.fromtimestamp(time).isoformat(" ", "milliseconds")
    except (OverflowError, OSError, ValueError):  # no time of this world
        return None


def _cell(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return repr(value) if isinstance(value, float) else value  # csv itself writes None as an empty cell


def _streams(node: Any) -> Sequence[str]:
    return sorted(str(name) for name in node)
