"""A simulated microfocus beamline with realistic couplings: source, monochromator, slits, mirrors, camera.

The seed draws a hidden optimum. Only `SimBeamline.truth` reveals it, to tests and reports.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.optimize import minimize

from ebl_autonomy.analysis import beam_statistics
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.sim_devices.camera import SimCamera
from ebl_autonomy.sim_devices.clock import Clock
from ebl_autonomy.sim_devices.imperfections import Drift, Fault, Wander
from ebl_autonomy.sim_devices.labels import DETECTOR, DeviceGroup
from ebl_autonomy.sim_devices.layout import MOTORS, Tier, baseline_devices, tier_motors
from ebl_autonomy.sim_devices.motor import DoneStatus, SimMotor
from ebl_autonomy.sim_devices.optics import KBH, KBV, MirrorShape, flux_share, mirror_image, profile, top_up
from ebl_autonomy.space import FloatArray

__all__ = ["SimBeamline", "Tier", "TruthView"]

CURVATURE_PER_UM: Final = 5e-4
"""Relative curvature per µm of mean bender travel."""
COMA_PER_UM: Final = 1.5e-3
"""Relative third-order error per µm of difference between the benders."""
PHOTONS: Final = 3.9e9
"""Camera counts per second that the whole beam upstream of the slits and mirrors would give."""
DARWIN_URAD: Final = 39.0
MONO_TO_SLITS_M: Final = 10.0
BEAM_AT_SLITS_UM: Final = 130.0
JITTER_UM: Final = 0.15


@dataclass(frozen=True)
class Mirror(DeviceGroup):
    """One focusing mirror: pitch in µrad, height and the two benders in µm."""

    pitch: SimMotor
    height: SimMotor
    bend_up: SimMotor
    bend_down: SimMotor


@dataclass(frozen=True)
class Mono(DeviceGroup):
    """The monochromator: energy in eV, pitch of the second crystal in µrad."""

    energy: SimMotor
    pitch: SimMotor


@dataclass(frozen=True)
class Slits(DeviceGroup):
    """The secondary source: gaps and centres in µm."""

    h_gap: SimMotor
    v_gap: SimMotor
    h_center: SimMotor
    v_center: SimMotor


class SoftSignal:
    """A readable scalar: ring current, I0; base class of the shutter."""

    parent = None

    def __init__(
        self, name: str, read: Any, units: str = "", dtype: str = "number", labels: Sequence[str] = ()
    ) -> None:
        self.name = name
        self._ophyd_labels_ = frozenset(labels)
        self._get = read
        self._units, self._dtype = units, dtype

    def read(self) -> dict[str, dict[str, Any]]:
        return {self.name: {"value": self._get(), "timestamp": time.time()}}

    def describe(self) -> dict[str, dict[str, Any]]:
        key = {"source": f"sim:{self.name}", "dtype": self._dtype, "shape": []}
        return {self.name: {**key, **({"units": self._units} if self._units else {})}}


class Shutter(SoftSignal):
    """A photon shutter: 1 open, 0 closed."""

    def __init__(self, name: str, clock: Clock, lets_through: Callable[[], bool]) -> None:
        self.is_open = True
        """The last setpoint. A fault may close the shutter nevertheless; only the readback shows that."""
        self._clock = clock
        super().__init__(name, lambda: int(lets_through()), dtype="integer")

    def set(self, value: Any) -> Any:
        if value not in (0, 1, "open", "close", "Open", "Close", True, False):
            raise ValueError(f"{self.name} was set to {value!r}: use 'open' (1) or 'close' (0)")
        self.is_open = value in (1, "open", "Open")
        self._clock.arrive(0.5)
        return DoneStatus()


class SimBeamline(DeviceGroup):
    """The simulated beamline.

    Parameters
    ----------
    seed : int
        Seeds the hidden misalignment, the noise and the drift.
    tier : {"A", "B", "C"}
        Selects the misaligned motors. A: pitch and height of both mirrors (4). B: also the benders (8). C: also the
        monochromator's pitch, the slit centres and the camera distance (12). All other motors start at their optimum.
    speed : float
        Simulated seconds per wall second. The default, infinity, never waits.
    drift : Drift, optional
        Drift of the incoming beam; no drift by default.
    faults : sequence of Fault
        Device faults. A beam dump or a closed shutter also shows in the ring current, the shutter and I0, until the
        next exposure.
    top_up : bool
        Whether the ring current follows the sawtooth of top-up injection.

    Attributes
    ----------
    kbv, kbh : Mirror
    mono, slits, shutter, ring, i0, camera_z, camera, clock
    truth : TruthView
        The hidden optimum; no reading contains it.

    Raises
    ------
    BadInputError
        If the tier is unknown, the speed is not positive, or a fault names an unknown motor.
    """

    def __init__(
        self,
        seed: int = 0,
        tier: Tier = "B",
        speed: float = math.inf,
        drift: Drift | None = None,
        faults: Sequence[Fault] = (),
        top_up: bool = True,
    ) -> None:
        misaligned = tier_motors(tier)
        self.seed, self.tier = seed, tier
        self.clock = Clock(speed)
        self._faults = tuple(faults)
        self._fault = ""
        """Kind of the fault that holds since the latest exposure; empty if none."""
        self._wander = Wander(drift or Drift(), seed)
        self._top_up = top_up
        rng = np.random.default_rng([seed, 3])
        self._motors = {name: SimMotor(name, self.clock, **spec) for name, spec in MOTORS.items()}
        self._best = {name: float(motor.position) for name, motor in self._motors.items()}
        everything = {name: rng.uniform(-1.0, 1.0) for name in self._motors}  # the same for all tiers of a seed
        for motor in (self._motors[name] for name in misaligned):
            low, high = motor.limits
            reach = 0.4 if motor.name.endswith(("pitch", "height")) else 0.5
            self._best[motor.name] += reach * 0.5 * (high - low) * everything[motor.name]
        get = self._motors.__getitem__
        self.kbv = Mirror(get("kbv_pitch"), get("kbv_height"), get("kbv_bend_up"), get("kbv_bend_down"))
        self.kbh = Mirror(get("kbh_pitch"), get("kbh_height"), get("kbh_bend_up"), get("kbh_bend_down"))
        self.mono = Mono(get("mono_energy"), get("mono_pitch"))
        self.slits = Slits(*(get(f"slits_{n}") for n in ("h_gap", "v_gap", "h_center", "v_center")))
        self.camera_z = get("camera_z")
        self.shutter = Shutter("shutter", self.clock, self._is_lit)
        self.ring = SoftSignal("ring_current", lambda: 100.0 * self._current(), "mA", labels=[DETECTOR])
        noise = np.random.default_rng([seed, 5])
        self.i0 = SoftSignal(
            "i0", lambda: self._i0() * (1.0 + 1e-3 * noise.standard_normal()), "counts", labels=[DETECTOR]
        )
        self.camera = SimCamera("camera", self, self.clock, seed, self._before_exposure)
        self.truth = TruthView(self)
        if unknown := sorted({fault.device for fault in self._faults if fault.device} - set(self._motors)):
            raise BadInputError(
                f"faults name {unknown}, which are not motors of the beamline: use one of {sorted(self._motors)}"
            )
        self._stick(1)

    def __repr__(self) -> str:
        names = ", ".join(tier_motors(self.tier))
        return f"<SimBeamline: seed {self.seed}, tier {self.tier!r}: {names}>"

    @property
    def baseline(self) -> list[Any]:
        """Devices to record at the start and the end of a run."""
        return baseline_devices(self)

    def motors(self, tier: Tier | None = None) -> list[SimMotor]:
        """The motors of a tier, mirrors first. The default is the beamline's own tier."""
        return [self._motors[name] for name in tier_motors(tier or self.tier)]

    def profiles(self, seconds: float) -> tuple[FloatArray, FloatArray, float]:
        """See `ebl_autonomy.sim_devices.camera.Light`."""
        actual = {name: motor.actual for name, motor in self._motors.items()}
        x, y, share = self._beam(actual, seconds)
        rate = PHOTONS * share * self._current() * float(self._is_lit())
        return x, y, rate

    def _beam(self, positions: Mapping[str, float], seconds: float) -> tuple[FloatArray, FloatArray, float]:
        u = {name: value - self._best[name] for name, value in positions.items()}
        drift_x, drift_y = self._wander.at(seconds)
        edges = self.camera.edges
        wavelength = 12398.42e-10 / positions["mono_energy"]
        x = self._axis(KBH, "kbh", u, positions["slits_h_gap"], wavelength, edges, drift_x)
        y = self._axis(KBV, "kbv", u, positions["slits_v_gap"], wavelength, edges, drift_y)
        # The second crystal deflects the beam vertically by twice its pitch, and detunes from the first crystal.
        walk = 2.0 * u["mono_pitch"] * MONO_TO_SLITS_M
        share = math.exp(-0.5 * (u["mono_pitch"] / DARWIN_URAD) ** 2)
        share *= flux_share(u["slits_h_center"], positions["slits_h_gap"], BEAM_AT_SLITS_UM)
        share *= flux_share(u["slits_v_center"] - walk, positions["slits_v_gap"], BEAM_AT_SLITS_UM)
        return x, y, share

    @staticmethod
    def _axis(
        shape: MirrorShape,
        name: str,
        u: Mapping[str, float],
        gap_um: float,
        wavelength: float,
        edges: FloatArray,
        drift_um: float,
    ) -> FloatArray:
        up, down = u[f"{name}_bend_up"], u[f"{name}_bend_down"]
        spot = mirror_image(
            shape,
            pitch=u[f"{name}_pitch"] * 1e-6,
            height=u[f"{name}_height"] * 1e-6,
            curvature=CURVATURE_PER_UM * 0.5 * (up + down),
            coma=COMA_PER_UM * (up - down),
            defocus=u["camera_z"] * 1e-3,
        )
        sigma = math.hypot(shape.source_image(gap_um * 1e-6), shape.diffraction(wavelength), JITTER_UM * 1e-6)
        return profile(spot, edges, sigma, shift=drift_um * 1e-6)

    def _current(self) -> float:
        """Relative ring current."""
        if self._fault == "beam dump":
            return 0.0
        return top_up(self.clock.now()) if self._top_up else 1.0

    def _is_lit(self) -> bool:
        return self.shutter.is_open and self._fault != "shutter closed"

    def _i0(self) -> float:
        share = flux_share(0.0, self.slits.h_gap.actual, BEAM_AT_SLITS_UM)
        return 1e6 * share * self._current() * float(self._is_lit())

    def _before_exposure(self, number: int) -> str:
        holding = [fault for fault in self._faults if fault.kind != "stuck motor" and fault.holds(number)]
        self._fault = holding[-1].kind if holding else ""
        self._stick(number + 1)
        return self._fault

    def _stick(self, number: int) -> None:
        """Apply and release the stuck-motor faults of the moves that precede exposure `number`."""
        stuck = {fault.device for fault in self._faults if fault.kind == "stuck motor" and fault.holds(number)}
        for name, motor in self._motors.items():
            motor.stuck = name in stuck


class TruthView:
    """The hidden truth of a beamline, for tests and reports; never for an agent.

    Parameters
    ----------
    beamline : SimBeamline
    """

    def __init__(self, beamline: SimBeamline) -> None:
        self._beamline = beamline
        self._found: dict[str, float] | None = None

    def outcome(self, point: Mapping[str, float] | None = None) -> dict[str, float]:
        """The camera's scalars at a point, without noise, drift and backlash.

        Parameters
        ----------
        point : mapping of str to float, optional
            Positions by motor name. All other motors count at their current positions.

        Returns
        -------
        dict of str to float
            Values by the camera's event keys; lengths in µm.

        Raises
        ------
        BadInputError
            If the point names an unknown motor.
        """
        b = self._beamline
        positions = {name: float(motor.position) for name, motor in b._motors.items()}
        if unknown := sorted(set(point or {}) - set(positions)):
            raise BadInputError(f"{unknown} are not motors of the beamline: use one of {sorted(positions)}")
        positions.update({name: float(value) for name, value in (point or {}).items()})
        wander, b._wander = b._wander, Wander(Drift(), 0)
        try:
            x, y, share = b._beam(positions, 0.0)
        finally:
            b._wander = wander
        image = PHOTONS * share * b.camera.exposure * np.outer(y, x) + b.camera.dark
        scalars = beam_statistics(image, b.camera.dark, b.camera.pixel_um, math.inf)
        return {f"camera_{key}": value for key, value in scalars.items() if key != "state"}

    def best_point(self) -> dict[str, float]:
        """The positions of the tier's motors that minimise the spot area, by motor name."""
        if self._found is None:
            motors = self._beamline.motors()
            hidden = {m.name: self._beamline._best[m.name] for m in motors}
            span = np.array([m.limits[1] - m.limits[0] for m in motors])

            def area(u: FloatArray) -> float:
                value = self.outcome({m.name: hidden[m.name] + d for m, d in zip(motors, u * span, strict=True)})
                return float(value["camera_spot_area"]) if value["camera_valid"] else 1e9

            # Every aberration vanishes at the hidden offsets. The measured spot is slightly smaller a little away from
            # them, because it depends on where the beam lies on the pixels. SciPy's default initial simplex around
            # zero is too small to find that.
            nothing = np.zeros(len(motors))
            simplex = np.vstack([nothing, 0.003 * np.eye(len(motors))])
            options = {"initial_simplex": simplex, "xatol": 1e-6, "fatol": 1e-5, "maxfev": 2000}
            u = minimize(area, nothing, method="Nelder-Mead", options=options).x  # never worse than the start
            self._found = {m.name: hidden[m.name] + float(d) for m, d in zip(motors, u * span, strict=True)}
        return dict(self._found)

    def best_fwhm(self) -> tuple[float, float]:
        """The widths (x, y) of the smallest spot, FWHM in µm."""
        best = self.outcome(self.best_point())
        return float(best["camera_fwhm_x"]), float(best["camera_fwhm_y"])

    def best_area(self) -> float:
        """The smallest spot area, µm²."""
        return float(self.outcome(self.best_point())["camera_spot_area"])
