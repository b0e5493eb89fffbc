"""Steers devices of ophyd and ophyd-async over channel access; a process of its own, for the IOC of its environment.

The argument is a folder; the last line of the output is JSON: by case, an empty string or the traceback.
"""

import asyncio
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bluesky import RunEngine
from bluesky.run_engine import call_in_bluesky_event_loop
from engines import run_engine
from ophyd import Component, EpicsMotor, EpicsSignal, EpicsSignalRO, PVPositioner, PVPositionerPC
from ophyd import PVPositionerIsClose as IsClose
from ophyd.device import Device
from ophyd.pseudopos import PseudoPositioner, PseudoSingle, pseudo_position_argument, real_position_argument
from ophyd_async.epics.core import epics_signal_r
from ophyd_async.epics.motor import Motor
from ophyd_race import close_race
from zoo import Case, check_contract, steer_and_read_back

from ebl_autonomy import connect
from ebl_autonomy.sim_devices import AsyncEpicsBeamline, EpicsBeamline

PATIENCE_S = 100.0
PREFIX = "EBL:"
RECORD = PREFIX + "kbv_pitch"


class Positioner(PVPositioner):
    setpoint = Component(EpicsSignal, ".VAL")
    readback = Component(EpicsSignalRO, ".RBV", kind="hinted")
    done = Component(EpicsSignalRO, ".DMOV", kind="omitted")
    stop_signal = Component(EpicsSignal, ".STOP", kind="omitted")
    done_value = 1
    stop_value = 1


class CallbackPositioner(PVPositionerPC):
    setpoint = Component(EpicsSignal, ".VAL", put_complete=True)
    readback = Component(EpicsSignalRO, ".RBV", kind="hinted")


class ClosePositioner(IsClose):
    setpoint = Component(EpicsSignal, ".VAL")
    readback = Component(EpicsSignalRO, ".RBV", kind="hinted")
    atol = 0.01
    rtol = 0.0


class RenamedMotor(EpicsMotor):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.user_readback.name = f"{self.name}_is"


class SilentMotor(EpicsMotor):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.user_readback.kind = "omitted"


class Slit(PseudoPositioner):
    gap = Component(PseudoSingle, limits=(-50.0, 50.0))
    center = Component(PseudoSingle, limits=(-50.0, 50.0))
    one = Component(EpicsMotor, "kbv_pitch")
    two = Component(EpicsMotor, "kbh_pitch")

    @pseudo_position_argument
    def forward(self, pseudo: Any) -> Any:
        return self.RealPosition(one=pseudo.center - pseudo.gap / 2.0, two=pseudo.center + pseudo.gap / 2.0)

    @real_position_argument
    def inverse(self, real: Any) -> Any:
        return self.PseudoPosition(gap=real.two - real.one, center=(real.one + real.two) / 2.0)


class Stage(Device):
    """Motors that are parts of a device that is a detector too."""

    x = Component(EpicsMotor, "kbv_pitch")
    y = Component(EpicsMotor, "kbh_pitch")
    current = Component(EpicsSignalRO, "I0", kind="hinted")


def ready(*devices: Any) -> list[Any]:
    for device in devices:
        device.wait_for_connection(timeout=PATIENCE_S)
    return list(devices)


def within(motors: list[Any], low: float = 2.0, high: float = 4.0) -> dict[str, tuple[float, float]]:
    return {motor.name: (low, high) for motor in motors}


def motors(*kinds: Callable[..., Any]) -> Callable[[], Case]:
    def make() -> Case:
        devices = ready(*(kind(RECORD, name="m") for kind in kinds))
        return Case(devices, ready(EpicsSignalRO(PREFIX + "I0", name="i0")), ranges=within(devices))

    return make


def slit() -> Case:
    (positioner,) = ready(Slit(PREFIX, name="slit"))
    axes = [positioner.gap, positioner.center]
    return Case(axes, ranges=within(axes))


def stage() -> Case:
    (device,) = ready(Stage(PREFIX, name="stage"))
    axes = [device.x, device.y]
    return Case(axes, [device], "stage_current", ranges=within(axes))


async def _async_motors() -> Case:
    devices = [Motor("ca://" + PREFIX + record, name=record) for record in ("kbv_pitch", "kbh_pitch")]
    current = epics_signal_r(float, "ca://" + PREFIX + "I0", name="i0")
    await asyncio.gather(*(device.connect(timeout=PATIENCE_S) for device in (*devices, current)))
    return Case(devices, [current], "i0", ranges=within(devices))


def beamline(kind: Callable[..., Any]) -> Callable[[], Case]:
    def make() -> Case:
        held = kind(timeout_s=PATIENCE_S)
        devices = held.motors()
        return Case(devices, [held.camera], "camera_spot_area", ranges=within(devices))

    return make


CASES: dict[str, Callable[[], Case]] = {
    "EpicsMotor": motors(EpicsMotor),
    "EpicsMotor with a renamed readback": motors(RenamedMotor),
    "EpicsMotor with an omitted readback": motors(SilentMotor),
    "PVPositioner": motors(Positioner),
    "PVPositionerPC": motors(CallbackPositioner),
    "PVPositionerIsClose": motors(ClosePositioner),
    "PseudoPositioner of EpicsMotors": slit,
    "EpicsMotors of a detector": stage,
    "ophyd_async.epics.motor.Motor": lambda: call_in_bluesky_event_loop(_async_motors()),
    "EpicsBeamline": beamline(EpicsBeamline),
    "AsyncEpicsBeamline": beamline(AsyncEpicsBeamline),
}


def run(RE: RunEngine, folder: Path) -> dict[str, str]:
    failed = {}
    with connect(RE, directory=folder) as tiled:
        for name, make in CASES.items():
            try:
                steer_and_read_back(RE, tiled, make)
                check_contract(RE, make())
                failed[name] = ""
            except Exception:  # noqa: BLE001 - each case is told on its own
                failed[name] = traceback.format_exc()
    return failed


if __name__ == "__main__":
    close_race()
    with run_engine() as engine:
        sys.stdout.write(json.dumps(run(engine, Path(sys.argv[1]))) + "\n")
