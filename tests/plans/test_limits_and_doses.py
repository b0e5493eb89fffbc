"""Limits of motors on one side only or of their own, and doses: each exposure counts, with a row or without."""

import json
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.utils import RunEngineInterrupted
from ophyd import Signal
from ophyd.sim import SynAxis
from ophyd.utils import LimitError
from scripted import Scripted, at, pause_in_exposure
from simple import ENVELOPE, Bowl, Documents, sobol

from ebl_autonomy import VOCS
from ebl_autonomy.data import Connection, read_run
from ebl_autonomy.guard import DoseCount, Envelope
from ebl_autonomy.plans import FlyLine, Sweep, optimize
from ebl_autonomy.plans.devices import read_limits
from ebl_autonomy.sim_devices import Clock, SimFlyer, SimMotor
from ebl_autonomy.steering import restore_session

# -- limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "found"),
    [
        ((-math.inf, 0.5), (-math.inf, 0.5)),
        ((-0.25, math.inf), (-0.25, math.inf)),
        ((None, 0.5), (-math.inf, 0.5)),
        ((math.nan, 0.5), (-math.inf, 0.5)),
        ([Signal(name="low", value=-1.5), 3], (-1.5, 3.0)),
        (np.array([-0.5, 0.5]), (-0.5, 0.5)),
        (np.array([-1, 1]), (-1.0, 1.0)),
        (np.array([-0.5, 0.5], dtype=object), (-0.5, 0.5)),
        ((np.float32(-0.5), np.int64(1)), (-0.5, 1.0)),
        (np.array([0.0, 0.0]), None),
        ((0, 0), None),
        ((5.0, 5.0), None),
        ((1.0, -1.0), None),
        ((-math.inf, math.inf), None),
        ((None, None), None),
        ("none", None),
    ],
)
def test_each_side_of_the_limits_counts(RE: RunEngine, own: Any, found: Any) -> None:
    motor = SynAxis(name="mx")
    motor.limits = own

    def ask() -> Any:
        return (yield from read_limits(motor))

    assert RE(ask()).plan_result == found


def test_a_limit_on_one_side_refuses_what_is_beyond_it_and_is_json(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    motors[0].limits, motors[1].limits = (-math.inf, 0.5), (-0.25, math.inf)
    agent = Scripted([at(0.75), at(-2.0), at(0.5, -0.5), at(0.5, 2.0)])
    result = RE(optimize([bowl], motors, agent, max_points=9, finish="stay")).plan_result
    assert (result.accepted, result.refused) == (2, 2)
    assert {gone["rule"] for gone in docs.events["abandoned"]} == {"limits"}
    assert docs.start["ebl_autonomy"]["limits"] == {"mx": [None, 0.5], "my": [-0.25, None]}
    json.dumps(docs.start["ebl_autonomy"], allow_nan=False)


def test_an_envelope_open_on_one_side_is_json_and_read_again(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    given = {"limits": {"mx": [-math.inf, 0.5], "my": [None, 2.0]}, "forbidden": [{"box": {"my": (1.0, math.inf)}}]}
    agent = Scripted([at(0.75), at(-2.0, 1.5), at(-2.0)])
    result = RE(optimize([bowl], motors, agent, max_points=9, envelope=given, finish="stay")).plan_result
    assert (result.accepted, result.refused) == (1, 2)
    written = json.loads(json.dumps(docs.start["ebl_autonomy"]["envelope"], allow_nan=False))
    assert written["limits"] == {"mx": [None, 0.5], "my": [None, 2.0]}
    assert Envelope.of(written) == Envelope.of(given)


def test_both_limits_and_check_value_count_before_anything_moves(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    motors[0].limits, motors[1].limits = (-1.0, 1.0), (-2.0, 2.0)

    def check(value: float) -> None:
        if value < 0.0:
            raise ValueError(f"{value}: the shutter is in the way")

    motors[1].check_value = check
    moved: list[float] = []
    motors[0].subscribe(lambda value, **_: moved.append(value), run=False)
    agent = Scripted([at(1.5, 0.5), at(0.5, -0.5)])
    result = RE(optimize([bowl], motors, agent, max_points=9, finish="stay", retries=5)).plan_result
    assert (result.refused, result.abandoned) == (2, 0)
    assert moved == []
    by_own_check = docs.events["abandoned"][1]
    assert (by_own_check["status"], by_own_check["rule"]) == ("refused", "limits")
    assert "'my' itself refuses -0.5 (ValueError: -0.5: the shutter is in the way)" in by_own_check["reason"]


def test_a_motor_that_does_not_answer_has_refused_nothing(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    asked: list[float] = []

    def check(value: float) -> None:
        asked.append(value)
        if len(asked) == 1:
            raise TimeoutError("no answer from the IOC")

    motors[0].check_value = check
    result = RE(optimize([bowl], motors, Scripted([at(0.5)]), max_points=9, envelope=ENVELOPE)).plan_result
    assert (result.accepted, result.refused) == (1, 0)
    assert docs.events["primary"][0]["attempt"] == 2


def test_the_ends_of_a_line_are_checked_by_the_motor_itself(RE: RunEngine, docs: Documents) -> None:
    clock = Clock(math.inf)
    x, y = (SimMotor(n, clock, (-5.0, 5.0), egu="mm", velocity=50.0, settle_time=0.0) for n in ("x", "y"))

    def check(value: float) -> None:
        if value > 0.8:
            raise LimitError(f"{value} would touch the sample")

    x.check_value = check  # type: ignore[method-assign]
    flyer = SimFlyer("flyer", x, Bowl(x, y), clock)
    agent = Scripted([{"y": 0.1}], VOCS(variables={"y": [-1.0, 1.0]}, objectives={"bowl": "MINIMIZE"}))
    line = FlyLine([flyer], [x], Sweep("x", -1.0, 1.0, rows=4, seconds=0.4))
    result = RE(optimize([], [y], agent, max_points=9, measure=line, finish="stay")).plan_result
    assert (result.accepted, result.refused) == (0, 1)
    (gone,) = docs.events["abandoned"]
    assert gone["rule"] == "limits"
    assert "would touch the sample" in gone["reason"]
    assert (x.position, y.position) == (0.0, 0.0)


# -- doses ---------------------------------------------------------------------------------------------------------


class Dosimeter:
    """A detector that reads the values of a list."""

    name, parent = "dose", None

    def __init__(self, values: list[Any]) -> None:
        self.values = list(values)

    def read(self) -> dict[str, Any]:
        return {"dose": {"value": self.values.pop(0), "timestamp": time.time()}}

    def describe(self) -> dict[str, Any]:
        return {"dose": {"source": "test", "dtype": "number", "shape": []}}


def dose_of(docs: Documents) -> list[float]:
    """The doses that were recorded with rows and abandonments, in time order."""
    named = [doc["data"] for name, doc in docs.all if name == "event" and "dose_spent" in doc["data"]]
    return [data["dose_spent"] for data in named]


BUDGET = {**ENVELOPE, "max_dose": 100.0, "dose_key": "dose"}


@pytest.mark.parametrize("bad", [None, "much", math.nan, math.inf, -1.0])
def test_a_dose_that_is_none_ends_the_budget_and_not_the_program(
    RE: RunEngine, docs: Documents, bench: Any, bad: Any
) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.1 * k) for k in range(9)])
    result = RE(
        optimize([bowl, Dosimeter([1.0, bad, 1.0])], motors, agent, max_points=9, envelope=BUDGET, finish="stay")
    ).plan_result
    assert result.accepted == 2
    assert f"dose read {bad!r}, which is not a dose" in result.stop_reason
    assert docs.stop["exit_status"] == "success"
    rows = {row["proposal_id"] for row in docs.events["primary"]}
    gone = {row["proposal_id"] for row in docs.events["abandoned"]}
    assert not rows & gone
    assert math.isnan(dose_of(docs)[-1])


def test_exposures_that_left_no_row_count(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: RuntimeError("readout") if n in (1, 2, 5) else None
    agent = Scripted([at(0.1 * k) for k in range(4)])
    plan = optimize(
        [bowl, Dosimeter([2.0, 3.0, 1.0])], motors, agent, max_points=9, envelope=BUDGET, finish="stay", retries=1
    )
    RE(plan)
    # Exposures 1 and 2 are lost before any dose is known, 3 reads 2 and prices them, 4 reads 3, 5 is lost at the price
    # of 3, and 6 reads 1.
    assert dose_of(docs) == [0.0, 6.0, 9.0, 13.0]
    assert docs.events["abandoned"][0]["exposures_unpriced"] == 2


def test_a_dose_that_was_read_before_its_row_was_dropped_counts_as_read(
    RE: RunEngine, docs: Documents, bench: Any
) -> None:
    bowl, motors = bench
    expose = bowl.trigger

    def trigger() -> Any:
        if bowl.triggers == 1:
            motors[0].sim_state["readback"] = 1.0  # by hand
        return expose()

    bowl.trigger = trigger
    agent = Scripted([at(0.125), at(0.25)])
    RE(optimize([bowl, Dosimeter([1.0, 7.0, 2.0])], motors, agent, max_points=9, envelope=BUDGET, finish="stay"))
    assert [row["attempt"] for row in docs.events["primary"]] == [1, 2]
    assert dose_of(docs) == [1.0, 10.0]


def test_a_pause_in_an_exposure_costs_its_dose_and_one_between_points_none(
    RE: RunEngine, docs: Documents, bench: Any
) -> None:
    bowl, motors = bench
    pause_in_exposure(RE, bowl, 2)
    agent = Scripted([at(0.1), at(0.2)])
    with pytest.raises(RunEngineInterrupted):
        RE(optimize([bowl, Dosimeter([2.0, 2.0])], motors, agent, max_points=9, envelope=BUDGET, finish="stay"))
    RE.resume()
    assert dose_of(docs) == [2.0, 6.0]


def test_stubs_that_fail_cost_a_dose_and_end_the_budget(RE: RunEngine, docs: Documents, bench: Any) -> None:
    _, motors = bench
    calls: list[int] = []

    def measure(detectors: Any, point: Mapping[str, float]) -> Any:
        calls.append(len(calls))
        yield from bps.null()
        if len(calls) > 1:
            raise RuntimeError("no frame")
        return {"bowl": 1.0, "dose": 2.0}

    agent = Scripted([at(0.1 * k) for k in range(9)])
    envelope = {**ENVELOPE, "max_dose": 7.0, "dose_key": "dose"}
    plan = optimize([], motors, agent, max_points=9, measure=measure, envelope=envelope, finish="stay", retries=9)
    result = RE(plan).plan_result
    assert len(calls) == 4
    assert "the dose is 8.0, 7.0 is allowed" in result.stop_reason


@pytest.mark.parametrize("cut", [False, True])
def test_a_line_is_one_exposure_of_many_rows(RE: RunEngine, docs: Documents, cut: bool) -> None:
    clock = Clock(math.inf)
    x, y = (SimMotor(n, clock, (-5.0, 5.0), egu="mm", velocity=50.0, settle_time=0.0) for n in ("x", "y"))
    flyer = SimFlyer("flyer", x, Bowl(x, y), clock)
    complete, flights = flyer.complete, []

    def cut_short() -> Any:
        flights.append(len(flights))
        if cut and len(flights) == 2:
            raise RuntimeError("the flyer stopped")
        return complete()

    flyer.complete = cut_short  # type: ignore[method-assign]
    points = [{"y": 0.1 * k} for k in range(3)]
    agent = Scripted(points, VOCS(variables={"y": [-1.0, 1.0]}, objectives={"bowl": "MINIMIZE"}))
    line = FlyLine([flyer], [x], Sweep("x", -1.0, 1.0, rows=4, seconds=0.4))
    envelope = {"max_dose": 100.0, "dose_key": "dose"}
    plan = optimize(
        [], [y], agent, max_points=99, measure=line, envelope=envelope, finish="stay", derive={"dose": lambda row: 0.5}
    )
    RE(plan)
    recorded = [row["dose_spent"] for row in docs.events["primary"]]
    assert recorded == ([2.0] * 4 + [6.0] * 4 if cut else [2.0] * 4 + [4.0] * 4 + [6.0] * 4)


def test_without_a_dose_key_nothing_is_counted(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    RE(optimize([bowl], motors, Scripted([at(0.1), at(9.0)]), max_points=9, envelope=ENVELOPE))
    assert docs.events["abandoned"]
    assert dose_of(docs) == []


@pytest.mark.integration
def test_a_restored_session_goes_on_with_the_dose_of_the_run(
    RE: RunEngine, docs: Documents, bench: Any, tiled: Connection
) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: RuntimeError("readout") if n in (1, 2, 4) else None
    motors[0].set = lambda value, go=motors[0].set: go(value + 0.001)
    agent = sobol(3)
    RE(optimize([bowl, Dosimeter([2.0, 0.5, 1.0])], motors, agent, max_points=3, envelope=BUDGET, finish="stay"))
    tiled.flush()
    record = read_run(docs.start["uid"], tiled.client)
    told = [r for r in record.results if not math.isnan(r["bowl"])]
    assert [r["mx"] for r in told] == list(record.rows["mx"])  # what was read, and not what was asked
    assert [r["mx_asked"] for r in told] == [p.point["mx"] for p in record.proposals if p.status == "accepted"]
    session = restore_session(record, max_points=9)
    assert session.gate.dose == dose_of(docs)[-1] == 2.0 * 3 + 2.0 + 0.5 + 1.0
    (proposal,) = session.ask()
    (following,) = agent.suggest(1)
    assert proposal.proposed == following


def test_a_count_of_doses_goes_on_from_what_was_recorded() -> None:
    count = DoseCount("dose").restored(3.0, 2)
    assert (count.spent, count.unpriced) == (3.0, 2)
    assert count.after([{"dose": 1.0}]).spent == 6.0
    assert DoseCount("dose").restored(math.nan, 0).spent == math.inf
    assert "no known dose" in DoseCount("dose").restored(math.nan, 0).unknown
