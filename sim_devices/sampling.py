"""What the beam of the microprobe sees: maps blurred by the beam once, then sampled at any position in microseconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numba import njit
from scipy.ndimage import gaussian_filter

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.sim_devices.optics import FWHM_PER_SIGMA
from ebl_autonomy.space import FloatArray

__all__ = ["Sampler"]

REACH: Final = 4.0
"""Standard deviations after which the beam's Gaussian is cut off."""
LARGEST: Final = 20_000_000
"""Most pixels of a blurred map with its margins."""
POINTS_PER_PIXEL: Final = 2.0
MOST_POINTS: Final = 1000


class Sampler:
    """Samples several maps at a position, or along a path, bilinearly between the centres of their pixels.

    Parameters
    ----------
    maps : sequence of FloatArray, shape (ny, nx)
    outside : sequence of float
        Value of each map beyond its pixels.
    step_um, origin_um : (float, float)
        Pixel size, and the centre of pixel (0, 0), in x and y, µm.
    beam_um : (float, float)
        FWHM of the Gaussian beam in x and y, µm; 0 for no blur.

    Raises
    ------
    BadInputError
        If the beam is so wide that the blurred maps would not fit into memory.
    """

    def __init__(
        self,
        maps: Sequence[FloatArray],
        outside: Sequence[float],
        step_um: tuple[float, float],
        origin_um: tuple[float, float],
        beam_um: tuple[float, float],
    ) -> None:
        sigma = [width / FWHM_PER_SIGMA / step for width, step in zip(beam_um, step_um, strict=True)]
        # Beyond the maps, the blurred maps fall off to the background within a margin.
        margin_x, margin_y = (math.ceil(REACH * width) for width in sigma)
        ny, nx = maps[0].shape
        if (ny + 2 * margin_y) * (nx + 2 * margin_x) * len(maps) > LARGEST:
            raise BadInputError(f"beam_um={beam_um}: the beam is too wide for pixels of {step_um} µm, make it narrower")
        margins = ((margin_y, margin_y), (margin_x, margin_x))
        layers = [
            gaussian_filter(
                np.pad(values, margins, constant_values=around),
                (sigma[1], sigma[0]),
                mode="constant",
                cval=around,
                truncate=REACH,
            )
            if max(sigma) > 0.0
            else values
            for values, around in zip(maps, outside, strict=True)
        ]
        self._stack = np.ascontiguousarray(np.stack(layers, axis=-1), dtype=float)
        self._outside = np.asarray(outside, dtype=float)
        self._step = step_um
        self._first = (origin_um[0] - margin_x * step_um[0], origin_um[1] - margin_y * step_um[1])

    def along(self, start: tuple[float, float], stop: tuple[float, float]) -> FloatArray:
        """The mean of each map along a straight path from `start` to `stop` (x, y in µm); shape (maps,)."""
        x0, y0 = self._pixel(*start)
        x1, y1 = self._pixel(*stop)
        points = min(max(math.ceil(POINTS_PER_PIXEL * math.hypot(x1 - x0, y1 - y0)), 1), MOST_POINTS)
        return np.asarray(_mean(self._stack, self._outside, x0, y0, x1, y1, points))

    def at(self, x_um: FloatArray, y_um: FloatArray) -> FloatArray:
        """The value of each map at n positions, given as arrays of shape (n,); shape (n, maps)."""
        return np.asarray(_at(self._stack, self._outside, *self._pixel(x_um, y_um)))

    def _pixel(self, x_um: Any, y_um: Any) -> tuple[Any, Any]:
        return (x_um - self._first[0]) / self._step[0], (y_um - self._first[1]) / self._step[1]


@njit(cache=True)
def _add(stack, outside, x, y, weight, total):  # type: ignore[no-untyped-def]
    ny, nx, maps = stack.shape
    # A pixel reaches half a step beyond its centre. In the outer half of the outermost pixels the value is constant.
    # `not`: a position that is not a number lies outside.
    if not (-0.5 <= x <= nx - 0.5 and -0.5 <= y <= ny - 0.5):
        for m in range(maps):
            total[m] += weight * outside[m]
        return
    x, y = min(max(x, 0.0), nx - 1.0), min(max(y, 0.0), ny - 1.0)
    j, i = int(x), int(y)
    right, down = min(j + 1, nx - 1), min(i + 1, ny - 1)
    u, v = x - j, y - i
    for m in range(maps):
        upper = (1.0 - u) * stack[i, j, m] + u * stack[i, right, m]
        lower = (1.0 - u) * stack[down, j, m] + u * stack[down, right, m]
        total[m] += weight * ((1.0 - v) * upper + v * lower)


@njit(cache=True)
def _mean(stack, outside, x0, y0, x1, y1, points):  # type: ignore[no-untyped-def]
    total = np.zeros(stack.shape[2])
    for k in range(points):
        share = (k + 0.5) / points
        _add(stack, outside, x0 + share * (x1 - x0), y0 + share * (y1 - y0), 1.0 / points, total)
    return total


@njit(cache=True)
def _at(stack, outside, x, y):  # type: ignore[no-untyped-def]
    values = np.zeros((x.size, stack.shape[2]))
    for n in range(x.size):
        _add(stack, outside, x[n], y[n], 1.0, values[n])
    return values
