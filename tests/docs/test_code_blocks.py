"""The pages are true: every block of code in README.md and docs/ runs, or says in the page why it does not.

The blocks of a page run in their order in one process. What they need to have in place (a run to read, an IOC to talk
to) stands in ``preambles/<page>.py``. A block that cannot run is marked in the page, on a line before it:
``<!-- not run: the reason -->``.
"""

import os
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from ebl_autonomy import registry

ROOT = Path(__file__).parents[2]
PREAMBLES = Path(__file__).parent / "preambles"
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts)]
NOT_RUN = re.compile(r"<!-- not run: \S.* -->")


@dataclass(frozen=True)
class Block:
    """A block of code: where it stands, its language (empty if indented or not given), and whether it is to run."""

    line: int
    language: str
    code: str
    runs: bool


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a page; what Sphinx fills in (``{toctree}`` and the like) is none."""
    marked = False
    for token in MarkdownIt().parse(text):
        if token.type in ("fence", "code_block") and not token.info.startswith("{"):
            assert token.map is not None
            first = token.map[0] + (token.type == "fence")
            yield Block(first, token.info.strip(), token.content, not marked)
        marked = token.type == "html_block" and NOT_RUN.fullmatch(token.content.strip()) is not None


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run_page(page: Path) -> None:
    """Run the preamble of a page and then its Python blocks, each at its own lines, so that a traceback tells where."""
    preamble = PREAMBLES / f"{page.stem.lower()}.py"
    found = runpy.run_path(str(preamble)) if preamble.exists() else {"__name__": "page"}
    for block in blocks(page.read_text()):
        if block.language == "python" and block.runs:
            exec(compile("\n" * block.line + block.code, name_of(page), "exec"), found)


WITH_CODE = [page for page in PAGES if any(b.language == "python" and b.runs for b in blocks(page.read_text()))]


def test_blocks_are_found_with_their_marks() -> None:
    text = (
        "```python\na = 1\n```\n\n<!-- not run: an address -->\n```python\nb = 2\n```\n\n"
        "<!-- not run: -->\n\n```toml\nc = 3\n```\n\n```{toctree}\nd\n```\n\nText:\n\n    e = 5\n"
    )
    assert list(blocks(text)) == [
        Block(1, "python", "a = 1\n", True),
        Block(6, "python", "b = 2\n", False),
        Block(12, "toml", "c = 3\n", True),
        Block(21, "", "e = 5\n", True),
    ]
    assert {"README.md", "docs/extending.md"} <= {name_of(page) for page in WITH_CODE}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_can_run_or_says_why_not(page: Path) -> None:
    for block in blocks(page.read_text()):
        assert not block.runs or block.language in ("python", "toml"), (
            f"{name_of(page)}, line {block.line}: nobody runs a block of {block.language or 'no language'}; "
            "write Python, or mark it with <!-- not run: the reason -->"
        )


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_entry_points_in_the_pages_are_of_groups_that_are_read(page: Path) -> None:
    for block in blocks(page.read_text()):
        if block.language == "toml":
            groups = tomllib.loads(block.code)["project"]["entry-points"]
            assert set(groups) <= {registry.AGENTS, registry.DERIVATIONS, registry.PRIOR_MEANS}


def test_every_preamble_has_its_page() -> None:
    assert {path.stem for path in PREAMBLES.glob("*.py")} <= {page.stem.lower() for page in WITH_CODE}


def test_every_example_is_on_the_page_of_examples() -> None:
    page = (ROOT / "docs" / "examples.md").read_text()
    for path in (ROOT / "examples").rglob("*.*"):
        made = {"__pycache__", "report"} & set(path.relative_to(ROOT).parts)  # by whoever tried them
        assert made or f"../{path.relative_to(ROOT)}" in page


@pytest.mark.integration
@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    env = {**os.environ, "EBL_AUTONOMY_DATA": str(tmp_path / "data"), "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, __file__, str(page)],
        capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    run_page(Path(sys.argv[1]))
