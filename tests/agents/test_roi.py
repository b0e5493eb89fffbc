"""ROIAgent: coarse map, regions of it, fine scans of these; a pure function of configuration and results."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from ebl_autonomy.agents import ROIAgent
from ebl_autonomy.errors import AgentError, BadInputError, NoMoreProposals
from ebl_autonomy.testing import check_agent

VOCS = {"variables": {"x": [2.0, 12.0], "y": [-5.0, 0.0]}, "observables": ["Fe", "Ca"]}
OPTIONS: dict[str, Any] = {"coarse_step": (0.5, 0.25), "regions": {"points_across": 5, "margin": 0.0}, "dwell_s": 0.1}


def measured(point: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Fe at (5, -3) and a little Ca at (10, -1); noise that depends on the place only."""
    x, y = point["x"], point["y"]
    rng = np.random.default_rng([seed, int(1e6 * x), int(-1e6 * y)])
    iron, calcium = np.hypot(x - 5.0, y + 3.0) < 1.2, np.hypot(x - 10.0, y + 1.0) < 0.8
    return {**point, "Fe": float(rng.poisson(3.0 + 80.0 * iron)), "Ca": float(rng.poisson(3.0 + 60.0 * calcium))}


def run(agent: ROIAgent, batch: int = 1, most: int = 5000) -> list[dict[str, Any]]:
    """All proposals until the agent has no more."""
    points: list[dict[str, Any]] = []
    while len(points) < most:
        try:
            new = agent.suggest(batch)
        except NoMoreProposals as end:
            if not end.remaining:
                return points
            new = agent.suggest(end.remaining)
        agent.ingest([measured(point) for point in new])
        points += new
    raise AssertionError("no end")


def test_it_keeps_the_contract() -> None:
    no = {"constraints": False, "discrete": False, "no_objective": False, "log_scale": False, "explore": False}
    check_agent(ROIAgent, **no, contextual=True, objectives=True, bounds=True)


def test_coarse_map_first_then_the_regions_one_by_one_as_snakes() -> None:
    agent = ROIAgent(VOCS, **OPTIONS)
    points = run(agent)
    coarse = points[: agent.coarse.size]
    assert agent.coarse.shape == (20, 20)
    assert [(p["x"], p["y"]) for p in coarse[18:22]] == [
        pytest.approx(at) for at in ((11.25, -4.875), (11.75, -4.875), (11.75, -4.625), (11.25, -4.625))
    ]
    regions = agent.regions()
    assert sorted(region.channel for region in regions) == ["Ca", "Fe"]
    left = points[agent.coarse.size :]
    for region in regions:
        size = agent.fine(region).size
        part, left = left[:size], left[size:]
        assert all(region.x[0] < p["x"] < region.x[1] and region.y[0] < p["y"] < region.y[1] for p in part)
        steps = [abs(b["x"] - a["x"]) + abs(b["y"] - a["y"]) for a, b in pairwise(part)]
        assert max(steps) <= max(agent.fine(region).step) + 1e-9
    assert left == []


def test_the_end_says_why() -> None:
    agent = ROIAgent(VOCS, **OPTIONS)
    run(agent, batch=7)
    with pytest.raises(NoMoreProposals, match="coarse map and 2 regions are measured") as end:
        agent.suggest()
    assert end.value.remaining == 0
    empty = ROIAgent(VOCS, coarse_step=1.0)
    while True:
        try:
            empty.ingest([{**p, "Fe": 0.0, "Ca": 0.0} for p in empty.suggest(10)])
        except NoMoreProposals as end:
            assert "has no region to scan: Fe: no counts anywhere" in str(end)
            break
    assert empty.regions() == []


def test_max_regions_limits_the_fine_scans() -> None:
    agent = ROIAgent(VOCS, **{**OPTIONS, "regions": {**OPTIONS["regions"], "max_regions": 1}})
    points = run(agent, batch=5)
    (region,) = agent.regions()
    assert len(points) == agent.coarse.size + agent.fine(region).size


def test_regions_need_the_whole_coarse_map_and_are_not_changed_by_fine_readings() -> None:
    agent = ROIAgent(VOCS, **OPTIONS)
    agent.ingest([measured(point) for point in agent.suggest(399)])
    with pytest.raises(AgentError, match="399 of 400 pixels"):
        agent.regions()
    agent.ingest([measured(point) for point in agent.suggest(1)])
    before = agent.regions()
    run(agent)
    assert agent.regions() == before


def test_a_restored_agent_goes_on_where_it_was() -> None:
    first = ROIAgent(VOCS, seed=3, **OPTIONS)
    points = run(first, batch=9)
    for number in (0, 150, 400, 430):
        again = ROIAgent.from_config(json.loads(json.dumps(first.config())))
        again.ingest([measured(point) for point in points[:number]])
        (proposed,) = again.suggest(1)
        assert {name: proposed[name] for name in ("x", "y")} == {name: points[number][name] for name in ("x", "y")}


def test_motors_that_read_off_and_points_that_were_withdrawn() -> None:
    agent = ROIAgent(VOCS, **OPTIONS)
    wanted = agent.suggest(400)
    off = [{**measured(p), "x": p["x"] + 0.004, "y": p["y"] - 0.003} for p in wanted[:-3]]
    agent.ingest(off)
    agent.withdraw(wanted[-3:])
    assert [(p["x"], p["y"]) for p in agent.suggest(3)] == [(p["x"], p["y"]) for p in wanted[-3:]]
    agent.ingest([measured(p) for p in wanted[-3:]])
    assert len(agent.regions()) == 2


def test_invalid_readings_leave_gaps() -> None:
    agent = ROIAgent(VOCS, **OPTIONS)
    points = agent.suggest(400)
    agent.ingest(
        [{**measured(p), **({"Fe": np.nan, "Ca": np.nan} if i % 20 == 3 else {})} for i, p in enumerate(points)]
    )
    assert np.isnan(agent.coarse_maps().rate("Fe")).sum() == 20
    assert len(agent.regions()) == 2


def test_intensity_and_live_time_are_no_channels() -> None:
    vocs = {**VOCS, "observables": ["Fe", "Ca", "i0", "live"]}
    agent = ROIAgent(vocs, i0="i0", live="live", coarse_step=(0.5, 0.25))
    for point in agent.suggest(400):
        half = 0.5 if point["x"] > 7.0 else 1.0  # the beam
        reading = measured(point)
        agent.ingest([{**reading, "i0": 1e5 * half, "live": 0.1, "Fe": round(half * reading["Fe"])}])
    assert agent.channels == ("Fe", "Ca")
    assert {region.channel for region in agent.regions()} == {"Fe", "Ca"}


def test_values_that_are_no_counts_are_mapped_too() -> None:
    agent = ROIAgent({**VOCS, "observables": ["mu"]}, coarse_step=(0.5, 0.25))
    rng = np.random.default_rng(0)
    for point in agent.suggest(400):
        agent.ingest([{**point, "mu": rng.normal(-0.1, 0.02) + 0.8 * (np.hypot(point["x"] - 5, point["y"] + 3) < 1.2)}])
    (found,) = agent.regions()
    assert found.x == pytest.approx((3.8, 6.2), abs=0.8)


def test_fine_scans_stay_inside_of_what_is_searched() -> None:
    agent = ROIAgent(VOCS, **{**OPTIONS, "regions": {"margin": 3.0, "points_across": 5}})
    agent.search_within({"x": (3.0, 6.0)})
    points = run(agent, batch=11)
    assert len(points) > agent.coarse.size
    assert all(3.0 <= p["x"] <= 6.0 and -5.0 <= p["y"] <= 0.0 for p in points)


@pytest.mark.parametrize(
    ("vocs", "options", "message"),
    [
        ({**VOCS, "variables": {"x": [0, 1]}}, {}, "two variables"),
        ({**VOCS, "observables": []}, {}, "no channel"),
        (VOCS, {"i0": "I0"}, "i0: 'I0' is unknown"),
        (VOCS, {"i0": "Fe", "live": "Ca"}, "no channel beside"),
        (VOCS, {"coarse_step": 0.0}, "coarse_step"),
        (VOCS, {"regions": {"rank": "best"}}, "is no order of regions"),
        (VOCS, {"regions": {"channels": ["Zn"]}}, "channel 'Zn' is unknown"),
    ],
)
def test_wrong_configurations_are_refused(vocs: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        ROIAgent(vocs, **options)


def test_limits_of_regions_outside_the_domain_are_refused() -> None:
    with pytest.raises(
        BadInputError, match=r"regions.limits \(20.0, 30.0\) of 'x' lie outside of the domain \[2, 12\]"
    ):
        ROIAgent(VOCS, regions={"limits": {"x": (20.0, 30.0)}})
    agent = ROIAgent(VOCS, regions={"limits": {"x": (8.0, 30.0)}})
    with pytest.raises(BadInputError, match="lie outside"):
        agent.search_within({"x": (2.0, 6.0)})
    assert agent.coarse == ROIAgent(VOCS).coarse, "a refusal changes nothing"
    assert agent.space.high.tolist() == [12.0, 0.0]
