"""The surrogate on botorch predicts what was measured, proposes inside its region, and is a function of its calls."""

import numpy as np
import pytest
import torch

from ebl_autonomy.surrogates.base import Goal, Observations, SearchRegion
from ebl_autonomy.surrogates.botorch_surrogate import BotorchSurrogate

pytestmark = pytest.mark.integration

CUBE = SearchRegion(np.zeros(2), np.ones(2))


def data(n: int = 12, seed: int = 0) -> Observations:
    X = np.random.default_rng(seed).random((n, 2))
    y = (X[:, 0] - 0.3) ** 2 + (X[:, 1] - 0.6) ** 2
    return Observations(X, np.stack([y, X[:, 0]], axis=1), np.full((n, 2), np.nan))


def surrogate(observed: Observations) -> BotorchSurrogate:
    made = BotorchSurrogate(2, 2)
    made.fit(observed)
    made.condition_on(observed)
    return made


def test_it_predicts_what_was_measured_and_is_uncertain_far_away() -> None:
    observed = data(20)
    made = surrogate(observed)
    mean, std = made.predict(observed.X)
    assert mean.shape == std.shape == (20, 2)
    assert np.abs(mean - observed.Y).max() < 0.05
    _, far = made.predict(np.array([[3.0, 3.0]]))
    assert far[0, 0] > 2 * std[:, 0].max()


def test_it_proposes_inside_the_region_near_the_minimum_and_keeps_fixed_inputs() -> None:
    made = surrogate(data(20))
    X, value = made.propose(Goal(0, -1.0), CUBE, 1, np.empty((0, 2)), 0)
    assert X.shape == (1, 2)
    assert value.shape == (1,)
    assert np.abs(X[0] - [0.3, 0.6]).max() < 0.15
    small = SearchRegion(np.array([0.8, 0.1]), np.array([0.9, 0.2]))
    X, _ = made.propose(Goal(0, -1.0), small, 3, np.empty((0, 2)), 0)
    assert (small.low <= X).all()
    assert (small.high >= X).all()
    X, _ = made.propose(Goal(0, -1.0), SearchRegion(np.zeros(2), np.ones(2), {1: 0.9}), 1, np.empty((0, 2)), 0)
    assert X[0, 1] == 0.9


def test_it_keeps_constraints() -> None:
    X, _ = surrogate(data(20)).propose(Goal(0, -1.0, ((1, 0.7, np.inf),)), CUBE, 1, np.empty((0, 2)), 0)
    assert X[0, 0] > 0.6  # the free optimum lies at 0.3


def test_the_same_calls_give_the_same_answers_and_the_users_random_numbers_are_left_alone() -> None:
    state = torch.random.get_rng_state()
    answers = [surrogate(data()).propose(Goal(0, -1.0), CUBE, 2, np.array([[0.5, 0.5]]), 7)[0] for _ in range(2)]
    assert np.array_equal(*answers)
    assert torch.equal(state, torch.random.get_rng_state())


def test_torch_uses_one_thread() -> None:
    assert torch.get_num_threads() == 1


def test_invalid_rows_change_where_it_searches_and_not_what_it_predicts() -> None:
    observed = data(20)
    blind = observed.X[:, 0] < 0.4
    Y = observed.Y.copy()
    Y[blind] = np.nan
    made = surrogate(Observations(observed.X, Y, observed.Yvar))
    mean, _ = made.predict(observed.X[~blind])
    assert np.abs(mean - Y[~blind]).max() < 0.05
    X, _ = made.propose(Goal(0, -1.0), CUBE, 1, np.empty((0, 2)), 0)
    assert X[0, 0] > 0.25
