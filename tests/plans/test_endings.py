"""How a run ends: in one printed line, with the motors where the user wants them; and the way to its best point."""

import io
import math
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.utils import RunEngineInterrupted
from ophyd.sim import SynAxis
from scripted import RecordedAxis, Scripted, at, pause_in_exposure
from simple import BOUNDS, ENVELOPE, Bowl, Documents

from ebl_autonomy import VOCS
from ebl_autonomy.data import Connection, connect, read_run
from ebl_autonomy.errors import BadInputError, MeasurementError, RefusedError
from ebl_autonomy.plans import explore, go_to_best, optimize, remembered, steered_run
from ebl_autonomy.records import Recommendation
from ebl_autonomy.testing.plans import check_plan_signature

RECOMMENDED = Recommendation(at(0.5, -0.25), {"bowl": 0.01}, {"bowl": 0.01234}, {"bowl": 0.00321})


class Advised(Scripted):
    """An agent with a recommendation and an explanation."""

    asked = 0

    def best(self) -> Recommendation:
        self.asked += 1
        return RECOMMENDED

    def explain(self) -> str:
        return "a bowl"


@pytest.fixture
def recorded() -> tuple[Bowl, list[RecordedAxis]]:
    motors = [RecordedAxis("mx"), RecordedAxis("my")]
    return Bowl(*motors), motors


def pause_and(RE: RunEngine, how: str, plan: Any) -> None:
    """Run a plan into its pause, and end it there."""
    with pytest.raises(RunEngineInterrupted):
        RE(plan)
    getattr(RE, how)()


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The line of the latest run; the only one that it printed."""
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("run ")]
    return line


# -- the line --------------------------------------------------------------------------------------------------


class Measured(Bowl):
    """A bowl with a unit."""

    def describe(self) -> dict[str, Any]:
        return {"bowl": {**super().describe()["bowl"], "units": "mm²"}}


def test_a_run_ends_with_one_line(RE: RunEngine, capsys: pytest.CaptureFixture[str]) -> None:
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    result = RE(
        optimize([Measured(*motors)], motors, Advised([at(0.5), at(1.0)]), max_points=2, envelope=ENVELOPE)
    ).plan_result
    line = last_line(capsys)
    assert line == str(result)
    assert line == (
        f"run {result.uid[:8]} ended after 2 rows: max_points: 2 points are measured; "
        "recommended: bowl 0.0123 ± 0.0032 mm² at mx 0.5, my -0.25; best reading: bowl 0.0625 mm² at mx 0.5, my 0; "
        "motors are at the recommended point; for a report: connect(RE) before the run"
    )


@pytest.mark.parametrize(
    ("finish", "says"),
    [("stay", "motors stayed (mx 1, my 0); to the best point"), ("return", "motors are back where they were before")],
)
def test_motors_that_are_elsewhere_are_named_with_the_way_to_the_best_point(
    RE: RunEngine, bench: Any, capsys: pytest.CaptureFixture[str], finish: Any, says: str
) -> None:
    bowl, motors = bench
    plan = optimize([bowl], motors, Advised([at(0.5), at(1.0)]), max_points=2, finish=finish, envelope=ENVELOPE)
    result = RE(plan).plan_result
    line = last_line(capsys)
    assert says in line
    assert f"RE(go_to_best('{result.uid[:8]}'))" in line


class Window(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [40, 80, 1000])
def test_in_a_terminal_the_line_is_wrapped_between_its_parts_and_its_words(
    RE: RunEngine, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    window = Window()
    monkeypatch.setattr("sys.stdout", window)
    monkeypatch.setenv("COLUMNS", str(columns))
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    result = RE(
        optimize([Measured(*motors)], motors, Advised([at(0.5), at(1.0)]), max_points=2, envelope=ENVELOPE)
    ).plan_result
    told = window.getvalue()
    assert " ".join(told.split()) == str(result).replace(";", "") or columns == 1000
    lines = told.rstrip("\n").split("\n")
    assert all(len(line) < columns for line in lines)
    if columns == 1000:
        assert lines == [str(result)]
    else:
        starts = [line.split(":")[0].strip() for line in lines if re.match(r" {0,2}\S", line)]
        assert starts[1:] == ["recommended", "best reading", "motors are at the recommended point", "for a report"]


def test_a_run_without_a_valid_row_says_so(RE: RunEngine, bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: math.nan
    result = RE(optimize([bowl], motors, Scripted([at(0.5)]), max_points=1, envelope=ENVELOPE)).plan_result
    line = last_line(capsys)
    assert "ended after 1 row: " in line
    assert "no valid measurement" in line
    assert "go_to_best" not in line
    with pytest.raises(BadInputError, match="no valid measurement"):
        RE(go_to_best(result))


def test_a_run_that_only_explores_has_no_best_point(
    RE: RunEngine, bench: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    bowl, motors = bench
    given = VOCS(variables={name: list(ends) for name, ends in BOUNDS.items()}, observables=["bowl"])
    result = RE(explore([bowl], motors, Scripted([at(0.5)], given), max_points=1, envelope=ENVELOPE)).plan_result
    line = last_line(capsys)
    assert "motors are back where they were before" in line
    assert "valid" not in line
    with pytest.raises(BadInputError, match="no best point"):
        RE(go_to_best(result))


def test_a_failed_run_says_why_and_how_to_go_to_its_best_point(
    RE: RunEngine, docs: Documents, bench: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    bowl, motors = bench
    bowl.fail = lambda n: RuntimeError("readout") if n > 2 else None
    points = [at(0.5), at(1.0), at(1.5)]
    with pytest.raises(MeasurementError):
        RE(optimize([bowl], motors, Advised(points), max_points=9, retries=0, max_failures=1, envelope=ENVELOPE))
    line = last_line(capsys)
    assert "ended after 2 rows: MeasurementError: 1 proposals in a row" in line
    assert f"RE(go_to_best('{docs.start['uid'][:8]}'))" in line
    assert "recommended: bowl 0.0123 ± 0.0032" in line
    assert "\n" not in line


@pytest.mark.integration
def test_the_report_of_a_run_in_a_tiled_of_others_names_its_address(
    RE: RunEngine, bench: Any, tiled: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    bowl, motors = bench
    result = RE(optimize([bowl], motors, Advised([at(0.5)]), max_points=1, envelope=ENVELOPE)).plan_result
    assert last_line(capsys).endswith(f"report: ebl-autonomy report {result.uid[:8]} --tiled {tiled.uri}")


@pytest.mark.integration
@pytest.mark.parametrize("given", [False, True])
def test_the_command_of_the_report_is_followed_literally(
    RE: RunEngine, bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: bool
) -> None:
    bowl, motors = bench
    directory = tmp_path / "my data" if given else None
    with connect(RE, directory=directory):
        RE(optimize([bowl], motors, Advised([at(0.5)]), max_points=1, envelope=ENVELOPE))
    command = shlex.split(last_line(capsys).partition("report: ")[2])
    assert ("--directory" in command) is given
    command[0] = str(Path(sys.executable).parent / command[0])
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report" / "report.html").is_file()


# -- stop, abort, halt -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("finish", "end"), [("best", (0.5, -0.25)), ("return", (0.0, 0.0)), ("stay", (1.0, 0.0))])
def test_a_stopped_run_finishes_as_any_other(
    RE: RunEngine, docs: Documents, bench: Any, capsys: pytest.CaptureFixture[str], finish: Any, end: Any
) -> None:
    bowl, motors = bench
    pause_in_exposure(RE, bowl, 2)
    agent = Advised([at(0.25), at(1.0), at(1.5)])
    pause_and(RE, "stop", optimize([bowl], motors, agent, max_points=9, finish=finish, envelope=ENVELOPE))
    assert docs.stop["exit_status"] == "success"
    assert docs.stop["reason"].startswith("stopped by the user; motors ")
    assert (motors[0].position, motors[1].position) == end
    assert [row["mx"] for row in docs.events["primary"]] == [0.25]
    assert [gone["mx"] for gone in docs.events["decisions"]] == [0.25, 1.0]
    assert len(docs.events["abandoned"]) == 1
    (row,) = docs.events["recommended"]
    assert (row["mx"], row["bowl_std"]) == (0.5, 0.00321)
    assert [row["explanation"] for row in docs.events["explanation"]] == ["a bowl"]
    assert [row["mx"] for row in docs.events["start_and_end"]] == [0.0, end[0]]
    (left,) = docs.events["left_at"]
    assert left["mx"] == end[0]
    assert [told["mx"] for told in agent.told] == [0.25]
    assert "ended after 1 row: stopped by the user; recommended: bowl 0.0123 ± 0.0032" in last_line(capsys)


def test_a_stop_ends_the_plans_around_the_run_too(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    pause_in_exposure(RE, bowl, 2)
    went_on = []

    def samples() -> Any:
        for _ in range(3):
            yield from optimize([bowl], motors, Advised([at(0.25), at(1.0)]), max_points=9, envelope=ENVELOPE)
            went_on.append(True)

    pause_and(RE, "stop", samples())
    assert went_on == []
    assert [name for name, _ in docs.all].count("start") == 1


class Pondering(Advised):
    """Requests a pause while it computes, in one of its methods, and computes on until it may go on."""

    def __init__(self, RE: RunEngine, method: str, points: Any) -> None:
        super().__init__(points)
        self.go_on = threading.Event()
        self._RE, self._method = RE, method

    def _ponder(self, method: str) -> None:
        if method == self._method and (method != "suggest" or len(self.calls) > 0):
            self._method = ""
            self._RE.request_pause()
            self.go_on.wait(timeout=60)

    def suggest(self, num_points: int | None = None) -> Any:
        self._ponder("suggest")
        return super().suggest(num_points)

    def ingest(self, results: Any) -> None:
        super().ingest(results)
        self._ponder("ingest")

    def best(self) -> Recommendation:
        self._ponder("best")
        return super().best()

    def explain(self) -> str:
        self._ponder("explain")
        return super().explain()


@pytest.mark.parametrize("method", ["suggest", "ingest", "best", "explain"])
def test_a_run_that_is_stopped_while_its_agent_computes_is_whole(
    RE: RunEngine, docs: Documents, bench: Any, method: str
) -> None:
    bowl, motors = bench
    agent = Pondering(RE, method, [at(0.25), at(1.0)])
    with pytest.raises(RunEngineInterrupted):
        RE(optimize([bowl], motors, agent, max_points=2, envelope=ENVELOPE))
    threading.Timer(0.2, agent.go_on.set).start()
    RE.stop()
    assert docs.stop["exit_status"] == "success"
    assert motors[0].position == 0.5
    assert len(docs.events["recommended"]) == len(docs.events["explanation"]) == 1
    rows = 1 if method in ("suggest", "ingest") else 2
    assert [told["mx"] for told in agent.told] == [0.25, 1.0][:rows]
    assert len(docs.events["primary"]) == len(docs.events["decisions"]) == rows
    assert docs.events["abandoned"] == []


def test_a_stopped_run_does_not_wait_for_an_agent_that_hangs(
    RE: RunEngine, docs: Documents, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steered_run, "LAST_INGEST_S", 0.1)
    bowl, motors = bench
    agent = Pondering(RE, "suggest", [at(0.25), at(1.0)])
    pause_and(RE, "stop", optimize([bowl], motors, agent, max_points=9, envelope=ENVELOPE))
    agent.go_on.set()
    assert docs.stop["exit_status"] == "success"
    assert motors[0].position == 0.25  # the best reading
    assert [row["mx"] for row in docs.events["recommended"]] == [0.25]


@pytest.mark.parametrize("finish", ["best", "stay", "return"])
@pytest.mark.parametrize("how", ["abort", "halt"])
def test_motors_stay_after_an_abort(
    RE: RunEngine,
    docs: Documents,
    recorded: Any,
    capsys: pytest.CaptureFixture[str],
    finish: Any,
    how: str,
) -> None:
    bowl, motors = recorded
    pause_in_exposure(RE, bowl, 2)
    agent = Advised([at(0.25), at(1.0), at(1.5)])
    pause_and(RE, how, optimize([bowl], motors, agent, max_points=9, finish=finish, envelope=ENVELOPE))
    assert docs.stop["exit_status"] == "abort"
    assert motors[0].moves == [(0.0, 0.25), (0.25, 1.0)]
    line = last_line(capsys)
    assert f"ended after 1 row: {how}ed by the user; " in line
    assert ("motors stayed (mx 1, my 0)" if how == "abort" else "motors stay where the halt has left them;") in line
    assert f"RE(go_to_best('{docs.start['uid'][:8]}'))" in line
    if how == "abort":  # the agent was asked
        assert "recommended: bowl 0.0123 ± 0.0032" in line
        assert [row["mx"] for row in docs.events["recommended"]] == [0.5]


def test_motors_return_after_a_failure(RE: RunEngine, recorded: Any) -> None:
    bowl, motors = recorded
    bowl.fail = lambda n: RuntimeError("readout") if n > 1 else None
    points = [at(0.25), at(1.0)]
    with pytest.raises(MeasurementError):
        RE(optimize([bowl], motors, Scripted(points), max_points=9, max_failures=1, finish="return", envelope=ENVELOPE))
    assert motors[0].position == 0.0


# -- going to the best point -----------------------------------------------------------------------------------


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
@pytest.mark.parametrize("give", ["uid", "scan id", "latest", "node", "record"])
def test_the_best_point_of_a_run_of_another_session_is_in_tiled(
    RE: RunEngine, bench: Any, tiled: Connection, monkeypatch: pytest.MonkeyPatch, give: str
) -> None:
    bowl, motors = bench
    uid = aborted(RE, bowl, motors, Advised([at(0.25), at(1.0), at(1.5)]))
    assert tiled.flush()
    monkeypatch.setattr(remembered, "_runs", {})
    node = tiled.client[uid]
    scan_id = node.metadata["start"]["scan_id"]
    run = {"uid": uid[:10], "scan id": str(scan_id), "latest": -1, "node": node, "record": read_run(node)}[give]
    with pytest.raises(BadInputError, match=r"needs the motors \['mx', 'my'\]"):
        RE(go_to_best(run))
    RE(go_to_best(run, motors))
    assert (motors[0].position, motors[1].position) == (0.5, -0.25)


@pytest.mark.integration
@pytest.mark.parametrize("name", [-1, "-1", "scan id"])
def test_a_run_of_this_session_may_be_named_by_its_scan_id_or_counted_back(
    RE: RunEngine, bench: Any, tiled: Connection, name: Any
) -> None:
    bowl, motors = bench
    RE.md["scan_id"] = 41
    aborted(RE, bowl, motors, Advised([at(0.25), at(1.0), at(1.5)]))
    RE(go_to_best(42 if name == "scan id" else name))  # needs no motors: they are known
    assert (motors[0].position, motors[1].position) == (0.5, -0.25)


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


def test_a_queueserver_takes_the_plan() -> None:
    check_plan_signature(go_to_best)
