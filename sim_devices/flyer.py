"""A motor that flies a line while a detector reads: bluesky's Flyable over simulated devices, with event pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ophyd.status import Status

from ebl_autonomy.sim_devices.clock import Clock
from ebl_autonomy.sim_devices.motor import DoneStatus, SimMotor

__all__ = ["SimFlyer"]


class LineOfRows(Protocol):
    """What the flyer is prepared with; `ebl_autonomy.guard.Line` is one.

    Attributes
    ----------
    start, stop : mapping of str to float
        Positions by motor name.
    rows : int
    seconds : float
        Simulated, from start to stop.
    """

    start: Mapping[str, float]
    stop: Mapping[str, float]
    rows: int
    seconds: float


class SimFlyer:
    """Reads a detector while a motor moves at constant speed (bluesky Flyable, Preparable, EventPageCollectable).

    A row holds the motor's readback in the middle of its share of the line, and the detector's readings there.

    Parameters
    ----------
    name : str
        Also the name of the stream.
    motor : SimMotor
    detector : device
        With ``trigger`` and ``read``; its trigger is done at once on a clock that does not wait.
    clock : Clock
        The beamline's: on one that waits, the flight takes its time in a thread of its own.
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
        """Go to the start of a line; raises ophyd's LimitError if an end of it is outside the motor's limits."""
        for end in (value.start, value.stop):
            self.motor.check_value(end[self.motor.name])
        self._line, self._rows, self._flight = value, [], None
        self._stopped = threading.Event()
        return self.motor.set(value.start[self.motor.name])

    def kickoff(self) -> Any:
        """Begin to fly; raises RuntimeError if no line was prepared."""
        if self._line is None:
            raise RuntimeError(f"{self.name} was kicked off without a line: prepare it first")
        line, self._line = self._line, None
        if not self._clock.waits:
            self._fly(line)
            return DoneStatus()
        self._flight = Status(self)
        threading.Thread(target=self._fly_in_time, args=(line, self._flight), name=f"{self.name}-flight").start()
        return DoneStatus()

    def complete(self) -> Any:
        """Done when the line has been flown, or has failed because the flyer was stopped."""
        return self._flight if self._flight is not None else DoneStatus()

    def stop(self, *, success: bool = False) -> None:
        """Cut the flight."""
        self._stopped.set()

    def describe_collect(self) -> dict[str, dict[str, Any]]:
        return {self.name: {**self.motor.describe(), **self.detector.describe()}}

    def collect_pages(self) -> Iterator[dict[str, Any]]:
        """All rows of the latest flight, as one page; nothing if it has none."""
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
        if self._fly(line):
            flight.set_finished()
        else:
            flight.set_exception(RuntimeError(f"{self.name} was stopped after {len(self._rows)} of {line.rows} rows"))

    def _fly(self, line: LineOfRows) -> bool:
        """Record the rows; False if the flight was cut."""
        start, stop = line.start[self.motor.name], line.stop[self.motor.name]
        for i in range(line.rows):
            wait = self._clock.spend(line.seconds / line.rows)
            if self._stopped.wait(wait) if wait else self._stopped.is_set():
                return False
            self.motor.place(start + (stop - start) * (i + 0.5) / line.rows)
            self.detector.trigger()
            self._rows.append({**self.motor.read(), **self.detector.read()})
        self.motor.place(stop)
        return True
