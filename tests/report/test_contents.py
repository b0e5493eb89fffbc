"""The content of a report: verdict, objectives, constraints, and the model of an agent that is made again."""

import dataclasses
import importlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from ebl_autonomy.agents import make_agent
from ebl_autonomy.records import Recommendation, RunMetadata, RunRecord, assemble_record
from ebl_autonomy.report import Contents, report_contents, standing_of, write_report
from ebl_autonomy.report.drawing import svg
from ebl_autonomy.report.summary import RowsInOrder
from ebl_autonomy.space import make_vocs, vocs_dict

pytestmark = pytest.mark.integration  # seconds: reports, fits of models, or many runs

XY: Mapping[str, Any] = {"x": [0.0, 1.0], "y": [0.0, 1.0]}


def run(
    vocs: Mapping[str, Any],
    outcomes: Any,
    n: int,
    *,
    agent: str = "bayesian",
    status: str = "abort",
    reason: str = "enough",
    units: Mapping[str, str] | None = None,
) -> RunRecord:
    """A run of n points, proposed for the first objective, that ended early; `outcomes` maps points to outcomes."""
    names = list(vocs["variables"])
    searched = {**vocs, "objectives": dict(list((vocs.get("objectives") or {}).items())[:1])}
    ours = make_agent({"agent": agent, "vocs": searched, "options": {"seed": 1}})
    told: list[dict[str, float]] = []
    for _ in range(n):
        (point,) = ours.suggest(1)
        row = {name: float(point[name]) for name in names}
        told.append({**row, **outcomes(row)})
        ours.ingest([{**point, **told[-1]}])
    measured = [*(vocs.get("objectives") or {}), *(vocs.get("constraints") or {}), *(vocs.get("observables") or [])]
    metadata = RunMetadata(
        package_version="0",
        agent={"agent": agent, "vocs": vocs_dict(make_vocs(vocs)), "options": {"seed": 1}},
        motors=names,
        outcomes=measured,
        units=dict(units or {}),
        max_points=2 * n + 1,
        batch=1,
        finish="best",
    )
    ids = [f"{k:05d}" for k in range(n)]
    columns = {name: [row[name] for row in told] for name in [*names, *measured]}
    decisions = {
        "proposal_id": ids,
        **{name: columns[name] for name in names},
        "batch": list(range(n)),
        "acquisition": [math.nan] * n,
        "reason": [""] * n,
        "points_known": list(range(n)),
        "seconds_to_decide": [0.1] * n,
        "model_version": [""] * n,
    }
    primary = {
        "proposal_id": ids,
        **columns,
        "valid": [True] * n,
        "invalid_reason": [""] * n,
        "time": [100.0 + k for k in range(n)],
        "seconds_moving": [0.5] * n,
        "seconds_measuring": [0.25] * n,
    }
    return assemble_record(
        {"time": 99.0, "uid": "11111111-2222-3333-4444-555555555555", "plan_name": "optimize"},
        {"exit_status": status, "reason": reason, "time": 101.0 + n},
        metadata,
        decisions=decisions,
        primary=primary if n else {},
        abandoned={},
    )


def bowl(row: Mapping[str, float]) -> float:
    return (row["x"] - 0.3) ** 2 + (row["y"] - 0.6) ** 2


ONE: Mapping[str, Any] = {"variables": XY, "objectives": {"f": "MINIMIZE"}}


def glitching(at: int, off: float, n: int = 26) -> RunRecord:
    """A run whose reading number `at` is wrong by `off`."""
    rng, made = np.random.default_rng(3), iter(range(n))
    return run(
        ONE, lambda row: {"f": bowl(row) + 0.002 * rng.standard_normal() + (off if next(made) == at else 0.0)}, n
    )


@pytest.mark.parametrize(("at", "off"), [(14, -3.0), (20, 4.0)])
def test_a_glitch_is_shown_as_suspect_and_is_no_best_reading(at: int, off: float, tmp_path: Path) -> None:
    record = glitching(at, off)
    told = report_contents(record)
    value = float(record.rows["f"][at])
    assert told.suspects == {"f": [at]}
    assert told.suspect_readings == [f"row {at} (point {at + 1}): f {value:.4g}"]
    others = [f for row, f in enumerate(record.rows["f"]) if row != at]
    assert told.summary.best == told.objectives[0].best == min(others)
    assert told.verdict == standing_of(record, RowsInOrder(record, told.suspects))
    page = write_report(record, tmp_path, told=told).read_text()
    assert told.suspect_readings[0] in page
    assert "<!-- suspect -->" in page  # in the legend of the figure


def test_a_run_without_glitches_has_no_suspects(tmp_path: Path) -> None:
    record = run(ONE, lambda row: {"f": bowl(row)}, 14)
    told = report_contents(record)
    assert (told.suspects, told.suspect_readings) == ({}, [])
    assert "suspect" not in write_report(record, tmp_path, told=told).read_text().lower()


def test_suspects_are_rows_also_after_proposals_without_a_row() -> None:
    record = glitching(20, 4.0)
    refused = dataclasses.replace(
        record.proposals[0], proposal_id="refused", status="refused", rows=(), results=record.proposals[0].results
    )
    record = dataclasses.replace(
        record, proposals=(refused, *record.proposals), results=(refused.results[0], *record.results)
    )
    assert report_contents(record).suspects == {"f": [20]}


def test_a_run_that_was_aborted_has_its_recommendation_its_model_and_its_explanation(tmp_path: Path) -> None:
    aborted = run(ONE, lambda row: {"f": bowl(row)}, 14)
    assert aborted.recommended is None
    told = report_contents(aborted)
    assert told.recommended is not None
    assert told.recommended_afterwards
    assert bowl(told.recommended.point) < 0.01
    assert told.recommended.std["f"] > 0.0
    assert "leave-one-out" in told.model.explanation
    assert [one.names for one in told.model.slices] == [["x"], ["y"], ["x", "y"]]
    along = told.model.slices[0]
    assert along.values[0][int(np.argmin(along.mean["f"]))] == pytest.approx(0.3, abs=0.1)
    assert np.shape(told.model.slices[2].mean["f"]) == tuple(map(len, told.model.slices[2].values))
    text = write_report(aborted, tmp_path, told=told).read_text()
    for words in ("The run was aborted: enough.", "made afterwards", "Model of f, through", "What the agent believes"):
        assert words in text
    assert Contents.model_validate_json(told.model_dump_json()) == told


def test_what_the_run_recorded_is_not_replaced() -> None:
    recorded = Recommendation({"x": 0.5, "y": 0.5}, {"f": 1.0}, {"f": 2.0}, {"f": 0.25})
    ended = dataclasses.replace(
        run(ONE, lambda row: {"f": bowl(row)}, 12, status="success"), recommended=recorded, explanation="as it was"
    )
    told = report_contents(ended)
    assert told.recommended == recorded
    assert not told.recommended_afterwards
    assert told.model.explanation == "as it was"
    assert (told.objectives[0].recommended, told.objectives[0].std) == (2.0, 0.25)


def test_an_agent_that_cannot_be_made_again_says_so_in_one_sentence(tmp_path: Path) -> None:
    ended = run(ONE, lambda row: {"f": bowl(row)}, 8)
    elsewhere = {**ended.metadata.agent, "agent": "somebody <b>else</b>'s"}
    ended = dataclasses.replace(ended, metadata=ended.metadata.model_copy(update={"agent": elsewhere}))
    told = report_contents(ended)
    assert told.model.slices == []
    assert "cannot be made again from the run" in told.model.note
    assert told.verdict.kind in ("too few points", "still improving", "converged")  # the verdict needs no agent
    text = write_report(ended, tmp_path, told=told).read_text()
    assert "cannot be made again" in text
    assert "<b>else" not in text


def test_an_agent_with_past_runs_needs_the_client() -> None:
    ended = run(ONE, lambda row: {"f": bowl(row)}, 8)
    ended = dataclasses.replace(ended, metadata=ended.metadata.model_copy(update={"prior": ["abc"]}))
    assert "pass client=" in report_contents(ended).model.note


def test_an_agent_without_a_model_has_no_slices_but_recommends_its_best_reading() -> None:
    ended = run(ONE, lambda row: {"f": bowl(row)}, 12, agent="sobol")
    told = report_contents(ended)
    assert (told.model.slices, "'sobol' has no model" in told.model.note) == ([], True)
    assert told.recommended is not None
    assert told.recommended.outcome["f"] == min(row["f"] for row in ended.results)


@pytest.mark.parametrize(
    ("constraint", "low", "high", "must"),
    [
        (["GREATER_THAN", 0.5], 0.5, None, "above 0.5 mm"),
        (["LESS_THAN", 1.25], None, 1.25, "below 1.25 mm"),
        (["BOUNDS", 0.25, 1.5], 0.25, 1.5, "between 0.25 and 1.5 mm"),
    ],
)
def test_each_constraint_is_told_with_its_limit_its_value_and_the_rows_that_satisfy_it(
    constraint: list[Any], low: float | None, high: float | None, must: str, tmp_path: Path
) -> None:
    vocs = {**ONE, "constraints": {"g": constraint}}
    ended = run(vocs, lambda row: {"f": bowl(row), "g": row["x"] + row["y"]}, 14, units={"g": "mm"})
    told = report_contents(ended)
    (one,) = told.constraints
    values = [row["g"] for row in ended.results]
    satisfied = sum((low is None or v > low) and (high is None or v < high) for v in values)
    assert (one.low, one.high, one.satisfied, one.measured) == (low, high, satisfied, 14)
    assert told.recommended is not None
    assert one.recommended == told.recommended.mean["g"]
    assert one.std == told.recommended.std["g"]
    assert one.holds is True
    text = write_report(ended, tmp_path, told=told).read_text()
    assert must in text
    assert f"{satisfied} of 14" in text


def test_a_constraint_that_no_row_satisfies_is_marked(tmp_path: Path) -> None:
    vocs = {**ONE, "constraints": {"g": ["GREATER_THAN", 5.0]}}
    ended = run(vocs, lambda row: {"f": bowl(row), "g": row["x"]}, 12)
    told = report_contents(ended)
    assert told.verdict.kind == "infeasible"
    assert any("No row satisfies the constraint on g" in sentence for sentence in told.verdict.warnings)
    assert told.constraints[0].satisfied == 0
    assert told.constraints[0].holds is False
    text = write_report(ended, tmp_path, told=told).read_text()
    assert "none of 12" in text
    assert ">broken<" in text


class Planes:
    """Somebody else's generator that predicts x + y for each of its outcomes, and whose other methods fail."""

    def __init__(self, *outcomes: str) -> None:
        self.outcomes = outcomes

    def best(self) -> Any:
        raise RuntimeError("no")

    def predict(self, points: Any) -> Any:
        mean = np.array([point["x"] + point["y"] for point in points])
        return {name: (mean, np.ones(len(mean))) for name in self.outcomes}


def test_an_agent_that_is_given_is_asked() -> None:
    ended = run(ONE, lambda row: {"f": bowl(row)}, 12, agent="sobol")
    recommended = dataclasses.replace(ended, recommended=Recommendation({"x": 0.5, "y": 0.25}, {"f": 1.0}))
    given: Any = Planes("f")
    (along, _, _) = report_contents(recommended, agent=given).model.slices
    np.testing.assert_allclose(along.mean["f"], np.array(along.values[0]) + 0.25)
    assert report_contents(ended, agent=given).recommended is None


@pytest.mark.parametrize("names", ["fh", "fhk"])
def test_every_objective_is_told_and_drawn(names: str, tmp_path: Path) -> None:
    goals = {"f": "MINIMIZE", "h": "MAXIMIZE", "k": "MINIMIZE"}
    vocs = {"variables": XY, "objectives": {name: goals[name] for name in names}}
    ended = run(vocs, lambda row: {"f": bowl(row), "h": row["x"], "k": row["y"]}, 14)
    front = tuple(
        Recommendation({"x": row["x"], "y": row["y"]}, {name: row[name] for name in names}) for row in ended.results[:3]
    )
    given: Any = Planes(*names)
    told = report_contents(dataclasses.replace(ended, recommended=front[1], front=front), agent=given)
    assert [(one.name, one.goal) for one in told.objectives] == [(name, goals[name]) for name in names]
    assert told.objectives[1].best == max(row["h"] for row in ended.results)
    assert set(told.verdict.objectives) == set(names)
    text = write_report(ended, tmp_path, told=told).read_text()
    assert "Each objective against points" in text
    assert ("Front: what no other point" in text) == (len(names) == 2)  # a figure has two axes; the table shows all
    assert "The front, point by point" in text
    assert text.count("<td>compromise</td>") == 1
    for name in names:
        assert f"Model of {name}, through the recommended point" in text


@pytest.mark.parametrize(
    ("vocs", "outcomes", "n", "kind"),
    [
        (ONE, lambda row: {"f": bowl(row)}, 0, "no points"),
        (ONE, lambda row: {"f": bowl(row)}, 2, "too few points"),
        (ONE, lambda row: {"f": math.nan}, 6, "invalid"),
        (ONE, lambda row: {"f": 2.5}, 20, "flat"),
        (ONE, lambda row: {"f": bowl(row)}, 30, "converged"),
        ({"variables": XY, "observables": ["f"]}, lambda row: {"f": bowl(row)}, 6, "explored"),
    ],
    ids=["no points", "two points", "all invalid", "constant", "bowl", "exploration"],
)
def test_the_verdict_of_a_run(vocs: Mapping[str, Any], outcomes: Any, n: int, kind: str, tmp_path: Path) -> None:
    ended = run(vocs, outcomes, n, agent="bayesian" if "objectives" in vocs else "sobol")
    standing = standing_of(ended)
    assert standing.kind == kind
    assert standing.headline in write_report(ended, tmp_path).read_text()


DECADES: Mapping[str, Any] = {"type": "ContinuousVariable", "domain": [1e-3, 1e3], "log_scale": True}
WHEEL: Mapping[str, Any] = {"type": "DiscreteVariable", "values": {1, 2, 4, 8}}
ATTENUATOR: Mapping[str, Any] = {"type": "DiscreteVariable", "values": {1, 10, 100, 1000}}


@pytest.mark.parametrize(
    ("variables", "scales", "ticks"),
    [
        ({"x": DECADES}, ["log"], None),
        ({"x": DECADES, "y": [0.0, 1.0]}, ["log", "linear"], None),
        ({"x": WHEEL}, ["linear"], [1, 2, 4, 8]),
        ({"x": WHEEL, "y": DECADES}, ["linear", "log"], [1, 2, 4, 8]),
        ({"x": ATTENUATOR, "y": [0.0, 1.0]}, ["log", "linear"], [1, 10, 100, 1000]),
    ],
    ids=["decades", "decades and another", "wheel", "wheel and decades", "attenuator"],
)
def test_each_motor_is_drawn_as_it_is_searched(
    variables: Mapping[str, Any], scales: list[str], ticks: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []

    def keep(figure: Figure) -> str:
        drawn.append(figure)
        return svg(figure)

    modules = [importlib.import_module(f"ebl_autonomy.report.{name}") for name in ("figures", "slice_figures")]
    for module in modules:
        monkeypatch.setattr(module, "svg", keep)
    vocs = {"variables": variables, "objectives": {"f": "MINIMIZE"}}
    ended = run(vocs, lambda row: {"f": (math.log10(row["x"]) - 0.5) ** 2 + row.get("y", 0.0) * 1e-3}, 14)
    told = report_contents(ended)
    modules[0].figures(ended, told)
    by_label = {axes.get_xlabel(): axes for figure in drawn for axes in figure.axes if axes.get_ylabel() in ("f", "")}
    tracks = {axes.get_title(): axes for figure in drawn for axes in figure.axes}
    for name, scale in zip(variables, scales, strict=True):
        assert (by_label[name].get_xscale(), tracks[name].get_yscale()) == (scale, scale)
    if ticks is not None:
        assert by_label["x"].get_xticks().tolist() == tracks["x"].get_yticks().tolist() == ticks
    everything = [axes for figure in drawn for axes in figure.axes]
    maps = [axes for axes in everything if (axes.get_xlabel(), axes.get_ylabel()) == ("x", "y")]
    assert len(maps) == len(variables) - 1
    assert told.recommended is not None
    for axes in maps:
        assert (axes.get_xscale(), axes.get_yscale()) == tuple(scales)
        (mesh,) = axes.collections
        corners = mesh.get_coordinates()[..., 0]
        assert corners.min() > 0.0
        for point in (told.recommended.point, *ended.results):  # nothing lies beside the map
            assert corners.min() <= point["x"] <= corners.max()


def test_a_flat_run_says_how_far_its_readings_scatter() -> None:
    rng = np.random.default_rng(0)
    ended = run(ONE, lambda _: {"f": rng.normal(0, 0.01)}, 25, agent="sobol")
    (sentence,) = (s for s in standing_of(ended).evidence if "scatter" in s)
    told = float(sentence.split("scatter by ")[1].split()[0])
    assert 0.006 < told < 0.016


def test_large_odds_are_written_out() -> None:
    rng = np.random.default_rng(1)
    vocs = {**ONE, "variables": {"x": [0.0, 1.0]}}
    ended = run(vocs, lambda row: {"f": row["x"] + 0.1 * rng.normal()}, 12, agent="sobol")
    (sentence,) = (s for s in standing_of(ended).evidence if "more probable with one" in s)
    assert re.search(r"they are ([0-9]+,)*[0-9]{3} times more probable", sentence), sentence


def test_a_limit_and_invalid_rows_are_warned_of() -> None:
    edge = run(ONE, lambda row: {"f": row["x"] + (row["y"] - 0.5) ** 2}, 25)
    assert any("at the lower limit of x: widen its domain" in sentence for sentence in standing_of(edge).warnings)
    lost = run(ONE, lambda row: {"f": bowl(row) if row["x"] > 0.95 else math.nan}, 12)
    assert any("are invalid: was the beam lost?" in sentence for sentence in standing_of(lost).warnings)


@pytest.mark.parametrize(
    ("status", "reason", "says"),
    [
        ("abort", "aborted by the user", "The run was aborted by the user."),
        ("fail", "RuntimeError: <i>beam</i>", "The run failed: RuntimeError: &lt;i&gt;beam&lt;/i&gt;."),
        ("success", "stopped by the user", "The run was ended early: stopped by the user."),
    ],
)
def test_a_run_that_did_not_end_as_planned_says_why_at_the_top(
    status: str, reason: str, says: str, tmp_path: Path
) -> None:
    text = write_report(run(ONE, lambda row: {"f": bowl(row)}, 3, status=status, reason=reason), tmp_path).read_text()
    assert says in text
    assert text.index(says) < text.index('class="cards"')
    planned = run(ONE, lambda row: {"f": bowl(row)}, 3, status="success", reason="max_points: 3 points are measured")
    assert 'class="ending"' not in write_report(planned, tmp_path).read_text()
