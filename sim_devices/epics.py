"""The simulated beamline over EPICS with ophyd devices: the same names and keys as `SimBeamline`.

Importing this module starts a channel access client, which reads the ``EPICS_CA_…`` variables only once.
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
from ebl_autonomy.sim_devices.labels import DETECTOR, MOTOR
from ebl_autonomy.sim_devices.layout import MOTORS, Tier, image_key

__all__ = ["EpicsBeamline", "EpicsCamera", "EpicsFrame"]


def _number(key: str) -> Any:
    # Not monitored: a monitor update may arrive after the put completion that the trigger waits for.
    kind = Kind.hinted if key in HINTED else Kind.normal
    return Component(EpicsSignalRO, CAMERA_PVS[key], kind=kind, auto_monitor=False)


class EpicsCamera(Device):
    """The camera. A trigger is done when the put completes; frame and scalars are up to date by then."""

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
    """A readable that takes a new frame, for ``baseline=``: key ``camera_frame``, without the scalars."""

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
    """The beamline over channel access with ophyd devices: a drop-in replacement of `SimBeamline`.

    Parameters
    ----------
    prefix : str
        Prefix of the PVs.
    tier : {"A", "B", "C"}, optional
        Selects the motors that `motors` returns. The default is the tier that the IOC reports.
    timeout_s : float
        Wall seconds within which all PVs must connect.

    Raises
    ------
    EblError
        If the PVs do not connect in time; the message names a missing PV.
    BadInputError
        If the tier is unknown.
    """

    def __init__(self, prefix: str = "EBL:", tier: Tier | None = None, timeout_s: float = 15.0) -> None:
        devices: dict[str, Any] = {
            "tier": EpicsSignalRO(prefix + "Tier", name="tier", string=True),  # first: it shows whether the IOC runs
            **{name: EpicsMotor(prefix + name, name=name, labels={MOTOR}) for name in MOTORS},
            "camera": EpicsCamera(prefix + "camera:", name="camera", labels={DETECTOR}),
            "shutter": EpicsSignal(prefix + "Shutter", name="shutter", put_complete=True),
            "ring_current": EpicsSignalRO(prefix + "RingCurrent", name="ring_current", labels={DETECTOR}),
            "i0": EpicsSignalRO(prefix + "I0", name="i0", labels={DETECTOR}),
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
