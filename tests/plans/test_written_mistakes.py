"""Mistakes in what is written as JSON for a plan: the error gives the path of the key, and nothing has moved."""

from typing import Any

import pytest
from bluesky import RunEngine
from ophyd.sim import SynAxis
from simple import BOUNDS, ENVELOPE, Bowl, Documents

from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import FlyLine, Sweep, explore, make_gate, optimize

VOCS_JSON = {"variables": {k: list(v) for k, v in BOUNDS.items()}, "objectives": {"bowl": "MINIMIZE"}}


def given(**changes: Any) -> dict[str, Any]:
    return {"agent": "bayesian", "vocs": VOCS_JSON, **changes}


def with_vocs(**changes: Any) -> dict[str, Any]:
    return given(vocs={**VOCS_JSON, **changes})


AGENTS: list[tuple[Any, list[str]]] = [
    (given(agent="bayesain"), ["agent.agent: ", "did you mean 'bayesian'?"]),
    (given(agent=7), ["agent.agent=7", "coordinate_scan"]),
    (given(optins={}), ["agent.optins: unknown, did you mean 'options'?"]),
    (given(sigmas=3.0), ["agent.sigmas: unknown.", "agent.options.sigmas"]),
    (given(constraints={}), ["agent.constraints: unknown.", "agent.vocs.constraints"]),
    ({"agent": "bayesian"}, ["agent.vocs: missing"]),
    ({"vocs": VOCS_JSON}, ["agent.agent: missing"]),
    (given(options=["seed", 3]), ["agent.options=['seed', 3]"]),
    (given(options="seed"), ["agent.options='seed'"]),
    (given(options={"look_arround": 0.1}), ["agent.options.look_arround: unknown, did you mean 'look_around'?"]),
    (given(options={"sigmas": "three"}), ["agent.options.sigmas='three'"]),
    (given(options={"composite": {"a": [1]}}), ["agent.options.composite.a=[1]"]),
    (given(options={"options": {"seed": 3}}), ["agent.options.options: unknown"]),
    (given(options={"hard": {"bowl": ["GREATER", 1]}}), ["hard.bowl=['GREATER', 1]", "'GREATER_THAN'"]),
    (given(options={"travel": {"mx": {"velocty": 1.0}}}), ["travel.mx.velocty: unknown, did you mean 'velocity'?"]),
    (given(agent="grid", options={"points_per_axes": 3}), ["agent.options.points_per_axes", "'points_per_axis'?"]),
    (given(agent="sobol", options={"look_around": 3}), ["agent.options.look_around: unknown."]),
    (given(vocs=["mx"]), ["agent.vocs=['mx']"]),
    (given(vocs=None), ["agent.vocs=None"]),
    (with_vocs(objective={}), ["agent.vocs.objective: unknown, did you mean 'objectives'?"]),
    (with_vocs(objectives=["bowl"]), ["agent.vocs.objectives=['bowl']", "by name"]),
    (with_vocs(objectives={"bowl": "MINIMISE"}), ["agent.vocs.objectives.bowl='MINIMISE'", "'MINIMIZE'?"]),
    (with_vocs(objectives={"bowl": {"type": "MinimiseObjective"}}), ["objectives.bowl", "'MinimizeObjective'?"]),
    (with_vocs(constraints={"bowl": ["LESS", 1]}), ["agent.vocs.constraints.bowl=['LESS', 1]", "'LESS_THAN'?"]),
    (with_vocs(constraints={"bowl": ["LESS_THAN", 1, 2]}), ["agent.vocs.constraints.bowl", "['LESS_THAN', value]"]),
    (with_vocs(constraints={"bowl": ["LESS_THAN", "low"]}), ["agent.vocs.constraints.bowl", "'low' is no number"]),
    (with_vocs(constraints={"bowl": []}), ["agent.vocs.constraints.bowl=[]"]),
    (
        with_vocs(constraints={"bowl": {"type": "LessThanConstraint", "value": 1, "limit": 2}}),
        ["agent.vocs.constraints.bowl", "'limit' is unknown"],
    ),
    (with_vocs(observables=[3]), ["agent.vocs.observables", "3"]),
    (with_vocs(variables={"mx": [0.0, "far"], "my": [0, 1]}), ["agent.vocs.variables.mx.domain.1='far'"]),
    (with_vocs(variables=[["mx", 0, 1]]), ["agent.vocs.variables="]),
]
"""What is written as `agent`, and what its error must say."""

OTHERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"until": {"targt": 3}}, ["until.targt: unknown, did you mean 'target'?"]),
    ({"until": {"seconds": "ten"}}, ["until.seconds='ten'"]),
    ({"until": [["seconds", 3]]}, ["until=[['seconds', 3]]"]),
    ({"envelope": {"limts": {}}}, ["envelope.limts: unknown, did you mean 'limits'?"]),
    ({"envelope": {"limits": {"mx": 5}}}, ["envelope.limits.mx=5"]),
    (
        {"envelope": {**ENVELOPE, "max_step": {"mz": 1.0}}},
        ["envelope.max_step.mz: unknown. The motors"],
    ),
    ({"envelope": {**ENVELOPE, "forbidden": [{"bx": {"mx": [0, 1]}}]}}, ["envelope.forbidden.0.bx", "'box'?"]),
    ({"envelope": {**ENVELOPE, "forbidden": [{"box": {"mq": [0, 1]}}]}}, ["envelope.forbidden.0.box.mq: unknown"]),
    ({"envelope": {**ENVELOPE, "forbidden": {"box": {}}}}, ["envelope.forbidden={'box': {}}"]),
    ({"derive": {"width": "beam_widht"}}, ["derive.width: ", "did you mean 'beam_width'?"]),
    ({"derive": {"width": 3}}, ["derive.width=3"]),
    ({"derive": ["beam_widht"]}, ["derive.beam_widht: "]),
    ({"md": [["a", 1]]}, ["md=[['a', 1]]"]),
    ({"max_points": "10"}, ["max_points='10'"]),
    ({"max_points": 3.0}, ["max_points=3.0"]),
    ({"batch": "2"}, ["batch='2'"]),
    ({"retries": "1"}, ["retries='1'"]),
    ({"move_timeout_s": "5"}, ["move_timeout_s='5'"]),
    ({"trigger_timeout_s": "60"}, ["trigger_timeout_s='60'"]),
    ({"position_tolerance": {"mz": 1.0}}, ["position_tolerance", "mz"]),
    ({"finish": "besst"}, ["finish='besst'"]),
    ({"prior": "3f2a"}, ["prior='3f2a'"]),
    ({"baseline": "mx"}, ["baseline: no such device 'mx'"]),
    ({"baseline": ["mx"]}, ["baseline: no such device 'mx'"]),
    ({"measure": "knife"}, ["measure='knife'"]),
]
"""Other arguments of `optimize`."""

Bench = tuple[Bowl, list[SynAxis]]


def refused(RE: RunEngine, docs: Documents, plan: Any, says: list[str]) -> None:
    with pytest.raises(BadInputError) as refusal:
        RE(plan)
    for text in says:
        assert text in str(refusal.value)
    assert docs.all == []


@pytest.mark.parametrize(("agent", "says"), AGENTS, ids=[" ".join(says) for _, says in AGENTS])
def test_a_mistake_in_the_agent_is_found_by_its_path(
    RE: RunEngine, docs: Documents, bench: Bench, agent: Any, says: list[str]
) -> None:
    bowl, motors = bench
    before = [motor.position for motor in motors]
    for plan in (optimize, explore):
        refused(RE, docs, plan([bowl], motors, agent, max_points=3, envelope=ENVELOPE), says)
    assert [motor.position for motor in motors] == before


@pytest.mark.parametrize(("change", "says"), OTHERS, ids=[" ".join(says) for _, says in OTHERS])
def test_a_mistake_in_another_argument_is_found_by_its_path(
    RE: RunEngine, docs: Documents, bench: Bench, change: dict[str, Any], says: list[str]
) -> None:
    bowl, motors = bench
    arguments = {"max_points": 3, "envelope": ENVELOPE, **change}
    refused(RE, docs, optimize([bowl], motors, given(), **arguments), says)


def test_the_vocs_beside_an_agents_name_is_called_vocs(RE: RunEngine, docs: Documents, bench: Bench) -> None:
    bowl, motors = bench
    wrong = {**VOCS_JSON, "objectives": {"bowl": "LEAST"}}
    plan = optimize([bowl], motors, "bayesian", vocs=wrong, max_points=3, envelope=ENVELOPE)
    refused(RE, docs, plan, ["vocs.objectives.bowl='LEAST'"])


def test_a_mistake_in_python_is_named_after_the_class() -> None:
    with pytest.raises(BadInputError, match=r"^BayesianAgent\.sede: unknown, did you mean 'seed'\?"):
        BayesianAgent(VOCS_JSON, sede=1)


def test_a_name_where_a_device_belongs_is_no_such_device(RE: RunEngine, docs: Documents, bench: Bench) -> None:
    bowl, motors = bench
    mx, my = motors
    cases: list[tuple[Any, Any, list[str]]] = [
        ([bowl], [mx, "mz"], ["motors: no such device 'mz': there are ['mx']"]),
        ([bowl], "mx", ["motors: no such device 'mx'"]),
        ([bowl, "camera"], motors, ["detectors: no such device 'camera': there are ['bowl']"]),
        ("bowl", motors, ["detectors: no such device 'bowl'"]),
    ]
    for detectors, moved, says in cases:
        refused(RE, docs, optimize(detectors, moved, given(), max_points=3, envelope=ENVELOPE), says)
    refused(RE, docs, make_gate([mx, "my"]), ["motors: no such device 'my'"])
    with pytest.raises(BadInputError, match="flyers: no such device 'panda'"):
        FlyLine(["panda"], [my], Sweep("my", -1.0, 1.0, rows=3, seconds=1.0))
