"""Alignments are scored by the truth along the run."""

import argparse

import numpy as np
import pytest

from benchmarks import recipe
from benchmarks.alignment import Alignment, Task, _tasks, against, align, arguments, config, contender, width
from ebl_autonomy.sim_devices import SimBeamline

pytestmark = pytest.mark.integration  # they run alignments and botorch


def alignment(agent: str, widths: list[float], seed: int = 0) -> Alignment:
    values = np.array(widths)
    return Alignment(Task(agent, "A", seed, len(values)), values, 10.0 * np.arange(1, len(values) + 1), 1.0, 0.0)


def test_a_run_notes_points_and_simulated_seconds() -> None:
    found = align(Task("coordinate_scan", "A", 0, 30))
    assert len(found.widths) == len(found.seconds) == 30
    assert (np.diff(found.widths) <= 0.0).all()
    assert (np.diff(found.seconds) > 0.0).all()
    assert found.points_to(30) <= 30
    assert found.seconds_to(30) == found.seconds[int(found.points_to(30)) - 1]


def test_the_width_is_one_at_the_best_point() -> None:
    beamline = SimBeamline(seed=1, tier="A")
    assert width(beamline, beamline.truth.best_point()) == pytest.approx(1.0)


def test_botorch_takes_the_same_task() -> None:
    configuration = config(SimBeamline(tier="A"), "botorch", 0)
    assert configuration["agent"] == "bayesian"
    assert configuration["options"]["engine"] == "botorch"
    assert "composite" not in configuration["options"]


def test_botorchs_recipe_takes_the_same_task(monkeypatch: pytest.MonkeyPatch) -> None:
    beamline = SimBeamline(tier="A")
    assert contender(beamline, "recipe", 0).vocs == contender(beamline, "bayesian", 0).vocs
    monkeypatch.setattr(recipe, "RESTARTS", 1)
    monkeypatch.setattr(recipe, "RAW_SAMPLES", 4)
    found = align(Task("recipe", "A", 0, 9))  # one more than the quasi-random start
    assert len(found.widths) == 9


def test_agents_on_botorch_may_get_fewer_seeds_and_points() -> None:
    parser = argparse.ArgumentParser()
    arguments(parser)
    limits = ["--seeds", "3", "--botorch-seeds", "1", "--botorch-points", "40"]
    assert {task.seed for task in _tasks("A", parser.parse_args([])) if task.agent == "recipe"} == set(range(10))
    given = _tasks("A", parser.parse_args([*limits, "--agents", "bayesian", "botorch", "recipe"]))
    for agent, seeds, points in (("bayesian", 3, 60), ("botorch", 1, 40), ("recipe", 1, 40)):
        assert [task.points for task in given if task.agent == agent] == [points] * seeds


def test_a_shorter_budget_counts_for_both() -> None:
    runs = {
        "bayesian": [alignment("bayesian", [2.0, 1.5, 1.5, 1.05])],
        "botorch": [alignment("botorch", [3.0, 3.0])],
        "sobol": [alignment("sobol", [2.0, 1.09, 1.09, 1.09])],
    }
    assert "points neither reaches it" in against("botorch", runs)
    assert "best measured width 0.50 x" in against("botorch", runs)
    assert "points 2.00 x, simulated seconds 2.00 x" in against("sobol", runs)
