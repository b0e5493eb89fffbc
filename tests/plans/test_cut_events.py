"""A pause that cuts an event short loses no event and repeats none: an event is whole, or is taken again."""

import asyncio
import threading
import time
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from scripted import Scripted, at
from simple import ENVELOPE, Documents, truth

from ebl_autonomy.plans import optimize


class SlowHall:
    """Takes its time for everything that it is asked; in the step `pause_in` it asks for a pause, once."""

    name, parent = "hall", None

    def __init__(self, RE: RunEngine, pause_in: str) -> None:
        self.RE, self.pause_in = RE, pause_in
        self.reads = 0

    async def step(self, name: str, answer: dict[str, Any]) -> dict[str, Any]:
        if self.pause_in == name:
            self.pause_in = ""
            threading.Thread(target=self.RE.request_pause, daemon=True).start()
            await asyncio.sleep(3600)  # the pause ends it
        await asyncio.sleep(0.01)
        return answer

    async def read(self) -> dict[str, Any]:
        self.reads += 1
        return await self.step("read", {"hall": {"value": float(self.reads), "timestamp": time.time()}})

    async def describe(self) -> dict[str, Any]:
        return await self.step("describe", {"hall": {"source": "test", "dtype": "number", "shape": []}})

    async def read_configuration(self) -> dict[str, Any]:
        return await self.step("read_configuration", {"gain": {"value": 1.0, "timestamp": time.time()}})

    async def describe_configuration(self) -> dict[str, Any]:
        return await self.step("describe_configuration", {"gain": {"source": "test", "dtype": "number", "shape": []}})


@pytest.mark.parametrize("role", ["detector", "baseline"])
@pytest.mark.parametrize("step", ["read", "describe", "read_configuration", "describe_configuration"])
def test_an_event_that_is_cut_is_taken_again(RE: RunEngine, docs: Documents, bench: Any, role: str, step: str) -> None:
    bowl, motors = bench
    hall = SlowHall(RE, step)
    agent = Scripted([at(0.5), at(1.0)])
    given = (
        {"detectors": [bowl, hall], "baseline": []} if role == "detector" else {"detectors": [bowl], "baseline": [hall]}
    )
    plan = optimize(motors=motors, agent=agent, max_points=2, retries=0, finish="stay", envelope=ENVELOPE, **given)
    with pytest.raises(RunEngineInterrupted):
        RE(plan)
    RE.resume()
    assert hall.pause_in == ""
    assert docs.stop["exit_status"] == "success"
    assert [(row["mx"], row["bowl"]) for row in docs.events["primary"]] == [(x, truth(x, 0.0)) for x in (0.5, 1.0)]
    assert docs.events["abandoned"] == []
    assert len(docs.events["start_and_end"]) == 2
    assert len(docs.events["decisions"]) == 2
    halls = [row["hall"] for row in docs.events["primary" if role == "detector" else "start_and_end"]]
    assert len(set(halls)) == 2  # each reading of its own
    assert [result["bowl"] for result in agent.told] == [truth(0.5, 0.0), truth(1.0, 0.0)]
