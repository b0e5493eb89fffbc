"""Autonomous experiments for Bluesky: agents that decide, plans that measure, devices to try them on.

Importing this package is cheap: torch, the Tiled server and matplotlib are loaded where they are used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ebl_autonomy.data import connect, read_run
    from ebl_autonomy.guard import Envelope
    from ebl_autonomy.space import VOCS

try:
    __version__ = version("ebl-autonomy")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

_HOME = {
    "VOCS": "ebl_autonomy.space",
    "Envelope": "ebl_autonomy.guard",
    "connect": "ebl_autonomy.data",
    "read_run": "ebl_autonomy.data",
}

__all__ = ["VOCS", "Envelope", "__version__", "connect", "read_run"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ebl_autonomy' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
