"""The model of a spectrum: its fit, several spectra with gaps, and its choice of energies."""

import numpy as np
import pytest

from ebl_autonomy.analysis.spectra import SpectrumModel
from ebl_autonomy.errors import BadInputError


def step(energies: np.ndarray, edge: float) -> np.ndarray:
    above = energies - edge
    return 0.5 + np.arctan(above / 1.5) / np.pi + 0.4 * np.exp(-0.5 * ((above - 5.0) / 3.0) ** 2)


ENERGIES = np.array([6500.0, 6515.0, 6525.0, 6532.0, *np.arange(6536.0, 6560.0, 2.0), 6565.0, 6575.0, 6590.0, 6610.0])


@pytest.mark.parametrize("unit", [1.0, 1e6, 1e-9])
def test_mean_follows_the_readings_in_any_unit(unit: float) -> None:
    model = SpectrumModel(6500.0, 6610.0)
    model.fit(ENERGIES, unit * step(ENERGIES, 6545.0)[:, None])
    between = np.linspace(6501.0, 6609.0, 200)
    mean, std = model.predict(between)
    error = mean[:, 0] - unit * step(between, 6545.0)
    assert np.sqrt(np.mean(error**2)) < 0.02 * unit
    assert 0.2 < np.sqrt(np.mean(std**2)) / np.sqrt(np.mean(error**2)) < 20.0
    assert model.edge == pytest.approx(6545.0, abs=4.0)


def test_spectra_with_gaps_keep_their_own_readings() -> None:
    values = np.stack([step(ENERGIES, 6545.0), 3.0 + step(ENERGIES, 6547.0)], axis=1)
    gaps = values.copy()
    gaps[4:7, 1] = np.nan
    model = SpectrumModel(6500.0, 6610.0)
    model.fit(ENERGIES, gaps)
    mean, std = model.predict(ENERGIES)
    assert np.max(np.abs(mean[:, 0] - values[:, 0])) < 0.02
    assert np.all(std[4:7, 1] > std[4:7, 0])


def test_most_uncertain_energies_are_different_and_keep_off_pending_ones() -> None:
    model = SpectrumModel(6500.0, 6610.0)
    model.fit(ENERGIES, step(ENERGIES, 6545.0)[:, None])
    candidates = np.arange(6500.0, 6610.0, 0.25)
    chosen, score = model.most_uncertain(candidates, 5)
    assert len(set(chosen.tolist())) == 5
    assert np.all(np.diff(score) <= 1e-12)
    (other,), _ = model.most_uncertain(candidates, 1, pending=candidates[chosen[:1]])
    assert abs(candidates[other] - candidates[chosen[0]]) > 0.5


def test_spectrum_without_readings_is_refused() -> None:
    with pytest.raises(BadInputError, match="have no reading"):
        SpectrumModel(0.0, 100.0).fit(np.arange(3.0), np.full((3, 1), np.nan))
