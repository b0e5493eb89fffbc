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
@pytest.mark.parametrize("step", [(0.25, 0.5), None])
def test_regions_take_no_more_than_their_share_of_the_time(
    share: float, overhead_s: float, step: tuple[float, float] | None
) -> None:
    rates = {"Fe": np.full(SHAPE, 5.0), "Cr": np.full(SHAPE, 5.0)}
    rates["Fe"][5:25, 5:30] = 100.0
    rates["Cr"][40:46, 60:66] = 100.0
    rng = np.random.default_rng(0)
    counts = {name: rng.poisson(rate) for name, rate in rates.items()}
    maps = Maps(counts, 0.5 * np.arange(80), np.arange(60.0), dwell_s=0.1)
    options = {"time_share": share, "overhead_s": overhead_s, "pixel_s": 0.01, "step": step, "margin": 0.0}
    found = find_regions(maps, options)
    assert found
    assert {one.step for one in found} == {(0.25, 0.5)}
    seconds = sum((one.x[1] - one.x[0]) * (one.y[1] - one.y[0]) for one in found) * 0.01 / (0.25 * 0.5)
    assert seconds + overhead_s * len(found) <= share * 40.0 * 60.0 * 0.01 / (0.25 * 0.5)
    assert any(one.channel == "Cr" for one in found)  # small, so all of it costs little
    if share == 0.3:
        assert {one.channel for one in found} == {"Fe", "Cr"}


def test_thin_things_take_no_more_than_their_share() -> None:
    down, across = np.indices(SHAPE)
    rates = np.where(np.abs(down - 0.7 * across) < 2.0, 100.0, 5.0)
    maps = Maps({"Fe": np.random.default_rng(1).poisson(rates)}, np.arange(80.0), np.arange(60.0), dwell_s=0.1)
    for share in (0.02, 0.05):
        found = find_regions(maps, {"time_share": share, "margin": 0.0})
        areas = [(one.x[1] - one.x[0]) * (one.y[1] - one.y[0]) for one in found]
        points = sum(area / np.prod(one.step) for area, one in zip(areas, found, strict=True))
        assert 0.5 * share < points / (4 * 60 * 80) <= share


def test_many_specks_use_the_time_that_there_is() -> None:
    worth = (np.random.default_rng(0).random((160, 160)) < 0.02).astype(float)
    windows = covering(worth, 2000.0)
    sizes = [(rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in windows]
    assert 1800 < sum(sizes) <= 2000
    assert sum(worth[window].sum() for window in windows) > 0.85 * worth.sum()


def test_what_lies_outside_the_limits_is_no_matter_of_time() -> None:
    rates = np.full(SHAPE, 5.0)
    rates[10:20, 10:20] = rates[40:50, 60:70] = 100.0
    maps = Maps({"Fe": np.random.default_rng(0).poisson(rates)}, np.arange(80.0), np.arange(60.0), dwell_s=0.1)
    found = find_regions(maps, {"time_share": 1.0, "limits": {"x": (0.0, 30.0)}})
    assert len(found) == 1
    assert found.reason == "1 regions lie outside of the limits of the stage and were left out"
