"""Phases in spectra: the fit, the honesty of its intervals, and references that cannot be told apart."""

import numpy as np
import pytest

from ebl_autonomy.analysis.spectra import References, fit_phases
from ebl_autonomy.errors import BadInputError

ENERGIES = np.arange(7090.0, 7190.0, 1.0)


def edge(at: float, white: float) -> np.ndarray:
    above = ENERGIES - at
    return 0.5 + np.arctan(above / 1.2) / np.pi + white * np.exp(-0.5 * ((above - 4.0) / 2.5) ** 2)


REFERENCES = References(ENERGIES, {"a": edge(7112.0, 0.1), "b": edge(7116.0, 0.6), "c": edge(7121.0, 1.2)})
TRUE = np.array([[0.6, 0.0], [0.3, 0.0], [0.1, 2.0]])


def test_mixtures_without_noise_are_found_exactly() -> None:
    fit = fit_phases(ENERGIES, REFERENCES.at(ENERGIES) @ TRUE, REFERENCES, std=0.01)
    np.testing.assert_allclose(fit.weights, TRUE, atol=1e-9)
    np.testing.assert_allclose(fit.fractions, TRUE / TRUE.sum(axis=0), atol=1e-9)
    assert fit.names == ["a", "b", "c"]
    assert fit.residual.shape == (len(ENERGIES), 2)


@pytest.mark.parametrize("told", [True, False])
def test_intervals_hold_the_truth_as_often_as_they_claim(told: bool) -> None:
    rng = np.random.default_rng(4)
    energies = ENERGIES[15:45:2]
    weights = rng.dirichlet([0.5, 0.5, 0.5], 400).T
    spectra = REFERENCES.at(energies) @ weights + 0.02 * rng.standard_normal((len(energies), 400))
    fit = fit_phases(energies, spectra, REFERENCES, std=0.02 if told else None)
    held = np.mean((fit.low <= weights) & (weights <= fit.high))
    assert 0.93 < held < 0.98
    assert np.mean(np.abs(fit.fractions - weights) <= 1.96 * fit.fraction_std) > 0.93


def test_background_and_missing_readings() -> None:
    spectra = REFERENCES.at(ENERGIES) @ TRUE + (0.5 + 0.002 * (ENERGIES - 7100.0))[:, None]
    spectra[3:9, 0] = np.nan
    fit = fit_phases(ENERGIES, spectra, REFERENCES, background="linear")
    np.testing.assert_allclose(fit.weights, TRUE, atol=1e-8)
    assert np.isnan(fit.residual[3:9, 0]).all()
    assert np.isfinite(fit.residual[:, 1]).all()


@pytest.mark.parametrize("shift", [-0.8, 0.4])
def test_shift_of_the_energy_is_found(shift: float) -> None:
    inside = ENERGIES[5:-5]
    spectrum = REFERENCES.at(inside - shift) @ TRUE[:, 0]
    fit = fit_phases(inside, spectrum, REFERENCES, std=0.002, shift_std_ev=2.0)
    assert fit.shift_ev[0] == pytest.approx(shift, abs=0.02)
    np.testing.assert_allclose(fit.weights[:, 0], TRUE[:, 0], atol=0.02)


def test_references_that_cannot_be_told_apart_are_named() -> None:
    twins = References(ENERGIES, {"a": edge(7112.0, 0.1), "other": edge(7118.0, 0.3), "twin": 3.0 * edge(7112.0, 0.1)})
    with pytest.raises(BadInputError, match="'a' and 'twin'"):
        twins.require_distinct(ENERGIES)
    a, b = edge(7112.0, 0.1), edge(7118.0, 0.3)
    with pytest.raises(BadInputError, match=r"'a', 'b', 'sum'"):
        References(ENERGIES, {"a": a, "b": b, "sum": a + b}).require_distinct(ENERGIES)


def test_references_that_do_not_cover_the_energies_are_refused_with_both_ranges() -> None:
    with pytest.raises(BadInputError, match=r"7090 to 7189 eV.*7050 to 7100"):
        REFERENCES.at(np.array([7050.0, 7100.0]))


def test_too_few_readings_are_refused() -> None:
    with pytest.raises(BadInputError, match="3 readings for 3 unknowns"):
        fit_phases(ENERGIES[20:50:10], np.ones(3), REFERENCES)


@pytest.mark.parametrize(
    ("energies", "spectra", "said"),
    [
        (ENERGIES, {}, "at least one reference"),
        (ENERGIES, {"a": np.ones(4)}, "'a' has 4 values"),
        (ENERGIES, {"a": np.zeros(len(ENERGIES))}, "'a' is zero"),
        (ENERGIES, {"a": np.full(len(ENERGIES), np.nan)}, "not finite"),
        (ENERGIES[::-1], {"a": np.ones(len(ENERGIES))}, "ascending"),
    ],
)
def test_references_that_are_none_are_refused(energies: np.ndarray, spectra: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        References(energies, spectra)
