"""Fixtures of the data tests: two motors, and a detector whose reading peaks along one of them."""

import pytest
from ophyd.sim import SynAxis, SynGauss


@pytest.fixture
def bench() -> tuple[SynGauss, list[SynAxis]]:
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    return SynGauss("det", motors[0], "mx", center=0.3, Imax=1.0), motors
