"""Whatever is measured, the surrogate neither breaks down nor proposes a point outside the region."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ebl_autonomy.surrogates.base import Goal, Observations, SearchRegion
from ebl_autonomy.surrogates.numba_surrogate import NumbaSurrogate

hard = st.one_of(
    st.floats(-1.0, 1.0),
    st.sampled_from([0.0, 1.0, 1e-300, 1e-12, 1e12, 1e150, -1e150, 1e300]),
    st.just(math.nan),
)


@st.composite
def observations(draw: Any) -> Observations:
    n, d = draw(st.integers(3, 14)), draw(st.integers(1, 3))
    X = draw(arrays(float, (n, d), elements=st.sampled_from([0.0, 0.25, 0.5, 0.5 + 1e-12, 1.0])))  # many repeats
    Y = draw(arrays(float, (n, 2), elements=hard))
    if draw(st.booleans()):
        Y[:, 0] = draw(st.floats(-1e6, 1e6))  # constant
    for column in range(2):
        if np.isnan(Y[:, column]).all():
            Y[0, column] = 1.0
    Yvar = np.full((n, 2), draw(st.sampled_from([math.nan, 0.0, 1e-20, 1.0, 1e20])))
    return Observations(X, Y, Yvar)


@pytest.mark.integration
@settings(deadline=None, max_examples=150)
@given(
    data=observations(),
    sign=st.sampled_from([-1.0, 1.0]),
    low=st.sampled_from([-math.inf, 0.0, 1e300]),
    count=st.integers(1, 3),
)
def test_proposals_are_finite_and_inside_the_region_whatever_was_measured(
    data: Observations, sign: float, low: float, count: int
) -> None:
    d = data.X.shape[1]
    surrogate = NumbaSurrogate(d, 2)
    with np.errstate(all="ignore"):
        surrogate.fit(data)
        surrogate.condition_on(data)
        X, _ = surrogate.propose(
            Goal(0, sign, ((1, low, math.inf),)), SearchRegion(np.zeros(d), np.ones(d)), count, data.X[:1], 0
        )
        mean, std = surrogate.predict(data.X)
    assert X.shape == (count, d)
    assert np.isfinite(X).all()
    assert (X >= 0.0).all()
    assert (X <= 1.0).all()
    assert not np.isnan(mean).any()
    assert (std >= 0.0).all()


def test_rows_one_by_one_or_all_at_once_give_the_same_proposals_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.random((90, 3)), rng.random((90, 1))
    y[7] = y[80] = math.nan
    data = Observations(X, y, np.full((90, 1), math.nan))
    goal, region = Goal(0, -1.0), SearchRegion(np.zeros(3), np.ones(3))

    def proposed(conditioned: list[int]) -> np.ndarray:
        surrogate = NumbaSurrogate(3, 1)
        surrogate.fit(data.first(40))
        for n in conditioned:
            surrogate.condition_on(data.first(n))
        return surrogate.propose(goal, region, 2, np.array([[0.5, 0.5, 0.5]]), 1)[0]

    assert np.array_equal(proposed(list(range(40, 91))), proposed([90]))


def test_many_pending_points_are_kept_apart() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.random((30, 2)), rng.random((30, 1))
    surrogate = NumbaSurrogate(2, 1)
    data = Observations(X, y, np.full((30, 1), math.nan))
    surrogate.fit(data)
    surrogate.condition_on(data)
    goal, region = Goal(0, -1.0), SearchRegion(np.zeros(2), np.ones(2))
    batch, _ = surrogate.propose(goal, region, 20, rng.random((50, 2)), 0)
    distances = np.linalg.norm(batch[:, None] - batch[None], axis=-1) + np.eye(20)
    assert distances.min() > 1e-4
    first, _ = surrogate.propose(goal, region, 1, np.empty((0, 2)), 0)
    surrogate.condition_on(data)
    again, _ = surrogate.propose(goal, region, 1, np.empty((0, 2)), 0)
    assert np.array_equal(first, again)  # points that count as measured leave no trace


@pytest.mark.integration
def test_a_proposal_with_thousands_of_points() -> None:
    rng = np.random.default_rng(0)
    X = rng.random((5000, 4))
    data = Observations(X, np.sum((X - 0.3) ** 2, axis=1, keepdims=True), np.full((5000, 1), math.nan))
    surrogate = NumbaSurrogate(4, 1)
    surrogate.fit(data)
    surrogate.condition_on(data)
    point, _ = surrogate.propose(Goal(0, -1.0), SearchRegion(np.zeros(4), np.ones(4)), 1, np.empty((0, 4)), 0)
    assert np.abs(point[0] - 0.3).max() < 0.1


def test_the_seconds_of_each_point_of_a_batch_count_from_the_one_before() -> None:
    rng = np.random.default_rng(0)
    X = rng.random((20, 2))
    surrogate = NumbaSurrogate(2, 1)
    data = Observations(X, np.sin(5.0 * X).sum(axis=1, keepdims=True), np.full((20, 1), math.nan))
    surrogate.fit(data)
    surrogate.condition_on(data)
    seen = list[np.ndarray | None]()

    def seconds(points: np.ndarray, after: np.ndarray | None) -> np.ndarray:
        if not seen or after is not seen[-1]:
            seen.append(after)
        start = np.array([0.5, 0.5]) if after is None else after
        return 1.0 + 1000.0 * np.abs(points - start).max(axis=1)

    proposed, _ = surrogate.propose(
        Goal(0, 1.0), SearchRegion(np.zeros(2), np.ones(2), seconds=seconds), 3, np.empty((0, 2)), 0
    )
    free, _ = surrogate.propose(Goal(0, 1.0), SearchRegion(np.zeros(2), np.ones(2)), 3, np.empty((0, 2)), 0)
    assert seen[0] is None
    assert np.array_equal(np.array([after for after in seen if after is not None][-2:]), proposed[:2])

    def way(points: np.ndarray) -> float:
        return float(np.abs(np.diff(points, axis=0)).max(axis=1).sum())

    assert way(proposed) < way(free)
