"""Motors without limits are bounded by the domain, and an agent searches only what the motors can reach."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.run_engine import call_in_bluesky_event_loop
from ophyd import Signal, SoftPositioner
from ophyd.sim import SynAxis
from ophyd_async.sim import SimMotor
from scripted import Scripted, at
from simple import BOUNDS, Bowl, Documents, truth, vocs

from ebl_autonomy import VOCS
from ebl_autonomy.data import Connection, read_run
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import make_gate, move_motors, optimize
from ebl_autonomy.steering import restore_session

Bounds = Mapping[str, tuple[float, float]]


class Bounded(Scripted):
    """Proposes the corners of the part of the domain that it is told to search."""

    def __init__(self, *args: Any) -> None:
        super().__init__([], *args)
        self.searched: list[dict[str, tuple[float, float]]] = []

    def search_within(self, bounds: Bounds) -> None:
        self.searched.append(dict(bounds))
        self.points = [{name: ends[i] for name, ends in bounds.items()} for i in (0, 1)]


def axis(name: str, position: float = 0.0) -> SynAxis:
    return SynAxis(name=name, value=position)


def soft(name: str, position: float = 0.0) -> SoftPositioner:
    return SoftPositioner(name=name, init_pos=position)


def signal(name: str, position: float = 0.0) -> Signal:
    return Signal(name=name, value=position)


def async_motor(name: str, position: float = 0.0) -> SimMotor:
    motor = SimMotor(name=name)

    async def connect() -> None:
        await motor.connect()
        await motor.set(position)  # releases differ in whether the readback takes an initial value

    call_in_bluesky_event_loop(connect())
    return motor


KINDS = [axis, soft, signal, async_motor]


class Where:
    """A detector that reads a bowl at the positions that were set last."""

    name = "bowl"
    parent = None

    def __init__(self, RE: RunEngine) -> None:
        self.at: dict[str, float] = {"mx": 0.0, "my": 0.0}
        RE.msg_hook = lambda msg: self.at.update({msg.obj.name: msg.args[0]} if msg.command == "set" else {})

    def read(self) -> dict[str, Any]:
        return {"bowl": {"value": truth(self.at["mx"], self.at["my"]), "timestamp": 0.0}}

    def describe(self) -> dict[str, Any]:
        return {"bowl": {"source": "test", "dtype": "number", "shape": []}}


@pytest.mark.parametrize("make", KINDS)
def test_the_domain_bounds_motors_without_limits_and_one_line_says_so(
    RE: RunEngine, docs: Documents, caplog: pytest.LogCaptureFixture, make: Any
) -> None:
    motors = [make("mx"), make("my")]
    agent = Scripted([at(0.5, -0.5), at(2.0, -2.0), at(2.5)])
    with caplog.at_level(logging.WARNING):
        result = RE(optimize([Where(RE)], motors, agent, max_points=9, finish="return")).plan_result
    (said,) = [record.message for record in caplog.records if "without limits" in record.message]
    assert "mx in [-2, 2], my in [-2, 2]" in said
    assert [(row["mx"], row["my"]) for row in docs.events["primary"]] == [(0.5, -0.5), (2.0, -2.0)]
    assert (result.accepted, result.refused) == (2, 1)
    assert result.left_at == {"mx": 0.0, "my": 0.0}
    assert docs.start["ebl_autonomy"]["limits"] == {name: list(ends) for name, ends in BOUNDS.items()}
    assert docs.start["ebl_autonomy"]["searched"] == {}


def test_no_line_is_said_about_motors_with_limits(RE: RunEngine, bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    bowl, motors = bench
    motors[0].limits = (-5.0, 5.0)
    with caplog.at_level(logging.INFO):
        RE(optimize([bowl], motors, Scripted([at(0.5)]), max_points=1, envelope={"limits": {"my": (-3, 3)}}))
    assert not [record for record in caplog.records if record.name == "ebl_autonomy.plans.bounds"]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("position", [-2.5, 9.0])
def test_a_return_to_beyond_the_domain_is_refused_before_anything_moves(
    RE: RunEngine, docs: Documents, make: Any, position: float
) -> None:
    def plan(**more: Any) -> Any:
        motors = [make("mx", position), make("my")]
        return optimize([Where(RE)], motors, Scripted([at(0.5)]), max_points=1, **more)

    with pytest.raises(BadInputError, match=rf"'mx' back to {position}.*domain \[-2, 2\].*envelope=.*finish='best'"):
        RE(plan(finish="return"))
    assert docs.all == []
    assert RE(plan(finish="stay")).plan_result.accepted == 1
    wide = {"limits": {"mx": (-10, 10)}}
    assert RE(plan(finish="return", envelope=wide)).plan_result.left_at["mx"] == position


def test_a_start_beside_the_domain_by_less_than_the_tolerance_is_returned_to(RE: RunEngine) -> None:
    motors = [SynAxis(name="mx", value=2.001), SynAxis(name="my")]
    result = RE(optimize([Bowl(*motors)], motors, Scripted([at(0.5)]), max_points=1, finish="return")).plan_result
    assert result.left_where == "are back where they were before"
    assert result.left_at["mx"] == 2.0


@pytest.mark.parametrize(("target", "accepted"), [(1.9, 1), (2.1, 0)])
def test_moves_of_a_stub_are_judged_by_the_domain(
    RE: RunEngine, docs: Documents, bench: Any, target: float, accepted: int
) -> None:
    _, motors = bench

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.mv(motors[0], target)
        yield from bps.mv(motors[0], point["mx"])
        return {"bowl": 1.0}

    result = RE(optimize([], motors, Scripted([at(0.5)]), max_points=1, measure=measure, finish="stay")).plan_result
    assert result.accepted == accepted
    assert [gone["rule"] for gone in docs.events["abandoned"]] == ["limits"] * (1 - accepted)


def test_without_a_vocs_motors_still_need_limits(RE: RunEngine) -> None:
    motor = SynAxis(name="mx")
    with pytest.raises(BadInputError, match="motor 'mx' has no limits of its own"):
        RE(make_gate([motor]))
    with pytest.raises(BadInputError, match="motor 'mx' has no limits of its own"):
        RE(move_motors({"mx": motor}, {"mx": 1.0}, 5.0))


@pytest.mark.parametrize(
    ("own", "envelope", "searched"),
    [
        ((-1.0, 1.0), {}, {"mx": (-1.0, 1.0), "my": (-2.0, 2.0)}),
        ([-1.0, 5.0], {"mx": (-9.0, 0.5)}, {"mx": (-1.0, 0.5), "my": (-2.0, 2.0)}),
        ((None, 1.5), {}, {"mx": (-2.0, 1.5), "my": (-2.0, 2.0)}),
        (np.array([-0.5, 0.75]), {"my": (0.0, None)}, {"mx": (-0.5, 0.75), "my": (0.0, 2.0)}),
        ((0, 0), {"my": np.array([-1.0, 1.0])}, {"mx": (-2.0, 2.0), "my": (-1.0, 1.0)}),
    ],
)
def test_an_agent_searches_what_the_motors_can_reach(
    RE: RunEngine, docs: Documents, bench: Any, caplog: pytest.LogCaptureFixture, own: Any, envelope: Any, searched: Any
) -> None:
    bowl, motors = bench
    motors[0].limits = own
    agent = Bounded()
    with caplog.at_level(logging.WARNING):
        plan = optimize([bowl], motors, agent, max_points=2, envelope={"limits": envelope}, finish="stay")
        result = RE(plan).plan_result
    assert agent.searched == [searched]
    assert (result.accepted, result.refused) == (2, 0)
    assert [(row["mx"], row["my"]) for row in docs.events["primary"]] == [(p["mx"], p["my"]) for p in agent.told]
    written = {name: list(ends) for name, ends in searched.items()}
    assert docs.start["ebl_autonomy"]["searched"] == written
    (said,) = [record.message for record in caplog.records if "searches only" in record.message]
    for name, ends in searched.items():
        assert (f"{name} in [{ends[0]:g}, {ends[1]:g}]" in said) is (ends != BOUNDS[name])


def test_an_agent_that_is_used_again_searches_the_whole_domain_again(RE: RunEngine, docs: Documents) -> None:
    mx, my = SynAxis(name="mx"), SynAxis(name="my")
    agent = Bounded()
    for limits in ((-1.0, 1.0), (-9.0, 9.0)):
        mx.limits = limits
        RE(optimize([Bowl(mx, my)], [mx, my], agent, max_points=2, finish="stay"))
    assert [searched["mx"] for searched in agent.searched] == [(-1.0, 1.0), (-2.0, 2.0)]
    assert docs.events["abandoned"] == []


def test_a_generator_that_cannot_search_a_part_is_warned_of_and_its_proposals_are_refused(
    RE: RunEngine, docs: Documents, bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bowl, motors = bench
    motors[0].limits = (-1.0, 1.25)
    with caplog.at_level(logging.WARNING):
        result = RE(optimize([bowl], motors, Scripted([at(1.5), at(1.0)]), max_points=1, finish="stay")).plan_result
    assert (result.accepted, result.refused) == (1, 1)
    (said,) = [record.message for record in caplog.records if "search_within" in record.message]
    assert "Scripted cannot be told" in said
    assert "mx in [-1, 1.25]" in said
    assert docs.start["ebl_autonomy"]["searched"] == {}


def test_the_values_of_a_discrete_variable_that_cannot_be_reached_are_not_searched(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    wheel = VOCS(
        variables={"mx": {"type": "DiscreteVariable", "values": [0, 1, 2, 3]}, "my": [-2.0, 2.0]},
        objectives={"bowl": "MINIMIZE"},
    )
    motors[0].limits = (0.5, 2.5)
    agent = Bounded(wheel)
    assert RE(optimize([bowl], motors, agent, max_points=2, finish="stay")).plan_result.accepted == 2
    assert agent.searched == [{"mx": (1.0, 2.0), "my": (-2.0, 2.0)}]


@pytest.mark.parametrize("limits", [(3.0, 4.0), (2.0, 9.0), (-7, -2.5)])
def test_a_domain_that_no_motor_can_reach_is_refused_before_anything_moves(
    RE: RunEngine, docs: Documents, bench: Any, limits: Any
) -> None:
    bowl, motors = bench
    motors[0].limits = limits
    with pytest.raises(BadInputError, match=r"variable 'mx' has the domain \[-2.0, 2.0\].*change the domain or"):
        RE(optimize([bowl], motors, Bounded(), max_points=2))
    assert docs.all == []


@pytest.mark.integration
def test_a_restored_session_searches_the_same_part(
    RE: RunEngine, docs: Documents, bench: Any, tiled: Connection
) -> None:
    bowl, motors = bench
    motors[0].limits = (-1.0, 0.5)
    RE(optimize([bowl], motors, Bounded(vocs()), max_points=1, finish="stay"))
    tiled.flush()
    again = Bounded(vocs())
    restore_session(read_run(docs.start["uid"], tiled.client), agent=again, max_points=9)
    assert again.searched == [{"mx": (-1.0, 0.5), "my": (-2.0, 2.0)}]
