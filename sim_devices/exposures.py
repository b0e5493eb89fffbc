"""One exposure for all detectors that are triggered together, as behind one shutter and one gate signal."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["SharedExposure"]

T = TypeVar("T")


class SharedExposure(Generic[T]):
    """Lets each detector join the latest exposure, or begins a new one.

    A detector joins if it has not taken part yet, no detector was read since the exposure began, and nothing has moved.
    So the detectors of one `trigger_and_read` share an exposure, and its time counts once.

    Parameters
    ----------
    begin : callable
        Begins an exposure; its result is what every detector that takes part is given.
    place : callable
        Returns what must be the same throughout an exposure, e.g. the positions of the motors.
    """

    def __init__(self, begin: Callable[[], T], place: Callable[[], Hashable]) -> None:
        self._begin, self._place = begin, place
        self._members: set[str] = set()
        self._latest: tuple[Hashable, T] | None = None

    def join(self, detector: str) -> T:
        """The exposure that the detector of this name takes part in."""
        place = self._place()
        if self._latest is None or self._latest[0] != place or detector in self._members:
            self._members = set()
            self._latest = place, self._begin()
        self._members.add(detector)
        return self._latest[1]

    def close(self) -> None:
        """Let no further detector join the latest exposure: it is being read."""
        self._latest = None
