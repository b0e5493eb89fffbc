"""The tutorial: the stored notebook runs from a clean kernel, and stores outputs of the kinds that it gives."""

import copy
import sys
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="install the extra 'dev'")
pytest.importorskip("nbclient", reason="install the extra 'dev'")

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

from run_tutorial import TUTORIAL, run


def kinds(cell: Any) -> list[tuple[str, ...]]:
    """What a cell gives: the kinds of its outputs, with their formats. Pieces of a stream count as one."""
    found = []
    for output in cell.outputs:
        kind = (output.output_type, output.get("name", ""), *sorted(output.get("data", {})))
        if not (found and kind == found[-1] and output.output_type == "stream"):
            found.append(kind)
    return found


def text_of(cells: list[Any]) -> str:
    return "".join(output.get("text", "") for cell in cells for output in cell.outputs)


@pytest.fixture(scope="module")
def stored() -> Any:
    return nbformat.read(TUTORIAL, as_version=4)


def code_of(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_stored_outputs_are_whole(stored: Any) -> None:
    nbformat.validate(stored)
    cells = code_of(stored)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))  # one run, from top to bottom
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout", "stderr"}
    complaints = "".join(output.text for output in outputs if output.get("name") == "stderr").splitlines()
    assert [line for line in complaints if "gives an invalid row" not in line] == []  # of which the text tells
    assert sum("image/svg+xml" in output.get("data", {}) for output in outputs) >= 5
    assert "/tmp" not in nbformat.writes(stored)


@pytest.mark.integration
def test_the_notebook_runs_from_a_clean_kernel(stored: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)  # of this process: a kernel draws inline
    again = copy.deepcopy(stored)
    run(again, tmp_path)
    for old, new in zip(code_of(stored), code_of(again), strict=True):
        assert kinds(new) == kinds(old), f"{old.source}\ngives other outputs: make tutorial"
    said = text_of(code_of(again))
    assert "keeps the constraint" in said
    assert (tmp_path / "tutorial_report" / "report.html").exists()
