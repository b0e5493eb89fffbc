"""The lists that the command line prints: of runs, of agents, and of the pages of the manual."""

from __future__ import annotations

import inspect
import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console

from ebl_autonomy.registry import AGENTS
from ebl_autonomy.report.wording import duration, percent

if TYPE_CHECKING:
    from ebl_autonomy.data import RunSummary

__all__ = ["AgentEntry", "agent_entries", "agent_lines", "line_width", "manual_pages", "run_lines"]

LONGEST = {"agent": 16, "best": 40}
"""Widths to which columns are shortened where a run needs two lines."""
INDENT = 6


def line_width(screen: Console) -> float:
    """Width of a line; no limit where another program reads the list."""
    return screen.width if screen.is_terminal or "COLUMNS" in os.environ else math.inf


def run_lines(runs: Sequence[RunSummary], width: float) -> list[str]:
    """One line for each run if all fit the width, or else two, shortened to fit; a head first."""
    head = {"scan": "scan", "uid": "run", "when": "started", "agent": "agent", "points": "points", "took": "took"}
    head["best"] = "best"
    rows = [{**head, "ended": "ended"}, *map(_cells, runs)]
    widths = {key: max(cell_len(row[key]) for row in rows) for key in rows[0]}
    lines = [_row(row, widths) for row in rows]
    if all(cell_len(line) <= width for line in lines):
        return lines
    whole = int(width)
    del widths["uid"], widths["ended"]
    widths |= {key: min(widths[key], longest) for key, longest in LONGEST.items()}
    lines = []
    for row in rows:
        lines.append(_fit(_row(row, widths), whole))
        lines.append(_fit(f"{'':{INDENT}}{_pad(row['uid'], 36)}  {row['ended']}", whole))
    return lines


def _cells(run: RunSummary) -> dict[str, str]:
    best = f"{run.objective} {run.best:.6g} {run.unit}" if run.best is not None else run.objective
    if run.share is not None:  # a map has no best point, and how much of it there is tells how far it came
        best = f"{percent(run.share)} of {run.pixels:,} pixels"
    best = ", ".join(filter(None, [best, run.stage]))
    ended = run.reason if run.status == "success" and run.reason else f"{run.status}: {run.reason}".removesuffix(": ")
    cells = {
        "scan": "" if run.scan_id is None else str(run.scan_id),
        "uid": run.uid,
        "when": f"{datetime.fromtimestamp(run.time):%Y-%m-%d %H:%M}" if math.isfinite(run.time) else "",
        "agent": run.agent or run.plan,
        "points": "" if run.points is None else str(run.points),
        "took": "" if run.seconds is None else duration(run.seconds),
        "best": best,
        "ended": ended,
    }
    return {key: " ".join(text.split()) for key, text in cells.items()}  # a reason may have several lines


def _row(row: Mapping[str, str], widths: Mapping[str, int]) -> str:
    padded = [_pad(row[key], width, right=key in ("scan", "points", "took")) for key, width in widths.items()]
    return "  ".join(padded).rstrip()


def _pad(text: str, width: int, right: bool = False) -> str:
    text = _fit(text, width)
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _fit(text: str, width: int) -> str:
    return text.rstrip() if cell_len(text.rstrip()) <= width else set_cell_size(text, max(width - 1, 0)) + "…"


@dataclass(frozen=True)
class AgentEntry:
    """A registered agent.

    Attributes
    ----------
    name : str
    source : str
        Where it is: ``module:attribute``.
    package : str
        The package that registers it, with its version.
    summary : str
        The first line of its docstring.
    options : dict of str to str
        Names and defaults; the default is empty where there is none.
    error : str
        Why it cannot be imported; empty if it can.
    """

    name: str
    source: str
    package: str = ""
    summary: str = ""
    options: dict[str, str] = field(default_factory=dict)
    error: str = ""


def agent_entries() -> list[AgentEntry]:
    """All registered agents, by name; those that cannot be imported too."""
    return [_agent_entry(entry) for entry in sorted(entry_points(group=AGENTS), key=lambda entry: entry.name)]


def _agent_entry(entry: EntryPoint) -> AgentEntry:
    package = f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else ""
    try:
        made = entry.load()
    except Exception as error:  # noqa: BLE001 - the import of another package may raise anything
        return AgentEntry(entry.name, entry.value, package, error=f"{type(error).__name__}: {error}")
    summary = next(iter((inspect.getdoc(made) or "").splitlines()), "")
    return AgentEntry(entry.name, entry.value, package, summary, _options(made))


def _options(made: Any) -> dict[str, str]:
    """The options of an agent of ours out of its model; of any other generator, the arguments after the VOCS."""
    fields = getattr(getattr(made, "Options", None), "model_fields", None)
    if fields is not None:
        return {
            name: "" if one.is_required() else repr(one.get_default(call_default_factory=True))
            for name, one in fields.items()
        }
    try:
        _, *parameters = inspect.signature(made).parameters.values()
    except (TypeError, ValueError):  # it has no signature, or no argument
        return {}
    named = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    return {one.name: "" if one.default is one.empty else repr(one.default) for one in named}


def agent_lines(entries: Sequence[AgentEntry], width: float) -> list[str]:
    """Name and summary of each agent, and below them its options, or why it cannot be imported."""
    column = max((cell_len(entry.name) for entry in entries), default=0) + 2
    lines = []
    for entry in entries:
        told = ", ".join(f"{name}={default}" if default else name for name, default in entry.options.items())
        below = f"cannot be imported: {entry.error}" if entry.error else f"options: {told}" if told else "no options"
        source = f"{entry.source} ({entry.package})" if entry.package else entry.source
        texts = [text for text in (entry.summary, source, below) if text]
        for i, text in enumerate(texts):
            lines += _wrapped(text, _pad(entry.name if i == 0 else "", column), width)
    return lines


def _wrapped(text: str, first: str, width: float) -> list[str]:
    if math.isinf(width):
        return [first + " ".join(text.split())]
    indent = " " * len(first)
    return textwrap.wrap(text, max(int(width), len(first) + 20), initial_indent=first, subsequent_indent=indent)


def manual_pages() -> list[tuple[Path, str]]:
    """The pages of the manual with their titles: in an installed package beside the code, in a checkout above it."""
    package = Path(__file__).parents[1]
    root = package / "manual" if (package / "manual").is_dir() else package.parent
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md")), root / "CHANGELOG.md"]
    of_the_site = ("index.md", "changelog.md")  # which show the files at the top
    return [(page, _title(page)) for page in pages if page.is_file() and page.name not in of_the_site]


def _title(page: Path) -> str:
    lines = page.read_text(encoding="utf-8").splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), page.stem)
