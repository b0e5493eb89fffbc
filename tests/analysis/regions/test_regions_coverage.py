"""Boxes for a budget hold the most that they can, with few boxes where each costs much."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ebl_autonomy.analysis.regions import Maps, find_regions
from ebl_autonomy.analysis.regions.coverage import covering

SHAPE = (60, 80)


def worth_of(*blocks: tuple[slice, slice, float]) -> np.ndarray:
    worth = np.zeros(SHAPE)
    for rows, columns, each in blocks:
        worth[rows, columns] = each
    return worth


def inside(windows: list[tuple[slice, slice]]) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    for window in windows:
        mask[window] = True
    return mask


def test_the_best_blocks_come_first_and_all_of_them_if_there_is_time() -> None:
    good, fair = (slice(5, 15), slice(5, 15), 1.0), (slice(40, 50), slice(60, 70), 0.5)
    worth = worth_of(good, fair)
    assert covering(worth, 100.0) == [good[:2]]
    assert covering(worth, 1000.0) == [good[:2], fair[:2]]
    assert covering(worth, 0.5) == []
    assert covering(np.zeros(SHAPE), 100.0) == []


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("overhead", [0.0, 40.0])
@pytest.mark.parametrize("margin", [(0.0, 0.0), (1.5, 0.5)])
def test_no_budget_is_exceeded_and_little_of_it_is_left(
    seed: int, overhead: float, margin: tuple[float, float]
) -> None:
    worth = np.maximum(gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 3.0), 0.0)
    for budget in (300.0, 1000.0):
        windows = covering(worth, budget, overhead, margin)
        sizes = [(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in windows]
        spent = sum(overhead + (ny + 2 * margin[1]) * (nx + 2 * margin[0]) for ny, nx in sizes)
        assert 0.5 * budget <= spent <= budget
        even = worth.mean() * inside(windows).sum()
        assert worth[inside(windows)].sum() >= even


def test_more_overhead_makes_fewer_boxes() -> None:
    worth = worth_of(*((slice(row, row + 4), slice(column, column + 4), 1.0)
                       for row in range(5, 50, 9) for column in range(5, 70, 9)))  # fmt: skip
    few, many = (covering(worth, 3000.0, overhead) for overhead in (200.0, 0.0))
    assert len(many) == 40
    assert worth[inside(many)].sum() == worth.sum()
    assert 1 <= len(few) < 10
    assert worth[inside(few)].sum() > 0.4 * worth.sum()


def test_a_large_map_is_searched_in_blocks() -> None:
    worth = np.zeros((700, 900))
    worth[300:360, 400:500] = 1.0
    ((rows, columns),) = covering(worth, 7000.0)
    assert abs(rows.start - 300) <= 6
    assert abs(columns.stop - 500) <= 6


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("overhead_s", [0.0, 0.5])
def test_regions_take_no_more_than_their_share_of_the_time(share: float, overhead_s: float) -> None:
    rates = {"Fe": np.full(SHAPE, 5.0), "Cr": np.full(SHAPE, 5.0)}
    rates["Fe"][5:25, 5:30] = 100.0
    rates["Cr"][40:46, 60:66] = 100.0
    rng = np.random.default_rng(0)
    counts = {name: rng.poisson(rate) for name, rate in rates.items()}
    maps = Maps(counts, 0.5 * np.arange(80), np.arange(60.0), dwell_s=0.1)
    options = {"time_share": share, "overhead_s": overhead_s, "pixel_s": 0.01, "step": (0.25, 0.5), "margin": 0.0}
    found = find_regions(maps, options)
    area = sum((one.x[1] - one.x[0]) * (one.y[1] - one.y[0]) for one in found)
    assert found
    assert area * 0.01 / (0.25 * 0.5) + overhead_s * len(found) <= share * 40.0 * 60.0 * 0.01 / (0.25 * 0.5)
    assert any(one.channel == "Cr" for one in found)  # small, so all of it costs little
    if share == 0.3:
        assert {one.channel for one in found} == {"Fe", "Cr"}
