"""The report on regions measures what it says."""

import math

import numpy as np
import pytest

from benchmarks import regions
from ebl_autonomy.errors import DataError


@pytest.fixture
def truth() -> regions.Truth:
    try:
        return regions.hxn()
    except DataError as error:
        pytest.skip(str(error))


def test_the_minority_phases_of_the_sample(truth: regions.Truth) -> None:
    assert truth.minorities == ["Pyrite", "StainlessSteelNP", "Hematite_NP"]
    areas = [truth.area(phase).sum() for phase in regions.MARKERS]
    assert sum(areas) == (truth.labels > 0).sum()
    assert areas[0] > 0.5 * sum(areas)


@pytest.mark.integration
def test_a_survey_holds_the_minorities_in_a_quarter_of_the_time(truth: regions.Truth) -> None:
    found = regions.survey(0, regions.COUNTS["bright"])
    assert min(found.inside.values()) >= 0.9
    assert found.time <= 0.25


@pytest.mark.integration
def test_markers_tell_phases_better_than_clusters_of_pixels(truth: regions.Truth) -> None:
    found = regions.label(0, regions.COUNTS["bright"])
    assert min(found.fine, found.coarse) > 0.33 > found.kmeans


def test_seconds_are_those_of_dwell_and_moves() -> None:
    path = [{"x": 0.0, "y": 0.0}, {"x": 1.0, "y": 0.0}, {"x": 1.0, "y": 1.0}]
    move = float(regions.STAGE.seconds(1.0))
    assert regions.seconds(path) == pytest.approx(3 * regions.DWELL_S + 2 * move)


def test_scores_of_all_and_of_nothing() -> None:
    labels = np.zeros((8, 8), dtype=int)
    labels[1:3, 1:3], labels[5:7, 5:7] = 1, 2
    perfect = regions.score([labels == 1, labels == 2], labels)
    assert perfect == regions.Score(1.0, 1.0, 1.0, 1.0)
    half = regions.score([labels == 1, labels == 0], labels)
    assert (half.recall, half.precision) == (0.5, 0.5)
    nothing = regions.score([], labels)
    assert (nothing.recall, nothing.pixels_found) == (0.0, 0.0)
    assert math.isnan(nothing.precision)


@pytest.mark.parametrize("kind", regions.SAMPLES)
def test_regions_of_procedural_samples_are_the_things(kind: str) -> None:
    ours = regions.against_truth(kind, 3e-3, 1)["find_regions"]
    assert ours.recall >= 0.7
    assert ours.precision >= 0.9
    assert ours.pixels_right >= 0.9
