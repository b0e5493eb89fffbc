"""Absorption edges: tabulated energies, normalisation to an edge step of 1, the edge's position, the white line."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import FloatArray

__all__ = ["METHODS", "Normalised", "WhiteLine", "edge_energy", "edge_position", "normalise", "white_line"]

METHODS: Final = ("derivative", "half_step")
"""Definitions of the position of an edge."""
STEP_EV: Final = 0.05
"""Step of the grid on which a spectrum is differentiated, in eV."""
SMOOTHING_EV: Final = 1.0
"""Standard deviation of the smoothing before differentiation, in eV."""
RESOLVED: Final = 0.02
"""Least height of a white line above the lowest point behind it, as a share of the edge step."""


@dataclass(frozen=True)
class Normalised:
    """A spectrum whose pre-edge line is 0 and whose edge step is 1.

    Attributes
    ----------
    flat : FloatArray, shape (n,)
        The spectrum: pre-edge line subtracted, divided by the step; not flattened behind the edge.
    edge : float
        Position of the edge, in eV.
    step : float
        Height of the edge, in the unit of the given spectrum.
    pre_edge : FloatArray, shape (n,)
        The line that was subtracted.
    """

    flat: FloatArray
    edge: float
    step: float
    pre_edge: FloatArray


@dataclass(frozen=True)
class WhiteLine:
    """The first maximum behind the edge.

    Attributes
    ----------
    energy : float
        In eV.
    height : float
        In the unit of the given spectrum.
    """

    energy: float
    height: float


def edge_energy(name: str) -> float:
    """Tabulated energy of an absorption edge, in eV.

    Real edges differ from it by some eV: by the chemical state, and by the calibration of the monochromator.

    Parameters
    ----------
    name : str
        An element, whose K edge is meant, or an element and an edge: ``"Fe"``, ``"Fe K"``, ``"Fe L3"``.

    Raises
    ------
    BadInputError
        If there is no such edge, or xraylib is not installed.
    """
    found = re.fullmatch(r"\s*([A-Z][a-z]?)(?:[\s_-]*(K|L[123]|M[1-5]))?\s*", name)
    if not found:
        raise BadInputError(f"edge={name!r}: give an element, or an element and an edge, such as 'Fe K' or 'Fe L3'")
    try:
        import xraylib
    except ImportError as error:
        raise BadInputError(
            f"edge={name!r}: tabulated edges need xraylib: install ebl-autonomy[spectra], or give the edge in eV"
        ) from error
    element, shell = found[1], found[2] or "K"
    try:
        number = xraylib.SymbolToAtomicNumber(element)
        return 1000.0 * float(xraylib.EdgeEnergy(number, getattr(xraylib, f"{shell}_SHELL")))
    except ValueError as error:
        raise BadInputError(f"edge={name!r}: {error}") from error


def normalise(
    energies: FloatArray,
    absorption: FloatArray,
    edge: float | None = None,
    pre: tuple[float, float] = (-math.inf, -20.0),
    post: tuple[float, float] = (20.0, math.inf),
) -> Normalised:
    """Normalise a spectrum to an edge step of 1 with lines ahead of the edge and behind it.

    Parameters
    ----------
    energies : FloatArray, shape (n,)
        In eV, ascending.
    absorption : FloatArray, shape (n,)
    edge : float, optional
        Position of the edge; by default that of `edge_position`.
    pre, post : (float, float)
        Ranges of the two lines, relative to the edge, in eV. With fewer than 3 energies in `pre`, its line is a
        constant: the first reading, or the mean of those in the range.

    Raises
    ------
    BadInputError
        If the shapes differ, fewer than 2 energies lie in `post`, or there is no step.
    """
    energies, absorption = _checked(energies, absorption)
    at = edge_position(energies, absorption) if edge is None else edge
    above = energies - at
    ahead = (above >= pre[0]) & (above <= pre[1])
    behind = (above >= post[0]) & (above <= post[1])
    if behind.sum() < 2:
        raise BadInputError(
            f"{behind.sum()} energies lie between {at + post[0]:g} and {at + post[1]:g} eV, of a spectrum from "
            f"{energies[0]:g} to {energies[-1]:g} eV with an edge at {at:g} eV: widen post={post}, or correct the edge"
        )
    if ahead.sum() >= 3:
        line = np.polyval(np.polyfit(above[ahead], absorption[ahead], 1), above)
    else:
        line = np.full_like(absorption, absorption[ahead].mean() if ahead.any() else absorption[0])
    left = absorption - line
    degree = 1 if behind.sum() >= 3 else 0
    step = float(np.polyval(np.polyfit(above[behind], left[behind], degree), 0.0))
    noise = float(np.std(left[ahead])) if ahead.sum() >= 3 else 0.0
    if not abs(step) > max(2.0 * noise, 1e-12 * float(np.max(np.abs(absorption)))):
        raise BadInputError(
            f"the spectrum from {energies[0]:g} to {energies[-1]:g} eV has no edge at {at:g} eV: the step is "
            f"{step:.3g}, with deviations of {noise:.3g} ahead of it"
        )
    return Normalised(left / step, at, step, np.asarray(line, dtype=float))


def edge_position(
    energies: FloatArray, absorption: FloatArray, method: str = "derivative", smoothing_ev: float = SMOOTHING_EV
) -> float:
    """Position of the edge, in eV.

    Parameters
    ----------
    energies : FloatArray, shape (n,)
        In eV, ascending.
    absorption : FloatArray, shape (n,)
    method : {"derivative", "half_step"}
        The maximum of the smoothed first derivative, or where the spectrum first exceeds half of its step. The half
        step depends less on noise and on shoulders of the edge.
    smoothing_ev : float
        Standard deviation of the smoothing, in eV.

    Raises
    ------
    BadInputError
        If the shapes differ, there are fewer than 4 energies, or the method is unknown.
    """
    energies, absorption = _checked(energies, absorption)
    if method not in METHODS:
        raise BadInputError(f"method={method!r}: give one of {METHODS}")
    grid = _grid(energies)
    spectrum = np.interp(grid, energies, absorption)
    slope = gaussian_filter1d(spectrum, smoothing_ev / (grid[1] - grid[0]), order=1, mode="nearest")
    place = int(np.argmax(slope))
    steepest = _vertex(grid, slope, place)
    if method == "derivative":
        return steepest
    ahead, behind = absorption[energies < steepest], absorption[energies > steepest]
    if not len(ahead) or not len(behind):
        return steepest
    post = (min(20.0, 0.5 * (energies[-1] - steepest)), math.inf)
    try:
        flat = normalise(energies, absorption, steepest, post=post).flat
    except BadInputError:  # no step to halve
        return steepest
    smooth = gaussian_filter1d(np.interp(grid, energies, flat), 0.5 * smoothing_ev / (grid[1] - grid[0]))
    # The last crossing ahead of the first point that is clearly above: noise about one half makes several.
    above = int(np.argmax(smooth > 0.6)) if (smooth > 0.6).any() else place
    below = np.flatnonzero(smooth[: above + 1] <= 0.5)
    if not len(below) or below[-1] == above:
        return steepest
    last = int(below[-1])
    share = (0.5 - smooth[last]) / (smooth[last + 1] - smooth[last])
    return float(grid[last] + share * (grid[last + 1] - grid[last]))


def white_line(
    energies: FloatArray, absorption: FloatArray, edge: float | None = None, within_ev: float = 30.0
) -> WhiteLine | None:
    """The white line: the first clear maximum behind the edge; None if there is none.

    A maximum is clear if the spectrum falls behind it by at least 2 % of its rise over the whole range.

    Parameters
    ----------
    energies : FloatArray, shape (n,)
        In eV, ascending.
    absorption : FloatArray, shape (n,)
    edge : float, optional
        Position of the edge; by default that of `edge_position`.
    within_ev : float
        How far behind the edge to look, in eV.
    """
    energies, absorption = _checked(energies, absorption)
    at = edge_position(energies, absorption) if edge is None else edge
    grid = _grid(energies)
    smooth = gaussian_filter1d(np.interp(grid, energies, absorption), 0.5 * SMOOTHING_EV / (grid[1] - grid[0]))
    clear = RESOLVED * float(np.ptp(smooth))
    near = np.flatnonzero((grid >= at) & (grid <= at + within_ev))
    highest = -math.inf
    top = -1
    for place in near:
        if smooth[place] > highest:
            highest, top = float(smooth[place]), int(place)
        elif highest - smooth[place] > clear:
            return WhiteLine(_vertex(grid, smooth, top), highest)
    return None


def _grid(energies: FloatArray) -> FloatArray:
    count = int(np.clip((energies[-1] - energies[0]) / STEP_EV, 50, 100_000)) + 1
    return np.linspace(energies[0], energies[-1], count)


def _vertex(grid: FloatArray, values: FloatArray, place: int) -> float:
    """The maximum of the parabola through a largest value and its two neighbours."""
    if not 0 < place < len(grid) - 1:
        return float(grid[place])
    left, middle, right = values[place - 1 : place + 2]
    bend = left - 2.0 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0.0 else 0.0
    return float(grid[place] + shift * (grid[1] - grid[0]))


def _checked(energies: FloatArray, absorption: FloatArray) -> tuple[FloatArray, FloatArray]:
    energies, absorption = np.asarray(energies, dtype=float), np.asarray(absorption, dtype=float)
    if energies.ndim != 1 or energies.shape != absorption.shape:
        raise BadInputError(
            f"energies {energies.shape} and absorption {absorption.shape}: give two lists of one length"
        )
    known = np.isfinite(energies) & np.isfinite(absorption)
    energies, absorption = energies[known], absorption[known]
    if len(energies) < 4:
        raise BadInputError(f"a spectrum of {len(energies)} finite readings has no edge: give at least 4")
    if np.any(np.diff(energies) <= 0.0):
        place = int(np.argmax(np.diff(energies) <= 0.0))
        raise BadInputError(f"the energies do not ascend: {energies[place + 1]:g} follows {energies[place]:g}")
    return energies, absorption
