"""A simulated flyer: motors fly a line while detectors read, and the rows are collected as an event page."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, Protocol

from ophyd.status import Status

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.sim_devices.clock import Clock
from ebl_autonomy.sim_devices.motor import DoneStatus, SimMotor

__all__ = ["LineOfRows", "SimFlyer", "check_line", "section", "trigger_all"]

EXPOSURE_S = 60.0
"""Wall seconds that an exposure may take."""
TOO_FAST = 1e-6
"""Relative excess over a motor's velocity that counts as rounding."""

ExposeSection = Callable[[float, Mapping[str, float], Mapping[str, float]], None]


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

    @property
    def start(self) -> Mapping[str, float]: ...
    @property
    def stop(self) -> Mapping[str, float]: ...
    @property
    def rows(self) -> int: ...
    @property
    def seconds(self) -> float: ...


class SimFlyer:
    """Reads detectors while motors move at constant speed (bluesky Flyable, Preparable, EventPageCollectable).

    The line is divided into one equal section per row. A row holds the readbacks in the middle of its section, and the
    detectors' readings there. The motors that the line does not name stand still; every row holds their positions too.
    Before the first row and after the last one, the flight takes the time in which the motors reach their speed.

    Parameters
    ----------
    name : str
        Device name, and name of the stream.
    motor : SimMotor or sequence of SimMotor
        Motors that a line may name. Two of them fly oblique lines.
    detector : device or sequence of devices
        They have ``trigger`` and ``read``. On a clock that does not wait, their triggers are done at once.
    clock : Clock
        The beamline's clock. If it waits, the flight runs in its own thread and takes wall time.
    expose : callable, optional
        ``expose(seconds, start, stop)`` exposes all detectors for one row, whose section of the line takes `seconds`
        and reaches from `start` to `stop` (positions by motor name). By default each detector is triggered, with the
        exposure time of its own.
    """

    parent = None

    def __init__(
        self,
        name: str,
        motor: SimMotor | Sequence[SimMotor],
        detector: Any,
        clock: Clock,
        expose: ExposeSection | None = None,
    ) -> None:
        self.name = name
        self.motors = [motor] if isinstance(motor, SimMotor) else list(motor)
        self.detectors: list[Any] = list(detector) if isinstance(detector, (list, tuple)) else [detector]
        self._clock = clock
        self._expose = expose or (lambda seconds, start, stop: trigger_all(self.detectors))
        self._line: LineOfRows | None = None
        self._rows: list[dict[str, Any]] = []
        self._flight: Status | None = None
        self._stopped = threading.Event()

    @property
    def rows_done(self) -> int:
        """Rows of the latest flight that are recorded and not collected yet."""
        return len(self._rows)

    def prepare(self, value: LineOfRows) -> Any:
        """Move to the start of a line.

        Raises
        ------
        LimitError
            If an end of the line lies outside a motor's limits (ophyd's error).
        BadInputError
            If the line names a motor that the flyer does not move, or is faster than a motor can move.
        """
        check_line(self.name, value, self.motors)
        self._line, self._rows, self._flight = value, [], None
        self._stopped = threading.Event()
        moves = [motor.set(value.start[motor.name]) for motor in self._flying(value)]
        waiting = [move for move in moves if not isinstance(move, DoneStatus)]
        return reduce(operator.and_, waiting) if waiting else DoneStatus()

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
        keys: dict[str, Any] = {}
        for device in (*self.motors, *self.detectors):
            keys.update(device.describe())
        return {self.name: keys}

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
        ramp = max(motor.acceleration for motor in self._flying(line))
        if not self._pass(ramp):
            return False
        for row in range(line.rows):
            if not self._pass(line.seconds / line.rows):
                return False
            start, middle, stop = section(line, row)
            self._place(middle)
            self._expose(line.seconds / line.rows, start, stop)
            readings: dict[str, Any] = {}
            for device in (*self.motors, *self.detectors):
                readings.update(device.read())
            self._rows.append(readings)
        self._place(line.stop)
        return self._pass(ramp)

    def _pass(self, seconds: float) -> bool:
        """Let simulated seconds pass; False if the flight was stopped."""
        wait = self._clock.spend(seconds)
        return not (self._stopped.wait(wait) if wait else self._stopped.is_set())

    def _flying(self, line: LineOfRows) -> list[SimMotor]:
        return [motor for motor in self.motors if motor.name in line.start]

    def _place(self, positions: Mapping[str, float]) -> None:
        for motor in self.motors:
            if motor.name in positions:
                motor.place(positions[motor.name])


def section(line: LineOfRows, row: int) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Beginning, middle and end of the section of one row (counted from 0): positions by motor name."""

    def at(share: float) -> dict[str, float]:
        return {name: first + (line.stop[name] - first) * share / line.rows for name, first in line.start.items()}

    return at(row), at(row + 0.5), at(row + 1.0)


def check_line(flyer: str, line: LineOfRows, motors: Sequence[SimMotor]) -> None:
    """Check that the motors of a flyer can fly a line; see `SimFlyer.prepare` for the errors."""
    if unknown := sorted({*line.start, *line.stop} - {motor.name for motor in motors}):
        raise BadInputError(f"the line moves {unknown}, but {flyer} flies {[motor.name for motor in motors]}")
    for motor in motors:
        if motor.name not in line.start:
            continue
        start, stop = line.start[motor.name], line.stop[motor.name]
        for end in (start, stop):
            motor.check_value(end)
        if (speed := abs(stop - start) / line.seconds) > motor.velocity * (1.0 + TOO_FAST):
            raise BadInputError(
                f"the line from {start} to {stop} in {line.seconds} s needs {speed:g} {motor.egu}/s, but {motor.name} "
                f"moves at most {motor.velocity:g} {motor.egu}/s: give the line more seconds"
            )


def trigger_all(detectors: Sequence[Any]) -> None:
    """Trigger detectors and wait for them."""
    exposures = [detector.trigger() for detector in detectors]
    for exposure in exposures:
        if exposure is not None:
            exposure.wait(timeout=EXPOSURE_S)
