"""Tiled in and out: `connect` writes every run live, `read_run` reads one back as an agent takes it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ebl_autonomy.data.connection import Connection, connect
    from ebl_autonomy.data.reader import RunSummary, read_run, runs

_HOME = {
    "Connection": "connection",
    "connect": "connection",
    "RunSummary": "reader",
    "read_run": "reader",
    "runs": "reader",
}

__all__ = ["Connection", "RunSummary", "connect", "read_run", "runs"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"ebl_autonomy.data.{_HOME[name]}"), name)
    raise AttributeError(f"module 'ebl_autonomy.data' has no attribute {name!r}")
