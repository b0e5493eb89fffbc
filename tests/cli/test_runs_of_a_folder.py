"""Runs of one folder as a user names, lists and exports them; among them foreign, failed and killed ones."""

import csv
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.plans import count, list_scan
from bluesky.preprocessors import run_decorator
from commands import COMMAND, call, call_here
from engines import run_engine
from ophyd.sim import SynAxis, SynGauss, img

from ebl_autonomy import connect, read_run
from ebl_autonomy.agents import SobolAgent
from ebl_autonomy.data import Connection, find_run, run_table, stored_events
from ebl_autonomy.data.folder import DataFolder
from ebl_autonomy.data.lookup import start_of
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import optimize
from ebl_autonomy.sim_devices import SimBeamline

pytestmark = pytest.mark.integration

LONG = "detector_in_the_second_experimental_hutch_with_a_very_long_name"
REASON = (
    "no frame of the\nsecond detector at [/red] of roi[0] for a very long time, as one has written in a long sentence"
)


@run_decorator(md={"plan_name": "a_plan_[b]of[/i]_a_long_name"})
def fail() -> Any:
    yield from bps.null()
    raise ValueError(REASON)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder, served while its tests run, and the uids in it by what each run is."""
    folder = tmp_path_factory.mktemp("runs")
    motor = SynAxis(name="mx")
    long = SynGauss(LONG, motor, "mx", center=0.3, Imax=1.0)
    beamline = SimBeamline(seed=0)
    variables = {m.name: [-3.0, 3.0] for m in beamline.motors()}  # where the beam is seen
    agent = SobolAgent({"variables": variables, "objectives": {"camera_spot_area": "MINIMIZE"}}, seed=3)
    uids: dict[str, str] = {}
    with run_engine() as RE, connect(RE, directory=folder / "data") as tiled:
        RE.md["scan_id"] = 10
        (uids["scan"],) = RE(list_scan([long], motor, [0.1, 0.2, 1 / 3])).run_start_uids
        uids["ours"] = RE(optimize([beamline.camera], beamline.motors(), agent, max_points=4)).plan_result.uid
        vocs = {"variables": {"mx": [-1.0, 1.0]}, "objectives": {LONG: "MAXIMIZE"}}
        limits = {"limits": {"mx": [-1.0, 1.0]}}
        plan = optimize([long], [motor], SobolAgent(vocs, seed=1), max_points=2, envelope=limits)
        uids["long"] = RE(plan).plan_result.uid
        token = RE.subscribe(lambda _, doc: uids.update(failed=doc["uid"]), "start")
        with pytest.raises(ValueError, match="no frame"):
            RE(fail())
        RE.md["scan_id"] = 10  # as a new session counts
        RE.unsubscribe(token)
        uids["again"] = RE(count([img, long], num=2)).run_start_uids[0]
        assert tiled.flush()
        yield folder, uids


def test_a_run_is_named_by_uid_beginning_scan_id_or_counted_back(runs: tuple[Path, dict[str, str]]) -> None:
    folder, uids = runs
    names = {
        uids["ours"]: "ours",
        uids["ours"][:7]: "ours",
        "12": "ours",
        "-4": "ours",
        "-1": "again",
        "last": "again",
        "11": "again",  # the newest with that scan id
        "-5": "scan",
    }
    with connect(None, directory=folder / "data") as tiled:
        for name, what in names.items():
            assert start_of(find_run(name, tiled.client))["uid"] == uids[what], name
            if len(name) < 4 and name != "last":
                assert start_of(find_run(int(name), tiled.client))["uid"] == uids[what]
        assert read_run("-4", tiled.client).uid == uids["ours"]
        with pytest.raises(BadInputError, match="there is no run 'nothing'"):
            find_run("nothing", tiled.client)
        for wrong in (None, True, 1.5, ["-1"]):
            with pytest.raises(BadInputError, match="is no run"):
                find_run(wrong, tiled.client)


def test_a_beginning_that_several_uids_have_lists_them(
    RE: RunEngine, tiled: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    RE.md["scan_id"] = 1000
    first = uuid.uuid4().hex[:9]
    monkeypatch.setattr("bluesky.bundlers.new_uid", lambda: f"{first}{uuid.uuid4()}")
    for _ in range(2):
        RE(count([SynAxis(name="mx")]))
    assert tiled.flush()
    with pytest.raises(BadInputError, match=f"run '{first}' is ambiguous.*Give more characters") as raised:
        find_run(first, tiled.client)
    assert {"scan id 1001", "scan id 1002"} <= set(re.findall(r"scan id \d+", str(raised.value)))


@pytest.mark.parametrize("arguments", [["-4", "--csv"], ["--csv", "-4"], ["--stream", "primary", "--", "-4"], ["12"]])
def test_a_number_that_is_counted_back_is_no_option(runs: tuple[Path, dict[str, str]], arguments: list[str]) -> None:
    folder, _ = runs
    assert call_here("export", *arguments, folder=folder).stdout.count("\n") == 5


def test_a_report_of_a_run_counted_back(runs: tuple[Path, dict[str, str]]) -> None:
    folder, uids = runs
    call_here("report", "--output", "r", "-4", folder=folder)
    assert uids["ours"] in (folder / "r" / "report.html").read_text()


def test_a_run_that_is_not_there_or_not_only_one(runs: tuple[Path, dict[str, str]]) -> None:
    folder, _ = runs
    assert "the first -5" in call_here("report", "-6", folder=folder, code=2).stderr
    assert "'ebl-autonomy runs'" in call_here("report", "999", folder=folder, code=2).stderr
    assert "no agent made it" in call_here("report", "-5", folder=folder, code=2).stderr
    done = call_here("export", "-4", "--stream", "monitor", folder=folder, code=2)
    assert "'monitor'" in done.stderr
    assert "'decisions'" in done.stderr
    assert "no/folder.csv: No such file" in call_here("export", "-1", "no/folder.csv", folder=folder, code=2).stderr


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_the_list_fits_the_window(runs: tuple[Path, dict[str, str]], columns: int) -> None:
    folder, uids = runs
    lines = call("runs", folder=folder, columns=columns).stdout.splitlines()
    assert max(map(len, lines)) <= columns
    text = "\n".join(lines)
    assert all(uid in text for uid in uids.values())  # whole, to be copied
    assert "…" in text
    for line in lines:
        if line.split()[0] == "12":
            assert line.split()[3:5] == ["sobol", "4"]
            assert columns < 80 or "camera_spot_area" in line


def test_a_wide_window_and_other_programs_get_a_line_for_each_run(runs: tuple[Path, dict[str, str]]) -> None:
    folder, uids = runs
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    piped = subprocess.run(
        [COMMAND, "runs", "--directory", "data"],
        capture_output=True, text=True, check=True, timeout=100, cwd=folder, env=environment,
    )  # fmt: skip
    lines = piped.stdout.splitlines()
    assert lines == call("runs", folder=folder, columns=400).stdout.splitlines()
    assert [next(uid for uid in uids.values() if uid in line) for line in lines[1:]] == [
        uids[what] for what in ("again", "failed", "long", "ours", "scan")
    ]
    assert " ".join(REASON.split()) in lines[2]
    assert "fail: " in lines[2]
    assert "a_plan_[b]of[/i]_a_long_name" in lines[2]  # brackets are text
    found = {one["uid"]: one for one in json.loads(call_here("runs", "--json", folder=folder).stdout)}
    with connect(None, directory=folder / "data") as tiled:
        record = read_run(uids["ours"], tiled.client)
    ours = found[uids["ours"]]
    assert (ours["scan_id"], ours["points"], ours["objective"]) == (12, 4, "camera_spot_area")
    valid = [result["camera_spot_area"] for result in record.results if math.isfinite(result["camera_spot_area"])]
    assert ours["best"] == min(valid)
    assert f"camera_spot_area {min(valid):.6g}" in lines[4]
    assert (found[uids["scan"]]["points"], found[uids["scan"]]["agent"], found[uids["scan"]]["best"]) == (3, "", None)
    assert found[uids["failed"]]["status"] == "fail"


def test_the_export_has_exact_numbers_and_what_was_decided(runs: tuple[Path, dict[str, str]]) -> None:
    folder, uids = runs
    text = call_here("export", "12", "--csv", folder=folder).stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    with connect(None, directory=folder / "data") as tiled:
        node = tiled.client[uids["ours"]]
        measured, decided = list(stored_events(node, "primary")), list(stored_events(node, "decisions"))
    assert len(rows) == len(measured) == 4
    decisions = {event["data"]["proposal_id"]: event["data"] for event in decided}
    for row, event in zip(rows, measured, strict=True):
        assert float(row["time"]) == event["time"]
        assert row["datetime"][:4].isdecimal()
        for key, value in event["data"].items():
            if isinstance(value, float):
                assert float(row[key]) == value or math.isnan(value)
            elif isinstance(value, str):
                assert row[key] == value
        asked = decisions[row["proposal_id"]]
        assert float(row["decision_kbv_pitch"]) == asked["kbv_pitch"]
        assert row["decision_reason"] == asked["reason"]


def test_the_export_names_what_is_no_number_and_goes_into_a_file(runs: tuple[Path, dict[str, str]]) -> None:
    folder, _ = runs
    done = call_here("export", "-1", "--csv", "out put.csv", folder=folder)
    assert "2 rows" in done.stdout
    assert "img" in done.stderr
    with (folder / "out put.csv").open(encoding="utf-8") as file:
        (first, second) = csv.DictReader(file)
    assert "img" not in first
    assert float(first[LONG]) == float(second[LONG])
    whole = call_here("export", "-1", folder=folder).stdout
    assert whole == (folder / "out put.csv").read_text(encoding="utf-8")


def test_an_export_is_utf_8_whatever_the_locale_and_may_be_cut_off(runs: tuple[Path, dict[str, str]]) -> None:
    folder, _ = runs
    shell = f"set -o pipefail; {COMMAND} export 12 --stream decisions --directory data | head -n 1"
    done = subprocess.run(
        ["bash", "-c", shell],
        capture_output=True, check=False, timeout=100, cwd=folder, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.stdout.startswith(b"seq_num,time,datetime,kbv_pitch,")
    assert b"Traceback" not in done.stderr
    assert b"Broken pipe" not in done.stderr


def test_keys_of_the_rows_own_names_and_lists(RE: RunEngine, tiled: Any) -> None:
    def read(*names: str) -> Any:
        yield from bps.open_run()
        yield from bps.create()
        for name in names:
            yield from bps.read(devices[name])
        yield from bps.save()
        yield from bps.close_run()

    class Reads:
        parent = None

        def __init__(self, name: str, value: Any) -> None:
            self.name, self.value = name, value

        def read(self) -> Any:
            return {self.name: {"value": self.value, "timestamp": 1.0}}

        def describe(self) -> Any:
            kind = "array" if isinstance(self.value, list) else "number"
            shape = [len(self.value)] if kind == "array" else []
            return {self.name: {"dtype": kind, "shape": shape, "source": "test"}}

    devices = {n: Reads(n, value) for n, value in {"mx": 0.1, "time": 7.5, "µ": 1e-300, "liste": [1, 2]}.items()}
    (first,) = RE(read("mx", "time")).run_start_uids
    (second,) = RE(read("mx", "µ", "liste")).run_start_uids
    assert tiled.flush()
    table = run_table(first, tiled.client)
    assert table.columns["reading_time"] == [7.5]
    assert table.columns["mx"] == [0.1]
    assert table.left_out == []
    table = run_table(second, tiled.client)
    assert table.left_out == ["liste"]
    out = io.StringIO()
    table.write_csv(out)
    assert out.getvalue().splitlines()[1].endswith("0.1,1e-300")


AGENTS = """
class Fine:
    '''Proposes the middle, always.

    Not in the list.'''

    def __init__(self, vocs, gain=2.5, *, name, **more): ...
"""


def test_agents_of_other_packages_are_listed_and_broken_ones_say_why(tmp_path: Path) -> None:
    site = tmp_path / "site"
    info = site / "other_agents-3.1.dist-info"
    info.mkdir(parents=True)
    (site / "fine_agents.py").write_text(AGENTS)
    (site / "broken_agents.py").write_text("raise ZeroDivisionError('at its import')\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-agents\nVersion: 3.1\n")
    entries = "fine = fine_agents:Fine\nbroken = broken_agents:Broken\nlost = no_such_module:Lost\n"
    (info / "entry_points.txt").write_text(f"[ebl_autonomy.agents]\n{entries}")
    environment = {**os.environ, "COLUMNS": "80", "PYTHONPATH": f"{site}:{os.environ.get('PYTHONPATH', '')}"}

    def told(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [COMMAND, *arguments],
            capture_output=True, text=True, check=False, timeout=100, cwd=tmp_path, env=environment,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    text = told("agents")
    assert max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    for name in ("bayesian", "coordinate_scan", "grid", "sobol"):
        assert f"{name} " in flat
    assert "seed=0" in flat
    assert "fine Proposes the middle, always. fine_agents:Fine (other-agents 3.1) options: gain=2.5, name" in flat
    assert "Not in the list" not in flat
    assert "cannot be imported: ZeroDivisionError: at its import" in flat
    assert "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'" in flat
    found = {one["name"]: one for one in json.loads(told("agents", "--json"))}
    assert found["fine"]["options"] == {"gain": "2.5", "name": ""}
    assert "at its import" in told("demo", "--agent", "broken", code=2)


def test_the_version(tmp_path: Path) -> None:
    from ebl_autonomy import __version__

    assert call("--version", folder=tmp_path).stdout == f"ebl-autonomy {__version__}\n"


def test_the_manual_is_where_the_command_says(tmp_path: Path) -> None:
    lines = call_here("docs", folder=tmp_path).stdout.splitlines()
    pages = [Path(line.split("  ")[0]) for line in lines]
    assert pages[0].name == "README.md"
    assert {"install.md", "data.md", "bayesian.md"} <= {page.name for page in pages}
    assert all(page.read_text(encoding="utf-8").startswith(("#", "<!--", "---")) for page in pages)


def test_a_folder_without_runs_is_no_error_and_is_not_created(tmp_path: Path) -> None:
    done = call_here("runs", folder=tmp_path)
    assert done.stdout == ""
    assert "ebl-autonomy demo" in done.stderr
    assert not list(tmp_path.iterdir())
    assert json.loads(call_here("runs", "--json", folder=tmp_path).stdout) == []


def test_the_key_of_the_environment_is_of_a_running_server_only(
    runs: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, uids = runs
    with connect(None, directory=folder / "data") as tiled:
        monkeypatch.setenv("TILED_API_KEY", tiled.api_key)
        assert uids["scan"] in call_here("runs", "--tiled", tiled.uri, folder=folder).stdout
        monkeypatch.setenv("TILED_API_KEY", "that of another server")
        assert "check api_key" in call_here("runs", "--tiled", tiled.uri, folder=folder, code=2).stderr
        assert uids["scan"] in call_here("runs", folder=folder).stdout


def test_a_folder_that_is_served_says_where(tmp_path: Path) -> None:
    with connect(None, directory=tmp_path / "data") as tiled:
        told = call_here("serve", "tiled", folder=tmp_path, code=2).stderr
        assert tiled.uri in told
        assert "close the sessions" in told
    command = [COMMAND, "serve", "tiled", "--directory", "new"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as served:
        assert served.stdout is not None
        lines = [served.stdout.readline() for _ in range(4)]
        try:
            assert "created now" in lines[2]
            told = call_here("serve", "tiled", "--directory", "new", folder=tmp_path, code=2).stderr
            assert lines[0].split()[-1] in told
            assert f"end process {served.pid}" in told
        finally:
            served.send_signal(signal.SIGINT)
            served.communicate(timeout=100)
    assert not DataFolder(tmp_path / "new").is_served


def test_the_page_for_browsers_opens_with_the_key_and_sets_a_cookie(tmp_path: Path) -> None:
    import httpx

    with connect(None, directory=tmp_path / "data") as tiled, httpx.Client(trust_env=False) as browser:
        assert browser.get(f"{tiled.uri}/ui/").status_code == 401
        page = browser.get(tiled.web_address)
        assert page.status_code == 200
        assert "<html" in page.text
        assert browser.get(f"{tiled.uri}/api/v1/search/").status_code == 200  # what the page asks for next


def test_a_killed_run_is_open_until_a_session_finds_its_journal(tmp_path: Path) -> None:
    code = f"""
import os
from bluesky import RunEngine, plan_stubs as bps
from ebl_autonomy import connect
RE = RunEngine(context_managers=[])
tiled = connect(RE, directory={str(tmp_path / "data")!r})
def plan():
    yield from bps.open_run(md={{"plan_name": "killed"}})
    assert tiled.flush()
    os._exit(3)
RE(plan())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=100, check=False)
    assert done.returncode == 3, done.stderr
    (one,) = json.loads(call_here("runs", "--json", folder=tmp_path).stdout)
    assert (one["plan"], one["status"], one["points"]) == ("killed", "open", None)
    assert "killed" in call("runs", folder=tmp_path, columns=80).stdout
