"""Procedural samples for the simulated microprobe: cells, particles and grains, with labels as the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial import cKDTree

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.sim_devices.sample import SimSample
from ebl_autonomy.space import FloatArray

__all__ = ["cells", "edge_spectrum", "grains", "particles"]

ATTEMPTS: Final = 200
"""How often a place for one object is drawn before the sample counts as full."""
FE_K_EV: Final = 7112.0
EDGES: Final[dict[str, tuple[float, float, float]]] = {
    "metal": (0.0, 0.15, 14.0),
    "sulfide": (3.0, 0.45, 8.0),
    "oxide": (9.0, 1.1, 5.0),
}
"""Shift of the edge in eV, height and width in eV of the white line, by phase of iron."""


def edge_spectrum(energies_ev: Any, edge_ev: float, white_line: float, width_ev: float) -> FloatArray:
    """A model of an absorption edge, 0 far below and 1 far above it.

    Parameters
    ----------
    energies_ev : array, shape (n,)
    edge_ev : float
        Where the absorption has risen by a half.
    white_line : float
        Height of the peak just above the edge.
    width_ev : float
        Width (standard deviation) of that peak.

    Returns
    -------
    FloatArray, shape (n,)
    """
    energies = np.asarray(energies_ev, dtype=float)
    rise = 0.5 + np.arctan((energies - edge_ev) / 1.5) / math.pi
    peak = white_line * np.exp(-0.5 * ((energies - edge_ev - 1.2 * width_ev) / width_ev) ** 2)
    wiggle = 0.06 * np.sin((energies - edge_ev) / 9.0) * np.exp(-np.abs(energies - edge_ev) / 60.0)
    return np.asarray(rise + rise * (peak + wiggle))


def cells(
    seed: int = 0,
    *,
    count: int = 12,
    shape: tuple[int, int] = (160, 160),
    step_um: float = 0.25,
    peak_rate: float = 2e4,
    rich: float = 0.25,
) -> SimSample:
    """Cells on an empty support: P, S and K in the whole cell, Zn in the nucleus, Fe in granules, Ca in few cells.

    Parameters
    ----------
    seed : int
    count : int
        Number of cells; fewer where no more fit.
    shape : (int, int)
        Rows and columns.
    step_um : float
        Pixel size, µm.
    peak_rate : float
        Largest rate of the strongest channel, counts per second.
    rich : float
        Share of the cells that hold Ca, at least one if it is above 0. Their kind is ``"calcified cell"``, that of
        the others ``"cell"``.

    Raises
    ------
    BadInputError
        If a number is out of range.
    """
    _check(count, shape, peak_rate)
    rng = np.random.default_rng([seed, 101])
    maps = {name: np.zeros(shape) for name in ("P", "S", "K", "Ca", "Fe", "Zn")}
    labels = np.zeros(shape, dtype=np.int64)
    kinds: dict[int, str] = {}
    calcified = set(rng.permutation(count)[: max(round(rich * count), 1)].tolist()) if rich > 0.0 else set()
    size = min(shape) / math.sqrt(max(count, 1))
    for number, (y, x, radius) in enumerate(_places(rng, count, shape, 0.22 * size, 0.38 * size), start=1):
        inside, height = _ellipsoid(rng, shape, y, x, radius)
        labels[inside] = number
        for name, strength in (("P", 0.5), ("S", 0.4), ("K", 1.0)):
            maps[name] += strength * rng.uniform(0.7, 1.3) * height
        angle, away = rng.uniform(0.0, 2.0 * math.pi), rng.uniform(0.0, 0.3) * radius
        core = _ellipsoid(rng, shape, y + away * math.sin(angle), x + away * math.cos(angle), 0.45 * radius)[1]
        maps["Zn"] += 0.3 * core * (labels == number)
        maps["P"] += 0.5 * core * (labels == number)
        for _ in range(int(rng.integers(2, 6))):
            angle, away = rng.uniform(0.0, 2.0 * math.pi), rng.uniform(0.4, 0.8) * radius
            granule = _ellipsoid(
                rng, shape, y + away * math.sin(angle), x + away * math.cos(angle), max(0.08 * radius, 1.0)
            )[1]
            maps["Fe"] += 0.4 * granule * (labels == number)
        kinds[number] = "cell"
        if number - 1 in calcified:
            kinds[number] = "calcified cell"
            maps["Ca"] += 0.6 * height
    thickness = maps["P"] + maps["S"]
    return _sample(maps, peak_rate, step_um, labels, kinds, absorption=0.4 * thickness / (thickness.max() or 1.0))


def particles(
    seed: int = 0,
    *,
    count: int = 30,
    shape: tuple[int, int] = (160, 160),
    step_um: float = 0.15,
    peak_rate: float = 6e4,
    rare: int = 2,
) -> SimSample:
    """Particles of three phases of iron: oxide (Fe), sulfide (Fe and S), and a few of metal (Fe, Cr and Ni).

    The optical depth follows the phases, with edges at the iron K edge that differ in position and white line.

    Parameters
    ----------
    seed, count, shape, step_um, peak_rate
        See `cells`.
    rare : int
        How many of the particles are metal; the others are oxide and sulfide in turn.

    Raises
    ------
    BadInputError
        If a number is out of range.
    """
    _check(count, shape, peak_rate)
    rng = np.random.default_rng([seed, 102])
    contents = {
        "oxide": {"Fe": 1.0},
        "sulfide": {"Fe": 0.5, "S": 0.5},
        "metal": {"Fe": 0.7, "Cr": 0.2, "Ni": 0.1},
    }
    maps = {name: np.zeros(shape) for name in ("S", "Cr", "Fe", "Ni")}
    phases = {name: np.zeros(shape) for name in contents}
    labels = np.zeros(shape, dtype=np.int64)
    kinds: dict[int, str] = {}
    size = min(shape) / math.sqrt(max(count, 1))
    places = _places(rng, count, shape, 0.1 * size, 0.35 * size)
    metal = set(rng.permutation(len(places))[:rare].tolist())
    for number, (y, x, radius) in enumerate(places, start=1):
        inside, height = _ellipsoid(rng, shape, y, x, radius)
        kind = "metal" if number - 1 in metal else ("oxide", "sulfide")[number % 2]
        labels[inside], kinds[number] = number, kind
        phases[kind] += height
        for name, strength in contents[kind].items():
            maps[name] += strength * rng.uniform(0.8, 1.2) * height
    highest = max(float(weights.max()) for weights in phases.values()) or 1.0
    phases = {name: 0.6 * weights / highest for name, weights in phases.items()}
    return _sample(maps, peak_rate, step_um, labels, kinds, phases=phases, spectra=_iron_spectra())


def grains(
    seed: int = 0,
    *,
    count: int = 60,
    shape: tuple[int, int] = (160, 160),
    step_um: float = 0.5,
    peak_rate: float = 5e4,
) -> SimSample:
    """The grains of an alloy that fills the field: ferrite (Fe) and austenite (Fe, Cr, Ni), with S at the boundaries.

    Parameters
    ----------
    seed, shape, step_um, peak_rate
        See `cells`.
    count : int
        Number of grains.

    Raises
    ------
    BadInputError
        If a number is out of range.
    """
    _check(max(count, 1), shape, peak_rate)
    if count < 1:
        raise BadInputError(f"count={count}: give at least one grain")
    rng = np.random.default_rng([seed, 103])
    centres = rng.uniform((0.0, 0.0), shape, (count, 2))
    pixels = np.indices(shape).reshape(2, -1).T + 0.5
    labels = cKDTree(centres).query(pixels)[1].reshape(shape).astype(np.int64) + 1
    austenite = rng.uniform(size=count) < 0.4
    kinds = {k + 1: "austenite" if austenite[k] else "ferrite" for k in range(count)}
    texture = rng.uniform(0.85, 1.15, count)[labels - 1]
    is_austenite = austenite[labels - 1]
    edges = np.zeros(shape, dtype=bool)
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edges[:-1] |= labels[:-1] != labels[1:]
    near = np.exp(-distance_transform_edt(~edges) / 1.5) if edges.any() else np.zeros(shape)
    maps = {
        "Fe": texture * np.where(is_austenite, 0.7, 0.95) * (1.0 - 0.3 * near),
        "Cr": texture * np.where(is_austenite, 0.18, 0.03),
        "Ni": texture * np.where(is_austenite, 0.1, 0.01),
        "S": 0.05 * near,
    }
    phases = {"metal": 0.5 * texture * (1.0 - near), "sulfide": 0.5 * texture * near}
    return _sample(maps, peak_rate, step_um, labels, kinds, phases=phases, spectra=_iron_spectra())


def _check(count: int, shape: tuple[int, int], peak_rate: float) -> None:
    if count < 0 or min(shape) < 1:
        raise BadInputError(f"count={count}, shape={shape}: give a count of 0 or above, and at least one pixel")
    if not 0.0 <= peak_rate < math.inf:
        raise BadInputError(f"peak_rate={peak_rate!r}: give a finite rate, 0 or above")


def _places(
    rng: np.random.Generator, count: int, shape: tuple[int, int], smallest: float, largest: float
) -> list[tuple[float, float, float]]:
    """Row, column and radius (pixels) of discs that do not overlap; fewer than `count` where no more fit."""
    found: list[tuple[float, float, float]] = []
    for _ in range(count):
        for _ in range(ATTEMPTS):
            radius = rng.uniform(smallest, largest)
            y, x = (rng.uniform(min(radius, 0.5 * n), max(n - radius, 0.5 * n)) for n in shape)
            if all(math.hypot(y - b, x - a) > radius + r + 2.0 for b, a, r in found):
                found.append((y, x, radius))
                break
        else:
            break
    return found


def _ellipsoid(
    rng: np.random.Generator, shape: tuple[int, int], y: float, x: float, radius: float
) -> tuple[npt.NDArray[np.bool_], FloatArray]:
    """The pixels of an ellipse, which lies inside the circle of `radius`, and the height (0 to 1) of an ellipsoid."""
    angle, flat = rng.uniform(0.0, math.pi), rng.uniform(0.7, 1.0)
    rows, columns = np.indices(shape)
    u = (columns - x) * math.cos(angle) + (rows - y) * math.sin(angle)
    v = (rows - y) * math.cos(angle) - (columns - x) * math.sin(angle)
    rest = 1.0 - (u / radius) ** 2 - (v / (flat * radius)) ** 2
    return rest > 0.0, np.sqrt(np.clip(rest, 0.0, None))


def _iron_spectra() -> tuple[FloatArray, dict[str, FloatArray]]:
    energies = np.arange(FE_K_EV - 40.0, FE_K_EV + 100.5, 0.5)
    curves = {
        name: edge_spectrum(energies, FE_K_EV + shift, height, width) for name, (shift, height, width) in EDGES.items()
    }
    return energies, curves


def _sample(
    maps: Mapping[str, FloatArray],
    peak_rate: float,
    step_um: float,
    labels: npt.NDArray[np.int64],
    kinds: Mapping[int, str],
    **optical: Any,
) -> SimSample:
    """The sample, with edges smoothed over half a pixel and its strongest channel scaled to the peak rate."""
    smooth = {name: gaussian_filter(values, 0.5, mode="nearest") for name, values in maps.items()}
    highest = max(float(values.max()) for values in smooth.values()) or 1.0
    rates = {name: peak_rate * values / highest for name, values in smooth.items()}
    return SimSample.from_maps(rates, step_um=step_um, labels=labels, kinds=kinds, **optical)
