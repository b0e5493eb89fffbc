"""Fixtures of the plan tests: two motors, a bowl-shaped objective, and the documents of a run."""

from collections.abc import Iterator

import pytest
from bluesky import RunEngine
from ophyd.sim import SynAxis
from scripted import RecordedAxis
from simple import Bowl, Documents, SlowAxis


@pytest.fixture
def docs(RE: RunEngine) -> Documents:
    return Documents(RE)


@pytest.fixture
def bench() -> tuple[Bowl, list[SynAxis]]:
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    return Bowl(*motors), motors


@pytest.fixture
def slow_bench(RE: RunEngine) -> Iterator[tuple[Bowl, list[SlowAxis]]]:
    motors = [SlowAxis("mx", 0.01), SlowAxis("my", 0.015)]
    bowl = Bowl(*motors, seconds=0.01)
    yield bowl, motors
    # Moves and exposures that an aborted run left unfinished call the RunEngine's loop, which is closed next.
    for device in (bowl, *motors):
        device.rest()


@pytest.fixture
def recorded() -> tuple[Bowl, list[RecordedAxis]]:
    motors = [RecordedAxis("mx"), RecordedAxis("my")]
    return Bowl(*motors), motors
