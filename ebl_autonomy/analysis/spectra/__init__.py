"""Absorption spectra: edges, phases as linear combinations of references, and which energies tell most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebl_autonomy.lazy import lazy_attributes

if TYPE_CHECKING:
    from ebl_autonomy.analysis.spectra.design import choose_energies, weights_covariance
    from ebl_autonomy.analysis.spectra.edges import (
        Normalised,
        WhiteLine,
        edge_energy,
        edge_position,
        normalise,
        white_line,
    )
    from ebl_autonomy.analysis.spectra.mixtures import PhaseFit, References, fit_phases
    from ebl_autonomy.analysis.spectra.model import SpectrumModel

__all__ = [
    "Normalised",
    "PhaseFit",
    "References",
    "SpectrumModel",
    "WhiteLine",
    "choose_energies",
    "edge_energy",
    "edge_position",
    "fit_phases",
    "normalise",
    "weights_covariance",
    "white_line",
]

__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "Normalised": ".edges",
        "PhaseFit": ".mixtures",
        "References": ".mixtures",
        "SpectrumModel": ".model",
        "WhiteLine": ".edges",
        "choose_energies": ".design",
        "edge_energy": ".edges",
        "edge_position": ".edges",
        "fit_phases": ".mixtures",
        "normalise": ".edges",
        "weights_covariance": ".design",
        "white_line": ".edges",
    },
)
