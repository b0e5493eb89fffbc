"""`beam_statistics` finds beams of known size and position in noisy images; undetermined values are NaN."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ebl_autonomy.analysis import beam_statistics, width_at_half_maximum

DARK = 100.0


def mean_image(peak: float, x0: float, y0: float, sx: float, sy: float) -> npt.NDArray[np.float64]:
    y, x = np.mgrid[:256, :256]
    image: npt.NDArray[np.float64] = DARK + peak * np.exp(-0.5 * ((x - x0) / sx) ** 2 - 0.5 * ((y - y0) / sy) ** 2)
    return image


def noisy(peak: float, x0: float, y0: float, sx: float, sy: float) -> npt.NDArray[Any]:
    return np.random.default_rng(0).poisson(mean_image(peak, x0, y0, sx, sy))


@pytest.mark.parametrize(("sx", "sy"), [(3.0, 2.0), (8.0, 15.0), (20.0, 4.0)])
def test_the_width_of_a_known_gaussian_is_found(sx: float, sy: float) -> None:
    peak = 20_000.0
    found = beam_statistics(noisy(peak, 100.3, 140.6, sx, sy), DARK, 1.0, 65535)
    assert found["state"] == "ok"
    assert found["fwhm_x"] == pytest.approx(2.3548 * sx, rel=0.03)
    assert found["fwhm_y"] == pytest.approx(2.3548 * sy, rel=0.03)
    assert found["centroid_x"] == pytest.approx(100.3 + 0.5 - 128, abs=0.1)
    assert found["centroid_y"] == pytest.approx(140.6 + 0.5 - 128, abs=0.1)
    assert found["total"] == pytest.approx(2 * math.pi * sx * sy * peak, rel=0.02)


def test_lengths_are_in_micrometres() -> None:
    image = noisy(20_000.0, 100.3, 140.6, 8.0, 15.0)
    pixels, micrometres = beam_statistics(image, DARK, 1.0, 65535), beam_statistics(image, DARK, 0.65, 65535)
    for key in ("centroid_x", "centroid_y", "fwhm_x", "fwhm_y"):
        assert micrometres[key] == pytest.approx(0.65 * pixels[key])
    assert micrometres["spot_area"] == pytest.approx(0.65**2 * pixels["spot_area"])
    assert micrometres["total"] == pixels["total"]


@pytest.mark.parametrize(
    ("image", "state", "place_is_known"),
    [
        (noisy(0.0, 128.0, 128.0, 5.0, 5.0), "no beam", False),
        (noisy(20_000.0, 0.0, 128.0, 5.0, 5.0), "off sensor", True),
        (np.minimum(noisy(80_000.0, 128.0, 128.0, 5.0, 5.0), 65535), "saturated", True),
    ],
)
def test_a_beam_that_cannot_be_measured_has_no_width(image: npt.NDArray[Any], state: str, place_is_known: bool) -> None:
    found = beam_statistics(image, DARK, 1.0, 65535)
    assert (found["state"], found["valid"]) == (state, 0)
    assert math.isnan(found["fwhm_x"])
    assert math.isnan(found["spot_area"])
    assert math.isfinite(found["centroid_x"]) == place_is_known
    assert (found["saturated_fraction"] > 0.0) == (state == "saturated")


def test_hot_pixels_are_left_out() -> None:
    image = noisy(20_000.0, 100.3, 140.6, 8.0, 15.0)
    hot = np.zeros(image.shape, dtype=bool)
    hot[7, 9] = hot[200, 30] = True
    expected = beam_statistics(image, DARK, 1.0, 65535, hot)
    image[hot] = 65535
    assert beam_statistics(image, DARK, 1.0, 65535, hot) == expected
    assert beam_statistics(image, DARK, 1.0, 65535)["state"] == "saturated"


def test_the_crossings_are_interpolated() -> None:
    # Half of 8 is crossed a quarter of the way from 5 to 1, and half way from 6 to 2.
    centroid, width = width_at_half_maximum(np.array([0.0, 1.0, 5.0, 8.0, 6.0, 2.0, 0.0]))
    assert width == pytest.approx((4 + 0.5) - (2 - 0.25))
    assert abs(centroid) < 0.5
    centroid, width = width_at_half_maximum(np.array([0.0, 1.0, 8.0]))
    assert math.isnan(width)
    assert centroid == 2.5 - 1.5
