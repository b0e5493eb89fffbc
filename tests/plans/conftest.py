"""Fixtures of the plan tests: two motors with a bowl to find the bottom of, and the documents of a run."""

from typing import Any

import pytest
from bluesky import RunEngine
from ophyd.sim import SynAxis
from simple import Bowl, Documents, SlowAxis


@pytest.fixture
def docs(RE: RunEngine) -> Documents:
    return Documents(RE)


@pytest.fixture
def bench() -> tuple[Bowl, list[SynAxis]]:
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    return Bowl(*motors), motors


@pytest.fixture
def slow_bench() -> tuple[Bowl, list[Any]]:
    motors = [SlowAxis("mx", 0.01), SlowAxis("my", 0.015)]
    return Bowl(*motors, seconds=0.01), motors
