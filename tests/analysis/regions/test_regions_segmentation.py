"""Segments: noise gives none, faint things are found, and every degenerate map has a clear outcome."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebl_autonomy.analysis.regions import Maps, find_regions, segment

SHAPE = (30, 40)


def maps_of(rates: np.ndarray, seed: int = 0, **more) -> Maps:
    ny, nx = rates.shape
    counts = np.random.default_rng(seed).poisson(np.nan_to_num(rates)).astype(float)
    return Maps({"Fe": np.where(np.isnan(rates), np.nan, counts)}, 0.5 * np.arange(nx), 0.2 * np.arange(ny), **more)


def with_square(background: float, square: float, size: int = 6) -> np.ndarray:
    rates = np.full(SHAPE, background)
    rates[10 : 10 + size, 20 : 20 + size] = square
    return rates


@pytest.mark.parametrize("mean", [0.02, 0.5, 5.0, 300.0])
def test_noise_alone_gives_hardly_ever_a_region(mean: float) -> None:
    found = [find_regions(maps_of(np.full(SHAPE, mean), seed)) for seed in range(60)]
    assert sum(map(bool, found)) <= 3
    assert "more than chance" in found[0].reason


def test_a_lone_pixel_counts_if_it_is_no_accident() -> None:
    rates = np.full(SHAPE, 5.0)
    counts = np.random.default_rng(0).poisson(rates).astype(float)
    counts[8, 9] = 14.0  # of 1200 pixels, one is expected above 14
    axes = (np.arange(40.0), np.arange(30.0))
    assert not find_regions(Maps({"Fe": counts}, *axes))
    counts[8, 9] = 80.0
    (found,) = find_regions(Maps({"Fe": counts}, *axes))
    assert (found.pixels, found.x, found.y) == (1, (8.0, 10.0), (7.0, 9.0))


def test_a_faint_large_thing_is_found_and_a_bright_one_keeps_its_outline() -> None:
    faint = segment(maps_of(with_square(2.0, 5.0, 9)), "Fe")
    (thing,) = faint.segments
    truth = with_square(0.0, 1.0, 9) > 0
    assert (thing.mask & truth).sum() / (thing.mask | truth).sum() > 0.6
    (bright,) = segment(maps_of(with_square(10.0, 500.0)), "Fe").segments
    assert (bright.mask == (with_square(0.0, 1.0) > 0)).all()


def test_rare_and_common_things_are_found() -> None:
    """Otsu's threshold of the whole map would split the background, or the large thing."""
    rare = np.full((80, 80), 10.0)
    rare[40:43, 40:43] = 60.0
    (found,) = segment(maps_of(rare, 1), "Fe").segments
    assert 7 <= found.mask.sum() <= 12
    common = np.full((40, 40), 100.0)
    common[:, :12] = 10.0
    (found,) = segment(maps_of(common), "Fe").segments
    assert found.mask[:, 13:].mean() > 0.98


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros(SHAPE), "no counts anywhere"),
        (np.full(SHAPE, 65535.0), "everywhere, as a saturated detector shows"),
        (np.full(SHAPE, np.nan), "no pixel was measured"),
        (np.full((1, 1), 12.0), "one pixel has no surroundings"),
    ],
)
def test_degenerate_maps_give_an_empty_list_with_the_reason(values: np.ndarray, reason: str) -> None:
    ny, nx = values.shape
    found = find_regions(Maps({"Fe": values}, np.arange(float(nx)), np.arange(float(ny))))
    assert found == []
    assert reason in found.reason


def test_a_saturated_detector_is_told_from_its_limit_or_its_live_time() -> None:
    counts = np.full(SHAPE, 1000.0)
    counts[0, 0] = 900.0
    axes = (np.arange(40.0), np.arange(30.0))
    found = find_regions(Maps({"Fe": counts}, *axes, dwell_s=0.1), {"saturation": 1e4})
    assert "saturated at 10000" in found.reason
    assert "no live time" in find_regions(Maps({"Fe": counts}, *axes, live=0.0)).reason


def test_rows_that_were_not_measured_are_no_regions_and_split_none() -> None:
    rates = with_square(5.0, 60.0, 9)
    rates[[3, 14], :] = np.nan
    (found,) = segment(maps_of(rates), "Fe").segments
    assert found.mask.sum() >= 70
    assert found.mask[14, 24]


def test_a_line_and_a_map_of_two_rows_work() -> None:
    for ny in (1, 2):
        rates = np.full((ny, 60), 5.0)
        rates[:, 20:26] = 80.0
        (found,) = find_regions(maps_of(rates))
        assert found.x == pytest.approx((9.5, 13.0), abs=1.01)


def test_values_with_known_and_with_estimated_noise() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(-0.2, 0.05, SHAPE)
    values[5:12, 5:12] += 0.6
    for std in (0.05, None):
        maps = Maps({"mu": values}, np.arange(40.0), np.arange(30.0), std={"mu": std})
        (found,) = segment(maps, "mu").segments
        assert 40 <= found.mask.sum() <= 55
    noise = Maps({"mu": rng.normal(0.0, 1.0, SHAPE)}, np.arange(40.0), np.arange(30.0), std={"mu": None})
    assert not find_regions(noise)


def test_a_threshold_of_the_user_replaces_otsu() -> None:
    rates = with_square(5.0, 100.0, 8)
    rates[2:8, 2:8] = 40.0
    assert len(segment(maps_of(rates), "Fe", threshold=20.0).segments) == 2
    assert len(segment(maps_of(rates), "Fe", threshold=70.0).segments) == 1


def test_confidence_is_a_probability_that_noise_seldom_reaches() -> None:
    """With a tenth of the evidence asked for, noise gives regions; their confidence says so."""
    sure = 0
    for seed in range(60):
        found = segment(maps_of(np.full(SHAPE, 5.0), seed), "Fe", false_alarms=1.0, min_confidence=0.0)
        sure += any(one.confidence > 0.9 for one in found.segments)
        assert all(0.0 <= one.confidence <= 1.0 for one in found.segments)
    assert sure <= 6


@given(
    seed=st.integers(0, 10_000),
    background=st.floats(1.0, 100.0),
    contrast=st.floats(0.1, 5.0),
    factor=st.floats(1.5, 10.0),
)
@settings(max_examples=40, deadline=None)
def test_more_contrast_or_more_counts_give_more_confidence(
    seed: int, background: float, contrast: float, factor: float
) -> None:
    from ebl_autonomy.analysis.regions.evidence import Evidence
    from ebl_autonomy.analysis.regions.segmentation import confidence_of

    mask = with_square(0.0, 1.0) > 0

    def confidence(inside: float, outside: float) -> float:  # of the expected counts, so that no luck is in it
        maps = Maps({"Fe": np.where(mask, inside, outside)}, np.arange(40.0), np.arange(30.0))
        return confidence_of(Evidence.of(maps, "Fe"), mask, mask)

    usual = confidence(background * (1.0 + contrast), background)
    assert confidence(background * (1.0 + factor * contrast), background) >= usual
    assert confidence(factor * background * (1.0 + contrast), factor * background) >= usual


def test_a_region_on_a_texture_is_less_sure_than_one_on_an_even_background() -> None:
    texture = np.exp(np.random.default_rng(0).normal(0.0, 0.4, SHAPE))
    (even,) = segment(maps_of(with_square(1e3, 2e3, 3)), "Fe").segments
    uneven = segment(maps_of(with_square(1e3, 2e3, 3) * texture), "Fe", min_confidence=0.0).segments
    sure = [one.confidence for one in uneven if one.mask[11, 21]]
    assert even.confidence > 0.99
    assert max(sure, default=0.0) < 0.5


def discs(rates: np.ndarray, height: float, places: list[tuple[int, int]]) -> np.ndarray:
    """Where discs of radius 4 are; adds `height` to the rates there."""
    down, across = np.indices(rates.shape)
    where = np.any([(down - row) ** 2 + (across - column) ** 2 < 16 for row, column in places], axis=0)
    rates[where] += height
    return where


@pytest.mark.parametrize("slope", [100.0, 300.0])
@pytest.mark.parametrize("descends", [False, True])
def test_a_background_that_slopes_is_no_thing(slope: float, descends: bool) -> None:
    rates = np.tile(10.0 + slope * np.linspace(0.0, 1.0, 60), (60, 1))
    rates = (rates[:, ::-1] if descends else rates.T).copy()
    truth = discs(rates, 120.0, [(10, 10), (30, 45), (48, 15), (50, 50)])
    found = segment(maps_of(rates), "Fe")
    assert len(found.segments) == 4
    assert (found.mask & truth).sum() / (found.mask | truth).sum() > 0.8
    assert np.ptp(found.background) == pytest.approx(slope, rel=0.1)


def test_half_of_the_map_is_a_thing_and_no_slope() -> None:
    rates = np.full((40, 40), 6.0)
    rates[:, 20:] = 120.0
    found = segment(maps_of(rates), "Fe")
    assert len(found.segments) == 1
    assert (found.mask == (rates > 50.0)).mean() > 0.99


@pytest.mark.parametrize("dim", [30.0, 200.0])
def test_a_bright_thing_does_not_hide_a_dim_one(dim: float) -> None:
    rates = np.full((40, 80), 6.0)
    bright = discs(rates, 3000.0, [(20, 20)])
    faint = discs(rates, dim, [(20, 60)])
    found = segment(maps_of(rates), "Fe")
    assert len(found.segments) == 2
    for truth in (bright, faint):
        assert (found.mask & truth).sum() / truth.sum() > 0.85
    assert (found.mask & ~bright & ~faint).sum() <= 8


def test_each_of_many_specks_is_a_region() -> None:
    """Red before: joining boxes took the cube of their number, minutes for these."""
    rng = np.random.default_rng(0)
    hot = rng.random((130, 130)) < 0.015
    found = find_regions(Maps({"Fe": rng.poisson(2.0 + 60.0 * hot)}, np.arange(130.0), np.arange(130.0)))
    specks = int(hot.sum())
    assert 0.75 * specks < len(found) <= specks
    assert sum(region.pixels for region in found) == pytest.approx(specks, rel=0.1)
