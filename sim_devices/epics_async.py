"""The simulated beamline over EPICS with ophyd-async devices: the same names and keys as `SimBeamline`.

Importing this module starts a channel access client, which reads the ``EPICS_CA_…`` variables only once.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import numpy as np
from aioca import purge_channel_caches
from bluesky.run_engine import call_in_bluesky_event_loop
from ophyd_async.core import Array1D, AsyncStatus, NotConnectedError, StandardReadable
from ophyd_async.core import StandardReadableFormat as Format
from ophyd_async.epics.core import epics_signal_r, epics_signal_rw
from ophyd_async.epics.motor import Motor

from ebl_autonomy.sim_devices.epics_common import (
    CAMERA_PVS,
    HINTED,
    TRIGGER_TIMEOUT_S,
    EpicsTree,
    as_image,
    no_connection,
)
from ebl_autonomy.sim_devices.labels import DETECTOR, MOTOR
from ebl_autonomy.sim_devices.layout import MOTORS, Tier, image_key

__all__ = ["AsyncEpicsBeamline", "AsyncEpicsCamera", "AsyncEpicsFrame", "AsyncEpicsMotor"]


class AsyncEpicsCamera(StandardReadable):
    """The camera. A trigger is done when the put completes; frame and scalars are up to date by then."""

    _ophyd_labels_ = frozenset({DETECTOR})

    def __init__(self, prefix: str, name: str = "") -> None:
        # Uncached: a monitor update may arrive after the put completion that the trigger waits for.
        for key, pv in CAMERA_PVS.items():
            with self.add_children_as_readables(
                Format.HINTED_UNCACHED_SIGNAL if key in HINTED else Format.UNCACHED_SIGNAL
            ):
                setattr(self, key, epics_signal_r(float, prefix + pv))
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.valid = epics_signal_r(int, prefix + "Valid")
            self.state = epics_signal_r(str, prefix + "State")
        with self.add_children_as_readables(Format.CONFIG_SIGNAL):
            self.exposure = epics_signal_rw(float, prefix + "ExposureTime")
        self.acquire = epics_signal_rw(int, prefix + "Acquire")
        self.image = epics_signal_r(Array1D[np.int32], prefix + "ArrayData")
        self.frame = AsyncEpicsFrame(self)
        super().__init__(name)

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        await self.acquire.set(1, timeout=TRIGGER_TIMEOUT_S)


class AsyncEpicsFrame:
    """A readable that takes a new frame, for ``baseline=``: key ``camera_frame``, without the scalars."""

    parent = None

    def __init__(self, camera: AsyncEpicsCamera) -> None:
        self._camera = camera

    @property
    def name(self) -> str:
        return f"{self._camera.name}_frame"

    async def read(self) -> dict[str, dict[str, Any]]:
        await self._camera.trigger()
        return {self.name: {"value": as_image(await self._camera.image.get_value()), "timestamp": time.time()}}

    async def describe(self) -> dict[str, dict[str, Any]]:
        return {self.name: image_key(self._camera.image.source)}


class AsyncEpicsMotor(Motor):
    """A motor record whose position and limits can be read without awaiting, as those of an ophyd motor."""

    _ophyd_labels_ = frozenset({MOTOR})
    limits: tuple[float, float] = (0.0, 0.0)
    """The soft limits that the record last reported; (0, 0), EPICS's "no limits", before it is connected."""
    position: float = math.nan
    """The readback that the record last reported; NaN before it is connected. A plan asks ``locate`` instead."""

    async def watch(self) -> None:
        """Read the position and the limits, and subscribe to their changes."""
        ends = self._ends()
        self.limits = (await ends[0].get_value(), await ends[1].get_value())
        for signal in ends:
            signal.subscribe_reading(self._take_limits)
        self.user_readback.subscribe_reading(self._take_position)

    def leave(self) -> None:
        """Unsubscribe from the position and the limits."""
        self.user_readback.clear_sub(self._take_position)
        for signal in self._ends():
            signal.clear_sub(self._take_limits)

    def _ends(self) -> tuple[Any, Any]:
        return self.low_limit_travel, self.high_limit_travel

    def _take_position(self, readings: dict[str, Any]) -> None:
        self.position = float(readings[self.user_readback.name]["value"])

    def _take_limits(self, readings: dict[str, Any]) -> None:
        low, high = (
            float(readings[signal.name]["value"]) if signal.name in readings else known
            for signal, known in zip(self._ends(), self.limits, strict=True)
        )
        self.limits = (low, high)


class AsyncEpicsBeamline(EpicsTree):
    """The beamline over channel access with ophyd-async devices. Create the RunEngine first.

    Parameters, attributes and errors are the same as for `EpicsBeamline`.
    """

    def __init__(self, prefix: str = "EBL:", tier: Tier | None = None, timeout_s: float = 15.0) -> None:
        address = f"ca://{prefix}"
        devices: dict[str, Any] = {
            "tier": epics_signal_r(str, address + "Tier"),
            **{name: AsyncEpicsMotor(address + name) for name in MOTORS},
            "camera": AsyncEpicsCamera(address + "camera:"),
            "shutter": epics_signal_rw(bool, address + "Shutter"),
            "ring_current": epics_signal_r(float, address + "RingCurrent"),
            "i0": epics_signal_r(float, address + "I0"),
            "clock": epics_signal_r(float, address + "Clock"),
        }
        for name, device in devices.items():
            device.set_name(name, child_name_separator="_")
        for name in ("ring_current", "i0"):
            devices[name]._ophyd_labels_ = frozenset({DETECTOR})

        async def connect() -> str:
            await asyncio.gather(*(device.connect(timeout=timeout_s) for device in devices.values()))
            await asyncio.gather(*(devices[name].watch() for name in MOTORS))
            return str(await devices["tier"].get_value())

        try:
            found: str = call_in_bluesky_event_loop(connect())
        except (TimeoutError, NotConnectedError) as error:
            raise no_connection(prefix, timeout_s, str(error).strip().splitlines()[0]) from error
        super().__init__(devices, tier or found)

    def _release(self) -> None:
        async def purge() -> None:
            for name in MOTORS:
                self._devices[name].leave()
            purge_channel_caches()  # of this event loop; other devices reconnect their channels on next use

        call_in_bluesky_event_loop(purge())
