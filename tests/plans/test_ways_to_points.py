"""Maps and spectra go to a point by several moves where the envelope allows no single one."""

import logging
from typing import Any

import pytest
from bluesky import RunEngine
from microprobes import STEP, area, microprobe
from ophyd.sim import SynAxis
from scripted import RecordedAxis, Scripted
from simple import Documents

from ebl_autonomy import VOCS
from ebl_autonomy.agents import EnergyAgent, make_agent
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import adaptive_map, adaptive_spectrum

LOW, HIGH = 7000.0, 7040.0
ENERGIES = {"mono": [LOW, HIGH]}
LIMITS = {"limits": {"mono": [LOW - 50.0, HIGH + 50.0]}}
AROUND = {"limits": {"mx": (-2.0, 2.0), "my": (-2.0, 2.0)}}


class Ramp:
    """A spectrum with a step at 7020."""

    name = "ramp"
    parent = None

    def __init__(self, mono: SynAxis) -> None:
        self.mono = mono

    def read(self) -> dict[str, Any]:
        return {"ramp": {"value": float(self.mono.position > 7020.0), "timestamp": 0.0}}

    def describe(self) -> dict[str, Any]:
        return {"ramp": {"source": "test", "dtype": "number", "shape": []}}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    describe_configuration = read_configuration


def measured(RE: RunEngine, envelope: dict[str, Any], at: float = LOW, points: int = 16) -> tuple[Any, Any, Any]:
    mono = RecordedAxis("mono")
    mono.set(at)
    agent = EnergyAgent({"variables": ENERGIES, "observables": ["ramp"]})
    plan = adaptive_spectrum(
        [Ramp(mono)], mono, agent, max_points=points, envelope={**LIMITS, **envelope}, finish="stay"
    )
    mono.moves.clear()
    return RE(plan).plan_result, mono, agent


@pytest.mark.parametrize("step", [0.75, 7.0, 39.0])
def test_a_spectrum_is_measured_in_moves_as_short_as_the_envelope_wants(RE: RunEngine, step: float) -> None:
    result, mono, agent = measured(RE, {"max_step": {"mono": step}}, at=HIGH + 45.0)
    assert (result.accepted, result.refused) == (16, 0)
    assert mono.longest <= step * (1.0 + 1e-9)
    assert max(one["mono"] for one in agent.results) - min(one["mono"] for one in agent.results) > 35.0


@pytest.mark.parametrize(("at", "inside"), [(LOW, (LOW, 7025.0)), (HIGH, (7030.0, HIGH))])
def test_energies_behind_a_region_that_no_move_may_cross_are_not_proposed(
    RE: RunEngine, caplog: pytest.LogCaptureFixture, at: float, inside: tuple[float, float]
) -> None:
    region = {"box": {"mono": [7025.0, 7030.0]}}
    with caplog.at_level(logging.WARNING):
        result, _, agent = measured(RE, {"forbidden": [region]}, at=at)
    assert (result.accepted, result.refused) == (16, 0)
    energies = [one["mono"] for one in agent.results]
    assert inside[0] <= min(energies) < inside[0] + 3.0
    assert inside[1] - 3.0 < max(energies) <= inside[1]
    assert "'sweep': False may be passed through" in caplog.text


def test_a_region_that_may_be_crossed_leaves_both_sides(RE: RunEngine) -> None:
    region = {"box": {"mono": [7008.0, 7012.0]}, "sweep": False}
    result, _, agent = measured(RE, {"forbidden": [region], "max_step": {"mono": 6.0}}, points=12)
    energies = [one["mono"] for one in agent.results]
    assert (result.accepted, result.refused) == (12, 0)
    assert min(energies) < 7008.0 < 7012.0 < max(energies)
    assert not any(7008.0 <= energy <= 7012.0 for energy in energies)


def points_of(*points: tuple[float, float]) -> Scripted:
    vocs = VOCS(variables={"mx": [-2.0, 2.0], "my": [-2.0, 2.0]}, observables=["bowl"])
    return Scripted([{"mx": x, "my": y} for x, y in points], vocs)


def test_a_map_is_measured_around_a_region(RE: RunEngine, docs: Documents, recorded: Any) -> None:
    bowl, motors = recorded
    wall = {"box": {"mx": (0.6, 0.8), "my": (-0.5, 0.5)}, "reason": "beam stop"}
    agent = points_of((0.0, 0.0), (1.5, 0.0), (0.7, 0.0), (0.0, 0.25))
    plan = adaptive_map(
        [bowl], *motors, agent, max_points=4, batch=1, finish="stay",
        envelope={**AROUND, "forbidden": [wall], "max_step": {"mx": 0.5, "my": 0.75}},
    )  # fmt: skip
    result = RE(plan).plan_result
    assert [(row["mx"], row["my"]) for row in docs.events["primary"]] == [(0.0, 0.0), (1.5, 0.0), (0.0, 0.25)]
    assert [(gone["rule"], gone["reason"][-11:]) for gone in docs.events["abandoned"]] == [("forbidden", "(beam stop)")]
    assert (result.accepted, result.refused) == (3, 1)
    assert motors[0].longest <= 0.5 + 1e-9
    assert motors[1].longest <= 0.75 + 1e-9


def test_nothing_moves_towards_a_line_that_is_longer_than_a_move_may_be(RE: RunEngine, docs: Documents) -> None:
    probe = microprobe()
    vocs = VOCS(variables={**area(), "line_length": [-12.0, 12.0]}, observables=["xrf_Fe"])
    lines = [
        {"sample_x": 1.0, "sample_y": 6.5, "line_length": 9.0},
        {"sample_x": 4.0, "sample_y": 0.5, "line_length": 3.0},
    ]
    plan = adaptive_map(
        [probe.xrf], probe.x, probe.y, Scripted(lines, vocs), max_points=3, batch=1, flyers=[probe.flyer], step=STEP,
        dwell_s=0.01, envelope={"max_step": {"sample_x": 8.0, "sample_y": 2.0}}, finish="stay",
    )  # fmt: skip
    moved: list[float] = []
    probe.y.subscribe(lambda value, **_: moved.append(value), run=False)
    result = RE(plan).plan_result
    assert [gone["rule"] for gone in docs.events["abandoned"]] == ["step"]
    assert (result.accepted, result.rows) == (1, 3)
    assert max(moved, default=0.5) < 6.0


def test_a_line_near_the_edge_of_a_map_is_reached_by_several_moves(RE: RunEngine, docs: Documents) -> None:
    """Its run-up begins beyond the domain, where the limits allow that."""
    probe = microprobe()
    vocs = VOCS(variables={**area(), "line_length": [-12.0, 12.0]}, observables=["xrf_Fe"])
    lines = [{"sample_x": 0.5, "sample_y": 6.5, "line_length": 3.0}]
    envelope = {"max_step": {"sample_y": 2.0}, "limits": {"sample_x": (-12.0, 24.0), "sample_y": (-12.0, 24.0)}}
    plan = adaptive_map(
        [probe.xrf], probe.x, probe.y, Scripted(lines, vocs), max_points=3, batch=1, flyers=[probe.flyer], step=STEP,
        dwell_s=0.01, envelope=envelope, finish="stay",
    )  # fmt: skip
    result = RE(plan).plan_result
    assert docs.events["abandoned"] == []
    assert (result.accepted, result.rows) == (1, 3)


@pytest.mark.parametrize("budget", [{"max_dose": 1.0, "dose_key": "bowl"}, {"max_points": 1}])
def test_nothing_moves_on_a_way_once_a_budget_is_spent(
    RE: RunEngine, docs: Documents, recorded: Any, budget: dict[str, Any]
) -> None:
    bowl, motors = recorded
    plan = adaptive_map(
        [bowl], *motors, points_of((1.0, 1.0), (-2.0, -2.0)), max_points=9, batch=1, finish="stay",
        envelope={**AROUND, **budget, "max_step": {"mx": 1.0, "my": 1.0}},
    )  # fmt: skip
    result = RE(plan).plan_result
    assert result.stop_reason.startswith("budget")
    assert result.accepted == 1
    assert [motor.position for motor in motors] == [1.0, 1.0]


def test_an_agent_may_search_elsewhere_in_its_next_run(RE: RunEngine) -> None:
    """Its forbidden regions are judged in what it may search now, not in what it searched before."""
    mono = RecordedAxis("mono")
    mono.set(LOW)
    agent = EnergyAgent({"variables": ENERGIES, "observables": ["ramp"]})
    first = {"limits": {"mono": [LOW, LOW + 5.0]}}
    RE(adaptive_spectrum([Ramp(mono)], mono, agent, max_points=4, envelope=first, finish="stay"))
    second = {**LIMITS, "forbidden": [{"box": {"mono": [LOW - 1.0, LOW + 6.0]}, "sweep": False}]}
    mono.set(HIGH)
    result = RE(adaptive_spectrum([Ramp(mono)], mono, agent, max_points=4, envelope=second)).plan_result
    assert (result.accepted, result.refused) == (4, 0)
    assert min(one["mono"] for one in agent.results[4:]) > LOW + 6.0


def test_a_map_leaves_out_the_pixels_of_a_region(RE: RunEngine, docs: Documents, recorded: Any) -> None:
    bowl, motors = recorded
    motors[0].set(-1.75)
    vocs = {"variables": {"mx": [-2.0, 2.0], "my": [-2.0, 2.0]}, "observables": ["bowl"]}
    agent = {"agent": "mapping", "vocs": vocs, "options": {"step": 0.5}}
    stop = {"box": {"mx": (-1.0, 1.0), "my": (0.0, 2.0)}, "reason": "beam stop"}
    plan = adaptive_map([bowl], *motors, agent, max_points=99, envelope={**AROUND, "forbidden": [stop]})
    result = RE(plan).plan_result
    assert (result.accepted, result.refused) == (64 - 16, 0)
    assert "all 48 pixels are measured" in result.stop_reason
    assert not any(abs(row["mx"]) <= 1.0 and row["my"] >= 0.0 for row in docs.events["primary"])


@pytest.mark.parametrize("name", ["energy", "mapping"])
def test_an_agent_without_a_place_that_is_allowed_says_so(name: str) -> None:
    variables = {"mono": [7000.0, 7040.0]} if name == "energy" else {"mono": [7000.0, 7040.0], "my": [0.0, 40.0]}
    agent: Any = make_agent({"agent": name, "vocs": {"variables": variables, "observables": ["ramp"]}})
    agent.avoid([{"mono": (7000.0, 7010.0)}])
    with pytest.raises(BadInputError, match="lie in the forbidden regions"):
        agent.avoid([{"mono": (6000.0, 8000.0)}])
    assert min(point["mono"] for point in agent.suggest(8)) > 7010.0
