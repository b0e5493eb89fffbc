"""Fixtures of the plan tests: a RunEngine of one's own, and two motors with a bowl to find the bottom of."""

from collections.abc import Iterator

import pytest
from bluesky import RunEngine
from ophyd.sim import SynAxis
from simple import Bowl, Documents, SlowAxis


@pytest.fixture
def RE() -> Iterator[RunEngine]:
    engine = RunEngine({}, call_returns_result=True)
    yield engine
    if engine.state != "idle":
        engine.halt()
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join(timeout=5)
    engine.loop.close()


@pytest.fixture
def docs(RE: RunEngine) -> Documents:
    return Documents(RE)


@pytest.fixture
def bench() -> tuple[Bowl, list[SynAxis]]:
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    return Bowl(*motors), motors


@pytest.fixture
def slow_bench() -> tuple[Bowl, list[SynAxis]]:
    motors = [SlowAxis("mx", 0.01), SlowAxis("my", 0.015)]
    return Bowl(*motors, seconds=0.01), motors
