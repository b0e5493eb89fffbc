"""What a goal says about measured outcomes."""

import numpy as np
import pytest

from ebl_autonomy.surrogates.base import Goal


def test_violations_add_up_in_units_of_the_first_distances() -> None:
    goal = Goal(0, 1.0, ((0, 2.0, np.inf), (1, -np.inf, 4.0)))
    violation = goal.violation(np.array([[3.0, 3.0], [1.0, 6.0], [np.nan, 0.0]]))
    assert violation[0] == 0.0
    assert violation[1] == pytest.approx(1.0 / (1.0 + 1.0) + 2.0 / (2.0 + 1.0))
    assert np.isinf(violation[2])


def test_only_constraints_on_known_outcomes_count() -> None:
    goal = Goal(0, 1.0, ((0, 2.0, np.inf), (1, -np.inf, 4.0)))
    assert goal.violation(np.array([[1.0, np.nan]]), np.array([True, False])) == pytest.approx([0.5])
