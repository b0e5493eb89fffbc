"""The alignment problems score points as documented: no regret at the optimum, a regret of 1 in the dark."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.problems import PROBLEMS, AlignmentProblem, FluxAgainstSize, hypervolume
from ebl_autonomy.space import Space

pytestmark = pytest.mark.integration  # seconds: reports, fits of models, or many runs

STATIC = [name for name, problem in PROBLEMS.items() if not problem.drifts and problem.reference is None]
SEEDS = [0, 3]


def as_points(problem: AlignmentProblem, X: np.ndarray) -> list[dict[str, float]]:
    return [dict(zip(problem.bounds, map(float, row), strict=True)) for row in X]


def random_points(problem: AlignmentProblem, n: int) -> list[dict[str, float]]:
    low, high = np.array(list(problem.bounds.values())).T
    return as_points(problem, low + (high - low) * np.random.default_rng(0).random((n, len(low))))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", STATIC)
def test_no_point_beats_the_optimum_and_the_aligned_one_is_near(name: str, seed: int) -> None:
    problem = PROBLEMS[name](seed)
    losses = problem.losses([*random_points(problem, 20_000), *as_points(problem, problem.aligned[None])])
    assert losses.min() >= 0.0
    assert losses.max() <= 1.0
    assert losses[-1] < 0.15


@pytest.mark.parametrize("seed", SEEDS)
def test_regret_is_one_in_the_dark_and_most_of_the_plateau_is(seed: int) -> None:
    problem = PROBLEMS["plateau"](seed)
    losses = problem.losses(random_points(problem, 20_000))
    assert np.mean(losses > 0.99) > 0.94
    dark = problem.aligned + np.array([400.0, 0.0, 0.0, 0.0, 400.0, 0.0, 0.0, 0.0])
    assert problem.regret(as_points(problem, dark[None]))[0] == pytest.approx(1.0, abs=1e-3)


def test_regret_counts_the_best_point_so_far() -> None:
    problem = PROBLEMS["pair"](3)
    low = np.array([low for low, _ in problem.bounds.values()])
    regret = problem.regret(as_points(problem, np.array([low, problem.aligned, low])))
    assert regret[0] == pytest.approx(1.0, abs=1e-2)
    assert regret[1] == regret[2] < 0.05


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_seed_alone_determines_the_hidden_misalignment(name: str) -> None:
    points = random_points(PROBLEMS[name](), 50)
    regrets = [PROBLEMS[name](seed).regret(points) for seed in (3, 3, 0)]
    assert np.array_equal(regrets[0], regrets[1])
    assert not np.array_equal(regrets[0], regrets[2])


@pytest.mark.parametrize("name", PROBLEMS)
def test_measurements_scatter_about_the_truth_by_their_standard_deviations(name: str) -> None:
    problem = PROBLEMS[name](1)
    point = Space(problem.vocs).standing()
    if problem.reference is None and not problem.drifts:
        point = as_points(problem, problem.aligned[None])[0]  # with light, so that counting is Gaussian
    truth = problem.truth(problem.positions([point]), 7)
    rng = np.random.default_rng(2)
    results = [problem.measure(point, 7, rng) for _ in range(300)]
    for outcome, value in truth.items():
        pulls = [(r[outcome] - value[0]) / r[f"{outcome}_std"] for r in results]
        assert abs(np.mean(pulls)) < 0.25
        assert 0.8 < np.std(pulls) < 1.2


def test_a_point_beyond_the_limit_has_no_merit_and_is_counted() -> None:
    problem = PROBLEMS["heat"](0)
    wide = dict(zip(problem.bounds, map(float, problem.aligned), strict=True)) | {"v_gap": 2.0, "h_gap": 3.0}
    assert problem.truth(problem.positions([wide]))["temperature"][0] > 45.0
    assert problem.regret([wide])[0] == 1.0
    assert problem.violations([wide, wide]) == 2
    assert PROBLEMS["pair"](0).violations(random_points(PROBLEMS["pair"](0), 3)) == 0


def test_the_hypervolume_of_a_known_front() -> None:
    assert hypervolume(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])) == pytest.approx(6.0)
    assert hypervolume(np.array([[2.0, 2.0], [1.0, 1.0], [2.0, 2.0], [5.0, -1.0]])) == pytest.approx(4.0)
    assert hypervolume(np.array([[-1.0, 2.0]])) == 0.0
    square = np.random.default_rng(0).random((40, 2))
    grid = np.array(list(itertools.product(np.linspace(0.0, 1.0, 400), repeat=2)))
    counted = np.mean((square[:, None] >= grid[None]).all(axis=2).any(axis=0))
    assert hypervolume(square) == pytest.approx(counted, abs=5e-3)


def test_the_front_is_reached_by_points_on_it() -> None:
    problem = FluxAgainstSize(2)
    gaps = np.geomspace(20.0, 600.0, 60)
    X = np.column_stack([gaps, gaps, *np.broadcast_to(problem.aligned[:, None], (2, gaps.size))])
    regret = problem.regret(as_points(problem, X))
    assert (np.diff(regret) <= 1e-12).all()
    assert 0.0 <= regret[-1] < 0.05


def test_the_beam_drifts_away_from_where_it_was() -> None:
    problem = PROBLEMS["drift"](0)
    (point,) = as_points(problem, problem.aligned[None])
    losses = problem.losses([point] * 80)
    assert losses[0] == pytest.approx(0.0)
    assert losses[40:].min() > 0.5
    regret = problem.regret([point] * 80)
    assert regret[-1] == pytest.approx(losses.mean())
    low, high = np.array(list(problem.bounds.values())).T
    assert all(((low < problem.centre(n)) & (problem.centre(n) < high)).all() for n in range(200))


def test_problems_with_the_same_seed_are_equal() -> None:
    problem = PROBLEMS["pair"](1)
    assert problem == replace(problem)
    assert math.isfinite(problem.optimum)
