"""The report on spectra: repeated scans stay in one half, scores are errors, few energies do on measured spectra."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import spectra
from ebl_autonomy.errors import DataError
from ebl_autonomy.testing import measured_file

ENERGIES = np.arange(7060.0, 7220.0, 0.5)


def step(edge: float) -> Any:
    above = ENERGIES - edge
    return 0.5 + np.arctan(above / 1.5) / np.pi + 0.5 * np.exp(-0.5 * ((above - 5.0) / 2.5) ** 2)


def measurement(name: str) -> Path:
    try:
        return measured_file(name)
    except DataError as error:
        pytest.skip(str(error))


def test_repeated_scans_of_a_sample_are_in_the_same_half() -> None:
    scans = [spectra.Measured(sample, 7112.0, ENERGIES, step(7112.0)) for sample in ("a", "b", "b", "c")]
    halves = spectra.halves_of(scans)
    assert [one.sample for one in halves["development"]] == ["a", "c"]
    assert [one.sample for one in halves["test"]] == ["b", "b"]


def test_score_of_the_spectrum_itself_is_nothing_and_that_of_a_shifted_one_its_shift() -> None:
    same = spectra.score(ENERGIES, step(7118.0), step(7118.0), 0.1)
    assert (same.rmse, same.edge, same.half_step, same.white_line) == (0.0, 0.0, 0.0, 0.0)
    shifted = spectra.score(ENERGIES, step(7118.0), step(7118.5), 0.1)
    for part in (shifted.edge, shifted.half_step, shifted.white_line):
        assert part == pytest.approx(0.5, abs=0.06)


@pytest.mark.integration
def test_measured_spectra_are_rebuilt_from_few_energies() -> None:
    measurement("xas_xdi")
    test = spectra.halves_of(spectra.library())["test"][::4]
    rebuild = spectra.by_agent([])
    scores = []
    for one in test:
        energies, flat = one.region(-50.0, 100.0, None)
        scores.append(spectra.score(energies, flat, *rebuild(energies, flat, one.tabulated)))
    assert np.median([one.rmse for one in scores]) < 0.005
    assert np.median([one.edge for one in scores]) < 0.1


@pytest.mark.integration
def test_phases_of_the_measured_map_are_told_apart_by_16_energies() -> None:
    measurement("hxn_fe_nanoxrf_nanoxanes.npz")
    stack = spectra.Stack.load()
    few = spectra.Stack(stack.energies, stack.references, stack.amounts[:, ::10])
    readings = few.noisy("transmission", 1e6, np.random.default_rng(0))
    places = spectra.steered(few, readings, "transmission", 16)
    assert len(set(places.tolist())) == 16
    whole = spectra.fit_phases(few.energies, readings, few.references)
    fit = spectra.fit_phases(few.energies[places], readings[places], few.references)
    assert np.sqrt(np.nanmean((fit.fractions - whole.fractions) ** 2)) < 0.05
    right = fit.weights.argmax(axis=0) == few.amounts.argmax(axis=0)
    assert np.mean(right) > 0.95
