"""The expected improvement for callers outside compiled code."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from ebl_autonomy.surrogates.improvement import expected_improvement

numbers = st.floats(-1e3, 1e3)


@settings(deadline=None)  # the first call compiles
@given(mean=numbers, std=st.floats(1e-3, 1e3), best=numbers)
def test_it_is_the_closed_form(mean: float, std: float, best: float) -> None:
    gain = mean - best
    closed_form = gain * norm.cdf(gain / std) + std * norm.pdf(gain / std)
    assert expected_improvement(mean, std, best) == pytest.approx(closed_form, rel=1e-9, abs=1e-12 * std)


@settings(deadline=None)  # the first call compiles
@given(gain=st.floats(-60.0, 60.0), std=st.floats(1e-300, 1e300))
def test_it_is_never_less_than_the_difference_or_zero(gain: float, std: float) -> None:
    expected = expected_improvement(gain * std, std, 0.0)
    assert expected >= max(gain * std, 0.0) * (1.0 - 1e-12)


@pytest.mark.parametrize("std", [0.0, math.nan])
def test_without_uncertainty_it_is_the_difference(std: float) -> None:
    assert expected_improvement(3.0, std, 1.0) == 2.0
    assert expected_improvement(1.0, std, 3.0) == 0.0


@pytest.mark.parametrize("unknown", [math.nan, math.inf, -math.inf])
def test_it_is_infinite_before_anything_is_known(unknown: float) -> None:
    assert expected_improvement(unknown, 1.0, 0.0) == math.inf
    assert expected_improvement(0.0, 1.0, unknown) == math.inf


def test_the_smallest_deviation_causes_no_overflow() -> None:
    assert expected_improvement(2.0, 5e-324, 1.0) == 1.0
    assert expected_improvement(1.0, 5e-324, 2.0) == 0.0
