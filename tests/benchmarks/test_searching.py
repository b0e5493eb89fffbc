"""Each method solves the problems that it claims to solve, and the report prints the measured figures."""

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import recipe
from benchmarks.peers import OURS, PEERS
from benchmarks.problems import PROBLEMS
from benchmarks.reporting import NEITHER, count, filled, median, ratio, table
from benchmarks.searching import Run, Task, by_peer, draw, ratios, rows, search

pytestmark = pytest.mark.integration  # they run alignments and botorch


def run(peer: str, seed: int, losses: list[float], problem: str = "pair", violations: int = 0) -> Run:
    values = np.array(losses)
    return Run(Task(peer, problem, seed, len(values)), np.minimum.accumulate(values), values, violations, 1.0)


KINDS = ("pair", "front", "drift", "heat")  # a problem of each
CLAIMS = [(peer, problem) for peer in PEERS for problem in KINDS if PEERS[peer].takes(PROBLEMS[problem])]


@pytest.mark.parametrize(("peer", "problem"), CLAIMS)
def test_each_method_solves_what_it_claims_to(peer: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not PEERS[peer].installed:
        pytest.skip(f"{PEERS[peer].needs} is not installed")
    monkeypatch.setattr(recipe, "RESTARTS", 1)
    monkeypatch.setattr(recipe, "RAW_SAMPLES", 4)
    points = 3
    if problem == "drift" or (peer == "botorch" and problem in ("front", "heat")):
        points = 2 * len(PROBLEMS[problem].bounds) + 1  # one more than the quasi-random start
    found = search(Task(peer, problem, 1, points))
    if found.refused:
        assert "objective" in found.refused
        return
    assert len(found.regret) == len(found.losses) == points
    assert np.isfinite(found.regret).all()
    assert found.cpu_ms >= 0.0


def test_a_simplex_continues_where_the_answers_end() -> None:
    found = search(Task("nelder_mead", "pair", 0, 60))
    assert found.regret[0] > found.regret[30] > found.regret[-1]


def test_points_to_99_percent_are_counted_from_one() -> None:
    found = run(OURS, 0, [0.5, 0.1, 0.011, 0.01, 0.5])
    assert found.reached(0.1) == 2
    assert found.reached(0.01) == 4
    assert math.isinf(found.reached(0.001))


def test_levels_that_are_never_reached() -> None:
    assert median([3.0, math.inf]) == math.inf
    assert median([1.0, 3.0, math.inf]) == 3.0
    assert count([1.0, 3.0, math.inf, math.inf]) == "never (2/4)"
    assert ratio(10.0, 20.0) == "0.50 x"
    assert ratio(10.0, math.inf) == "only we reach it"
    assert ratio(math.inf, 10.0) == "only they reach it"
    assert ratio(math.inf, math.inf) == NEITHER


def test_ratios_are_formed_over_the_seeds_in_common_against_the_best_peer() -> None:
    ours = [run(OURS, seed, [1.0, *[0.1 if seed < 2 else 0.9] * 39]) for seed in range(6)]
    weak = [run("sobol", seed, [1.0, *[0.95] * 39]) for seed in range(6)]
    few = [run("botorch", seed, [1.0, *[0.2] * 39]) for seed in range(2)]
    at_20 = next(line for line in ratios(PROBLEMS["pair"], by_peer([*ours, *weak, *few])) if "@20" in line)
    assert "0.95 x against SobolAgent" in at_20
    assert "6 seeds in common" in at_20
    at_20 = next(line for line in ratios(PROBLEMS["pair"], by_peer([*ours, *few])) if "@20" in line)
    assert "0.50 x against botorch's recipe" in at_20
    assert "2 seeds in common" in at_20


def test_a_table_has_what_its_problem_has() -> None:
    done = by_peer([run(OURS, 0, [1.0] * 40, "heat", violations=7)])
    head, (row,) = rows(PROBLEMS["heat"], done)
    assert dict(zip(head, row, strict=True))["violations"] == "7"
    head, _ = rows(PROBLEMS["drift"], by_peer([run(OURS, 0, [1.0] * 40, "drift")]))
    assert "second half" in head
    assert "violations" not in head
    lines = table(head, [["x"] * len(head)]).splitlines()
    assert len({len(line) for line in lines}) == 1


def test_a_figure_is_drawn(tmp_path: Path) -> None:
    runs = {"pair": by_peer([run(OURS, 0, [1.0, 0.1]), run("sobol", 0, [1.0, 0.5])])}
    draw(runs, tmp_path / "searching.png")
    assert (tmp_path / "searching.png").stat().st_size > 1000


def test_the_page_is_filled_between_its_marks() -> None:
    page = "# Title\n\n<!-- speed -->\nold\n<!-- end -->\n\n<!-- deciding -->\nkept\n<!-- end -->\n"
    assert filled(page, "speed", "new\n") == page.replace("old", "\nnew\n")
