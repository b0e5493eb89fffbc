"""Functions of the unit cube with known optima, for `situations`. More is better.

A `Function` takes positions, shape (n, d), and returns values, shape (n,). Where a function is drawn, `rng` draws its
widths and rotation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.optimize import minimize
from scipy.stats import qmc

from ebl_autonomy.space import FloatArray

Function = Callable[[FloatArray], FloatArray]

FAR = 0.1
"""The largest share of a hill's height at which a start counts as far from the optimum."""
DRAWS = 400


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is drawn evenly."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def away_from_middle(rng: np.random.Generator, dim: int) -> FloatArray:
    """A position, shape (d,), neither at the border of the cube nor at its middle."""
    while True:
        u = rng.uniform(0.12, 0.88, dim)
        if np.max(np.abs(u - 0.5)) > 0.2:
            return u


def far_start(rng: np.random.Generator, function: Function, dim: int) -> FloatArray:
    """A drawn position, shape (d,), whose value is below the median of the domain.

    Of a hill it is also below `FAR` of the height, if a draw finds such a place.
    """
    drawn = rng.uniform(0.03, 0.97, (DRAWS, dim))
    values = function(drawn)
    (low,) = np.nonzero((values <= FAR) & (values <= np.median(values)))
    return drawn[low[0]] if len(low) else drawn[np.argmin(values)]


def normalised(function: Function, optimum: FloatArray, start: FloatArray) -> Function:
    """The function scaled to 1 at the optimum and 0 at the start; both positions have shape (d,)."""
    best, worst = (float(function(u[None])[0]) for u in (optimum, start))
    return lambda u: 1.0 - (best - function(u)) / (best - worst)


def peak_of(function: Function, near: FloatArray) -> tuple[FloatArray, float]:
    """The local maximum near a position, shape (d,), and its value."""
    found = minimize(
        lambda u: -float(function(u[None])[0]),
        near,
        method="L-BFGS-B",
        bounds=[(0.0, 1.0)] * len(near),
        options={"ftol": 1e-14, "gtol": 1e-9},
    )
    return np.asarray(found.x), -float(found.fun)


def constrained_minimum(function: Function, load: Function, inside: FloatArray) -> FloatArray:
    """The position, shape (d,), of the least value where ``load < 1``, from a position inside; both are convex."""
    edge = 1.0 - 1e-9
    found = minimize(
        lambda u: float(function(u[None])[0]),
        inside,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(inside),
        constraints=[{"type": "ineq", "fun": lambda u: edge - float(load(u[None])[0])}],
        options={"ftol": 1e-12, "maxiter": 500},
    )
    u = np.asarray(found.x)
    excess = max(float(load(u[None])[0]) / edge, 1.0)
    # The load is a squared distance from `inside`, so its root brings a point that is barely outside to the edge.
    return inside + (u - inside) / math.sqrt(excess)


def metric(rng: np.random.Generator, centre: FloatArray, share: float, spread: float = 0.35) -> Function:
    """A squared distance from `centre`, shape (d,), in rotated and stretched axes; below 1 in a share of the domain.

    Parameters
    ----------
    spread : float
        Natural logarithm of the largest stretch.
    """
    dim = len(centre)
    rotation, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    axes = rotation * np.exp(rng.uniform(-spread, spread, dim))

    def squared(u: FloatArray) -> FloatArray:
        return np.asarray(np.sum(((u - centre) @ axes) ** 2, axis=1))

    size = float(np.quantile(squared(_covering(dim)), share))
    return lambda u: squared(u) / size


@cache
def _covering(dim: int) -> FloatArray:
    """Points that cover the cube evenly, shape (8192, d)."""
    return np.asarray(qmc.Sobol(dim, rng=0).random_base2(13))


def hill(rng: np.random.Generator, centre: FloatArray, share: float) -> Function:
    """A Gaussian of height 1 that exceeds a half in a share of the domain."""
    distance = metric(rng, centre, share)
    return lambda u: 0.5 ** distance(u)


def levy(rng: np.random.Generator, optimum: FloatArray) -> Function:
    """Levy's function (Laguna and Martí 2005) with the optimum elsewhere and another range along each variable."""
    ranges = rng.uniform(3.0, 5.0, len(optimum))

    def function(u: FloatArray) -> FloatArray:
        w = 1.0 + (u - optimum) * ranges
        body = (w[:, :-1] - 1.0) ** 2 * (1.0 + 10.0 * np.sin(np.pi * w[:, :-1] + 1.0) ** 2)
        tail = (w[:, -1] - 1.0) ** 2 * (1.0 + np.sin(2.0 * np.pi * w[:, -1]) ** 2)
        return -(np.sin(np.pi * w[:, 0]) ** 2 + body.sum(axis=1) + tail)

    return function


def ackley(rng: np.random.Generator, optimum: FloatArray) -> Function:
    """Ackley's function: a narrow funnel in a rippled plateau."""
    ranges = rng.uniform(15.0, 40.0, len(optimum))

    def function(u: FloatArray) -> FloatArray:
        x = (u - optimum) * ranges
        funnel = 20.0 * np.exp(-0.2 * np.sqrt(np.mean(x**2, axis=1)))
        return np.asarray(funnel + np.exp(np.mean(np.cos(2.0 * np.pi * x), axis=1)))

    return function


def rastrigin(rng: np.random.Generator, optimum: FloatArray) -> Function:
    """A bowl with a ripple along each variable."""
    ranges, height = rng.uniform(3.0, 6.0, len(optimum)), rng.uniform(1.0, 6.0)

    def function(u: FloatArray) -> FloatArray:
        x = (u - optimum) * ranges
        return -np.sum(x**2 + height * (1.0 - np.cos(2.0 * np.pi * x)), axis=1)

    return function


def valley(rng: np.random.Generator, optimum: FloatArray) -> Function:
    """Rosenbrock's function with the optimum elsewhere, the directions and the steepness drawn."""
    dim = len(optimum)
    ranges = rng.uniform(3.0, 4.0, dim) * rng.choice([-1.0, 1.0], dim)
    steep, order = log_uniform(rng, 5.0, 100.0), rng.permutation(dim)

    def function(u: FloatArray) -> FloatArray:
        x = (1.0 + (u - optimum) * ranges)[:, order]
        return -np.sum(steep * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1.0 - x[:, :-1]) ** 2, axis=1)

    return function


def foxholes(rng: np.random.Generator, dim: int) -> tuple[Function, FloatArray]:
    """Seven Lorentzian peaks, as Shekel's, and their positions, shape (7, d)."""
    centres = rng.uniform(0.1, 0.9, (7, dim))
    width = rng.uniform(0.1, 0.2, 7)
    height = np.concatenate([[1.0], rng.uniform(0.3, 0.8, 6)])

    def function(u: FloatArray) -> FloatArray:
        squared = np.sum((u[:, None, :] - centres) ** 2, axis=2)
        return np.asarray(np.sum(height / (1.0 + squared / width**2), axis=1))

    return function, centres


def unequal_hills(rng: np.random.Generator, dim: int) -> tuple[Function, FloatArray]:
    """Four Gaussians, as Hartmann's, wide along some variables and narrow along others, and their best places."""
    centres = rng.uniform(0.1, 0.9, (4, dim))
    sharpness = np.exp(rng.uniform(np.log(0.1), np.log(17.0), (4, dim)))
    height = np.array([1.0, 1.2, 3.0, 3.2])

    def function(u: FloatArray) -> FloatArray:
        squared = np.sum(sharpness * (u[:, None, :] - centres) ** 2, axis=2)
        return np.asarray(np.sum(height * np.exp(-squared), axis=1))

    sample = _covering(dim)
    return function, np.vstack([centres, sample[np.argsort(-function(sample))[:8]]])
