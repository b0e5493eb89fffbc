"""A reading that lies is nowhere shown as the best: not while it is measured, not at the end, not in any list."""

import io
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from matplotlib.figure import Figure
from ophyd.sim import NullStatus, SynAxis
from rich.console import Console
from tiled.client.container import Container
from typer.testing import CliRunner

from ebl_autonomy import VOCS, read_run
from ebl_autonomy.agents import BayesianAgent, SobolAgent
from ebl_autonomy.cli import app
from ebl_autonomy.data import Connection, RunSummary, runs
from ebl_autonomy.plans import RunResult, optimize
from ebl_autonomy.records import PRIMARY, SUSPECTS, RunMetadata, Suspicions, assemble_record
from ebl_autonomy.report import LiveView, ProgressBar, report_contents, summarise
from ebl_autonomy.report.sofar import RunSoFar
from ebl_autonomy.report.summary import RowsInOrder

ENVELOPE = {"limits": {"mx": (-2.0, 2.0), "my": (-2.0, 2.0)}}
POINTS, GLITCH = 26, 18


class Spiking:
    """A detector that reads a peak of 100 on a floor of 20, and ten times the peak at one of its exposures."""

    name, parent = "counts", None

    def __init__(self, *motors: Any, spike: int, after: Callable[[int], None] = lambda exposures: None) -> None:
        self._motors, self._spike, self._after = motors, spike, after
        self._rng = np.random.default_rng(7)
        self.exposures = 0
        self.read_values: list[float] = []

    def trigger(self) -> NullStatus:
        x, y = (motor.position for motor in self._motors)
        value = 20.0 + 100.0 * math.exp(-((x - 0.5) ** 2) - (y + 0.25) ** 2) + 0.5 * self._rng.standard_normal()
        self.read_values.append(1200.0 + value if self.exposures == self._spike else value)
        self.exposures += 1
        self._after(self.exposures)
        return NullStatus()

    def read(self) -> dict[str, Any]:
        return {"counts": {"value": self.read_values[-1], "timestamp": 0.0}}

    def describe(self) -> dict[str, Any]:
        return {"counts": {"source": "test", "dtype": "number", "shape": []}}


def agent(**more: Any) -> BayesianAgent:
    vocs = VOCS(variables={n: list(i) for n, i in ENVELOPE["limits"].items()}, objectives={"counts": "MAXIMIZE"})
    return BayesianAgent(vocs, seed=2, **more)


def bench(spike: int = GLITCH, **more: Any) -> tuple[Spiking, list[SynAxis]]:
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    return Spiking(*motors, spike=spike, **more), motors


def listed(client: Container, uid: str) -> RunSummary:
    return next(run for run in runs(client) if run.uid == uid)


@pytest.mark.integration
def test_a_glitch_is_nowhere_the_best_reading(
    RE: RunEngine, tiled: Connection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts, motors = bench()
    out = io.StringIO()
    bar = ProgressBar(Console(file=out, force_terminal=True, width=150))
    known, shown = agent(), []
    view = LiveView(known, figure=Figure(), every_s=0.01)
    told = 0

    def watch(name: str, doc: Any) -> None:
        nonlocal told
        bar(name, doc)
        view(name, doc)
        told += name == "event" and "suspect" in doc["data"]
        if told:
            shown.append(bar.best_reading)

    result: RunResult = RE(optimize([counts], motors, known, max_points=POINTS, envelope=ENVELOPE), watch).plan_result
    view.wait()
    tiled.flush()
    glitch, best = counts.read_values[GLITCH], max(v for i, v in enumerate(counts.read_values) if i != GLITCH)
    assert glitch > 10.0 * best
    assert len(shown) > POINTS - GLITCH
    assert all(value <= best for value in shown)
    assert bar.best_reading == best
    assert f"best counts {best:.4g}" in "".join(text.get_text() for text in view.figure.texts) + str(
        view.figure._suptitle.get_text()  # type: ignore[attr-defined]
    )
    labels = [label for axes in view.figure.findobj(match=lambda a: hasattr(a, "get_legend_handles_labels"))
              for label in axes.get_legend_handles_labels()[1]]  # fmt: skip
    assert "suspect" in labels

    record = read_run(result.uid, tiled.client)
    assert record.suspects == {"counts": [GLITCH]}
    assert listed(tiled.client, result.uid).best == best
    assert result.best_reading is not None
    assert result.best_reading.outcome["counts"] == best
    assert f"best reading: counts {best:.4g}" in capsys.readouterr().out
    assert f"{glitch:.4g}" not in result.line
    assert summarise(record).best == best
    told_page = report_contents(record, client=tiled.client)
    assert told_page.suspects == {"counts": [GLITCH]}
    assert told_page.summary.best_reading == result.best_reading

    command = ["--tiled", tiled.uri, "--api-key", tiled.api_key]
    listing = CliRunner().invoke(app, ["runs", *command]).output
    assert f"counts {best:.6g}" in listing
    assert f"counts {glitch:.6g}" not in listing
    report = CliRunner().invoke(app, ["report", result.uid, "--output", str(tmp_path), *command])
    assert report.exit_code == 0
    assert f"best reading: counts {best:.4g}" in report.output
    page = (tmp_path / "report.html").read_text()
    assert f"row {GLITCH} (point {GLITCH + 1}): counts {glitch:.4g}" in page


@pytest.mark.integration
@pytest.mark.parametrize("how", ["abort", "halt"])
def test_a_run_that_was_cut_short_tells_its_suspects_too(RE: RunEngine, tiled: Connection, how: str) -> None:
    def pause(exposures: int) -> None:
        if exposures == GLITCH + 4:  # the RunEngine waits for nothing that asks it to pause from its own thread
            threading.Thread(target=RE.request_pause).start()

    counts, motors = bench(after=pause)
    uids: list[str] = []
    token = RE.subscribe(lambda _, doc: uids.append(doc["uid"]), "start")
    with pytest.raises(RunEngineInterrupted):
        RE(optimize([counts], motors, agent(), max_points=POINTS, envelope=ENVELOPE))
    getattr(RE, how)()
    RE.unsubscribe(token)
    tiled.flush()
    record = read_run(uids[0], tiled.client)
    assert record.suspects == {"counts": [GLITCH]}
    honest = [float(v) for i, v in enumerate(record.rows["counts"]) if i != GLITCH]
    assert listed(tiled.client, uids[0]).best == max(honest)
    assert summarise(record).best == max(honest)
    assert report_contents(record, client=tiled.client).summary.best == max(honest)


class Wavering(SobolAgent):
    """Doubts its second result from the fourth on, and clears it from the sixth on."""

    def suspects(self) -> dict[str, list[int]]:
        return {"counts": [1]} if 4 <= len(self.results) < 6 else {}


@pytest.mark.integration
@pytest.mark.parametrize(("points", "suspects"), [(3, {}), (5, {"counts": [1]}), (8, {})])
def test_the_last_word_on_a_reading_counts(
    RE: RunEngine, tiled: Connection, points: int, suspects: dict[str, list[int]]
) -> None:
    counts, motors = bench(spike=1)
    documents: list[tuple[str, Any]] = []
    plan = optimize([counts], motors, Wavering(agent().vocs), max_points=points, envelope=ENVELOPE)
    result = RE(plan, lambda name, doc: documents.append((name, doc))).plan_result
    tiled.flush()
    record = read_run(result.uid, tiled.client)
    assert record.suspects == suspects
    best = max(v for i, v in enumerate(counts.read_values) if i not in suspects.get("counts", []))
    assert result.best_reading.outcome["counts"] == summarise(record).best == best
    assert listed(tiled.client, result.uid).best == best
    so_far = RunSoFar(documents[0][1])
    for name, doc in documents:
        so_far.take(name, doc)
    assert so_far.rows.best_row is not None
    assert so_far.rows.values[so_far.rows.best_row] == best


def test_what_is_doubted_holds_for_one_row_of_one_outcome_and_can_be_taken_back() -> None:
    said = Suspicions()
    for proposal, row, outcome, suspect in (("a", 0, "f", True), ("a", 1, "g", True), ("b", 0, "f", True)):
        said.take({"proposal_id": proposal, "row_in_proposal": row, "outcome": outcome, "suspect": suspect})
    assert said.readings == {"f": {("a", 0), ("b", 0)}, "g": {("a", 1)}}
    assert said.among([("b", 0), ("a", 0), ("a", 1), ("c", 0)]) == {"f": [0, 1], "g": [2]}
    said.take({"proposal_id": "a", "row_in_proposal": 1, "outcome": "g", "suspect": False})
    said.take({"proposal_id": "c", "row_in_proposal": 0, "outcome": "f", "suspect": False})  # it was none
    assert said.readings == {"f": {("a", 0), ("b", 0)}}


def test_a_run_whose_rows_are_measured_again_keeps_its_doubts() -> None:
    """Documents with pages, and a second attempt at a proposal after another one became suspect."""
    start = {"uid": "run", "ebl_autonomy": {
        "package_version": "1", "agent": {"agent": "a", "vocs": agent().vocs.model_dump(mode="json"), "options": {}},
        "motors": ["mx", "my"], "outcomes": ["counts"], "max_points": 9, "batch": 1, "finish": "stay",
    }}  # fmt: skip
    run = RunSoFar(start)
    for stream in (PRIMARY, SUSPECTS):
        run.take("descriptor", {"uid": stream, "name": stream, "run_start": "run"})

    def row(proposal: str, counts: float, attempt: int = 1) -> dict[str, Any]:
        return {"proposal_id": proposal, "row_in_proposal": 0, "attempt": attempt, "counts": counts, "mx": 0, "my": 0}

    for one in (row("00000", 900.0), row("00001", 50.0), row("00002", 40.0)):
        run.take("event", {"descriptor": PRIMARY, "data": one})
    assert run.best_in_words() == "best counts 900"
    word = {"proposal_id": ["00000"], "row_in_proposal": [0], "outcome": ["counts"], "suspect": [True]}
    assert run.take("event_page", {"descriptor": SUSPECTS, "seq_num": [1], "data": word}) == SUSPECTS
    assert run.best_in_words() == "best counts 50"
    run.take("event", {"descriptor": PRIMARY, "data": row("00001", 30.0, attempt=2)})
    assert run.best_in_words() == "best counts 40"
    assert (run.rows.doubted, run.rows.values) == ([True, False, False], [900.0, 40.0, 30.0])


OBJECTIVES = ("counts", "sharpness", "yield_")
READINGS = [(50.0, 1.0, 3.0), (70.0, 2.0, 2.0), (900.0, 3.0, 1.0), (60.0, 9e9, 1.0), (40.0, 2.0, 9e9)]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("best_is_suspect", [False, True])
def test_all_views_agree_which_rows_of_several_objectives_are_suspect(count: int, best_is_suspect: bool) -> None:
    """The bar and the live view, which follow documents, and the report, which reads the record."""
    names = OBJECTIVES[:count]
    glitches = [(row, name) for row, name in ((2, "counts"), (3, "sharpness"), (4, "yield_")) if name in names]
    if best_is_suspect and count > 1:  # the best of the first objective, whatever the others
        glitches.append((1, names[-1]))
    vocs = VOCS(variables={"mx": [-2.0, 2.0]}, objectives=dict.fromkeys(names, "MAXIMIZE")).model_dump(mode="json")
    metadata = RunMetadata(
        package_version="1", agent={"agent": "a", "vocs": vocs, "options": {}}, motors=["mx"], outcomes=list(names),
        max_points=9, batch=1, finish="stay",
    )  # fmt: skip
    start = {"uid": "run", "time": 0.0, "ebl_autonomy": metadata.model_dump(mode="json")}
    ids = [f"{k:05d}" for k in range(len(READINGS))]
    primary = [
        {"proposal_id": one, "row_in_proposal": 0, "attempt": 1, "mx": 0.5, **dict(zip(names, told, strict=False))}
        for one, told in zip(ids, READINGS, strict=True)
    ]
    words = [
        {"proposal_id": ids[row], "row_in_proposal": 0, "outcome": name, "suspect": True} for row, name in glitches
    ]
    run, bar = RunSoFar(start), ProgressBar(Console(file=io.StringIO()))
    bar("start", start)
    for stream, events in ((PRIMARY, primary), (SUSPECTS, words)):
        for take in (run.take, bar):
            take("descriptor", {"uid": stream, "name": stream, "run_start": "run"})
            for event in events:
                take("event", {"descriptor": stream, "data": event})
    assert bar.best_reading == 70.0
    assert run.best_in_words() == "best counts 70"

    columns = {key: [event[key] for event in primary] for key in primary[0]} | {"invalid_reason": [""] * len(ids)}
    numbers = ("batch", "acquisition", "points_known", "seconds_to_decide")
    decisions = {"proposal_id": ids, "mx": columns["mx"], **dict.fromkeys(numbers, [0] * len(ids)),
                 **dict.fromkeys(("reason", "model_version"), [""] * len(ids))}  # fmt: skip
    said = {key: [event[key] for event in words] for key in words[0]}
    record = assemble_record(start, None, metadata, decisions=decisions, primary=columns, abandoned={}, suspects=said)
    rows = RowsInOrder(record)
    assert rows.best_row == run.rows.best_row == 1
    for compared in (*((name,) for name in names), names):
        expected = [any((row, name) in glitches for name in compared) for row in range(len(READINGS))]
        assert rows.suspect(*compared).tolist() == run.rows.suspect(*compared).tolist() == expected
    assert rows.suspects_at_best() == ([names[-1]] if (1, names[-1]) in glitches else [])
