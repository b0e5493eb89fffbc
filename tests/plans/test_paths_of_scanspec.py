"""Rasters that are described with scanspec: the lines of a snake, flown by the microprobe."""

from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from scanspec.specs import Ellipse, Fly, Linspace, Spiral

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import Line
from ebl_autonomy.plans.acquisition.paths import lines_of
from ebl_autonomy.sim_devices import AsyncMicroprobe, SimMicroprobe, SimSample

SNAKE = Linspace("sample_y", 0.0, 2.0, 3) * ~Linspace("sample_x", 0.0, 3.0, 4)


def test_a_snake_is_its_lines_in_turn() -> None:
    there = {"sample_x": -0.5}, {"sample_x": 3.5}
    back = there[::-1]
    expected = [
        Line({"sample_y": y, **start}, {"sample_y": y, **stop}, rows=4, seconds=0.4)
        for y, (start, stop) in zip((0.0, 1.0, 2.0), (there, back, there), strict=True)
    ]
    for lines in (lines_of(Fly(0.1 @ SNAKE)), lines_of(Fly(SNAKE), seconds_per_row=0.1)):
        assert [(line.start, line.stop, line.rows) for line in lines] == [
            (line.start, line.stop, line.rows) for line in expected
        ]
        assert [line.seconds for line in lines] == pytest.approx([0.4] * 3)


@pytest.mark.parametrize(("axis", "ends"), [("sample_x", (0.0, 3.0)), ("sample_y", (5.0, -1.0))])
def test_one_line_may_go_either_way_and_be_of_any_axis(axis: str, ends: tuple[float, float]) -> None:
    (line,) = lines_of(Fly(2.0 @ Linspace(axis, *ends, 4)))
    half = 0.5 * (ends[1] - ends[0]) / 3.0
    assert line.start == {axis: ends[0] - half}
    assert line.stop == {axis: ends[1] + half}
    assert line.seconds == 8.0


def test_the_lines_of_a_masked_path_have_their_own_lengths() -> None:
    grid = Ellipse("sample_x", 0.0, 8.0, 1.0, "sample_y", 0.0, 8.0, 1.0, snake=True)
    lines = lines_of(Fly(0.5 @ grid))
    assert len({line.rows for line in lines}) > 1
    for line in lines:
        assert abs(line.stop["sample_x"] - line.start["sample_x"]) == pytest.approx(line.rows)
        assert line.seconds == pytest.approx(0.5 * line.rows)


@pytest.mark.parametrize(
    ("spec", "seconds", "said"),
    [
        (Fly(SNAKE), None, "no duration"),
        (Fly(SNAKE), -1.0, "seconds_per_row=-1.0"),
        (Fly(0.1 @ Spiral("sample_x", 0.0, 5.0, 1.0, "sample_y", 0.0, 5.0)), None, "curved"),
        ("a snake", None, "is no path"),
    ],
)
def test_what_is_no_line_is_refused(spec: Any, seconds: float | None, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        lines_of(spec, seconds)


def test_a_snake_is_flown_over_the_sample(RE: RunEngine) -> None:
    maps = np.arange(1.0, 13.0).reshape(3, 4)
    sim = SimMicroprobe(SimSample.from_maps({"Fe": 1e6 * maps}, step_um=1.0), dead_time_s=0.0, i0_noise=0.0)
    flyer, pages = AsyncMicroprobe(sim).flyer, []

    @bpp.run_decorator()
    def flown() -> Any:
        for line in lines_of(Fly(0.1 @ SNAKE)):
            yield from bps.prepare(flyer, line, wait=True)
            yield from bps.kickoff(flyer, wait=True)
            yield from bps.complete(flyer, wait=True)
            yield from bps.collect(flyer, return_payload=False)

    RE(flown(), lambda name, doc: pages.append(doc["data"]) if name == "event_page" else None)
    assert len(pages) == 3
    seen = np.array([page["xrf_Fe"] for page in pages])
    seen[1] = seen[1][::-1]
    # A row of a flown line is the mean over its pixel, which at the rim of the maps is nearly the pixel's value.
    assert seen == pytest.approx(1e5 * maps, rel=0.15)
    assert [page["sample_x"] for page in pages] == [[0.0, 1.0, 2.0, 3.0], [3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0]]
