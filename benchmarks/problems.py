"""Alignment problems whose truth is known, from the physics of a mirror pair.

A mirror at grazing angle θ, p behind the source and q in front of the focus, is bent to the curvature
κ0 = θ0 (1/p + 1/q) / 2. Its focal length is θ / 2κ, so the ray that crosses it at the height a arrives at

    a (1 + q/p) (1 - κ θ0 / κ0 θ)

in the focal plane. Wrong bending and wrong pitch thus compensate each other. Over the accepted width L θ, evenly
filled, the blur (rms) is L θ / √12 times both brackets. A pitch error δ also moves the image by 2 q δ, against an
aperture in front of the detector, and changes the reflectivity, which vanishes beyond the critical angle (Fresnel's
formula, with absorption). The measured signal is the brightest pixel: photons and dark counts. Its logarithm spans more
than four decades, most of which lie behind the aperture.

The seed draws where the optimum lies. A method sees only `AlignmentProblem.vocs` and `AlignmentProblem.measure`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import differential_evolution
from scipy.special import erf

from ebl_autonomy.space import VOCS, FloatArray

CRITICAL_RAD = 3.4e-3
SKIN_RAD = 0.7e-3
"""√2β: the width over which absorption rounds the edge of total reflection."""
CURVATURE_PER_UM = 1e-3
"""Relative curvature per µm of bender travel."""
RIPPLE = 0.003
"""Noise of the source's intensity, in decades (0.7 %)."""


@dataclass(frozen=True)
class Optic:
    """A bendable mirror.

    Attributes
    ----------
    p, q : float
        Distances from the source and to the focus, m.
    angle : float
        Grazing angle, rad.
    length : float
        m.
    spot : float
        Width of the best focus, rms, m.
    """

    p: float
    q: float
    angle: float
    length: float
    spot: float

    def image(self, pitch: FloatArray, bend: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Reflected share, and rms width and shift of the image, m, for pitch errors, rad, and relative bending errors.

        All arrays have the same shape.
        """
        angle = self.angle + pitch
        bracket = 1.0 - (1.0 + bend) * self.angle / angle
        blur = self.accepted(angle) / np.sqrt(12.0) * (1.0 + self.q / self.p) * bracket
        share = reflectivity(angle) * angle / self.angle
        return share, np.hypot(self.spot, blur), 2.0 * self.q * pitch

    def accepted(self, angle: FloatArray | float) -> Any:
        """Width of the beam that the mirror accepts, m."""
        return self.length * angle


VERTICAL = Optic(p=31.0, q=0.34, angle=2.7e-3, length=0.24, spot=1.4e-6)
HORIZONTAL = Optic(p=31.2, q=0.16, angle=2.7e-3, length=0.12, spot=1.8e-6)


def reflectivity(angle: FloatArray) -> FloatArray:
    """Fresnel reflectivity at grazing angles in rad."""
    inside = np.sqrt(angle**2 - CRITICAL_RAD**2 + 1j * SKIN_RAD**2)
    return np.asarray(np.abs((angle - inside) / (angle + inside)) ** 2)


def passed(shift: FloatArray, rms: FloatArray, half: float) -> FloatArray:
    """Share of a Gaussian beam that passes an opening from -half to half, all in m."""
    scale = np.sqrt(2.0) * rms
    return np.asarray(0.5 * (erf((half - shift) / scale) + erf((half + shift) / scale)))


def hypervolume(gains: FloatArray) -> float:
    """The area above the origin that points, shape (n, 2), dominate, if more of either is better."""
    gains = gains[(gains > 0.0).all(axis=1)]
    first, second = gains[np.argsort(-gains[:, 0])].T
    top = np.maximum.accumulate(second)
    return float(np.sum(first * np.diff(top, prepend=0.0)))


@dataclass(frozen=True)
class AlignmentProblem:
    """One instance of an alignment problem.

    Attributes
    ----------
    seed : int
        Draws the hidden misalignment.
    name, title : str
    bounds : dict of str to (float, float)
        Of the variables, in their own units.
    objectives : dict of str to str
        ``"MAXIMIZE"`` or ``"MINIMIZE"``, as in a VOCS.
    limits : dict of str to float
        The values that outcomes must not exceed.
    reference : dict of str to float, optional
        With two objectives, the worst value of each that is worth anything.
    drifts : bool
        Whether the optimum moves.
    floor : float
        The objective where there is no beam.
    """

    seed: int = 0

    name: ClassVar[str]
    title: ClassVar[str]
    bounds: ClassVar[dict[str, tuple[float, float]]]
    objectives: ClassVar[dict[str, str]] = {"log_counts": "MAXIMIZE"}
    limits: ClassVar[dict[str, float]] = {}
    reference: ClassVar[dict[str, float] | None] = None
    drifts: ClassVar[bool] = False
    floor: ClassVar[float]

    @property
    def vocs(self) -> VOCS:
        """What a method knows in advance. The beamline stands at mid-travel."""
        return VOCS(
            variables={
                name: {"type": "ContinuousVariable", "domain": [low, high], "default_value": 0.5 * (low + high)}
                for name, (low, high) in self.bounds.items()
            },
            objectives=dict(self.objectives),
            constraints={name: ["LESS_THAN", limit] for name, limit in self.limits.items()},
        )

    def truth(self, X: FloatArray, number: int = 0) -> dict[str, FloatArray]:
        """Outcomes without noise, shape (n,) each, at positions of shape (n, d), after `number` measured points."""
        raise NotImplementedError

    def noisy(self, truth: Mapping[str, float], rng: np.random.Generator) -> dict[str, float]:
        """Measured outcomes, with their standard deviations, for true ones."""
        raise NotImplementedError

    def measure(self, point: Mapping[str, float], number: int, rng: np.random.Generator) -> dict[str, float]:
        """The result at `point`, after `number` measured points: variables, outcomes and ``<outcome>_std``."""
        truth = self.truth(self.positions([point]), number)
        return {**point, **self.noisy({name: float(value[0]) for name, value in truth.items()}, rng)}

    def merit(self, X: FloatArray) -> FloatArray:
        """The objective, shape (n,), signed so that more is better; the floor where a limit is broken."""
        truth = self.truth(X)
        ((name, sense),) = self.objectives.items()
        value = truth[name] if sense == "MAXIMIZE" else -truth[name]
        allowed = np.all([truth[n] < limit for n, limit in self.limits.items()], axis=0)
        return np.where(allowed, np.maximum(value, self.floor), self.floor)

    @cached_property
    def optimum(self) -> float:
        """The largest merit, by differential evolution over thousands of points that include the aligned position."""
        found = differential_evolution(
            lambda u: -self.merit(np.atleast_2d(u.T)),
            list(self.bounds.values()),
            x0=self.aligned,
            rng=np.random.default_rng(0),
            vectorized=True,
            updating="deferred",
            polish=False,
            popsize=15,
            maxiter=400,
            tol=1e-7,
        )
        return float(-found.fun)

    @property
    def aligned(self) -> FloatArray:
        """The hidden position, shape (d,): the optimum, or a point near it."""
        raise NotImplementedError

    def regret(self, points: Sequence[Mapping[str, float]]) -> FloatArray:
        """The regret after each point, shape (n,): 0 if the best so far is the optimum, 1 if none saw the beam."""
        return np.minimum.accumulate(self.losses(points))

    def losses(self, points: Sequence[Mapping[str, float]]) -> FloatArray:
        """The loss of each point alone, shape (n,): its share of the way from the optimum to the floor."""
        return (self.optimum - self.merit(self.positions(points))) / (self.optimum - self.floor)

    def violations(self, points: Sequence[Mapping[str, float]]) -> int:
        """The number of points that break a limit, by the truth."""
        truth = self.truth(self.positions(points))
        broken = [truth[name] >= limit for name, limit in self.limits.items()]
        return int(np.any(broken, axis=0).sum()) if broken else 0

    def positions(self, points: Sequence[Mapping[str, float]]) -> FloatArray:
        """Points as an array, shape (n, d)."""
        return np.array([[float(point[name]) for name in self.bounds] for point in points])

    def _drawn(self, *reach: float) -> FloatArray:
        """Positions of the last variables, drawn evenly within shares of half the travel about its middle.

        Shape (len(reach),).
        """
        half = np.array([0.5 * (high - low) for low, high in list(self.bounds.values())[-len(reach) :]])
        middle = np.array([0.5 * (high + low) for low, high in list(self.bounds.values())[-len(reach) :]])
        return middle + half * np.array(reach) * np.random.default_rng([self.seed, 41]).uniform(-1.0, 1.0, len(reach))


@dataclass(frozen=True)
class MirrorPair(AlignmentProblem):
    """Pitch and bender of both mirrors of a Kirkpatrick-Baez pair."""

    name = "pair"
    title = "mirror pair, 4 motors"
    bounds = {
        "v_pitch": (-450.0, 450.0),  # µrad
        "v_bend": (-140.0, 140.0),  # µm
        "h_pitch": (-450.0, 450.0),
        "h_bend": (-140.0, 140.0),
    }
    photons: ClassVar[float] = 1e6
    dark: ClassVar[float] = 4.0
    pixel: ClassVar[float] = 1.2e-6
    opening: ClassVar[float] = 140e-6
    floor = float(np.log10(4.0))

    @cached_property
    def aligned(self) -> FloatArray:
        return self._drawn(0.45, 0.55, 0.55, 0.55)

    def truth(self, X: FloatArray, number: int = 0) -> dict[str, FloatArray]:
        u = X - self.aligned
        v = VERTICAL.image(u[:, 0] * 1e-6, u[:, 1] * CURVATURE_PER_UM)
        h = HORIZONTAL.image(u[:, 2] * 1e-6, u[:, 3] * CURVATURE_PER_UM)
        return {"log_counts": self._log_counts(v, h)}

    def noisy(self, truth: Mapping[str, float], rng: np.random.Generator) -> dict[str, float]:
        counts = max(float(rng.poisson(10.0 ** truth["log_counts"])), 0.5)
        std = float(np.hypot(1.0 / (np.log(10.0) * np.sqrt(counts)), RIPPLE))
        return {"log_counts": float(np.log10(counts) + RIPPLE * rng.standard_normal()), "log_counts_std": std}

    def _log_counts(self, v: Sequence[FloatArray], h: Sequence[FloatArray], flux: FloatArray | float = 1.0) -> Any:
        """log10 of the counts in the brightest pixel, from (share, rms, shift) along both axes."""
        for share, rms, shift in (v, h):
            pixel = erf(self.pixel / (2.0 * np.sqrt(2.0) * rms))
            flux = flux * share * passed(shift, rms, self.opening) * pixel
        return np.log10(self.photons * flux + self.dark)


@dataclass(frozen=True)
class Plateau(MirrorPair):
    """The pair behind slits, on a table that can be raised and rolled. Most of the domain is dark.

    The slits cut a Gaussian beam, and the mirrors must be at the height of the part that passes. A height h moves the
    image by h (1 + q/p), the roll by its lever. The roll also smears each line focus: by twice the roll, over the width
    of the other.
    """

    name = "plateau"
    title = "dark plateau, 8 motors"
    bounds = {
        "v_pitch": (-500.0, 500.0),
        "v_bend": (-140.0, 140.0),
        "h_pitch": (-500.0, 500.0),
        "h_bend": (-140.0, 140.0),
        "v_slit": (-900.0, 900.0),  # µm
        "h_slit": (-900.0, 900.0),
        "roll": (-7000.0, 7000.0),  # µrad
        "height": (-450.0, 450.0),  # µm
    }
    opening = 60e-6
    beam: ClassVar[float] = 220e-6
    follow: ClassVar[float] = 140e-6
    lever: ClassVar[float] = 0.012

    @cached_property
    def aligned(self) -> FloatArray:
        return self._drawn(*[0.5] * 8)

    def truth(self, X: FloatArray, number: int = 0) -> dict[str, FloatArray]:
        u = X - self.aligned
        v_slit, h_slit, roll, height = u[:, 4] * 1e-6, u[:, 5] * 1e-6, u[:, 6] * 1e-6, u[:, 7] * 1e-6
        v_share, v_rms, v_shift = VERTICAL.image(u[:, 0] * 1e-6, u[:, 1] * CURVATURE_PER_UM)
        h_share, h_rms, h_shift = HORIZONTAL.image(u[:, 2] * 1e-6, u[:, 3] * CURVATURE_PER_UM)
        smear = 2.0 * roll / np.sqrt(12.0)
        v_rms = np.hypot(v_rms, smear * HORIZONTAL.accepted(HORIZONTAL.angle))
        h_rms = np.hypot(h_rms, smear * VERTICAL.accepted(VERTICAL.angle))
        v_shift = v_shift + height * (1.0 + VERTICAL.q / VERTICAL.p) + self.lever * roll
        h_shift = h_shift - self.lever * roll
        # The mirror must follow the part of the beam that the slit lets through.
        flux = np.exp(
            -0.5 * (v_slit**2 + h_slit**2) / self.beam**2 - 0.5 * ((height - 0.5 * v_slit) / self.follow) ** 2
        )
        return {"log_counts": self._log_counts((v_share, v_rms, v_shift), (h_share, h_rms, h_shift), flux)}


@dataclass(frozen=True)
class FluxAgainstSize(AlignmentProblem):
    """Slits and benders: more flux, or a smaller spot.

    A wide slit passes more of a Gaussian beam, but increases the blur by defocus and by the figure error of the mirror,
    which grows with the third power of the width. A narrow slit diffracts, by 0.37 λ q / gap (rms).
    """

    name = "front"
    title = "flux against size, 4 motors"
    bounds = {
        "v_gap": (20.0, 600.0),  # µm
        "h_gap": (20.0, 600.0),
        "v_bend": (-140.0, 140.0),
        "h_bend": (-140.0, 140.0),
    }
    objectives = {"log_flux": "MAXIMIZE", "log_size": "MINIMIZE"}
    reference = {"log_flux": 3.0, "log_size": 1.3}  # 1000 photons in 20 µm
    photons: ClassVar[float] = 1e6
    wavelength: ClassVar[float] = 1e-10
    beam: ClassVar[float] = 180e-6
    figure: ClassVar[float] = 4e-6
    size_noise: ClassVar[float] = 0.01

    @cached_property
    def aligned(self) -> FloatArray:
        """The aligned positions of the benders, shape (2,)."""
        return self._drawn(0.6, 0.6)

    def truth(self, X: FloatArray, number: int = 0) -> dict[str, FloatArray]:
        flux: Any = self.photons
        square: Any = 1.0
        for i, mirror in enumerate((VERTICAL, HORIZONTAL)):
            gap, bend = X[:, i] * 1e-6, (X[:, 2 + i] - self.aligned[i]) * CURVATURE_PER_UM
            flux = flux * erf(gap / (2.0 * np.sqrt(2.0) * self.beam))
            diffraction = 0.37 * self.wavelength * mirror.q / gap
            defocus = gap / np.sqrt(12.0) * (1.0 + mirror.q / mirror.p) * bend
            figure = self.figure * (gap / 600e-6) ** 3
            square = square * ((0.4 * mirror.spot) ** 2 + diffraction**2 + defocus**2 + figure**2)
        return {"log_flux": np.log10(flux + 1.0), "log_size": np.log10(2.355e6 * square**0.25)}

    def noisy(self, truth: Mapping[str, float], rng: np.random.Generator) -> dict[str, float]:
        counts = max(float(rng.poisson(10.0 ** truth["log_flux"])), 1.0)
        return {
            "log_flux": float(np.log10(counts) + RIPPLE * rng.standard_normal()),
            "log_flux_std": float(np.hypot(1.0 / (np.log(10.0) * np.sqrt(counts)), RIPPLE)),
            "log_size": float(truth["log_size"] + self.size_noise * rng.standard_normal()),
            "log_size_std": self.size_noise,
        }

    @cached_property
    def optimum(self) -> float:
        """The area under the whole front: all gaps, with benders in focus, which is best for both objectives."""
        gap = np.geomspace(20.0, 600.0, 500)
        v, h = (grid.ravel() for grid in np.meshgrid(gap, gap))
        return hypervolume(self.gains(np.column_stack([v, h, *np.broadcast_to(self.aligned[:, None], (2, v.size))])))

    def gains(self, X: FloatArray) -> FloatArray:
        """True outcomes relative to the reference, shape (n, 2), signed so that more is better."""
        truth = self.truth(X)
        return np.column_stack(
            [truth["log_flux"] - self.reference["log_flux"], self.reference["log_size"] - truth["log_size"]]
        )

    def losses(self, points: Sequence[Mapping[str, float]]) -> FloatArray:
        """The share of the whole area that is missing after each point, shape (n,)."""
        gains = self.gains(self.positions(points))
        return np.array([1.0 - hypervolume(gains[: n + 1]) / self.optimum for n in range(len(gains))])


@dataclass(frozen=True)
class Drifting(AlignmentProblem):
    """Two steering motors while the optics warm up: the best position relaxes towards another one, and oscillates."""

    name = "drift"
    title = "drifting beam, 2 motors"
    bounds = {"v_steer": (-50.0, 50.0), "h_steer": (-50.0, 50.0)}  # µrad
    objectives = {"flux": "MAXIMIZE"}
    drifts = True
    floor = 0.0
    noise: ClassVar[float] = 0.02
    walk: ClassVar[float] = 55.0
    relaxes_in: ClassVar[float] = 60.0
    """Points."""
    sway: ClassVar[float] = 6.0
    period: ClassVar[float] = 70.0
    widths: ClassVar[tuple[float, float]] = (15.0, 10.0)

    @property
    def optimum(self) -> float:
        return 1.0

    def centre(self, number: int) -> FloatArray:
        """The best position after `number` measured points, shape (2,), µrad."""
        turn, phase = 2.0 * np.pi * np.random.default_rng([self.seed, 43]).random(2)
        along = np.array([np.cos(turn), np.sin(turn)])
        done = (1.0 - np.exp(-number / self.relaxes_in)) * self.walk
        now = phase + 2.0 * np.pi * number / self.period
        return np.asarray((done - 0.5 * self.walk) * along + self.sway * np.array([np.cos(now), np.sin(now)]))

    @property
    def aligned(self) -> FloatArray:
        return self.centre(0)

    def truth(self, X: FloatArray, number: int = 0) -> dict[str, FloatArray]:
        u = (X - self.centre(number)) @ np.array([[0.95, 0.31], [-0.31, 0.95]])  # rotated axes
        return {"flux": np.exp(-0.5 * np.sum((u / self.widths) ** 2, axis=1))}

    def noisy(self, truth: Mapping[str, float], rng: np.random.Generator) -> dict[str, float]:
        return {"flux": truth["flux"] + self.noise * float(rng.standard_normal()), "flux_std": self.noise}

    def losses(self, points: Sequence[Mapping[str, float]]) -> FloatArray:
        truth = [self.truth(self.positions([point]), number)["flux"][0] for number, point in enumerate(points)]
        return 1.0 - np.array(truth)

    def regret(self, points: Sequence[Mapping[str, float]]) -> FloatArray:
        """The mean loss so far, shape (n,), because a good point is worthless when the beam has left it."""
        losses = self.losses(points)
        return np.asarray(np.cumsum(losses) / np.arange(1, len(losses) + 1))


@dataclass(frozen=True)
class HeatLimited(AlignmentProblem):
    """Flux density on the sample, while the mirror must not become too hot.

    The power that passes the slits and is not reflected heats the mirror. Heat bends it, and the bender must
    compensate. The part of the beam that misses the mirror is lost.
    """

    name = "heat"
    title = "heat limit, 4 motors"
    bounds = {
        "v_gap": (0.1, 2.0),  # mm
        "h_gap": (0.1, 3.0),
        "pitch": (-450.0, 450.0),  # µrad
        "bend": (-140.0, 140.0),  # µm
    }
    objectives = {"log_density": "MAXIMIZE"}
    limits = {"temperature": 45.0}  # °C
    floor = 2.0
    mirror: ClassVar[Optic] = Optic(p=31.0, q=0.4, angle=2.7e-3, length=0.25, spot=2e-6)
    power: ClassVar[float] = 70.0
    """W of the whole beam."""
    kelvin_per_watt: ClassVar[float] = 5.5
    bump_per_kelvin: ClassVar[float] = -5e-4
    opening: ClassVar[float] = 150e-6
    photons: ClassVar[float] = 1e5
    background: ClassVar[float] = 100.0
    noise: ClassVar[float] = 0.01
    kelvin_noise: ClassVar[float] = 0.3

    @cached_property
    def aligned(self) -> FloatArray:
        """The aligned position, with gaps that are about as wide as the limit allows."""
        return np.concatenate([[0.6, 0.8], self._drawn(0.4, 0.4)])

    def truth(self, X: FloatArray, number: int = 0) -> dict[str, FloatArray]:
        v_gap, h_gap = X[:, 0] * 1e-3, X[:, 1] * 1e-3
        pitch, bend = (X[:, 2] - self.aligned[2]) * 1e-6, (X[:, 3] - self.aligned[3]) * CURVATURE_PER_UM
        angle = self.mirror.angle + pitch
        through = erf(v_gap / 1.4e-3) * erf(h_gap / 2.2e-3)  # Gaussian beams of 0.5 and 0.8 mm rms
        meets = np.minimum(1.0, self.mirror.accepted(angle) / v_gap)
        reflected = reflectivity(angle)
        temperature = 25.0 + self.kelvin_per_watt * self.power * through * meets * (1.0 - 0.9 * reflected)
        bent = bend + self.bump_per_kelvin * (temperature - 25.0)
        filled = np.minimum(v_gap, self.mirror.accepted(angle))
        bracket = (1.0 + self.mirror.q / self.mirror.p) * (1.0 - (1.0 + bent) * self.mirror.angle / angle)
        rms = np.hypot(self.mirror.spot, filled / np.sqrt(12.0) * bracket)
        flux = self.photons * through * meets * reflected * passed(2.0 * self.mirror.q * pitch, rms, self.opening)
        return {"log_density": np.log10(flux / (rms * 1e6) + self.background), "temperature": temperature}

    def noisy(self, truth: Mapping[str, float], rng: np.random.Generator) -> dict[str, float]:
        return {
            "log_density": truth["log_density"] + self.noise * float(rng.standard_normal()),
            "log_density_std": self.noise,
            "temperature": truth["temperature"] + self.kelvin_noise * float(rng.standard_normal()),
            "temperature_std": self.kelvin_noise,
        }


PROBLEMS: dict[str, type[AlignmentProblem]] = {
    problem.name: problem for problem in (MirrorPair, Plateau, FluxAgainstSize, Drifting, HeatLimited)
}
