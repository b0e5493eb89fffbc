"""The plan that goes to the best point of a run, of this session or out of Tiled."""

import itertools
import math
import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from advised import Advised, last_line, pause_and
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.utils import RunEngineInterrupted
from scripted import Scripted, at, pause_in_exposure
from simple import ENVELOPE, Documents

from ebl_autonomy.data import Connection, read_run
from ebl_autonomy.errors import BadInputError, RefusedError
from ebl_autonomy.plans import go_to_best, optimize, remembered
from ebl_autonomy.testing.plans import check_plan_signature


def aborted(RE: RunEngine, bowl: Any, motors: Any, agent: Any, **more: Any) -> str:
    """The uid of a run that was aborted at its third point."""
    uids: list[str] = []
    token = RE.subscribe(lambda _, doc: uids.append(doc["uid"]), "start")
    pause_in_exposure(RE, bowl, 3)
    pause_and(RE, "abort", optimize([bowl], motors, agent, max_points=9, **{"envelope": ENVELOPE, **more}))
    RE.unsubscribe(token)
    return uids[0]


@pytest.mark.parametrize("give", [lambda uid: uid, lambda uid: uid[:8], lambda uid: uid[:10]])
def test_the_best_point_of_an_aborted_run_is_a_plan_away(
    RE: RunEngine, docs: Documents, recorded: Any, capsys: pytest.CaptureFixture[str], give: Callable[[str], Any]
) -> None:
    bowl, motors = recorded
    uid = aborted(RE, bowl, motors, Advised([at(0.25), at(1.0), at(1.5)]))
    capsys.readouterr()
    assert RE(go_to_best(give(uid))).plan_result == at(0.5, -0.25)
    assert (motors[0].position, motors[1].position) == (0.5, -0.25)
    assert f"motors are at the best point of run {uid[:8]}: mx 0.5, my -0.25" in capsys.readouterr().out
    assert [name for name, _ in docs.all].count("start") == 1  # it opens no run


def test_the_best_reading_serves_if_the_agent_recommends_nothing(
    RE: RunEngine, recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bowl, motors = recorded
    uid = aborted(RE, bowl, motors, Scripted([at(0.75), at(0.25, -0.125), at(1.5)]))
    RE(go_to_best(uid[:8]))
    assert (motors[0].position, motors[1].position) == (0.25, -0.125)


def test_the_line_of_a_run_is_followed_literally(
    RE: RunEngine, recorded: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    bowl, motors = recorded
    aborted(RE, bowl, motors, Advised([at(0.25), at(1.0), at(1.5)]))
    (command,) = re.findall(r"RE\(go_to_best\('\w{8}'\)\)", last_line(capsys))
    eval(command, {"RE": RE, "go_to_best": go_to_best})
    assert motors[0].position == 0.5


def test_the_way_to_the_best_point_keeps_the_rules_of_the_run(RE: RunEngine, recorded: Any) -> None:
    bowl, motors = recorded
    wall = {"box": {"mx": (0.6, 0.7), "my": (-1.0, 1.0)}}
    envelope = {**ENVELOPE, "forbidden": [wall], "max_step": {"mx": 0.5}}
    uid = aborted(RE, bowl, motors, Advised([at(0.25), at(0.0), at(-0.25)]), envelope=envelope)
    for x, y in ((0.0, 1.5), (1.5, 1.5), (1.5, 0.0)):  # around the wall
        RE(bps.mv(motors[0], x, motors[1], y))
    begun = [len(motor.moves) for motor in motors]
    RE(go_to_best(uid))
    assert (motors[0].position, motors[1].position) == (0.5, -0.25)
    steps = motors[0].moves[begun[0] :]
    assert len(steps) > 2
    assert all(abs(there - here) <= 0.5 + 1e-9 for here, there in steps)
    assert max(abs(value) for move in motors[1].moves[begun[1] :] for value in move) > 1.0


def test_the_rules_of_the_run_can_be_replaced(RE: RunEngine, recorded: Any) -> None:
    bowl, motors = recorded
    uid = aborted(RE, bowl, motors, Advised([at(0.25), at(1.0), at(1.5)]))
    stop = {"forbidden": [{"box": {"mx": (0.45, 0.55), "my": (-0.3, -0.2)}, "reason": "beam stop"}]}
    moved = len(motors[0].moves)
    with pytest.raises(RefusedError, match="beam stop"):
        RE(go_to_best(uid, envelope=stop))
    with pytest.raises(BadInputError, match="limts"):
        RE(go_to_best(uid, envelope={"limts": {}}))
    assert len(motors[0].moves) == moved


def test_limits_that_a_motor_has_got_since_then_hold(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    uid = aborted(RE, bowl, motors, Advised([at(0.25), at(1.0), at(1.5)]))
    motors[0].limits = (0.75, 2.0)
    with pytest.raises(RefusedError, match=r"mx = 0\.5 is outside its limits"):
        RE(go_to_best(uid))
    assert motors[0].position == 1.5


def test_a_motor_that_is_missing_is_named(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    uid = aborted(RE, bowl, motors, Advised([at(0.25), at(1.0), at(1.5)]))
    with pytest.raises(BadInputError, match=r"needs the motors \['my'\].*motors=\[mx, my\]"):
        RE(go_to_best(uid, [motors[0]]))
    with pytest.raises(BadInputError, match="give a list of motors"):
        RE(go_to_best(uid, motors[0]))
    assert motors[0].position == 1.5


@pytest.mark.parametrize("run", ["", "no such run", 7, None, "0000000000"])
def test_what_is_no_run_is_refused(RE: RunEngine, run: Any) -> None:
    with pytest.raises(BadInputError, match="run"):
        RE(go_to_best(run))


def test_the_beginning_of_two_uids_is_ambiguous(monkeypatch: pytest.MonkeyPatch, RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    result = RE(optimize([bowl], motors, Advised([at(0.5)]), max_points=1, envelope=ENVELOPE)).plan_result
    run = remembered.recall(result.uid)
    monkeypatch.setattr(remembered, "_runs", {"abc1": run, "abc2": run})
    with pytest.raises(BadInputError, match="give more characters"):
        RE(go_to_best("abc"))


def test_a_scan_id_is_no_beginning_of_a_uid(monkeypatch: pytest.MonkeyPatch, RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    result = RE(optimize([bowl], motors, Advised([at(0.5)]), max_points=1, envelope=ENVELOPE)).plan_result
    run = remembered.recall(result.uid)
    monkeypatch.setattr(remembered, "_runs", {"12345678-9": run})
    RE(bps.mv(motors[0], 1.0))
    for scan_id in ("1", "123", 123, "-1", -1):
        with pytest.raises(BadInputError, match="no connection to look it up"):
            RE(go_to_best(scan_id))
    assert motors[0].position == 1.0
    RE(go_to_best("12345678"))
    assert motors[0].position == 0.5


@pytest.mark.parametrize("timeout_s", ["10", True, 0, -1.0, math.nan])
def test_what_is_no_time_is_refused(RE: RunEngine, timeout_s: Any) -> None:
    with pytest.raises(BadInputError, match=r"move_timeout_s=.*give a positive number of seconds"):
        RE(go_to_best("abc", move_timeout_s=timeout_s))


def test_the_oldest_runs_are_forgotten(monkeypatch: pytest.MonkeyPatch, RE: RunEngine, bench: Any) -> None:
    monkeypatch.setattr(remembered, "MOST_RUNS", 2)
    bowl, motors = bench
    uids = [
        RE(optimize([bowl], motors, Advised([at(0.5)]), max_points=1, envelope=ENVELOPE)).plan_result.uid
        for _ in range(3)
    ]
    assert [remembered.recall(uid) is not None for uid in uids] == [False, True, True]
    with pytest.raises(BadInputError, match="has not steered it, and there is no connection"):
        RE(go_to_best(uids[0]))


def test_a_pause_on_the_way_is_survived(RE: RunEngine, slow_bench: Any) -> None:
    bowl, motors = slow_bench
    result = RE(
        optimize([bowl], motors, Advised([at(1.0)]), max_points=1, finish="stay", envelope=ENVELOPE)
    ).plan_result
    motors[0].seconds = 60.0
    threading.Timer(0.2, RE.request_pause).start()
    with pytest.raises(RunEngineInterrupted):
        RE(go_to_best(result))
    motors[0].seconds = 0.01
    RE.resume()
    assert (motors[0].position, motors[1].position) == (0.5, -0.25)


@pytest.mark.integration
def test_the_best_point_of_a_run_of_another_session_is_in_tiled(
    RE: RunEngine, bench: Any, tiled: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    bowl, motors = bench
    uid = aborted(RE, bowl, motors, Advised([at(0.25), at(1.0), at(1.5)]))
    assert tiled.flush()
    node = tiled.client[uid]
    scan_id = node.metadata["start"]["scan_id"]
    for given in (uid[:10], str(scan_id), -1, node, read_run(node)):
        monkeypatch.setattr(remembered, "_runs", {})
        RE(bps.mv(motors[0], 1.5, motors[1], 0.0))
        with pytest.raises(BadInputError, match=r"needs the motors \['mx', 'my'\]"):
            RE(go_to_best(given))
        RE(go_to_best(given, motors))
        assert (motors[0].position, motors[1].position) == (0.5, -0.25), given


@pytest.mark.integration
def test_a_run_of_this_session_may_be_named_by_its_scan_id_or_counted_back(
    RE: RunEngine, bench: Any, tiled: Connection
) -> None:
    bowl, motors = bench
    RE.md["scan_id"] = 41
    aborted(RE, bowl, motors, Advised([at(0.25), at(1.0), at(1.5)]))
    for name in (-1, "-1", 42):
        RE(bps.mv(motors[0], 1.5, motors[1], 0.0))
        RE(go_to_best(name))  # needs no motors: they are known
        assert (motors[0].position, motors[1].position) == (0.5, -0.25), name


@pytest.mark.integration
def test_without_a_recommendation_the_rows_in_tiled_say_what_was_best(
    RE: RunEngine, bench: Any, tiled: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    bowl, motors = bench
    pause_in_exposure(RE, bowl, 3)
    agent = Scripted([at(0.75), at(0.25, -0.125), at(1.5)])
    pause_and(RE, "halt", optimize([bowl], motors, agent, max_points=9, envelope=ENVELOPE))
    assert tiled.flush()
    (uid,) = list(tiled.client)[-1:]
    assert read_run(uid, tiled.client).recommended is None
    monkeypatch.setattr(remembered, "_runs", {})
    RE(go_to_best(uid, motors))
    assert (motors[0].position, motors[1].position) == (0.25, -0.125)


@pytest.mark.integration
def test_without_a_recommendation_nobody_is_sent_to_a_glitch(
    RE: RunEngine, bench: Any, tiled: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    bowl, motors = bench
    rng, read = np.random.default_rng(5), itertools.count()

    def with_a_glitch(reading: Any) -> float:
        return float(reading["bowl"] + 0.01 * rng.standard_normal() - (50.0 if next(read) == 18 else 0.0))

    variables = {"mx": [-2.0, 2.0], "my": [-2.0, 2.0]}
    agent = {"agent": "bayesian", "vocs": {"variables": variables, "objectives": {"f": "MINIMIZE"}}}
    pause_in_exposure(RE, bowl, 24)
    plan = optimize([bowl], motors, agent, max_points=40, envelope=ENVELOPE, derive={"f": with_a_glitch})
    pause_and(RE, "halt", plan)
    assert tiled.flush()
    record = read_run(list(tiled.client)[-1], tiled.client)
    assert record.recommended is None
    glitch = int(np.argmin(record.rows["f"]))
    assert record.rows["f"][glitch] < -40.0
    honest = np.delete(np.array(record.rows["f"]), glitch)
    for memory in (remembered._runs, {}):  # of the session that has steered it, and of another one
        monkeypatch.setattr(remembered, "_runs", memory)
        RE(go_to_best(record.uid, motors))
        there = np.flatnonzero(np.isclose(record.rows["mx"], motors[0].position))
        assert record.rows["f"][int(there[0])] == honest.min()


def test_a_queueserver_takes_the_plan() -> None:
    check_plan_signature(go_to_best)
