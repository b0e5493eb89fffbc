"""Lines with ophyd-async's own motors, detectors and flyers, prepared in time with each other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.run_engine import call_in_bluesky_event_loop
from ophyd_async.core import (
    DetectorTriggerLogic,
    FlyableLogic,
    SignalDict,
    StandardDetector,
    StaticPathProvider,
    UUIDFilenameProvider,
)
from ophyd_async.sim import SimMotor
from ophyd_async.sim._blob_acquire_logic import BlobAcquireLogic
from ophyd_async.sim._blob_data_logic import BlobDataLogic
from ophyd_async.sim._pattern_generator import PatternGenerator
from scripted import Scripted
from simple import Documents

from ebl_autonomy import VOCS
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import FlyLine, Line, Sweep, optimize

ROWS, SECONDS = 4, 0.4


@dataclass
class DeadTime(DetectorTriggerLogic):
    """Trigger logic of a detector that is dead for a while after each exposure."""

    generator: PatternGenerator
    dead_s: float
    asked: list[tuple[int, float, float]]

    def get_deadtime(self, config_values: SignalDict) -> float:
        return self.dead_s

    async def prepare_internal(self, num: int, livetime: float, deadtime: float) -> None:
        self.asked.append((num, livetime, deadtime))
        self.generator.setup_acquisition_parameters(livetime, livetime + deadtime, num)


class Detector(StandardDetector):
    """Writes frames to a file; without trigger logic it exposes for a time that is set elsewhere."""

    def __init__(self, folder: Path, dead_s: float | None) -> None:
        generator = PatternGenerator()
        self.asked: list[tuple[int, float, float]] = []
        if dead_s is None:
            generator.setup_acquisition_parameters(0.01, 0.02, ROWS)
        else:
            self.add_detector_logics(DeadTime(generator, dead_s, self.asked))
        paths = StaticPathProvider(UUIDFilenameProvider(), folder)
        self.add_detector_logics(BlobAcquireLogic(generator), BlobDataLogic(paths, generator))
        super().__init__(name="blob")


@dataclass
class Told(FlyableLogic[Line, Line]):
    """A flyer of one's own, which is told the line itself."""

    lines: list[tuple[str, Line]]

    async def on_prepare(self, value: Line) -> Line:
        self.lines.append(("prepare", value))
        return value

    async def on_kickoff(self, ctx: Line) -> Line:
        self.lines.append(("kickoff", ctx))
        return ctx

    async def on_complete(self, ctx: Line) -> None:
        self.lines.append(("complete", ctx))


def flown(RE: RunEngine, detector: Detector, *more: Any) -> Any:
    motor, vocs = SimMotor(name="x", instant=False), VOCS(variables={"y": [0.0, 1.0]}, observables=["blob-sum"])
    chosen = SimMotor(name="y", instant=True)
    for device in (motor, chosen, detector):
        call_in_bluesky_event_loop(device.connect())
    measure = FlyLine([motor, *more, detector], [motor], Sweep("x", 0.0, 0.2, rows=ROWS, seconds=SECONDS))
    envelope = {"limits": {"x": [-1.0, 1.0]}}
    agent = Scripted([{"y": 0.25}, {"y": 0.75}], vocs)
    return optimize([], [chosen], agent, measure=measure, max_points=2 * ROWS, envelope=envelope, finish="stay")


@pytest.mark.integration
@pytest.mark.parametrize(("dead_s", "asked"), [(0.03, (ROWS, pytest.approx(0.07), 0.03)), (None, None)])
def test_a_detector_keeps_time_with_the_motor(
    RE: RunEngine, docs: Documents, tmp_path: Path, dead_s: float | None, asked: Any
) -> None:
    detector, lines = Detector(tmp_path, dead_s), []
    result = RE(flown(RE, detector, Told(lines).with_device("told"))).plan_result
    assert (result.rows, result.abandoned) == (2 * ROWS, 0)
    assert detector.asked == ([] if asked is None else [asked, asked])
    assert [row["x"] for row in docs.events["primary"]] == pytest.approx([0.025, 0.075, 0.125, 0.175] * 2)
    assert [what for what, _ in lines] == ["prepare", "kickoff", "complete"] * 2
    assert {line.rows for _, line in lines} == {ROWS}


def test_a_detector_that_is_dead_for_longer_than_a_row_is_bad_input(RE: RunEngine, tmp_path: Path) -> None:
    detector = Detector(tmp_path, 0.25)
    with pytest.raises(BadInputError, match=r"a row of the line takes 0\.1 s, but blob is dead for 0\.25 s"):
        RE(flown(RE, detector))
    assert detector.asked == []
