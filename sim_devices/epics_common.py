"""What the EPICS beamlines share: names, PVs and clean-up."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from ebl_autonomy.errors import EblError
from ebl_autonomy.sim_devices.labels import DeviceGroup, Devices
from ebl_autonomy.sim_devices.layout import MIRROR_MOTORS, MIRRORS, PIXELS, Tier, baseline_devices, tier_motors

__all__ = [
    "CAMERA_PVS",
    "HINTED",
    "LINE_MOTORS",
    "PROBE_MOTORS",
    "SPECTRUM",
    "TRIGGER_TIMEOUT_S",
    "EpicsGroup",
    "EpicsTree",
    "as_image",
    "close_all",
    "no_connection",
    "no_probe",
    "probe_keys",
]

CAMERA_PVS: Final = {
    "total": "Total",
    "peak": "Peak",
    "centroid_x": "CentroidX",
    "centroid_y": "CentroidY",
    "fwhm_x": "FwhmX",
    "fwhm_y": "FwhmY",
    "spot_area": "SpotArea",
    "saturated_fraction": "SaturatedFraction",
}
"""PV suffix of each camera scalar, by attribute name (which is also the suffix of the event key)."""
HINTED: Final = ("spot_area", "total")
TRIGGER_TIMEOUT_S: Final = 60.0
"""Longest time for one frame, wall seconds."""
PROBE_MOTORS: Final = ("sample_x", "sample_y", "mono_energy")
LINE_MOTORS: Final = PROBE_MOTORS[:2]
"""The motors that fly lines."""
SPECTRUM: Final = "xrf_spectrum"
_SLITS: Final = ("h_gap", "v_gap", "h_center", "v_center")
_open: weakref.WeakSet[EpicsGroup] = weakref.WeakSet()


class EpicsGroup(DeviceGroup):
    """Devices over channel access, by name; as a context manager it closes them on exit."""

    def __init__(self, devices: dict[str, Any]) -> None:
        self._devices = devices
        _open.add(self)

    def close(self) -> None:
        """Disconnect all PVs; the devices cannot be used afterwards. Closing twice does nothing."""
        if self in _open:
            _open.discard(self)
            self._release()

    def _release(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class EpicsTree(EpicsGroup):
    """The attributes of `SimBeamline` over a dict of devices; as a context manager it closes the beamline on exit.

    Parameters
    ----------
    devices : dict
        Every motor by name, and ``camera``, ``shutter``, ``ring_current``, ``i0``, ``clock``.
    tier : str
        Selects the motors that `motors` returns.

    Raises
    ------
    BadInputError
        If the tier is unknown.
    """

    kbv: Devices
    kbh: Devices

    def __init__(self, devices: dict[str, Any], tier: str) -> None:
        tier_motors(tier)  # raises if the tier is unknown
        self.tier = tier
        super().__init__(devices)
        for mirror in MIRRORS:
            setattr(self, mirror, Devices(**{name: devices[f"{mirror}_{name}"] for name in MIRROR_MOTORS}))
        self.mono = Devices(energy=devices["mono_energy"], pitch=devices["mono_pitch"])
        self.slits = Devices(**{name: devices[f"slits_{name}"] for name in _SLITS})
        self.camera_z = devices["camera_z"]
        self.camera, self.shutter = devices["camera"], devices["shutter"]
        self.ring, self.i0, self.clock = devices["ring_current"], devices["i0"], devices["clock"]

    def motors(self, tier: Tier | None = None) -> list[Any]:
        """The motors of a tier, mirrors first. The default is the beamline's own tier."""
        return [self._devices[name] for name in tier_motors(tier or self.tier)]

    @property
    def baseline(self) -> list[Any]:
        """Devices to record at the start and the end of a run."""
        return baseline_devices(self)


def probe_keys(elements: Sequence[str], bins: int) -> dict[str, list[str]]:
    """The keys of each detector, which are the names of its PVs too, by the name of the device."""
    xrf = [f"xrf_{element}" for element in elements] + ["xrf_live_time", "xrf_real_time"]
    return {
        "xrf": [*xrf, *([SPECTRUM] if bins else [])],
        "stxm": ["stxm_counts", "darkfield_counts"],
        "xanes": ["xanes_mu", "xanes_it"],
        "i0": ["i0"],
    }


def close_all() -> None:
    """Close every EPICS beamline of this process."""
    for beamline in list(_open):
        beamline.close()


def no_probe(prefix: str, timeout_s: float, missing: str) -> EblError:
    """The error for missing PVs of the microprobe, with the remedy."""
    return no_connection(prefix, timeout_s, missing, " --beamline microprobe")


def no_connection(prefix: str, timeout_s: float, missing: str, options: str = "") -> EblError:
    """The error for missing PVs, with the remedy: the command that serves them, with these `options`."""
    return EblError(
        f"the PVs {prefix}… did not connect within {timeout_s:g} s ({missing}): start the IOC with "
        f"'ebl-autonomy serve ioc{options}' and set the environment that it prints before the session starts"
    )


def as_image(flat: Any) -> npt.NDArray[np.uint16]:
    """A frame of shape (PIXELS, PIXELS), counts, from the PV's flat array."""
    return np.asarray(flat).astype(np.uint16).reshape(PIXELS, PIXELS)
