"""Choice of the energies of absorption spectra.

====================  =========================================================================================
module                contents
====================  =========================================================================================
``agent``             `EnergyAgent`: candidates, sweeps, and the public methods
``options``           `EnergyOptions`
``readings``          results as arrays, and the protocol of the two ways to choose
``rebuilding``        without references: energies that tell most of the shape of the spectrum
``separating``        with references: energies that tell most of the amounts of the phases
====================  =========================================================================================

The numerics are in `ebl_autonomy.analysis.spectra`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebl_autonomy.lazy import lazy_attributes

if TYPE_CHECKING:
    from ebl_autonomy.agents.energy.agent import EnergyAgent
    from ebl_autonomy.agents.energy.options import EnergyOptions

__all__ = ["EnergyAgent", "EnergyOptions"]


__getattr__, __dir__ = lazy_attributes(__name__, {"EnergyAgent": ".agent", "EnergyOptions": ".options"})
