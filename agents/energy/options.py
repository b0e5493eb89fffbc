"""Options of `EnergyAgent`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from ebl_autonomy.agents.base import AgentOptions

__all__ = ["EnergyOptions"]

Positive = Annotated[FiniteFloat, Field(gt=0.0)]


class EnergyOptions(AgentOptions):
    """Options of `EnergyAgent`; import it from ``ebl_autonomy.agents``.

    Attributes
    ----------
    edge : float or str, optional
        Tabulated energy of the edge in eV, or its name: ``"Fe"``, ``"Fe K"``, ``"Fe L3"``. It may be several eV off. By
        default, the edge may be anywhere in the domain.
    edge_std_ev : float
        How far off, as a standard deviation, in eV.
    resolution_ev : float
        Step of the energies to choose from, if the variable is continuous. Two energies differ by at least half of it.
    initial : int
        Number of energies of the first sweep, which ascends over the whole domain; without references.
    sweep : int
        Number of energies that are decided together and measured in ascending order, so that the backlash of the
        monochromator is taken from one side. A larger number of points that is asked for at once is one sweep.
    references : dict of str to list of float, optional
        Reference spectra of the phases: the agent separates these, instead of rebuilding the shape of the spectrum.
    reference_energies : list of float, optional
        Their energies in eV, ascending. They must cover the domain.
    background : {"none", "constant", "linear"}
        What is fitted beside the references.
    shift_std_ev : float
        How far off the energies may be from those of the references, as a standard deviation in eV.
    noise : {"constant", "transmission", "fluorescence"}
        How the noise depends on the reading, if results do not tell it. In transmission, with readings ln(I0 / I), its
        variance grows as exp(reading); in fluorescence, as the reading.
    criterion : {"A", "D"}
        See `ebl_autonomy.analysis.spectra.choose_energies`.
    target_error : float, optional
        Ends the proposals: without references, the predicted root mean square error of each rebuilt spectrum, as a
        share of its range; with references, the largest standard deviation of a fraction.
    """

    edge: Positive | str | None = None
    edge_std_ev: Positive = 8.0
    resolution_ev: Positive = 0.25
    initial: int = Field(default=8, ge=3)
    sweep: int = Field(default=4, ge=1)
    references: dict[str, list[FiniteFloat]] | None = None
    reference_energies: list[FiniteFloat] | None = None
    background: Literal["none", "constant", "linear"] = "none"
    shift_std_ev: Annotated[FiniteFloat, Field(ge=0.0)] = 0.0
    noise: Literal["constant", "transmission", "fluorescence"] = "constant"
    criterion: Literal["A", "D"] = "A"
    target_error: Positive | None = None
