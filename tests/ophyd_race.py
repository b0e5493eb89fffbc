"""Closes a race of ophyd's positioners, which else makes one of some hundred quick moves on a busy machine never end.

As a move is done, `PositionerBase._done_moving` first runs the callback that ends the status and then removes it. A
plan that sets the positioner between the two adds the callback of the next status, which is removed with the other, so
that the next status never ends. Plans of ours have a time limit for each move; those of bluesky would hang.

Each positioner has a lock of its own. With one for all, the end of one axis of a pseudo positioner, which needs the
lock of that, and the beginning of another axis, which holds it, would wait for each other.
"""

import threading
from typing import Any

from ophyd.positioner import PositionerBase


def close_race() -> None:
    """Let no move of a positioner begin while the end of its last one is told; for this process."""
    for name in ("move", "_done_moving"):
        setattr(PositionerBase, name, _locked(getattr(PositionerBase, name)))


def _locked(method: Any) -> Any:
    def call(self: PositionerBase, *args: Any, **options: Any) -> Any:
        with self.__dict__.setdefault("_telling", threading.RLock()):
            return method(self, *args, **options)

    return call
