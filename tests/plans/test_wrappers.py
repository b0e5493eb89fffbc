"""bluesky's wrappers and suspenders around our plans, as users put them there."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import preprocessors as bpp
from bluesky.suspenders import SuspendBoolLow
from ophyd import Component, PseudoPositioner, PseudoSingle, Signal, SoftPositioner
from ophyd.pseudopos import pseudo_position_argument, real_position_argument
from scripted import Point, Scripted

from ebl_autonomy import VOCS
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import adaptive_map, move_motors, optimize, roi_survey
from ebl_autonomy.sim_devices import AsyncMicroprobe, SimMicroprobe, SimSample

SLOPE = np.add.outer(1e5 * np.arange(30), 1e4 * np.arange(30))
START = 14.5
"""Where the stage stands at first, in x and y."""
FACES: list[Callable[[SimMicroprobe], Any]] = [lambda sim: sim, AsyncMicroprobe]


def microprobe(speed: float = np.inf) -> SimMicroprobe:
    return SimMicroprobe(SimSample.from_maps({"Fe": SLOPE}, step_um=1.0), speed=speed, dead_time_s=0.0, i0_noise=0.0)


def lines(*points: tuple[float, float, float]) -> Scripted:
    bounds = {"sample_x": [1.0, 20.0], "sample_y": [1.0, 20.0], "line_length": [-15.0, 15.0]}
    given = VOCS(variables=bounds, observables=["xrf_Fe"])
    return Scripted([dict(zip(bounds, point, strict=True)) for point in points], given)


def mapped(probe: Any, agent: Scripted, **more: Any) -> Any:
    settings = {"max_points": 99, "dwell_s": 0.5, "step": 1.0, "batch": 1, "finish": "stay", **more}
    return adaptive_map(probe.detectors, probe.x, probe.y, agent, flyers=[probe.flyer], **settings)


def surveyed(probe: Any) -> Any:
    area = {"sample_x": [1.0, 9.0], "sample_y": [1.0, 9.0]}
    return roi_survey(probe.detectors, probe.x, probe.y, channels=["xrf_Fe"], coarse_step=2.0, area=area)


def stepped(probe: Any) -> Any:
    vocs = {"variables": {"sample_x": [1.0, 9.0]}, "objectives": {"xrf_Fe": "MAXIMIZE"}}
    return optimize(probe.detectors, [probe.x], "sobol", vocs=vocs, max_points=3)


def moved(probe: Any) -> Any:
    return move_motors({"sample_x": probe.x}, {"sample_x": 3.0}, 60.0)


PLANS: list[Callable[[Any], Any]] = [
    lambda probe: mapped(probe, lines((2.0, 5.0, 6.0), (3.0, 6.0, 0.0))),
    surveyed,
    stepped,
    moved,
]


@pytest.mark.parametrize("make", PLANS)
@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("named", [False, True])
def test_a_wrapper_that_sends_motors_elsewhere_is_refused_before_anything_moves(
    RE: RunEngine, face: Callable[[SimMicroprobe], Any], make: Callable[[Any], Any], named: bool
) -> None:
    sim = microprobe()
    probe = face(sim)
    plan = bpp.relative_set_wrapper(make(probe), [probe.x] if named else None)
    with pytest.raises(BadInputError, match=r"sends sample_[xy] to 29\.0 instead of 14\.5.*relative_set_wrapper"):
        RE(plan)
    assert (sim.x.position, sim.y.position) == (START, START)
    assert sim.clock.now() == 0.0


@pytest.mark.parametrize("face", FACES)
def test_motors_that_are_reset_after_flown_lines_return_to_where_they_stood(
    RE: RunEngine, face: Callable[[SimMicroprobe], Any]
) -> None:
    """The flyer, and not the plan, sends the motor to the start of the first line."""
    sim = microprobe()
    agent = lines((2.0, 5.0, 6.0), (3.0, 6.0, 0.0))
    RE(bpp.reset_positions_wrapper(mapped(face(sim), agent)))
    assert len(agent.told) == 7
    assert (sim.x.position, sim.y.position) == (START, START)
    RE(bpp.reset_positions_wrapper(mapped(face(sim), lines((2.0, 5.0, 6.0))), [sim.y]))
    assert (sim.x.position, sim.y.position) != (START, START)


class Gap(PseudoPositioner):
    """Two blades and the gap between them."""

    gap = Component(PseudoSingle, limits=(-9.0, 9.0))
    centre = Component(PseudoSingle, limits=(-9.0, 9.0))
    left = Component(SoftPositioner, init_pos=-1.0)
    right = Component(SoftPositioner, init_pos=1.0)

    @pseudo_position_argument
    def forward(self, pseudo: Any) -> Any:
        return self.RealPosition(pseudo.centre - 0.5 * pseudo.gap, pseudo.centre + 0.5 * pseudo.gap)

    @real_position_argument
    def inverse(self, real: Any) -> Any:
        return self.PseudoPosition(real.right - real.left, 0.5 * (real.left + real.right))


def test_axes_of_a_pseudo_positioner_are_refused_and_reset_too(RE: RunEngine) -> None:
    slits, signal = Gap("", name="slits"), Signal(name="width", value=1.0)
    vocs = VOCS(variables={"slits_gap": [0.5, 3.0]}, objectives={"width": "MINIMIZE"})

    def plan() -> Any:
        points: list[Point] = [{"slits_gap": 0.75}]
        return optimize([signal], [slits.gap], Scripted(points, vocs), max_points=1, finish="stay")

    with pytest.raises(BadInputError, match="sends slits_gap to"):
        RE(bpp.relative_set_wrapper(plan()))
    assert slits.gap.position == 2.0
    RE(bpp.reset_positions_wrapper(plan()))
    assert (slits.gap.position, slits.centre.position) == (2.0, 0.0)


@pytest.mark.integration
@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(("device", "call", "lost"), [("xrf", "take", 1), ("xrf", "trigger", 0), ("y", "set", 0)])
def test_a_suspender_gives_up_the_line_that_it_cuts_and_nothing_else(
    RE: RunEngine, face: Callable[[SimMicroprobe], Any], device: str, call: str, lost: int
) -> None:
    sim = microprobe(speed=20.0)
    probe, beam = face(sim), Signal(name="beam", value=1)
    RE.install_suspender(SuspendBoolLow(beam, sleep=0))
    agent = lines((2.0, 5.0, 6.0), (3.0, 6.0, 0.0), (12.0, 7.0, -6.0))
    original, trips = getattr(getattr(sim, device), call), []

    def trip() -> None:
        beam.put(0)
        time.sleep(0.3)
        beam.put(1)

    def tripping(*given: Any, **options: Any) -> Any:
        if not trips:
            trips.append(threading.Thread(target=trip))
            trips[0].start()
        return original(*given, **options)

    setattr(getattr(sim, device), call, tripping)
    result = RE(mapped(probe, agent)).plan_result
    trips[0].join()
    assert (result.rows, result.abandoned) == (13 - 6 * lost, lost)
    told = [row for row in agent.told if row["xrf_Fe"] == row["xrf_Fe"]]
    places = [(row["sample_x"], row["sample_y"]) for row in told]
    assert len(places) == len(set(places)) == result.rows
    for row in told:
        seconds = 0.5 if row["sample_y"] != 6.0 else sim.dwell.position
        mean = seconds * (1e5 * row["sample_y"] + 1e4 * row["sample_x"])
        assert row["xrf_Fe"] == pytest.approx(mean, abs=6.0 * mean**0.5)
