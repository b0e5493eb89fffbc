"""How long a measurement takes, as detectors tell it in their own ways."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from ophyd import Component, Device, Signal
from ophyd.utils import DisconnectedError
from ophyd_async.core import Device as AsyncDevice
from ophyd_async.core import StandardReadable, soft_signal_rw

from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import optimize
from ebl_autonomy.plans.devices import read_exposure
from ebl_autonomy.sim_devices import SimMicroprobe, SimSample


class Scaler(Device):
    """As of ophyd: the preset is a signal of the scaler; a channel is a part of it."""

    preset_time = Component(Signal, value=0.75)
    first = Component(Signal, value=12.0)


class Mca(Device):
    """As ophyd's, whose own count time is not set."""

    count_time = Component(Signal, value=None)
    preset_real_time = Component(Signal, value=0.0)
    preset_live_time = Component(Signal, value=1.5)


class Cam(Device):
    acquire_time = Component(Signal, value=0.02)


class AreaDetector(Device):
    cam = Component(Cam)


def async_area_detector() -> Any:
    detector = StandardReadable("camera")
    detector.driver = AsyncDevice("driver")  # type: ignore[attr-defined]
    detector.driver.acquire_time = soft_signal_rw(float, 0.3, name="acquire_time")  # type: ignore[attr-defined]
    return detector


@pytest.mark.parametrize(
    ("make", "seconds"),
    [
        (lambda: Scaler(name="scaler"), 0.75),
        (lambda: Scaler(name="scaler").first, 0.75),
        (lambda: Mca(name="mca"), 1.5),
        (lambda: AreaDetector(name="camera"), 0.02),
        (lambda: AreaDetector(name="camera").cam, 0.02),
        (async_area_detector, 0.3),
        (lambda: Signal(name="current", value=3.0), None),
    ],
)
def test_detectors_tell_their_exposure(RE: RunEngine, make: Callable[[], Any], seconds: float | None) -> None:
    assert RE(read_exposure(make())).plan_result == seconds


class Lost(Signal):
    """A signal of an IOC that is gone."""

    def read(self) -> Any:
        raise DisconnectedError("scaler_preset_time is not connected")


class LostScaler(Scaler):
    preset_time = Component(Lost)

    def read(self) -> Any:
        return self.first.read()

    def describe(self) -> Any:
        return self.first.describe()


def test_a_detector_whose_exposure_cannot_be_read_is_named_before_anything_moves(RE: RunEngine) -> None:
    probe = SimMicroprobe(SimSample.from_maps({"Fe": np.ones((9, 9))}, step_um=1.0))
    agent = BayesianAgent({"variables": {"sample_x": [1.0, 7.0]}, "objectives": {"scaler_first": "MAXIMIZE"}})
    here = probe.x.position
    with pytest.raises(BadInputError, match=r"scaler.*preset_time is not connected.*Connect or repair"):
        RE(optimize([LostScaler(name="scaler")], [probe.x], agent, max_points=2))
    assert probe.x.position == here
