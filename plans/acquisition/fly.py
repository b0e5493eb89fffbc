"""Along a flown line: many rows per proposal, with bluesky Flyables of ophyd and ophyd-async.

The flyers' own documents (event pages, or references to external files) go into a separate stream, as usual in bluesky.
After the line, its rows are recorded in `primary` as one event page, each with the proposal's id and the number of its
raw row. The page holds all rows of the line, or is not emitted.
"""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

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

from ebl_autonomy.errors import BadInputError, DeviceFailedError, LineCutError, OffTargetError, UserFunctionError
from ebl_autonomy.guard import Line
from ebl_autonomy.plans.acquisition.external import default_reader
from ebl_autonomy.plans.acquisition.protocol import Row
from ebl_autonomy.plans.attempt import Attempt
from ebl_autonomy.plans.devices import ask, check_devices, describe, read_travel
from ebl_autonomy.plans.failures import blaming, devices_of
from ebl_autonomy.plans.motion import READBACK_S, READBACK_STEP_S
from ebl_autonomy.plans.queueing import refuse_names
from ebl_autonomy.plans.readbacks import position_key
from ebl_autonomy.plans.stubs import do_all, settle, stop_all, wait_all
from ebl_autonomy.plans.user_functions import called
from ebl_autonomy.records import OUR_STREAMS, PRIMARY
from ebl_autonomy.space import AxisTravel

__all__ = ["FlyLine", "default_preparation"]

RAW_ROW = "row_in_stream"
"""Event key of `primary`: the sequence number of a row in the flyers' own stream."""
FLUSH_S = 0.5
"""Interval at which documents are collected from the flyers during a flight, s."""
STOP_S = 5.0
"""Longest time that flyers may take to stop, s."""

LineMaker = Callable[[Mapping[str, float]], Line]
Preparation = Callable[[Any, Line], Any]
Reader = Callable[[Mapping[str, Any], int, int], Any]


class FlyLine:
    """Many rows per proposal, recorded while motors fly; see `Acquisition`.

    Parameters
    ----------
    flyers : sequence of Flyable
        Devices to prepare (if they can be prepared), kick off in this order, complete and collect. Give flying motors
        first, then detectors.
    motors : sequence of motors
        The flying motors, whose names the lines use. They may be variables of the VOCS, contextual variables, or
        neither.
    line : callable
        Maps the proposed point to a `Line`; see `Sweep`. It may be called more than once for the same point, so the
        line must depend on the point alone.
    prepare : callable, optional
        Maps a device and the line to the value that the device is prepared with, or to an awaitable of it; see
        `default_preparation`.
    stream : str
        Name of the stream for flyers that do not name their stream themselves.
    read_external : callable, optional
        ``read(stream_resource, start, stop)`` returns the frames ``start`` to ``stop`` of data that flyers wrote to a
        file. The default reads HDF5.
    when_cut : {"abandon", "repeat"}
        Whether a line that a pause or a failure cuts is abandoned as a whole or flown again. Repeating it exposes the
        sample to the beam again.
    timeout_s : float, optional
        Wall seconds that a flight may take; by default 30 s plus three times the line's seconds.

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
        refuse_names("flyers", flyers)
        check_devices([], motors)
        for flyer in flyers:
            if not isinstance(flyer, Flyable):
                raise BadInputError(f"{getattr(flyer, 'name', flyer)!r} ({type(flyer).__name__}) cannot be kicked off")
        if stream in OUR_STREAMS:
            raise BadInputError(f"stream={stream!r}: the run itself uses this name, choose another")
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
        self._position_keys: dict[str, str] = {}
        """The reading that is the position of each motor whose reading has another name."""
        self._declared_in = ""
        self._resources: dict[str, Mapping[str, Any]] = {}
        """The `stream_resource` documents by uid; one file may hold many lines."""

    def describe(self) -> MsgGenerator[dict[str, Any] | None]:
        """See `Acquisition.describe`; the keys of external files are known only after the device is prepared."""
        for name, motor in self.motors.items():
            axis = yield from read_travel(motor)
            if axis is not None:
                self._axes[name] = axis
            key = position_key(motor, (yield from describe([cast(Readable[Any], motor)])))
            if key is not None and key != name:
                self._position_keys[name] = key
        self._resources.clear()
        if self._writers:
            return None
        keys: dict[str, Any] = {name: {"dtype": "number", "shape": []} for name in self.motors}
        for flyer in self._collectables:
            described: dict[str, Any] = yield from ask(flyer.describe_collect)
            if taken := sorted(OUR_STREAMS & set(described)):
                raise BadInputError(
                    f"flyer {flyer.name!r} writes the streams {taken}, whose names the run itself uses: rename them"
                )
            for stream in described.values():
                keys.update(stream)
        return keys

    def line(self, target: Mapping[str, float]) -> Line:
        """See `Acquisition.line`; adds the distances over which the motors accelerate and decelerate."""
        line = called("line= of FlyLine", self._line, target)
        if strangers := sorted(set(line.start) - set(self.motors)):
            raise BadInputError(f"the line moves {strangers}, which are not among motors= {sorted(self.motors)}")
        if line.overrun:
            return line
        overrun = {
            name: 0.5 * self._axes[name].acceleration_s * abs(line.stop[name] - line.start[name]) / line.seconds
            for name in line.start
            if name in self._axes
        }
        return replace(line, overrun=overrun)

    def acquire(self, attempt: Attempt, kept: Collection[str] | None = None) -> MsgGenerator[list[Row]]:
        """See `Acquisition.acquire`; of the readings, only those under the keys `kept` are recorded, if it is given."""
        admitted = attempt.proposal.admitted
        assert admitted is not None
        assert admitted.line is not None
        line, watch = admitted.line, attempt.recorder.watch
        timeout_s = 30.0 + 3.0 * line.seconds if self._timeout_s is None else self._timeout_s
        able: list[Any] = [flyer for flyer in self._flyers if isinstance(flyer, Preparable)]
        ready: dict[str, Any] = {}
        for flyer in able:
            value = yield from ask(partial(called, "prepare= of FlyLine", self._preparation, flyer, line))
            if value is not None:
                ready[flyer.name] = value
        flight: dict[str, Any] = {}
        try:
            yield from do_all("prepare", [f for f in self._flyers if f.name in ready], timeout_s, ready)
        except Exception:
            yield from self._stop(flight)
            raise
        attempt.check_uninterrupted()  # nothing has flown yet, so the line may be prepared again
        with watch.capture() as documents:
            try:
                yield from self._fly(attempt, timeout_s, flight)
                attempt.check_uninterrupted()
                yield from attempt.motion.find()
                still = {name: attempt.motion.here[name] for name in admitted.target if name not in line.start}
                columns, raw = self._columns(documents, watch.stream_of)
                readings = self._readings(line, still, columns, raw)
                attempt.readings = readings
                attempt.check_targets(still)
                yield from _check_ends(attempt, line, set(line.start) - set(columns))
            except (RunEngineControlException, UserFunctionError):
                yield from self._stop(flight)  # otherwise the motors fly on after the run, and against the move back
                raise
            except Exception as error:
                yield from self._stop(flight)
                interrupted = attempt.recorder.tag.interruptions != attempt.mark
                if self._when_cut == "repeat":
                    raise
                why = "a pause or a suspender" if interrupted else f"{type(error).__name__}: {error}"
                raise LineCutError(f"the line was cut by {why}", interrupted, devices_of(error)) from error
        if kept is not None:
            readings = [{key: value for key, value in reading.items() if key in kept} for reading in readings]
        return (yield from attempt.record_rows(readings))

    def _fly(self, attempt: Attempt, timeout_s: float, flight: dict[str, Any]) -> MsgGenerator[None]:
        if self._writers and self._declared_in != attempt.recorder.run_uid:
            yield Msg("declare_stream", None, *self._writers, name=self._stream, collect=True)
            self._declared_in = attempt.recorder.run_uid
        attempt.expose()
        for flyer in self._flyers:  # motors reach their speed before the detectors start
            yield from do_all("kickoff", [flyer], timeout_s)
        yield from wait_all("complete", self._flyers, timeout_s, FLUSH_S, self._collect_written, begun=flight)
        attempt.check_uninterrupted()
        for flyer in self._collectables:
            with blaming(flyer, "its rows cannot be collected"):
                yield Msg("collect", flyer, stream=False, return_payload=False)

    def _stop(self, flight: Mapping[str, Any]) -> MsgGenerator[None]:
        """Stop the flyers, and the motors that a flyer may have left moving."""
        yield from stop_all([*self._flyers, *(m for m in self.motors.values() if m not in self._flyers)])
        yield from settle(flight, STOP_S)

    def _collect_written(self) -> MsgGenerator[None]:
        if self._writers:
            yield Msg("collect", *self._writers, stream=False, return_payload=False, name=self._stream)

    def _readings(
        self,
        line: Line,
        still: Mapping[str, float],
        columns: Mapping[str, list[Any]],
        raw: Sequence[int],
    ) -> list[dict[str, Any]]:
        """The readings of each row, from what the flyers recorded and the positions of motors that stood `still`."""
        lengths = {key: len(values) for key, values in columns.items()}
        count = max(lengths.values(), default=0)
        names = [flyer.name for flyer in self._flyers]
        if set(lengths.values()) - {count}:
            raise DeviceFailedError(names, f"the columns of the line have different lengths: {lengths}")
        if count != line.rows:
            raise DeviceFailedError(names, f"{count} rows were recorded, but the line has {line.rows}")
        columns = {**line.positions(), **columns}
        return [
            {
                **still,
                **{key: _plain(values[i]) for key, values in columns.items()},
                RAW_ROW: raw[i] if i < len(raw) else i + 1,
            }
            for i in range(count)
        ]

    def _columns(
        self, documents: Sequence[tuple[str, Mapping[str, Any]]], stream_of: Callable[[Mapping[str, Any]], str]
    ) -> tuple[dict[str, list[Any]], list[int]]:
        """The recorded values by event key, and the sequence numbers of the rows in the flyers' stream."""
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
                frames = called("read_external= of FlyLine", self._read_external, resource, start, stop)
                columns.setdefault(resource["data_key"], []).extend(frames)
                raw.update(range(doc["seq_nums"]["start"], doc["seq_nums"]["stop"]))
        for name, key in self._position_keys.items():
            if name not in columns and key in columns:
                columns[name] = columns[key]
        return columns, sorted(raw)


def _check_ends(attempt: Attempt, line: Line, assumed: Collection[str]) -> MsgGenerator[None]:
    """Check that the motors whose positions no flyer reports have flown to the end of the line.

    Raises
    ------
    OffTargetError
        If a motor has stopped before the end by more than its tolerance and one section of the line.
    """
    motion = attempt.motion

    def is_short(name: str) -> bool:
        length = line.stop[name] - line.start[name]
        left = math.copysign(1.0, length) * (line.stop[name] - motion.here[name])
        return left > max(motion.tolerances.of(name, line.stop[name]) or 0.0, abs(length) / line.rows)

    deadline = time.monotonic() + READBACK_S
    while short := [name for name in sorted(assumed) if is_short(name)]:
        if time.monotonic() >= deadline:
            said = "; ".join(f"{name} reads {motion.here[name]!r}, not {line.stop[name]!r}" for name in short)
            raise OffTargetError(
                short,
                f"at the end of the line {said}, and no flyer reports where the rows were: look at the motor, or "
                "record its positions",
            )
        yield Msg("sleep", None, READBACK_STEP_S)
        yield from motion.find()


def default_preparation(device: Any, line: Line) -> Any:
    """The value that a device is prepared with for a line, or an awaitable of it.

    A flying ophyd-async motor gets a `FlyMotorInfo`. An ophyd-async detector gets a `TriggerInfo` with one internally
    triggered event per row: its exposure and its dead time together take as long as the motors take for the row. Any
    other device gets the `Line` itself.
    """
    if not type(device).__module__.startswith("ophyd_async") and not _is_ophyd_async(device):
        return line
    from ophyd_async.core import FlyMotorInfo, StandardDetector

    if isinstance(device, StandardDetector):
        return _trigger_info(device, line)
    if device.name in line.start:
        start, stop = line.start[device.name], line.stop[device.name]
        return FlyMotorInfo(start_position=start, end_position=stop, time_for_move=line.seconds)
    return line


async def _trigger_info(detector: Any, line: Line) -> Any:
    """See `default_preparation`.

    Raises
    ------
    BadInputError
        If the detector is dead for longer than a row takes.
    """
    from ophyd_async.core import TriggerInfo

    if getattr(detector, "_trigger_logic", None) is None:  # no public attribute tells that it refuses times
        return TriggerInfo(number_of_events=line.rows)
    row_s = line.seconds / line.rows
    _, dead_s = await detector.get_trigger_deadtime()
    dead_s = dead_s or 0.0
    if dead_s >= row_s:
        raise BadInputError(
            f"a row of the line takes {row_s:g} s, but {detector.name} is dead for {dead_s:g} s after each exposure: "
            "give the line more seconds, or fewer rows"
        )
    return TriggerInfo(number_of_events=line.rows, livetime=row_s - dead_s, deadtime=dead_s)


def _is_ophyd_async(device: Any) -> bool:
    return any(base.__module__.startswith("ophyd_async.") for base in type(device).__mro__)


def _plain(value: Any) -> Any:
    """A reading as a Python number or string; arrays are returned unchanged."""
    array = np.asarray(value)
    if array.ndim and array.size != 1:
        return array
    item = array.reshape(-1)[0].item()
    return float(item) if isinstance(item, (int, float)) and not isinstance(item, bool) else item
