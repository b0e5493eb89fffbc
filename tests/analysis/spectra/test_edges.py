"""Edges of spectra: normalisation, positions, white lines, tabulated energies, and what has no edge."""

import numpy as np
import pytest

from ebl_autonomy.analysis.spectra import edge_energy, edge_position, normalise, white_line
from ebl_autonomy.errors import BadInputError

ENERGIES = np.arange(8900.0, 9100.0, 0.5)


def step(edge: float, height: float = 1.0, white: float = 0.0) -> np.ndarray:
    above = ENERGIES - edge
    return (
        0.4
        - 0.001 * above
        + height * (0.5 + np.arctan(above / 1.0) / np.pi + white * np.exp(-0.5 * ((above - 5.0) / 2.0) ** 2))
    )


@pytest.mark.parametrize("edge", [8960.0, 8979.13, 9013.7])
@pytest.mark.parametrize("height", [1.0, 37.0])
def test_position_is_that_of_a_symmetric_edge_by_both_methods(edge: float, height: float) -> None:
    for method in ("derivative", "half_step"):
        assert edge_position(ENERGIES, step(edge, height), method) == pytest.approx(edge, abs=0.15)


def test_normalised_edge_is_a_step_of_one() -> None:
    normalised = normalise(ENERGIES, step(8979.0, 2.5))
    assert normalised.step == pytest.approx(2.5, rel=0.05)
    assert abs(np.mean(normalised.flat[:50])) < 0.02
    assert np.mean(normalised.flat[-100:]) == pytest.approx(1.0, abs=0.03)


def test_white_line_is_found_where_there_is_one() -> None:
    found = white_line(ENERGIES, step(8979.0, white=0.8))
    assert found is not None
    assert found.energy == pytest.approx(8984.0, abs=0.4)
    assert white_line(ENERGIES, step(8979.0)) is None


def test_flat_spectrum_has_no_edge() -> None:
    with pytest.raises(BadInputError, match="no edge"):
        normalise(ENERGIES, np.ones_like(ENERGIES), 8979.0)


@pytest.mark.parametrize(
    ("energies", "absorption", "said"),
    [
        (ENERGIES, np.ones(3), "two lists of one length"),
        (ENERGIES[::-1], step(8979.0), "do not ascend"),
        (ENERGIES[:3], np.arange(3.0), "at least 4"),
    ],
)
def test_input_that_is_no_spectrum_is_refused(energies: np.ndarray, absorption: np.ndarray, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        edge_position(energies, absorption)


def test_readings_that_are_not_finite_are_left_out() -> None:
    spectrum = step(8979.0)
    spectrum[::7] = np.nan
    assert edge_position(ENERGIES, spectrum) == pytest.approx(8979.0, abs=0.2)


def test_tabulated_edges() -> None:
    pytest.importorskip("xraylib")
    assert edge_energy("Fe") == edge_energy("Fe K") == pytest.approx(7112.0, abs=1.0)
    assert edge_energy("Fe L3") == pytest.approx(707.0, abs=2.0)
    for name in ("iron", "Xx", "Fe Q"):
        with pytest.raises(BadInputError, match=name):
            edge_energy(name)
