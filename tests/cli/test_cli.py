"""The command line as a user meets it: in a process of its own, with its exit codes and what it prints."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import COMMAND, call, call_here

from ebl_autonomy import connect
from ebl_autonomy.data.server import is_alive
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.sim_devices import SimBeamline

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The folder of a demo and what the demo printed. The data are served while the tests run, so that each command
    joins that server.
    """
    folder = tmp_path_factory.mktemp("aligned")
    done = call("demo", "--json", "--points", "15", "--seed", "1", "--output", "out", folder=folder)
    with connect(None, directory=folder / "data"):
        yield folder, done.stdout


def test_the_demo_its_report_and_its_run_in_the_archive(aligned: tuple[Path, str]) -> None:
    folder, printed = aligned
    result = json.loads(printed)  # JSON and nothing else
    beamline = SimBeamline(seed=1, tier=result["tier"])
    best = beamline.truth.outcome(beamline.truth.best_point())["camera_spot_area"]
    assert result["spot_area_before"] == beamline.truth.outcome()["camera_spot_area"]
    assert result["spot_area_best"] == best <= result["spot_area_after"]
    assert result["points"] == 15
    assert result["stop_reason"].startswith("max_points")
    assert json.loads((folder / "out" / "summary.json").read_text()) == result
    assert result["recommended"]["std"]["camera_spot_area"] > 0.0
    assert result["left_at"] == pytest.approx(result["recommended"]["point"], abs=0.5)
    assert result["best_reading"]["outcome"]["camera_spot_area"] > 0.0
    assert Path(result["report"]).read_text().count("<svg") >= 4
    listed = call_here("runs", folder=folder).stdout
    assert result["uid"] in listed
    assert "bayesian" in listed
    told = call_here("report", result["uid"][:8], "--output", "again", folder=folder).stdout
    for finding in ("recommended: camera_spot_area ", "best reading: camera_spot_area ", "left at: kbv_pitch "):
        assert finding in told
    assert "verdict: " in told
    page = (folder / "again" / "report.html").read_text()
    assert result["uid"] in page
    content = json.loads(call_here("report", result["uid"], "--json", folder=folder).stdout)  # JSON and nothing else
    assert content["summary"]["uid"] == result["uid"]
    assert content["recommended"]["point"] == result["recommended"]["point"]
    assert content["verdict"]["headline"] in page
    assert [one["name"] for one in content["constraints"]] == ["camera_total", "camera_centroid_x", "camera_centroid_y"]
    assert {name for one in content["model"]["slices"] for name in one["names"]} == set(result["left_at"])


def test_the_demo_learns_from_past_runs(aligned: tuple[Path, str]) -> None:
    folder, printed = aligned
    first = json.loads(printed)["uid"]
    second = json.loads(call("demo", "--json", "--points", "4", "--prior", first, folder=folder).stdout)
    assert second["points"] == 4
    assert f"--points 4 --prior {first}" in (folder / "demo_report" / "report.html").read_text()
    both = ["--prior", first, "--prior", second["uid"]]
    call("demo", "--json", "--points", "4", *both, folder=folder)
    assert " ".join(both) in (folder / "demo_report" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["demo", "--tier", "Z"], "tier='Z'"),
        (["demo", "--agent", "oracle"], "oracle"),
        (["demo", "--seed", "-1"], "--seed"),
        (["demo", "--output", "taken/out"], "taken"),
        (["report", "nosuchrun", "--tiled", "http://127.0.0.1:1"], "no Tiled server answers"),
        (["report", "nosuchrun"], "ebl-autonomy demo"),  # there are none at all
        (["report", "-1"], "ebl-autonomy demo"),
        (["report", "--ouput", "x"], "--output"),
        (["report", "-1", "--output"], "--output"),
        (["report", "1", "2"], "2"),
        (["export"], "RUN"),
        (["export", "-1", "--csv"], "ebl-autonomy demo"),
        (["runs", "--directory", "taken"], "taken"),
        (["runs", "--directory", "mistyped"], "'mistyped' does not exist: correct --directory"),
        (["report", "--directory", "mistyped"], "'mistyped' does not exist: correct --directory"),
        (["export", "-2", "--directory", "mis/typed"], "'mis/typed' does not exist: correct --directory"),
        (["runs", "--directory", "empty"], "'empty' holds no data of this package"),
        (["runs", "--api-key", "secret"], "--tiled"),
        (["runs", "--limit", "0"], "--limit"),
        (["serve", "tiled", "--directory", "taken"], "taken"),
        (["serve", "tiled", "--port", "70000"], "--port"),
        (["serve", "tiled", "--host", ""], "every network"),
        (["serve", "tiled", "--host", " "], "every network"),
        (["serve", "tiled", "--readable", "nosuchfolder"], "nosuchfolder"),
        (["serve", "tiled", "--readable", "taken"], "is not a folder"),
        (["runs", "--tiled", "http://127.0.0.1:1?api_key=x"], "at http://127.0.0.1:1:"),
        (["serve", "ioc", "--tier", "Z"], "tier='Z'"),
        (["serve", "ioc", "--speed", "-1"], "speed=-1"),
        (["serve", "ioc", "--beamline", "lens"], "--beamline='lens': use one of ['mirrors', 'microprobe']"),
        (["serve", "ioc", "--beamline", "microprobe", "--sample", "moon"], "sample='moon'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], says: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, no folder")
    (tmp_path / "empty").mkdir()
    done = call_here(*arguments, folder=tmp_path, code=2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not {"mistyped", "mis"} & {path.name for path in tmp_path.iterdir()}
    assert not list((tmp_path / "empty").iterdir())
    if arguments[0] in ("report", "runs", "export"):
        assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["demo", "--points", "0"], "max_points=0"),
        (["demo", "--prior", "nonsense"], "no run 'nonsense'"),
        (["demo", "--tiled", "http://127.0.0.1:1"], "no Tiled server answers"),
        (["runs", "--directory", "mistyped"], "'mistyped' does not exist: correct --directory"),
        (["report", "-x"], "-x"),
    ],
)
def test_a_process_ends_with_that_line_and_that_code(
    arguments: list[str], says: str, aligned: tuple[Path, str]
) -> None:
    done = call(*arguments, folder=aligned[0], code=2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("what", ["tiled", "ioc"])
def test_a_taken_port_is_told_with_the_remedy(what: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = call("serve", what, "--port", str(port), folder=tmp_path, code=2)
    assert str(port) in done.stderr
    assert "choose another" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_report_of_no_run_says_how_to_make_one(tmp_path: Path) -> None:
    assert "ebl-autonomy demo" in call_here("report", folder=tmp_path, code=2).stderr


def test_a_served_folder_is_joined_and_outlives_its_sessions(tmp_path: Path) -> None:
    readable = tmp_path / "files"
    readable.mkdir()
    data = tmp_path / "data"
    command = [COMMAND, "serve", "tiled", "--directory", str(data), "--readable", str(readable)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        uri = served.stdout.readline().split()[-1]
        try:
            for _ in range(2):
                with connect(None, directory=data, readable=[readable]) as tiled:
                    assert tiled.uri == uri
                    assert tiled.server_pid is None
            with pytest.raises(BadInputError, match="cannot read"):
                connect(None, directory=data, readable=[tmp_path])
            assert is_alive(uri)
        finally:
            served.send_signal(signal.SIGINT)
            served.communicate(timeout=100)
    assert not is_alive(uri)
