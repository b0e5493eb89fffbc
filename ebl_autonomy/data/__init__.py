"""Tiled in and out: `connect` writes every run live, `read_run` reads one back, `ingest_run` makes one a prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebl_autonomy.lazy import lazy_attributes

if TYPE_CHECKING:
    from ebl_autonomy.data.connection import Connection, connect, latest_connection
    from ebl_autonomy.data.listing import RunSummary, runs
    from ebl_autonomy.data.lookup import find_run
    from ebl_autonomy.data.past import ingest_run, past_results
    from ebl_autonomy.data.reader import read_run
    from ebl_autonomy.data.streams import stored_events
    from ebl_autonomy.data.table import RunTable, run_table


__all__ = [
    "Connection",
    "RunSummary",
    "RunTable",
    "connect",
    "find_run",
    "ingest_run",
    "latest_connection",
    "past_results",
    "read_run",
    "run_table",
    "runs",
    "stored_events",
]


__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "Connection": ".connection",
        "connect": ".connection",
        "latest_connection": ".connection",
        "ingest_run": ".past",
        "past_results": ".past",
        "RunSummary": ".listing",
        "runs": ".listing",
        "find_run": ".lookup",
        "read_run": ".reader",
        "stored_events": ".streams",
        "RunTable": ".table",
        "run_table": ".table",
    },
)
