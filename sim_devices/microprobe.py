"""A simulated scanning microprobe: a sample on a stage, and detectors that count what the beam meets there."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from ophyd.status import Status
from ophyd.utils import LimitError

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.sim_devices.beamline import SoftSignal
from ebl_autonomy.sim_devices.clock import Clock
from ebl_autonomy.sim_devices.exposures import SharedExposure
from ebl_autonomy.sim_devices.flyer import SimFlyer
from ebl_autonomy.sim_devices.imperfections import Fault
from ebl_autonomy.sim_devices.labels import DeviceGroup
from ebl_autonomy.sim_devices.motor import DoneStatus, SimMotor
from ebl_autonomy.sim_devices.optics import top_up
from ebl_autonomy.sim_devices.probe_detectors import (
    Absorption,
    Fluorescence,
    Incident,
    ProbeDetector,
    Shot,
    Transmission,
    poisson,
)
from ebl_autonomy.sim_devices.sample import SimSample, pair
from ebl_autonomy.sim_devices.sampling import Sampler
from ebl_autonomy.space import FloatArray

__all__ = ["Dwell", "SimMicroprobe"]

STAGE: Final[dict[str, Any]] = {
    "egu": "um",
    "velocity": 100.0,
    "acceleration": 0.05,
    "settle_time": 0.02,
    "resolution": 0.001,
}
MONO: Final[dict[str, Any]] = {
    "egu": "eV",
    "velocity": 5.0,
    "acceleration": 0.2,
    "settle_time": 0.1,
    "limits": (2000.0, 25000.0),
    "position": 12000.0,
}
LATE_S: Final = 5.0
"""Delay of a late frame, s."""
SCATTER: Final = 0.05
"""Share of the beam that is scattered into the dark field per unit of optical depth between neighbouring pixels."""
SCATTER_IN_AIR: Final = 1e-4
"""Share of the beam that is scattered into the dark field without a sample."""


@dataclass
class Gate:
    """One exposure: when it is done, and then what was seen."""

    status: Any
    shot: Shot | None = None


class Dwell(SoftSignal):
    """The exposure time of all detectors, s (bluesky Movable and Readable).

    Parameters
    ----------
    seconds : float
    limits : (float, float)
        Shortest and longest exposure time, s.

    Raises
    ------
    BadInputError
        If the exposure time lies outside the limits.
    """

    def __init__(self, name: str, seconds: float, limits: tuple[float, float] = (1e-5, 1e4)) -> None:
        self.limits = limits
        if not limits[0] <= seconds <= limits[1]:
            raise BadInputError(f"{name}={seconds!r}: give an exposure time from {limits[0]} to {limits[1]} s")
        self.position = float(seconds)
        super().__init__(name, lambda: self.position, "s")

    def set(self, value: float) -> Any:
        """Change the exposure time.

        Raises
        ------
        LimitError
            If it lies outside the limits (ophyd's error).
        """
        self.check_value(value)
        self.position = float(value)
        return DoneStatus()

    def check_value(self, value: float) -> None:
        """Raise a LimitError (ophyd's) if an exposure time lies outside the limits."""
        low, high = self.limits
        if not low <= value <= high:
            raise LimitError(f"{self.name}={value!r} s is outside the limits {self.limits}")


class SimMicroprobe(DeviceGroup):
    """The simulated scanning microprobe.

    Parameters
    ----------
    sample : SimSample
    seed : int
        Seeds the noise of the detectors and of the beam.
    speed : float
        Simulated seconds per wall second. The default, infinity, never waits.
    beam_um : float or (float, float)
        FWHM of the Gaussian beam in x and y, µm. It blurs the sample; 0 leaves the maps as they are.
    dwell_s : float
        Exposure time at the start, s.
    i0_rate : float
        Photons of I0 per second at the nominal flux.
    i0_noise : float
        Relative standard deviation of the flux from exposure to exposure.
    dead_time_s : float
        Non-paralysable dead time of the fluorescence detector after each photon, s.
    readout_s : float
        Dead time after each exposure of a step scan, s. A flown line has none.
    drift_um_per_hour : float or (float, float)
        Speed at which the sample moves away from the stage's readbacks in x and y.
    top_up : bool
        Whether the flux follows the sawtooth of top-up injection.
    spectrum : bool
        Whether the fluorescence detector also reads full spectra, with the key ``xrf_spectrum``.
    faults : sequence of Fault
        Device faults by number of the exposure; each row of a flown line counts as one. A flown line has no time-outs
        and no late frames.
    motors : mapping of str to mapping, optional
        Arguments of `SimMotor` that replace the defaults, by motor name: ``sample_x``, ``sample_y``, ``mono_energy``.

    Attributes
    ----------
    x, y : SimMotor
        ``sample_x`` and ``sample_y``, µm: where the beam meets the sample. They reach a little beyond the maps.
    energy : SimMotor
        ``mono_energy``, eV.
    dwell : Dwell
        Exposure time, s.
    xrf : Fluorescence
        Keys ``xrf_<element>``, ``xrf_live_time``, ``xrf_real_time``.
    transmission : Transmission
        Device ``stxm``; keys ``stxm_counts`` and ``darkfield_counts``.
    absorption : Absorption
        Device ``xanes``; keys ``xanes_mu`` and ``xanes_it``.
    i0 : Incident
    clock : Clock
    flyer : SimFlyer
        Device ``line``: flies straight lines of x, of y or of both. It records all detectors, both positions and the
        clock.

    Raises
    ------
    BadInputError
        If a number is out of range, or `motors` or a fault names an unknown motor.
    EblError
        If spectra are asked for and xraylib is not installed.
    """

    def __init__(
        self,
        sample: SimSample,
        seed: int = 0,
        speed: float = math.inf,
        *,
        beam_um: float | Sequence[float] = 0.0,
        dwell_s: float = 0.03,
        i0_rate: float = 1e6,
        i0_noise: float = 1e-3,
        dead_time_s: float = 1e-6,
        readout_s: float = 0.002,
        drift_um_per_hour: float | Sequence[float] = (0.0, 0.0),
        top_up: bool = False,
        spectrum: bool = False,
        faults: Sequence[Fault] = (),
        motors: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        numbers = {"i0_rate": i0_rate, "i0_noise": i0_noise, "dead_time_s": dead_time_s, "readout_s": readout_s}
        for name, value in numbers.items():
            if not 0.0 <= value < math.inf:
                raise BadInputError(f"{name}={value!r}: give a finite number, 0 or above")
        self.sample, self.seed = sample, seed
        self.beam_um = pair("beam_um", beam_um)
        if min(self.beam_um) < 0.0:
            raise BadInputError(f"beam_um={beam_um!r}: give widths of 0 or above")
        self.drift_um_per_hour = pair("drift_um_per_hour", drift_um_per_hour)
        self.i0_rate, self.i0_noise, self.readout_s = i0_rate, i0_noise, readout_s
        self.top_up = top_up
        self.clock = Clock(speed)
        specs = _motor_specs(sample, motors or {})
        self.x = SimMotor("sample_x", self.clock, **specs["sample_x"])
        self.y = SimMotor("sample_y", self.clock, **specs["sample_y"])
        self.energy = SimMotor("mono_energy", self.clock, **specs["mono_energy"])
        self.dwell = Dwell("dwell", dwell_s)
        self.exposures = 0
        self._faults = tuple(faults)
        self._fault = ""
        """Kind of the fault that holds since the latest exposure; empty if none."""
        if unknown := sorted({fault.device for fault in self._faults if fault.device} - set(specs)):
            raise BadInputError(f"faults name {unknown}, which are not motors of the microprobe: use {sorted(specs)}")
        self._stick(1)
        self._rng = np.random.default_rng([seed, 200])
        self._exposures = SharedExposure(self._begin, self._place)
        self.i0 = Incident("i0", self, [seed, 201])
        self.xrf = Fluorescence("xrf", self, [seed, 202], list(sample.maps), dead_time_s, _spectrum(sample, spectrum))
        self.transmission = Transmission("stxm", self, [seed, 203])
        self.absorption = Absorption("xanes", self, [seed, 204])
        self.flyer = SimFlyer("line", [self.x, self.y], [*self.detectors, self.clock], self.clock, self._expose_section)
        self._mu: tuple[float, FloatArray] | None = None
        self._sampler = _sampler(sample, self.beam_um)

    def __repr__(self) -> str:
        return f"<SimMicroprobe: seed {self.seed}, {self.sample!r}>"

    @property
    def detectors(self) -> list[ProbeDetector]:
        """All detectors; those that are triggered together share an exposure."""
        return [self.xrf, self.transmission, self.absorption, self.i0]

    @property
    def baseline(self) -> list[Any]:
        """Devices to record at the start and the end of a run."""
        return [self.energy, self.dwell, self.clock]

    def expected(self, x_um: Any, y_um: Any, energy_ev: float | None = None) -> dict[str, FloatArray]:
        """What the beam meets at positions of the sample, without noise, dead time and drift; for tests and reports.

        Parameters
        ----------
        x_um, y_um : array_like
            Positions of one shape, or that broadcast to one.
        energy_ev : float, optional
            By default where the monochromator stands.

        Returns
        -------
        dict of str to FloatArray
            Of the shape of the positions: the rate of each element (counts per second at the nominal flux), and
            ``"mu"``, the optical depth.
        """
        x, y = np.broadcast_arrays(np.asarray(x_um, dtype=float), np.asarray(y_um, dtype=float))
        seen = self._sampler.at(x.ravel(), y.ravel())
        elements = list(self.sample.maps)
        mu = self.sample.depth.at(self.energy.actual if energy_ev is None else energy_ev)
        depth = seen[:, len(elements) : -1] @ mu
        rates = {name: seen[:, k].reshape(x.shape) for k, name in enumerate(elements)}
        return {**rates, "mu": depth.reshape(x.shape)}

    def drift_um(self, seconds: float) -> tuple[float, float]:
        """How far the sample has moved against the readbacks at a simulated time, µm in x and y."""
        hours = seconds / 3600.0
        return self.drift_um_per_hour[0] * hours, self.drift_um_per_hour[1] * hours

    # See `ebl_autonomy.sim_devices.probe_detectors.Source`.

    @property
    def exposure_s(self) -> float:
        """Exposure time of all detectors, s."""
        return self.dwell.position

    def join(self, detector: str) -> Gate:
        """Take part in the exposure that is being triggered, or begin one."""
        return self._exposures.join(detector)

    def close(self) -> None:
        """The latest exposure is being read: no detector joins it any more."""
        self._exposures.close()

    def snapshot(self) -> Shot:
        """What the detectors see now in one exposure, without time passing."""
        here = (self.x.actual, self.y.actual)
        return self._shoot(self.dwell.position, here, here)

    def _place(self) -> tuple[float, ...]:
        return self.x.position, self.y.position, self.energy.position, self.dwell.position

    def _begin(self) -> Gate:
        fault = self._count()
        if fault == "timeout":
            return Gate(Status())  # it hangs: the status is never done
        late_s = LATE_S if fault == "late frame" else 0.0
        wait = self.clock.spend(self.dwell.position + self.readout_s + late_s)
        if wait <= 0.0:
            return Gate(DoneStatus(), self.snapshot())
        gate = Gate(Status())

        def finish() -> None:
            gate.shot = self.snapshot()
            gate.status.set_finished()

        timer = threading.Timer(wait, finish)
        timer.daemon = True
        timer.start()
        return gate

    def _count(self) -> str:
        """Count an exposure that begins; returns the fault that affects it."""
        self.exposures += 1
        holding = [fault for fault in self._faults if fault.kind != "stuck motor" and fault.holds(self.exposures)]
        self._fault = holding[-1].kind if holding else ""
        self._stick(self.exposures + 1)
        return self._fault

    def _stick(self, number: int) -> None:
        """Apply and release the stuck-motor faults of the moves that precede an exposure."""
        stuck = {fault.device for fault in self._faults if fault.kind == "stuck motor" and fault.holds(number)}
        for motor in (self.x, self.y, self.energy):
            motor.stuck = motor.name in stuck

    def _expose_section(self, seconds: float, start: Mapping[str, float], stop: Mapping[str, float]) -> None:
        """One row of a flown line: all detectors count while the stage moves from `start` to `stop`."""
        self._count()
        ends = [(end.get(self.x.name, self.x.actual), end.get(self.y.name, self.y.actual)) for end in (start, stop)]
        shot = self._shoot(seconds, *ends)
        for detector in self.detectors:
            detector.take(shot)

    def _shoot(self, seconds: float, start: tuple[float, float], stop: tuple[float, float]) -> Shot:
        now = self.clock.now()
        moved_x, moved_y = self.drift_um(now)
        seen = self._sampler.along((start[0] - moved_x, start[1] - moved_y), (stop[0] - moved_x, stop[1] - moved_y))
        flux = max(1.0 + self.i0_noise * self._rng.standard_normal(), 0.0) * (top_up(now) if self.top_up else 1.0)
        if self._fault in ("beam dump", "shutter closed"):
            flux = 0.0
        incident = self.i0_rate * flux * seconds
        elements, energy = len(self.xrf.elements), float(self.energy.actual)
        if self._mu is None or self._mu[0] != energy:
            self._mu = energy, self.sample.depth.at(energy)
        return Shot(
            seconds=seconds,
            incident=incident,
            i0=float(poisson(self._rng, np.array([incident]))[0]),
            rates=flux * seen[:elements],
            depth=float(seen[elements:-1] @ self._mu[1]),
            scatter=SCATTER_IN_AIR + float(seen[-1]),
            energy_ev=energy,
            stamp=time.time(),
            is_lost=self._fault == "nan",
        )


def _motor_specs(sample: SimSample, changes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The arguments of the motors: the stage reaches beyond the maps, the monochromator covers the spectra."""
    specs: dict[str, dict[str, Any]] = {}
    for name, step, centres in (
        ("sample_x", sample.step_um[0], sample.x_um),
        ("sample_y", sample.step_um[1], sample.y_um),
    ):
        low, high = float(centres[0]), float(centres[-1])
        beyond = 0.25 * (high - low) + 10.0 * step
        specs[name] = {**STAGE, "limits": (low - beyond, high + beyond), "position": 0.5 * (low + high)}
    energies = sample.depth.energies_ev
    specs["mono_energy"] = dict(MONO)
    if energies.size > 1:
        low, high = float(energies[0]), float(energies[-1])
        beyond = 0.25 * (high - low)
        specs["mono_energy"] |= {"limits": (max(low - beyond, 1.0), high + beyond), "position": high}
    if unknown := sorted(set(changes) - set(specs)):
        raise BadInputError(f"motors names {unknown}, which are not motors of the microprobe: use {sorted(specs)}")
    return {name: {**spec, **changes.get(name, {})} for name, spec in specs.items()}


def _sampler(sample: SimSample, beam_um: tuple[float, float]) -> Sampler:
    """Samples the rate of each element, the weight of each component of the optical depth, and the scatter."""
    depth = sample.depth
    maps = [*sample.maps.values(), *depth.weights, _scatter(depth.weights, depth.mu)]
    outside = [*(sample.background.get(name, 0.0) for name in sample.maps), *([0.0] * (len(depth.weights) + 1))]
    return Sampler(maps, outside, sample.step_um, sample.origin_um, beam_um)


def _scatter(weights: FloatArray, mu: FloatArray) -> FloatArray:
    """The share of the beam that the edges of the sample scatter, shape (ny, nx); none at the rim of the maps."""
    thickness = np.tensordot(mu.mean(axis=1), weights, axes=1)
    slopes = [
        np.gradient(thickness, axis=axis) if length > 1 else np.zeros_like(thickness)
        for axis, length in enumerate(thickness.shape)
    ]
    return np.asarray(np.minimum(SCATTER * np.hypot(*slopes), 1.0))


def _spectrum(sample: SimSample, wanted: bool) -> Any:
    if not wanted:
        return None
    from ebl_autonomy.sim_devices.spectrum import Spectrum

    return Spectrum(list(sample.maps))
