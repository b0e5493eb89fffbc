"""The IOC's records of a flown line: where it goes, kickoff and abort, progress, and an array for each reading."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from caproto import ChannelType
from caproto.server import PVGroup, pvproperty

from ebl_autonomy.sim_devices.flyer import SimFlyer, check_line
from ebl_autonomy.sim_devices.ioc_motor import TICK_S, MotorRecord
from ebl_autonomy.sim_devices.statuses import finished

__all__ = ["LineRecords"]

STATES: Final = ["Idle", "Preparing", "Ready", "Flying", "Done", "Aborted", "Failed"]
MOST_POINTS: Final = 10_000
MOST_LETTERS: Final = 512
DONE_PERIOD_S: Final = 5 * TICK_S
"""Wall seconds between two updates of the number of points done."""


@dataclass(frozen=True)
class ToldLine:
    """The line that a client has put; see `ebl_autonomy.sim_devices.flyer.LineOfRows`. Dial coordinates."""

    start: Mapping[str, float]
    stop: Mapping[str, float]
    rows: int
    seconds: float


def line_records(prefix: str, flyer: SimFlyer) -> PVGroup:
    """The records of each motor of the flyer, and an array for each of its readings that is a number."""
    properties: dict[str, Any] = {}
    for motor in flyer.motors:
        name = motor.name
        properties[f"flies_{name}"] = pvproperty(value=0, name=f"{name}:Flies")
        properties[f"start_{name}"] = pvproperty(value=0.0, name=f"{name}:Start", units=motor.egu, precision=5)
        properties[f"stop_{name}"] = pvproperty(value=0.0, name=f"{name}:Stop", units=motor.egu, precision=5)
    array: dict[str, Any] = {"value": [0.0], "max_length": MOST_POINTS, "dtype": ChannelType.DOUBLE, "read_only": True}
    for key, spec in flyer.describe_collect()[flyer.name].items():
        if spec["dtype"] == "number":
            properties[f"array_{key}"] = pvproperty(name=key, units=spec.get("units", ""), precision=6, **array)
    properties["time"] = pvproperty(name="Time", units="s", precision=6, **array)
    made: PVGroup = type("LineArrays", (PVGroup,), properties)(prefix)
    return made


class LineRecords(PVGroup):
    """The records of a line that motors fly while all detectors count.

    A client puts the line: for each motor Flies (1, or 0 for one that stands still), Start and Stop; NumPoints, and
    Dwell, the simulated seconds for each point. A put of 1 to Prepare completes when the motors stand at the start, and
    a put of 1 to Fly when the line has ended; State and Message then tell how. A put of 0 to Fly, or of 1 to Abort,
    ends the line, and so does a put to a motor that flies. LineNumber counts the lines, and PointsDone the points of
    this one. When the line has ended, the arrays hold a value for each point done: one array for each reading, with
    its event key as the name, and Time (seconds since 1970).

    Parameters
    ----------
    prefix : str
    flyer : SimFlyer
        Flies the line.
    motors : mapping of str to MotorRecord
        The records of the flyer's motors, by the motor's name.
    """

    points = pvproperty(value=1, name="NumPoints")
    dwell = pvproperty(value=0.1, name="Dwell", units="s", precision=6)
    go_to_start = pvproperty(value=0, name="Prepare")
    fly = pvproperty(value=0, name="Fly")
    abort = pvproperty(value=0, name="Abort")
    state = pvproperty(value=STATES[0], name="State", dtype=ChannelType.ENUM, enum_strings=STATES, read_only=True)
    message = pvproperty(value="", name="Message", dtype=ChannelType.CHAR, max_length=MOST_LETTERS, read_only=True)
    number = pvproperty(value=0, name="LineNumber", read_only=True)
    done = pvproperty(value=0, name="PointsDone", read_only=True)
    most = pvproperty(value=MOST_POINTS, name="MaxPoints", read_only=True)

    def __init__(self, prefix: str, flyer: SimFlyer, motors: Mapping[str, MotorRecord]) -> None:
        super().__init__(prefix)
        self._flyer, self._motors = flyer, motors
        self._arrays = line_records(prefix, flyer)
        self.pvdb.update(self._arrays.pvdb)
        self._line: ToldLine | None = None
        self._flight: asyncio.Task[None] | None = None
        self.go_to_start.putter = self._prepare
        self.fly.putter = self._fly
        self.abort.putter = self._abort

    async def prepare(self) -> None:
        """Let the motors fly nowhere, from where they stand."""
        for name in self._motors:
            for end in ("start", "stop"):
                await self._of(end, name).write(self._position(name))

    async def _prepare(self, instance: Any, value: int) -> int:
        if not value or self.state.value in ("Preparing", "Flying"):
            return 0
        await instance.write(1, verify_value=False)
        self._line = None
        await self.done.write(0)
        await self._show("Preparing")
        try:
            line = self._told()
            starts = {name: self._of("start", name).value for name in line.start}
            there = await asyncio.gather(*(self._motors[name].move(start) for name, start in starts.items()))
        except ValueError as error:  # bad input and positions beyond the limits are such errors too
            await self._show("Failed", str(error))
        else:
            if all(there):
                self._line = line
                await self._show("Ready")
            else:
                late = [name for name, is_there in zip(starts, there, strict=True) if not is_there]
                await self._show("Aborted", f"{' and '.join(late)} stopped on the way to the start")
        return 0

    def _told(self) -> ToldLine:
        """The line that the client has put; raises a ValueError if it cannot be flown."""
        flying = [name for name in self._motors if self._of("flies", name).value]
        rows, dwell = int(self.points.value), float(self.dwell.value)
        if not flying:
            raise ValueError(f"no motor flies: put 1 to Flies of one of {list(self._motors)}")
        if not 1 <= rows <= MOST_POINTS:
            raise ValueError(f"NumPoints={rows}: give 1 to {MOST_POINTS}")
        if not 0.0 < dwell < math.inf:
            raise ValueError(f"Dwell={dwell}: give a positive number of seconds")
        ends: dict[str, dict[str, float]] = {}
        for end in ("start", "stop"):
            for name in flying:
                self._motors[name].check(self._of(end, name).value)
            ends[end] = {name: self._motors[name].dial(self._of(end, name).value) for name in flying}
        line = ToldLine(**ends, rows=rows, seconds=rows * dwell)
        check_line(self._flyer.name, line, self._flyer.motors)
        return line

    async def _fly(self, instance: Any, value: int) -> int:
        if not value:
            self._flyer.stop()
            return 0
        line, self._line = self._line, None
        if line is None:
            if self.state.value != "Flying":
                await self._show("Failed", "no line is prepared: put 1 to Prepare first")
            return int(self.state.value == "Flying")
        await instance.write(1, verify_value=False)
        await self.number.write(self.number.value + 1)
        await self.done.write(0)
        await self._show("Flying")
        self._flight = asyncio.create_task(self._fly_line(line))
        followers = [self._motors[name].follow(self._flight, self._flyer.stop) for name in line.start]
        # Not cancelled with the put of a client that disconnects: the motors fly on.
        await asyncio.wait([self._flight, *followers])
        return 0

    async def _fly_line(self, line: ToldLine) -> None:
        flyer = self._flyer
        state, message = "Done", ""
        counting: asyncio.Task[None] | None = None
        try:
            await finished(flyer.prepare(line))
            flyer.kickoff()
            counting = asyncio.create_task(self._count())
            await finished(flyer.complete())
        except RuntimeError as error:  # the flyer was stopped
            state, message = "Aborted", str(error)
        except Exception as error:  # noqa: BLE001 - the client is told, and the IOC serves on
            state, message = "Failed", f"{type(error).__name__}: {error}"
        finally:
            flyer.stop()  # its thread must not outlive an IOC that is stopped
            if counting is not None:
                counting.cancel()
        await self._publish()
        await self._show(state, message)
        await self.fly.write(0, verify_value=False)

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(DONE_PERIOD_S)
            await self.done.write(self._flyer.rows_done)

    async def _publish(self) -> None:
        """Post the arrays of the points that were done."""
        await self.done.write(self._flyer.rows_done)
        for page in self._flyer.collect_pages():
            await self._arrays.time.write(page["time"])
            for key, values in page["data"].items():
                channel = getattr(self._arrays, f"array_{key}", None)
                if channel is not None:
                    record = self._motors.get(key)
                    await channel.write([record.user(value) for value in values] if record else values)

    async def _abort(self, instance: Any, value: int) -> int:
        if value:
            if self.state.value == "Preparing":
                await asyncio.gather(*(record.halt() for record in self._motors.values()))
            elif self.state.value == "Ready":
                self._line = None
                await self._show("Aborted", "the prepared line was given up")
            elif self._flight is not None:
                self._flyer.stop()
                await asyncio.wait([self._flight])
        return 0

    async def _show(self, state: str, message: str = "") -> None:
        await self.message.write(message[: MOST_LETTERS - 1])
        await self.state.write(state)

    def _of(self, what: str, motor: str) -> Any:
        return getattr(self._arrays, f"{what}_{motor}")

    def _position(self, name: str) -> float:
        (motor,) = (one for one in self._flyer.motors if one.name == name)
        return self._motors[name].user(float(motor.position))
