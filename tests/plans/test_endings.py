"""How a run ends: in one printed line, with the motors where the user wants them."""

import io
import math
import re
import shlex
import threading
from pathlib import Path
from typing import Any

import pytest
from advised import Advised, last_line, pause_and
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from commands import call_here
from ophyd.sim import SynAxis
from scripted import Scripted, at, pause_in_exposure
from simple import BOUNDS, ENVELOPE, Bowl, Documents

from ebl_autonomy import VOCS
from ebl_autonomy.data import Connection, connect
from ebl_autonomy.errors import BadInputError, MeasurementError
from ebl_autonomy.plans import explore, go_to_best, optimize, steered_run
from ebl_autonomy.records import Recommendation

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
    RE: RunEngine,
    bench: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: bool,
) -> None:
    bowl, motors = bench
    monkeypatch.setenv("EBL_AUTONOMY_DATA", str(tmp_path / "data"))
    directory = tmp_path / "my data" if given else None
    with connect(RE, directory=directory):  # which the command joins
        RE(optimize([bowl], motors, Advised([at(0.5)]), max_points=1, envelope=ENVELOPE))
        program, *arguments = shlex.split(last_line(capsys).partition("report: ")[2])
        assert program == "ebl-autonomy"
        assert ("--directory" in arguments) is given
        call_here(*arguments, folder=tmp_path)
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
