"""The IOC's records of the simulated microprobe: one exposure of all detectors per put, one PV per reading."""

from __future__ import annotations

import asyncio
from typing import Any

from caproto import ChannelType
from caproto.server import PVGroup, pvproperty

from ebl_autonomy.sim_devices.ioc_records import exposed
from ebl_autonomy.sim_devices.microprobe import SimMicroprobe

__all__ = ["ProbeRecords"]


def reading_records(prefix: str, probe: SimMicroprobe) -> PVGroup:
    """One PV per reading of the detectors, named ``<prefix><event key>``, and the names of the elements."""
    names = list(probe.xrf.elements)
    options: dict[str, Any] = {"value": names, "max_length": len(names), "dtype": ChannelType.STRING}
    properties: dict[str, Any] = {"elements": pvproperty(name="Elements", read_only=True, **options)}
    for detector in probe.detectors:
        for key, spec in detector.describe().items():
            options = {"value": 0.0, "precision": 6}
            if spec["dtype"] == "array":
                size = spec["shape"][0]
                options = {"value": [0] * size, "max_length": size, "dtype": ChannelType.LONG}
            properties[f"reading_{key}"] = pvproperty(name=key, read_only=True, units=spec.get("units", ""), **options)
    made: PVGroup = type("ReadingRecords", (PVGroup,), properties)(prefix)
    return made


class ProbeRecords(PVGroup):
    """All PVs of the microprobe but the motors: Acquire, the exposure time, the clock, and every reading.

    A put of 1 to Acquire exposes all detectors at once, and completes when their readings are posted; a put of 0 aborts
    the exposure.
    """

    acquire = pvproperty(value=0, name="Acquire")
    counter = pvproperty(value=0, name="AcquireCounter", read_only=True)
    dwell = pvproperty(value=0.1, name="Dwell", units="s", precision=6)
    clock = pvproperty(value=0.0, name="Clock", read_only=True, units="s", precision=3)
    bins = pvproperty(value=0, name="SpectrumBins", read_only=True)

    def __init__(self, prefix: str, probe: SimMicroprobe) -> None:
        super().__init__(prefix)
        self._probe, self._readings = probe, reading_records(prefix, probe)
        self.pvdb.update(self._readings.pvdb)
        self._given_up = asyncio.Event()
        self.acquire.putter = self._acquire
        self.dwell.putter = self._expose_for
        self.clock.getter = self._get_clock

    async def prepare(self) -> None:
        """Post the limits of the exposure time, and first readings."""
        low, high = self._probe.dwell.limits
        limits = {"lower_ctrl_limit": low, "upper_ctrl_limit": high, "lower_disp_limit": low, "upper_disp_limit": high}
        await self.dwell.write_metadata(**limits)
        await self.dwell.write(self._probe.dwell.position, verify_value=False)
        spectrum = self._probe.xrf.spectrum
        await self.bins.write(0 if spectrum is None else spectrum.bins)
        await self._publish()
        await self.refresh()

    async def refresh(self) -> None:
        """Post an update of every monitored value."""
        await self.clock.write(await self._get_clock(self.clock))

    async def _acquire(self, instance: Any, value: int) -> int:
        if not value:
            self._given_up.set()
            return 0
        await instance.write(1, verify_value=False)
        self._given_up.clear()
        statuses = [detector.trigger() for detector in self._probe.detectors]  # all of one exposure
        if not await exposed(statuses[-1], self._given_up):
            await instance.write(0, verify_value=False)
            raise TimeoutError("the exposure was aborted by a put of 0 to Acquire")
        await self.counter.write(self.counter.value + 1)
        await self._publish()
        return 0

    async def _publish(self) -> None:
        for detector in self._probe.detectors:
            for key, item in detector.read().items():
                await getattr(self._readings, f"reading_{key}").write(item["value"])

    async def _expose_for(self, instance: Any, value: float) -> float:
        self._probe.dwell.set(value)
        return value

    async def _get_clock(self, instance: Any) -> float:
        return float(self._probe.clock.read()["clock"]["value"])
