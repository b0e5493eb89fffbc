"""The IOC's records: what each PV of the simulated beamline does on a put or a get."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final

import numpy as np
from caproto import ChannelType
from caproto.server import PVGroup, pvproperty

from ebl_autonomy.sim_devices.beamline import SimBeamline
from ebl_autonomy.sim_devices.camera import SCALARS, SimCamera
from ebl_autonomy.sim_devices.ioc_motor import MotorRecord
from ebl_autonomy.sim_devices.microprobe import SimMicroprobe

__all__ = ["Database", "exposed"]

MONITOR_PERIOD_S: Final = 0.5
"""Wall seconds between monitor updates of ring current, I0 and clock."""


class Database:
    """All records of a simulated beamline.

    Parameters
    ----------
    beamline : SimBeamline or SimMicroprobe
    prefix : str
        Prefix of every PV: ``<prefix><motor>`` are motor records, ``<prefix>camera:…`` is the camera, ``<prefix><key>``
        a reading of the microprobe, ``<prefix>line:…`` its fly lines.

    Attributes
    ----------
    pvdb : dict
        PVs by name, as caproto serves them.
    """

    def __init__(self, beamline: SimBeamline | SimMicroprobe, prefix: str) -> None:
        self._records: list[Any]
        """Those that must be prepared, in this order; the last one has monitored values."""
        self.pvdb: dict[str, Any] = {}
        devices: list[Any]
        if isinstance(beamline, SimBeamline):
            devices = list(beamline._motors.values())
        else:
            devices = [beamline.x, beamline.y, beamline.energy]
        motors = {device.name: MotorRecord(prefix + device.name, device, beamline.clock) for device in devices}
        if isinstance(beamline, SimBeamline):
            others: list[Any] = [CameraRecords(prefix + "camera:", beamline), BeamlineRecords(prefix, beamline)]
        else:
            from ebl_autonomy.sim_devices.ioc_line import LineRecords
            from ebl_autonomy.sim_devices.ioc_microprobe import ProbeRecords

            flyer = beamline.flyer
            flown = {motor.name: motors[motor.name] for motor in flyer.motors}
            others = [LineRecords(f"{prefix}{flyer.name}:", flyer, flown), ProbeRecords(prefix, beamline)]
        self._records = [*motors.values(), *others]
        for record in self._records:
            self.pvdb.update(record.pvdb)

    async def prepare(self) -> None:
        """Give every PV its first value before a client can read it."""
        for record in self._records:
            await record.prepare()

    async def run(self) -> None:
        """Post monitor updates until cancelled."""
        while True:
            await asyncio.sleep(MONITOR_PERIOD_S)
            await self._records[-1].refresh()


async def exposed(status: Any, given_up: asyncio.Event) -> bool:
    """Wait for the status of an exposure, or for `given_up`; whether the exposure has ended."""
    done, loop = asyncio.Event(), asyncio.get_running_loop()
    status.add_callback(lambda _: loop.call_soon_threadsafe(done.set))
    waits = [asyncio.create_task(event.wait()) for event in (done, given_up)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    return done.is_set()


class CameraRecords(PVGroup):
    """The camera. A put of 1 to Acquire completes when frame and scalars are posted; a put of 0 aborts the frame."""

    acquire = pvproperty(value=0, name="Acquire")
    counter = pvproperty(value=0, name="ArrayCounter", read_only=True)
    exposure = pvproperty(value=0.1, name="ExposureTime", units="s", precision=3)
    size_x = pvproperty(value=0, name="SizeX", read_only=True)
    size_y = pvproperty(value=0, name="SizeY", read_only=True)
    # LONG, because channel access has no unsigned 16-bit integer.
    image = pvproperty(
        value=[0] * SimCamera.pixels**2,
        name="ArrayData",
        dtype=ChannelType.LONG,
        max_length=SimCamera.pixels**2,
        read_only=True,
        units="counts",
    )
    total = pvproperty(value=0.0, name="Total", read_only=True, units="counts")
    peak = pvproperty(value=0.0, name="Peak", read_only=True, units="counts")
    centroid_x = pvproperty(value=0.0, name="CentroidX", read_only=True, units="um", precision=3)
    centroid_y = pvproperty(value=0.0, name="CentroidY", read_only=True, units="um", precision=3)
    fwhm_x = pvproperty(value=0.0, name="FwhmX", read_only=True, units="um", precision=3)
    fwhm_y = pvproperty(value=0.0, name="FwhmY", read_only=True, units="um", precision=3)
    spot_area = pvproperty(value=0.0, name="SpotArea", read_only=True, units="um^2", precision=3)
    saturated_fraction = pvproperty(value=0.0, name="SaturatedFraction", read_only=True, precision=6)
    valid = pvproperty(value=0, name="Valid", read_only=True)
    state = pvproperty(value="", name="State", dtype=ChannelType.STRING, read_only=True)

    def __init__(self, prefix: str, beamline: SimBeamline) -> None:
        super().__init__(prefix)
        self._camera = beamline.camera
        self._camera.record_image = True
        self._given_up = asyncio.Event()
        self.acquire.putter = self._acquire
        self.exposure.putter = self._expose_for

    async def prepare(self) -> None:
        """Post the frame size, the exposure time and a first frame."""
        await self.size_x.write(self._camera.pixels)
        await self.size_y.write(self._camera.pixels)
        await self.exposure.write(self._camera.exposure, verify_value=False)
        self._camera.snapshot()
        await self._publish()

    async def _acquire(self, instance: Any, value: int) -> int:
        if not value:
            self._given_up.set()
            return 0
        await instance.write(1, verify_value=False)
        self._given_up.clear()
        if not await exposed(self._camera.trigger(), self._given_up):
            await instance.write(0, verify_value=False)
            raise TimeoutError("the frame was aborted by a put of 0 to Acquire")
        await self._publish()
        return 0

    async def _publish(self) -> None:
        reading = {key: item["value"] for key, item in self._camera.read().items()}
        await self.image.write(reading[f"{self._camera.name}_image"].reshape(-1).astype(np.int32))
        for name in (*SCALARS, "state"):
            await getattr(self, name).write(reading[f"{self._camera.name}_{name}"])
        await self.counter.write(self._camera.exposures)

    async def _expose_for(self, instance: Any, value: float) -> float:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"ExposureTime={value}: give a positive number of seconds")
        self._camera.exposure = value
        return value


class BeamlineRecords(PVGroup):
    """Shutter, ring current, I0, the simulated clock and the tier."""

    tier = pvproperty(value="", name="Tier", dtype=ChannelType.STRING, read_only=True)
    shutter = pvproperty(value="open", name="Shutter", dtype=ChannelType.ENUM, enum_strings=["close", "open"])
    ring = pvproperty(value=0.0, name="RingCurrent", read_only=True, units="mA", precision=3)
    i0 = pvproperty(value=0.0, name="I0", read_only=True, units="counts")
    clock = pvproperty(value=0.0, name="Clock", read_only=True, units="s", precision=3)

    def __init__(self, prefix: str, beamline: SimBeamline) -> None:
        super().__init__(prefix)
        self._beamline = beamline
        self._sources: dict[Any, Any] = {self.ring: beamline.ring, self.i0: beamline.i0, self.clock: beamline.clock}
        self.shutter.putter = self._set_shutter
        for channel in self._sources:
            channel.getter = self._get

    async def prepare(self) -> None:
        """Post the tier and the first values."""
        await self.tier.write(self._beamline.tier)
        await self.shutter.write("open" if self._beamline.shutter.is_open else "close", verify_value=False)
        await self.refresh()

    async def refresh(self) -> None:
        """Post an update of every monitored value."""
        for channel in self._sources:
            await channel.write(await self._get(channel))

    async def _get(self, instance: Any) -> float:
        source = self._sources[instance]
        return float(source.read()[source.name]["value"])

    async def _set_shutter(self, instance: Any, value: str) -> str:
        self._beamline.shutter.set(value)
        return value
