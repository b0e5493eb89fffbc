"""Transforms of outcomes can be inverted and keep the order of values."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ebl_autonomy.surrogates.transforms import POWERS, OutcomeTransform

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


@settings(deadline=None)
@given(st.one_of(positive, anything), st.sampled_from([1.0, 0.5, 0.0]), st.integers(-900, 900))
def test_a_unit_that_is_a_power_of_two_changes_no_digit(y: np.ndarray, power: float, exponent: int) -> None:
    power = power if OutcomeTransform.fits(y) else 1.0
    scaled = np.ldexp(y, exponent)
    here, there = OutcomeTransform.of(y, power), OutcomeTransform.of(scaled, power)
    assert here.forward(y).tolist() == there.forward(scaled).tolist()
    assert there.log_slopes(scaled) == pytest.approx(here.log_slopes(y) - len(y) * np.log(there.unit / here.unit))


@pytest.mark.parametrize("signal", [1e-12, 1e-3, 1.0, 1e12])
@pytest.mark.parametrize("offset", [0.0, 1.0, -1e9, 1e9])
def test_what_is_added_to_a_signal_leaves_it_as_it_is(signal: float, offset: float) -> None:
    y = np.array([0.3, -0.1, 0.9, 0.4, -0.7])
    z = OutcomeTransform.of(y, 1.0).forward(y)
    measured = signal * (offset + y)
    assert OutcomeTransform.of(measured).power == 1.0
    assert OutcomeTransform.of(measured).forward(measured) == pytest.approx(z, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e-12, 1e-300, 1e21])
def test_equal_values_are_flat(value: float) -> None:
    transform = OutcomeTransform.of(np.full(7, value))
    assert transform.scale == 1.0
    assert transform.forward(np.full(7, value)).tolist() == [0.0] * 7


def test_powers_matter_where_values_differ_by_a_factor() -> None:
    assert OutcomeTransform.matters(np.array([1.0, 2.0]))
    assert not OutcomeTransform.matters(1e9 + np.array([1.0, 2.0]))
    assert not OutcomeTransform.matters(np.array([-1.0, 2.0]))


@pytest.mark.parametrize("power", POWERS)
def test_the_whole_scale_does_not_depend_on_the_unit(power: float) -> None:
    y = np.array([1.0, 1.5, 2.5, 7.0])
    transform = OutcomeTransform.of(y, power)
    z = transform.forward(y)
    other = replace(transform, unit=4.0 * transform.unit, offset=transform.offset / 4.0, scale=1.0, shift=0.0)
    there = other.forward(y)
    as_before = replace(other, shift=float(there.mean()), scale=float(there.std()))
    assert as_before.forward(y) == pytest.approx(z)
    assert as_before.whole_scale == pytest.approx(transform.whole_scale)
