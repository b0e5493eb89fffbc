"""Probing: two probes per motor after a response, four more distant ones before it."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from ebl_autonomy.agents.bayesian.probing import ProbeSequence, first_signal

START = np.array([0.5, 0.5])


def look(merit: Callable[[np.ndarray], float], std: float = math.nan, dim: int = 2) -> np.ndarray:
    """All points of the phase, proposed and measured one by one; the start first."""
    points, values = [np.full(dim, 0.5)], [merit(np.full(dim, 0.5))]
    while True:
        seen_at = first_signal(np.array(values), np.full(len(values), std))
        probes = ProbeSequence(np.array(points), values, seen_at, 0.1)
        point = probes.point(len(points), points[0])
        if point is None:
            assert probes.end(len(points) + 5, points[0]) == len(points)
            return np.array(points)
        points.append(point)
        values.append(merit(point))


def test_a_slope_is_followed_motor_by_motor() -> None:
    points = look(lambda x: x[0] - x[1])
    assert points[1] == pytest.approx([0.65, 0.5])  # one value cannot show a response
    assert points[2] == pytest.approx([0.75, 0.5])  # better: continue in that direction
    assert points[3] == pytest.approx([0.75, 0.6])
    assert points[4] == pytest.approx([0.75, 0.4])  # worse: the other side of the best point
    assert len(points) == 5


def test_a_probe_never_leaves_the_domain() -> None:
    start = np.array([1.0, 0.0])
    probes = ProbeSequence(start[None], [1.0], 1, 0.2)
    assert probes.point(1, start) == pytest.approx([0.8, 0.0])


def test_in_the_dark_each_motor_is_probed_far_out() -> None:
    points = look(lambda x: 0.0, std=0.1)
    moved = points[1:] - START
    assert np.abs(moved).max(axis=1) == pytest.approx([0.15, 0.15, 0.32, 0.32] * 2)
    assert np.count_nonzero(moved, axis=1) == pytest.approx(1)  # one motor at a time, from the start
    assert moved[0] == pytest.approx(-moved[1])


def test_no_beam_at_all_is_dark_too() -> None:
    assert len(look(lambda x: math.nan)) == 1 + 4 * 2


def test_light_that_is_found_is_looked_at_closely() -> None:
    points = look(lambda x: 1.0 if abs(x[0] - 0.8) < 0.05 else 0.0, std=0.1)
    lit = next(k for k, x in enumerate(points) if abs(x[0] - 0.8) < 0.05)
    assert lit == 3
    assert points[lit + 1 :, 0] == pytest.approx([points[lit][0]] * 2)  # the second motor, from the signal
    assert np.abs(points[lit + 1 :, 1] - 0.5) == pytest.approx([0.1, 0.1])


def test_what_counts_as_light() -> None:
    nan = math.nan
    assert first_signal(np.array([0.0, 0.1, 0.2]), np.full(3, nan)) == 2  # unknown noise: any difference counts
    assert first_signal(np.array([0.0, 0.1, 0.9]), np.full(3, 0.1)) == 3
    assert first_signal(np.array([0.0, 0.1, 0.2]), np.full(3, 0.1)) == 4  # n + 1: no response yet
    assert first_signal(np.array([nan, nan, 5.0]), np.full(3, nan)) == 3  # valid after invalid
    assert first_signal(np.array([nan, nan]), np.full(2, nan)) == 3
    assert first_signal(np.array([]), np.array([])) == 1


def test_a_batch_is_probed_as_if_nothing_in_it_were_better() -> None:
    probes = ProbeSequence(START[None], [1.0], 1, 0.1)
    points = [probes.point(k, START) for k in range(1, 5)]
    assert [tuple(np.round(p, 3)) for p in points if p is not None] == [(0.6, 0.5), (0.4, 0.5), (0.5, 0.6), (0.5, 0.4)]
    assert probes.point(5, START) is None


def slope_of(*axes: int, start: float = 1.0) -> Callable[[np.ndarray], float]:
    """A merit that depends on some motors; the start is better than the dark by `start`."""
    return lambda x: start - float(np.abs(x[list(axes)] - 0.5).sum())


def probed(merit: Callable[[np.ndarray], float], dim: int, noise: float = 0.0, fall: float = 1.0) -> int:
    """Number of motors that are probed, one by one, if two far points were worse before, by `fall`."""
    rng = np.random.default_rng(0)
    start = np.full(dim, 0.5)
    far = merit(start) - fall
    points, values = [start, rng.random(dim), rng.random(dim)], [merit(start), far, far]
    while True:
        probes = ProbeSequence(np.array(points), values, 2, 0.1, first=3)
        point = probes.point(len(points), start)
        if point is None:
            assert probes.end(len(points) + 5, start) == len(points)
            return len(np.unique(np.nonzero(np.abs(np.array(points[3:]) - start) > 1e-9)[1]))
        points.append(point)
        values.append(merit(point) + noise * rng.standard_normal())


@pytest.mark.parametrize(("dim", "axes"), [(9, (4, 5)), (20, (9, 12, 13)), (30, ()), (20, (1, 15))])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_many_motors_that_show_nothing_end_the_probes(dim: int, axes: tuple[int, ...], noise: float) -> None:
    assert probed(slope_of(*axes), dim, noise) == 3


def test_as_many_motors_are_probed_as_it_takes_until_half_show_nothing() -> None:
    assert probed(slope_of(0, 1, 2), 20) == 6


@pytest.mark.parametrize("dim", [1, 4, 8])
def test_few_motors_are_all_probed(dim: int) -> None:
    assert probed(slope_of(0), dim) == dim


def test_many_motors_that_all_respond_are_all_probed() -> None:
    assert probed(slope_of(*range(20)), 20) == 20


def test_motors_whose_results_are_not_known_yet_end_no_probes() -> None:
    start = np.full(20, 0.5)
    points, merits = np.vstack([start, np.zeros((2, 20))]), [1.0, 0.0, 0.0]
    probes = ProbeSequence(points, merits, 2, 0.1, first=3)
    assert all(probes.point(number, start) is not None for number in range(3, 43))
    assert probes.point(43, start) is None


@pytest.mark.parametrize(("unit", "offset"), [(1e-12, 0.0), (1e9, 0.0), (1.0, 1e6)])
def test_what_shows_nothing_depends_on_neither_unit_nor_offset(unit: float, offset: float) -> None:
    merit = slope_of(0, 7)
    assert probed(lambda x: offset + unit * merit(x), 20, fall=unit) == probed(merit, 20) == 3
