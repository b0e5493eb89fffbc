"""Closes a race of ophyd's positioners, which else makes one of some hundred quick moves on a busy machine never end.

As a move is done, `PositionerBase._done_moving` first runs the callback that ends the status and then removes it. A
plan that sets the positioner between the two adds the callback of the next status, which is removed with the other, so
that the next status never ends. Plans of ours have a time limit for each move; those of bluesky would hang.
"""

import threading
from typing import Any

from ophyd.positioner import PositionerBase

_lock = threading.RLock()


def close_race() -> None:
    """Let no move begin while the end of another is told; for this process."""
    for name in ("move", "_done_moving"):
        setattr(PositionerBase, name, _locked(getattr(PositionerBase, name)))


def _locked(method: Any) -> Any:
    def call(self: PositionerBase, *args: Any, **options: Any) -> Any:
        with _lock:
            return method(self, *args, **options)

    return call
