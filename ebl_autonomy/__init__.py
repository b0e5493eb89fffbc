"""Autonomous experiments for Bluesky: agents that decide, plans that measure, simulated devices for trials.

The import of this package is fast: torch, the Tiled server and matplotlib are loaded where they are used.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from ebl_autonomy.lazy import lazy_attributes

if TYPE_CHECKING:
    from ebl_autonomy.data import connect, read_run
    from ebl_autonomy.guard import Envelope
    from ebl_autonomy.space import VOCS

try:
    __version__ = version("ebl-autonomy")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

__all__ = ["VOCS", "Envelope", "__version__", "connect", "read_run"]

__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "VOCS": ".space",
        "Envelope": ".guard",
        "connect": ".data",
        "read_run": ".data",
    },
)
