"""From maps to boxes in motor units: order, limits, merging, kinds, steps and dwell times."""

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

from ebl_autonomy.analysis.regions import Maps, Region, RegionOptions, Segment, feature_table, find_regions
from ebl_autonomy.errors import BadInputError

# Columns 0.4 wide and ascending, rows 0.1 high and descending.
X, Y = 5.0 + 0.4 * np.arange(50), (-2.0 + 0.1 * np.arange(60))[::-1]
ACROSS, DOWN = np.meshgrid(X, Y)


def box(x: tuple[float, float], y: tuple[float, float]) -> np.ndarray:
    across, down = np.meshgrid(X, Y)
    return (across > x[0]) & (across < x[1]) & (down > y[0]) & (down < y[1])


def maps_of(seed: int = 0, time: float = 0.1, **things: list[tuple[np.ndarray, float]]) -> Maps:
    """Counts of each channel, on 50 counts per second: masks and their rates."""
    rng = np.random.default_rng(seed)
    channels = {}
    for name, parts in things.items():
        rates = np.full(ACROSS.shape, 50.0)
        for mask, rate in parts:
            rates = rates + mask * rate
        channels[name] = rng.poisson(rates * time)
    return Maps(channels, X, Y, dwell_s=time)


BIG, SMALL, CORNER = box((8, 12), (0.5, 2)), box((15, 17), (-1, 0.2)), box((4, 6.1), (-2.1, -1.45))


def test_boxes_are_in_motor_units_whatever_the_axes() -> None:
    (found,) = find_regions(maps_of(Fe=[(BIG, 600.0)]), {"margin": 0.0})
    assert found.x == pytest.approx((8.0, 12.0), abs=0.21)
    assert found.y == pytest.approx((0.5, 2.0), abs=0.06)
    assert found.features["x"] == pytest.approx(10.0, abs=0.2)
    assert found.features["y"] == pytest.approx(1.25, abs=0.05)
    assert found.area == pytest.approx(6.0, rel=0.1)
    assert found.features["major"] > 2.0 * found.features["minor"]
    assert found.pixels == found.mask.sum() == found.features["pixels"]


def test_turned_axes_give_the_same_boxes() -> None:
    maps = maps_of(Fe=[(BIG, 600.0), (SMALL, 300.0)])
    turned = Maps({"Fe": maps.channels["Fe"][::-1, ::-1]}, X[::-1], Y[::-1], dwell_s=0.1)
    for one, other in zip(find_regions(maps), find_regions(turned), strict=True):
        assert (one.x, one.y) == (pytest.approx(other.x), pytest.approx(other.y))
        assert one.features == pytest.approx(other.features)


def test_the_margin_is_half_a_pixel_or_what_is_asked_for() -> None:
    maps = maps_of(Fe=[(BIG, 600.0)])
    (tight,), (usual,), (wide,) = (find_regions(maps, {"margin": m}) for m in (0.0, None, (1.0, 0.25)))
    assert usual.x == pytest.approx((tight.x[0] - 0.2, tight.x[1] + 0.2))
    assert wide.y == pytest.approx((tight.y[0] - 0.25, tight.y[1] + 0.25))


def test_boxes_never_leave_the_limits_and_say_when_they_are_cut() -> None:
    maps = maps_of(Fe=[(CORNER, 800.0), (BIG, 600.0)])
    limits = {"x": (5.0, 30.0), "y": (-2.0, 3.0)}
    found = find_regions(maps, {"limits": limits, "margin": 0.5})
    assert len(found) == 2
    for region in found:
        assert limits["x"][0] <= region.x[0] < region.x[1] <= limits["x"][1]
        assert limits["y"][0] <= region.y[0] < region.y[1] <= limits["y"][1]
    cut = [region for region in found if region.clipped]
    assert [region.x[0] for region in cut] == [5.0]
    assert "cut by the limits" in cut[0].reason
    outside = find_regions(maps, {"limits": {"x": (20.0, 30.0)}})
    assert outside == []
    assert "2 regions lie outside" in outside.reason


def test_what_is_the_same_thing_in_two_channels_is_one_region() -> None:
    maps = maps_of(Fe=[(BIG, 600.0)], Ca=[(BIG, 300.0), (SMALL, 500.0)])
    found = find_regions(maps)
    assert sorted(region.channel for region in found) == ["Ca", "Fe+Ca"]
    together = find_regions(maps, {"together": True})
    assert sorted(region.channel for region in together) == ["Ca", "Fe+Ca"]
    assert len(find_regions(maps, {"channels": ["Ca"]})) == 2


def test_overlapping_boxes_become_one_if_that_is_no_more_to_measure() -> None:
    inner = box((9, 11), (0.8, 1.5))
    (found,) = find_regions(maps_of(Fe=[(BIG, 600.0)], Zn=[(inner, 600.0)]), {"rank": "feature area ascending"})
    assert found.channel == "Zn"
    assert found.x == pytest.approx((7.8, 12.2), abs=0.21)
    assert "1 other region in the same box" in found.reason


def test_an_oblique_thing_in_parts_is_less_to_measure() -> None:
    oblique = (np.abs((ACROSS - 15.0) - 4.0 * DOWN) < 1.2) & (DOWN > -1.8) & (DOWN < 3.0)
    maps = maps_of(Fe=[(oblique, 900.0)])
    (whole,) = find_regions(maps, {"margin": 0.0})
    parts = find_regions(maps, {"margin": 0.0, "parts": 8})
    assert 4 <= len(parts) <= 8
    areas = [(p.x[1] - p.x[0]) * (p.y[1] - p.y[0]) for p in parts]
    assert sum(areas) < 0.5 * (whole.x[1] - whole.x[0]) * (whole.y[1] - whole.y[0])
    for x, y in zip(ACROSS[whole.mask], DOWN[whole.mask], strict=True):
        assert any(p.x[0] <= x <= p.x[1] and p.y[0] <= y <= p.y[1] for p in parts)


def test_rules_choose_and_confidence_follows() -> None:
    inner = box((9, 11), (0.8, 1.5))
    maps = maps_of(Fe=[(inner, 600.0), (SMALL, 600.0)], Ca=[(BIG, 400.0)], Zn=[(SMALL, 400.0)])
    (found,) = find_regions(maps, {"rules": ["Fe inside Ca and away from Zn by 2"]})
    assert found.channel == "Fe"
    assert found.x[0] > 8.0
    assert found.x[1] < 12.0
    assert "'Fe inside Ca and away from Zn by 2.0' holds" in found.reason
    both = find_regions(maps, {"rules": ["Fe inside Ca", "Fe inside Zn"]})
    assert len(both) == 2
    none = find_regions(maps, {"rules": ["Fe away from Zn by 500"]})
    assert none == []
    assert "none satisfies 'Fe away from Zn by 500.0'" in none.reason


def things() -> Maps:
    """Six alike, and one with more Cr."""
    masks = [box((x, x + 1.4), (0.0, 0.5)) for x in (6, 9, 12, 15, 18, 21)]
    other = box((10, 12), (2.0, 3.0))
    return maps_of(Fe=[(m, 900.0) for m in [*masks, other]], Cr=[(m, 100.0) for m in masks] + [(other, 900.0)])


@pytest.mark.parametrize("rank", ["ratio Cr/Fe", "rarity", "feature area", "ratio Fe/Cr ascending"])
def test_the_odd_one_comes_first(rank: str) -> None:
    found = find_regions(things(), {"rank": rank, "together": True})
    assert len(found) == 7
    assert found[0].y[0] > 1.5
    assert [one.label.split()[-1] for one in found] == list("1234567")


def test_kinds_are_soft_and_in_order_of_size_and_can_be_ranked_by() -> None:
    found = find_regions(things(), {"together": True, "clusters": 2, "rank": "cluster 1"})
    assert found[0].cluster == 1
    assert all(sum(one.memberships) == pytest.approx(1.0) for one in found)
    assert [one.cluster for one in found[1:]] == [0] * 6
    assert all(0.0 < min(one.memberships) < 0.5 for one in found[1:])


def test_similar_regions_come_first() -> None:
    found = find_regions(things(), {"together": True})
    odd = max(found, key=lambda one: one.y[0])
    ranked = find_regions(things(), {"together": True, "rank": {"by": "similarity", "to": odd.model_dump()}})
    assert ranked[0].y == odd.y
    assert ranked[0].score == pytest.approx(1.0)
    assert ranked[1].score < 0.5


def test_earlier_scans_make_a_kind_of_what_was_rare() -> None:
    now = things()
    alone = find_regions(now, {"together": True, "rank": "rarity"})
    table = feature_table(now, {"together": True})
    odd = max(table, key=lambda one: one["y"])
    pooled = find_regions(now, {"together": True, "rank": "rarity"}, earlier=[[odd] * 4, now])
    assert alone[0].y[0] > 1.5
    assert min(pooled, key=lambda one: one.score).y[0] > 1.5


def test_the_same_seed_gives_the_same_regions() -> None:
    options = {"together": True, "clusters": 3, "seed": 5}
    first, second = (find_regions(things(), options) for _ in range(2))
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    find_regions(things(), options)
    assert first == second
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_the_dwell_time_follows_the_weakest_channel_that_matters() -> None:
    maps = maps_of(Fe=[(BIG, 5000.0)], Cr=[(BIG, 150.0)], time=1.0)
    (found,) = find_regions(maps, {"together": True, "precision": 0.1})
    # 200 counts per second, 150 of them net: 200 t / (150 t)^2 = 0.01
    assert found.dwell_s == pytest.approx(200.0 / (0.1 * 150.0) ** 2, rel=0.1)
    assert "dwell time for Cr" in found.reason
    (iron,) = find_regions(maps, {"together": True, "dwell_channels": ["Fe"]})
    assert iron.dwell_s < 0.05
    (held,) = find_regions(maps, {"together": True, "dwell_limits": (0.01, 0.5)})
    assert held.dwell_s == 0.5
    untimed = Maps(dict(maps.channels), X, Y)
    assert find_regions(untimed, {"together": True})[0].dwell_s is None
    half_dead = Maps(dict(maps.channels), X, Y, live=1.0, dwell_s=2.0)
    assert find_regions(half_dead, {"together": True})[0].dwell_s == pytest.approx(2.0 * found.dwell_s, rel=1e-6)


def test_the_step_follows_the_beam_or_the_size() -> None:
    maps = maps_of(Fe=[(BIG, 600.0)])
    assert find_regions(maps, {"step": (0.05, 0.02)})[0].step == (0.05, 0.02)
    assert find_regions(maps, {"beam": 0.06})[0].step == (0.03, 0.03)
    (found,) = find_regions(maps, {"points_across": 40})
    assert find_regions(maps, {"points_across": 2})[0].step == pytest.approx((0.2, 0.05))  # half a coarse pixel
    narrower = min((side[1] - side[0]) / step for side, step in zip((found.x, found.y), found.step, strict=True))
    assert narrower == pytest.approx(40.0)


def test_regions_and_options_are_json() -> None:
    (found,) = find_regions(maps_of(Fe=[(BIG, 600.0)]))
    again = Region.model_validate(json.loads(json.dumps(found.model_dump(mode="json"), allow_nan=False)))
    assert again == found
    assert again.mask is None
    options = RegionOptions(rules=("Fe inside Ca",), rank="ratio Cr/Fe")
    assert RegionOptions.model_validate_json(options.model_dump_json()) == options


def test_segments_of_the_users_own() -> None:
    maps = maps_of(Fe=[(BIG, 600.0)])
    (found,) = find_regions(maps, {"rules": ["mine inside Fe"]}, segments=[Segment("mine", BIG & (ACROSS < 10), 0.8)])
    assert found.channel == "mine"
    assert found.confidence == pytest.approx(0.8, abs=0.01)
    with pytest.raises(BadInputError, match="'mine' has a mask of shape"):
        find_regions(maps, segments=[Segment("mine", BIG[:5], 1.0)])


def test_finer_outlines_of_a_coarse_map_fit_more_closely() -> None:
    x, y = 0.5 + np.arange(20.0), 0.5 + np.arange(20.0)
    across, down = np.meshgrid(x, y)
    radius = np.hypot(across - 10.0, down - 10.0)
    maps = Maps({"Fe": np.random.default_rng(0).poisson(5.0 + 3000.0 * np.clip(4.5 - radius, 0.0, 1.0))}, x, y)
    (coarse,), (fine,) = (find_regions(maps, {"refine": k, "margin": 0.0}) for k in (1, 5))
    # The square root of the rate has fallen by half at a radius of 4.23.
    assert fine.area == pytest.approx(np.pi * 4.23**2, rel=0.1)
    assert fine.x == pytest.approx((5.77, 14.23), abs=0.21)
    assert coarse.x == pytest.approx((6.0, 14.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": ["Fee"]}, "did you mean 'Fe'"),
        ({"rank": "ratio Cr/Fe"}, "options.rank: channel 'Cr'"),
        ({"rank": "feature aera"}, "did you mean 'area'"),
        ({"rank": "brightness"}, "is no order of regions: give 'confidence'"),
        ({"rank": {"by": "similarity"}}, "needs 'to'"),
        ({"rank": {"by": "similarity", "to": {"area": 1.0}}}, "the example lacks the feature"),
        ({"rules": ["Fe insde Ca"]}, "did you mean 'inside'"),
        ({"rules": ["Fe inside Cu"]}, "channel 'Cu'"),
        ({"limits": {"x": (2.0, 1.0)}}, "give \\(low, high\\)"),
        ({"scales": [2]}, "odd"),
        ({"margin": -1.0}, "margin"),
        ({"thresholds": {"Zn": 1.0}}, "channel 'Zn'"),
        ({"phases": {"markers": {"a": "Cr"}, "common": "Fe"}}, "options.phases.markers: channel 'Cr'"),
        ({"phases": {"markers": {"a": "Fe"}, "common": "Co"}}, "options.phases.common: channel 'Co'"),
        ({"maximum": 3}, "options.maximum: unknown"),
    ],
)
def test_wrong_options_are_refused_by_name(options: dict, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        find_regions(maps_of(Fe=[(BIG, 600.0)]), options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rules": ["Fe with aera above 1"]}, "options.rules: feature 'aera' is unknown, did you mean 'area'"),
        ({"rules": ["Fe with Cu/Fe above 1"]}, "options.rules: feature 'Cu/Fe' is unknown"),
        ({"rank": "feature Fe_nett"}, "options.rank: feature 'Fe_nett' is unknown, did you mean 'Fe_net'"),
    ],
)
def test_features_that_there_are_not_are_refused_before_anything_is_searched(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInputError, match=said):
        find_regions(maps_of(Fe=[]), options)


@pytest.mark.parametrize(
    "options", [{"rules": ["Fe with Cr/Fe above 0.2"]}, {"rank": "feature Cr_net"}, {"rank": "ratio Cr/Fe"}]
)
def test_a_region_in_which_a_channel_was_not_measured_comes_last_or_is_left_out(options: dict[str, Any]) -> None:
    maps = maps_of(Fe=[(BIG, 600.0), (SMALL, 600.0)], Cr=[(BIG, 300.0)])
    chromium = np.where(SMALL, np.nan, maps.channels["Cr"])
    maps = Maps({"Fe": maps.channels["Fe"], "Cr": chromium}, X, Y, dwell_s=0.1)
    found = find_regions(maps, {"channels": ["Fe"], "margin": 0.0, **options})
    assert found[0].x == pytest.approx((8.0, 12.0), abs=0.21)
    assert [region.confidence for region in found[1:]] == [0.0] * (len(found) - 1)


def test_many_scattered_points_on_a_large_map_need_little_memory() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0.0, 100.0, (2, 200_000))
    tracemalloc.start()
    maps = Maps.from_points({"x": x, "y": y, "Fe": np.ones(len(x))}, "x", "y", ["Fe"], step=0.1)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert maps.shape == (1001, 1001)
    assert np.nansum(maps.channels["Fe"]) == len(x)
    assert most < 300e6


def test_a_plus_in_the_name_of_a_channel_parts_nothing() -> None:
    rng = np.random.default_rng(4)
    bright = np.zeros(BIG.shape)
    bright[3:7, 4:9] = 80.0
    counts = {name: rng.poisson(1.0 + bright).astype(float) for name in ("Fe2+", "Fe3+")}
    maps = Maps(counts, np.arange(BIG.shape[1]), np.arange(BIG.shape[0]), dwell_s=0.1)
    (found,) = find_regions(maps, {"together": True})
    assert sorted(found.channels) == ["Fe2+", "Fe3+"]
    assert found.dwell_s is not None
    assert Region.model_validate_json(found.model_dump_json()).channels == found.channels


def rectangle(y: tuple[int, int], x: tuple[int, int]) -> np.ndarray:
    mask = np.zeros((50, 50), dtype=bool)
    mask[slice(*y), slice(*x)] = True
    return mask


@pytest.mark.parametrize("order", ["ABD", "BAD", "DAB", "ADB", "BDA", "DBA"])
def test_boxes_that_become_one_are_told_as_the_best_of_them(order: str) -> None:
    """Of three boxes in a row, the one in the middle overlaps both others."""
    masks = {"A": rectangle((10, 30), (5, 15)), "B": rectangle((10, 30), (18, 28)), "D": rectangle((10, 30), (8, 21))}
    channels = {name: np.random.default_rng(0).poisson(3.0 + 100.0 * mask) for name, mask in masks.items()}
    maps = Maps(channels, np.arange(50.0), np.arange(50.0), dwell_s=0.1)
    confidences = dict(zip(order, (0.99, 0.9, 0.8), strict=True))
    segments = [Segment(name, masks[name], confidences[name]) for name in "ABD"]
    (found,) = find_regions(maps, {"margin": 0.0}, segments=segments)
    assert (found.channel, found.confidence) == (order[0], 0.99)
    assert "2 other regions in the same box" in found.reason


@pytest.mark.parametrize("unit", [1.0, 1e-3])
@pytest.mark.parametrize("dwell_s", [0.1, None])
def test_the_unit_of_the_motors_joins_no_boxes(unit: float, dwell_s: float | None) -> None:
    """Values that are no counts suggest no dwell time."""
    values = np.random.default_rng(3).normal(1.0, 0.05, (60, 60))
    for y, x in ((5, 5), (50, 50), (5, 50), (50, 5)):
        values[y : y + 4, x : x + 4] += 2.0
    axis = unit * np.arange(60.0)
    maps = Maps({"od": values}, axis, axis, std={"od": 0.05}, dwell_s=dwell_s)
    assert len(find_regions(maps, {"overhead_s": 2.0, "step": 0.5 * unit})) == 4


def test_an_example_may_lack_a_channel_that_was_not_measured_around_it() -> None:
    maps = maps_of(Fe=[(BIG, 600.0), (SMALL, 300.0)], Cr=[(SMALL, 300.0)])
    cr = maps.channels["Cr"].astype(float)
    cr[box((6, 14), (-0.5, 3.0))] = np.nan
    maps = Maps({"Fe": maps.channels["Fe"], "Cr": cr}, X, Y, dwell_s=0.1)
    options = {"channels": ["Fe"]}
    example = next(one for one in find_regions(maps, options) if one.x[0] < 10.0 < one.x[1])
    assert "Cr_net" not in example.features
    first, second = find_regions(maps, {**options, "rank": {"by": "similarity", "to": example}})
    assert (first.x, first.score) == (example.x, 1.0)
    assert second.score < 0.9


def test_one_thing_of_a_rare_kind_among_thousands_is_ranked_like_others() -> None:
    rates = np.full((330, 330), 2.0)
    for row in range(4, 326, 8):
        for column in range(4, 326, 8):
            rates[row : row + 2, column : column + 2] = 100.0
    rates[100:140, 100:103] = 400.0
    axis = np.arange(330.0)
    found = find_regions(Maps({"Fe": np.random.default_rng(5).poisson(rates)}, axis, axis, dwell_s=0.1), {})
    assert len(found) > 1000


@pytest.mark.parametrize("gap", [4, 12, 20])
def test_the_background_is_sought_beyond_what_was_not_measured(gap: int) -> None:
    thing, around = np.zeros((2, 80, 80), dtype=bool)
    thing[38:41, 38:41] = around[38 - gap : 41 + gap, 38 - gap : 41 + gap] = True
    counts = np.random.default_rng(0).poisson(np.where(thing, 200.0, 5.0)).astype(float)
    counts[around & ~thing] = np.nan
    (found,) = find_regions(Maps({"Fe": counts}, np.arange(80.0), np.arange(80.0), dwell_s=0.1), {})
    assert found.confidence > 0.99
    assert found.features["Fe_background"] == pytest.approx(50.0, abs=15.0)
