"""Maps, surveys and spectra that plans measure: in reports, in the live view, in one line and in the list of runs."""

import io
import json
import logging
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from bluesky import RunEngine
from commands import call_here
from mapped import EdgeAgent, PixelAgent, Spectrometer, stage, xanes
from matplotlib.figure import Figure
from ophyd.sim import SynAxis, SynSignal
from rich.console import Console

from ebl_autonomy.data import Connection, read_run, runs
from ebl_autonomy.plans import adaptive_map, adaptive_spectrum, explore, roi_survey
from ebl_autonomy.report import LiveView, ProgressBar, report_contents, write_report
from ebl_autonomy.sim_devices import Clock, SimFlyer

pytestmark = pytest.mark.integration

VOCS: dict[str, Any] = {"variables": {"x": [0.0, 20.0], "y": [0.0, 12.0]}, "observables": ["fe", "cr"]}


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


def test_a_map_of_points_and_lines_is_seen_while_it_is_measured_and_reported_afterwards(
    RE: RunEngine, tiled: Connection, tmp_path: Path
) -> None:
    clock = Clock()
    x, y = stage(clock)
    xrf = Spectrometer(x, y, clock)
    vocs = {**VOCS, "variables": {**VOCS["variables"], "line_length": [-20.0, 20.0]}}
    agent = PixelAgent(vocs, seed=1, step=1.0, line="line_length")
    view, line = LiveView(agent, figure=Figure()), io.StringIO()
    RE.subscribe(view)
    RE.subscribe(ProgressBar(Console(file=line)))
    flyer = SimFlyer("line", x, xrf, clock)
    result = RE(adaptive_map([xrf], x, y, agent, max_points=100, batch=5, flyers=[flyer])).plan_result
    view.wait()
    tiled.flush()
    record = read_run(result.uid, tiled.client)
    told = report_contents(record, agent=agent).map
    assert told is not None
    assert (told.shape, told.from_agent) == ((12, 20), True)
    pixels = {(round(r["x"] - 0.5), round(r["y"] - 0.5)) for r in record.results if np.isfinite(r["fe"])}
    assert told.measured == len(pixels)
    assert told.run_seconds is not None  # of the clock
    assert told.raster_seconds is not None
    assert {one.of for one in told.rasters} == {"points", "time"}

    share = f"{100.0 * len(pixels) / 240:.2g} % of 240 pixels"
    shown = texts(view.figure)
    assert f"{result.rows} of 100 points" in shown
    assert f"{share}, expected error fe 0.25, cr 0.25" in shown
    panels = [axes for axes in view.figure.axes if axes.images]
    assert len(panels) == 2
    np.testing.assert_allclose(panels[0].images[0].get_array(), agent.map()["fe"][0])  # as it is at the end
    (latest,) = [line for line in panels[0].lines if line.get_label() == "latest"]
    assert latest.get_xdata()[-1] == record.rows["x"][-1]
    assert share in line.getvalue()
    assert " s so far" in line.getvalue()
    assert "nan" not in line.getvalue()

    (listed,) = runs(tiled.client, 1)
    assert (listed.share, listed.pixels, listed.best) == (len(pixels) / 240, 240, None)
    page = write_report(record, tmp_path, agent=agent).read_text()
    assert "<h2>Where it was measured, in order</h2>" in page


def test_without_an_agent_the_measured_pixels_are_seen(RE: RunEngine) -> None:
    clock = Clock()
    x, y = stage(clock)
    view = LiveView(figure=Figure())
    RE.subscribe(view)
    agent = {"agent": "grid", "vocs": VOCS, "options": {"points_per_axis": [5, 4]}}
    RE(explore([Spectrometer(x, y, clock)], [x, y], agent, max_points=12))
    view.wait()
    assert "12 of 12 points\n60 % of 20 pixels" in texts(view.figure)
    (panel, _) = [axes for axes in view.figure.axes if axes.images]
    values = panel.images[0].get_array()
    assert (values.shape, np.count_nonzero(~np.ma.getmaskarray(values))) == ((4, 5), 12)


class FailingMaps(PixelAgent):
    """Its maps cannot be had."""

    def map(self) -> Any:
        raise RuntimeError("no maps today")


def test_maps_that_fail_are_logged_once_and_the_pixels_are_seen(
    RE: RunEngine, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    x, y = stage(clock)
    agent = FailingMaps(VOCS, step=2.0)
    view = LiveView(agent, figure=Figure())
    RE.subscribe(view)
    with caplog.at_level(logging.ERROR):
        RE(adaptive_map([Spectrometer(x, y, clock)], x, y, agent, max_points=12, batch=4))
        view.wait()
    assert len([r for r in caplog.records if r.name == "ebl_autonomy.report.live"]) == 1
    assert "12 of 12 points" in texts(view.figure)
    assert any(axes.images for axes in view.figure.axes)


@pytest.mark.parametrize("flown", [False, True])
def test_the_report_of_a_coarse_map_finds_the_fine_scans(
    flown: bool, RE: RunEngine, tiled: Connection, tmp_path: Path
) -> None:
    clock = Clock()
    x, y = stage(clock)
    xrf = Spectrometer(x, y, clock)
    survey = roi_survey(
        [] if flown else [xrf], x, y, channels=["fe"], coarse_step=1.0, fine_step=1.0, fine_dwell_s=0.1, max_regions=2,
        area={"x": [0.0, 20.0], "y": [0.0, 12.0]}, flyers=[SimFlyer("line", x, xrf, clock)] if flown else [],
    )  # fmt: skip
    result = RE(survey).plan_result
    assert len(result.fine) == len(result.regions) > 0
    tiled.flush()
    coarse = report_contents(read_run(result.coarse.uid, tiled.client), client=tiled.client).map
    assert coarse is not None
    assert (coarse.x, coarse.y, coarse.shape, coarse.share) == ("x", "y", (12, 20), 1.0)
    assert [(one.label, one.x, one.y, one.runs) for one in coarse.regions] == [
        (region.label, region.x, region.y, [fine.uid]) for region, fine in zip(result.regions, result.fine, strict=True)
    ]
    fine = report_contents(read_run(result.fine[0].uid, tiled.client), client=tiled.client).map
    assert fine is not None
    assert fine.sentences[-1].startswith(f"It is fine scan 1 of {len(result.fine)} of a survey")
    assert (fine.x_range, fine.y_range) == (result.regions[0].x, result.regions[0].y)

    if not flown:
        return
    where = ["--tiled", tiled.uri, "--api-key", tiled.api_key]
    told = json.loads(call_here("report", result.coarse.uid, "--json", *where, folder=tmp_path).stdout)
    assert [one["label"] for one in told["map"]["regions"]] == [region.label for region in result.regions]
    call_here("report", result.coarse.uid, "--output", str(tmp_path), *where, folder=tmp_path)
    assert "<h2>Regions</h2>" in (tmp_path / "report.html").read_text()
    listed = call_here("runs", *where, folder=tmp_path).stdout
    assert "100 % of 240 pixels" in listed


def test_a_spectrum_is_seen_and_reported_with_its_edge(RE: RunEngine, tiled: Connection, tmp_path: Path) -> None:
    energy = SynAxis(name="energy", value=7100.0)
    mu = SynSignal(func=lambda: float(xanes(energy.position)), name="mu")
    agent = EdgeAgent({"variables": {"energy": [7080.0, 7180.0]}, "observables": ["mu"]})
    view = LiveView(agent, figure=Figure())
    RE.subscribe(view)
    limits = {"limits": {"energy": [7080.0, 7180.0]}}
    result = RE(adaptive_spectrum([mu], energy, agent, max_points=24, envelope=limits)).plan_result
    view.wait()
    (axes,) = view.figure.axes
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["model ± 2 σ", "model", "edge 7112.4", "read", "latest"]
    assert "expected error mu 0.012" in texts(view.figure)
    tiled.flush()
    record = read_run(result.uid, tiled.client)
    told = report_contents(record, agent=agent).spectrum
    assert told is not None
    (one,) = told.channels
    assert (one.edge, one.points, one.predicted_error) == (7112.4, 24, 0.012)
    known = np.array(sorted((r["energy"], r["mu"]) for r in record.results)).T
    np.testing.assert_allclose(one.mean, np.interp(told.values, *known))
    page = write_report(record, tmp_path, agent=agent).read_text()
    assert "mu: 24 readings, the edge at 7112.4" in page
    assert "<h2>Spectrum of mu</h2>" in page
    alone = write_report(record, tmp_path).read_text()  # the agent cannot be made again: the readings stay
    assert "<h2>Spectrum of mu</h2>" in alone
