"""The runner counts points rightly in batches and out of order, and the table says where ours is behind."""

import argparse
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import robustness
from benchmarks.evolution import CmaEs
from benchmarks.peers import OURS, PEERS
from benchmarks.robustness import Outcome, Task, compared, lines, measured, rows, run, search, takes
from benchmarks.situations import KINDS
from benchmarks.textbook import PENALTY, Costs
from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.space import VOCS, Space

imports_cma = pytest.mark.integration  # a second


class Recorder:
    """Asks for points along the first motor, and notes what it is asked and told."""

    def __init__(self, kind: str) -> None:
        self.situation = KINDS[kind].situation(0)
        self.asked: list[int] = []
        self.told: list[list[Any]] = []
        self.under_way: list[int] = []
        self.made = 0

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        count = num_points or 1
        self.asked.append(count)
        points = [{**self.situation.space.standing(), "id": self.made + i} for i in range(count)]
        self.made += count
        self.under_way.append(self.made - sum(map(len, self.told)))
        return points

    def ingest(self, results: Sequence[Mapping[str, Any]]) -> None:
        self.told.append([result["id"] for result in results])

    def run(self, kind: str, points: int, seed: int = 0) -> None:
        for arrived in measured(self.situation, self, Task(kind, "recorder", seed, points)):
            self.ingest(arrived)


def test_one_point_at_a_time() -> None:
    recorder = Recorder("bowl_4")
    recorder.run("bowl_4", 20)
    assert recorder.asked == [1] * 20
    assert recorder.told == [[i] for i in range(20)]


def test_a_batch_is_asked_and_told_together_and_the_last_one_is_cut() -> None:
    recorder = Recorder("batches_6")
    recorder.run("batches_6", 20)
    assert recorder.asked == [8, 8, 4]
    assert [len(told) for told in recorder.told] == [8, 8, 4]
    assert list(itertools.chain(*recorder.told)) == list(range(20))


@pytest.mark.parametrize("seed", [0, 1])
def test_four_workers_are_kept_busy_and_end_out_of_order(seed: int) -> None:
    recorder = Recorder("asynchronous_4")
    recorder.run("asynchronous_4", 30, seed)
    assert recorder.asked == [4] + [1] * 26
    assert set(recorder.under_way) == {4}
    order = list(itertools.chain(*recorder.told))
    assert sorted(order) == list(range(30))
    assert order != list(range(30))
    assert all(len(told) == 1 for told in recorder.told)


@pytest.mark.parametrize("kind", ["batches_6", "asynchronous_4", "filters_4", "hole_3", "small_feasible_4"])
@pytest.mark.parametrize("name", ["sobol", pytest.param("cma_es", marks=imports_cma)])
def test_each_mark_has_a_regret(kind: str, name: str) -> None:
    task, outcome = search(Task(kind, name, 1, 40))
    assert task.contender == name
    assert sorted(outcome.regret) == [20, 40]
    assert all(0.0 <= value <= 1.5 for value in outcome.regret.values())


def test_an_invalid_reading_costs_as_much_as_the_worst_so_far_and_a_broken_limit_a_penalty() -> None:
    vocs = VOCS(variables={"x": [0.0, 1.0]}, objectives={"f": "MAXIMIZE"}, constraints={"g": ["LESS_THAN", 2.0]})
    costs = Costs(Space(vocs))
    assert costs.of({"f": -3.0, "g": 1.0}) == 3.0
    assert costs.of({"f": 7.0, "g": 1.0}) == -7.0
    assert costs.of({"f": math.nan, "g": math.nan}) == 3.0
    assert costs.of({"f": 7.0, "g": 3.0}) == -7.0 + PENALTY * 0.5


def test_a_mark_within_a_batch_counts_what_is_known_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    known = []

    def noted(situation: Any, contender: Any, results: Sequence[Any]) -> None:
        known.append(len(results))

    monkeypatch.setattr(robustness, "recommended", noted)
    search(Task("batches_6", "sobol", 0, 40))
    assert known == [16, 40]


def test_a_method_that_needs_each_result_takes_no_batches() -> None:
    assert PEERS["nelder_mead"].sequential
    assert not takes("nelder_mead", "batches_6")
    assert not takes("nelder_mead", "asynchronous_4")
    assert takes("nelder_mead", "bowl_4")
    assert takes("cma_es", "batches_6")


@imports_cma
def test_the_evolution_strategy_converges_and_starts_again_with_twice_the_points() -> None:
    strategy = CmaEs(VOCS(variables={"x": [0.0, 1.0], "y": [-5.0, 5.0]}, objectives={"f": "MINIMIZE"}), 0)
    first = strategy.strategy
    costs = []
    while strategy.strategy is first and len(costs) < 2000:
        points = strategy.suggest(3)  # no multiple of its own size
        costs += [(point["x"] - 0.3) ** 2 + (point["y"] - 4.0) ** 2 for point in points]
        strategy.ingest([{**point, "f": cost} for point, cost in zip(points, costs[-3:], strict=True)])
    assert min(costs) < 1e-6
    assert strategy.strategy.popsize == 2 * first.popsize
    strategy.ingest([{**point, "f": 1.0} for point in strategy.suggest(3)])


def outcomes(*at_20: float) -> dict[int, Outcome]:
    return {seed: Outcome({20: value}, 1.0) for seed, value in enumerate(at_20)}


def test_behind_is_a_worse_median_beyond_the_scatter_of_the_seeds() -> None:
    far = compared({OURS: outcomes(0.5, 0.6, 0.7, 0.8), "sobol": outcomes(0.1, 0.2, 0.3, 0.4)}, 20)
    assert far is not None
    assert far.behind
    assert far.ratio == pytest.approx(2.6)
    assert far.worst_ratio == pytest.approx(2.0)
    near = compared({OURS: outcomes(0.1, 0.4, 0.6, 0.9), "sobol": outcomes(0.1, 0.3, 0.5, 0.9)}, 20)
    assert near is not None
    assert not near.behind
    assert near.ratio == pytest.approx(1.25)
    assert near.worst_ratio == 1.0


def test_regrets_below_a_thousandth_are_equal() -> None:
    found = compared({OURS: outcomes(9e-4, 8e-4), "sobol": outcomes(1e-9, 0.0)}, 20)
    assert found is not None
    assert (found.ratio, found.behind, found.worst_ratio) == (1.0, False, 1.0)


def test_a_difference_of_a_few_percent_is_none() -> None:
    found = {"false_hill_3": {OURS: outcomes(0.9, 0.9, 0.9), "sobol": outcomes(0.89, 0.89, 0.89)}}
    comparison = compared(found["false_hill_3"], 20)
    assert comparison is not None
    assert not comparison.behind
    _, body = rows(["false_hill_3"], found, 20)
    assert body[0][-2:] == ["", ""]


def test_only_seeds_in_common_are_compared_with_the_best_other_method() -> None:
    ours = outcomes(0.2, 0.2, 0.9, 0.9, 0.9)
    found = compared({OURS: ours, "sobol": outcomes(0.8, 0.8, 0.8, 0.8, 0.8), "botorch": outcomes(0.1, 0.1)}, 20)
    assert found is not None
    assert (found.peer, found.ratio) == ("botorch", pytest.approx(2.0))


def test_the_table_names_the_best_other_and_marks_refusals() -> None:
    found = {
        "bowl_4": {OURS: outcomes(0.5, 0.5), "sobol": outcomes(0.25, 0.25)},
        "valley_4": {OURS: outcomes(0.1), "sobol": outcomes(0.2)},
    }
    found["valley_4"][OURS] = {0: Outcome({20: float("inf")}, refused="too far apart")}
    _, body = rows(["bowl_4", "valley_4"], found, 20)
    assert body[0][2:] == ["0.5000", "0.5000", "SobolAgent", "0.2500", "0.2500", "2 x", "2 x"]
    assert body[1][2:4] == ["refused", "refused"]
    assert body[1][-2] == "inf x"


def test_a_cache_spares_the_runs_of_others_but_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def noted(task: Task) -> tuple[Task, Outcome]:
        ran.append(task.contender)
        return task, Outcome({20: 0.5}, 1.0)

    monkeypatch.setattr(robustness, "search", noted)
    cache = tmp_path / "runs.json"
    tasks = [Task("bowl_4", OURS, 0, 20), Task("bowl_4", "sobol", 0, 20)]
    first = run(tasks, 1, cache)
    (key,) = json.loads(cache.read_text())
    assert key.startswith("bowl_4/sobol/0/20/")
    assert run(tasks, 1, cache) == first
    assert ran == [OURS, "sobol", OURS]
    run([*tasks, Task("bowl_4", "sobol", 1, 20)], 1, cache)
    assert ran[3:] == [OURS, "sobol"]
    changed = replace(KINDS["bowl_4"], make=KINDS["valley_4"].make)
    monkeypatch.setitem(KINDS, "bowl_4", changed)
    run([Task("bowl_4", "sobol", 0, 20)], 1, cache)
    assert ran[5:] == ["sobol"]


@imports_cma
def test_the_report_has_a_row_for_each_kind_and_mark() -> None:
    parser = argparse.ArgumentParser()
    robustness.arguments(parser)
    given = ["--kinds", "bowl", "filters_4", "--contenders", "sobol", "cma_es", "--seeds", "2", "--points", "40"]
    text = "\n".join(lines(parser.parse_args([*given, "--every"])))
    assert "bowl_4" in text
    assert "filters_4" in text
    assert "CMA-ES" in text


@pytest.mark.parametrize(("kind", "unordered"), [("filters_4", ["wheel_0"]), ("turret_4", ["wheel_0"]), ("bowl_4", [])])
def test_our_agent_is_told_which_wheels_have_no_order(kind: str, unordered: list[str]) -> None:
    agent = PEERS[OURS].make(KINDS[kind].situation(0), 0)
    assert isinstance(agent, BayesianAgent)
    assert list(agent.space.unordered) == unordered
    assert agent.space.standing() == KINDS[kind].situation(0).space.standing()
