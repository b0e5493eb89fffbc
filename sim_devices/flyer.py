"""A simulated flyer: a motor flies a line while a detector reads, and the rows are collected as an event page."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ophyd.status import Status

from ebl_autonomy.sim_devices.clock import Clock
from ebl_autonomy.sim_devices.motor import DoneStatus, SimMotor

__all__ = ["SimFlyer"]

EXPOSURE_S = 60.0
"""Wall seconds that an exposure may take."""


class LineOfRows(Protocol):
    """The line that the flyer is prepared with, e.g. an `ebl_autonomy.guard.Line`.

    Attributes
    ----------
    start, stop : mapping of str to float
        Positions by motor name.
    rows : int
        Rows to record on the line.
    seconds : float
        Simulated seconds from start to stop.
    """

    start: Mapping[str, float]
    stop: Mapping[str, float]
    rows: int
    seconds: float


class SimFlyer:
    """Reads a detector while a motor moves at constant speed (bluesky Flyable, Preparable, EventPageCollectable).

    The line is divided into one equal segment per row. A row holds the readback in the middle of its segment, and the
    detector's readings there.

    Parameters
    ----------
    name : str
        Device name, and name of the stream.
    motor : SimMotor
    detector : device
        Has ``trigger`` and ``read``. On a clock that does not wait, its trigger is done at once.
    clock : Clock
        The beamline's clock. If it waits, the flight runs in its own thread and takes wall time.
    """

    parent = None

    def __init__(self, name: str, motor: SimMotor, detector: Any, clock: Clock) -> None:
        self.name = name
        self.motor, self.detector = motor, detector
        self._clock = clock
        self._line: LineOfRows | None = None
        self._rows: list[dict[str, Any]] = []
        self._flight: Status | None = None
        self._stopped = threading.Event()

    def prepare(self, value: LineOfRows) -> Any:
        """Move to the start of a line.

        Raises
        ------
        LimitError
            If an end of the line lies outside the motor's limits (ophyd's error).
        """
        for end in (value.start, value.stop):
            self.motor.check_value(end[self.motor.name])
        self._line, self._rows, self._flight = value, [], None
        self._stopped = threading.Event()
        return self.motor.set(value.start[self.motor.name])

    def kickoff(self) -> Any:
        """Start the flight.

        Raises
        ------
        RuntimeError
            If no line was prepared.
        """
        if self._line is None:
            raise RuntimeError(f"{self.name} was kicked off without a line: call prepare(line) first")
        line, self._line = self._line, None
        if not self._clock.waits:
            self._fly(line)
            return DoneStatus()
        self._flight = Status(self)
        threading.Thread(target=self._fly_in_time, args=(line, self._flight), name=f"{self.name}-flight").start()
        return DoneStatus()

    def complete(self) -> Any:
        """The status of the flight: done when the line is flown, failed if the flyer was stopped."""
        return self._flight if self._flight is not None else DoneStatus()

    def stop(self, *, success: bool = False) -> None:
        """Stop the flight."""
        self._stopped.set()

    def describe_collect(self) -> dict[str, dict[str, Any]]:
        return {self.name: {**self.motor.describe(), **self.detector.describe()}}

    def collect_pages(self) -> Iterator[dict[str, Any]]:
        """All rows of the latest flight as one event page; no page if there are no rows."""
        rows, self._rows = self._rows, []
        if not rows:
            return
        keys = list(rows[0])
        yield {
            "time": [max(item["timestamp"] for item in row.values()) for row in rows],
            "data": {key: [row[key]["value"] for row in rows] for key in keys},
            "timestamps": {key: [row[key]["timestamp"] for row in rows] for key in keys},
        }

    def _fly_in_time(self, line: LineOfRows, flight: Status) -> None:
        try:
            flown = self._fly(line)
        except Exception as error:  # noqa: BLE001 - the flight's status carries it to whoever waits
            flight.set_exception(error)
            return
        if flown:
            flight.set_finished()
        else:
            flight.set_exception(RuntimeError(f"{self.name} was stopped after {len(self._rows)} of {line.rows} rows"))

    def _fly(self, line: LineOfRows) -> bool:
        """Record the rows; False if the flight was stopped."""
        start, stop = line.start[self.motor.name], line.stop[self.motor.name]
        for i in range(line.rows):
            wait = self._clock.spend(line.seconds / line.rows)
            if self._stopped.wait(wait) if wait else self._stopped.is_set():
                return False
            self.motor.place(start + (stop - start) * (i + 0.5) / line.rows)
            exposure = self.detector.trigger()
            if exposure is not None:
                exposure.wait(timeout=EXPOSURE_S)
            self._rows.append({**self.motor.read(), **self.detector.read()})
        self.motor.place(stop)
        return True
