"""Fly lines of the microprobe over EPICS with ophyd: the IOC flies a line, and its rows are collected as one page.

Importing this module starts a channel access client, which reads the ``EPICS_CA_…`` variables only once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Final

import ophyd
from ophyd import Component, Device, EpicsSignal, EpicsSignalRO, Kind
from ophyd.status import Status
from ophyd.utils import DisconnectedError, WaitTimeoutError

from ebl_autonomy.errors import BadInputError, EblError
from ebl_autonomy.sim_devices.flyer import LineOfRows
from ebl_autonomy.sim_devices.motor import DoneStatus

__all__ = ["EpicsLineFlyer"]

LOOK_S: Final = 0.1
"""Interval at which a thread that waits for the IOC looks whether it is still there, s."""


def _put(suffix: str) -> Any:
    return Component(EpicsSignal, suffix, kind=Kind.omitted, put_complete=True, auto_monitor=False)


def _get(suffix: str, **options: Any) -> Any:
    # Not monitored: a monitor update may arrive after the put completion that is waited for.
    return Component(EpicsSignalRO, suffix, kind=Kind.omitted, auto_monitor=False, **options)


class EpicsLineFlyer(Device):
    """Flies lines through the records of an IOC, as `SimFlyer` does (Flyable, Preparable, EventPageCollectable).

    A row holds the position of every motor and each reading of the detectors that is one number. The arrays are read
    when the line has ended, in a thread of the device, so that a RunEngine never waits for them. If the IOC is lost, or
    another client flies a line of its own, the status of `prepare` or `complete` fails within a second, and there are
    no rows.
    """

    points = _put("NumPoints")
    dwell = _put("Dwell")
    go_to_start = _put("Prepare")
    fly = _put("Fly")
    abort = _put("Abort")
    state = _get("State", string=True)
    message = _get("Message", string=True)
    number = _get("LineNumber")
    points_done = _get("PointsDone")
    most_points = _get("MaxPoints")
    time = _get("Time")

    motors: ClassVar[Sequence[str]] = ()
    """Names of the motors that a line may name."""
    keys: ClassVar[Sequence[str]] = ()
    """Event keys of a row: the positions and the readings."""

    @classmethod
    def of(cls, name: str, prefix: str, motors: Sequence[str], readings: Sequence[str]) -> EpicsLineFlyer:
        """A flyer of these motors that records these readings, each from the array ``<prefix><event key>``."""
        keys = [*motors, *readings]
        ends = {
            f"{what.lower()}_{motor}": _put(f"{motor}:{what}")
            for motor in motors
            for what in ("Flies", "Start", "Stop")
        }
        arrays = {f"array_{key}": _get(key) for key in keys}
        kind = type(f"Epics_{name}", (cls,), {**ends, **arrays, "motors": tuple(motors), "keys": tuple(keys)})
        made: EpicsLineFlyer = kind(prefix, name=name)
        return made

    def __init__(self, prefix: str, *, name: str, **options: Any) -> None:
        super().__init__(prefix, name=name, **options)
        self._before: int | None = None
        """The number of lines that were flown before the prepared one; None if none is prepared."""
        self._flight: Status | None = None
        self._page: dict[str, Any] | None = None

    def prepare(self, value: LineOfRows) -> Any:
        """Put a line, and move to its start.

        Raises
        ------
        BadInputError
            If the line names a motor that the flyer does not move.
        """
        if unknown := sorted({*value.start, *value.stop} - {*self.motors}):
            raise BadInputError(f"the line moves {unknown}, but {self.name} flies {list(self.motors)}")
        self._before = self._flight = self._page = None
        return self._in_thread("prepare", partial(self._go_to_start, value))

    def kickoff(self) -> Any:
        """Start the flight.

        Raises
        ------
        RuntimeError
            If no line was prepared.
        TimeoutError
            If the IOC is not there.
        """
        if self._before is None:
            raise RuntimeError(f"{self.name} was kicked off without a line: call prepare(line) first")
        before, self._before = self._before, None
        flown = self.fly.set(1)
        self._flight = self._in_thread("flight", partial(self._await_rows, flown, before + 1))
        return DoneStatus()

    def complete(self) -> Any:
        """The status of the flight: done when the line is flown and its rows are here, failed if it was stopped."""
        return self._flight if self._flight is not None else DoneStatus()

    def stop(self, *, success: bool = False) -> None:
        """Stop the flight, or the move to the start of a line."""
        self._before = None
        if self.connected:
            self.abort.put(1, use_complete=False)

    def describe_collect(self) -> dict[str, dict[str, Any]]:
        described = {}
        for key in self.keys:
            (key_described,) = getattr(self, f"array_{key}").describe().values()
            unit = {"units": key_described["units"]} if key_described.get("units") else {}
            described[key] = {"source": key_described["source"], "dtype": "number", "shape": [], **unit}
        return {self.name: described}

    def collect_pages(self) -> Iterator[dict[str, Any]]:
        """All rows of the latest flight as one event page; no page if the line was not flown to its end."""
        page, self._page = self._page, None
        if page is not None:
            yield page

    def _go_to_start(self, line: LineOfRows) -> None:
        most = int(self.most_points.get())
        if line.rows > most:
            raise BadInputError(f"a line of {line.rows} rows: {self.name} records {most} at most, make it shorter")
        puts = [self.points.set(line.rows), self.dwell.set(line.seconds / line.rows)]
        for name in self.motors:
            puts.append(getattr(self, f"flies_{name}").set(int(name in line.start)))
            if name in line.start:
                puts.append(getattr(self, f"start_{name}").set(line.start[name]))
                puts.append(getattr(self, f"stop_{name}").set(line.stop[name]))
        for put in puts:
            self._finish(put)
        self._finish(self.go_to_start.set(1))
        self._check_state("Ready", "a line could not be prepared")
        self._before = int(self.number.get())

    def _await_rows(self, flown: Status, number: int) -> None:
        self._finish(flown)
        self._check_state("Done", "a line was cut")
        found = int(self.number.get())
        times = self.time.get()
        columns = {key: getattr(self, f"array_{key}").get() for key in self.keys}
        if found != number or int(self.number.get()) != number:
            raise EblError(
                f"{self.name}: line {number} was flown, but the IOC shows another one: who else flies lines?"
            )
        stamps = [float(stamp) for stamp in _listed(times)]
        self._page = {
            "time": stamps,
            "data": {key: [float(value) for value in _listed(column)] for key, column in columns.items()},
            "timestamps": dict.fromkeys(columns, stamps),
        }

    def _check_state(self, wanted: str, said: str) -> None:
        state = self.state.get()
        if state != wanted:
            raise EblError(
                f"{self.name}: {said}: it is {state!r}, {self.message.get() or 'without a message'} "
                f"({int(self.points_done.get())} points done)"
            )

    def _finish(self, put: Status) -> None:
        """Wait for a put to complete, and raise its error. If the IOC is lost, it may never do so, or only seem to."""
        while not put.done:
            with suppress(WaitTimeoutError):
                put.wait(LOOK_S)
            if not self.fly.connected:
                raise DisconnectedError(f"{self.fly.pvname} is not connected")
        if (error := put.exception(0)) is not None:
            raise error

    def _in_thread(self, what: str, work: Callable[[], None]) -> Status:
        """The status of work that a thread of its own does, because it waits for channel access."""
        status = Status(self)

        def do() -> None:
            try:
                work()
            except EblError as error:
                status.set_exception(error)
            except Exception as error:  # noqa: BLE001 - of channel access, which has many errors for one lost IOC
                said = f"{type(error).__name__}: {error}"
                lost = f"{self.name}: the IOC at {self.prefix!r} was lost during its {what} ({said}): look at the IOC"
                status.set_exception(EblError(lost))
            else:
                status.set_finished()

        thread = ophyd.cl.thread_class(target=do, name=f"{self.name}-{what}", daemon=True)
        thread.start()
        return status


def _listed(column: Any) -> Sequence[Any]:
    """The values of an array; EPICS clients show one of a single value as a number."""
    return list(column) if hasattr(column, "__len__") else [column]
