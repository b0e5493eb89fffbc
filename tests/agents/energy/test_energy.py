"""The agent that chooses energies: which energies it proposes, what it rebuilds, and what it refuses."""

import json
from typing import Any

import numpy as np
import pytest

from ebl_autonomy.agents.energy import EnergyAgent
from ebl_autonomy.analysis.spectra import edge_position
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


def test_one_by_one_the_energies_are_those_of_ascending_sweeps() -> None:
    agent = measured(EnergyAgent(vocs(), edge=EDGE, initial=8, sweep=5), 20, batch=1)
    energies = [result["energy"] for result in agent.results]
    assert energies[:8] == sorted(energies[:8])
    for sweep in (energies[8:13], energies[13:18]):
        assert sweep == sorted(sweep)


def test_a_reached_target_ends_the_proposals() -> None:
    agent = EnergyAgent(vocs(), edge=EDGE, target_error=0.02)
    with pytest.raises(NoMoreProposals, match="target") as ended:
        measured(agent, 100)
    assert ended.value.remaining == 0
    assert 10 < len(agent.results) < 40


@pytest.mark.parametrize("edge", [None, EDGE, EDGE - 12.0, EDGE + 20.0])
def test_the_edge_is_found_whatever_was_expected(edge: float | None) -> None:
    agent = measured(EnergyAgent(vocs(), edge=edge), 28)
    grid = np.arange(7070.0, 7200.0, 0.1)
    for method in ("derivative", "half_step"):
        assert agent.edge(method)["mu"] == pytest.approx(edge_position(grid, xanes(grid), method), abs=0.3)


def test_predicted_error_is_honest_within_a_factor() -> None:
    agent = measured(EnergyAgent(vocs(), edge=EDGE), 24)
    grid = np.linspace(7070.0, 7200.0, 400)
    true = np.sqrt(np.mean((agent.spectrum(grid)[0] - xanes(grid)) ** 2)) / np.ptp(xanes(grid))
    assert 0.3 < agent.predicted_error()["mu"] / true < 3.0


def test_two_edges_of_an_l_shell_are_rebuilt() -> None:
    def l_edges(energy: Any) -> Any:
        above = np.asarray(energy) - 708.0
        peaks = 1.5 * np.exp(-0.5 * (above / 0.8) ** 2) + 0.6 * np.exp(-0.5 * ((above - 13.0) / 1.1) ** 2)
        return peaks + 0.4 * (0.5 + np.arctan(above / 0.5) / np.pi)

    agent = EnergyAgent(vocs(low=695.0, high=735.0), edge=707.0, resolution_ev=0.1)
    grid = np.linspace(695.0, 735.0, 400)
    error = measured(agent, 34, spectrum=l_edges).spectrum(grid)[0] - l_edges(grid)
    assert np.sqrt(np.mean(error**2)) < 0.03


def test_spectra_of_several_spots_are_rebuilt_together() -> None:
    agent = EnergyAgent(vocs("a", "b"), edge=EDGE)
    while len(agent.results) < 28:
        points = agent.suggest(4)
        agent.ingest(
            [{**p, "a": float(xanes(p["energy"])), "b": 5.0 * float(xanes(p["energy"], 7121.0))} for p in points]
        )
    grid = np.linspace(7070.0, 7200.0, 300)
    mean, std = agent.spectrum(grid)
    assert mean.shape == std.shape == (300, 2)
    assert np.sqrt(np.mean((mean[:, 0] - xanes(grid)) ** 2)) < 0.02
    assert np.sqrt(np.mean((mean[:, 1] - 5.0 * xanes(grid, 7121.0)) ** 2)) < 0.1
    assert set(agent.predict([{"energy": 7100.0}])) == {"a", "b"}


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_flat_spectrum_has_no_edge_and_ends_with_words(noise: float) -> None:
    rng = np.random.default_rng(3)
    agent = EnergyAgent(vocs(), edge=EDGE, target_error=0.01)
    with pytest.raises(NoMoreProposals, match="flat between 7070 and 7200"):
        measured(agent, 60, spectrum=lambda _: 1.0 + noise * rng.standard_normal())
    assert np.isnan(agent.edge()["mu"])


def test_a_saturated_spectrum_is_rebuilt_as_it_reads() -> None:
    agent = measured(EnergyAgent(vocs(), edge=EDGE), 28, spectrum=lambda e: min(float(xanes(e)), 1.0))
    assert np.max(np.abs(agent.spectrum([7150.0, 7160.0])[0] - 1.0)) < 0.02


def test_energies_without_a_valid_reading_are_not_proposed_again() -> None:
    agent = measured(EnergyAgent(vocs(), edge=EDGE), 20, spectrum=lambda _: np.nan)
    assert len({result["energy"] for result in agent.results}) == 20
    assert np.isnan(agent.spectrum([7100.0])[0]).all()
    assert agent.predict([{"energy": 7100.0}]) == {}
    agent = measured(EnergyAgent(vocs(), edge=EDGE), 40, spectrum=lambda e: np.nan if 7118 < e < 7121 else xanes(e))
    assert len({result["energy"] for result in agent.results}) == 40


def test_one_reading_is_no_error() -> None:
    agent = measured(EnergyAgent(vocs(), edge=EDGE), 1, batch=1)
    assert np.isfinite(agent.spectrum([7100.0])[0]).all()
    assert np.isnan(agent.edge()["mu"])
    assert agent.predicted_error()["mu"] == np.inf
    assert agent.phases() == {}


def test_readings_slightly_off_are_taken_where_they_were_read() -> None:
    agent = EnergyAgent(vocs(), edge=EDGE)
    for _ in range(7):
        read = [{**point, "energy": point["energy"] + 0.08} for point in agent.suggest(4)]
        agent.ingest([{**point, "mu": float(xanes(point["energy"]))} for point in read])
    assert not agent.pending
    grid = np.linspace(7070.0, 7200.0, 300)
    assert np.sqrt(np.mean((agent.spectrum(grid)[0] - xanes(grid)) ** 2)) < 0.02


def test_a_stack_ends_when_all_its_energies_are_measured() -> None:
    stack = {"type": "DiscreteVariable", "values": [7100.0 + i for i in range(12)]}
    agent = EnergyAgent({"variables": {"energy": stack}, "observables": ["mu"]})
    measured(agent, 10, batch=5)
    with pytest.raises(NoMoreProposals, match="2 of 12 energies are left") as ended:
        agent.suggest(3)
    assert ended.value.remaining == 2
    measured(agent, 12, batch=2)
    assert sorted(result["energy"] for result in agent.results) == stack["values"]


# -- with references ---------------------------------------------------------------------------------------------------

REFERENCE_ENERGIES = np.arange(7080.0, 7180.0, 0.5)
PHASES = {
    "metal": xanes(REFERENCE_ENERGIES, 7112.0),
    "oxide": xanes(REFERENCE_ENERGIES, 7121.0),
    "sulphide": 0.7 * xanes(REFERENCE_ENERGIES, 7117.0) ** 2,
}


def with_references(*spectra: str, low: float = 7080.0, high: float = 7179.0, **options: Any) -> EnergyAgent:
    given = {name: spectrum.tolist() for name, spectrum in options.pop("phases", PHASES).items()}
    return EnergyAgent(
        vocs(*spectra, low=low, high=high),
        references=given,
        reference_energies=REFERENCE_ENERGIES.tolist(),
        resolution_ev=0.5,
        **options,
    )


def mixture(energy: float, **amounts: float) -> float:
    return float(sum(a * np.interp(energy, REFERENCE_ENERGIES, PHASES[name]) for name, a in amounts.items()))


def test_phases_are_separated_with_few_energies() -> None:
    rng = np.random.default_rng(0)
    agent = measured(
        with_references(), 12, spectrum=lambda e: mixture(e, metal=0.5, oxide=0.5) + 0.005 * rng.standard_normal()
    )
    phases = agent.phases()["mu"]
    for name, amount in {"metal": 0.5, "oxide": 0.5, "sulphide": 0.0}.items():
        assert phases[name]["fraction"] == pytest.approx(amount, abs=0.05)
        assert phases[name]["low"] <= amount + 0.02
        assert phases[name]["high"] >= amount - 0.02
    assert agent.unexplained() == []
    assert agent.edge()["mu"] == pytest.approx(7116.0, abs=6.0)


def test_target_error_of_phases_ends_the_proposals() -> None:
    rng = np.random.default_rng(0)
    agent = with_references(target_error=0.02)
    with pytest.raises(NoMoreProposals, match="target"):
        measured(agent, 100, spectrum=lambda e: mixture(e, metal=0.3, oxide=0.7) + 0.01 * rng.standard_normal())
    assert len(agent.results) < 60


def test_a_phase_that_is_missing_among_the_references_shows_and_draws_energies() -> None:
    def contaminated(energy: float) -> float:
        return mixture(energy, metal=1.0) + 0.4 * float(np.exp(-0.5 * ((energy - 7150.0) / 6.0) ** 2))

    agent = measured(with_references(), 24, spectrum=contaminated)
    assert agent.unexplained() == ["mu"]
    assert sum(7140.0 < result["energy"] < 7160.0 for result in agent.results) >= 3
    agent.suggest(4)
    assert {decision.reason for decision in agent.decisions()} == {"a residual that no reference explains"}


def test_energies_are_rechosen_when_a_phase_proves_absent() -> None:
    agent = measured(with_references(), 8, spectrum=lambda e: mixture(e, metal=1.0, oxide=0.5))
    agent.suggest(3)
    assert agent.decisions()[0].reason == "separates the references without sulphide"


def test_spectrum_of_phases_follows_the_references() -> None:
    agent = measured(with_references(), 12, spectrum=lambda e: mixture(e, metal=1.0, sulphide=2.0))
    mean, _ = agent.spectrum([7090.0, 7120.0, 7170.0])
    np.testing.assert_allclose(mean, [mixture(e, metal=1.0, sulphide=2.0) for e in (7090.0, 7120.0, 7170.0)], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: with_references(low=7000.0), r"7080 to 7179.5 eV.*7000 to 7179"),
        (lambda: with_references(phases={**PHASES, "twin": 2.0 * PHASES["metal"]}), "'metal' and 'twin'"),
        (lambda: EnergyAgent(vocs(), references={"a": [1.0, 2.0]}), "reference_energies is missing"),
        (lambda: EnergyAgent(vocs(), reference_energies=[1.0, 2.0]), "references is missing"),
        (lambda: EnergyAgent(vocs(), edge=9000.0), "9000 eV lies outside"),
        (lambda: EnergyAgent(vocs(low=7.0, high=7.2)), "give the energy in eV"),
        (lambda: EnergyAgent(vocs(), initial=2), "initial=2"),
        (lambda: EnergyAgent({**vocs(), "constraints": {"i0": ["GREATER_THAN", 1.0]}}), "make them observables"),
        (lambda: EnergyAgent({"variables": {"energy": [7000.0, 7100.0]}}), "at least one spectrum"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_value(make: Any, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        make()


def test_an_agent_from_its_configuration_goes_on_the_same_way() -> None:
    agent = measured(with_references(), 6, spectrum=lambda e: mixture(e, metal=1.0, oxide=0.2))
    twin = EnergyAgent.from_config(json.loads(json.dumps(agent.config())))
    twin.ingest(list(agent.results))
    assert twin.suggest(3) == agent.suggest(3)


def test_two_variables_are_refused() -> None:
    with pytest.raises(BadInputError, match="one variable"):
        EnergyAgent({"variables": {"x": [0.0, 1.0], "y": [0.0, 1.0]}, "observables": ["mu"]})


def test_energies_at_which_all_references_are_alike_leave_the_phases_unknown() -> None:
    agent = with_references()
    agent.ingest([{"energy": 7080.0 + 0.5 * i, "mu": 0.01 * i} for i in range(8)])
    assert agent.predicted_error() == {"mu": np.inf}
    assert agent.phases() == {}
    (point,) = agent.suggest()
    assert point["energy"] > 7085.0


def test_an_unknown_method_is_refused_before_there_is_an_edge() -> None:
    agent = EnergyAgent({"variables": {"energy": [7070.0, 7200.0]}, "observables": ["mu"]})
    with pytest.raises(BadInputError, match="'steepest'"):
        agent.edge("steepest")


@pytest.mark.parametrize(
    ("variable", "options", "says"),
    [
        ([7.07, 7.2], {"resolution_ev": 0.00025}, "spans 0.13 eV.*not in keV"),
        ([7.07, 7.2], {"edge": 7.112, "resolution_ev": 0.001}, "not in keV"),
        ({"type": "DiscreteVariable", "values": [8.9, 8.95, 9.0, 9.1, 9.2]}, {}, "spans 0.3 eV.*not in keV"),
        ([7070.0, 7200.0], {"edge": 7.112}, "edge at 7.112 eV.*not in keV"),
        ([7070.0, 7200.0], {"edge": 8979.0}, "correct one of them"),
    ],
)
def test_energies_in_kev_are_named(variable: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        EnergyAgent({"variables": {"energy": variable}, "observables": ["mu"]}, **options)
