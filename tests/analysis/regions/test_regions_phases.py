"""Phases from marker elements, and labels from any weights."""

import numpy as np
import pytest

from ebl_autonomy.analysis.regions import (
    Maps,
    dominant_phase,
    find_regions,
    marker_ratios,
    minority_phases,
    phase_maps,
    phase_segments,
)
from ebl_autonomy.errors import BadInputError

SHAPE = (40, 50)
MARKERS = {"phosphate": "P", "sulfide": "S", "oxide": None}
RATIOS = {"P": 0.2, "S": 0.5}


@pytest.fixture
def sample() -> tuple[Maps, np.ndarray]:
    """Fe everywhere on the sample: mostly phosphate, a sulfide and an oxide."""
    labels = np.zeros(SHAPE, dtype=int)
    labels[5:35, 5:45] = 1
    labels[8:16, 8:16] = 2
    labels[20:30, 30:42] = 3
    iron = np.where(labels > 0, 900.0, 3.0)
    rng = np.random.default_rng(0)
    rates = {"Fe": iron, "P": 2.0 + (labels == 1) * 0.2 * iron, "S": 2.0 + (labels == 2) * 0.5 * iron}
    maps = Maps({name: rng.poisson(one) for name, one in rates.items()}, np.arange(50.0), np.arange(40.0))
    return maps, labels


def test_markers_tell_the_phases(sample: tuple[Maps, np.ndarray]) -> None:
    maps, labels = sample
    assert marker_ratios(maps, ["P", "S"], "Fe") == pytest.approx(RATIOS, rel=0.1)
    for ratios in (None, RATIOS):
        found = dominant_phase(phase_maps(maps, MARKERS, "Fe", ratios=ratios, window=1).channels, labels > 0)
        assert (found == labels).mean() > 0.97


def test_shares_add_up_and_have_honest_noise(sample: tuple[Maps, np.ndarray]) -> None:
    maps, labels = sample
    shares = phase_maps(maps, MARKERS, "Fe", ratios=RATIOS, window=1)
    total = sum(shares.channels.values())
    assert total[labels > 0] == pytest.approx(1.0)
    inside = labels == 2
    values, noise = shares.channels["phosphate"][labels == 1], shares.std["phosphate"][labels == 1]
    assert 0.5 < np.std(values) / np.median(noise) < 1.5
    assert np.median(shares.channels["sulfide"][inside]) == pytest.approx(1.0, abs=0.05)


def test_minority_phases_become_regions(sample: tuple[Maps, np.ndarray]) -> None:
    maps, labels = sample
    shares = phase_maps(maps, MARKERS, "Fe", present=labels > 0)
    assert minority_phases(shares.channels) == ("sulfide", "oxide")
    found = find_regions(maps, {"phases": {"markers": MARKERS, "common": "Fe"}, "min_pixels": 20})
    assert sorted(region.channel for region in found) == ["oxide", "sulfide"]
    for region in found:
        truth = labels == (2 if region.channel == "sulfide" else 3)
        assert (region.mask & truth).sum() >= 0.9 * truth.sum()
        assert region.confidence > 0.9
    (one,) = find_regions(maps, {"phases": {"markers": MARKERS, "common": "Fe", "wanted": ["oxide"]}, "min_pixels": 20})
    assert one.channel == "oxide"


def test_labels_from_any_weights() -> None:
    weights = {"a": np.array([[1.0, 0.2, 0.0, np.nan]]), "b": np.array([[0.5, 0.3, 0.0, 1.0]])}
    assert dominant_phase(weights).tolist() == [[1, 2, 0, 2]]
    assert dominant_phase(weights, [[True, False, True, True]]).tolist() == [[1, 0, 0, 2]]


def test_no_sample_and_wrong_names_have_clear_outcomes(sample: tuple[Maps, np.ndarray]) -> None:
    maps, _ = sample
    empty = Maps({name: np.zeros(SHAPE) for name in maps.channels}, maps.x, maps.y)
    found = find_regions(empty, {"phases": {"markers": MARKERS, "common": "Fe"}})
    assert (found, found.reason) == ([], "Fe: no counts anywhere: count longer, or check the detector")
    with pytest.raises(BadInputError, match="nowhere significant"):
        marker_ratios(empty, ["P"], "Fe")
    with pytest.raises(BadInputError, match="have no marker: one phase at most"):
        phase_maps(maps, {"a": None, "b": None}, "Fe")
    with pytest.raises(BadInputError, match="did you mean 'oxide'"):
        phase_segments(phase_maps(maps, MARKERS, "Fe"), ["oxyde"])
