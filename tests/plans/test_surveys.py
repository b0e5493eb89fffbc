"""Surveys: the fine scans are where the coarse map says, within limits and budgets, and tell what they belong to."""

import html
import math
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from microprobes import ENERGIES, REFERENCES, STEP, area, microprobe
from simple import Documents, begin, join

from ebl_autonomy import read_run
from ebl_autonomy.analysis.regions import find_regions
from ebl_autonomy.cli.lists import run_lines
from ebl_autonomy.data import Connection, runs
from ebl_autonomy.errors import BadInputError, DataError, MeasurementError
from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.plans import adaptive_spectrum, characterise, explore, go_to_best, roi_survey, surveying
from ebl_autonomy.records import PhaseMapsRecord
from ebl_autonomy.report import report_contents, write_report
from ebl_autonomy.sim_devices import Fault, SimMicroprobe
from ebl_autonomy.steering import restore_session
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


def starts(docs: Documents) -> list[dict[str, Any]]:
    return [doc for name, doc in docs.all if name == "start"]


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
    RE: RunEngine, monkeypatch: pytest.MonkeyPatch
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
    time.sleep(2.0)
    RE.resume()
    assert asked[0].pixel_s < 0.07
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


@pytest.mark.integration
def test_the_phases_of_each_region_are_found(RE: RunEngine, docs: Documents, tiled: Connection, tmp_path: Path) -> None:
    probe = microprobe()
    home = probe.energy.position
    result = RE(
        characterise(
            [probe.xrf, probe.absorption, probe.i0], probe.x, probe.y, probe.energy,
            channels=[FE], absorption="xanes_mu", coarse_step=STEP, fine_step=1.0, area=area(),
            references={name: spectrum.tolist() for name, spectrum in REFERENCES.items()},
            reference_energies=ENERGIES.tolist(), max_energies=6, live="xrf_live_time", dwell=probe.dwell,
            energy_dwell_s=0.05, flyers=[probe.flyer],
        )
    ).plan_result  # fmt: skip
    assert len(result.phase_maps) == 2
    for one in result.phase_maps:
        assert 3 <= len(one.energies) <= 6
        assert len(one.maps) == len(one.energies)
        assert np.array_equal(one.energies, np.sort(one.energies))
        dominant = "low" if one.region.x[0] < 5.0 else "high"
        other = "high" if dominant == "low" else "low"
        inside = one.amounts[dominant] > 0.3
        assert inside.sum() >= 3
        assert one.amounts[dominant].max() == pytest.approx(0.8, abs=0.1)
        assert (one.amounts[other][inside] < 0.1).all()
    last = starts(docs)[-1]
    assert last["uid"] == result.uid
    assert [one["phases"] for one in last["ebl_survey"]["phase_maps"]] == [["low", "high"]] * 2
    recorded = docs.events["phases_0"][0]["phases_amount_low"]
    assert np.array_equal(recorded, result.phase_maps[0].amounts["low"], equal_nan=True)
    assert probe.energy.position == home
    tiled.flush()
    check_phase_maps(result, tiled, tmp_path)
    stages = [run.stage for run in reversed(runs(tiled.client, len(starts(docs))))]
    assert stages[0] == "coarse map"
    assert stages[1] == "choice of energies in region 1 of 2"
    assert stages[2].startswith("region 1 of 2 at 71")
    assert stages[-1] == "phase maps of 2 regions"
    coarse = report_contents(read_run(result.coarse.uid, tiled.client), client=tiled.client).map
    assert coarse is not None
    assert [one.name for one in coarse.channels] == [FE]
    assert [one.name for one in coarse.normalisers] == ["xrf_live_time"]


def check_phase_maps(result: Any, tiled: Connection, folder: Path) -> None:
    """The run with the phase maps is read, listed and reported as what it is."""
    record = read_run(result.uid, tiled.client)
    assert isinstance(record, PhaseMapsRecord)
    assert record.coarse == result.coarse.uid
    assert (record.metadata.motors, set(record.metadata.units.values())) == (["sample_x", "sample_y"], {"um"})
    for stored, found in zip(record.phase_maps, result.phase_maps, strict=True):
        assert (stored.label, stored.names) == (found.region.label, found.names)
        assert np.array_equal(stored.x, found.x)
        assert np.array_equal(stored.energies, found.energies)
        for name in found.names:
            assert np.array_equal(stored.amounts[name], found.amounts[name], equal_nan=True)
            assert np.array_equal(stored.std[name], found.std[name], equal_nan=True)
    told = report_contents(record)
    assert [{phase.name for phase in one.phases} for one in told.phases] == [{"low", "high"}] * 2
    assert max(phase.share or 0.0 for phase in told.phases[0].phases) > 0.7
    page = write_report(record, folder).read_text()
    assert "phase maps of 2 regions" in page
    assert page.count("<svg") == 2
    with pytest.raises(BadInputError, match=r"phase maps of 2 regions of a survey: no agent steered it"):
        restore_session(record)
    with pytest.raises(DataError, match=r"no agent steered it, so it has no best point"):
        list(go_to_best(record))
    line = next(line for line in run_lines(runs(tiled.client), math.inf) if record.uid in line)
    assert "phase maps of 2 regions" in line


def phases(probe: SimMicroprobe, **more: Any) -> Any:
    """`characterise` of the brightest region at few energies."""
    settings = {
        "channels": [FE],
        "absorption": "xanes_mu",
        "coarse_step": STEP,
        "fine_step": 1.0,
        "area": area(),
        "references": {name: spectrum.tolist() for name, spectrum in REFERENCES.items()},
        "reference_energies": ENERGIES.tolist(),
        "max_energies": 6,
        "max_regions": 1,
        "live": "xrf_live_time",
        "dwell": probe.dwell,
        "energy_dwell_s": 0.03,
    }
    detectors = more.pop("detectors", [probe.xrf, probe.absorption, probe.i0])
    return characterise(detectors, probe.x, probe.y, probe.energy, **{**settings, **more})


@pytest.mark.parametrize("spent", [False, True])
def test_phase_maps_of_no_region_are_reported_with_the_reason(
    RE: RunEngine, tiled: Connection, tmp_path: Path, spent: bool
) -> None:
    """Of a part of the sample without iron, and of one whose coarse map takes all that the budget allows."""
    probe = microprobe()
    dark = {"sample_x": [4.5, 7.5], "sample_y": [0.0, 8.0]}
    more = {"envelope": {"max_points": 96}} if spent else {"area": dark}
    result = RE(phases(probe, flyers=[probe.flyer], **more)).plan_result
    tiled.flush()
    assert (result.phase_maps, len(result.regions) > 0) == ((), spent)
    record = read_run(result.uid, tiled.client)
    assert isinstance(record, PhaseMapsRecord)
    assert record.stop_reason == result.stop_reason != ""
    page = write_report(record, tmp_path).read_text()
    assert f"No region has a phase map: {result.stop_reason.rstrip('.')}." in html.unescape(page)
    assert "Motors" not in page


@pytest.mark.integration
def test_a_region_whose_energies_cannot_be_mapped_costs_no_other_its_phases(RE: RunEngine) -> None:
    """The exposure that suits the first of two regions lies where none is allowed."""
    probe = microprobe()
    probe.dwell.set(0.01)

    def both(regions: list[Any]) -> list[Any]:
        (region,) = regions
        dwells = {"one": 0.3, "two": 0.03}
        return [region.model_copy(update={"label": label, "dwell_s": s}) for label, s in dwells.items()]

    forbidden = [{"box": {probe.dwell.name: [0.2, 0.4]}, "reason": "saturates"}]
    more = {
        "coarse_dwell_s": 0.01,
        "energy_dwell_s": None,
        "flyers": [probe.flyer],
        "envelope": {"forbidden": forbidden},
    }
    result = RE(phases(probe, approve=both, **more)).plan_result
    assert [found.region.label for found in result.phase_maps] == ["two"]
    assert result.stop_reason == "all regions are scanned but one, which cannot be"


@pytest.mark.integration
def test_an_energy_that_reads_beyond_the_limits_is_set_again_as_it_was_asked_for(RE: RunEngine) -> None:
    ends = float(ENERGIES[0]), float(ENERGIES[-1])
    probe = microprobe(motors={"mono_energy": {"limits": ends, "resolution": 0.7}})  # 7160 eV reads 7160.3
    plan = phases(probe, flyers=[probe.flyer], max_energies=10, position_tolerance={"mono_energy": 0.5})
    (found,) = RE(plan).plan_result.phase_maps
    assert found.energies[-1] == ends[1]
    assert len(found.maps) == len(found.energies)


@pytest.mark.integration
def test_the_time_out_of_a_trigger_holds_where_the_energies_are_chosen(RE: RunEngine) -> None:
    probe = microprobe(faults=[Fault("timeout", 100, 200)])  # the coarse map has 96 points
    with pytest.raises(MeasurementError, match=r"0\.3 s"):
        RE(phases(probe, trigger_timeout_s=0.3, retries=0, max_failures=1))


@pytest.mark.integration
def test_energies_are_chosen_with_the_exposure_of_the_maps(RE: RunEngine, docs: Documents) -> None:
    probe = microprobe()
    RE(phases(probe, flyers=[probe.flyer]))
    spot = next(doc["uid"] for doc in starts(docs) if doc.get("ebl_survey", {}).get("spot"))
    (stream,) = [doc["uid"] for name, doc in docs.all if name == "descriptor" and doc["run_start"] == spot
                 and doc["name"] == "primary"]  # fmt: skip
    times = [doc["data"]["xrf_real_time"] for name, doc in docs.all
             if name == "event" and doc["descriptor"] == stream]  # fmt: skip
    assert set(times) == {0.03}


def test_without_detectors_at_a_point_no_energies_can_be_chosen(RE: RunEngine) -> None:
    probe = microprobe()
    with pytest.raises(BadInputError, match=r"detectors=\[\]: give detectors that are read at a point"):
        RE(phases(probe, detectors=[], flyers=[probe.flyer]))


def test_a_phase_whose_name_cannot_be_stored_is_refused_before_anything_moves(RE: RunEngine) -> None:
    probe = microprobe()
    references = {"FeO1.5": REFERENCES["low"].tolist(), "high": REFERENCES["high"].tolist()}
    home = probe.x.position
    with pytest.raises(BadInputError, match=r"references: the name 'FeO1.5' cannot be stored.*give it another name"):
        RE(phases(probe, references=references))
    options = {"references": references, "reference_energies": ENERGIES.tolist()}
    agent = {"agent": "energy", "vocs": {"variables": {"mono_energy": [7100.0, 7160.0]}, "observables": ["xanes_mu"]},
             "options": options}  # fmt: skip
    with pytest.raises(BadInputError, match=r"agent.options.references: the name 'FeO1.5' cannot be stored"):
        RE(adaptive_spectrum([probe.absorption], probe.energy, agent, max_points=4))
    assert probe.exposures == 0
    assert probe.x.position == home


@pytest.mark.parametrize("plan", [roi_survey, characterise, adaptive_spectrum])
def test_a_queue_takes_the_signature(plan: Any) -> None:
    check_plan_signature(plan)
