"""Variables over decades: searched in the logarithm by every agent, in motor units for everybody else."""

import json
import math
from typing import Any

import numpy as np
import pytest

from ebl_autonomy.agents import Agent, BayesianAgent, CoordinateScanAgent, GridAgent, SobolAgent, make_agent
from ebl_autonomy.errors import BadInputError

AGENTS: list[type[Agent]] = [BayesianAgent, CoordinateScanAgent, GridAgent, SobolAgent]


def decades(low: float = 1e-8, high: float = 1.0, log_scale: bool = True, **more: Any) -> dict[str, Any]:
    return {"type": "ContinuousVariable", "domain": [low, high], "log_scale": log_scale, **more}


def fields(**variables: Any) -> dict[str, Any]:
    return {"variables": variables, "objectives": {"f": "MINIMIZE"}}


def points_until_found(agent: Agent, best: float, most: int) -> int:
    """Number of points until one lies within a factor of 1.6 of the optimum."""
    for number in range(1, most + 1):
        (point,) = agent.suggest(1)
        off = abs(math.log10(point["x"] / best))
        if off < 0.2:
            return number
        agent.ingest([{**point, "f": off**2}])
    return most + 1


@pytest.mark.parametrize("best", [3e-5, 2e-7, 0.4])
@pytest.mark.parametrize("kind", [BayesianAgent, CoordinateScanAgent])
def test_an_optimum_in_a_low_decade_is_found_soon(kind: type[Agent], best: float) -> None:
    assert points_until_found(kind(fields(x=decades())), best, 40) <= 20


@pytest.mark.parametrize("best", [3e-5, 2e-7])
def test_without_the_scale_it_is_not_found(best: float) -> None:
    assert points_until_found(BayesianAgent(fields(x=decades(log_scale=False))), best, 40) > 40


def test_beside_a_motor_on_a_linear_scale() -> None:
    agent = BayesianAgent(fields(slit=decades(1e-3, 10.0), y=[-2.0, 2.0]), seed=1)
    for _ in range(25):
        (point,) = agent.suggest(1)
        off = math.log10(point["slit"] / 0.02)
        agent.ingest([{**point, "f": off**2 + (point["y"] + 0.5) ** 2}])
    best = agent.best()
    assert best.point["slit"] == pytest.approx(0.02, rel=0.3)
    assert best.point["y"] == pytest.approx(-0.5, abs=0.15)
    explained = agent.explain()
    assert set(explained.models[0].length_scales) == {"slit", "y"}


def test_a_quasi_random_design_has_as_many_points_in_each_decade() -> None:
    points = SobolAgent(fields(x=decades()), seed=0).suggest(64)
    counts, _ = np.histogram([math.log10(point["x"]) for point in points], bins=8, range=(-8.0, 0.0))
    assert counts.tolist() == [8] * 8


def test_nodes_of_a_grid_are_decades() -> None:
    points = GridAgent(fields(x=decades(1e-4, 1.0)), points_per_axis=5).suggest(5)
    assert [point["x"] for point in points] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0], rel=1e-12)
    (middle,) = GridAgent(fields(x=decades(1e-4, 1.0)), points_per_axis=1).suggest(1)
    assert middle["x"] == pytest.approx(1e-2)


def test_points_of_a_scan_are_evenly_spaced_on_the_scale() -> None:
    agent = CoordinateScanAgent(fields(x=decades(1e-4, 1.0, default_value=1e-2)), points=5)
    agent.ingest([{**agent.suggest(1)[0], "f": 1.0}])
    assert [point["x"] for point in agent.suggest(5)] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])


@pytest.mark.parametrize("kind", AGENTS)
def test_ends_are_reached_exactly_and_never_passed(kind: type[Agent]) -> None:
    agent = kind(fields(x=decades(3e-7, 7e2)), seed=2)
    xs = []
    for _ in range(5):
        (point,) = agent.suggest(1)
        xs.append(point["x"])
        agent.ingest([{**point, "f": -point["x"]}])
    assert all(3e-7 <= x <= 7e2 for x in xs)
    if kind is GridAgent:
        assert (min(xs), max(xs)) == (3e-7, 7e2)


def test_the_first_point_is_the_present_position_or_mid_scale() -> None:
    agent = BayesianAgent(fields(x=decades()))
    assert agent.suggest(1)[0]["x"] == pytest.approx(1e-4)
    agent = BayesianAgent(fields(x=decades()))
    agent.start_from({"x": 2e-7})
    assert agent.suggest(1)[0]["x"] == pytest.approx(2e-7, rel=1e-12)


@pytest.mark.parametrize("kind", AGENTS)
def test_a_part_of_the_domain_has_the_scale_too(kind: type[Agent]) -> None:
    agent = kind(fields(x=decades()), seed=1)
    agent.search_within({"x": (1e-6, 1e-2)})
    for _ in range(5):
        (point,) = agent.suggest(1)
        assert 1e-6 <= point["x"] <= 1e-2
        agent.ingest([{**point, "f": abs(math.log10(point["x"]) + 4.0)}])
    assert 1e-5 < agent.best().point["x"] < 1e-3, "mid-scale is among the first points of every agent"


@pytest.mark.parametrize("kind", AGENTS)
def test_the_scale_survives_json(kind: type[Agent]) -> None:
    agent = kind(fields(x=decades(), n={"type": "DiscreteVariable", "values": [1, 10], "log_scale": True}), seed=1)
    results = []
    for _ in range(6):
        results += [{**point, "f": math.log10(point["x"])} for point in agent.suggest(1)]
        agent.ingest(results[-1:])
    again = make_agent(json.loads(json.dumps(agent.config())))
    again.ingest(results)
    assert again.suggest(1) == agent.suggest(1)


def test_readings_at_and_below_zero_are_taken() -> None:
    agent = BayesianAgent(fields(x=decades()))
    agent.ingest([{"x": x, "f": f} for x, f in ((0.0, 5.0), (-1e-9, 5.0), (1e-5, 1.0), (1e-3, 2.0))])
    (point,) = agent.suggest(1)
    assert 1e-8 <= point["x"] <= 1.0
    assert agent.best().point["x"] == 1e-5
    mean, std = agent.predict([{"x": 0.0}])["f"]
    assert np.isfinite([*mean, *std]).all()


def test_a_past_and_a_prior_mean_are_in_motor_units() -> None:
    agent = BayesianAgent(fields(x=decades()), prior_mean=lambda points: (np.log10(points[:, 0]) + 6.0) ** 2)
    agent.suggest(1)
    agent.ingest([{"x": 1e-4, "f": 4.0}])
    (point,) = agent.suggest(1)
    assert point["x"] == pytest.approx(1e-6, rel=0.5)
    agent = BayesianAgent(fields(x=decades()))
    agent.ingest_prior([{"x": 10.0**-k, "f": (k - 6.0) ** 2} for k in range(9)], "before")
    agent.suggest(1)
    agent.ingest([{"x": 1e-4, "f": 4.0}])
    (point,) = agent.suggest(1)
    assert point["x"] == pytest.approx(1e-6, rel=0.5)


def test_travel_is_counted_in_motor_units() -> None:
    agent = BayesianAgent(fields(x=decades(), y=[0.0, 1.0]), travel={"x": {"velocity": 0.1}, "y": {"velocity": 1.0}})
    for _ in range(8):
        (point,) = agent.suggest(1)
        agent.ingest([{**point, "f": abs(math.log10(point["x"]) + 6.0) + point["y"]}])
    assert agent.best().point["x"] < 1e-4


def test_integers_over_decades() -> None:
    agent = BayesianAgent(fields(n=decades(1, 4096, dtype="int")), seed=0)
    for _ in range(25):
        (point,) = agent.suggest(1)
        assert point["n"].is_integer()
        agent.ingest([{**point, "f": math.log2(point["n"] / 24.0) ** 2}])
    assert 20 <= agent.best().point["n"] <= 29


def test_a_scaled_motor_is_no_part_of_a_coordinate() -> None:
    turned = {"a": {"x": 1.0, "y": 1.0}, "b": {"x": 1.0, "y": -1.0}}
    with pytest.raises(BadInputError, match=r"\['x'\], which have a logarithmic scale"):
        BayesianAgent(fields(x=decades(), y=[0.0, 1.0]), coordinates=turned)
