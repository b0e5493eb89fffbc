"""Characterisations: the phases of each region, at the energies that tell them apart, as a record of their own."""

import html
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from microprobes import ENERGIES, REFERENCES, STEP, area, microprobe, starts
from simple import Documents

from ebl_autonomy import read_run
from ebl_autonomy.cli.lists import run_lines
from ebl_autonomy.data import Connection, runs
from ebl_autonomy.errors import BadInputError, DataError, MeasurementError
from ebl_autonomy.plans import adaptive_spectrum, characterise, go_to_best
from ebl_autonomy.records import PhaseMapsRecord
from ebl_autonomy.report import report_contents, write_report
from ebl_autonomy.sim_devices import Fault, SimMicroprobe
from ebl_autonomy.steering import restore_session

FE = "xrf_Fe"


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
