"""Units do not matter: an agent decides the same in picoamperes beside kilometres as in friendly units."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.agents.bayesian.options import BayesianOptions
from ebl_autonomy.agents.bayesian.state import SearchState
from ebl_autonomy.space import Space, make_vocs

NAMES = ("a", "b", "c")
KINDS = ("plain", "coordinates", "composite", "constraint", "two objectives", "given std", "discrete", "travel")


@dataclass(frozen=True)
class Units:
    """Scales and offsets of the three variables, of the objective f and of the outcome g."""

    span: tuple[float, float, float] = (1.0, 1.0, 1.0)
    low: tuple[float, float, float] = (0.0, 0.0, 0.0)
    f: float = 1.0
    f_offset: float = 0.0
    g: float = 1.0
    g_offset: float = 0.0


def an_agent(kind: str, units: Units, **options: Any) -> BayesianAgent:
    vocs: dict[str, Any] = {
        "variables": {name: [low, low + span] for name, low, span in zip(NAMES, units.low, units.span, strict=True)},
        "objectives": {"f": "MAXIMIZE"},
    }
    a, b, c = units.span
    if kind == "coordinates":
        options["coordinates"] = {"sum": {"a": 0.5 / a, "b": 0.5 / b}, "difference": {"a": 1.0 / a, "b": -1.0 / b}}
    elif kind == "composite":
        vocs |= {"objectives": {"f": "MINIMIZE"}, "observables": ["g", "h"]}
        options["composite"] = {"g": 1.0, "h": 1.0}
    elif kind == "constraint":
        vocs["constraints"] = {"g": ["LESS_THAN", -0.125 * units.g + units.g_offset]}
    elif kind == "two objectives":
        vocs["objectives"]["g"] = "MINIMIZE"
    elif kind == "discrete":
        values = [units.low[2] + c * k / 8.0 for k in range(9)]
        vocs["variables"]["c"] = {"type": "DiscreteVariable", "values": values}
    elif kind == "travel":
        options["travel"] = {name: {"velocity": 0.25 * span} for name, span in zip(NAMES, units.span, strict=True)}
        options["measure_s"] = 0.5
    return BayesianAgent(vocs, seed=3, **options)


def outcomes(kind: str, unit: np.ndarray, noise: float, units: Units) -> dict[str, float]:
    """The outcomes at a point of the unit cube. At the start both are negative, so that powers never apply."""
    a, b, c = unit
    f = math.exp(-6.0 * ((a - 0.7) ** 2 + (b - 0.3) ** 2 + 0.5 * (c - 0.55) ** 2)) - 0.8 + noise
    g = a + 0.5 * b * c - 0.7 + 0.5 * noise
    if kind == "composite":
        g, h = 0.1 + (a - 0.7) ** 2, 0.1 + (b + c - 0.8) ** 2
        return {"g": g * units.g, "h": h * units.f, "f": g * h * units.f * units.g}
    measured = {"f": f * units.f + units.f_offset, "g": g * units.g + units.g_offset}
    return measured | ({"f_std": 0.01 * units.f} if kind == "given std" else {})


def searches(kind: str, units: Units, count: int) -> tuple[BayesianAgent, BayesianAgent, list[float]]:
    """Two agents that were told the same in friendly and in other units, and how far apart they proposed each point."""
    friendly, other = an_agent(kind, Units()), an_agent(kind, units)
    rng = np.random.default_rng(5)
    apart = []
    for _ in range(count):
        (here,), (there,) = friendly.suggest(1), other.suggest(1)
        assert friendly.decisions()[0].reason == other.decisions()[0].reason
        (unit,) = friendly.space.unit([here])
        apart.append(float(np.abs(unit - other.space.unit([there])[0]).max()))
        noise = 0.01 * rng.standard_normal()
        friendly.ingest([{**here, **outcomes(kind, unit, noise, Units())}])
        (same,) = other.space.points(unit)
        other.withdraw([there])
        other.ingest([{**same, **outcomes(kind, unit, noise, units)}])
    return friendly, other, apart


def index_of_best(agent: BayesianAgent) -> int:
    best = agent.best().point
    return next(i for i, result in enumerate(agent.results) if all(result[name] == best[name] for name in NAMES))


twos = st.integers(-40, 40).map(lambda exponent: 2.0**exponent)
tens = st.integers(-12, 12).map(lambda exponent: 10.0**exponent)
kinds = st.sampled_from(KINDS)


@pytest.mark.integration
@settings(deadline=None, max_examples=12, derandomize=True)
@given(kind=kinds, span=st.tuples(twos, twos, twos), f=twos, g=twos)
@example("plain", (2.0**-30, 2.0**30, 1.0), 2.0**-40, 2.0**40)
@example("composite", (2.0**-30, 2.0**30, 1.0), 2.0**-40, 2.0**40)
def test_powers_of_two_change_no_digit(kind: str, span: tuple[float, float, float], f: float, g: float) -> None:
    friendly, other, apart = searches(kind, Units(span=span, f=f, g=g), 20)
    assert max(apart) == 0.0
    assert index_of_best(friendly) == index_of_best(other)
    scales: Mapping[str, float] = {"f": f * g, "g": g, "h": f} if kind == "composite" else {"f": f, "g": g}
    units = np.random.default_rng(0).random((5, 3))
    here, there = friendly.predict(friendly.space.points(units)), other.predict(other.space.points(units))
    assert list(here) == list(there)
    for name in here:
        for mine, theirs in zip(here[name], there[name], strict=True):
            assert (scales[name] * mine).tolist() == theirs.tolist()
    for mine, theirs in zip(friendly.explain().models, other.explain().models, strict=True):
        assert theirs.noise == scales[theirs.name] * mine.noise
        assert theirs.error == pytest.approx(scales[theirs.name] * mine.error)
        assert theirs.share_explained == pytest.approx(mine.share_explained)
        assert theirs.length_scales == mine.length_scales


@pytest.mark.integration
@settings(deadline=None, max_examples=16, derandomize=True)
@given(
    kind=kinds,
    span=st.tuples(tens, tens, tens),
    low=st.tuples(*[st.floats(-1e3, 1e3)] * 3),
    f=tens,
    g=tens,
    offset=st.floats(-1e9, 1e9),
)
@example("plain", (1e-9, 1e9, 1.0), (0.0, 0.0, 0.0), 1e-12, 1.0, 0.0)
@example("plain", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 1.0, 1.0, 1e9)
@example("constraint", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 1e-12, 1e12, 1e9)
@example("two objectives", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 1e12, 1e-12, -1e9)
@example("coordinates", (1e-9, 1e9, 1.0), (0.0, 0.0, 0.0), 1e-12, 1.0, 1e9)
def test_other_units_change_nothing_but_rounding(
    kind: str,
    span: tuple[float, float, float],
    low: tuple[float, float, float],
    f: float,
    g: float,
    offset: float,
) -> None:
    """An offset of 1e9 times the signal leaves 7 digits of it."""
    units = Units(span, (span[0] * low[0], span[1] * low[1], span[2] * low[2]), f, offset * f, g, -offset * g)
    if kind == "composite":  # the factors are positive, so nothing may be added
        units = replace(units, f_offset=0.0, g_offset=0.0)
    friendly, other, apart = searches(kind, units, 20)
    # Of two points that are worth the same, rounding chooses: so not all are compared.
    assert np.quantile(apart, 0.8) < 1e-4
    assert index_of_best(friendly) == index_of_best(other)
    points = np.random.default_rng(0).random((5, 3))
    here = friendly.predict(friendly.space.points(points))["f"]
    there = other.predict(other.space.points(points))["f"]
    f_scale = f * g if kind == "composite" else f
    assert (there[0] - units.f_offset) / f_scale == pytest.approx(here[0], abs=1e-3)
    assert there[1] / f_scale == pytest.approx(here[1], rel=1e-2, abs=1e-3)
    mine, theirs = friendly.explain().models[0], other.explain().models[0]
    assert theirs.noise / f_scale == pytest.approx(mine.noise, rel=1e-2, abs=1e-5)
    assert theirs.error / f_scale == pytest.approx(mine.error, rel=1e-2, abs=1e-5)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("offset", [0.0, -1e9, 1e9])
def test_results_rank_the_same_in_all_units(scale: float, offset: float) -> None:
    vocs = make_vocs(
        {
            "variables": {"x": [0.0, 1.0]},
            "objectives": {"f": "MAXIMIZE"},
            "constraints": {"g": ["LESS_THAN", scale * offset], "h": ["GREATER_THAN", -scale * offset]},
        }
    )
    state = SearchState(Space(vocs), BayesianOptions())
    f, g, h = [3.0, 2.0, 2.5, 9.0, math.nan, 8.0], [-1.0, -2.0, -0.5, 1.0, -1.0, 4.0], [0.5, 1.0, 0.1, 2.0, 1.0, -0.25]
    told = [[scale * (offset + value) for value in values] for values in (f, g, [value - 2 * offset for value in h])]
    state.add([{"x": 0.1, "f": a, "g": b, "h": c} for a, b, c in zip(*told, strict=True)])
    assert np.argsort(-state.merits, kind="stable").tolist() == [0, 2, 1, 3, 5, 4]
    assert np.isnan(state.merits).tolist() == [False] * 4 + [True, False]


@pytest.mark.parametrize(("scale", "offset"), [(2.0**-40, 0.0), (2.0**40, 0.0), (1e-12, 1e-3), (1e12, -1e21)])
def test_a_loss_by_drift_has_the_unit_of_the_objective(scale: float, offset: float) -> None:
    def drifted(scale: float, offset: float) -> BayesianAgent:
        agent = BayesianAgent({"variables": {"x": [0.0, 1.0]}, "objectives": {"f": "MAXIMIZE"}}, drift="on")
        xs = [*np.linspace(0.0, 1.0, 15), *np.linspace(0.05, 0.55, 10)]
        values = [math.cos(2.0 * (x - (0.4 if i < 15 else 0.9))) - 0.5 for i, x in enumerate(xs)]
        agent.ingest([{"x": x, "f": scale * value + offset} for x, value in zip(xs, values, strict=True)])
        return agent

    mine, theirs = drifted(1.0, 0.0).drift(), drifted(scale, offset).drift()
    assert mine.active
    assert mine.lost > 0.1
    assert theirs.lost / scale == pytest.approx(mine.lost, rel=1e-3)
    assert theirs.holds_for == pytest.approx(mine.holds_for, rel=1e-3)
    assert theirs.sigmas == pytest.approx(mine.sigmas, rel=1e-3)
