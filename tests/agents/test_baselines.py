"""The baselines: the grid is complete, the coordinate scan works like an operator, and all are reproducible."""

import itertools
import json
import math
import subprocess
import sys
from typing import Any

import pytest

from ebl_autonomy import registry
from ebl_autonomy.agents import Agent, CoordinateScanAgent, GridAgent, SobolAgent
from ebl_autonomy.errors import BadInputError, NoMoreProposals

XY: dict[str, Any] = {"x": [-1.0, 4.0], "y": [-2.0, 2.0]}
PLAIN: dict[str, Any] = {"variables": XY, "objectives": {"f": "MINIMIZE"}}
MIXED: dict[str, Any] = {
    "variables": {**XY, "n": {"type": "DiscreteVariable", "values": [0, 1, 4]}},
    "objectives": {"f": "MINIMIZE"},
    "constraints": {"g": ["GREATER_THAN", 0.5]},
}


def without_ids(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in point.items() if name != "_id"} for point in points]


def valley(p: dict[str, Any]) -> float:
    return float((p["x"] - 1.9) ** 2 + 4.0 * (p["y"] - 0.3 - 0.2 * p["x"]) ** 2)


def measured(p: dict[str, Any]) -> dict[str, Any]:
    return {**p, "f": valley(p) + p.get("n", 0.0), "g": p["x"]}


def answers(agent: Agent, n: int, batch: int = 1) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = []
    while len(points) < n:
        points.extend(agent.suggest(batch))
        agent.ingest([measured(p) for p in points[-batch:]])
    return points


# -- in a new process ------------------------------------------------------------------------------------------

REPLAY = """
import json, sys
from ebl_autonomy.agents import Agent
config, results = json.load(sys.stdin)
agent = Agent.from_config(config)
agent.ingest(results)
print(json.dumps([[float(v).hex() for v in p.values()] for p in agent.suggest(3)]))
"""


@pytest.mark.integration
@pytest.mark.parametrize("name", ["bayesian", "coordinate_scan", "grid", "sobol"])
def test_the_same_results_give_the_same_proposals_bit_for_bit_in_a_new_process(name: str) -> None:
    agent = registry.load(registry.AGENTS, name)(MIXED, seed=11)
    results = [measured(p) for p in answers(agent, 14)]
    results[5]["f"] = math.nan
    agent = type(agent).from_config(agent.config())
    agent.ingest(results)
    expected = [[float(v).hex() for v in p.values()] for p in agent.suggest(3)]
    done = subprocess.run(
        [sys.executable, "-c", REPLAY],
        input=json.dumps([agent.config(), results]),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == expected


def test_a_sobol_sequence_goes_on_where_it_was_and_depends_on_its_seed() -> None:
    at_once = SobolAgent(PLAIN, seed=1).suggest(100)
    in_steps = answers(SobolAgent(PLAIN, seed=1), 100, batch=7)
    assert at_once == in_steps[:100]
    assert SobolAgent(PLAIN, seed=2).suggest(100) != at_once
    assert len({tuple(p.values()) for p in at_once}) == 100


AIMLESS: dict[str, Any] = {"variables": MIXED["variables"], "observables": ["f", "g"]}


@pytest.mark.parametrize("kind", [SobolAgent, GridAgent])
def test_points_to_explore_are_the_same_whatever_is_wanted(kind: type[Agent]) -> None:
    wanted = [MIXED, AIMLESS, {**MIXED, "objectives": {"f": "MINIMIZE", "g": "MAXIMIZE"}, "constraints": {}}]
    first, *others = [answers(kind(vocs, seed=4), 21, batch=7) for vocs in wanted]
    assert all(points == first for points in others)
    assert kind.from_config(kind(AIMLESS).config()).config() == kind(AIMLESS).config()


def test_a_hand_scan_needs_one_objective() -> None:
    for objectives in ({}, {"f": "MINIMIZE", "g": "MAXIMIZE"}):
        with pytest.raises(BadInputError, match="one objective"):
            CoordinateScanAgent({"variables": XY, "objectives": objectives, "observables": ["h"]})


def test_a_sobol_sequence_with_gaps_proposes_no_point_twice() -> None:
    sequence = SobolAgent(PLAIN, seed=1).suggest(12)
    agent = SobolAgent(PLAIN, seed=1)
    agent.suggest(4)
    agent.ingest([measured(sequence[3]), measured(sequence[1])])  # a batch is measured in the order of travel
    agent.withdraw(agent.pending)
    assert without_ids(agent.suggest(3)) == without_ids([sequence[2], sequence[4], sequence[5]])
    again = SobolAgent.from_config(agent.config())
    again.ingest(agent.results)
    assert without_ids(again.suggest(3)) == without_ids([sequence[2], sequence[4], sequence[5]])


def test_a_sobol_sequence_of_a_few_values_goes_on() -> None:
    vocs = {"variables": {"n": {"type": "DiscreteVariable", "values": [0, 1, 4]}}, "observables": ["f", "g"]}
    agent = SobolAgent(vocs)
    for _ in range(30):
        agent.ingest([{**p, "f": 0.0, "g": 0.0} for p in agent.suggest(1)])
    assert {result["n"] for result in agent.results} == {0.0, 1.0, 4.0}


# -- the grid --------------------------------------------------------------------------------------------------


def test_a_grid_has_every_point_once() -> None:
    agent = GridAgent(MIXED, points_per_axis=[3, 2])
    points = agent.suggest(agent.size)
    expected = set(itertools.product([-1.0, 1.5, 4.0], [-2.0, 2.0], [0.0, 1.0, 4.0]))
    assert {tuple(p.values()) for p in without_ids(points)} == expected
    assert len(points) == 18 == agent.size
    assert agent.decisions()[17].reason == "grid point 18 of 18"


def test_a_snake_moves_one_motor_by_one_step() -> None:
    points = without_ids(GridAgent(MIXED, points_per_axis=[4, 3]).suggest(36))
    for a, b in itertools.pairwise(points):
        assert sum(a[name] != b[name] for name in a) == 1
    straight = GridAgent(PLAIN, points_per_axis=2, snake=False).suggest(4)
    assert [tuple(p.values()) for p in without_ids(straight)] == [(-1.0, -2.0), (-1.0, 2.0), (4.0, -2.0), (4.0, 2.0)]


def test_a_grid_that_is_spent_says_what_is_left() -> None:
    agent = GridAgent(PLAIN, points_per_axis=2)
    agent.suggest(3)
    with pytest.raises(NoMoreProposals, match="1 points are left") as spent:
        agent.suggest(2)
    assert spent.value.remaining == 1
    assert isinstance(spent.value, ValueError), "gest-api asks for a ValueError"
    assert len(agent.suggest(1)) == 1
    with pytest.raises(NoMoreProposals, match="all 4 points") as spent:
        agent.suggest(1)
    assert spent.value.remaining == 0


def test_the_next_point_of_a_large_grid_is_found_without_walking_through_all_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = GridAgent(PLAIN, points_per_axis=40)
    agent.ingest([measured(p) for p in agent.suggest(1500)])
    agent.suggest(1)
    looked_at: list[int] = []
    node = agent._node
    monkeypatch.setattr(agent, "_node", lambda number: looked_at.append(number) or node(number))
    agent.suggest(3)
    assert len(looked_at) < 10


def test_a_grid_fills_its_gaps_and_minds_no_foreign_points() -> None:
    whole = GridAgent(PLAIN, points_per_axis=3).suggest(9)
    agent = GridAgent(PLAIN, points_per_axis=3)
    foreign = {"x": 0.1, "y": 0.1}
    gone = [whole[0], whole[4], {**whole[7], "x": whole[7]["x"] + 1e-9}]
    agent.ingest([measured(p) for p in [foreign, *gone]] + [{**whole[0], "f": math.nan}])
    assert without_ids(agent.suggest(6)) == without_ids([p for i, p in enumerate(whole) if i not in (0, 4, 7)])


def test_what_was_withdrawn_from_a_grid_comes_again() -> None:
    agent = GridAgent(AIMLESS, points_per_axis=2)
    points = agent.suggest(12)
    agent.withdraw(points[3:5])
    assert without_ids(agent.suggest(2)) == without_ids(points[3:5])


def test_one_point_per_axis_is_the_middle() -> None:
    assert without_ids(GridAgent(PLAIN, points_per_axis=1).suggest(1)) == [{"x": 1.5, "y": 0.0}]


@pytest.mark.parametrize("points", [[3], [3, 3, 3], 0, [2, 0], 2.5])
def test_points_per_axis_must_fit(points: Any) -> None:
    with pytest.raises(BadInputError, match="points_per_axis"):
        GridAgent(PLAIN, points_per_axis=points)


# -- the coordinate scan -----------------------------------------------------------------------------------------


def test_a_hand_scan_starts_where_the_beamline_stands() -> None:
    agent = CoordinateScanAgent(PLAIN)
    agent.start_from({"x": 0.5, "y": 1.0})
    assert without_ids(agent.suggest(1)) == [{"x": 0.5, "y": 1.0}]
    assert agent.decisions()[0].reason == "start"
    assert without_ids(CoordinateScanAgent(PLAIN).suggest(1)) == [{"x": 1.5, "y": 0.0}]


def test_a_hand_scan_scans_one_motor_after_the_other_from_the_best_point() -> None:
    agent = CoordinateScanAgent(PLAIN, points=5)
    points, reasons = [], []
    for _ in range(11):
        points.extend(answers(agent, 1))
        reasons.append(agent.decisions()[0].reason)
    assert reasons == ["start"] + ["scan of x, pass 1"] * 5 + ["scan of y, pass 1"] * 5
    line = points[1:6]
    assert [p["x"] for p in line] == pytest.approx([-1.0, 0.25, 1.5, 2.75, 4.0])
    best = min(line, key=valley)
    assert {p["x"] for p in points[6:]} == {best["x"]}
    answers(agent, 1)
    assert agent.decisions()[0].reason == "scan of x, pass 2"


def test_a_hand_scan_finds_the_bottom_of_a_tilted_valley() -> None:
    agent = CoordinateScanAgent(PLAIN)
    points = answers(agent, 100)
    assert min(map(valley, points)) < 1e-3
    assert min(map(valley, points[:50])) < 0.1


def test_batches_find_it_too_and_lose_little() -> None:
    agent = CoordinateScanAgent(PLAIN)
    points = answers(agent, 100, batch=4)
    assert min(map(valley, points)) < 1e-2


def test_a_batch_across_the_end_of_a_scan_depends_on_results_alone() -> None:
    agent = CoordinateScanAgent(PLAIN, points=5)
    results = [measured(p) for p in answers(agent, 5)]
    batch = agent.suggest(4)  # the last point of the x scan, and three of the y scan through the best point so far
    assert [d.reason for d in agent.decisions()] == ["scan of x, pass 1"] + ["scan of y, pass 1"] * 3
    results += [measured(p) for p in reversed(batch)]
    agent.ingest(results[5:])
    again = CoordinateScanAgent.from_config(agent.config())
    again.ingest(results)
    assert again.suggest(3) == agent.suggest(3)


def test_a_better_late_answer_draws_the_next_scan_anew() -> None:
    agent = CoordinateScanAgent(PLAIN, points=3)
    answers(agent, 3)
    late, guess = agent.suggest(2)
    agent.ingest([{**late, "f": -100.0}, measured(guess)])
    (point,) = agent.suggest(1)
    assert point["x"] == late["x"] != guess["x"]


def test_a_hand_scan_without_a_valid_answer_stays_where_it_was() -> None:
    agent = CoordinateScanAgent(PLAIN, points=3)
    points = []
    for _ in range(7):
        points.extend(agent.suggest(1))
        agent.ingest([{**points[-1], "f": math.nan}])
    assert [p["x"] for p in points[4:]] == [1.5] * 3


def test_a_hand_scan_goes_towards_the_feasible() -> None:
    vocs = {**PLAIN, "constraints": {"g": ["GREATER_THAN", 10.0]}}  # infeasible everywhere, because g is x
    agent = CoordinateScanAgent(vocs, points=3)
    points = answers(agent, 5)
    assert points[4]["x"] == 4.0, "nothing is feasible: the least violation"
    vocs = {**PLAIN, "constraints": {"g": ["LESS_THAN", 0.0]}}
    agent = CoordinateScanAgent(vocs, points=3)
    points = answers(agent, 5)
    assert points[4]["x"] == -1.0, "the only feasible one, though others have a better objective"


def test_a_hand_scan_takes_discrete_values_and_their_neighbours() -> None:
    values = list(range(20))
    vocs = {
        "variables": {"n": {"type": "DiscreteVariable", "values": values}},
        "objectives": {"f": "MINIMIZE"},
    }
    agent = CoordinateScanAgent(vocs, points=5)
    for _ in range(40):
        points = agent.suggest(1)
        agent.ingest([{**p, "f": abs(p["n"] - 13.0)} for p in points])
    assert agent.best().point["n"] == 13.0
    assert {r["n"] for r in agent.results} <= set(map(float, values))


def test_a_hand_scan_never_repeats_itself_without_end() -> None:
    agent = CoordinateScanAgent(PLAIN, points=3)
    points = answers(agent, 200)
    assert all(-1.0 <= p["x"] <= 4.0 for p in points)
    assert "pass 34" in agent.decisions()[0].reason
