"""The IOC's records: what each PV of the simulated beamline does when it is written or read."""

# caproto hangs startup, putter and getter onto a property by defining its name again.
# mypy: disable-error-code="no-redef"

from __future__ import annotations

import time
from typing import Any

from caproto import ChannelType
from caproto.server import PVGroup, pvproperty

from ebl_autonomy.sim_devices.beamline import SimBeamline
from ebl_autonomy.sim_devices.motor import SimMotor

__all__ = ["database"]

TICK_S = 0.02


def database(beamline: SimBeamline, prefix: str, speed: float) -> dict[str, Any]:
    """All PVs by name: ``<prefix><motor>`` records, ``<prefix>camera:…`` and the beamline's own signals."""
    pvs: dict[str, Any] = {}
    for motor in beamline._motors.values():
        pvs.update(MotorRecord(prefix + motor.name, motor, speed).pvdb)
    pvs.update(CameraRecords(prefix + "camera:", beamline, speed).pvdb)
    pvs.update(BeamlineRecords(prefix, beamline).pvdb)
    return pvs


class MotorRecord(PVGroup):
    """A motor record whose put completes when the motor has arrived, as EPICS's own does."""

    motor = pvproperty(value=0.0, name="", record="motor", precision=4)

    def __init__(self, prefix: str, device: SimMotor, speed: float) -> None:
        super().__init__(prefix)
        self._device = device
        self._speed = speed
        self._async: Any = None

    @motor.startup
    async def motor(self, instance: Any, async_lib: Any) -> None:
        self._async = async_lib
        device, fields = self._device, instance.field_inst
        low, high = device.limits
        await instance.write_metadata(
            units=device.egu, lower_ctrl_limit=low, upper_ctrl_limit=high, lower_disp_limit=low, upper_disp_limit=high
        )
        await fields.engineering_units.write(device.egu)
        await fields.velocity.write(device.velocity)
        await fields.max_velocity.write(device.velocity)
        await fields.seconds_to_velocity.write(device.acceleration)
        await fields.bl_distance.write(device.backlash)
        await fields.motor_step_size.write(device.resolution or 1e-6)
        await fields.user_low_limit.write(low)
        await fields.user_high_limit.write(high)
        await fields.dial_low_limit.write(low)
        await fields.dial_high_limit.write(high)
        await self._show(fields, float(device.position))
        await fields.done_moving_to_value.write(1)
        await instance.write(float(device.position), verify_value=False)

    @motor.putter
    async def motor(self, instance: Any, value: float) -> float:
        device, fields = self._device, instance.field_inst
        try:
            device.check_value(value)
        except ValueError:
            await fields.limit_violation.write(1)
            raise  # the put fails, and nothing moves
        await fields.limit_violation.write(0)
        await fields.stop.write(0)
        await fields.done_moving_to_value.write(0)
        await fields.motor_is_moving.write(1)
        start, began = float(device.position), time.monotonic()
        seconds = device.seconds(value - start) / self._speed
        reached = value
        while (passed := time.monotonic() - began) < seconds:
            here = start + (value - start) * passed / seconds
            await fields.user_readback_value.write(here)
            if fields.stop.value:
                reached = here
                break
            await self._async.library.sleep(min(TICK_S, seconds - passed))
        device.set(reached)
        await self._show(fields, float(device.position))
        await fields.motor_is_moving.write(0)
        await fields.done_moving_to_value.write(1)
        return float(device.position)

    async def _show(self, fields: Any, position: float) -> None:
        await fields.user_readback_value.write(position)
        await fields.dial_readback_value.write(position)


class CameraRecords(PVGroup):
    """The camera: a put of 1 to Acquire completes when frame and scalars are there."""

    acquire = pvproperty(value=0, name="Acquire")
    exposure = pvproperty(value=0.1, name="ExposureTime", units="s")
    size_x = pvproperty(value=256, name="SizeX", read_only=True)
    size_y = pvproperty(value=256, name="SizeY", read_only=True)
    image = pvproperty(value=[0] * 65536, name="ArrayData", dtype=ChannelType.LONG, max_length=65536, read_only=True)
    total = pvproperty(value=0.0, name="Total", read_only=True)
    peak = pvproperty(value=0.0, name="Peak", read_only=True)
    centroid_x = pvproperty(value=0.0, name="CentroidX", read_only=True, units="um")
    centroid_y = pvproperty(value=0.0, name="CentroidY", read_only=True, units="um")
    fwhm_x = pvproperty(value=0.0, name="FwhmX", read_only=True, units="um")
    fwhm_y = pvproperty(value=0.0, name="FwhmY", read_only=True, units="um")
    spot_area = pvproperty(value=0.0, name="SpotArea", read_only=True, units="um^2")
    saturated_fraction = pvproperty(value=0.0, name="SaturatedFraction", read_only=True)
    valid = pvproperty(value=0, name="Valid", read_only=True)
    state = pvproperty(value="", name="State", dtype=ChannelType.STRING, read_only=True)

    def __init__(self, prefix: str, beamline: SimBeamline, speed: float) -> None:
        super().__init__(prefix)
        self._camera = beamline.camera
        self._speed = speed
        self._async: Any = None

    @acquire.startup
    async def acquire(self, instance: Any, async_lib: Any) -> None:
        self._async = async_lib

    @acquire.putter
    async def acquire(self, instance: Any, value: int) -> int:
        if value:
            camera = self._camera
            camera.exposure = float(self.exposure.value)
            await self._async.library.sleep((camera.exposure + camera.readout_s) / self._speed)
            camera.record_image = True
            status = camera.trigger()
            while not status.done:
                await self._async.library.sleep(TICK_S)
            reading = {key.removeprefix("camera_"): item["value"] for key, item in camera.read().items()}
            await self.image.write(reading.pop("image").reshape(-1).astype(int))
            for key, scalar in reading.items():
                await getattr(self, key).write(scalar)
        return 0


class BeamlineRecords(PVGroup):
    """Shutter, ring current, I0 and the simulated clock."""

    shutter = pvproperty(value=1, name="Shutter")
    ring = pvproperty(value=100.0, name="RingCurrent", read_only=True, units="mA")
    i0 = pvproperty(value=0.0, name="I0", read_only=True, units="counts")
    clock = pvproperty(value=0.0, name="Clock", read_only=True, units="s")

    def __init__(self, prefix: str, beamline: SimBeamline) -> None:
        super().__init__(prefix)
        self._beamline = beamline

    @shutter.putter
    async def shutter(self, instance: Any, value: int) -> int:
        self._beamline.shutter.set(int(bool(value)))
        return int(bool(value))

    @ring.getter
    async def ring(self, instance: Any) -> float:
        return _value(self._beamline.ring)

    @i0.getter
    async def i0(self, instance: Any) -> float:
        return _value(self._beamline.i0)

    @clock.getter
    async def clock(self, instance: Any) -> float:
        return _value(self._beamline.clock)


def _value(device: Any) -> float:
    return float(device.read()[device.name]["value"])
