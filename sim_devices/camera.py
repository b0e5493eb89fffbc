"""A two-dimensional camera at the sample: noisy frames, and the beam's size and position computed from them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from numba import njit
from ophyd.status import Status

from ebl_autonomy.analysis import beam_statistics
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.sim_devices.clock import Clock
from ebl_autonomy.sim_devices.labels import DETECTOR
from ebl_autonomy.sim_devices.layout import PIXELS, image_key
from ebl_autonomy.sim_devices.motor import DoneStatus
from ebl_autonomy.space import FloatArray

__all__ = ["CameraFrame", "Light", "SimCamera"]

Frame = npt.NDArray[np.uint16]

SCALARS = {
    "total": "counts",
    "peak": "counts",
    "centroid_x": "um",
    "centroid_y": "um",
    "fwhm_x": "um",
    "fwhm_y": "um",
    "spot_area": "um^2",
    "saturated_fraction": "",
    "valid": "",
}


class Light(Protocol):
    """What the camera needs from the beamline."""

    def profiles(self, seconds: float) -> tuple[FloatArray, FloatArray, float]:
        """The beam at a simulated time.

        Returns
        -------
        x, y : FloatArray, shape (pixels,)
            Share of the beam in each pixel of an axis.
        rate : float
            Counts per second of the whole beam.
        """


class SimCamera:
    """A triggerable camera (bluesky Readable, Triggerable, Stageable) on a simulated clock.

    Parameters
    ----------
    name : str
    light : Light
    clock : Clock
    seed : int
    before_exposure : callable
        Called with the number of the exposure (counted from 1). It returns the fault that affects this exposure, or an
        empty string.
    exposure : float
        Exposure time, simulated seconds; may be changed at any time.

    Raises
    ------
    BadInputError
        If the exposure is not a positive number of seconds.
    """

    parent = None
    _ophyd_labels_ = frozenset({DETECTOR})
    pixels = PIXELS
    pixel_um = 0.65
    dark = 100.0
    """Mean counts of a pixel without beam."""
    read_noise = 3.0
    full_scale = 65535
    readout_s = 0.05

    def __init__(
        self,
        name: str,
        light: Light,
        clock: Clock,
        seed: int,
        before_exposure: Callable[[int], str] = lambda n: "",
        exposure: float = 0.1,
    ) -> None:
        self.name = name
        self.exposure = exposure
        self.record_image = False
        """Whether events also hold the frame."""
        self.exposures = 0
        self._light = light
        self._clock = clock
        self._before = before_exposure
        self._rng = np.random.default_rng([seed, 11])
        self._hot = np.zeros((self.pixels, self.pixels), dtype=bool)
        self._hot[tuple(self._rng.integers(0, self.pixels, (2, 6)))] = True
        self._frame: Frame = np.zeros((self.pixels, self.pixels), dtype=np.uint16)
        self._scalars: dict[str, Any] = {}
        self._stamp = time.time()
        self.frame = CameraFrame(self)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.name!r}: {self.pixels} × {self.pixels} pixels, exposure {self.exposure} s>"
        )

    @property
    def exposure(self) -> float:
        """Exposure time, simulated seconds."""
        return self._exposure

    @exposure.setter
    def exposure(self, seconds: float) -> None:
        if not 0.0 < seconds < math.inf:
            raise BadInputError(f"{self.name}.exposure={seconds!r}: give a positive number of seconds")
        self._exposure = float(seconds)

    @property
    def edges(self) -> FloatArray:
        """Pixel edges at the sample, m, centred on the axis; shape (pixels + 1,)."""
        half = 0.5 * self.pixels * self.pixel_um * 1e-6
        return np.linspace(-half, half, self.pixels + 1)

    @property
    def hints(self) -> dict[str, list[str]]:
        return {"fields": [f"{self.name}_spot_area", f"{self.name}_total"]}

    def trigger(self) -> Any:
        """Take a frame. The status is done when the frame is read out."""
        self.exposures += 1
        number = self.exposures
        fault = self._before(number)
        if fault == "timeout":
            return Status(self)  # a camera that hangs: the status is never done
        seconds = self.exposure + self.readout_s + (5.0 if fault == "late frame" else 0.0)
        wait = self._clock.spend(seconds)
        if wait <= 0.0:
            self._expose(fault)
            return DoneStatus()
        status = Status(self)

        def finish() -> None:
            self._expose(fault)
            status.set_finished()

        timer = threading.Timer(wait, finish)
        timer.daemon = True
        timer.start()
        return status

    def read(self) -> dict[str, dict[str, Any]]:
        if not self._scalars:
            self._expose("")
        reading = {
            f"{self.name}_{key}": {"value": value, "timestamp": self._stamp} for key, value in self._scalars.items()
        }
        if self.record_image:
            reading[f"{self.name}_image"] = {"value": self._frame.copy(), "timestamp": self._stamp}
        return reading

    def describe(self) -> dict[str, dict[str, Any]]:
        source = f"sim:{self.name}"
        keys: dict[str, dict[str, Any]] = {}
        for key, unit in SCALARS.items():
            keys[f"{self.name}_{key}"] = {
                "source": source,
                "dtype": "integer" if key == "valid" else "number",
                "shape": [],
                **({"units": unit} if unit else {}),
            }
        keys[f"{self.name}_state"] = {"source": source, "dtype": "string", "shape": []}
        if self.record_image:
            keys[f"{self.name}_image"] = image_key(f"sim:{self.name}")
        return keys

    def read_configuration(self) -> dict[str, dict[str, Any]]:
        now = time.time()
        values = {"exposure": self.exposure, "pixel_um": self.pixel_um, "dark": self.dark}
        return {f"{self.name}_{key}": {"value": value, "timestamp": now} for key, value in values.items()}

    def describe_configuration(self) -> dict[str, dict[str, Any]]:
        return {
            f"{self.name}_{key}": {"source": f"sim:{self.name}", "dtype": "number", "shape": [], "units": unit}
            for key, unit in (("exposure", "s"), ("pixel_um", "um"), ("dark", "counts"))
        }

    def stage(self) -> list[Any]:
        return [self]

    def unstage(self) -> list[Any]:
        return [self]

    def snapshot(self) -> Frame:
        """Take a new frame, of shape (pixels, pixels), without a status."""
        self._clock.spend(self.exposure + self.readout_s)
        self._expose("")
        return self._frame

    def _expose(self, fault: str) -> None:
        x, y, rate = self._light.profiles(self._clock.now())
        counts = rate * self.exposure
        noise = self._rng.standard_normal((self.pixels, self.pixels), dtype=np.float32)
        self._frame = np.empty((self.pixels, self.pixels), dtype=np.uint16)
        # With 100 dark counts in every pixel, a Gaussian approximates the Poisson distribution to one part in 1000.
        _render(x, y, counts, self.dark, self.read_noise, float(self.full_scale), noise, self._frame)
        self._frame[self._hot] = self.full_scale
        self._scalars = beam_statistics(self._frame, self.dark, self.pixel_um, float(self.full_scale), self._hot)
        if fault == "nan":
            self._scalars.update(fwhm_x=math.nan, fwhm_y=math.nan, spot_area=math.nan, total=math.nan, valid=0)
            self._scalars["state"] = "no data"
        self._stamp = time.time()


class CameraFrame:
    """A readable that takes a new frame, for ``baseline=``: key ``camera_frame``, without the scalars."""

    parent = None

    def __init__(self, camera: SimCamera) -> None:
        self._camera = camera
        self.name = f"{camera.name}_frame"

    def read(self) -> dict[str, dict[str, Any]]:
        return {self.name: {"value": self._camera.snapshot().copy(), "timestamp": time.time()}}

    def describe(self) -> dict[str, dict[str, Any]]:
        return {self.name: image_key(f"sim:{self._camera.name}")}


@njit(cache=True)
def _render(x, y, counts, dark, read_noise, full_scale, noise, frame):  # type: ignore[no-untyped-def]
    for i in range(y.size):
        row = counts * y[i]
        for k in range(x.size):
            mean = row * x[k] + dark
            value = mean + math.sqrt(mean + read_noise * read_noise) * noise[i, k]
            frame[i, k] = np.uint16(min(max(value + 0.5, 0.0), full_scale))
