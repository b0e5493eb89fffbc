"""Full fluorescence spectra of the simulated microprobe, from the line energies of xraylib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.special import erf

from ebl_autonomy.errors import BadInputError, EblError
from ebl_autonomy.sim_devices.optics import FWHM_PER_SIGMA
from ebl_autonomy.space import FloatArray

__all__ = ["Spectrum"]

ELECTRONIC_NOISE_EV: Final = 80.0
"""FWHM of the electronic noise."""
FANO: Final = 0.114
PAIR_EV: Final = 3.65
"""Energy of an electron-hole pair in silicon, eV."""
WEAKEST_LINE: Final = 1e-3
"""Share of a shell's strongest line below which a line is left out."""
REGION_SIGMAS: Final = 3.0
"""Standard deviations by which a region of interest reaches beyond the outermost lines."""
SHELLS: Final[dict[str, tuple[str, ...]]] = {
    "K": ("KL3", "KL2", "KM3", "KM2", "KN3", "KN2"),
    "L3": ("L3M5", "L3M4", "L3N5", "L3M1"),
}
"""Lines that a spectrum shows, by shell, in the notation of xraylib."""


@dataclass(frozen=True)
class Lines:
    """The lines of one element: energies in eV and their shares, which sum to 1."""

    energies_ev: FloatArray
    shares: FloatArray

    def widths(self) -> FloatArray:
        """Standard deviations of the lines in a silicon drift detector, eV."""
        return np.asarray(np.hypot(ELECTRONIC_NOISE_EV / FWHM_PER_SIGMA, np.sqrt(FANO * PAIR_EV * self.energies_ev)))


class Spectrum:
    """Spreads the counts of each element over the bins of a spectrum.

    Each count of an element falls into one bin, so that a spectrum holds exactly as many counts as the elements have.
    The K lines are shown where the incident energy excites them and they lie inside the spectrum, else the L3 lines.

    Parameters
    ----------
    elements : sequence of str
        Chemical symbols.
    bins : int
    bin_ev : float
        Width of a bin, eV; the first bin begins at 0.

    Raises
    ------
    EblError
        If xraylib is not installed.
    BadInputError
        If a name is no chemical symbol.
    """

    def __init__(self, elements: Sequence[str], bins: int = 2048, bin_ev: float = 10.0) -> None:
        if find_spec("xraylib") is None:
            raise EblError("full spectra need xraylib, which is not installed: pip install 'ebl-autonomy[spectra]'")
        self.elements, self.bins, self.bin_ev = tuple(elements), bins, bin_ev
        self._numbers = {name: _atomic_number(name) for name in self.elements}
        self._shapes: dict[float, FloatArray] = {}

    @property
    def energies_ev(self) -> FloatArray:
        """Centres of the bins, eV; shape (bins,)."""
        return np.asarray((np.arange(self.bins) + 0.5) * self.bin_ev, dtype=float)

    def lines(self, energy_ev: float) -> Mapping[str, Lines]:
        """The lines of each element at an incident energy; an element without any is left out."""
        found = {name: self._lines(number, energy_ev) for name, number in self._numbers.items()}
        return {name: lines for name, lines in found.items() if lines is not None}

    def regions(self, energy_ev: float) -> dict[str, tuple[int, int]]:
        """The region of interest of each element with lines: its first bin and the one after its last.

        A region reaches around all lines of the element. Where regions overlap, it holds counts of other elements too;
        `shares` tells how many.
        """
        regions = {}
        for name, lines in self.lines(energy_ev).items():
            reach = REGION_SIGMAS * lines.widths()
            low = math.floor(float((lines.energies_ev - reach).min()) / self.bin_ev)
            high = math.ceil(float((lines.energies_ev + reach).max()) / self.bin_ev)
            regions[name] = max(low, 0), min(high, self.bins)
        return regions

    def shares(self, energy_ev: float) -> dict[str, dict[str, float]]:
        """The share of each element's counts that falls into each region: ``shares[region][element]``."""
        shapes = dict(zip(self.elements, self._shape(energy_ev), strict=True))
        return {
            region: {name: float(shape[low:high].sum()) for name, shape in shapes.items()}
            for region, (low, high) in self.regions(energy_ev).items()
        }

    def draw(self, counts: FloatArray, energy_ev: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """A spectrum with the given counts of each element.

        Parameters
        ----------
        counts : FloatArray, shape (elements,)
        energy_ev : float
            Incident energy, eV. An element that it does not excite, or without a line in the spectrum, adds nothing.
        rng : numpy.random.Generator

        Returns
        -------
        array of int, shape (bins,)
        """
        spectrum = np.zeros(self.bins, dtype=np.int64)
        for count, shape in zip(counts, self._shape(energy_ev), strict=True):
            if count > 0.0 and shape.any():
                spectrum += rng.multinomial(int(count), shape)
        return spectrum

    def _shape(self, energy_ev: float) -> FloatArray:
        """The probability of each bin for a count of each element; shape (elements, bins), rows sum to 1 or are 0."""
        if energy_ev not in self._shapes:
            edges = np.arange(self.bins + 1) * self.bin_ev
            lines = self.lines(energy_ev)
            shapes = np.zeros((len(self.elements), self.bins))
            for row, name in enumerate(self.elements):
                if name in lines:
                    z = (edges - lines[name].energies_ev[:, None]) / lines[name].widths()[:, None]
                    below = 0.5 * (1.0 + erf(z / math.sqrt(2.0)))
                    shapes[row] = lines[name].shares @ np.diff(below, axis=1)
                    shapes[row] /= shapes[row].sum()
            if len(self._shapes) > 64:  # a scan of the energy asks for many; only the latest are needed
                self._shapes.clear()
            self._shapes[energy_ev] = shapes
        return self._shapes[energy_ev]

    def _lines(self, number: int, energy_ev: float) -> Lines | None:
        import xraylib

        for shell, names in SHELLS.items():
            edge = _known(xraylib.EdgeEnergy, number, getattr(xraylib, f"{shell}_SHELL"))
            if not 0.0 < 1000.0 * edge <= energy_ev:
                continue
            found = []
            for name in names:
                line = getattr(xraylib, f"{name}_LINE")
                energy = 1000.0 * _known(xraylib.LineEnergy, number, line)
                rate = _known(xraylib.RadRate, number, line)
                if energy > 0.0 and rate > 0.0:
                    found.append((energy, rate))
            if not found:
                continue
            strongest = max(found, key=lambda pair: pair[1])
            if strongest[0] >= self.bins * self.bin_ev:
                continue
            kept = np.array([pair for pair in found if pair[1] >= WEAKEST_LINE * strongest[1]])
            return Lines(kept[:, 0], kept[:, 1] / kept[:, 1].sum())
        return None


def _atomic_number(name: str) -> int:
    import xraylib

    try:
        return int(xraylib.SymbolToAtomicNumber(name))
    except ValueError:
        raise BadInputError(
            f"the map {name!r} is no chemical element, so it has no lines: name the maps by symbols, such as 'Fe', or "
            "leave spectrum=False"
        ) from None


def _known(table: Any, number: int, index: int) -> float:
    """A value of a table of xraylib; 0 for a line or an edge that the element lacks, for which xraylib raises."""
    try:
        return float(table(number, index))
    except ValueError:
        return 0.0
