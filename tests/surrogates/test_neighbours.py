"""Kriging on the nearest measured pixels: against brute force, against exact kriging, and independence of when."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ebl_autonomy.surrogates.neighbours import NeighbourField, fitting, lists
from ebl_autonomy.surrogates.neighbours.kriging import NEARNESS, PRIOR, ROUGH, SMOOTH, Process, predict

NEAR = 3.0
"""Distance, in pixels of the longer side, within which the lists must be exact; the mean gap of sites is 2.8."""


def inserted(pixels: list[int], shape: tuple[int, int], step: tuple[float, float]) -> tuple[np.ndarray, ...]:
    sectors = lists.sector_table(shape, step)
    distances = np.hypot(np.arange(shape[0])[:, None] * step[1], np.arange(shape[1])[None, :] * step[0])
    count = shape[0] * shape[1]
    neighbours = np.full((count, lists.SLOTS), -1, dtype=np.int32)
    reaches = np.full((count, lists.SLOTS), np.inf, dtype=np.float32)
    stale, holders = np.zeros(count, dtype=bool), np.empty(count, dtype=np.int32)
    for pixel in pixels:
        lists.insert(pixel, sectors, distances, neighbours, reaches, stale, 1, 0, holders)
    return distances, neighbours, reaches


@pytest.mark.parametrize("step", [(1.0, 1.0), (0.4, 1.0)])
def test_the_lists_hold_the_nearest_of_each_direction(step: tuple[float, float]) -> None:
    shape = (30, 40)
    sites = np.random.default_rng(0).permutation(1200)[:150].tolist()
    _, neighbours, reaches = inserted(sites, shape, step)
    wrong = 0
    for q in range(1200):
        sectors: list[list[tuple[float, int]]] = [[] for _ in range(lists.SECTORS)]
        for p in sites:
            dx, dy = (p % 40 - q % 40) * step[0], (p // 40 - q // 40) * step[1]
            if p != q:
                sector = round(math.atan2(dy, dx) / (2 * math.pi / lists.SECTORS)) % lists.SECTORS
                sectors[sector].append((float(np.float32(math.hypot(dx, dy))), p))
        expected = [sorted(one)[: lists.PER_SECTOR] for one in sectors]
        got = [
            [(float(reaches[q, j]), int(neighbours[q, j])) for j in range(2 * s, 2 * s + 2) if neighbours[q, j] >= 0]
            for s in range(lists.SECTORS)
        ]
        near = [[one for one in sector if one[0] < NEAR] for sector in expected]
        assert [[one for one in sector if one[0] < NEAR] for sector in got] == near
        wrong += sum(a != b for a, b in zip(expected, got, strict=True))
    assert wrong < 0.05 * 1200 * lists.SECTORS  # far ones, at the edge of the map


@pytest.mark.parametrize("kind", [ROUGH, SMOOTH])
def test_with_few_sites_the_prediction_is_that_of_ordinary_kriging(kind: int) -> None:
    shape, sites, values = (9, 9), [0, 8, 40, 72, 80], np.array([1.0, 2.0, 5.0, 2.0, 3.0])
    distances, neighbours, _ = inserted(sites, shape, (1.0, 1.0))
    measured, exposures = np.zeros(81), np.zeros(81)
    measured[sites], exposures[sites] = values, 4.0
    process = Process(kind, 0.3, 2.0, False, 0.2)
    mean, variance = np.full(81, np.nan), np.full(81, np.nan)
    predict(np.arange(81), distances, neighbours, measured, exposures, process, True, mean, variance)
    q = 31
    yx = np.array([divmod(p, 9) for p in [*sites, q]], dtype=float)
    r = np.hypot(*(yx[:, None] - yx[None, :]).T) * 0.3
    k = np.exp(-r) if kind == ROUGH else (1 + math.sqrt(3) * r) * np.exp(-math.sqrt(3) * r)
    noise = 0.2 / 4.0
    prior = PRIOR * (1.0 + noise / 2.0) ** 2
    s = (prior * 2.0 + max(np.sum((values - values.mean()) ** 2) - 4 * noise, 0.0)) / (prior + 4)
    A = s * k[:5, :5] + noise * np.eye(5)
    system = np.block([[A, np.ones((5, 1))], [np.ones((1, 5)), np.zeros((1, 1))]])
    solution = np.linalg.solve(system, np.append(s * k[:5, 5], 1.0))
    assert mean[q] == pytest.approx(solution[:5] @ values, rel=1e-6)
    level = np.linalg.solve(A, values).sum() / np.linalg.inv(A).sum()
    misfit = (values - level) @ np.linalg.solve(A, values - level)
    exact = s - solution[:5] @ (s * k[:5, 5]) - solution[5]
    weights = np.hypot(*(yx[:5] - yx[5]).T) ** -NEARNESS
    near = np.sum(weights * ((values - values.mean()) ** 2 - noise)) / np.sum(weights)
    local = (prior * 2.0 + 4 * max(near, 0.0)) / (prior + 4) / s
    assert variance[q] == pytest.approx(local * (prior + misfit) / (prior + 4) * exact, rel=1e-5)


def test_beside_the_one_bright_site_is_the_least_certain_place_and_no_rate_is_negative() -> None:
    field = NeighbourField((33, 33), (1.0, 1.0), [True])
    for row in range(0, 33, 4):
        for column in range(0, 33, 4):
            bright = (row, column) == (16, 16)
            field.add(row * 33 + column, np.array([64.0 if bright else 4.0]), np.ones(1))
    field.update(whole=True)
    variance = field.variance[0].reshape(33, 33)
    beside, further, elsewhere = variance[16, 18], variance[16, 22], variance[6, 6]
    assert beside > 5.0 * further
    assert further > elsewhere
    assert field.mean.min() >= 0.0


def rough_map(size: int, seed: int) -> np.ndarray:
    """Grains of different levels on an empty ground."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((size, size))
    truth = np.full((size, size), 3.0)
    for _ in range(6):
        cy, cx, r = *rng.uniform(0, size, 2), rng.uniform(3, 8)
        truth += rng.uniform(50, 300) / (1.0 + np.exp((np.hypot(y - cy, x - cx) - r) / 0.8))
    return truth


def test_the_prediction_does_not_depend_on_when_it_was_asked_for() -> None:
    truth, rng = rough_map(30, 0).ravel(), np.random.default_rng(1)
    asked, silent = (NeighbourField((30, 30), (1.0, 1.0), [True]) for _ in range(2))
    for pixel in rng.integers(0, 900, 200).tolist():
        value = np.array([float(rng.poisson(truth[pixel]))])
        for field in (asked, silent):
            field.add(pixel, value, np.ones(1))
        asked.update(whole=pixel % 3 == 0)
    asked.update(whole=True)
    silent.update(whole=True)
    assert np.array_equal(asked.mean, silent.mean)
    assert np.array_equal(asked.variance, silent.variance)
    assert np.array_equal(asked.trust, silent.trust)


@pytest.mark.integration
@pytest.mark.parametrize("seed", [5, 6, 7])
def test_a_pixel_that_is_measured_again_changes_every_prediction_that_uses_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    asked, silent = (NeighbourField((60, 60), (1.0, 1.0), [False]) for _ in range(2))
    # A few pixels anywhere, then many in the first rows, which hide those few from the pixels between.
    pixels = [*rng.integers(0, 3600, 12).tolist(), *rng.integers(0, 720, 288).tolist()]
    for k, pixel in enumerate([*pixels, *pixels[:12]]):
        value = np.array([rng.normal() if k < 300 else 50.0])
        asked.update(whole=k >= 300)
        for field in (asked, silent):
            field.add(pixel, value, np.ones(1))
    for field in (asked, silent):
        field.update(whole=True)
    assert np.array_equal(asked.mean, silent.mean)
    assert np.array_equal(asked.variance, silent.variance)


@pytest.mark.parametrize("seed", range(3))
def test_predicted_squared_errors_are_those_found(seed: int) -> None:
    truth, rng = rough_map(60, seed).ravel(), np.random.default_rng(seed)
    field = NeighbourField((60, 60), (1.0, 1.0), [True])
    for pixel in rng.permutation(3600)[:400].tolist():
        field.add(pixel, np.array([float(rng.poisson(truth[pixel]))]), np.ones(1))
    field.update(whole=True)
    unmeasured = field.exposures[0] == 0.0
    found = np.mean((field.mean[0] - truth)[unmeasured] ** 2)
    predicted = field.trust[0] * np.mean(field.variance[0][unmeasured])
    assert 0.6 < math.sqrt(predicted / found) < 1.6
    assert field.variance[0][truth > 20].mean() > 5.0 * field.variance[0][truth < 4].mean()


def test_noise_that_nobody_told_of_is_found() -> None:
    rng = np.random.default_rng(0)
    y, x = np.indices((40, 40))
    truth = np.sin(x / 6.0) * np.cos(y / 7.0)
    field = NeighbourField((40, 40), (1.0, 1.0), [False])
    for pixel in rng.permutation(1600)[:500].tolist():
        field.add(pixel, np.array([truth.ravel()[pixel] + rng.normal(0.0, 0.3)]), np.ones(1))
    field.update(whole=True)
    process = field.processes[0]
    assert process is not None
    assert 0.03 < process.nugget < 0.3
    assert np.sqrt(np.mean((field.mean[0] - truth.ravel()) ** 2)) < 0.15


def test_longer_exposures_count_more() -> None:
    field = NeighbourField((1, 1), (1.0, 1.0), [True])
    field.add(0, np.array([10.0]), np.array([1.0]))
    field.add(0, np.array([20.0]), np.array([3.0]))
    assert field.values[0, 0] == pytest.approx(17.5)
    assert field.exposures[0, 0] == 4.0


def test_steps_of_different_units_are_counted_in_pixels() -> None:
    assert NeighbourField((4, 4), (1e-6, 1e3), [False]).step == (1.0, 1.0)
    assert NeighbourField((4, 4), (0.1, 0.5), [False]).step == (0.1, 0.5)


def test_the_errors_made_ahead_raise_the_predicted_variance() -> None:
    flat = fitting.Errors(np.full(50, 1.0), np.full(50, 1.0), np.full(50, 1.0))
    surprised = fitting.Errors(np.full(50, 9.0), np.full(50, 9.0), np.full(50, 1.0))
    weights = np.ones(50)
    assert fitting.trust(flat, flat, weights) == pytest.approx(1.0)
    assert fitting.trust(flat, surprised, weights) == pytest.approx(9.0)
    assert fitting.trust(surprised, flat, weights) == pytest.approx(9.0)


def test_few_counts_are_not_pulled_down_by_the_lowest() -> None:
    rng = np.random.default_rng(0)
    field = NeighbourField((40, 40), (1.0, 1.0), [True])
    for pixel in rng.permutation(1600)[:600].tolist():
        field.add(pixel, np.array([float(rng.poisson(0.7))]), np.ones(1))
    field.update(whole=True)
    measured = field.values[0][field.exposures[0] > 0.0].mean()
    assert field.mean[0].mean() == pytest.approx(measured, abs=0.05)
