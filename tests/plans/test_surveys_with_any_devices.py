"""Surveys with axes without limits, readings beside the target, and values that are no counts."""

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from microprobes import ENERGIES as EV
from microprobes import REFERENCES as SPECTRA
from microprobes import area, microprobe
from ophyd.sim import SynAxis
from simple import Documents, begin, join

from ebl_autonomy.errors import BadInputError, MeasurementError
from ebl_autonomy.plans import adaptive_map, characterise, roi_survey

AREA = {"x": [0.0, 10.0], "y": [0.0, 10.0]}
ENERGIES = [7000.0 + i for i in range(40)]
REFERENCES = {
    "low": [0.05 if energy < 7010.0 else 1.0 for energy in ENERGIES],
    "high": [0.05 if energy < 7025.0 else 1.0 for energy in ENERGIES],
}


class Axis(SynAxis):
    """Notes where it was sent; without limits unless some are given."""

    def __init__(self, name: str, limits: tuple[float, float] = (0.0, 0.0), **more: Any) -> None:
        super().__init__(name=name, **more)
        self.limits, self.sent = limits, []

    def set(self, value: float) -> Any:
        self.sent.append(value)
        return super().set(value)


class Counter:
    """Reads functions of the time of reading, as a scaler does."""

    name, parent, hints = "counter", None, {}

    def __init__(self, channels: dict[str, Callable[[], float]]) -> None:
        self.channels = channels

    def read(self) -> dict[str, Any]:
        return {name: {"value": read(), "timestamp": time.time()} for name, read in self.channels.items()}

    def describe(self) -> dict[str, Any]:
        return {name: {"source": "counter", "dtype": "number", "shape": []} for name in self.channels}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        return {}


class Bench:
    """A stage, an energy, and a grain of "low" around (3, 3)."""

    def __init__(self, limits: tuple[float, float] = (0.0, 0.0), **more: Any) -> None:
        self.x, self.y = (Axis(name, limits, **more) for name in ("x", "y"))
        self.energy = Axis("energy", (6900.0, 7200.0), value=7050.0)
        self.dwell = Axis("dwell", (0.01, 0.1), value=0.1)
        self.grains = [(3.0, 3.0)]
        noise = np.random.default_rng(0)

        def grain() -> bool:
            return any(math.hypot(self.x.position - x, self.y.position - y) < 1.5 for x, y in self.grains)

        def absorption() -> float:
            return float(grain() * np.interp(self.energy.position, ENERGIES, REFERENCES["low"]) + noise.normal(0, 0.01))

        self.counter = Counter(
            {
                "Fe": lambda: float(noise.poisson(200 if grain() else 3)),
                "current": lambda: 1e-9 * (50.0 * grain() + noise.normal()),
                "mu": absorption,
            }
        )

    def survey(self, **more: Any) -> Any:
        given = {"channels": ["Fe"], "coarse_step": 1.0, "fine_step": 0.5, "area": AREA, **more}
        return roi_survey([self.counter], self.x, self.y, **given)

    def characterise(self, **more: Any) -> Any:
        given: dict[str, Any] = {
            "channels": ["Fe"],
            "absorption": "mu",
            "references": REFERENCES,
            "reference_energies": ENERGIES,
            "coarse_step": 1.0,
            "fine_step": 1.0,
            "max_energies": 4,
            "area": AREA,
        }
        return characterise([self.counter], self.x, self.y, self.energy, **{**given, **more})

    @property
    def sent(self) -> list[float]:
        return [*self.x.sent, *self.y.sent, *self.energy.sent, *self.dwell.sent]


def names(docs: Documents, kind: str) -> int:
    return sum(name == kind for name, _ in docs.all)


@pytest.mark.integration
def test_motors_without_limits_return_too(RE: RunEngine) -> None:
    bench = Bench()
    bench.x.set(-4.0)
    result = RE(bench.survey()).plan_result
    assert len(result.fine) == 1
    assert (bench.x.position, bench.y.position) == (-4.0, 0.0)


@pytest.mark.integration
def test_a_motor_that_cannot_return_loses_nothing(RE: RunEngine, docs: Documents, caplog: Any) -> None:
    bench = Bench()
    result = RE(bench.characterise(envelope={"limits": {"energy": [7000.0, 7039.0]}})).plan_result
    assert len(result.phase_maps) == 1
    assert "7050" in caplog.text
    assert (bench.x.position, bench.y.position) == (0.0, 0.0)
    assert names(docs, "start") == names(docs, "stop")


@pytest.mark.integration
@pytest.mark.parametrize("read", [lambda value: value + 0.1, lambda value: round(value, 1)])
def test_a_reading_beside_the_target_belongs_to_its_pixel(RE: RunEngine, read: Any) -> None:
    result = RE(Bench(readback_func=read).survey()).plan_result
    assert result.coarse.rows == 100
    assert [run.abandoned for run in result.fine] == [0]


@pytest.mark.integration
def test_values_need_not_be_counts(RE: RunEngine) -> None:
    result = RE(Bench().survey(channels=["current"])).plan_result
    (region,) = result.regions
    assert region.x[0] < 3.0 < region.x[1]
    assert len(result.fine) == 1


@pytest.mark.integration
def test_exposures_stay_within_what_can_be_set(RE: RunEngine) -> None:
    bench = Bench()
    regions = {"precision": 0.001}
    RE(bench.survey(dwell=bench.dwell, regions=regions))
    assert max(bench.dwell.sent) == 0.1


@pytest.mark.integration
def test_regions_are_those_of_the_limits_that_the_user_gives(RE: RunEngine) -> None:
    result = RE(Bench().survey(regions={"limits": {"x": [2.5, 9.0], "y": [0.0, 99.0]}})).plan_result
    (region,) = result.regions
    assert region.x[0] == 2.5


@pytest.mark.integration
@pytest.mark.parametrize("forbidden", [{"energy": [7040.0, 7060.0], "x": [20.0, 30.0]}, {"dwell": [0.2, 1.0]}])
def test_a_forbidden_region_may_name_motors_that_stand_still(RE: RunEngine, forbidden: dict[str, Any]) -> None:
    bench = Bench((-50.0, 50.0))
    result = RE(bench.characterise(dwell=bench.dwell, envelope={"forbidden": [{"box": forbidden}]})).plan_result
    assert len(result.phase_maps) == 1


@pytest.mark.integration
def test_a_region_is_forbidden_where_the_energy_is_in_its_box(RE: RunEngine) -> None:
    bench = Bench()
    box = {"energy": [7040.0, 7060.0], "x": [5.0, 20.0]}
    result = RE(bench.characterise(envelope={"forbidden": [{"box": box}]})).plan_result
    assert result.coarse.rows == 50
    assert max(bench.x.sent) < 5.0


def test_no_move_between_the_scans_crosses_a_forbidden_region(RE: RunEngine) -> None:
    """The way back leads around the box, not through it."""
    bench = Bench()
    bench.x.set(8.0)
    heights = []
    go = bench.x.set

    def watched(value: float) -> Any:
        if value == 8.0:
            heights.append(bench.y.position)
        return go(value)

    bench.x.set = watched
    half = {"x": [0.0, 5.0], "y": [0.0, 10.0]}
    box = {"x": [5.2, 5.8], "y": [2.2, 20.0]}
    result = RE(bench.survey(area=half, envelope={"forbidden": [{"box": box}]})).plan_result
    assert result.fine[0].left_at["y"] > 2.2
    assert bench.x.position == 8.0
    assert max(heights) < 2.2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"area": {"x": 5, "y": [0, 1]}}, "'x' needs two numbers"),
        ({"area": {"x": [0, math.nan], "y": [0, 1]}}, "'x' needs two numbers"),
        ({"area": {"x": [False, True], "y": [0, 1]}}, "'x' needs two numbers"),
        ({"coarse_step": "1"}, "coarse_step='1': give a positive number"),
        ({"coarse_step": True}, "coarse_step=True"),
        ({"channels": 7}, "channels=7"),
        ({"channels": ["Zn"]}, r"no detector gives \['Zn'\]"),
        ({"i0": "monitor"}, r"no detector gives \['monitor'\]"),
        ({"dwell": "exposure"}, "no such device 'exposure'"),
        ({"dwell": 0.1}, "0.1"),
        ({"flyers": 5}, "flyers=5: give a list"),
        ({"md": 5}, "md=5"),
        ({"md": {"a": {"b.c": 1}}}, "'b.c'"),
        ({"retries": "many"}, "retries='many'"),
        ({"coarse_dwell_s": 0.5}, "coarse_dwell_s=0.5: 'dwell' can be set from 0.01 to 0.1 s"),
        ({"fine_dwell_s": 0.5}, "fine_dwell_s=0.5"),
        ({"regions": {"rules": ["Zn inside Fe"]}}, "channel 'Zn' is unknown"),
        ({"regions": {"rank": "ratio Zn/Fe"}}, "channel 'Zn' is unknown"),
        ({"regions": {"limits": {"x": [20.0, 30.0]}}}, "the area of the survey is"),
        ({"envelope": {"limits": {"sample_x": [0.0, 5.0]}}}, "envelope.limits.sample_x: unknown"),
        ({"envelope": {"forbidden": [{"box": {"dwell": [0.01, 0.2]}}]}}, "lies in the forbidden region"),
    ],
)
def test_nothing_moves_before_all_arguments_are_right(RE: RunEngine, more: dict[str, Any], said: str) -> None:
    bench = Bench()
    with pytest.raises(BadInputError, match=said):
        RE(bench.survey(**{"dwell": bench.dwell, **more}))
    assert bench.sent == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"references": None}, "references=None"),
        ({"references": {"low": "abc", "high": REFERENCES["high"]}}, r"references\['low'\]='abc'"),
        ({"reference_energies": "abc"}, "reference_energies='abc'"),
        ({"references": {"Fe/Cr": REFERENCES["low"], "high": REFERENCES["high"]}}, "'Fe/Cr'"),
        ({"energies": "abc"}, "energies='abc'"),
        ({"energies": [None, 7010.0]}, r"energies=\[None"),
        ({"absorption": "ln"}, r"no detector gives \['ln'\]"),
        ({"envelope": {"limits": {"energy": [7300.0, 7400.0]}}}, "do not overlap"),
        ({"envelope": {"limits": {"energy": [7100.0, 7150.0]}}}, "outside the motor's limits"),
    ],
)
def test_nothing_moves_before_the_phases_are_right(RE: RunEngine, more: dict[str, Any], said: str) -> None:
    bench = Bench()
    with pytest.raises(BadInputError, match=said):
        RE(bench.characterise(**more))
    assert bench.sent == []


@pytest.mark.parametrize("name", ["counter.Fe", "counter/Fe"])
def test_a_name_that_no_document_may_have_is_refused(RE: RunEngine, docs: Documents, name: str) -> None:
    bench = Bench()
    bench.counter.channels[name] = lambda: 1.0
    agent = {"agent": "mapping", "vocs": {"variables": AREA, "observables": [name]}, "options": {"step": 1.0}}
    with pytest.raises(BadInputError, match=f"{name}.*give it another name"):
        RE(adaptive_map([bench.counter], bench.x, bench.y, agent, max_points=5))
    assert bench.sent == []
    assert docs.all == []


@pytest.mark.parametrize("kind", [roi_survey, characterise])
def test_rows_whose_run_up_leaves_the_limits_are_refused_before_anything_moves(
    RE: RunEngine, docs: Documents, kind: Any
) -> None:
    probe = microprobe(speed=5.0, motors={"sample_x": {"limits": (0.0, 12.0)}})
    given = {"channels": ["xrf_Fe"], "coarse_step": 1.0, "area": area(), "flyers": [probe.flyer]}
    motors = [probe.x, probe.y]
    if kind is characterise:
        motors.append(probe.energy)
        given |= {
            "absorption": "xanes_mu",
            "references": {k: v.tolist() for k, v in SPECTRA.items()},
            "reference_energies": EV.tolist(),
        }
    home = probe.x.position, probe.y.position
    with pytest.raises(BadInputError, match="run-up at both ends of the area"):
        RE(kind([probe.absorption], *motors, **given))
    assert docs.all == []
    assert (probe.x.position, probe.y.position) == home


@pytest.mark.parametrize(
    ("which", "given", "said"),
    [
        ("detectors", "the device", "give a list of devices"),
        ("flyers", "the device", "give a list of devices"),
        ("x", None, "None .*cannot be moved"),
        ("y", 5, "5 .*cannot be moved"),
    ],
)
@pytest.mark.parametrize("kind", [adaptive_map, roi_survey, characterise])
def test_what_is_no_device_or_no_list_is_named(RE: RunEngine, kind: Any, which: str, given: Any, said: str) -> None:
    bench = Bench()
    devices = {"detectors": [bench.counter], "x": bench.x, "y": bench.y, "flyers": []}
    devices[which] = bench.counter if given == "the device" else given
    detectors, x, y, flyers = devices.values()
    if kind is adaptive_map:
        agent = {"agent": "mapping", "vocs": {"variables": AREA, "observables": ["Fe"]}}
        plan = adaptive_map(detectors, x, y, agent, max_points=2, flyers=flyers)
    elif kind is roi_survey:
        plan = roi_survey(detectors, x, y, channels=["Fe"], coarse_step=1.0, area=AREA, flyers=flyers)
    else:
        more = {"references": REFERENCES, "reference_energies": ENERGIES, "coarse_step": 1.0, "area": AREA}
        plan = characterise(detectors, x, y, bench.energy, channels=["Fe"], absorption="mu", flyers=flyers, **more)
    with pytest.raises(BadInputError, match=said):
        RE(plan)
    assert bench.sent == []


@pytest.mark.integration
@pytest.mark.parametrize("how", ["fails", "stop", "abort"])
def test_the_phase_maps_before_the_end_are_kept(RE: RunEngine, docs: Documents, how: str) -> None:
    """Two grains; the measurement of the second ends early."""
    bench = Bench()
    bench.grains.append((8.0, 8.0))
    read = bench.counter.channels["mu"]

    def ends_early() -> float:
        last = sum(name == "start" and "energy" in doc.get("ebl_survey", {}) for name, doc in docs.all) > 4
        if last and how == "fails":
            raise RuntimeError("no high voltage")
        if last and not paused:
            paused.append(begin(threading.Thread(target=RE.request_pause), []))
            time.sleep(0.1)
        return read()

    paused: list[Any] = []
    bench.counter.channels["mu"] = ends_early
    with pytest.raises(MeasurementError if how == "fails" else RunEngineInterrupted):
        RE(bench.characterise())
    if how != "fails":
        getattr(RE, how)()
        join(paused[0])
    made = [
        doc["ebl_survey"] for name, doc in docs.all if name == "start" and "phase_maps" in doc.get("ebl_survey", {})
    ]
    assert [len(one["phase_maps"]) for one in made] == [1]
    assert names(docs, "start") == names(docs, "stop")
    assert (bench.x.position == 0.0) == (how != "abort")


def test_regions_are_told_in_the_names_of_the_motors(RE: RunEngine, capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench()
    bench.x.name = "fine_x"
    RE(bench.survey(area={"fine_x": [0.0, 10.0], "y": [0.0, 10.0]}, approve=lambda regions: []))
    assert "fine_x 1.5 to 4.5, y 1.5 to 4.5" in capsys.readouterr().out
