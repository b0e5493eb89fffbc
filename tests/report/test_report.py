"""The report and the progress bar: of whole runs, of runs with next to nothing in them, and of hostile strings."""

import dataclasses
import io
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ebl_autonomy.records import Decision, ProposalRecord, RunMetadata, RunRecord
from ebl_autonomy.report import ProgressBar, summarise, write_report

VOCS_JSON = {
    "variables": {"x": {"type": "ContinuousVariable", "domain": [0.0, 10.0]}},
    "objectives": {"f": {"type": "MinimizeObjective"}},
    "constraints": {"g": {"type": "GreaterThanConstraint", "value": 0.0}},
}


def record(
    values: list[float], *, gs: list[float] | None = None, stop: bool = True, hostile: str = "", images: bool = False
) -> RunRecord:
    """A run whose k-th point is at x = k."""
    n = len(values)
    metadata = RunMetadata(
        package_version="0",
        agent={"agent": f"sobol{hostile}", "vocs": VOCS_JSON, "options": {"seed": 0}},
        motors=["x"],
        outcomes=["f", "g"],
        limits={"x": (0.0, 10.0)},
        units={"x": f"mm{hostile}", "f": "um"},
        max_points=n or 1,
        batch=1,
        finish="best",
    )
    proposals = [
        ProposalRecord(f"{k:05d}", {"x": float(k)}, Decision(mean={"f": 1.0}, std={"f": 0.5}), "accepted", k, 0.1, k)
        for k in range(n)
    ]
    gone = ProposalRecord("99999", {"x": 11.0}, Decision(), "refused", n, 0.1, n, f"x = 11.0 is outside{hostile}")
    rows: dict[str, Any] = {
        "proposal_id": [p.proposal_id for p in proposals],
        "x": [float(k) for k in range(n)],
        "f": values,
        "g": gs or [1.0] * n,
        "time": [100.0 + k for k in range(n)],
        "seconds_moving": [0.5] * n,
        "seconds_measuring": [0.25] * n,
    }
    baseline: dict[str, Any] = {"x": [3.0, 1.0], "time": [99.0, 100.0 + n]}
    if images:
        baseline["camera_frame"] = np.random.default_rng(0).integers(0, 100, (2, 64, 64))
    return RunRecord(
        uid="11111111-2222-3333-4444-555555555555",
        start={"time": 99.0, "uid": "1", "plan_name": "optimize"},
        stop={"exit_status": "success", "reason": f"max_points{hostile}", "time": 101.0 + n} if stop else None,
        metadata=metadata,
        proposals=(*proposals, gone),
        results=tuple({"x": float(k), "f": v, "g": 1.0} for k, v in enumerate(values)),
        rows=rows if n else {},
        baseline=baseline,
    )


class Page(HTMLParser):
    """Tags of a page, and whether it asks for anything from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith(("#", "data:"))]


def parsed(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text())
    return page


def test_the_summary_counts_what_happened_and_takes_the_best_feasible_point() -> None:
    summary = summarise(record([5.0, math.nan, 1.0, 3.0], gs=[1.0, 1.0, -1.0, 1.0]))
    assert (summary.points, summary.invalid, summary.refused, summary.abandoned) == (4, 1, 1, 0)
    assert (summary.first, summary.best, summary.best_point) == (5.0, 3.0, {"x": 3.0})  # 1.0 breaks the constraint
    assert (summary.goal, summary.objective, summary.status) == ("MINIMIZE", "f", "success")
    assert summary.seconds["moving"] == 2.0
    assert summary.seconds["measuring"] == 1.0
    assert summary.seconds["deciding"] == pytest.approx(0.5)
    assert summary.reasons == {"x = 11.0 is outside": 1}


@pytest.mark.parametrize("values", [[], [1.0], [math.nan], [math.nan] * 3, [2.0, math.nan], [3.0, 2.0, 1.0]], ids=str)
@pytest.mark.parametrize("stop", [True, False])
def test_a_report_of_a_run_with_little_in_it(values: list[float], stop: bool, tmp_path: Path) -> None:
    page = parsed(write_report(record(values, stop=stop), tmp_path / "new folder"))
    assert {"html", "h1", "table"} <= set(page.tags)


def test_a_report_is_one_file_with_figures_and_the_facts_to_do_it_again(tmp_path: Path) -> None:
    path = write_report(
        record([3.0, 2.0, 1.0], images=True),
        tmp_path,
        best_possible=0.5,
        pixel_um=1.0,
        facts={"command": "do it again"},
    )
    page, text = parsed(path), path.read_text()
    assert page.outside == []  # nothing is fetched from anywhere
    assert page.tags.count("svg") >= 4
    for fact in ("do it again", "best possible", "ebl-autonomy", "bluesky", "11111111-2222", "MinimizeObjective"):
        assert fact in text


def test_strings_of_a_run_cannot_become_markup(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>&"
    page = parsed(write_report(record([3.0, 2.0], hostile=hostile), tmp_path))
    assert "script" not in page.tags


def test_the_progress_bar_shows_points_and_the_best_feasible_value() -> None:
    out = io.StringIO()
    run = record([5.0, 1.0, 3.0])
    with ProgressBar(Console(file=out, force_terminal=True, width=120)) as bar:
        bar("start", {"uid": "1", "ebl_autonomy": run.metadata.model_dump(mode="json")})
        bar("descriptor", {"uid": "d", "name": "primary"})
        for f, g in ((5.0, 1.0), (1.0, -1.0), (3.0, 1.0), (math.nan, 1.0)):
            bar("event", {"descriptor": "d", "data": {"f": f, "g": g}})
        assert bar.best == 3.0
        bar("stop", {})
    assert "sobol" in out.getvalue()


def test_a_run_that_only_explores_has_its_report_and_its_progress_bar(tmp_path: Path) -> None:
    """Somebody else's generator may have observables alone; a callback that raises would end the run."""
    run = record([3.0, 2.0])
    vocs = {"variables": VOCS_JSON["variables"], "observables": ["f"]}
    metadata = run.metadata.model_copy(update={"agent": {"agent": "explorer", "vocs": vocs, "options": {}}})
    run = dataclasses.replace(run, metadata=metadata)
    summary = summarise(run)
    assert (summary.points, summary.invalid, summary.objective, summary.best) == (2, 0, "", None)
    assert "Explore" in write_report(run, tmp_path).read_text()
    with ProgressBar(Console(file=io.StringIO())) as bar:
        bar("start", {"uid": "1", "ebl_autonomy": metadata.model_dump(mode="json")})
        bar("descriptor", {"uid": "d", "name": "primary"})
        bar("event", {"descriptor": "d", "data": {"f": 1.0}})
        bar("stop", {})


def test_the_progress_bar_minds_no_foreign_runs() -> None:
    bar = ProgressBar(Console(file=io.StringIO()))
    for name, doc in (
        ("start", {"uid": "1"}),
        ("descriptor", {"uid": "d"}),
        ("event", {"descriptor": "d", "data": {}}),
        ("stop", {}),
    ):
        bar(name, doc)
    assert math.isnan(bar.best)


def test_points_and_seconds_to_the_target() -> None:
    run = record([10.0, 6.0, 2.0, 1.95, 1.9])
    summary = summarise(run)
    assert summary.points_to_target == 4  # 1.95 is 99 % of the way from 10 to 1.9
    assert summary.seconds_to_target == pytest.approx(4 * (0.5 + 0.25 + 0.1))
    metadata = run.metadata.model_copy(update={"until": {"target": 6.5}, "clock": "clock"})
    timed = dataclasses.replace(
        run,
        metadata=metadata,
        rows={**run.rows, "clock": [3.0, 7.0, 9.0, 12.0, 20.0]},
        baseline={**run.baseline, "clock": [1.0, 21.0]},
    )
    assert (summarise(timed).points_to_target, summarise(timed).seconds_to_target) == (2, 6.0)
    missed = dataclasses.replace(run, metadata=run.metadata.model_copy(update={"until": {"target": 0.1}}))
    assert summarise(missed).points_to_target is None


def test_the_page_says_what_the_agent_believes(tmp_path: Path) -> None:
    run = dataclasses.replace(record([3.0, 2.0]), explanation="past abc: correlates by 0.12, <b>discounted</b>")
    page = write_report(run, tmp_path).read_text()
    assert "What the agent believes" in page
    assert "&lt;b&gt;discounted" in page
