"""Maps in reports: what is told and drawn of them, and of maps with next to nothing in them."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from mapped import PixelAgent, blobs, record_of
from matplotlib.figure import Figure

from ebl_autonomy.data.mapped import Mapped
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.records import DOSE, SURVEY, RunMetadata, RunRecord
from ebl_autonomy.report import Contents, report_contents, write_report
from ebl_autonomy.report.map_contents import RegionBox
from ebl_autonomy.report.map_drawing import draw_field, draw_regions, draw_route, shape_axes, shown_range
from ebl_autonomy.report.map_images import Images
from ebl_autonomy.report.raster_times import RasterTimes
from ebl_autonomy.space import Space, make_vocs, vocs_dict

AREA = {"x": [0.0, 20.0], "y": [0.0, 12.0]}
GRID = PixelGrid.of_step((0.0, 20.0), (0.0, 12.0), 0.5)


class FixedMaps:
    """A generator that gives the maps that it was made with."""

    def __init__(self, x: Any, y: Any, maps: Mapping[str, Any], error: float = 0.1) -> None:
        self._axes, self._maps, self._error = (np.asarray(x), np.asarray(y)), maps, error

    def axes(self) -> Any:
        return self._axes

    def map(self) -> Any:
        return {name: (np.asarray(mean, float), np.full(np.shape(mean), 0.5)) for name, mean in self._maps.items()}

    def predicted_error(self) -> dict[str, float]:
        return dict.fromkeys(self._maps, self._error)


def truth() -> dict[str, np.ndarray]:
    return blobs(*np.meshgrid(GRID.centres_x, GRID.centres_y))


def measured(count: int, seed: int = 0, **more: Any) -> RunRecord:
    """A run at random pixels."""
    at = np.random.default_rng(seed).choice(GRID.size, count, replace=False)
    points = np.column_stack([GRID.centres_x[at % GRID.shape[1]], GRID.centres_y[at // GRID.shape[1]]])
    return record_of(points.tolist(), {n: v.ravel()[at].tolist() for n, v in truth().items()}, **more)


def mapped_by(
    variables: Mapping[str, Any], start: Mapping[str, Any] | None = None, acquisition: str = "point", **options: Any
) -> Mapped | None:
    context = [name for name, one in variables.items() if isinstance(one, dict) and "Contextual" in one["type"]]
    vocs = make_vocs({"variables": variables, "observables": ["fe"]})
    metadata = RunMetadata(
        package_version="0", agent={"agent": "a", "vocs": vocs_dict(vocs), "options": options}, motors=[],
        context=context, outcomes=["fe"], max_points=9, batch=1, finish="stay", acquisition=acquisition,
    )  # fmt: skip
    return Mapped.of(start or {}, metadata, Space(vocs))


# -- what a run measures -----------------------------------------------------------------------------------------

RASTER = {"shape": [3, 4], "extents": [[0.0, 3.0], [10.0, 2.0]]}
CONTEXT = {"type": "ContextualVariable"}


@pytest.mark.parametrize(
    ("variables", "start", "options", "axes", "shape"),
    [
        (AREA, {}, {"step": 2.0}, ("x", "y"), (6, 10)),
        (AREA, {}, {"step": [2.0, 4.0]}, ("x", "y"), (3, 10)),
        ({**AREA, "exposure": [0.1, 1.0]}, {}, {"step": 2.0, "dwell": "exposure"}, ("x", "y"), (6, 10)),
        ({**AREA, "length": [-9.0, 9.0]}, {}, {"step": 2.0, "line": "length"}, ("x", "y"), (6, 10)),
        (AREA, {}, {"points_per_axis": [3, 5]}, ("x", "y"), (5, 3)),
        (AREA, {}, {}, ("x", "y"), None),
        (AREA, {}, {"step": "small"}, ("x", "y"), None),
        ({"y": [0.5, 2.5], "x": [3.0, 9.0]}, RASTER, {"points_per_axis": [3, 4]}, ("x", "y"), (3, 4)),
        ({"y": [0.5, 2.5], "x": CONTEXT}, RASTER, {}, ("x", "y"), (3, 4)),
        ({"energy": [7100.0, 7200.0]}, {}, {"step": 1.0}, ("energy", ""), None),
    ],
)  # fmt: skip
def test_the_axes_and_the_pixels_follow_from_the_start_document(
    variables: Any, start: Any, options: Any, axes: Any, shape: Any
) -> None:
    found = mapped_by(variables, start, **options)
    assert found is not None
    assert (found.x, found.y) == axes
    assert (None if found.grid is None else found.grid.shape) == shape


def test_a_grid_from_end_to_end_has_its_points_in_the_middle_of_pixels_and_a_raster_its_own_edges() -> None:
    grid, raster = mapped_by(AREA, points_per_axis=5), mapped_by({"y": [0.5, 2.5], "x": [3.0, 9.0]}, RASTER)
    assert grid is not None
    assert grid.grid is not None
    np.testing.assert_allclose(grid.grid.centres_x, [0.0, 5.0, 10.0, 15.0, 20.0])
    assert raster is not None
    assert raster.grid == PixelGrid((2.0, 10.0), (0.0, 3.0), (3, 4))  # its extents may descend


@pytest.mark.parametrize(
    "variables",
    [
        {**AREA, "z": [0.0, 1.0]},
        {"x": [0.0, 1.0], "wheel": {"type": "DiscreteVariable", "values": {1, 2}}},
        {"x": {"type": "ContinuousVariable", "domain": [1e-3, 1.0], "log_scale": True}, "y": [0.0, 1.0]},
    ],
    ids=["three motors", "a wheel", "decades"],
)  # fmt: skip
def test_other_searches_are_no_maps(variables: Any) -> None:
    assert mapped_by(variables) is None


def test_a_flown_exploration_is_a_map_whose_ends_the_rows_tell() -> None:
    found = mapped_by({"y": [0.0, 3.0], "x": CONTEXT}, acquisition="fly line")
    assert found is not None
    rows = found.measured([{"x": x, "y": y, "fe": x + y} for y in (0.5, 1.5) for x in (2.0, 3.0, 4.0)])
    pixels = found.pixels(rows)
    assert (pixels.x, pixels.y) == ((2.0, 4.0), (0.0, 3.0))
    assert np.nanmax(rows.on(pixels)["fe"]) == pytest.approx(5.5, abs=1.0)


def test_pixels_hold_the_mean_of_their_valid_readings() -> None:
    found = mapped_by(AREA, step=2.0)
    assert found is not None
    told = [
        (1.0, 1.0, 3.0),
        (1.5, 1.2, 5.0),
        (1.1, 1.0, math.nan),
        (19.0, 11.0, 7.0),
        (30.0, 1.0, 9.0),
        (math.nan, 1, 2),
    ]
    rows = found.measured([dict(zip(("x", "y", "fe"), one, strict=True)) for one in told])
    pixels = found.pixels(rows)
    values = rows.on(pixels)["fe"]
    assert (values[0, 0], values[-1, -1], np.isfinite(values).sum()) == (4.0, 7.0, 2)
    assert rows.numbers_on(pixels) == {0, 59}


# -- what is told -------------------------------------------------------------------------------------------------


def test_the_maps_of_an_agent_are_told_with_their_errors_and_what_was_saved() -> None:
    record = measured(96)
    told = report_contents(record, agent=FixedMaps(GRID.centres_x, GRID.centres_y, truth())).map
    assert told is not None
    assert (told.from_agent, told.shape, told.x_range, told.y_range) == (True, (24, 40), (0.0, 20.0), (0.0, 12.0))
    assert (told.measured, told.share) == (96, 0.1)
    assert [one.name for one in told.channels] == ["fe", "cr"]
    assert told.channels[0].high == pytest.approx(truth()["fe"].max())
    assert (told.channels[0].predicted_error, told.channels[0].std) == (0.1, 0.5)
    assert told.dose is not None
    assert (told.dose.basis, told.dose.spent, told.dose.full, told.dose.saved) == ("points", 96.0, 960.0, 0.9)
    words = "\n".join(told.sentences)
    assert "96 of 960 pixels (10 %) were measured" in words
    assert "90 % of the dose was saved" in words
    assert "Why it ended: max_points" in words


def test_the_section_survives_json_without_the_arrays() -> None:
    told = report_contents(measured(30), agent=FixedMaps(GRID.centres_x, GRID.centres_y, truth()))
    text = told.model_dump_json()
    assert len(text) < 20_000
    again = Contents.model_validate_json(text)
    assert again.map is not None
    assert again.map.images is None
    assert json.loads(again.model_dump_json()) == json.loads(text)


def test_against_the_truth_both_maps_are_scored_and_against_nothing_only_the_raster() -> None:
    record, true = measured(96), truth()
    ours = {name: values + 0.3 * np.std(values) * np.cos(np.arange(values.size)).reshape(values.shape) * math.sqrt(2)
            for name, values in true.items()}  # fmt: skip
    agent = FixedMaps(GRID.centres_x, GRID.centres_y, ours)
    told = report_contents(record, agent=agent, truth={"fe": true["fe"]}).map
    assert told is not None
    (score,) = [one for one in told.rasters if one.of == "points"]
    assert (score.channel, score.reference, score.points) == ("fe", "truth", 96)
    assert score.own_nrmse == pytest.approx(0.3, rel=0.02)
    assert score.nrmse is not None
    assert 0.05 < score.nrmse < 0.6
    assert score.similarity is not None
    blind = report_contents(record, agent=agent).map
    assert blind is not None
    assert {(one.channel, one.reference, one.own_nrmse) for one in blind.rasters} == {
        ("fe", "agent", None), ("cr", "agent", None)
    }  # fmt: skip
    assert "it is no error of the agent's map" in "\n".join(blind.sentences)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"zn": np.zeros((24, 40))}, "'zn' is no channel"),
        ({"fe": np.zeros((40, 24))}, r"\(40, 24\): the map has \(24, 40\)"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused(given: Any, text: str) -> None:
    with pytest.raises(BadInputError, match=text):
        report_contents(measured(5), agent=FixedMaps(GRID.centres_x, GRID.centres_y, truth()), truth=given)


def test_descending_axes_are_turned_round() -> None:
    true = truth()
    turned = FixedMaps(GRID.centres_x[::-1], GRID.centres_y[::-1], {n: v[::-1, ::-1] for n, v in true.items()})
    told = report_contents(measured(9), agent=turned).map
    assert told is not None
    assert told.images is not None
    np.testing.assert_array_equal(told.images.mean["fe"], true["fe"])
    assert told.images.pixels.x == pytest.approx((0.0, 20.0))


@pytest.mark.parametrize(
    ("x", "shape", "text"),
    [
        ([0.0, 1.0, 5.0], (24, 3), "not evenly spaced"),
        (GRID.centres_x, (24, 39), "its axes have"),
        ([], (24, 0), "no list"),
    ],
)
def test_maps_of_an_agent_that_do_not_fit_give_way_to_the_measured_pixels(x: Any, shape: Any, text: str) -> None:
    told = report_contents(measured(9), agent=FixedMaps(x, GRID.centres_y, {"fe": np.ones(shape)})).map
    assert told is not None
    assert (told.from_agent, told.measured) == (False, 9)
    assert text in told.note


def test_the_dose_that_the_run_counted_counts_first() -> None:
    record = measured(96)
    proposals = tuple(
        type(one)(**{**one.__dict__, "dose": (0.5 * (k + 1), 0)}) for k, one in enumerate(record.proposals)
    )
    told = report_contents(type(record)(**{**record.__dict__, "proposals": proposals})).map
    assert told is not None
    assert told.dose is not None
    assert (told.dose.basis, told.dose.spent, told.dose.full) == ("dose", 48.0, 480.0)
    assert DOSE.spent == "dose_spent"


def test_a_raster_takes_what_the_moves_and_the_points_of_the_run_took() -> None:
    record = measured(100)
    steps = np.array([GRID.step])
    at = np.array([[p.point["x"], p.point["y"]] for p in record.proposals]) / steps
    ways = np.hypot(*np.diff(at, axis=0).T)
    clock = np.concatenate([[1.0], 1.0 + np.cumsum(0.2 + 0.01 * ways)])
    clock[50:] += 300.0  # a pause counts for the run and not for the raster
    record = type(record)(**{**record.__dict__, "rows": {**record.rows, "clock": clock.tolist()}})
    mapped = Mapped.of(record.start, record.metadata, Space(make_vocs(record.metadata.agent["vocs"])))
    assert mapped is not None
    times = RasterTimes.of(record, mapped, GRID)
    assert times is not None
    assert (times.clock, times.flown) == (True, False)
    assert times.each + times.point == pytest.approx(0.2, rel=1e-3)
    assert times.pixel == pytest.approx(0.01, rel=1e-3)
    assert times.seconds(GRID.size) == pytest.approx(960 * 0.21, rel=1e-3)
    assert times.points() == 960  # the pause was long enough for all
    told = report_contents(record).map
    assert told is not None
    assert told.raster_seconds == pytest.approx(960 * 0.21, rel=1e-3)


def test_a_fine_scan_says_whose_it_is() -> None:
    link = {
        "coarse": "abc",
        "number": 1,
        "of": 5,
        "region": {"label": "Fe 2", "x": [0, 1], "y": [0, 1], "reason": "rare"},
    }
    told = report_contents(measured(5, start={SURVEY: link})).map
    assert told is not None
    assert told.sentences[-1] == (
        "It is fine scan 2 of 5 of a survey, of the region 'Fe 2' of the coarse map in run abc: rare."
    )


@pytest.mark.parametrize("named", ["survey", "agent", "nowhere"])
def test_what_normalises_is_no_map(named: str) -> None:
    start = {SURVEY: {"normalisers": ["cr"]}} if named == "survey" else {}
    record = measured(5, start=start)
    if named == "agent":
        agent = {**record.metadata.agent, "options": {**record.metadata.agent["options"], "i0": "cr"}}
        record = dataclasses.replace(record, metadata=record.metadata.model_copy(update={"agent": agent}))
    told = report_contents(record)
    assert told.map is not None
    apart = ["cr"] if named != "nowhere" else []
    assert [one.name for one in told.map.channels] == [name for name in ("fe", "cr") if name not in apart]
    assert [one.name for one in told.map.normalisers] == apart
    if apart:
        read = [float(value) for value in record.rows["cr"]]
        (one,) = told.map.normalisers
        assert (one.low, one.high, one.mean) == (min(read), max(read), pytest.approx(sum(read) / len(read)))


def test_a_region_without_a_box_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"give label, x=\[low, high\]"):
        report_contents(measured(5), regions=[{"label": "Fe"}])


# -- what is drawn ------------------------------------------------------------------------------------------------


def test_axes_with_one_unit_have_one_scale_unless_the_map_is_a_strip() -> None:
    aspects = []
    for pixels, units in [
        (GRID, {"x": "um", "y": "um"}),
        (GRID, {"x": "um", "y": "mm"}),
        (GRID, {}),
        (PixelGrid((0.0, 20.0), (0.0, 0.5), (1, 40)), {"x": "um", "y": "um"}),
    ]:
        axes = Figure().add_subplot()
        shape_axes(axes, pixels, ("x", "y"), units)
        aspects.append(axes.get_aspect())
    assert aspects == [1.0, "auto", "auto", "auto"]
    assert axes.get_xlabel() == "x (um)"


def test_a_hot_pixel_does_not_hide_the_map() -> None:
    values = np.random.default_rng(0).normal(10.0, 1.0, (50, 50))
    assert shown_range(values) == (values.min(), values.max())
    values[3, 4] = 1e6
    ends = shown_range(values)
    assert ends is not None
    assert ends[1] < 20.0
    assert shown_range(np.full((2, 2), np.nan)) is None
    assert shown_range(np.full((2, 2), 3.0)) == (1.5, 4.5)


def test_the_rows_of_a_line_are_joined_and_points_are_not() -> None:
    axes = Figure().add_subplot()
    x, y = np.array([1.0, 5.0, 6.0, 7.0, 2.0, math.nan]), np.array([1.0, 2.0, 2.0, 2.0, 9.0, 1.0])
    draw_route(axes, x, y, [0, 1, 1, 1, 2, 3], GRID)
    lines, points = axes.collections
    assert [segment.tolist() for segment in lines.get_segments()] == [  # type: ignore[attr-defined]
        [[5.0, 2.0], [6.0, 2.0]], [[6.0, 2.0], [7.0, 2.0]]
    ]  # fmt: skip
    assert points.get_offsets().tolist() == [[1.0, 1.0], [2.0, 9.0]]  # type: ignore[union-attr]
    assert points.get_array().tolist() == [1, 5]  # type: ignore[union-attr]
    assert draw_route(Figure().add_subplot(), x[-1:], y[-1:], [0], GRID) is None


def test_regions_are_boxes_with_their_labels() -> None:
    axes = Figure().add_subplot()
    draw_field(axes, GRID, truth()["fe"], "fe")
    boxes = [
        RegionBox(label="Fe 1", x=(1.0, 3.0), y=(2.0, 5.0)),
        RegionBox(label="rim", x=(18.0, 20.0), y=(11.0, 12.0)),
    ]
    draw_regions(axes, boxes)
    assert [(one.get_xy(), one.get_width(), one.get_height()) for one in axes.patches] == [  # type: ignore[attr-defined]
        ((1.0, 2.0), 2.0, 3.0), ((18.0, 11.0), 2.0, 1.0)
    ]  # fmt: skip
    assert [text.get_text() for text in axes.texts] == ["Fe 1", "2: rim"]


NAN = math.nan


@pytest.mark.integration
@pytest.mark.parametrize(
    ("points", "values", "more"),
    [
        ([], {"fe": []}, {}),
        ([(3.0, 4.0)], {"fe": [5.0]}, {}),
        ([(3.0, 4.0), (5.0, 6.0)], {"fe": [NAN, NAN], "cr": [1.0, NAN]}, {}),
        ([(x, 0.05) for x in range(9)], {"fe": range(9)}, {"y": (0.0, 0.1), "options": {"step": [0.5, 0.1]}}),
        ([(0.05, y) for y in range(9)], {"fe": range(9)}, {"x": (0.0, 0.1), "options": {"step": [0.1, 0.5]}}),
        ([(3.0, 4.0)] * 5, {"fe": [2.0] * 5}, {"options": {}, "units": {}}),
        ([(3.0, 4.0)], {f"channel {k}": [1.0] for k in range(8)}, {}),
    ],
    ids=["no row", "one point", "nothing valid", "one row", "one column", "no pixels", "eight channels"],
)  # fmt: skip
def test_a_report_of_a_map_with_little_in_it(points: Any, values: Any, more: Any, tmp_path: Path) -> None:
    record = record_of(points, values, **more)
    page = write_report(record, tmp_path).read_text()
    assert ("Map over x and y" if more.get("options") != {} else "Explore with pixels") in page
    if len(values) > 6:
        assert "Not drawn: channel 6, channel 7." in page
        assert page.count("<h2>Map of ") == 6


@pytest.mark.integration
def test_a_report_of_a_map_of_which_the_agent_knows_nothing_yet(tmp_path: Path) -> None:
    agent = PixelAgent({"variables": AREA, "observables": ["fe"]})
    assert (
        "no valid reading"
        not in write_report(record_of([(3.0, 4.0)], {"fe": [5.0]}), tmp_path, agent=agent).read_text()
    )


@pytest.mark.integration
def test_a_report_of_a_whole_map_shows_its_regions_its_uncertainty_and_a_raster(tmp_path: Path) -> None:
    regions = [
        {"label": "<Fe>", "x": [12.0, 16.0], "y": [6.0, 10.0], "score": 3.2, "reason": "Fe inside Cr", "step": 1}
    ]
    page = write_report(
        measured(96), tmp_path, agent=FixedMaps(GRID.centres_x, GRID.centres_y, truth()), regions=regions, truth=truth()
    ).read_text()
    for title in (
        "Map of fe and its uncertainty",
        "Where it was measured, in order",
        "fe: this map and an even raster",
    ):
        assert f"<h2>{title}</h2>" in page
    assert "&lt;Fe&gt;" in page
    assert "12 … 16" in page
    assert "Fe inside Cr" in page


@pytest.mark.integration
def test_a_page_of_twenty_thousand_rows_stays_small(tmp_path: Path) -> None:
    at = np.random.default_rng(0).uniform(0.0, 1.0, (20_000, 2)) * [20.0, 12.0]
    record = record_of(at.tolist(), {"fe": blobs(*at.T)["fe"].tolist()}, options={"step": 0.1})
    assert write_report(record, tmp_path).stat().st_size < 3_000_000


def test_images_of_an_agent_with_pixels_of_its_own_have_exactly_these() -> None:
    agent = PixelAgent({"variables": AREA, "observables": ["fe"]}, step=0.7)
    found = mapped_by(AREA, step=0.7)
    assert found is not None
    assert Images.of_agent(agent, found).pixels is agent.pixels
    assert mpl.rcParams["figure.figsize"]  # drawing changed no global setting
