"""Transforms of outcomes can be inverted and keep the order of values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ebl_autonomy.surrogates.transforms import OutcomeTransform

positive = arrays(float, st.integers(2, 20), elements=st.floats(1e-6, 1e6))
anything = arrays(float, st.integers(1, 20), elements=st.floats(-1e6, 1e6))


@settings(deadline=None)
@given(st.one_of(positive, anything))
def test_a_transform_goes_there_and_back(y: np.ndarray) -> None:
    transform = OutcomeTransform.of(y)
    z = transform.forward(y)
    assert np.isfinite(z).all()
    back, spread = transform.backward(z, np.zeros(len(z)))
    assert back == pytest.approx(y, rel=1e-6, abs=1e-6 * max(1.0, float(np.abs(y).max())))
    assert (spread == 0).all()


@settings(deadline=None)
@given(positive)
def test_a_transform_keeps_order_so_that_bounds_keep_their_meaning(y: np.ndarray) -> None:
    transform = OutcomeTransform.of(y)
    ends = transform.forward(np.array([-1.0, 0.0, *np.sort(y)]))
    assert (np.diff(ends[1:]) >= 0).all()
