"""Maps: exposure, points in any order, finer pixels."""

import numpy as np
import pytest

from ebl_autonomy.analysis.regions import Maps
from ebl_autonomy.errors import BadInputError

X, Y = np.array([1.0, 1.5, 2.0]), np.array([9.0, 8.0])


def test_rates_are_per_live_second_at_the_median_intensity() -> None:
    counts = np.array([[10.0, 10.0, 20.0], [10.0, 10.0, 10.0]])
    live = np.array([[0.1, 0.05, 0.1], [0.1, 0.1, 0.0]])
    i0 = np.array([[100.0, 100.0, 200.0], [100.0, 50.0, 100.0]])
    maps = Maps({"Fe": counts}, X, Y, i0=i0, live=live, dwell_s=0.2)
    assert maps.rate("Fe") == pytest.approx(np.array([[100, 200, 100], [100, 200, np.nan]]), nan_ok=True)
    assert maps.exposure("Fe")[1, 2] == 0.0


def test_without_times_a_rate_is_counts_per_pixel() -> None:
    maps = Maps({"Fe": np.full((2, 3), 7.0)}, X, Y)
    assert (maps.rate("Fe") == 7.0).all()
    assert not maps.timed


def test_values_are_not_divided_by_time() -> None:
    maps = Maps({"mu": np.full((2, 3), -0.4)}, X, Y, live=0.1, i0=np.full((2, 3), 5.0), std={"mu": 0.1})
    assert (maps.rate("mu") == -0.4).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": {}}, "give at least one map"),
        ({"channels": {"Fe": np.zeros((3, 2))}}, r"shape \(3, 2\).*shape \(2, 3\)"),
        ({"channels": {"Fe": np.full((2, 3), -1.0)}}, "negative value -1.*std="),
        ({"x": np.array([0.0, 1.0, 3.0])}, "not evenly spaced.*from_points"),
        ({"x": np.array([0.0, 0.0, 0.0])}, "not evenly spaced"),
        ({"x": np.array([0.0, np.nan, 1.0])}, "finite"),
        ({"i0": np.ones(3)}, "i0 has the shape"),
        ({"std": {"Zn": 1.0}}, "Zn.*channels are"),
    ],
)
def test_wrong_maps_are_refused_with_the_remedy(change: dict, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        Maps(**{"channels": {"Fe": np.zeros((2, 3))}, "x": X, "y": Y, **change})


@pytest.mark.parametrize("jitter", [0.0, 0.03])
def test_points_of_a_snake_with_a_gap_become_the_grid(jitter: float) -> None:
    rng = np.random.default_rng(0)
    xs, ys = 5.0 + 0.5 * np.arange(12), -3.0 + 0.1 * np.arange(9)
    across, down = np.meshgrid(xs, ys)
    kept = rng.permutation(across.size)[:-5]
    columns = {
        "x": across.ravel()[kept] + 0.5 * jitter * rng.uniform(-1, 1, len(kept)),
        "y": down.ravel()[kept] + 0.1 * jitter * rng.uniform(-1, 1, len(kept)),
        "Fe": (across + 10.0 * down).ravel()[kept] + 30.0,
    }
    maps = Maps.from_points(columns, "x", "y", ["Fe"])
    assert maps.shape == (9, 12)
    assert maps.pixel == pytest.approx((0.5, 0.1), rel=0.02)
    assert np.isnan(maps.rate("Fe")).sum() == 5
    assert np.nanmax(np.abs(maps.rate("Fe") - (across + 10.0 * down + 30.0))) < 1e-9


def test_scattered_points_are_added_up_by_pixel() -> None:
    rng = np.random.default_rng(1)
    n = 400
    columns = {"x": rng.uniform(0, 8, n), "y": rng.uniform(0, 2, n), "Fe": rng.poisson(5.0, n), "t": np.full(n, 0.5)}
    maps = Maps.from_points(columns, "x", "y", ["Fe"], dwell="t", step=0.5)
    assert maps.pixel == pytest.approx((0.5, 0.5))
    assert np.nansum(maps.channels["Fe"]) == columns["Fe"].sum()
    assert maps.exposure("Fe").sum() == pytest.approx(0.5 * n)
    assert np.nanmean(maps.rate("Fe")) == pytest.approx(10.0, rel=0.1)
    without = Maps.from_points(columns, "x", "y", ["Fe"])
    assert 0.2 < np.prod(without.pixel) * n / 16.0 < 3.0


def test_points_without_beam_are_not_measured() -> None:
    columns = {
        "x": [0.0, 1.0, 2.0],
        "y": [0.0] * 3,
        "Fe": [4.0, 0.0, 8.0],
        "i0": [1.0, 0.0, 2.0],
        "mu": [1.0, 2.0, np.nan],
    }
    maps = Maps.from_points(columns, "x", "y", ["Fe", "mu"], i0="i0", std={"mu": 0.1})
    assert maps.rate("Fe")[0, [0, 2]] == pytest.approx([6.0, 6.0])  # at the median I0, 1.5
    assert np.isnan(maps.rate("Fe")[0, 1])
    assert list(np.isnan(maps.rate("mu")[0])) == [False, False, True]


def test_points_need_columns_and_positions() -> None:
    with pytest.raises(BadInputError, match=r"lack \['Fe'\].*\['x', 'y'\]"):
        Maps.from_points({"x": [1.0], "y": [1.0]}, "x", "y", ["Fe"])
    with pytest.raises(BadInputError, match="none of 1 points has a position"):
        Maps.from_points({"x": [np.nan], "y": [1.0], "Fe": [1.0]}, "x", "y", ["Fe"])
    with pytest.raises(BadInputError, match="size of a pixel must be positive"):
        Maps.from_points({"x": [1.0], "y": [1.0], "Fe": [1.0]}, "x", "y", ["Fe"], step=0.0)


def test_finer_pixels_keep_counts_rates_and_edges() -> None:
    counts = np.random.default_rng(0).poisson(50.0, (6, 8)).astype(float)
    counts[2, 3] = np.nan
    maps = Maps({"Fe": counts}, np.arange(8.0), -2.0 * np.arange(6.0), dwell_s=0.1)
    fine = maps.refined(5)
    assert fine.shape == (30, 40)
    assert fine.pixel == pytest.approx((0.2, 0.4))
    assert fine.x[0] == pytest.approx(-0.4)
    assert fine.y[0] == pytest.approx(0.8)
    assert np.nansum(fine.channels["Fe"]) == pytest.approx(np.nansum(counts), rel=0.03)
    assert fine.rate("Fe")[2::5, 2::5][0, 0] == pytest.approx(maps.rate("Fe")[0, 0])
    assert maps.refined(1) is maps
    with pytest.raises(BadInputError, match="positive whole number"):
        maps.refined(0)
