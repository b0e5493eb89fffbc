"""The beamline's physics, without bluesky: the beam at the sample for given positions of the optics.

Each focusing mirror is ray-traced exactly in its tangential plane. The ideal mirror is an ellipse with source and image
as its foci; figure errors, tilt and shift are added to it. Rays from the source are reflected by this surface and end
at the detector plane. Source image, diffraction and jitter blur their arrivals. Lengths are in m, angles in rad.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numba import njit

from ebl_autonomy.space import FloatArray

__all__ = [
    "FWHM_PER_SIGMA",
    "KBH",
    "KBV",
    "RAYS",
    "MirrorShape",
    "Spot",
    "flux_share",
    "mirror_image",
    "profile",
    "top_up",
]

FWHM_PER_SIGMA: Final = 2.0 * math.sqrt(2.0 * math.log(2.0))
"""Full width at half maximum of a normal distribution, in standard deviations."""
RAYS = 400
"""Rays per mirror; with this number the rms spread has converged to 0.1 %."""


@dataclass(frozen=True)
class MirrorShape:
    """An elliptical mirror.

    Attributes
    ----------
    p, q : float
        Distances from the mirror's centre to the source and to the image, m.
    theta : float
        Grazing angle, rad.
    length : float
        m.
    """

    p: float
    q: float
    theta: float
    length: float

    @property
    def aperture(self) -> float:
        """Height of the beam that the mirror accepts, m."""
        return self.length * math.sin(self.theta)

    def diffraction(self, wavelength: float) -> float:
        """Standard deviation of the diffraction-limited focus, m: FWHM 0.88 lambda q / D for an aperture D."""
        return 0.88 * wavelength * self.q / self.aperture / FWHM_PER_SIGMA

    def source_image(self, width: float) -> float:
        """Standard deviation, m, of the image of an evenly lit slit of `width`, m."""
        return width / math.sqrt(12.0) * self.q / self.p


# A KB pair of a microprobe (TES at NSLS-II): 3.6 mrad, demagnifying 8 and 23 times.
KBH = MirrorShape(p=3.573, q=0.427, theta=3.6e-3, length=0.32)
KBV = MirrorShape(p=3.83, q=0.17, theta=3.6e-3, length=0.18)


@dataclass(frozen=True)
class Spot:
    """One dimension of the beam at the detector plane, before blur.

    Attributes
    ----------
    centre, rms : float
        Mean and standard deviation of the arrivals, m.
    arrivals, weights : FloatArray, shape (RAYS,)
        Where each ray arrives, m, and its share of the incoming flux.
    """

    centre: float
    rms: float
    arrivals: FloatArray
    weights: FloatArray


def mirror_image(
    shape: MirrorShape,
    pitch: float = 0.0,
    height: float = 0.0,
    curvature: float = 0.0,
    coma: float = 0.0,
    defocus: float = 0.0,
) -> Spot:
    """Trace the rays of a mirror to the detector plane.

    Parameters
    ----------
    shape : MirrorShape
    pitch : float
        Rotation about the mirror's centre, rad.
    height : float
        Shift along the mirror's normal, m.
    curvature, coma : float
        Relative errors of the second- and third-order terms of the figure.
    defocus : float
        Distance of the detector beyond the focus, m.

    Returns
    -------
    Spot
        The weights sum to the share of a Gaussian beam that the mirror accepts; the beam's standard deviation is 1.5
        apertures.

    Notes
    -----
    The orders of the figure follow Howells et al. 2000, Opt. Eng. 39, 2748: with grazing angle t,
    ``a2 = sin(t)/4 (1/p + 1/q)`` and ``a3 = a2 cos(t)/2 (1/q - 1/p)``. Pitch, curvature and detector distance
    all act as defocus.
    """
    arrivals, weights = np.empty(RAYS), np.empty(RAYS)
    x, z, slope = _ellipse(shape)
    _trace(
        x, z, slope, shape.p, shape.q, shape.theta, shape.length,
        pitch, height, curvature, coma, defocus, arrivals, weights,
    )  # fmt: skip
    total = float(weights.sum())
    centre = float((weights * arrivals).sum() / total)
    rms = math.sqrt(float((weights * (arrivals - centre) ** 2).sum()) / total)
    return Spot(centre, rms, arrivals, weights)


def profile(spot: Spot, edges: FloatArray, sigma: float, shift: float = 0.0) -> FloatArray:
    """Share of the flux in each pixel of one axis.

    Parameters
    ----------
    spot : Spot
    edges : FloatArray, shape (pixels + 1,)
        Pixel edges, m, equally spaced.
    sigma : float
        Standard deviation of the Gaussian blur, m.
    shift : float
        Added to every arrival, m.

    Returns
    -------
    FloatArray, shape (pixels,)
    """
    shares = np.zeros(len(edges) - 1)
    _blur(spot.arrivals, spot.weights, float(edges[0]) - shift, float(edges[1] - edges[0]), sigma, shares)
    return shares


def flux_share(offset: float, gap: float, sigma: float) -> float:
    """Share of a Gaussian beam (standard deviation `sigma`) that a slit of `gap`, off axis by `offset`, transmits."""
    root = math.sqrt(2.0) * sigma
    return 0.5 * (math.erf((0.5 * gap - offset) / root) + math.erf((0.5 * gap + offset) / root))


def top_up(seconds: float, period_s: float = 240.0, droop: float = 0.01) -> float:
    """Relative ring current with mean 1: it falls by `droop` within each injection period of `period_s` seconds."""
    return 1.0 + droop * (0.5 - (seconds / period_s) % 1.0)


@lru_cache(maxsize=16)
def _ellipse(shape: MirrorShape) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Coordinates along the ideal mirror, its figure and its slope dz/dx there; shape (RAYS + 1,) each, m."""
    p, q, sin, cos = shape.p, shape.q, math.sin(shape.theta), math.cos(shape.theta)
    x = np.linspace(-0.5, 0.5, RAYS + 1) * shape.length
    z = sin / 4.0 * (1.0 / p + 1.0 / q) * x**2
    for _ in range(20):  # Newton's method for the ellipse |P - source| + |P - focus| = p + q above x
        to_source, to_focus = np.hypot(x + p * cos, z - p * sin), np.hypot(x - q * cos, z - q * sin)
        across = (z - p * sin) / to_source + (z - q * sin) / to_focus
        z = z - (to_source + to_focus - p - q) / across
    slope = -((x + p * cos) / to_source + (x - q * cos) / to_focus) / across
    return x, z, slope


@njit(cache=True)
def _trace(xs, zs, slopes, p, q, theta, length, pitch, height, curvature, coma, defocus, arrivals, weights):  # type: ignore[no-untyped-def]
    n = arrivals.size
    sin, cos = math.sin(theta), math.cos(theta)
    a2 = sin / 4.0 * (1.0 / p + 1.0 / q)
    a3 = a2 * cos / 2.0 * (1.0 / q - 1.0 / p)
    sx, sz, fx, fz = -p * cos, p * sin, q * cos, q * sin
    c, s = math.cos(pitch), math.sin(pitch)
    fan = 1.5 * length * sin / p
    previous, last = 0.0, 0.0
    for i in range(n + 1):
        # Rays through the ends of n cells; a ray's weight is the incoming flux between its neighbours.
        x, z, slope = xs[i], zs[i], slopes[i]
        z += curvature * a2 * x * x + coma * a3 * x * x * x
        slope += 2.0 * curvature * a2 * x + 3.0 * coma * a3 * x * x
        bx, bz = c * x - s * z, s * x + c * z + height
        tx, tz = c - s * slope, s + c * slope
        norm = math.hypot(tx, tz)
        nx, nz = -tz / norm, tx / norm
        ix, iz = bx - sx, bz - sz
        norm = math.hypot(ix, iz)
        ix, iz = ix / norm, iz / norm
        dot = ix * nx + iz * nz
        ox, oz = ix - 2.0 * dot * nx, iz - 2.0 * dot * nz
        # The detector plane: across the nominal outgoing direction (cos, sin), at the focus plus the defocus.
        px, pz = fx + defocus * cos, fz + defocus * sin
        t = ((px - bx) * cos + (pz - bz) * sin) / (ox * cos + oz * sin)
        arrival = -(bx + t * ox - px) * sin + (bz + t * oz - pz) * cos
        angle = math.atan2(iz, ix) + theta  # from the beam's axis
        passed = 0.5 * math.erf(angle / (math.sqrt(2.0) * fan))
        if i > 0:
            arrivals[i - 1] = 0.5 * (arrival + last)
            weights[i - 1] = abs(passed - previous)
        previous, last = passed, arrival


@njit(cache=True)
def _blur(arrivals, weights, first, pitch, sigma, shares):  # type: ignore[no-untyped-def]
    n = shares.size
    root = math.sqrt(2.0) * sigma
    # Rays that arrive close together are binned and blurred together, because the error function dominates the cost.
    bins = np.zeros(8 * n)
    outside = 4 * n
    for i in range(arrivals.size):
        k = int(math.floor((arrivals[i] - first) / pitch * 4.0)) + outside // 2
        if 0 <= k < bins.size:
            bins[k] += weights[i]
    reach = 5.0 * sigma / pitch
    for k in range(bins.size):
        w = bins[k]
        if w == 0.0:
            continue
        x = (k - outside // 2 + 0.5) / 4.0  # in pixels
        low, high = max(int(math.floor(x - reach)), 0), min(int(math.floor(x + reach)), n - 1)
        if high < 0 or low >= n:
            continue
        before = math.erf((low - x) * pitch / root)
        for m in range(low, high + 1):
            after = math.erf((m + 1 - x) * pitch / root)
            shares[m] += 0.5 * w * (after - before)
            before = after
