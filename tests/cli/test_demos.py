"""The demos of the microprobe: what they say is computed, and the same each time."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call, call_here

from ebl_autonomy import connect
from ebl_autonomy.cli.demo_roi import share_inside
from ebl_autonomy.cli.demo_xanes import true_amounts
from ebl_autonomy.cli.samples import FEW, grid_of, raster_seconds, sample_of, true_counts
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.sim_devices import SimMicroprobe

WALL = ("seconds_wall", "uid", "report")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of two maps: two bright squares."""
    maps = {name: np.full((24, 32), 100.0) for name in ("Fe", "Zn")}
    maps["Fe"][3:9, 4:10] = 2e4
    maps["Zn"][14:20, 20:27] = 1e4
    path = tmp_path_factory.mktemp("sample") / "two.npz"
    np.savez(path, **maps, step_um=0.5, note=np.array("squares"))
    return Path(path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose data are served while the tests run, so that each demo joins that server."""
    folder = tmp_path_factory.mktemp("served")
    with connect(None, directory=folder / "data"):
        yield folder


def demo(folder: Path, *arguments: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(call("demo", *arguments, "--json", "--output", "out", folder=folder).stdout)
    assert json.loads((folder / "out" / "summary.json").read_text()) == result
    assert (folder / "out" / "report.html").read_text().count("<svg") >= 3
    return result


@pytest.mark.integration
def test_a_map_is_scored_and_the_same_each_time(sample: Path, served: Path) -> None:
    first, again = (demo(served, "map", "--sample", str(sample), "--points", "60", "--seed", "2") for _ in range(2))
    assert {k: v for k, v in first.items() if k not in WALL} == {k: v for k, v in again.items() if k not in WALL}
    assert (first["points"], first["pixels"]) == (60, 24 * 32)
    assert set(first["channels"]) == {"xrf_Fe", "xrf_Zn"}
    for of in ("adaptive", "same_points", "same_time"):
        mean = np.mean([one[of]["nrmse"] for one in first["channels"].values()])
        assert first["mean"][of]["nrmse"] == pytest.approx(mean)
        assert 0.0 < mean < 1.5
    assert first["dose_saved"] == pytest.approx(1.0 - 60 / (24 * 32))
    assert 60 * 0.05 < first["seconds_beamline"] < 60.0


@pytest.mark.integration
@pytest.mark.parametrize("flies", [[], ["--fly"]])
def test_a_survey_tells_its_regions_and_its_time(sample: Path, served: Path, flies: list[str]) -> None:
    result = demo(served, "roi", "--sample", str(sample), *flies)
    assert len(result["regions"]) == result["scans"] == 2
    assert result["labelled_inside"] == 1.0
    assert (6 * 6 + 6 * 7) / (24 * 32) <= result["area_scanned"] < 0.5
    assert 0.0 < result["seconds_beamline"] < result["seconds_raster"]


@pytest.mark.integration
def test_phases_are_compared_with_the_truth(served: Path) -> None:
    result = demo(served, "xanes", "--regions", "1", "--energies", "4", "--fly")
    (one,) = result["phases"]
    assert len(one["energies"]) == 4
    assert result["energies_known"] == 71
    for name, share in one["truth"].items():
        assert one["found"][name] == pytest.approx(share, abs=0.1)
    assert sum(one["truth"].values()) == pytest.approx(1.0)
    assert one["rms_error"] < 0.1


@pytest.mark.integration
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["demo", "--seed", "3", "map"], "--seed before 'map'"),
        (["demo", "map", "--sample", "moon"], "--sample='moon': use one of"),
        (["demo", "roi", "--sample", "no.npz"], "--sample='no.npz': there is no such file"),
        (["demo", "map", "--share", "0"], "--share=0.0"),
        (["demo", "map", "--share", "nan"], "--share=nan"),
        (["demo", "map", "--points", "0"], "--points=0"),
        (["demo", "roi", "--regions", "0"], "--regions=0"),
        (["demo", "xanes", "--sample", "cells"], "has no chemical phases: use particles or grains"),
        (["demo", "xanes", "--energies", "3"], "--energies=3: 3 phases need at least 4 energies"),
        (["demo", "mpa"], "mpa"),
    ],
)
def test_a_mistake_is_told_before_anything_is_measured(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = call_here(*arguments, folder=tmp_path, code=2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arrays", "says"),
    [({"stack": np.zeros((2, 3, 3))}, "no array of two dimensions, but stack"), ({}, "but nothing")],
)
def test_a_file_without_maps_says_what_it_holds(arrays: dict[str, Any], says: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(BadInputError, match=says):
        sample_of(str(tmp_path / "a.npz"), 0)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("text")
    with pytest.raises(BadInputError, match="is no file of arrays"):
        sample_of(str(tmp_path / "a.npz"), 0)


def test_true_counts_are_the_mean_of_readings() -> None:
    probe = SimMicroprobe(sample_of("cells", 1, {"cells": {"shape": (20, 20)}}), seed=1, dwell_s=2.0)
    grid = grid_of(probe.sample)
    truth = true_counts(probe, grid, 2.0)
    row, column = np.unravel_index(np.argmax(truth["xrf_K"]), grid.shape)
    probe.x.set(float(grid.centres_x[column]))
    probe.y.set(float(grid.centres_y[row]))
    probe.xrf.trigger()
    read = probe.xrf.read()["xrf_K"]["value"]
    assert read == pytest.approx(truth["xrf_K"][row, column], abs=5.0 * math.sqrt(read))


@pytest.mark.parametrize("flies", [False, True])
def test_seconds_of_a_raster_are_those_of_its_rows(flies: bool) -> None:
    sample = sample_of("cells", 1, {"cells": {"shape": (10, 20)}})
    seconds = raster_seconds(SimMicroprobe(sample), grid_of(sample), 0.1, flies)
    assert 200 * 0.1 < seconds < (30.0 if flies else 60.0)


def test_what_is_inside_boxes_is_counted_once() -> None:
    sample = sample_of("particles", 0, FEW)
    x, y = sample.area_um
    assert share_inside(sample, [(x, y), (x, y)]) == (1.0, 1.0)
    assert share_inside(sample, []) == (0.0, 0.0)
    half = share_inside(sample, [((x[0], 0.5 * (x[0] + x[1])), y)])
    assert half[1] == pytest.approx(0.5)


def test_true_amounts_at_the_centres_are_the_samples_own() -> None:
    sample = sample_of("particles", 0, FEW)
    found = true_amounts(sample, sample.x_um[3:9], sample.y_um[:4])
    for name, weights in zip(sample.depth.names, sample.depth.weights, strict=True):
        assert found[name] == pytest.approx(weights[:4, 3:9])
