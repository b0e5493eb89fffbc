"""The reference describes every public name of every module, each once."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as files; written in a process of its own, which imports all there is."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "gone.rst").write_text("of a module that is no more")
    code = (
        "import json, sys; from dataclasses import asdict; from pathlib import Path\n"
        f"sys.path.insert(0, {str(ROOT / 'docs')!r}); import reference_pages\n"
        f"folder = Path({str(folder)!r}); reference_pages.write(folder)\n"
        "(folder / 'pages.json').write_text(json.dumps([asdict(page) for page in reference_pages.pages()]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "pages.json").read_text())
    return found


def test_every_module_has_its_section(pages: list[dict[str, Any]]) -> None:
    files = [
        path.relative_to(ROOT)
        for top in ("ebl_autonomy", *(f"ebl_autonomy/{name}" for name in ("agents", "plans", "sim_devices")))
        for path in (ROOT / top).rglob("*.py")
    ]
    modules = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files}
    sections = {section for page in pages for section in page["sections"]}
    assert sections == {name for name in modules if not name.endswith("__main__")}


def test_a_name_is_described_once_where_users_import_it_from(pages: list[dict[str, Any]]) -> None:
    sections = {name: names for page in pages for name, names in page["sections"].items()}
    elsewhere = {name: places for page in pages for name, places in page["elsewhere"].items()}
    assert "BayesianAgent" in sections["ebl_autonomy.agents"]
    assert elsewhere["ebl_autonomy.agents.bayesian"]["BayesianAgent"] == "ebl_autonomy.agents.BayesianAgent"
    assert elsewhere["ebl_autonomy.plans"]["Envelope"] == "ebl_autonomy.Envelope"
    described = Counter(f"{name}.{attribute}" for name, names in sections.items() for attribute in names)
    assert set(described.values()) == {1}
    assert {place for places in elsewhere.values() for place in places.values()} <= set(described)


def test_the_pages_are_written_and_old_ones_removed(folder: Path, pages: list[dict[str, Any]]) -> None:
    assert {path.stem for path in folder.glob("*.rst")} == {"index", *(page["name"] for page in pages)}
    index = (folder / "index.rst").read_text()
    for page in pages:
        assert page["name"] in index
        assert page["summary"]
        text = (folder / f"{page['name']}.rst").read_text()
        for section, names in page["sections"].items():
            for name in names:
                assert f":: {section}.{name}\n" in text
