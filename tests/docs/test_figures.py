"""The pictures of the house are drawn from the code as it is."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ebl_autonomy.sim_devices import SimBeamline

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "docs" / "figures"


@pytest.fixture
def layout(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FIGURES))
    return import_module("layout")


def test_arrows_that_follow_from_others_are_left_out(layout: Any) -> None:
    imports = {"a": ["b", "c", "d"], "b": ["c"], "c": ["d"], "d": []}
    assert layout.needed(imports) == [("a", "b"), ("b", "c"), ("c", "d")]


def test_boxes_keep_their_distance_and_arrows_that_can_do_not_cross(layout: Any) -> None:
    floors = {"a": 0, "b": 0, "c": 1, "d": 1, "e": 2}
    places, routes = layout.place(floors, [("a", "d"), ("b", "c"), ("a", "e")], width=2.0, gap=0.5, lane=0.1)
    for one, other in (("a", "b"), ("c", "d")):
        assert abs(places[one] - places[other]) >= 2.5 - 1e-9
    assert (places["a"] < places["b"]) == (places["d"] < places["c"])
    assert [floor for _, floor in routes["a", "e"]] == [0, 1, 2]
    lane = routes["a", "e"][1][0]
    assert all(abs(lane - places[name]) >= 0.5 * (2.0 + 0.1) + 0.5 - 1e-9 for name in ("c", "d"))


@pytest.mark.integration
def test_the_pictures_are_up_to_date(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(FIGURES), "--output", str(tmp_path)],
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("rooms.png", "walks.png"):
        assert (tmp_path / name).stat().st_size > 20_000
    found = json.loads((tmp_path / "rooms.json").read_text())
    committed = json.loads((ROOT / "docs" / "images" / "rooms.json").read_text())
    assert found == committed, "the rooms or the walks have changed: run make figures"
    for name, (first, last) in {"proposal": ("suggest", "set"), "reading": ("read", "ingest")}.items():
        walk = found["walks"][name]
        assert f"{name}: {len(walk) - 1} hops" in done.stdout
        assert walk[0].endswith(f".{first}")
        assert walk[-1].endswith(f".{last}")


@pytest.mark.integration
def test_the_picture_in_the_readme_is_of_the_command_in_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FIGURES))
    command = import_module("alignment").command()
    drawn = tmp_path / "drawn.png"
    done = subprocess.run(
        [sys.executable, str(FIGURES / "alignment.py"), "--points", "8", "--output", str(drawn)],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    demo = next(line for line in (ROOT / "Makefile").read_text().splitlines() if "ebl-autonomy demo" in line)
    assert demo.strip() == "$(BIN)/ebl-autonomy demo --output demo_report"  # the defaults, which the picture is of
    truth = SimBeamline(seed=command["seed"], tier=command["tier"]).truth
    for path, points in ((ROOT / "docs" / "images" / "alignment.png", command["points"]), (drawn, 8)):
        with Image.open(path) as picture:
            told = json.loads(picture.text["Description"])  # type: ignore[attr-defined]
            assert picture.size == (960, 320)
        assert told["options"] == {**command, "points": points}, "run make figures"
        assert told["found"]["points"] == points
        assert told["found"]["spot_area_before"] == pytest.approx(truth.outcome()["camera_spot_area"])
        best = truth.outcome(truth.best_point())["camera_spot_area"]
        assert told["found"]["spot_area_best"] == pytest.approx(best)
        assert best <= told["found"]["spot_area_after"] < told["found"]["spot_area_before"]


def test_the_map_in_the_readme_is_of_the_command_in_the_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FIGURES))
    command = import_module("mapping").command()
    with Image.open(ROOT / "docs" / "images" / "map.png") as picture:
        told = json.loads(picture.text["Description"])  # type: ignore[attr-defined]
        assert picture.size == (960, 270)
    assert told["options"] == command, "run make figures"
    assert told["found"]["points"] == pytest.approx(command["share"] * told["found"]["pixels"])
