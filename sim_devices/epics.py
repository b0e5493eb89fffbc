"""The simulated beamline as seen over EPICS with ophyd's devices: the same names and keys as `SimBeamline`.

Importing this starts a channel access client, which reads the ``EPICS_CA_…`` environment once.
"""

from __future__ import annotations

import time
from typing import Any

from ophyd import Component, Device, EpicsMotor, EpicsSignal, EpicsSignalRO, Kind

from ebl_autonomy.sim_devices.epics_common import (
    CAMERA_PVS,
    HINTED,
    TRIGGER_TIMEOUT_S,
    EpicsTree,
    as_image,
    no_connection,
)
from ebl_autonomy.sim_devices.layout import MOTORS, Tier, image_key

__all__ = ["EpicsBeamline", "EpicsCamera", "EpicsFrame"]


def _number(key: str) -> Any:
    # Not monitored: a monitor may arrive after the answer to the put that a trigger waits for.
    kind = Kind.hinted if key in HINTED else Kind.normal
    return Component(EpicsSignalRO, CAMERA_PVS[key], kind=kind, auto_monitor=False)


class EpicsCamera(Device):
    """The camera; a trigger is done when the IOC has answered the put, with frame and numbers in place."""

    total = _number("total")
    peak = _number("peak")
    centroid_x = _number("centroid_x")
    centroid_y = _number("centroid_y")
    fwhm_x = _number("fwhm_x")
    fwhm_y = _number("fwhm_y")
    spot_area = _number("spot_area")
    saturated_fraction = _number("saturated_fraction")
    valid = Component(EpicsSignalRO, "Valid", kind="normal", auto_monitor=False)
    state = Component(EpicsSignalRO, "State", kind="normal", auto_monitor=False, string=True)
    exposure = Component(EpicsSignal, "ExposureTime", kind="config", put_complete=True)
    acquire = Component(EpicsSignal, "Acquire", kind="omitted", put_complete=True)
    image = Component(EpicsSignalRO, "ArrayData", kind="omitted", auto_monitor=False)

    def __init__(self, prefix: str, *, name: str, **options: Any) -> None:
        super().__init__(prefix, name=name, **options)
        self.frame = EpicsFrame(self)

    def trigger(self) -> Any:
        return self.acquire.set(1)


class EpicsFrame:
    """A fresh frame, for the `baseline` stream: read alone, without the numbers (key ``camera_frame``)."""

    parent = None

    def __init__(self, camera: EpicsCamera) -> None:
        self._camera = camera
        self.name = f"{camera.name}_frame"

    def read(self) -> dict[str, dict[str, Any]]:
        self._camera.trigger().wait(TRIGGER_TIMEOUT_S)
        return {self.name: {"value": as_image(self._camera.image.get()), "timestamp": time.time()}}

    def describe(self) -> dict[str, dict[str, Any]]:
        return {self.name: image_key(f"PV:{self._camera.image.pvname}")}


class EpicsBeamline(EpicsTree):
    """The beamline over channel access with ophyd devices: in a session, the one line that changes.

    Parameters
    ----------
    prefix : str
        Of the PVs.
    tier : {"A", "B", "C"}, optional
        Which motors `motors` returns; by default what the IOC says.
    timeout_s : float
        For all PVs to connect.

    Raises
    ------
    EblError
        If they do not: names one that is missing.
    """

    def __init__(self, prefix: str = "EBL:", tier: Tier | None = None, timeout_s: float = 15.0) -> None:
        devices: dict[str, Any] = {
            "tier": EpicsSignalRO(prefix + "Tier", name="tier", string=True),  # first: it tells whether an IOC is there
            **{name: EpicsMotor(prefix + name, name=name) for name in MOTORS},
            "camera": EpicsCamera(prefix + "camera:", name="camera"),
            "shutter": EpicsSignal(prefix + "Shutter", name="shutter", put_complete=True),
            "ring_current": EpicsSignalRO(prefix + "RingCurrent", name="ring_current"),
            "i0": EpicsSignalRO(prefix + "I0", name="i0"),
            "clock": EpicsSignalRO(prefix + "Clock", name="clock"),
        }
        deadline = time.monotonic() + timeout_s
        try:
            for device in devices.values():
                device.wait_for_connection(timeout=max(deadline - time.monotonic(), 0.1))
        except TimeoutError as error:
            for device in devices.values():
                device.destroy()
            raise no_connection(prefix, timeout_s, str(error)) from error
        super().__init__(devices, tier or devices["tier"].get())

    def _release(self) -> None:
        for device in self._devices.values():
            device.destroy()
