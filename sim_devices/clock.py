"""Simulated time: the clock counts the seconds that a beamline would take, without waiting for them."""

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
        Simulated seconds per wall second. With infinity nothing waits, and only moves and exposures advance the
        clock. Parallel moves then cost as much as the longest: each move announces its arrival time, and the next
        exposure starts after the last arrival.

    Raises
    ------
    BadInputError
        If the speed is not positive.
    """

    name = "clock"
    parent = None

    def __init__(self, speed: float = math.inf) -> None:
        if not speed > 0:
            raise BadInputError(f"speed={speed}: give a positive number, or math.inf to never wait")
        self.speed = speed
        self._began = time.monotonic()
        self._now = 0.0
        self._arrival = 0.0
        self._lock = threading.Lock()

    @property
    def waits(self) -> bool:
        """Whether simulated time takes wall time, i.e. the speed is finite."""
        return math.isfinite(self.speed)

    def now(self) -> float:
        """Simulated seconds since the clock was created."""
        if self.waits:
            return (time.monotonic() - self._began) * self.speed
        return self._now

    def arrive(self, seconds: float) -> float:
        """Register a move that starts now and takes `seconds`; returns the wall seconds to wait for it."""
        with self._lock:
            self._arrival = max(self._arrival, self.now() + seconds)
        return seconds / self.speed if self.waits else 0.0

    def spend(self, seconds: float) -> float:
        """Advance past every registered move, then by `seconds`; returns the wall seconds that `seconds` take."""
        with self._lock:
            self._now = max(self.now(), self._arrival) + seconds
        return seconds / self.speed if self.waits else 0.0

    def read(self) -> dict[str, dict[str, Any]]:
        return {"clock": {"value": max(self.now(), self._arrival), "timestamp": time.time()}}

    def describe(self) -> dict[str, dict[str, Any]]:
        return {"clock": {"source": "sim:clock", "dtype": "number", "shape": [], "units": "s"}}
