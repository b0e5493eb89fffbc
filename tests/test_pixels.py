"""The pixels of a map fill its rectangle, and every position inside belongs to one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.pixels import PixelGrid


def test_pixels_fill_the_rectangle_exactly() -> None:
    grid = PixelGrid.of_step((-1.0, 2.0), (10.0, 11.0), (0.5, 0.3))
    assert (grid.shape, grid.size) == ((3, 6), 18)
    assert grid.step == pytest.approx((0.5, 1.0 / 3.0))
    assert (grid.edges_x[0], grid.edges_x[-1]) == (-1.0, 2.0)
    assert grid.centres_x == pytest.approx([-0.75, -0.25, 0.25, 0.75, 1.25, 1.75])
    assert grid.centres_y == pytest.approx([10 + 1 / 6, 10.5, 11 - 1 / 6])


@given(
    st.floats(-1e6, 1e6),
    st.floats(1e-3, 1e6),
    st.integers(1, 300),
    st.integers(1, 300),
)
def test_each_centre_is_in_its_own_pixel(low: float, width: float, rows: int, columns: int) -> None:
    grid = PixelGrid((low, low + width), (-width, width), (rows, columns))
    x, y = np.meshgrid(grid.centres_x, grid.centres_y)
    row, column = grid.indices(x.ravel(), y.ravel())
    assert np.array_equal(row * columns + column, np.arange(grid.size))


def test_edges_belong_to_the_map_and_what_is_outside_to_no_pixel() -> None:
    grid = PixelGrid((0.0, 1.0), (0.0, 1.0), (2, 4))
    row, column = grid.indices([0.0, 1.0, 1.2, np.nan, 0.5], [0.0, 1.0, 0.5, 0.5, -3.0])
    assert row.tolist() == [0, 1, -1, -1, -1]
    assert column.tolist() == [0, 3, -1, -1, -1]


def test_a_step_larger_than_the_map_is_one_pixel() -> None:
    assert PixelGrid.of_step((0.0, 1.0), (0.0, 4.0), 10.0).shape == (1, 1)


@pytest.mark.parametrize("step", [0.0, -1.0, np.nan, [1.0, 2.0, 3.0], [1.0, 0.0], 1e-9])
def test_a_wrong_step_is_refused(step: object) -> None:
    with pytest.raises(BadInputError, match=r"step=|shape="):
        PixelGrid.of_step((0.0, 1.0), (0.0, 1.0), step)  # type: ignore[arg-type]


@pytest.mark.parametrize("x", [(1.0, 0.0), (0.0, 0.0), (0.0, np.inf), (np.nan, 1.0)])
def test_a_wrong_interval_is_refused(x: tuple[float, float]) -> None:
    with pytest.raises(BadInputError, match=r"x=.*lower one first"):
        PixelGrid(x, (0.0, 1.0), (2, 2))


def test_a_snake_passes_every_pixel_once_and_moves_by_one() -> None:
    grid = PixelGrid((0.0, 3.0), (10.0, 12.0), (2, 3))
    assert grid.snake().tolist() == [0, 1, 2, 5, 4, 3]
    x, y = grid.centres(grid.snake())
    assert x.tolist() == [0.5, 1.5, 2.5, 2.5, 1.5, 0.5]
    assert y.tolist() == [10.5] * 3 + [11.5] * 3


def test_readings_become_the_mean_of_each_pixel() -> None:
    grid = PixelGrid((0.0, 3.0), (0.0, 2.0), (2, 3))
    readings = [
        (0.5, 0.5, 1.0),
        (0.9, 0.1, 3.0),  # the same pixel again
        (0.5, 0.5, np.nan),  # a reading that is none
        (1.0, 0.5, 5.0),  # between two columns: the right one
        (2.5, 1.0, 7.0),  # between two rows: the upper one
        (3.0, 2.0, 9.0),  # the last corner
        (3.5, 0.5, 100.0),  # outside
        (0.5, -0.5, 100.0),
        (np.nan, 0.5, 100.0),  # nowhere
        (1.5, 1.5, np.nan),  # a pixel with no reading at all
    ]
    x, y, values = np.array(readings).T
    expected = np.array([[2.0, 5.0, np.nan], [np.nan, np.nan, 8.0]])
    assert np.array_equal(grid.mean(x, y, values), expected, equal_nan=True)
    assert grid.numbers(x, y).tolist() == [0, 0, 0, 1, 5, 5, -1, -1, -1, 4]
    assert np.isnan(grid.mean([], [], [])).all()


@given(st.lists(st.tuples(st.floats(-2, 5), st.floats(-2, 5), st.floats(-1e6, 1e6)), max_size=30))
def test_no_reading_inside_is_lost_and_none_outside_counts(readings: list[tuple[float, float, float]]) -> None:
    grid = PixelGrid((0.0, 3.0), (0.0, 2.0), (4, 5))
    x, y, values = np.array(readings, dtype=float).reshape(-1, 3).T
    pixel, found = grid.numbers(x, y), grid.mean(x, y, values).ravel()
    clear = (np.abs(x - 1.5) < 1.5) & (np.abs(y - 1.0) < 1.0)
    assert (pixel[clear] >= 0).all()
    for number in range(grid.size):
        own = values[pixel == number]
        assert found[number] == pytest.approx(own.mean()) if len(own) else np.isnan(found[number])
