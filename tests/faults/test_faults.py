"""A short set of seeds of the fault harness, one for each kind of fault that loses or misplaces data most easily."""

import pytest

from .runner import run_seed

SEEDS = [10, 41, 2, 3, 17]
"""A killed session, a hand at the motors, a bad network, odd values, Ctrl-C."""


@pytest.mark.integration
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_misplaced_or_let_in(seed: int) -> None:
    outcome = run_seed(seed)
    assert not outcome.violations, str(outcome)
