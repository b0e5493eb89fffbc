"""Along a flown line: one proposal, many rows, for bluesky's Flyables of ophyd and ophyd-async.

The flyers' own documents (event pages, or references to external files) go into a stream of their own, as bluesky has
it. Once the line is over, its rows are recorded in `primary` as one event page, each with the proposal's id and the
number of its raw row: all rows of a line are there, or none.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from bluesky.protocols import (
    EventCollectable,
    EventPageCollectable,
    Flyable,
    NamedMovable,
    Preparable,
    Readable,
    WritesStreamAssets,
)
from bluesky.utils import Msg, MsgGenerator, RunEngineControlException

from ebl_autonomy.errors import BadInputError, DeviceFailedError, LineCutError
from ebl_autonomy.guard import Line
from ebl_autonomy.plans.acquisition.external import default_reader
from ebl_autonomy.plans.acquisition.protocol import Row
from ebl_autonomy.plans.devices import ask, check_devices, read_travel
from ebl_autonomy.plans.recorder import Attempt
from ebl_autonomy.plans.stubs import do_all, settle, stop_all, wait_all
from ebl_autonomy.records import PRIMARY
from ebl_autonomy.space import AxisTravel

__all__ = ["FlyLine", "Sweep", "default_preparation"]

RAW_ROW = "row_in_stream"
"""Event key of `primary`: the sequence number of a row in the flyers' own stream."""
FLUSH_S = 0.5
"""How often the flyers are asked for documents while they fly."""
STOP_S = 5.0
"""How long flyers may take to stop."""

LineMaker = Callable[[Mapping[str, float]], Line]
Preparation = Callable[[Any, Line], Any]
Reader = Callable[[Mapping[str, Any], int, int], Any]


@dataclass(frozen=True)
class Sweep:
    """Makes each proposal a line along one motor: between two positions, or about where the proposal puts the motor.

    Attributes
    ----------
    motor : str
    start, stop : float
        In motor units; distances from the proposed position if `relative`.
    rows : int
    seconds : float
        From start to stop.
    relative : bool
    """

    motor: str
    start: float
    stop: float
    rows: int
    seconds: float
    relative: bool = False

    def __call__(self, point: Mapping[str, float]) -> Line:
        """The line of a proposed point."""
        middle = point[self.motor] if self.relative else 0.0
        ends = {self.motor: middle + self.start}, {self.motor: middle + self.stop}
        return Line(*ends, rows=self.rows, seconds=self.seconds)


class FlyLine:
    """Many rows per proposal, recorded while motors fly; see `Acquisition`.

    Parameters
    ----------
    flyers : sequence of Flyable
        Prepared (those that can be), kicked off in this order, completed and collected: flying motors first, then the
        detectors.
    motors : sequence of motors
        Those that fly, by whose names the lines are written. They may be variables of the VOCS, or contextual
        variables, or neither.
    line : callable
        From the proposed point to the `Line`; see `Sweep`.
    prepare : callable, optional
        From a device and the line to what the device is prepared with; see `default_preparation`.
    stream : str
        For documents of flyers that do not name their stream themselves.
    read_external : callable, optional
        ``read(stream_resource, start, stop)``: the frames ``start`` to ``stop`` of data that flyers wrote into a file;
        HDF5 if not given.
    when_cut : {"abandon", "repeat"}
        What becomes of a line that a pause or a failure cuts. It is abandoned as a whole unless you say that the sample
        may see the beam again.
    timeout_s : float, optional
        Wall seconds for the flight; 30 s and three times the line's seconds if not given.

    Raises
    ------
    BadInputError
        If a flyer cannot fly, or a motor cannot be moved and read.
    """

    kind = "fly line"

    def __init__(
        self,
        flyers: Sequence[Any],
        motors: Sequence[NamedMovable[Any]],
        line: LineMaker,
        *,
        prepare: Preparation | None = None,
        stream: str = "fly",
        read_external: Reader | None = None,
        when_cut: str = "abandon",
        timeout_s: float | None = None,
    ) -> None:
        check_devices([], motors)
        for flyer in flyers:
            if not isinstance(flyer, Flyable):
                raise BadInputError(f"{getattr(flyer, 'name', flyer)!r} ({type(flyer).__name__}) cannot be kicked off")
        if when_cut not in ("abandon", "repeat"):
            raise BadInputError(f"when_cut={when_cut!r}: use 'abandon' or 'repeat'")
        self.motors: Mapping[str, NamedMovable[Any]] = {motor.name: motor for motor in motors}
        self.positions_from_rows = frozenset(self.motors)
        self.rows_per_proposal = int(getattr(line, "rows", 1))
        self.staged: Sequence[Any] = list(flyers)
        self.detectors: Sequence[Readable[Any]] = [
            flyer for flyer in flyers if isinstance(flyer, Readable) and flyer.name not in self.motors
        ]
        self._flyers: list[Any] = list(flyers)
        self._writers: list[Any] = [flyer for flyer in flyers if isinstance(flyer, WritesStreamAssets)]
        self._collectables: list[Any] = [
            flyer
            for flyer in flyers
            if isinstance(flyer, (EventCollectable, EventPageCollectable)) and flyer not in self._writers
        ]
        self._line, self._preparation = line, prepare or default_preparation
        self._stream, self._read_external = stream, read_external or default_reader
        self._when_cut, self._timeout_s = when_cut, timeout_s
        self._axes: dict[str, AxisTravel] = {}
        self._declared_in = ""
        self._resources: dict[str, Mapping[str, Any]] = {}
        """Of the files that flyers write, the documents that name them: a file may hold many lines."""

    def describe(self) -> MsgGenerator[dict[str, Any] | None]:
        """See `Acquisition.describe`; what is written into files is known only once the device is prepared."""
        for name, motor in self.motors.items():
            axis = yield from read_travel(motor)
            if axis is not None:
                self._axes[name] = axis
        if self._writers:
            return None
        keys: dict[str, Any] = {name: {"dtype": "number", "shape": []} for name in self.motors}
        for flyer in self._collectables:
            described: dict[str, Any] = yield from ask(flyer.describe_collect)
            for stream in described.values():
                keys.update(stream)
        return keys

    def line(self, target: Mapping[str, float]) -> Line:
        """See `Acquisition.line`; the way in which motors gain and lose their speed is added."""
        line = self._line(target)
        if line.overrun:
            return line
        overrun = {
            name: 0.5 * self._axes[name].acceleration_s * abs(line.stop[name] - line.start[name]) / line.seconds
            for name in line.start
            if name in self._axes
        }
        return replace(line, overrun=overrun)

    def acquire(self, attempt: Attempt) -> MsgGenerator[list[Row]]:
        """See `Acquisition.acquire`."""
        admitted = attempt.proposal.admitted
        assert admitted is not None
        assert admitted.line is not None
        line, watch = admitted.line, attempt.recorder.watch
        timeout_s = 30.0 + 3.0 * line.seconds if self._timeout_s is None else self._timeout_s
        able: list[Any] = [flyer for flyer in self._flyers if isinstance(flyer, Preparable)]
        ready = {flyer.name: self._preparation(flyer, line) for flyer in able}
        ready = {name: value for name, value in ready.items() if value is not None}
        yield from do_all("prepare", [f for f in self._flyers if f.name in ready], timeout_s, ready)
        attempt.check_uninterrupted()  # nothing has flown yet: the line may be prepared again
        flight: dict[str, Any] = {}
        with watch.capture() as documents:
            try:
                yield from self._fly(attempt, timeout_s, flight)
                attempt.check_uninterrupted()
                readings = self._readings(line, admitted.target, documents, watch.stream_of)
            except RunEngineControlException:
                raise
            except Exception as error:
                yield from stop_all(self._flyers)
                yield from settle(flight, STOP_S)
                interrupted = attempt.recorder.tag.interruptions != attempt.mark
                if self._when_cut == "repeat":
                    raise
                why = "a pause or a suspender" if interrupted else f"{type(error).__name__}: {error}"
                raise LineCutError(f"the line was cut by {why}", interrupted) from error
        return (yield from attempt.record_rows(readings))

    def _fly(self, attempt: Attempt, timeout_s: float, flight: dict[str, Any]) -> MsgGenerator[None]:
        if self._writers and self._declared_in != attempt.recorder.run_uid:
            yield Msg("declare_stream", None, *self._writers, name=self._stream, collect=True)
            self._declared_in = attempt.recorder.run_uid
        for flyer in self._flyers:  # a motor is at its speed before a detector begins
            yield from do_all("kickoff", [flyer], timeout_s)
        yield from wait_all("complete", self._flyers, timeout_s, FLUSH_S, self._collect_written, begun=flight)
        attempt.check_uninterrupted()
        for flyer in self._collectables:
            yield Msg("collect", flyer, stream=False, return_payload=False)

    def _collect_written(self) -> MsgGenerator[None]:
        if self._writers:
            yield Msg("collect", *self._writers, stream=False, return_payload=False, name=self._stream)

    def _readings(
        self,
        line: Line,
        target: Mapping[str, float],
        documents: Sequence[tuple[str, Mapping[str, Any]]],
        stream_of: Callable[[Mapping[str, Any]], str],
    ) -> list[dict[str, Any]]:
        """The readings of each row, from the documents that the flyers emitted."""
        columns, raw = self._columns(documents, stream_of)
        lengths = {key: len(values) for key, values in columns.items()}
        count = max(lengths.values(), default=0)
        if set(lengths.values()) != {count} or count == 0:
            names = [flyer.name for flyer in self._flyers]
            raise DeviceFailedError(names, f"the columns of the line have different lengths: {lengths or 'no data'}")
        for name, positions in line.positions().items():
            if name not in columns:
                if len(positions) != count:
                    raise DeviceFailedError(
                        [name], f"{count} of {line.rows} rows were recorded, and no flyer recorded where {name} was"
                    )
                columns[name] = positions
        return [
            {
                **{name: float(value) for name, value in target.items()},
                **{key: _plain(values[i]) for key, values in columns.items()},
                RAW_ROW: raw[i] if i < len(raw) else i + 1,
            }
            for i in range(count)
        ]

    def _columns(
        self, documents: Sequence[tuple[str, Mapping[str, Any]]], stream_of: Callable[[Mapping[str, Any]], str]
    ) -> tuple[dict[str, list[Any]], list[int]]:
        """What the flyers recorded, by event key, and the sequence numbers of the rows."""
        columns: dict[str, list[Any]] = {}
        raw: set[int] = set()
        for name, doc in documents:
            if name == "event_page" and stream_of(doc) != PRIMARY:
                raw.update(doc["seq_num"])
                for key, values in doc["data"].items():
                    columns.setdefault(key, []).extend(values)
            elif name == "stream_resource":
                self._resources[doc["uid"]] = doc
            elif name == "stream_datum":
                resource = self._resources[doc["stream_resource"]]
                start, stop = doc["indices"]["start"], doc["indices"]["stop"]
                columns.setdefault(resource["data_key"], []).extend(self._read_external(resource, start, stop))
                raw.update(range(doc["seq_nums"]["start"], doc["seq_nums"]["stop"]))
        return columns, sorted(raw)


def default_preparation(device: Any, line: Line) -> Any:
    """What a device is prepared with for a line; None if it needs nothing.

    An ophyd-async motor that flies takes `FlyMotorInfo`, an ophyd-async detector a `TriggerInfo` of one event per row
    by its own clock, and everything else the `Line` itself.
    """
    if not type(device).__module__.startswith("ophyd_async") and not _is_ophyd_async(device):
        return line
    from ophyd_async.core import FlyMotorInfo, StandardDetector, TriggerInfo

    if isinstance(device, StandardDetector):
        return TriggerInfo(number_of_events=line.rows, livetime=line.seconds / line.rows)
    if device.name in line.start:
        start, stop = line.start[device.name], line.stop[device.name]
        return FlyMotorInfo(start_position=start, end_position=stop, time_for_move=line.seconds)
    return line


def _is_ophyd_async(device: Any) -> bool:
    return any(base.__module__.startswith("ophyd_async.") for base in type(device).__mro__)


def _plain(value: Any) -> Any:
    """A reading as Python's own number or text; arrays stay as they are."""
    array = np.asarray(value)
    if array.ndim and array.size != 1:
        return array
    item = array.reshape(-1)[0].item()
    return float(item) if isinstance(item, (int, float)) and not isinstance(item, bool) else item
