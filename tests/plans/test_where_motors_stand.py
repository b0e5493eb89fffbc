"""Where motors stand is read before each move and after each arrival, and what is told is what was read."""

import math
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.suspenders import SuspendBoolHigh
from bluesky.utils import Msg, RunEngineInterrupted
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ophyd import Signal
from ophyd.sim import SynAxis
from scripted import RecordedAxis, Scripted, at
from simple import BOUNDS, ENVELOPE, Bowl, Documents, sobol, vocs

from ebl_autonomy import VOCS
from ebl_autonomy.errors import AgentError, BadInputError, MeasurementError
from ebl_autonomy.guard import Region, watch_admissions
from ebl_autonomy.plans import UserStub, optimize
from ebl_autonomy.records import Recommendation

SWEPT = {"box": {"mx": (0.9, 1.1)}, "sweep": True, "reason": "beam stop"}


class Hand:
    """Somebody who moves a motor without a word to the run."""

    def __init__(self, motor: SynAxis) -> None:
        self.motor = motor

    def move(self, position: float) -> None:
        self.motor.sim_state["readback"] = self.motor.sim_state["setpoint"] = position


class Settling(RecordedAxis):
    """A motor that says it has arrived, wherever it is: `ends` maps the number of a move and its target to its end."""

    def __init__(self, name: str, ends: Callable[[int, float], float]) -> None:
        super().__init__(name)
        self.ends = ends

    def set(self, value: float, **kwargs: Any) -> Any:
        status = super().set(value, **kwargs)
        self.sim_state["readback"] = self.ends(len(self.moves), value)
        return status


def bench_of(mx: SynAxis) -> tuple[Bowl, list[SynAxis]]:
    motors = [mx, SynAxis(name="my")]
    return Bowl(*motors), motors


def check_binding(docs: Documents, told: list[dict[str, Any]], tolerance: float) -> None:
    """Each accepted row was read within the tolerance of its proposal, and its agent was told what was read."""
    points = {d["proposal_id"]: d for d in docs.events["decisions"]}
    rows = docs.events["primary"]
    for row in rows:
        assert abs(row["mx"] - points[row["proposal_id"]]["mx"]) <= tolerance
    valid = [r for r in told if not math.isnan(r["bowl"])]
    assert sorted((r["mx"], r["bowl"]) for r in valid) == sorted((row["mx"], row["bowl"]) for row in rows)


# -- hands ---------------------------------------------------------------------------------------------------------


def test_a_motor_moved_by_hand_between_points_is_judged_from_where_it_is(RE: RunEngine, docs: Documents) -> None:
    bowl, motors = bench_of(RecordedAxis("mx"))
    hand = Hand(motors[0])
    after = {1: 1.7, 3: 0.2}  # by the number of rows: through the swept region, then back
    RE.subscribe(
        lambda _, doc: hand.move(after.get(doc["seq_num"], motors[0].position)) if "bowl" in doc["data"] else None,
        "event",
    )
    agent = Scripted([at(0.1), at(0.2), at(1.75), at(1.6), at(0.3)])
    envelope = {**ENVELOPE, "forbidden": [SWEPT], "max_step": {"mx": 0.25}}
    plan = optimize([bowl], motors, agent, max_points=9, envelope=envelope, finish="stay")
    result = RE(plan).plan_result
    assert (result.accepted, result.refused) == (4, 1)
    (gone,) = docs.events["abandoned"]
    assert gone["rule"] == "forbidden" or gone["rule"] == "step"
    assert "1.7" in gone["reason"]
    assert motors[0].longest <= 0.25
    check_binding(docs, agent.told, 0.0)


@pytest.mark.parametrize("when", ["pause", "thinking", "suspender"])
def test_a_motor_moved_by_hand_while_the_run_waits_is_brought_back(RE: RunEngine, docs: Documents, when: str) -> None:
    bowl, motors = bench_of(RecordedAxis("mx"))
    hand = Hand(motors[0])
    agent = Scripted([at(0.125), at(0.25), at(0.25, 0.5), at(0.375)])
    beam = Signal(name="beam", value=0)
    suggest, asked = agent.suggest, []

    def think(count: int | None = None) -> Any:
        asked.append(count)
        if len(asked) == 3:
            if when == "thinking":
                hand.move(1.5)
            elif when == "pause":
                RE.request_pause()
            else:
                threading.Timer(0.2, beam.put, args=(0,)).start()
                beam.put(1)
        return suggest(count)

    agent.suggest = think  # type: ignore[method-assign]

    def pre_plan() -> Any:
        yield from bps.null()
        hand.move(1.5)

    RE.install_suspender(SuspendBoolHigh(beam, pre_plan=pre_plan))
    plan = optimize([bowl], motors, agent, max_points=9, envelope=ENVELOPE, finish="stay")
    if when == "pause":
        with pytest.raises(RunEngineInterrupted):
            RE(plan)
        hand.move(1.5)
        RE.resume()
    else:
        RE(plan)
    assert (1.5, 0.25) in motors[0].moves  # the third point asks for 0.25 again, where the motor no longer is
    assert [row["mx"] for row in docs.events["primary"]] == [0.125, 0.25, 0.25, 0.375]
    check_binding(docs, agent.told, 0.0)


def test_a_motor_moved_by_hand_during_a_pause_within_a_stub_is_judged_from_there(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    hand = Hand(motors[0])
    refused: list[str] = []

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.abs_set(motors[0], 0.1)
        yield from bps.pause()
        try:
            yield from bps.mv(motors[0], 0.0)
        except Exception as error:  # noqa: BLE001 - what it says is the point
            refused.append(str(error))
        return {"bowl": 1.0}

    plan = optimize(
        [bowl], motors, Scripted([at(0.0)]), max_points=1, measure=measure, finish="stay", retries=0,
        envelope={**ENVELOPE, "max_step": {"mx": 0.5}},
    )  # fmt: skip
    with pytest.raises(RunEngineInterrupted):
        RE(plan)
    hand.move(1.5)
    result = RE.resume().plan_result
    assert len(refused) == 1
    assert "from 1.5 to 0.0" in refused[0]
    assert (result.accepted, result.refused) == (0, 1)  # the repeated attempt begins at 1.5 too


@pytest.mark.integration
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(seed=0, moves={5: 1.0, 6: 1.0}, noise=0.0)  # into the region
@given(
    seed=st.integers(0, 2**16),
    moves=st.dictionaries(st.integers(5, 250), st.floats(-2.0, 2.0, width=32), max_size=12),
    noise=st.sampled_from([0.0, 0.005]),
)
def test_whatever_hands_do_rows_are_where_they_were_asked_and_moves_start_where_motors_are(
    RE: RunEngine, seed: int, moves: dict[int, float], noise: float
) -> None:
    rng = random.Random(seed)
    docs = Documents(RE)
    motors = [Settling(name, lambda _, value: value + rng.uniform(-noise, noise)) for name in ("mx", "my")]
    bowl = Bowl(*motors)
    agent = sobol(seed)
    judged: list[bool] = []
    sent = 0

    def hands(_: Msg) -> None:
        nonlocal sent
        sent += 1
        if sent in moves:
            Hand(motors[sent % 2]).move(moves[sent])

    def where() -> dict[str, float]:
        return {motor.name: float(motor.position) for motor in motors}

    RE.msg_hook = hands  # type: ignore[assignment]
    region = Region(box={"mx": (0.9, 1.1), "my": (0.9, 1.1)})
    with watch_admissions(lambda admitted: judged.append(dict(admitted.here) == where())):
        try:
            RE(
                optimize(
                    [bowl], motors, agent, max_points=6, envelope={**ENVELOPE, "forbidden": [region]}, finish="stay",
                    retries=3, max_failures=99, position_tolerance={"mx": 0.01, "my": 0.01},
                )
            )  # fmt: skip
            ended_inside = False
        except AgentError as error:  # every way out of the region crosses it
            assert "may cross the region" in str(error)
            assert region.contains(where())
            ended_inside = True
    RE.dispatcher.unsubscribe_all()
    assert judged or ended_inside
    assert all(judged)
    points = {d["proposal_id"]: d for d in docs.events["decisions"]}
    told = {r["bowl"]: r for r in agent.results}
    for row in docs.events["primary"]:
        for name in BOUNDS:
            assert abs(row[name] - points[row["proposal_id"]][name]) <= 0.01
            assert told[row["bowl"]][name] == row[name]
    assert agent.pending == ()


# -- motors that arrive elsewhere ----------------------------------------------------------------------------------


def test_a_motor_that_stops_short_once_is_sent_again(RE: RunEngine, docs: Documents) -> None:
    bowl, motors = bench_of(Settling("mx", lambda number, value: 0.3 if number == 1 else value))
    agent = Scripted([at(0.5), at(0.75)])
    result = RE(optimize([bowl], motors, agent, max_points=9, envelope=ENVELOPE, finish="stay")).plan_result
    assert (result.accepted, result.abandoned) == (2, 0)
    assert [(row["mx"], row["attempt"]) for row in docs.events["primary"]] == [(0.5, 2), (0.75, 1)]
    assert bowl.triggers == 2  # nothing was exposed at the wrong place


@pytest.mark.integration
def test_a_motor_that_never_arrives_is_abandoned_with_the_reason(RE: RunEngine, docs: Documents) -> None:
    bowl, motors = bench_of(Settling("mx", lambda _, value: 0.5 * value))
    agent = Scripted([at(1.5)] * 9)
    with pytest.raises(MeasurementError, match=r"3 times because of mx.*raise position_tolerance"):
        RE(optimize([bowl], motors, agent, max_points=9, envelope=ENVELOPE, finish="stay", max_failures=3))
    assert docs.events["primary"] == []
    for gone in docs.events["abandoned"][:3]:
        assert (gone["status"], gone["rule"], gone["attempts"]) == ("abandoned", "device", 2)
        assert "mx was sent to 1.5 and reads 0.75, further off than its tolerance 0.04" in gone["reason"]


def test_a_motor_that_leaves_its_target_during_the_exposure_has_no_row(
    RE: RunEngine, docs: Documents, bench: Any
) -> None:
    bowl, motors = bench
    hand, expose = Hand(motors[0]), bowl.trigger

    def trigger() -> Any:
        if bowl.triggers == 1:
            hand.move(0.9)
        return expose()

    bowl.trigger = trigger
    agent = Scripted([at(0.125), at(0.25), at(0.5)])
    RE(optimize([bowl], motors, agent, max_points=9, envelope=ENVELOPE, finish="stay"))
    assert [(row["mx"], row["attempt"]) for row in docs.events["primary"]] == [(0.125, 1), (0.25, 2), (0.5, 1)]
    check_binding(docs, agent.told, 0.0)


def test_what_is_read_within_the_tolerance_is_told(RE: RunEngine, docs: Documents) -> None:
    bowl, motors = bench_of(Settling("mx", lambda number, value: value + 0.001 * (-1) ** number))
    agent = sobol()
    RE(optimize([bowl], motors, agent, max_points=6, batch=2, envelope=ENVELOPE, finish="stay"))
    rows = docs.events["primary"]
    asked = {d["proposal_id"]: d["mx"] for d in docs.events["decisions"]}
    assert len(rows) == 6
    assert all(0.0 < abs(row["mx"] - asked[row["proposal_id"]]) < 0.0011 for row in rows)
    assert sorted(r["mx"] for r in agent.results) == sorted(row["mx"] for row in rows)
    assert agent.pending == ()
    assert sorted(r["mx_asked"] for r in agent.results) == sorted(asked.values())


def test_a_motor_that_reads_noise_is_not_sent_again_to_the_same_target(RE: RunEngine) -> None:
    rng = random.Random(0)
    mx = Settling("mx", lambda _, value: value + rng.uniform(-0.01, 0.01))
    bowl, motors = bench_of(mx)
    points = [at(0.5, 0.1 * k) for k in range(5)]
    RE(optimize([bowl], motors, Scripted(points), max_points=5, envelope=ENVELOPE, finish="stay"))
    assert [target for _, target in mx.moves] == [0.5]


@pytest.mark.integration
def test_a_discrete_variable_has_the_value_that_was_asked(RE: RunEngine, docs: Documents) -> None:
    known = VOCS(
        variables={"mx": {"type": "DiscreteVariable", "values": [0, 1, 2]}, "my": [-2.0, 2.0]},
        objectives={"bowl": "MINIMIZE"},
    )
    ends = {1: 1.0003, 2: 1.3, 3: 1.3, 4: 0.0}
    bowl, motors = bench_of(Settling("mx", lambda number, _: ends[number]))
    agent = Scripted([at(1.0, 0.1), at(2.0, 0.1), at(0.0, 0.2)], known)
    RE(optimize([bowl], motors, agent, max_points=9, envelope=ENVELOPE, finish="stay"))
    assert [row["mx"] for row in docs.events["primary"]] == [1.0003, 0.0]
    assert [r["mx"] for r in agent.told] == [1.0, 2.0, 0.0]
    assert math.isnan(agent.told[1]["bowl"])


def test_a_best_point_read_just_outside_the_domain_is_gone_to(RE: RunEngine) -> None:
    bowl, motors = bench_of(Settling("mx", lambda _, value: value - 0.001))
    known = VOCS(variables={"mx": [0.5, 2.0], "my": [-2.0, 2.0]}, objectives={"bowl": "MINIMIZE"})
    agent = Scripted([at(0.5), at(1.0)], known)
    result = RE(
        optimize([bowl], motors, agent, max_points=9, envelope={"limits": {"mx": (0.5, 2), "my": (-2, 2)}})
    ).plan_result
    assert result.recommended.point["mx"] == pytest.approx(0.499)
    assert result.left_at["mx"] == pytest.approx(0.499)


# -- stubs ---------------------------------------------------------------------------------------------------------


class Sloppy(RecordedAxis):
    """Settles beside each target, on alternate sides."""

    def set(self, value: float, **kwargs: Any) -> Any:
        self.moves.append((float(self.position), float(value)))
        return SynAxis.set(self, value + 0.035 * (-1) ** len(self.moves), **kwargs)


@pytest.mark.parametrize("step", [0.06, 0.1, 0.5])
def test_steps_of_the_last_way_are_judged_from_where_motors_stand(RE: RunEngine, step: float) -> None:
    motors = [Sloppy("mx"), Sloppy("my")]
    agent = Scripted([at(0.0)])
    agent.best = lambda: Recommendation(at(-1.5, 1.0), {})  # type: ignore[attr-defined]
    box = {"mx": (-1.0, -0.9), "my": (-0.5, 0.5)}
    envelope = {**ENVELOPE, "max_step": {"mx": step}, "forbidden": [{"box": box}]}
    result = RE(optimize([Bowl(*motors)], motors, agent, max_points=1, envelope=envelope)).plan_result
    assert result.left_where == "are at the recommended point"
    assert motors[0].longest <= step * (1.0 + 1e-9)


def test_a_stub_that_leaves_a_motor_elsewhere_has_no_row(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.mv(motors[0], 1.75)
        return {"bowl": 1.0}

    agent = Scripted([at(0.1), at(0.2)])
    RE(optimize([bowl], motors, agent, max_points=9, measure=measure, envelope=ENVELOPE, finish="stay"))
    assert docs.events["primary"] == []
    for gone in docs.events["abandoned"]:
        assert "reads 1.75" in gone["reason"]
        assert "move it back before the stub returns" in gone["reason"]
        assert "positions_from_rows" in gone["reason"]

    def and_says_so(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.mv(motors[0], 1.75)
        return [{"bowl": 1.0, "mx": 1.75}]

    stub = UserStub(and_says_so, [bowl], positions_from_rows=["mx"])
    agent = Scripted([at(0.1)])
    RE(optimize([], motors, agent, max_points=9, measure=stub, envelope=ENVELOPE, finish="stay"))
    assert [r["mx"] for r in agent.told] == [1.75]


# -- tolerances ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"mz": 0.1}, r"names \['mz'\].*\['mx', 'my'\]"),
        ({"mx": 0.0}, "of 'mx' is 0.0: give a positive number"),
        ({"mx": -1.0}, "of 'mx' is -1.0"),
        ({"mx": math.nan}, "of 'mx' is nan"),
        ({"mx": math.inf}, "of 'mx' is inf"),
        ({"mx": "wide"}, "of 'mx' is 'wide'"),
        ({"mx": True}, "of 'mx' is True"),
        (0.1, "position_tolerance=0.1: give a mapping"),
        ([0.1], "give a mapping"),
    ],
)
def test_a_tolerance_that_is_none_is_refused(RE: RunEngine, bench: Any, wrong: Any, says: str) -> None:
    bowl, motors = bench
    with pytest.raises(BadInputError, match=says):
        RE(optimize([bowl], motors, sobol(), max_points=3, envelope=ENVELOPE, position_tolerance=wrong))


def test_a_tolerance_must_tell_discrete_values_apart(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    known = vocs()
    known.variables["mx"] = {"type": "DiscreteVariable", "values": [0, 0.5, 2]}
    with pytest.raises(BadInputError, match=r"only 0\.5 apart: give less than 0\.25"):
        RE(
            optimize(
                [bowl], motors, "sobol", vocs=known, max_points=3, envelope=ENVELOPE, position_tolerance={"mx": 0.25}
            )
        )


def test_the_tolerance_is_the_users_or_the_motors_own_or_a_share_of_the_domain(RE: RunEngine, docs: Documents) -> None:
    motors = [SynAxis(name=name) for name in ("mx", "my", "mz", "mw")]
    motors[0].atol, motors[0].rtol = 0.1, 0.05
    motors[1].tolerance = Signal(name="tolerance", value=0.02)
    motors[2].retry_deadband = Signal(name="deadband", value=0.0)  # of a motor record that does not retry
    bowl = Bowl(*motors[:2])
    known = VOCS(
        variables={
            "mx": [-2.0, 1.0],
            "my": [-2.0, 2.0],
            "mz": [0.0, 5.0],
            "mw": {"type": "DiscreteVariable", "values": [0, 1, 1.04]},
        },
        objectives={"bowl": "MINIMIZE"},
    )
    limits = {"mx": (-2, 2), "my": (-2, 2), "mz": (0, 5), "mw": (0, 2)}
    RE(optimize([bowl], motors, "sobol", vocs=known, max_points=1, envelope={"limits": limits}))
    own = docs.start["ebl_autonomy"]["position_tolerance"]
    assert own == pytest.approx({"mx": 0.1 + 0.05 * 2.0, "my": 0.02, "mz": 0.05, "mw": 0.01})
    docs.all.clear()
    RE(
        optimize(
            [bowl],
            motors,
            "sobol",
            vocs=known,
            max_points=1,
            envelope={"limits": limits},
            position_tolerance={"my": 0.5},
        )
    )
    assert docs.start["ebl_autonomy"]["position_tolerance"]["my"] == 0.5


class Renamed:
    """A positioner whose readback has another name, as ophyd's PVPositioner may have."""

    parent = None

    def __init__(self, motor: SynAxis) -> None:
        self.motor, self.name, self.hints = motor, motor.name, {"fields": []}

    @property
    def position(self) -> float:
        return float(self.motor.position)

    def set(self, value: float) -> Any:
        return self.motor.set(value)

    def read(self) -> dict[str, Any]:
        return {f"{self.name}_rbv": {"value": self.position, "timestamp": 0.0}}

    def describe(self) -> dict[str, Any]:
        return {f"{self.name}_rbv": {"source": "test", "dtype": "number", "shape": []}}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    describe_configuration = read_configuration


def test_a_readback_with_another_name_is_in_the_row_under_the_variables_name(RE: RunEngine, docs: Documents) -> None:
    mx, my = SynAxis(name="mx"), SynAxis(name="my")
    motors = [Renamed(Settling("mx", lambda _, value: value + 0.002)), my]
    bowl = Bowl(motors[0], my)  # type: ignore[arg-type]
    agent = sobol()
    RE(optimize([bowl], motors, agent, max_points=3, envelope=ENVELOPE, finish="stay"))
    rows = docs.events["primary"]
    assert len(rows) == 3
    assert [row["mx"] for row in rows] == [row["mx_rbv"] for row in rows] == [r["mx"] for r in agent.results]
    detector = Bowl(mx, my)
    detector.read = lambda: {"bowl": {"value": 1.0, "timestamp": 0.0}, "mx": {"value": 1.0, "timestamp": 0.0}}  # type: ignore[method-assign]
    key = {"source": "test", "dtype": "number", "shape": []}
    detector.describe = lambda: {"bowl": key, "mx": key}  # type: ignore[method-assign]
    with pytest.raises(BadInputError, match=r"\['mx'\] read no key of their own names, but other devices do"):
        RE(optimize([detector], motors, sobol(), max_points=3, envelope=ENVELOPE))
