"""The simulated microprobe over EPICS with ophyd devices: the same names and keys as `SimMicroprobe`.

Importing this module starts a channel access client, which reads the ``EPICS_CA_…`` variables only once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

from ophyd import Component, Device, EpicsMotor, EpicsSignal, EpicsSignalRO, Kind

from ebl_autonomy.sim_devices.epics_common import (
    LINE_MOTORS,
    PROBE_MOTORS,
    SPECTRUM,
    EpicsGroup,
    no_probe,
    probe_keys,
)
from ebl_autonomy.sim_devices.epics_line import EpicsLineFlyer
from ebl_autonomy.sim_devices.exposures import SharedExposure
from ebl_autonomy.sim_devices.labels import DETECTOR, MOTOR

__all__ = ["EpicsMicroprobe", "EpicsProbeDetector"]


class EpicsProbeDetector(Device):
    """A detector of the microprobe. Those that are triggered together share the IOC's exposure."""

    exposure = Component(EpicsSignalRO, "Dwell", kind=Kind.config, auto_monitor=False)
    """The exposure time of all detectors, s; agents that weigh travel against measurements ask for it."""
    exposures: ClassVar[SharedExposure[Any]]

    @classmethod
    def of(cls, name: str, prefix: str, keys: Sequence[str], exposures: SharedExposure[Any]) -> EpicsProbeDetector:
        """A detector with one signal per key."""
        # Not monitored: a monitor update may arrive after the put completion that the trigger waits for.
        signals = {
            f"signal_{key}": Component(
                EpicsSignalRO, key, kind=Kind.normal if key == SPECTRUM else Kind.hinted, auto_monitor=False
            )
            for key in keys
        }
        made: EpicsProbeDetector = type(f"Epics_{name}", (cls,), {**signals, "exposures": exposures})(
            prefix, name=name, labels={DETECTOR}
        )
        for key in keys:
            getattr(made, f"signal_{key}").name = key
        return made

    def trigger(self) -> Any:
        return self.exposures.join(self.name)

    def read(self) -> Any:
        self.exposures.close()
        return super().read()


class EpicsMicroprobe(EpicsGroup):
    """The microprobe over channel access with ophyd devices: the attributes of `SimMicroprobe`, with its flyer.

    Parameters
    ----------
    prefix : str
        Prefix of the PVs.
    timeout_s : float
        Wall seconds within which all PVs must connect.

    Raises
    ------
    EblError
        If the PVs do not connect in time; the message names a missing PV.
    """

    def __init__(self, prefix: str = "EBL:", timeout_s: float = 15.0) -> None:
        self._acquire = EpicsSignal(prefix + "Acquire", name="acquire", put_complete=True)
        devices: dict[str, Any] = {
            "elements": EpicsSignalRO(prefix + "Elements", name="elements"),  # first: it shows whether the IOC runs
            "spectrum_bins": EpicsSignalRO(prefix + "SpectrumBins", name="spectrum_bins"),
            "acquire": self._acquire,
            **{name: EpicsMotor(prefix + name, name=name, labels={MOTOR}) for name in PROBE_MOTORS},
            "dwell": EpicsSignal(prefix + "Dwell", name="dwell", put_complete=True, limits=True, auto_monitor=True),
            "clock": EpicsSignalRO(prefix + "Clock", name="clock"),
        }
        super().__init__(devices)
        self.x, self.y, self.energy = (devices[name] for name in PROBE_MOTORS)
        self.dwell, self.clock = devices["dwell"], devices["clock"]
        deadline = time.monotonic() + timeout_s
        try:
            self._connect(list(devices.values()), deadline)
            elements = devices["elements"].get()
            keys = probe_keys(
                [elements] if isinstance(elements, str) else list(elements), devices["spectrum_bins"].get()
            )
            exposures = SharedExposure(lambda: self._acquire.set(1), self._place)
            for name, own in keys.items():
                devices[name] = EpicsProbeDetector.of(name, prefix, own, exposures)
            numbers = [key for own in keys.values() for key in own if key != SPECTRUM]
            devices["line"] = EpicsLineFlyer.of("line", f"{prefix}line:", LINE_MOTORS, [*numbers, "clock"])
            self._connect([devices[name] for name in (*keys, "line")], deadline)
        except TimeoutError as error:
            self.close()
            raise no_probe(prefix, timeout_s, str(error)) from error
        self.xrf, self.transmission, self.absorption, self.i0 = (devices[name] for name in keys)
        self.flyer = devices["line"]

    @property
    def detectors(self) -> list[Any]:
        """All detectors; those that are triggered together share an exposure."""
        return [self.xrf, self.transmission, self.absorption, self.i0]

    @property
    def baseline(self) -> list[Any]:
        """Devices to record at the start and the end of a run."""
        return [self.energy, self.dwell, self.clock]

    @staticmethod
    def _connect(devices: list[Any], deadline: float) -> None:
        for device in devices:
            device.wait_for_connection(timeout=max(deadline - time.monotonic(), 0.1))

    def _place(self) -> tuple[float, ...]:
        return self.x.position, self.y.position, self.energy.position, self.dwell.get()

    def _release(self) -> None:
        for device in self._devices.values():
            device.destroy()
