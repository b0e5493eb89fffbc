"""Simulated time: what a beamline would take, counted without waiting for it."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from ebl_autonomy.errors import BadInputError

__all__ = ["Clock"]


class Clock:
    """Counts simulated seconds; also a bluesky Readable with the key ``clock``.

    Parameters
    ----------
    speed : float
        Simulated seconds per wall second; infinite: nothing waits, and time passes only by what is done. Moves that
        run at the same time then cost the longest of them, because each only says when it will have arrived, and the
        next exposure begins when all have.

    Raises
    ------
    BadInputError
        If the speed is not positive.
    """

    name = "clock"
    parent = None

    def __init__(self, speed: float = math.inf) -> None:
        if not speed > 0:
            raise BadInputError(f"speed={speed}: give a positive number, or math.inf to wait for nothing")
        self.speed = speed
        self._began = time.monotonic()
        self._now = 0.0
        self._arrival = 0.0
        self._lock = threading.Lock()

    @property
    def waits(self) -> bool:
        """Whether simulated seconds take wall time."""
        return math.isfinite(self.speed)

    def now(self) -> float:
        """Simulated seconds since the beamline was made."""
        if self.waits:
            return (time.monotonic() - self._began) * self.speed
        return self._now

    def arrive(self, seconds: float) -> float:
        """Note that something which starts now takes `seconds`; returns the wall seconds to wait for it."""
        with self._lock:
            self._arrival = max(self._arrival, self.now() + seconds)
        return seconds / self.speed if self.waits else 0.0

    def spend(self, seconds: float) -> float:
        """Wait for everything under way, then for `seconds`; returns the wall seconds to wait."""
        with self._lock:
            self._now = max(self.now(), self._arrival) + seconds
        return seconds / self.speed if self.waits else 0.0

    def read(self) -> dict[str, dict[str, Any]]:
        return {"clock": {"value": max(self.now(), self._arrival), "timestamp": time.time()}}

    def describe(self) -> dict[str, dict[str, Any]]:
        return {"clock": {"source": "sim:clock", "dtype": "number", "shape": [], "units": "s"}}
