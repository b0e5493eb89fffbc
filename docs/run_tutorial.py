"""Run the tutorial in a clean kernel and store its outputs: ``python docs/run_tutorial.py``, or ``make tutorial``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

TUTORIAL = Path(__file__).parent / "tutorial.ipynb"
TIMEOUT_S = 240


def run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run a notebook from a clean kernel, in a folder; its outputs are replaced.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell raises.
    """
    client = NotebookClient(
        notebook, timeout=TIMEOUT_S, kernel_name="python3", record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )  # fmt: skip
    client.execute()
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        if "text" in output:
            output["text"] = output["text"].replace(f"{folder}/", "")  # paths are shown as in the reader's own folder


def main() -> None:
    notebook = nbformat.read(TUTORIAL, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        run(notebook, Path(folder))
    notebook.metadata["language_info"] = {"name": "python"}  # not the version of whoever ran it
    nbformat.write(notebook, TUTORIAL)
    print(TUTORIAL)


if __name__ == "__main__":
    main()
