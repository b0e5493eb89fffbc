"""Fronts and areas, against counting and against botorch."""

import numpy as np
import pytest
import torch
from botorch.utils.multi_objective.hypervolume import Hypervolume
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ebl_autonomy.surrogates import hypervolume

pytestmark = pytest.mark.integration

points = arrays(float, st.tuples(st.integers(1, 12), st.just(2)), elements=st.floats(-3.0, 3.0, width=16))


@settings(deadline=None)
@given(values=points)
def test_the_front_is_the_undominated_points(values: np.ndarray) -> None:
    on = hypervolume.front(values)
    assert set(map(tuple, values[on])) == set(map(tuple, values[hypervolume.undominated(values)]))
    assert (np.diff(values[on, 0]) > 0).all()
    assert (np.diff(values[on, 1]) < 0).all()


@settings(deadline=None)
@given(values=points)
def test_the_area_equals_botorchs(values: np.ndarray) -> None:
    corner = np.array([-1.0, -2.0])
    on = values[hypervolume.front(values)]
    expected = Hypervolume(torch.as_tensor(corner)).compute(torch.as_tensor(on))
    assert hypervolume.volume(values, corner) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None)
@given(values=points, new=arrays(float, 2, elements=st.floats(-3.0, 3.0)))
def test_strips_give_the_area_that_a_point_adds(values: np.ndarray, new: np.ndarray) -> None:
    corner = np.array([-1.0, -2.0])
    cut = hypervolume.strips(values, corner)
    gain = np.sum(np.maximum(np.minimum(new[0], cut[:, 1]) - cut[:, 0], 0.0) * np.maximum(new[1] - cut[:, 2], 0.0))
    more = hypervolume.volume(np.vstack([values, new]), corner) - hypervolume.volume(values, corner)
    assert gain == pytest.approx(more, abs=1e-9)


def test_the_reference_lies_below_all_values() -> None:
    values = np.array([[0.0, 1.0], [1.0, 0.0], [-3.0, -1.0]])
    assert (hypervolume.reference(values) < values.min(axis=0)).all()
    assert (hypervolume.reference(values[:1]) < values[0]).all()


def test_the_reference_leaves_room_for_the_ends_of_a_front_that_is_expected() -> None:
    known = np.array([[0.5, 0.5], [0.4, 0.4]])
    expected = np.array([[-2.0, 3.0], [3.0, -2.0], [-9.0, -9.0]])
    corner = hypervolume.reference(known, expected)
    assert (corner < -2.0).all()
    assert (corner > -9.0).all()  # a dominated value is no end
    assert (hypervolume.reference(known, expected[:0]) == hypervolume.reference(known)).all()
    # The more points of the front are known, the smaller the margin.
    line = np.linspace(0.0, 1.0, 12)
    many = hypervolume.reference(np.column_stack([line, 1.0 - line]), expected)
    assert (many > corner).all()
