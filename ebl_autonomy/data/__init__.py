"""Tiled in and out: `connect` writes every run live, `read_run` reads one back, `past_results` makes one a prior."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ebl_autonomy.data.connection import Connection, connect, latest_connection
    from ebl_autonomy.data.past import past_results
    from ebl_autonomy.data.reader import RunSummary, read_run, runs

_HOME = {
    "Connection": "connection",
    "connect": "connection",
    "latest_connection": "connection",
    "past_results": "past",
    "RunSummary": "reader",
    "read_run": "reader",
    "runs": "reader",
}

__all__ = ["Connection", "RunSummary", "connect", "latest_connection", "past_results", "read_run", "runs"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"ebl_autonomy.data.{_HOME[name]}"), name)
    raise AttributeError(f"module 'ebl_autonomy.data' has no attribute {name!r}")
