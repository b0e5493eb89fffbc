"""The simulated microprobe over EPICS with ophyd-async devices: the same names and keys as `SimMicroprobe`.

Importing this module starts a channel access client, which reads the ``EPICS_CA_…`` variables only once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from aioca import purge_channel_caches
from bluesky.run_engine import call_in_bluesky_event_loop
from ophyd.utils import LimitError
from ophyd_async.core import Array1D, AsyncStatus, NotConnectedError, StandardReadable
from ophyd_async.core import StandardReadableFormat as Format
from ophyd_async.epics.core import epics_signal_r, epics_signal_rw

from ebl_autonomy.sim_devices.epics_async import AsyncEpicsMotor
from ebl_autonomy.sim_devices.epics_common import (
    PROBE_MOTORS,
    SPECTRUM,
    TRIGGER_TIMEOUT_S,
    EpicsGroup,
    no_probe,
    probe_keys,
)
from ebl_autonomy.sim_devices.exposures import SharedExposure
from ebl_autonomy.sim_devices.labels import DETECTOR

__all__ = ["AsyncEpicsDwell", "AsyncEpicsMicroprobe", "AsyncEpicsProbeDetector"]


class AsyncEpicsDwell(StandardReadable):
    """The exposure time of all detectors, s (bluesky Movable, Locatable and Readable)."""

    limits: tuple[float, float] = (0.0, 0.0)
    """Shortest and longest exposure time, s; (0, 0) before it is connected."""
    position: float = math.nan
    """The exposure time that the IOC last reported, s; NaN before it is connected. A plan asks ``locate`` instead."""

    def __init__(self, prefix: str, name: str = "") -> None:
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.seconds = epics_signal_rw(float, prefix + "Dwell")
        super().__init__(name)

    def set_name(self, name: str, *, child_name_separator: str | None = None) -> None:
        super().set_name(name, child_name_separator=child_name_separator)
        self.seconds.set_name(name)

    async def check_value(self, value: float) -> None:
        """Raise a LimitError (ophyd's) if a value lies outside the limits."""
        low, high = self.limits
        if not low <= value <= high:
            raise LimitError(f"{self.name}={value!r} s is outside the limits {self.limits}")

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        await self.check_value(value)
        await self.seconds.set(value)

    async def locate(self) -> Any:
        value = await self.seconds.get_value()
        return {"setpoint": value, "readback": value}

    async def watch(self) -> None:
        """Read the limits, and subscribe to changes of the exposure time."""
        self.seconds.subscribe_reading(self._take)
        control = (await self.seconds.describe())[self.seconds.name].get("limits", {}).get("control", {})
        self.limits = (float(control.get("low", 0.0)), float(control.get("high", math.inf)))

    def leave(self) -> None:
        """Unsubscribe from the exposure time."""
        self.seconds.clear_sub(self._take)

    def _take(self, readings: dict[str, Any]) -> None:
        self.position = float(readings[self.seconds.name]["value"])


class AsyncEpicsProbeDetector(StandardReadable):
    """A detector of the microprobe. Those that are triggered together share the IOC's exposure."""

    _ophyd_labels_ = frozenset({DETECTOR})

    def __init__(self, prefix: str, keys: Sequence[str], exposures: SharedExposure[Any], name: str = "") -> None:
        self._keys, self._exposures = tuple(keys), exposures
        with self.add_children_as_readables(Format.CONFIG_SIGNAL):
            self.exposure = epics_signal_r(float, prefix + "Dwell")  # agents ask for it
        for key in keys:
            # Uncached: a monitor update may arrive after the put completion that the trigger waits for.
            is_array = key == SPECTRUM
            with self.add_children_as_readables(Format.UNCACHED_SIGNAL if is_array else Format.HINTED_UNCACHED_SIGNAL):
                kind: Any = Array1D[np.int32] if is_array else float
                setattr(self, f"signal_{key}", epics_signal_r(kind, prefix + key))
        super().__init__(name)

    def set_name(self, name: str, *, child_name_separator: str | None = None) -> None:
        super().set_name(name, child_name_separator=child_name_separator)
        for key in self._keys:
            getattr(self, f"signal_{key}").set_name(key)

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        await self._exposures.join(self.name)

    async def read(self) -> Any:
        """The readings; no detector joins the latest exposure any more."""
        self._exposures.close()
        return await super().read()


class AsyncEpicsMicroprobe(EpicsGroup):
    """The microprobe over channel access with ophyd-async devices. Create the RunEngine first.

    Parameters, attributes and errors are the same as for `EpicsMicroprobe`.
    """

    def __init__(self, prefix: str = "EBL:", timeout_s: float = 15.0) -> None:
        address = f"ca://{prefix}"
        elements = epics_signal_r(Sequence[str], address + "Elements")  # type: ignore[type-abstract]
        bins = epics_signal_r(int, address + "SpectrumBins")
        self._acquire = epics_signal_rw(int, address + "Acquire")
        named: dict[str, Any] = {
            **{name: AsyncEpicsMotor(address + name) for name in PROBE_MOTORS},
            "dwell": AsyncEpicsDwell(address),
            "clock": epics_signal_r(float, address + "Clock"),
        }
        super().__init__(named)
        exposures: SharedExposure[Any] = SharedExposure(
            lambda: self._acquire.set(1, timeout=TRIGGER_TIMEOUT_S), self._place
        )

        async def connect() -> dict[str, Any]:
            first = [elements, bins, self._acquire, *named.values()]
            await asyncio.gather(*(device.connect(timeout=timeout_s) for device in first))
            keys = probe_keys(list(await elements.get_value()), await bins.get_value())
            detectors = {name: AsyncEpicsProbeDetector(address, own, exposures) for name, own in keys.items()}
            await asyncio.gather(*(detector.connect(timeout=timeout_s) for detector in detectors.values()))
            return detectors

        for name, device in named.items():
            device.set_name(name, child_name_separator="_")
        try:
            detectors: dict[str, Any] = call_in_bluesky_event_loop(connect())
        except (TimeoutError, NotConnectedError) as error:
            self._devices = {}
            self.close()
            raise no_probe(prefix, timeout_s, str(error).strip().splitlines()[0]) from error
        for name, device in detectors.items():
            device.set_name(name, child_name_separator="_")
        named.update(detectors)
        call_in_bluesky_event_loop(self._watch())
        self.x, self.y, self.energy = (named[name] for name in PROBE_MOTORS)
        self.dwell, self.clock = named["dwell"], named["clock"]
        self.xrf, self.transmission, self.absorption, self.i0 = detectors.values()

    @property
    def detectors(self) -> list[Any]:
        """All detectors; those that are triggered together share an exposure."""
        return [self.xrf, self.transmission, self.absorption, self.i0]

    @property
    def baseline(self) -> list[Any]:
        """Devices to record at the start and the end of a run."""
        return [self.energy, self.dwell, self.clock]

    async def _watch(self) -> None:
        await asyncio.gather(*(device.watch() for device in self._watched()))

    def _watched(self) -> list[Any]:
        return [self._devices[name] for name in (*PROBE_MOTORS, "dwell") if name in self._devices]

    def _place(self) -> tuple[float, ...]:
        return tuple(device.position for device in self._watched())

    def _release(self) -> None:
        async def purge() -> None:
            for device in self._watched():
                device.leave()
            purge_channel_caches()  # of this event loop; other devices reconnect their channels on next use

        call_in_bluesky_event_loop(purge())
