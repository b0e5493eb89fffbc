"""The agent that chooses energies: which energies it proposes, what it rebuilds, and what it refuses."""

from typing import Any

import numpy as np
import pytest

from ebl_autonomy.agents.energy import EnergyAgent
from ebl_autonomy.errors import BadInputError, NoMoreProposals

EDGE = 7112.0


def xanes(energies: Any, edge: float = EDGE + 6.0) -> Any:
    """A spectrum with a pre-edge peak, a white line and oscillations that widen behind the edge."""
    above = np.asarray(energies, dtype=float) - edge
    step = 0.5 + np.arctan(above / 1.3) / np.pi
    k = np.sqrt(np.maximum(above, 0.0) / 3.81)
    ripple = 0.12 * np.sin(5.0 * k) * np.exp(-above / 60.0) * step
    white = 0.5 * np.exp(-0.5 * ((above - 4.0) / 2.2) ** 2)
    peak = 0.06 * np.exp(-0.5 * ((above + 9.0) / 1.2) ** 2)
    return 0.3 + step + ripple + white + peak - 0.0005 * above


def vocs(*spectra: str, low: float = 7070.0, high: float = 7200.0) -> dict[str, Any]:
    return {"variables": {"energy": [low, high]}, "observables": list(spectra or ("mu",))}


def measured(
    agent: EnergyAgent, total: int, batch: int = 4, spectrum: Any = xanes, names: Any = ("mu",)
) -> EnergyAgent:
    while len(agent.results) < total:
        points = agent.suggest(min(batch, total - len(agent.results)))
        agent.ingest([{**p, **{name: float(spectrum(p["energy"])) for name in names}} for p in points])
    return agent


def test_a_spectrum_is_rebuilt_from_few_energies() -> None:
    agent = measured(EnergyAgent(vocs(), edge=EDGE), 34)
    energies = np.linspace(7070.0, 7200.0, 261)
    mean, std = agent.spectrum(energies)
    assert np.sqrt(np.mean((mean - xanes(energies)) ** 2)) < 0.01
    assert mean.shape == std.shape == energies.shape


def test_each_sweep_ascends() -> None:
    agent = EnergyAgent(vocs(), edge=EDGE)
    for _ in range(6):
        points = agent.suggest(5)
        energies = [point["energy"] for point in points]
        assert energies == sorted(energies)
        assert len(set(energies)) == 5
        agent.ingest([{**p, "mu": float(xanes(p["energy"]))} for p in points])


def test_a_reached_target_ends_the_proposals() -> None:
    agent = EnergyAgent(vocs(), edge=EDGE, target_error=0.02)
    with pytest.raises(NoMoreProposals, match="target") as ended:
        measured(agent, 100)
    assert ended.value.remaining == 0
    assert 10 < len(agent.results) < 40


def test_two_variables_are_refused() -> None:
    with pytest.raises(BadInputError, match="one variable"):
        EnergyAgent({"variables": {"x": [0.0, 1.0], "y": [0.0, 1.0]}, "observables": ["mu"]})
