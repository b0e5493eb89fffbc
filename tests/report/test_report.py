"""The report and the progress bar: of whole runs, of runs with next to nothing in them, and of hostile strings."""

import dataclasses
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.records import (
    BestReading,
    Recommendation,
    RunMetadata,
    RunRecord,
    assemble_record,
    phase_maps_record,
)
from ebl_autonomy.report import ProgressBar, Summary, report_contents, standing_of, summarise, write_report
from ebl_autonomy.report.wording import findings, with_error

pytestmark = pytest.mark.integration  # seconds: reports, fits of models, or many runs

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
    ids = [f"{k:05d}" for k in range(n)]
    decisions = {
        "proposal_id": [*ids, "99999"],
        "x": [*map(float, range(n)), 11.0],
        "f_mean": [1.0] * n + [math.nan],
        "f_std": [0.5] * n + [math.nan],
        "batch": list(range(n + 1)),
        "acquisition": [math.nan] * (n + 1),
        "reason": [""] * (n + 1),
        "points_known": list(range(n + 1)),
        "seconds_to_decide": [0.1] * (n + 1),
        "model_version": [""] * (n + 1),
    }
    abandoned = {
        "proposal_id": ["99999"],
        "status": ["refused"],
        "rule": ["domain"],
        "reason": [f"x = 11.0 is outside{hostile}"],
    }
    primary: dict[str, Any] = {
        "proposal_id": ids,
        "x": [float(k) for k in range(n)],
        "f": values,
        "g": gs or [1.0] * n,
        "valid": [math.isfinite(value) for value in values],
        "invalid_reason": [""] * n,
        "time": [100.0 + k for k in range(n)],
        "seconds_moving": [0.5] * n,
        "seconds_measuring": [0.25] * n,
    }
    baseline: dict[str, Any] = {"x": [3.0, 1.0], "time": [99.0, 100.0 + n]}
    if images:
        baseline["camera_frame"] = np.random.default_rng(0).integers(0, 100, (2, 64, 64))
    return assemble_record(
        {"time": 99.0, "uid": "11111111-2222-3333-4444-555555555555", "plan_name": "optimize"},
        {"exit_status": "success", "reason": f"max_points{hostile}", "time": 101.0 + n} if stop else None,
        metadata,
        decisions=decisions,
        primary=primary if n else {},
        abandoned=abandoned,
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
        bar("descriptor", {"uid": "d", "name": "primary", "run_start": "1"})
        for f, g in ((5.0, 1.0), (1.0, -1.0), (3.0, 1.0), (math.nan, 1.0)):
            bar("event", {"descriptor": "d", "data": {"f": f, "g": g}})
        assert bar.best_reading == 3.0
        bar("stop", {"run_start": "1"})
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
        bar("descriptor", {"uid": "d", "name": "primary", "run_start": "1"})
        bar("event", {"descriptor": "d", "data": {"f": 1.0}})
        bar("stop", {"run_start": "1"})


def test_the_progress_bar_minds_no_foreign_runs() -> None:
    bar = ProgressBar(Console(file=io.StringIO()))
    for name, doc in (
        ("start", {"uid": "1"}),
        ("descriptor", {"uid": "d", "run_start": "1"}),
        ("event", {"descriptor": "d", "data": {}}),
        ("stop", {"run_start": "1"}),
    ):
        bar(name, doc)
    assert math.isnan(bar.best_reading)


def test_points_and_seconds_to_the_target() -> None:
    run = record([10.0, 6.0, 2.0, 1.95, 1.9])
    summary = summarise(run)
    assert summary.points_to_target == 4  # 1.95 is 99 % of the way from 10 to 1.9
    assert summary.seconds_to_target == 4.0  # from the start at 99 to the fourth row at 103, whatever happened between
    elapsed = dataclasses.replace(run, rows={**run.rows, "seconds_elapsed": [1.0, 2.0, 3.0, 7.5, 9.0]})
    assert summarise(elapsed).seconds_to_target == 7.5
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


def found(values: list[float], **more: Any) -> RunRecord:
    """A run at the end of which the agent recommended x = 1."""
    one = Recommendation({"x": 1.0}, {"f": values[1], "g": 1.0}, {"f": 2.25, "g": 1.0}, {"f": 0.125, "g": 0.0})
    return dataclasses.replace(record(values), recommended=one, **more)


def test_the_three_findings_are_told_apart(tmp_path: Path) -> None:
    run = found([5.0, 2.0, 1.75])
    summary = summarise(run)
    assert summary.recommended == run.recommended
    assert summary.best_reading == BestReading("00002", {"x": 2.0}, {"f": 1.75, "g": 1.0})
    assert (summary.best, summary.best_point) == (1.75, {"x": 2.0})
    assert (summary.start_point, summary.left_at) == ({"x": 3.0}, {"x": 1.0})
    assert findings(summary.recommended, summary.best_reading, summary.left_at, ["f"], {"f": "um", "x": "mm"}) == [
        "recommended: f 2.25 ± 0.12 um at x 1 mm",
        "best reading: f 1.75 um at x 2 mm",
        "left at: x 1 mm",
    ]
    text = write_report(run, tmp_path).read_text()
    for told in ("2.25 ± 0.12", "read there", "best reading", "left at"):
        assert told in text
    assert Summary.model_validate_json(summary.model_dump_json()) == summary


def test_what_an_older_run_did_not_record_is_empty(tmp_path: Path) -> None:
    run = dataclasses.replace(record([5.0, 2.0]), baseline={})
    summary = summarise(run)
    assert (summary.recommended, summary.front, summary.left_at, summary.start_point) == (None, [], {}, {})
    assert findings(None, summary.best_reading, {}, ["f"]) == ["best reading: f 2 at x 1"]
    assert findings(None, None, {}, []) == []
    assert "best reading" in write_report(run, tmp_path).read_text()


def test_a_recommended_point_that_breaks_a_constraint_says_so(tmp_path: Path) -> None:
    run = record([5.0, 2.0], gs=[-1.0, -1.0])
    run = dataclasses.replace(run, recommended=Recommendation({"x": 1.0}, {"f": 2.0, "g": -1.0}, feasible=False))
    assert findings(run.recommended, None, {}, ["f"]) == ["recommended: f 2 (breaks a constraint) at x 1"]
    assert "breaks a constraint: no measured point holds all" in write_report(run, tmp_path).read_text()


@pytest.mark.parametrize("points", [1, 3])
def test_a_front_is_shown_with_its_compromise(points: int, tmp_path: Path) -> None:
    run = found([5.0, 2.0, 1.75])
    vocs = {**VOCS_JSON, "objectives": {"f": {"type": "MinimizeObjective"}, "h": {"type": "MaximizeObjective"}}}
    metadata = run.metadata.model_copy(
        update={"agent": {**run.metadata.agent, "vocs": vocs}, "outcomes": ["f", "h", "g"]}
    )
    front = tuple(
        Recommendation({"x": float(k)}, {"f": 3.0 - k, "h": -float(k), "g": 1.0}, {"f": 3.0 - k}, {"f": 0.1})
        for k in range(points)
    )
    run = dataclasses.replace(run, metadata=metadata, front=front, recommended=front[points // 2])
    results = tuple({**result, "h": 0.0} for result in run.results)
    proposals = tuple(
        dataclasses.replace(p, results=tuple({**result, "h": 0.0} for result in p.results)) for p in run.proposals
    )
    run = dataclasses.replace(run, results=results, proposals=proposals)
    text = write_report(run, tmp_path).read_text()
    assert "Minimize f and maximize h" in text
    assert text.count("<td>compromise</td>") == 1
    assert ("Front: what no other point" in text) == (points > 1)
    assert summarise(run).front == list(front)


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [
        (1.23456, 0.0234, "1.235 ± 0.023"),
        (12345.6, 234.0, "1.235e+04 ± 2.3e+02"),
        (12.3, 1.0, "12.3 ± 1.0"),
        (1e-9, 1e-10, "1e-09 ± 1e-10"),
        (0.5, 0.0, "0.5"),
        (0.5, None, "0.5"),
        (math.nan, 0.1, "–"),
        (None, None, "–"),
    ],
)
def test_a_mean_has_the_digits_that_its_error_leaves(mean: float | None, std: float | None, text: str) -> None:
    assert with_error(mean, std) == text


def test_the_progress_bar_counts_flown_rows_and_ends_with_the_recommendation() -> None:
    """The rows of a line come as a page; a user's stub may hold a run of its own, which is not the experiment."""
    out = io.StringIO()
    run = record([5.0])
    with ProgressBar(Console(file=out, force_terminal=True, width=120)) as bar:
        bar("start", {"uid": "1", "ebl_autonomy": run.metadata.model_dump(mode="json")})
        bar("descriptor", {"uid": "d", "name": "primary", "run_start": "1"})
        bar("descriptor", {"uid": "r", "name": "recommended", "run_start": "1"})
        bar("start", {"uid": "2"})
        bar("descriptor", {"uid": "inner", "name": "primary", "run_start": "2"})
        bar("event", {"descriptor": "inner", "data": {"f": -9.0, "g": 1.0}})
        bar("stop", {"run_start": "2"})
        bar("event_page", {"descriptor": "d", "seq_num": [1, 2, 3], "data": {"f": [4.0, 3.0, None], "g": [1.0] * 3}})
        assert bar.best_reading == 3.0
        for kind, mean in (("recommended", 3.5), ("front", 9.0)):
            row = {"recommendation": kind, "f_mean": mean, "f_std": 0.25, "f_reading": 3.0}
            bar("event", {"descriptor": "r", "data": row})
        bar("stop", {"run_start": "1"})
    assert "recommended f 3.50 ± 0.25 um" in out.getvalue()


def test_a_uid_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"record='abc': .*read_run"):
        write_report("abc", tmp_path)


@pytest.mark.parametrize(
    ("stop", "why"),
    [
        (
            {"exit_status": "success", "reason": "Fe: no counts anywhere."},
            "No region has a phase map: Fe: no counts anywhere.",
        ),
        ({"exit_status": "success"}, "No region has a phase map: the run does not say why."),
        (None, "The run has no end"),
    ],
)
def test_a_survey_without_a_phase_map_has_a_page_of_its_own(stop: Any, why: str, tmp_path: Path) -> None:
    survey = {"coarse": "coarse-uid", "phase_maps": []}
    start = {"uid": "run-uid", "time": 1.7e9, "plan_name": "characterise", "motors": ["sx", "sy"], "ebl_survey": survey}
    run = phase_maps_record(start, stop and {**stop, "time": 1.7e9 + 5.0}, [])
    told = report_contents(run)
    assert (told.phases, told.verdict.kind) == ([], "phases")
    text = write_report(run, tmp_path, told=told).read_text()
    assert why in text
    assert "<h1>Phase maps of a survey</h1>" in text
    assert "The coarse map of the survey is run coarse-uid." in text
    page = parsed(tmp_path / "report.html")
    assert page.tags.count("table") == 1  # of the facts
    for other in ("Explore", "exploration", "Motors", "points", "refused", "domain"):
        assert other not in text.partition("</style>")[2]


def test_a_run_that_an_agent_steered_has_no_phase_maps_in_its_contents() -> None:
    assert report_contents(record([3.0, 2.0])).phases is None


@pytest.mark.parametrize("second_is_suspect", [False, True])
def test_a_suspect_outcome_of_the_best_reading_is_marked(second_is_suspect: bool, tmp_path: Path) -> None:
    """The best reading is that of the first objective; what was read beside it may be a glitch."""
    run = record([5.0, 1.0, 3.0], gs=[1.0, 1000.0, 2.0])
    vocs = {**VOCS_JSON, "objectives": {name: {"type": "MinimizeObjective"} for name in ("f", "g")}, "constraints": {}}
    metadata = run.metadata.model_copy(update={"agent": {"agent": "sobol", "vocs": vocs, "options": {"seed": 0}}})
    suspects = {"g": [1]} if second_is_suspect else {}
    run = dataclasses.replace(run, metadata=metadata, suspects=suspects, left={"left_where": ["stay"]})
    told = report_contents(run)
    assert told.summary.best == 1.0
    assert told.suspects_at_best == list(suspects)
    text = write_report(run, tmp_path, told=told).read_text()
    assert ("1000 (suspect)" in text) == second_is_suspect


@pytest.mark.parametrize("glitch", [("f", 35), ("g", 35), ("g", 39)])
def test_a_suspect_reading_is_no_growth_of_the_front(glitch: tuple[str, int]) -> None:
    x = np.random.default_rng(0).random(40)
    noise = 1e-3 * np.random.default_rng(1).standard_normal((2, 40))
    read = {"f": (x - 0.3) ** 2 + noise[0], "g": (x - 0.6) ** 2 + noise[1]}
    name, row = glitch
    read[name][row] = -1000.0
    run = record(read["f"].tolist(), gs=read["g"].tolist())
    vocs = {**VOCS_JSON, "objectives": {name: {"type": "MinimizeObjective"} for name in read}, "constraints": {}}
    metadata = run.metadata.model_copy(update={"agent": {"agent": "sobol", "vocs": vocs, "options": {"seed": 0}}})
    proposals = tuple(
        dataclasses.replace(p, results=({**p.results[0], "x": 10.0 * at},))
        for p, at in zip(run.proposals, x, strict=False)  # one more was refused
    )
    run = dataclasses.replace(run, metadata=metadata, proposals=proposals)
    growth = {
        known: standing_of(dataclasses.replace(run, suspects={name: [row]} if known else {})).evidence[0]
        for known in (False, True)
    }
    assert "enlarged what the front dominates by 1e+02 %" in growth[False]
    assert float(re.search(r"dominates by (\S+) %", growth[True])[1]) < 5.0  # type: ignore[index]
