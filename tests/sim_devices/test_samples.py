"""Samples of the microprobe: maps as they are given, clear refusals, and procedural truth that repeats itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.sim_devices import SimSample


def test_maps_are_kept_with_their_axes() -> None:
    fe = np.arange(12.0).reshape(3, 4)
    sample = SimSample.from_maps({"Fe": fe, "Cr": 0.0 * fe}, step_um=(0.5, 2.0), origin_um=(-1.0, 10.0))
    assert np.array_equal(sample.maps["Fe"], fe)
    assert sample.shape == (3, 4)
    assert list(sample.x_um) == [-1.0, -0.5, 0.0, 0.5]
    assert list(sample.y_um) == [10.0, 12.0, 14.0]
    assert sample.area_um == ((-1.25, 0.75), (9.0, 15.0))
    assert np.array_equal(sample.labels, fe > 1.1)
    with pytest.raises(ValueError, match="read-only"):
        sample.maps["Fe"][0, 0] = 7.0
    fe[0, 0] = 99.0
    assert sample.maps["Fe"][0, 0] == 0.0


def test_a_file_of_maps_is_a_sample(tmp_path: Path) -> None:
    np.savez(tmp_path / "maps.npz", Fe=np.eye(3), Cr=2.0 * np.eye(3))
    with np.load(tmp_path / "maps.npz") as file:
        sample = SimSample.from_maps(file, step_um=0.5)
    assert set(sample.maps) == {"Fe", "Cr"}
    assert np.array_equal(sample.maps["Cr"], 2.0 * np.eye(3))


@pytest.mark.parametrize("values", [np.zeros((1, 1)), np.full((1, 1), 3.0), np.full((4, 1), 2.0), np.zeros((5, 7))])
def test_constant_maps_and_single_pixels_are_samples(values: Any) -> None:
    sample = SimSample.from_maps({"Fe": values}, step_um=1.0)
    assert sample.shape == values.shape
    assert np.all(np.isfinite(sample.absorption(7000.0)))


GOOD = np.ones((3, 4))
HOLED = np.where(np.arange(12).reshape(3, 4) == 6, np.nan, 1.0)


@pytest.mark.parametrize(
    ("maps", "more", "said"),
    [
        ({}, {}, "at least one map"),
        ({"Fe": HOLED}, {}, r"'Fe' has 1 values that are not finite, the first at \(1, 2\): fill them"),
        ({"Fe": GOOD, "Cr": HOLED}, {}, "'Cr'"),
        ({"Fe": -GOOD}, {}, r"'Fe' holds -1.0: rates are 0 or above"),
        ({"Fe": GOOD, "Cr": np.ones((4, 3))}, {}, r"'Cr' has the shape \(4, 3\), the first one \(3, 4\)"),
        ({"Fe": np.ones(3)}, {}, r"shape \(3,\)"),
        ({"Fe": np.ones((0, 3))}, {}, "none of them empty"),
        ({"Fe": "iron"}, {}, "not an array of numbers"),
        ({"Fe K": GOOD}, {}, "'Fe K': use letters"),
        ({"Fe": GOOD}, {"step_um": 0.0}, "step_um=0.0: give positive"),
        ({"Fe": GOOD}, {"step_um": (1.0, 2.0, 3.0)}, "step_um="),
        ({"Fe": GOOD}, {"origin_um": (0.0, np.inf)}, "origin_um="),
        ({"Fe": GOOD}, {"background": -1.0}, "background=-1.0 of 'Fe'"),
        ({"Fe": GOOD}, {"background": {"Zn": 1.0}}, r"background names \['Zn'\]"),
        ({"Fe": GOOD}, {"labels": np.ones((2, 2))}, "labels has the shape"),
        ({"Fe": GOOD}, {"absorption": HOLED}, "absorption has 1 values"),
        ({"Fe": GOOD}, {"absorption": np.ones((9, 9))}, r"shape \(9, 9\)"),
        ({"Fe": GOOD}, {"absorption": ([1.0, 2.0], np.ones((3, 3, 4)))}, "3 maps for 2 energies"),
        ({"Fe": GOOD}, {"absorption": ([2.0, 1.0], np.ones((2, 3, 4)))}, "ascend"),
        ({"Fe": GOOD}, {"phases": {"a": GOOD}}, "phases= together with spectra="),
        ({"Fe": GOOD}, {"phases": {"a": GOOD}, "spectra": ([1.0, 2.0], {"b": [0.0, 1.0]})}, r"lacks the phases \['a'"),
        ({"Fe": GOOD}, {"phases": {"a": GOOD}, "spectra": ([1.0, 2.0], {"a": [0.0]})}, "one per energy"),
    ],
)  # fmt: skip
def test_what_is_no_sample_is_refused_with_the_remedy(maps: Any, more: Any, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        SimSample.from_maps(maps, **{"step_um": 1.0, **more})


def test_the_optical_depth_is_the_sum_of_the_phases() -> None:
    a, b = np.eye(3), 2.0 * np.ones((3, 3))
    spectra = ([7000.0, 7100.0, 7120.0], {"a": [0.0, 1.0, 3.0], "b": [0.5, 0.5, 1.0], "unused": [9.0, 9.0, 9.0]})
    sample = SimSample.from_maps({"Fe": a}, step_um=1.0, phases={"a": a, "b": b}, spectra=spectra)
    for energy, (mu_a, mu_b) in {6000.0: (0, 0.5), 7050.0: (0.5, 0.5), 7115.0: (2.5, 0.875), 9e3: (3, 1)}.items():
        assert sample.absorption(energy) == pytest.approx(mu_a * a + mu_b * b)


def test_a_stack_is_interpolated_between_its_energies() -> None:
    stack = np.arange(18.0).reshape(2, 3, 3)
    sample = SimSample.from_maps({"Fe": np.eye(3)}, step_um=1.0, absorption=([100.0, 200.0], stack))
    assert sample.absorption(100.0) == pytest.approx(stack[0])
    assert sample.absorption(175.0) == pytest.approx(0.25 * stack[0] + 0.75 * stack[1])


@pytest.mark.parametrize("make", [SimSample.cells, SimSample.particles, SimSample.grains])
def test_procedural_samples_repeat_by_seed_and_tell_the_truth(make: Any) -> None:
    one, same, other = make(5), make(5), make(6)
    for name, values in one.maps.items():
        assert np.array_equal(values, same.maps[name])
        assert not np.array_equal(values, other.maps[name])
    assert np.array_equal(one.labels, same.labels)
    objects = set(np.unique(one.labels)) - {0}
    assert objects == set(one.kinds)
    assert len(set(one.kinds.values())) > 1
    total = np.sum(list(one.maps.values()), axis=0)
    assert total[one.labels > 0].mean() > 10.0 * (total[one.labels == 0].mean() if (one.labels == 0).any() else 0.0)


@pytest.mark.parametrize(
    ("make", "kind", "channel"),
    [
        (SimSample.cells, "calcified cell", "Ca"),
        (SimSample.particles, "metal", "Cr"),
        (SimSample.grains, "austenite", "Ni"),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_a_channel_marks_the_kind_it_belongs_to(make: Any, kind: str, channel: str, seed: int) -> None:
    sample = make(seed)
    mean = {k: sample.maps[channel][sample.labels == k].mean() for k in sample.kinds}
    inside = [mean[k] for k, of in sample.kinds.items() if of == kind]
    others = [mean[k] for k, of in sample.kinds.items() if of != kind]
    assert inside
    assert min(inside) > 2.0 * max(others)


def test_options_of_procedural_samples_count() -> None:
    sample = SimSample.particles(1, count=9, shape=(80, 120), step_um=0.5, peak_rate=123.0, rare=3)
    assert sample.shape == (80, 120)
    assert max(float(values.max()) for values in sample.maps.values()) == pytest.approx(123.0)
    assert sorted(sample.kinds.values()).count("metal") == 3
    assert not any(values.any() for values in SimSample.cells(0, count=0).maps.values())
    with pytest.raises(BadInputError, match="count=-1"):
        SimSample.cells(0, count=-1)
    with pytest.raises(BadInputError, match="peak_rate=nan"):
        SimSample.grains(0, peak_rate=float("nan"))
