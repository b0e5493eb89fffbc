"""Real positioners whose position is not read under their own name, each with the key of its position."""

import threading
from typing import Any

from bluesky.protocols import Movable
from bluesky.run_engine import call_in_bluesky_event_loop
from ophyd import Component, Device, EpicsSignal, EpicsSignalRO, PVPositioner, PVPositionerIsClose, Signal
from ophyd.sim import SynAxis, SynAxisNoPosition, make_fake_device
from ophyd.status import Status
from ophyd_async.core import AsyncStatus, StandardReadable, soft_signal_rw
from ophyd_async.core import StandardReadableFormat as Format
from ophyd_async.epics.motor import Motor


def close_positioner(name: str) -> Any:
    """`gap_readback`, `gap_setpoint` and `gap_done`; done when readback and setpoint are close."""

    class Close(PVPositionerIsClose):
        setpoint = Component(EpicsSignal, ":SET")
        readback = Component(EpicsSignalRO, ":GET")
        atol = 1e-3

    gap = make_fake_device(Close)("X", name=name)
    gap.readback.sim_put(0.0)
    gap.setpoint.sim_put(0.0)
    gap.setpoint.sim_set_limits((-9.0, 9.0))
    gap.setpoint.subscribe(lambda value, **_: gap.readback.sim_put(value), run=False)
    return gap


def done_positioner(name: str) -> Any:
    """A positioner with a signal that says when it has arrived, and limits of its own."""

    class Done(PVPositioner):
        setpoint = Component(EpicsSignal, ":SET")
        readback = Component(EpicsSignalRO, ":GET", name="where")
        done = Component(EpicsSignalRO, ":DONE", kind="omitted")

    gap = make_fake_device(Done)("X", name=name, limits=(-5.0, 5.0))
    gap.readback.name = f"{name}_where"
    gap.readback.sim_put(0.0)
    gap.setpoint.sim_put(0.0)
    gap.done.sim_put(1)

    def move(value: float, **_: Any) -> None:
        def arrive() -> None:
            gap.done.sim_put(0)
            gap.readback.sim_put(value)
            gap.done.sim_put(1)

        threading.Timer(0.005, arrive).start()

    gap.setpoint.subscribe(move, run=False)
    return gap


def renamed_axis(name: str) -> Any:
    axis = SynAxis(name=name)
    axis.readback.name = f"{name}_encoder"
    return axis


def omitted_axis(name: str) -> Any:
    """An axis of which only the setpoint is read; it has a position."""

    class Omitted(SynAxis):
        pass

    axis = Omitted(name=name)
    axis.readback.kind = "omitted"
    return axis


def hinted_axis(name: str) -> Any:
    """An axis with neither a position nor a readback of its name: only its hints tell."""

    class Hinted(Device):
        where = Component(Signal, value=0.0, kind="hinted")
        target = Component(Signal, value=0.0, kind="normal")

        def set(self, value: float) -> Status:
            self.target.put(value)
            self.where.put(value)
            status = Status(self)
            status.set_finished()
            return status

    return Hinted(name=name)


def no_position(name: str) -> Any:
    axis = SynAxisNoPosition(name=name)
    axis.readback.name = f"{name}_rbv"
    return axis


def async_motor(name: str) -> Any:
    motor = Motor("X", name=name)
    call_in_bluesky_event_loop(motor.connect(mock=True))
    motor.user_readback.set_name(f"{name}_rbv")
    return motor


def async_stage(name: str) -> Any:
    """A movable readable of ophyd-async that cannot be located."""

    class Stage(StandardReadable, Movable):
        def __init__(self, name: str) -> None:
            with self.add_children_as_readables(Format.HINTED_SIGNAL):
                self.pos = soft_signal_rw(float, 0.0, units="um")
            with self.add_children_as_readables():
                self.temperature = soft_signal_rw(float, 20.0)
            super().__init__(name)

        @AsyncStatus.wrap
        async def set(self, value: float) -> None:
            await self.pos.set(value)

    stage = Stage(name)
    call_in_bluesky_event_loop(stage.connect())
    return stage


POSITIONERS: dict[str, tuple[Any, str | None]] = {
    "PVPositionerIsClose": (close_positioner, "gap_readback"),
    "PVPositioner": (done_positioner, "gap_where"),
    "SynAxis, renamed": (renamed_axis, "gap_encoder"),
    "SynAxis, omitted": (omitted_axis, None),
    "SynAxisNoPosition": (no_position, "gap_rbv"),
    "hints only": (hinted_axis, "gap_where"),
    "ophyd-async Motor": (async_motor, "gap_rbv"),
    "ophyd-async stage": (async_stage, "gap-pos"),
}
"""By kind: how one is made from its name, and the key of its position if it is called ``gap``."""
