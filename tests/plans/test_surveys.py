"""Surveys: the fine scans are where the coarse map says, within limits and budgets, and tell what they belong to."""

import threading
import time
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from microprobes import STEP, area, microprobe, starts
from simple import Documents, begin, join

from ebl_autonomy.analysis.regions import find_regions
from ebl_autonomy.errors import BadInputError, MeasurementError
from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.plans import adaptive_spectrum, characterise, explore, roi_survey, surveying
from ebl_autonomy.sim_devices import SimMicroprobe
from ebl_autonomy.testing import check_plan_signature

FE = "xrf_Fe"


def survey(probe: SimMicroprobe, **more: Any) -> Any:
    settings = {
        "channels": [FE, "xrf_Cr"],
        "coarse_step": STEP,
        "fine_step": 0.5,
        "area": area(),
        "regions": {"channels": [FE]},
        "live": "xrf_live_time",
        "i0": "i0",
        "dwell": probe.dwell,
    }
    return roi_survey([probe.xrf, probe.i0], probe.x, probe.y, **{**settings, **more})


@pytest.mark.parametrize("flies", [False, True])
def test_the_bright_parts_are_scanned_finely_and_only_they(RE: RunEngine, docs: Documents, flies: bool) -> None:
    probe = microprobe()
    home = probe.x.position, probe.y.position
    plan = survey(probe, flyers=[probe.flyer] if flies else [])
    result = RE(plan).plan_result
    coarse, *fine = starts(docs)
    assert [doc["uid"] for doc in fine] == [run.uid for run in result.fine]
    assert len(result.regions) == 2
    boxes = sorted((*region.x, *region.y) for region in result.regions)
    for (left, right, low, high), (x, y) in zip(boxes, ((1.0, 1.0), (8.0, 5.0)), strict=True):
        assert left <= x <= x + 3.0 <= right
        assert low <= y <= y + 2.0 <= high
        assert (right - left) * (high - low) < 25.0  # of 6 µm², with the pixels that its edges share, and margins
    for number, (doc, region) in enumerate(zip(fine, result.regions, strict=True)):
        link = doc["ebl_survey"]
        assert (link["coarse"], link["number"], link["of"]) == (coarse["uid"], number, 2)
        assert link["region"]["label"] == region.label
    assert result.coarse.rows == 96
    assert (probe.x.position, probe.y.position) == home
    assert probe.dwell.position == 0.02
    assert result.stop_reason == "all regions are scanned"


def test_an_empty_map_has_no_fine_scans_and_says_why(RE: RunEngine, docs: Documents) -> None:
    probe = microprobe()
    result = RE(survey(probe, area={"sample_x": [4.5, 7.5], "sample_y": [0.0, 8.0]})).plan_result
    assert result.fine == ()
    assert result.stop_reason
    assert len(starts(docs)) == 1


def test_a_region_at_the_edge_of_the_stage_stays_within_its_limits(RE: RunEngine) -> None:
    probe = microprobe(motors={"sample_x": {"limits": (0.0, 10.0)}})
    result = RE(survey(probe, area={"sample_x": [5.0, 10.0], "sample_y": [4.0, 8.0]})).plan_result
    (region,) = result.regions
    assert region.clipped
    assert region.x[1] == 10.0
    assert len(result.fine) == 1


@pytest.mark.parametrize("detects", [True, False])
def test_a_fine_row_whose_run_up_leaves_the_limits_is_measured_all_the_same(
    RE: RunEngine, docs: Documents, detects: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run-up of the coarse rows fits, because they are flown slowly; that of the fine ones would not."""
    probe = microprobe(speed=200.0, motors={"sample_x": {"limits": (0.9, 12.0)}})
    more = {"area": {"sample_x": [1.0, 11.9], "sample_y": [0.0, 8.0]}, "flyers": [probe.flyer]}
    times = {"coarse_dwell_s": 1.0, "fine_dwell_s": 0.01, "fine_step": 0.5}
    plan = survey(probe, **more, **times) if detects else roi_survey(
        [], probe.x, probe.y, channels=[FE], coarse_step=STEP, regions={"channels": [FE]}, dwell=probe.dwell,
        **more, **times,
    )  # fmt: skip
    result = RE(plan).plan_result
    assert len(result.regions) == 2
    assert [(run.refused, run.abandoned) for run in result.fine] == [(0, 0)] * 2
    for run, region in zip(result.fine, result.regions, strict=True):
        assert run.rows == PixelGrid.of_step(region.x, region.y, region.step).size
    said = "point by point, because its rows cannot be flown" if detects else "so that the run-up fits"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(("overhead_s", "scans"), [(0.0, 2), (60.0, 1)])
def test_regions_are_scanned_together_where_another_run_takes_longer(
    RE: RunEngine, overhead_s: float, scans: int
) -> None:
    probe = microprobe()
    result = RE(survey(probe, overhead_s=overhead_s, fine_dwell_s=0.02)).plan_result
    assert len(result.fine) == scans
    if scans == 1:
        assert "1 other region in the same box" in result.regions[0].reason


@pytest.mark.integration
def test_a_function_may_choose_among_the_regions(RE: RunEngine) -> None:
    probe = microprobe()
    asked: list[Any] = []

    def approve(regions: list[Any]) -> list[Any]:
        asked.extend(regions)
        return [region for region in regions if region.x[0] > 5.0]

    result = RE(survey(probe, approve=approve)).plan_result
    assert len(asked) == 2
    assert len(result.fine) == 1
    assert result.regions[0].x[0] > 5.0


@pytest.mark.integration
def test_a_pause_lets_the_user_approve(RE: RunEngine, docs: Documents) -> None:
    probe = microprobe()
    with pytest.raises(RunEngineInterrupted):
        RE(survey(probe, approve="pause"))
    assert len(starts(docs)) == 1
    result = RE.resume().plan_result
    assert len(result.fine) == 2


def test_budgets_are_those_of_the_whole_survey(RE: RunEngine, docs: Documents) -> None:
    probe = microprobe()
    envelope = {"max_points": 100}
    result = RE(survey(probe, envelope=envelope)).plan_result
    rows = sum(run.rows for run in (result.coarse, *result.fine))
    assert rows == 100
    assert "max_points" in result.stop_reason
    assert len(result.fine) == 1


def test_a_realignment_counts_for_the_budgets_of_the_survey(RE: RunEngine) -> None:
    probe = microprobe()
    vocs = {"variables": {"mono_energy": [7100.0, 7160.0]}, "observables": ["i0"]}

    def realign() -> Any:
        return (yield from explore([probe.i0], [probe.energy], "grid", max_points=4, vocs=vocs))

    result = RE(survey(probe, realign=realign, envelope={"max_points": 100})).plan_result
    assert len(result.regions) == 2
    assert result.fine == ()
    assert "max_points" in result.stop_reason


def test_a_failed_scan_brings_the_stage_back(RE: RunEngine) -> None:
    probe = microprobe()
    home = probe.x.position, probe.y.position
    trigger, count = probe.xrf.trigger, []

    def failing() -> Any:
        count.append(1)
        if len(count) > 100:
            raise RuntimeError("no high voltage")
        return trigger()

    probe.xrf.trigger = failing  # type: ignore[method-assign]
    with pytest.raises(MeasurementError, match="no high voltage"):
        RE(survey(probe))
    assert (probe.x.position, probe.y.position) == home


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"area": {"sample_x": [0.0, 999.0], "sample_y": [0.0, 8.0]}}, r"'sample_x' must lie within its limits"),
        ({"area": {"x": [0.0, 1.0]}}, r"area=.*give \{'sample_x'"),
        ({"channels": "xrf_Fe"}, r"channels='xrf_Fe': give a list"),
        ({"channels": ["xrf_Zn"], "regions": {}}, r"no detector gives \['xrf_Zn'\]"),
        ({"approve": 3}, r"approve=3: give 'pause'"),
        ({"realign": 3}, r"realign=3: give a plan function"),
        ({"position_tolerance": {"sample_z": 0.1}}, r"position_tolerance names \['sample_z'\]"),
        ({"coarse_step": 0.0}, r"step=0.0: give a positive number"),
        ({"regions": {"chanels": ["a"]}}, r"regions.chanels: .*did you mean 'channels'"),
        ({"regions": {"channels": ["xrf_Zn"]}}, r"options.channels: channel 'xrf_Zn' is unknown"),
        ({"regions": {"rules": ["xrf_Fe with aera above 1"]}}, r"feature 'aera' is unknown, did you mean 'area'"),
        ({"regions": {"rank": "feature foo"}}, r"feature 'foo' is unknown.*xrf_Fe_net"),
        ({"regions": {"rank": "ratio xrf_Fe/foo"}}, r"options.rank: channel 'foo' is unknown"),
        ({"regions": {"rank": "cluster 3", "clusters": 2}}, r"rank by cluster 3: with clusters=2, the last is 1"),
        (
            {"regions": {"rank": {"by": "similarity", "to": {"area": 1.0}}}},
            r"options.rank.to: .* lacks the feature 'eccentricity'",
        ),
        ({"regions": {"margin": 12.5}}, r"regions.margin=12.5: along x, the area is 12 wide"),
        ({"regions": {"margin": (0.1, 8.0)}}, r"regions.margin=.*along y, the area is 8 wide"),
        ({"regions": {"dwell_limits": (1e8, 2e8)}}, r"regions.dwell_limits=.*the exposure can be set from"),
        (
            {"regions": {"phases": {"markers": {"a": "xrf_Cr", "b": None}, "common": FE, "ratios": {"Zn": 1.0}}}},
            r"options.phases.ratios: 'Zn' is unknown",
        ),
        ({"fine_step": 1e-5}, r"pixels"),
        ({"envelope": {"max_points": 95}}, r"envelope.max_points=95: the coarse map alone has 96 pixels"),
        ({"overhead_s": -1.0}, r"overhead_s=-1.0: give seconds, 0 or above"),
        ({"overhead_s": "2"}, r"overhead_s='2': give seconds, 0 or above"),
        ({"until": {"target": 3.0}}, r"target and improvement are rules on an objective"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_moves(RE: RunEngine, given: dict[str, Any], said: str) -> None:
    probe = microprobe()
    home = probe.x.position, probe.y.position, probe.dwell.position
    with pytest.raises(BadInputError, match=said):
        RE(survey(probe, **given))
    assert (probe.x.position, probe.y.position, probe.dwell.position) == home


@pytest.mark.parametrize(
    ("given", "warned"),
    [
        ({"envelope": {"max_seconds": 8.0}, "coarse_dwell_s": 1.0}, "envelope.max_seconds=8"),
        ({"envelope": {"max_seconds": 400.0}, "coarse_dwell_s": 1.0}, ""),
        ({"until": {"seconds": 8.0}, "coarse_dwell_s": 1.0}, "until.seconds=8"),
        ({"until": {"seconds": 4.0, "clock": "xrf_live_time"}, "coarse_dwell_s": 1.0}, ""),
    ],
)
def test_seconds_of_another_clock_than_that_of_the_exposures_refuse_no_survey(
    RE: RunEngine, given: dict[str, Any], warned: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the wall clock, which a simulation outruns, or of a clock that only the rows tell."""
    result = RE(survey(microprobe(), area={"sample_x": [4.5, 7.5], "sample_y": [0.0, 3.0]}, **given)).plan_result
    assert result.coarse.rows == 9
    assert f"{warned}: the exposures of the coarse map alone take 9 s" in caplog.text or not warned
    assert ("the exposures of the coarse map" in caplog.text) == bool(warned)


@pytest.mark.parametrize("flies", [False, True])
def test_a_region_that_cannot_be_scanned_costs_no_other_its_scan(
    RE: RunEngine, flies: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exposure that suits the first of three regions lies where none is allowed."""
    probe = microprobe()
    probe.dwell.set(0.01)
    found: list[Any] = []

    def three(regions: list[Any]) -> list[Any]:
        first, second = regions
        found.extend(
            region.model_copy(update={"label": label, "dwell_s": seconds})
            for region, label, seconds in ((first, "one", 0.02), (second, "two", 0.3), (first, "three", 0.03))
        )
        return found

    result = RE(
        survey(
            probe, approve=three, coarse_dwell_s=0.01, flyers=[probe.flyer] if flies else [],
            envelope={"forbidden": [{"box": {probe.dwell.name: [0.2, 0.4]}, "reason": "saturates"}]},
        )
    ).plan_result  # fmt: skip
    assert len(result.fine) == 2
    assert result.stop_reason == "all regions are scanned but two, which cannot be"
    assert "two: left out, because it cannot be scanned" in capsys.readouterr().out


@pytest.mark.integration
def test_a_pause_in_the_coarse_map_does_not_change_the_fine_scans(
    RE: RunEngine, docs: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = microprobe()
    asked: list[Any] = []
    paused: list[Any] = []

    def find(maps: Any, options: Any) -> Any:
        asked.append(options)
        return find_regions(maps, options)

    def pause(msg: Any) -> None:
        if msg.command == "save" and probe.exposures == 8 and not paused:
            paused.append(begin(threading.Thread(target=RE.request_pause), []))

    monkeypatch.setattr(surveying, "find_regions", find)
    RE.msg_hook = pause
    with pytest.raises(RunEngineInterrupted):
        RE(survey(probe, area={"sample_x": [0.0, 4.0], "sample_y": [0.0, 4.0]}, fine_dwell_s=0.02, coarse_dwell_s=0.02))
    join(paused[0])
    time.sleep(2.0)  # the pause that must not count
    RE.resume()
    stream = next(doc["uid"] for name, doc in docs.all if name == "descriptor" and doc["name"] == "primary")
    rows = [doc["time"] for name, doc in docs.all if name == "event" and doc["descriptor"] == stream]
    between = np.diff(rows)
    assert between.max() > 2.0
    assert asked[0].pixel_s == pytest.approx(max(float(np.median(between)), 0.02))
    assert asked[0].overhead_s == 0.0


def test_a_spectrum_is_measured_upwards_batch_by_batch(RE: RunEngine, docs: Documents) -> None:
    probe = microprobe()
    RE_motors = {probe.x: 2.5, probe.y: 2.0}
    for motor, position in RE_motors.items():
        motor.set(position)
    vocs = {"variables": {"mono_energy": [7100.0, 7160.0]}, "observables": ["xanes_mu"]}
    agent = {"agent": "energy", "vocs": vocs, "options": {"edge": 7114.0}}
    result = RE(adaptive_spectrum([probe.absorption], probe.energy, agent, max_points=24, batch=8)).plan_result
    energies = [row["mono_energy"] for row in docs.events["primary"]]
    assert result.rows == 24
    for i in range(0, 24, 8):
        assert energies[i : i + 8] == sorted(energies[i : i + 8])
    assert len(set(energies)) == 24


@pytest.mark.parametrize("plan", [roi_survey, characterise, adaptive_spectrum])
def test_a_queue_takes_the_signature(plan: Any) -> None:
    check_plan_signature(plan)
