"""The benchmark of maps on real samples, at one share of the pixels."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import mapping
from benchmarks.real_maps import Case, cases
from ebl_autonomy.errors import DataError

pytestmark = pytest.mark.integration  # maps of 1280 points, by each contender
SEEDS = range(3)


def case(name: str) -> Case:
    try:
        return cases()[name]
    except DataError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", ["Fe", "Cr", "STXM"])
def test_real_maps_are_rebuilt_better_than_by_the_heuristic_and_by_raster(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapping, "SHARES", (0.05,))
    one = case(name)

    def medians(contender: mapping.Contender) -> list[float]:
        return np.median([contender(one, seed)[0.05] for seed in SEEDS], axis=0).tolist()

    error, alike, honest = medians(mapping.ours)
    others = [medians(contender) for contender in (mapping.heuristic, mapping.raster)]
    assert error <= 0.8 * min(theirs for theirs, _ in others)
    assert alike >= max(theirs for _, theirs in others)
    assert 0.75 <= honest <= 1.25


def test_in_equal_time_raster_is_not_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "SHARES", (0.05,))
    one = case("Fe")
    error, alike = mapping.ours_in_time(one, 0)[0.05]
    theirs, theirs_alike = mapping.raster_in_time(one, 0)[0.05]
    assert error <= theirs
    assert alike >= theirs_alike
