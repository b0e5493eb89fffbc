"""The simulated beamline as seen over EPICS: the same names and keys, with ophyd's devices and with ophyd-async's."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np

from ebl_autonomy.errors import EblError
from ebl_autonomy.sim_devices.layout import MIRROR_MOTORS, MIRRORS, MOTORS, Tier, tier_motors

__all__ = ["AsyncEpicsBeamline", "EpicsBeamline"]

CAMERA = {
    "total": "Total",
    "peak": "Peak",
    "centroid_x": "CentroidX",
    "centroid_y": "CentroidY",
    "fwhm_x": "FwhmX",
    "fwhm_y": "FwhmY",
    "spot_area": "SpotArea",
    "saturated_fraction": "SaturatedFraction",
}


class _Tree:
    """Attributes of a beamline over devices by name."""

    def __init__(self, motors: dict[str, Any], tier: Tier) -> None:
        tier_motors(tier)  # raises if there is no such tier
        self.tier: Tier = tier
        self._motors = motors
        for mirror in MIRRORS:
            setattr(self, mirror, SimpleNamespace(**{name: motors[f"{mirror}_{name}"] for name in MIRROR_MOTORS}))
        self.mono = SimpleNamespace(energy=motors["mono_energy"], pitch=motors["mono_pitch"])
        names = ("h_gap", "v_gap", "h_center", "v_center")
        self.slits = SimpleNamespace(**{name: motors[f"slits_{name}"] for name in names})
        self.camera_z = motors["camera_z"]

    kbv: Any
    kbh: Any

    def motors(self, tier: Tier | None = None) -> list[Any]:
        """The motors of a tier; of the beamline's own unless told otherwise."""
        return [self._motors[name] for name in tier_motors(tier or self.tier)]


class EpicsBeamline(_Tree):
    """The beamline over channel access with ophyd devices: in a session, the one line that changes.

    Parameters
    ----------
    prefix : str
        Of the PVs.
    tier : {"A", "B", "C"}
        Which motors `motors` returns.
    timeout_s : float
        For all PVs to connect.

    Raises
    ------
    EblError
        If they do not: names those that are missing.
    """

    def __init__(self, prefix: str = "EBL:", tier: Tier = "B", timeout_s: float = 15.0) -> None:
        # Here, not above: importing these starts a channel access client.
        from ophyd import Component, Device, EpicsMotor, EpicsSignal, EpicsSignalRO
        from ophyd.status import DeviceStatus

        fields: dict[str, Any] = {
            key: Component(EpicsSignalRO, pv, kind="hinted" if key in ("spot_area", "total") else "normal")
            for key, pv in CAMERA.items()
        }
        fields["valid"] = Component(EpicsSignalRO, "Valid", kind="normal")
        fields["state"] = Component(EpicsSignalRO, "State", kind="normal", string=True)
        fields["exposure"] = Component(EpicsSignal, "ExposureTime", kind="config")
        fields["acquire"] = Component(EpicsSignal, "Acquire", kind="omitted")
        fields["image"] = Component(EpicsSignalRO, "ArrayData", kind="omitted")

        def trigger(self: Any) -> Any:
            """Take a frame; done when the IOC has answered the put."""
            status = DeviceStatus(self)
            self.acquire.put(1, use_complete=True, callback=lambda **_: status.set_finished())
            return status

        camera_class = type("EpicsCamera", (Device,), {**fields, "trigger": trigger})
        motors = {name: EpicsMotor(prefix + name, name=name) for name in MOTORS}
        self.camera = camera_class(prefix + "camera:", name="camera")
        self.shutter = EpicsSignal(prefix + "Shutter", name="shutter")
        self.ring = EpicsSignalRO(prefix + "RingCurrent", name="ring_current")
        self.i0 = EpicsSignalRO(prefix + "I0", name="i0")
        self.clock = EpicsSignalRO(prefix + "Clock", name="clock")
        super().__init__(motors, tier)
        everything = [*motors.values(), self.camera, self.shutter, self.ring, self.i0, self.clock]
        for device in everything:
            try:
                device.wait_for_connection(timeout=timeout_s)
            except TimeoutError as error:
                raise EblError(
                    f"{device.name} ({prefix}…) did not connect within {timeout_s} s: {error}. Start the IOC with "
                    "'ebl-autonomy serve ioc' and set the environment that it prints."
                ) from error

    @property
    def baseline(self) -> list[Any]:
        """What is worth recording at the start and the end of a run."""
        return [self.ring, self.i0, self.clock]

    def frame(self) -> np.ndarray[Any, np.dtype[np.uint16]]:
        """The latest image, shape (256, 256)."""
        return np.asarray(self.camera.image.get(), dtype=np.uint16).reshape(256, 256)


class AsyncEpicsBeamline(_Tree):
    """The beamline over channel access with ophyd-async devices; make the RunEngine first.

    Parameters are those of `EpicsBeamline`.
    """

    def __init__(self, prefix: str = "EBL:", tier: Tier = "B", timeout_s: float = 15.0) -> None:
        from bluesky.run_engine import call_in_bluesky_event_loop
        from ophyd_async.core import AsyncStatus, NotConnectedError, StandardReadable
        from ophyd_async.core import StandardReadableFormat as Format
        from ophyd_async.epics.core import epics_signal_r, epics_signal_rw
        from ophyd_async.epics.motor import Motor

        class AsyncCamera(StandardReadable):
            """The camera; its put to Acquire completes when the frame is there."""

            def __init__(self, prefix: str) -> None:
                with self.add_children_as_readables(Format.HINTED_SIGNAL):
                    for key, pv in CAMERA.items():
                        setattr(self, key, epics_signal_r(float, f"ca://{prefix}{pv}"))
                with self.add_children_as_readables():
                    self.valid = epics_signal_r(int, f"ca://{prefix}Valid")
                    self.state = epics_signal_r(str, f"ca://{prefix}State")
                self.acquire = epics_signal_rw(int, f"ca://{prefix}Acquire")
                super().__init__()

            @AsyncStatus.wrap
            async def trigger(self) -> None:
                await self.acquire.set(1)

        motors: dict[str, Any] = {name: Motor(f"ca://{prefix}{name}") for name in MOTORS}
        devices = {
            **motors,
            "camera": AsyncCamera(prefix + "camera:"),
            "ring_current": epics_signal_r(float, f"ca://{prefix}RingCurrent"),
            "clock": epics_signal_r(float, f"ca://{prefix}Clock"),
        }
        for name, device in devices.items():
            device.set_name(name, child_name_separator="_")

        async def connect() -> None:
            await asyncio.gather(*(device.connect(timeout=timeout_s) for device in devices.values()))

        try:
            call_in_bluesky_event_loop(connect())
        except (TimeoutError, NotConnectedError) as error:
            raise EblError(
                f"the PVs {prefix}… did not connect within {timeout_s} s: {error}. Start the IOC with "
                "'ebl-autonomy serve ioc' and set the environment that it prints."
            ) from error
        camera, ring_current, clock = (devices[name] for name in ("camera", "ring_current", "clock"))
        self.camera, self.ring, self.clock = camera, ring_current, clock
        super().__init__(motors, tier)

    @property
    def baseline(self) -> list[Any]:
        """What is worth recording at the start and the end of a run."""
        return [self.ring, self.clock]
