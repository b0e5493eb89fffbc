"""The sample of the simulated microprobe: maps of true rates, and an optical depth that depends on the energy."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import FloatArray

__all__ = ["OpticalDepth", "SimSample", "pair"]

IntArray = npt.NDArray[np.int64]

CHANNEL: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
DEFAULT_DEPTH: Final = 0.5
"""Largest optical depth of a sample that is given without absorption."""


def pair(name: str, value: float | Sequence[float], *, positive: bool = False) -> tuple[float, float]:
    """A number for x and y, from one number for both or from two.

    Raises
    ------
    BadInputError
        If a number is not finite, or not positive where it must be; the message begins with `name`.
    """
    try:
        both = np.broadcast_to(np.asarray(value, dtype=float), 2)
    except (TypeError, ValueError):
        raise BadInputError(f"{name}={value!r}: give one number, or two for x and y") from None
    if not np.all(np.isfinite(both)) or (positive and not np.all(both > 0.0)):
        raise BadInputError(f"{name}={value!r}: give {'positive' if positive else 'finite'} numbers")
    return float(both[0]), float(both[1])


@dataclass(frozen=True, eq=False)
class OpticalDepth:
    """The optical depth ``ln(I0 / I)`` of a sample: the sum over components of a weight map times a spectrum.

    Attributes
    ----------
    names : tuple of str
        Names of the components, e.g. chemical phases.
    weights : FloatArray, shape (components, ny, nx)
    energies_ev : FloatArray, shape (energies,)
        Ascending, eV. Beyond the ends the spectra are constant.
    mu : FloatArray, shape (components, energies)
        Optical depth of each component at weight 1.
    """

    names: tuple[str, ...]
    weights: FloatArray
    energies_ev: FloatArray
    mu: FloatArray

    def __post_init__(self) -> None:
        if self.mu.shape != (len(self.weights), self.energies_ev.size):
            raise BadInputError(
                f"spectra of shape {self.mu.shape} for {len(self.weights)} phases and {self.energies_ev.size} "
                "energies: give one value per phase and energy"
            )
        steps = np.diff(self.energies_ev)
        if not self.energies_ev.size or not np.all(np.isfinite(self.energies_ev)) or not np.all(steps > 0.0):
            raise BadInputError("the energies of the spectra must be finite and ascend, without repetition")
        _check_finite("the spectra", self.mu)

    def at(self, energy_ev: float) -> FloatArray:
        """The optical depth of each component at weight 1; shape (components,)."""
        energies = self.energies_ev
        if energies.size == 1:
            return self.mu[:, 0]
        position = float(np.interp(energy_ev, energies, np.arange(energies.size)))
        low = min(int(position), energies.size - 2)
        share = position - low
        return np.asarray((1.0 - share) * self.mu[:, low] + share * self.mu[:, low + 1])

    def map(self, energy_ev: float) -> FloatArray:
        """The optical depth of each pixel, shape (ny, nx)."""
        return np.asarray(np.tensordot(self.at(energy_ev), self.weights, axes=1))


@dataclass(frozen=True, eq=False)
class SimSample:
    """Maps of what a microprobe would measure without noise; make one with `from_maps` or a procedural sample.

    Attributes
    ----------
    maps : mapping of str to FloatArray, shape (ny, nx)
        True fluorescence rate of each element, counts per second at the nominal flux. Rows are y, columns are x.
    step_um : (float, float)
        Pixel size in x and y, µm.
    origin_um : (float, float)
        Position of the centre of pixel (0, 0) in x and y, µm.
    depth : OpticalDepth
    labels : IntArray, shape (ny, nx)
        Number of the object in each pixel, 0 for the background: the truth for segmentation.
    kinds : mapping of int to str
        Kind of each labelled object.
    background : mapping of str to float
        Rate of each element outside the maps, counts per second. The optical depth outside is 0.

    Raises
    ------
    BadInputError
        If the maps differ in shape, or hold NaN, infinite or negative values.
    """

    maps: Mapping[str, FloatArray]
    step_um: tuple[float, float]
    origin_um: tuple[float, float]
    depth: OpticalDepth
    labels: IntArray
    kinds: Mapping[int, str] = field(default_factory=dict)
    background: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in [*self.maps.items(), *zip(self.depth.names, self.depth.weights, strict=True)]:
            if values.shape != self.shape:
                raise BadInputError(
                    f"the map {name!r} has the shape {values.shape}, the first one {self.shape}: all must be alike"
                )
        if self.labels.shape != self.shape:
            raise BadInputError(f"labels has the shape {self.labels.shape}, the maps {self.shape}: give one per pixel")
        for name, rate in self.background.items():
            if not 0.0 <= rate < math.inf:
                raise BadInputError(f"background={rate!r} of {name!r}: give a finite rate, 0 or above")

    def __repr__(self) -> str:
        ny, nx = self.shape
        return (
            f"<SimSample: {', '.join(self.maps)}; {nx} × {ny} pixels of {self.step_um[0]:g} × {self.step_um[1]:g} µm>"
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns, (ny, nx)."""
        ny, nx = next(iter(self.maps.values())).shape
        return int(ny), int(nx)

    @property
    def x_um(self) -> FloatArray:
        """Centres of the columns, µm; shape (nx,)."""
        return np.asarray(self.origin_um[0] + self.step_um[0] * np.arange(self.shape[1]), dtype=float)

    @property
    def y_um(self) -> FloatArray:
        """Centres of the rows, µm; shape (ny,)."""
        return np.asarray(self.origin_um[1] + self.step_um[1] * np.arange(self.shape[0]), dtype=float)

    @property
    def area_um(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The outer edges of the pixels in x and in y, µm: half a pixel beyond the outermost centres."""
        (x, y), (step_x, step_y), (ny, nx) = self.origin_um, self.step_um, self.shape
        return (x - 0.5 * step_x, x + (nx - 0.5) * step_x), (y - 0.5 * step_y, y + (ny - 0.5) * step_y)

    def absorption(self, energy_ev: float) -> FloatArray:
        """The optical depth of each pixel at an energy, shape (ny, nx)."""
        return self.depth.map(energy_ev)

    @classmethod
    def from_maps(
        cls,
        maps: Mapping[str, Any],
        *,
        step_um: float | Sequence[float],
        origin_um: float | Sequence[float] = (0.0, 0.0),
        absorption: Any = None,
        phases: Mapping[str, Any] | None = None,
        spectra: tuple[Any, Mapping[str, Any]] | None = None,
        labels: Any = None,
        kinds: Mapping[int, str] | None = None,
        background: float | Mapping[str, float] = 0.0,
    ) -> SimSample:
        """A sample from measured or computed maps.

        Parameters
        ----------
        maps : mapping of str to array, shape (ny, nx)
            Rate of each element, counts per second at the nominal flux. The names become the keys ``xrf_<name>``. An
            open ``.npz`` file of maps is such a mapping.
        step_um : float or (float, float)
            Pixel size in x and y, µm.
        origin_um : (float, float)
            Position of the centre of pixel (0, 0) in x and y, µm.
        absorption : array, shape (ny, nx), or (energies, array of shape (energies, ny, nx)), optional
            Optical depth ``ln(I0 / I)``: one map for all energies, or a stack with its energies in eV.
        phases : mapping of str to array, shape (ny, nx), optional
            Weight of each chemical phase, with `spectra`; instead of `absorption`.
        spectra : (energies, mapping of str to array of shape (energies,)), optional
            Ascending energies in eV, and the optical depth of each phase at weight 1.
        labels : array of int, shape (ny, nx), optional
            See the attribute; by default 1 where a rate is above a tenth of its map's largest.
        kinds : mapping of int to str, optional
        background : float or mapping of str to float
            Rate outside the maps, counts per second.

        Raises
        ------
        BadInputError
            If an argument is out of range; the message names the map and the remedy.
        """
        if not maps:
            raise BadInputError("maps={}: give at least one map of rates")
        checked = {name: _checked_map(name, values) for name, values in maps.items()}
        if phases is not None or spectra is not None:
            if phases is None or spectra is None or absorption is not None:
                raise BadInputError("give either absorption=, or phases= together with spectra=")
            depth = _depth_of_phases(phases, spectra)
        else:
            depth = _depth_of(absorption, checked)
        if isinstance(background, Mapping):
            if unknown := sorted(set(background) - set(checked)):
                raise BadInputError(f"background names {unknown}, which are not maps: use {sorted(checked)}")
            outside = {name: float(background.get(name, 0.0)) for name in checked}
        else:
            outside = dict.fromkeys(checked, float(background))
        if labels is None:
            labels = np.any([values > 0.1 * values.max() for values in _alike(checked)], axis=0)
        return cls(
            checked,
            pair("step_um", step_um, positive=True),
            pair("origin_um", origin_um),
            depth,
            np.asarray(labels).astype(np.int64),
            dict(kinds or {}),
            outside,
        )

    @classmethod
    def cells(cls, seed: int = 0, **options: Any) -> SimSample:
        """Cells with nuclei and granules; see `ebl_autonomy.sim_devices.procedural.cells`."""
        from ebl_autonomy.sim_devices import procedural

        return procedural.cells(seed, **options)

    @classmethod
    def particles(cls, seed: int = 0, **options: Any) -> SimSample:
        """Particles of three chemical phases; see `ebl_autonomy.sim_devices.procedural.particles`."""
        from ebl_autonomy.sim_devices import procedural

        return procedural.particles(seed, **options)

    @classmethod
    def grains(cls, seed: int = 0, **options: Any) -> SimSample:
        """Grains of an alloy of two phases; see `ebl_autonomy.sim_devices.procedural.grains`."""
        from ebl_autonomy.sim_devices import procedural

        return procedural.grains(seed, **options)


def _alike(maps: Mapping[str, FloatArray]) -> list[FloatArray]:
    """The maps, if they have one shape."""
    first = next(iter(maps.values())).shape
    for name, values in maps.items():
        if values.shape != first:
            raise BadInputError(
                f"the map {name!r} has the shape {values.shape}, the first one {first}: all must be alike"
            )
    return list(maps.values())


def _checked_map(name: Any, values: Any) -> FloatArray:
    if not isinstance(name, str) or not CHANNEL.fullmatch(name):
        raise BadInputError(f"a map is named {name!r}: use letters, digits and underscores, a letter first")
    rates = _array(f"the map {name!r}", values, 2)
    if np.any(rates < 0.0):
        raise BadInputError(f"the map {name!r} holds {float(rates.min())!r}: rates are 0 or above, clip or shift them")
    return rates


def _array(what: str, values: Any, dimensions: int) -> FloatArray:
    try:
        array = np.array(values, dtype=float)
    except (TypeError, ValueError):
        raise BadInputError(f"{what} is not an array of numbers: {values!r}") from None
    if array.ndim != dimensions or not array.size:
        raise BadInputError(f"{what} has the shape {array.shape}: give {dimensions} dimensions, none of them empty")
    _check_finite(what, array)
    array.flags.writeable = False
    return array


def _check_finite(what: str, array: FloatArray) -> None:
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(index) for index in np.argwhere(bad)[0])
        raise BadInputError(
            f"{what} has {int(bad.sum())} values that are not finite, the first at {first}: fill them, e.g. with "
            "numpy.nan_to_num, or cut the map to where it was measured"
        )


def _depth_of_phases(phases: Mapping[str, Any], spectra: tuple[Any, Mapping[str, Any]]) -> OpticalDepth:
    energies, curves = spectra
    if not phases:
        raise BadInputError("phases={}: give at least one map of weights")
    if missing := sorted(set(phases) - set(curves)):
        raise BadInputError(f"spectra lacks the phases {missing}: it has {sorted(curves)}")
    weights = [_array(f"the phase {name!r}", values, 2) for name, values in phases.items()]
    _alike(dict(zip(phases, weights, strict=True)))
    mu = [_array(f"the spectrum of {name!r}", curves[name], 1) for name in phases]
    if lengths := {curve.size for curve in mu} - {np.size(energies)}:
        raise BadInputError(
            f"spectra of {sorted(lengths)} values for {np.size(energies)} energies: give one per energy"
        )
    return OpticalDepth(tuple(phases), np.array(weights), np.array(energies, dtype=float), np.array(mu))


def _depth_of(absorption: Any, maps: Mapping[str, FloatArray]) -> OpticalDepth:
    if absorption is None:
        total = np.sum(_alike(maps), axis=0)
        depth = DEFAULT_DEPTH * total / (float(total.max()) or 1.0)
        return OpticalDepth(("sample",), depth[None], np.zeros(1), np.ones((1, 1)))
    if isinstance(absorption, tuple):
        energies, stack = np.array(absorption[0], dtype=float), _array("absorption", absorption[1], 3)
        if len(stack) != energies.size:
            raise BadInputError(f"absorption holds {len(stack)} maps for {energies.size} energies: give one per energy")
        # Between two energies of the stack the maps are interpolated: each map is a component whose spectrum is a hat.
        return OpticalDepth(tuple(f"{energy:g}" for energy in energies), stack, energies, np.eye(energies.size))
    depth = _array("absorption", absorption, 2)
    return OpticalDepth(("sample",), depth[None], np.zeros(1), np.ones((1, 1)))
