"""Designs that separate references: against all designs of a small set, and with what is known already."""

from itertools import combinations

import numpy as np
import pytest

from ebl_autonomy.analysis.spectra import choose_energies, weights_covariance
from ebl_autonomy.errors import BadInputError

RNG = np.random.default_rng(2)
COLUMNS = RNG.random((12, 3))


@pytest.mark.parametrize("criterion", ["A", "D"])
@pytest.mark.parametrize("known", [(), (3, 7)])
def test_design_is_nearly_the_best_of_all(criterion: str, known: tuple[int, ...]) -> None:
    def cost(chosen: tuple[int, ...]) -> float:
        covariance = weights_covariance(COLUMNS[[*chosen, *known]], np.full(len(chosen) + len(known), 0.05))
        return float(np.trace(covariance) if criterion == "A" else np.linalg.slogdet(covariance)[1])

    chosen = choose_energies(COLUMNS, 4, std=np.full(12, 0.05), known=known, criterion=criterion)
    assert list(chosen) == sorted(set(chosen) - set(known))
    best = min(cost(some) for some in combinations([i for i in range(12) if i not in known], 4))
    assert cost(tuple(chosen)) <= best + 0.02 * abs(best)


def test_absent_phase_gets_no_energies() -> None:
    columns = np.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.0], [0.0, 0.9]])
    assert set(choose_energies(columns, 2, prior_std=np.array([1.0, 1e-6]))) == {0, 2}


def test_noise_matters() -> None:
    columns = np.array([[1.0], [1.0]])
    assert choose_energies(columns, 1, std=np.array([0.1, 0.01])) == [1]


def test_more_energies_than_there_are_is_refused() -> None:
    with pytest.raises(BadInputError, match="12 energies of 10"):
        choose_energies(COLUMNS, 12, known=(0, 1))
    with pytest.raises(BadInputError, match="criterion='E'"):
        choose_energies(COLUMNS, 2, criterion="E")
