"""Simulated devices: a beamline and a scanning microprobe in this process, and the same over EPICS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebl_autonomy.lazy import lazy_attributes

if TYPE_CHECKING:
    from ebl_autonomy.sim_devices.beamline import SimBeamline, TruthView
    from ebl_autonomy.sim_devices.camera import SimCamera
    from ebl_autonomy.sim_devices.clock import Clock
    from ebl_autonomy.sim_devices.epics import EpicsBeamline
    from ebl_autonomy.sim_devices.epics_async import AsyncEpicsBeamline
    from ebl_autonomy.sim_devices.epics_microprobe import EpicsMicroprobe
    from ebl_autonomy.sim_devices.epics_microprobe_async import AsyncEpicsMicroprobe
    from ebl_autonomy.sim_devices.flyer import SimFlyer
    from ebl_autonomy.sim_devices.imperfections import Drift, Fault
    from ebl_autonomy.sim_devices.microprobe import SimMicroprobe
    from ebl_autonomy.sim_devices.microprobe_async import AsyncMicroprobe
    from ebl_autonomy.sim_devices.motor import SimMotor
    from ebl_autonomy.sim_devices.sample import SimSample

# Loaded on first use: the EPICS devices import a channel access library, which few sessions need.

__all__ = [
    "AsyncEpicsBeamline",
    "AsyncEpicsMicroprobe",
    "AsyncMicroprobe",
    "Clock",
    "Drift",
    "EpicsBeamline",
    "EpicsMicroprobe",
    "Fault",
    "SimBeamline",
    "SimCamera",
    "SimFlyer",
    "SimMicroprobe",
    "SimMotor",
    "SimSample",
    "TruthView",
]


__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "AsyncEpicsBeamline": ".epics_async",
        "AsyncEpicsMicroprobe": ".epics_microprobe_async",
        "AsyncMicroprobe": ".microprobe_async",
        "Clock": ".clock",
        "Drift": ".imperfections",
        "EpicsBeamline": ".epics",
        "EpicsMicroprobe": ".epics_microprobe",
        "Fault": ".imperfections",
        "SimBeamline": ".beamline",
        "SimCamera": ".camera",
        "SimFlyer": ".flyer",
        "SimMicroprobe": ".microprobe",
        "SimMotor": ".motor",
        "SimSample": ".sample",
        "TruthView": ".beamline",
    },
)
