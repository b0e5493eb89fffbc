"""How long the rows of a run take, whatever interrupts some of them."""

import statistics
from collections.abc import Mapping
from typing import Any

from ebl_autonomy.records import PRIMARY

__all__ = ["RowTimes"]


class RowTimes:
    """Notes when the rows of a run were recorded; to be subscribed to the RunEngine for the run.

    A pause, a beam dump or a retry lengthens few of the times, so their median is that of rows without any.
    """

    def __init__(self) -> None:
        self._streams: set[str] = set()
        self._last: float | None = None
        self._seconds: list[float] = []

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "descriptor" and doc.get("name") == PRIMARY:
            self._streams.add(doc["uid"])
        elif name in ("event", "event_page") and doc["descriptor"] in self._streams:
            times = [doc["time"]] if name == "event" else doc["time"]
            if self._last is not None:
                self._seconds.append((times[-1] - self._last) / len(times))
            self._last = times[-1]

    @property
    def seconds(self) -> float:
        """Median of the seconds from row to row; from line to line, divided by the rows of a line. 0 if unknown."""
        return statistics.median(self._seconds) if self._seconds else 0.0
