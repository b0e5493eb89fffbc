"""The contract of agents: all agents of this package keep it, and the check finds each violation."""

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from gest_api.generator import Generator

from ebl_autonomy import registry
from ebl_autonomy.agents import Agent, CoordinateScanAgent, SobolAgent
from ebl_autonomy.records import Best, Decision
from ebl_autonomy.scales import Ranks
from ebl_autonomy.space import VOCS, FloatArray
from ebl_autonomy.testing import Problem, check_agent, problems

pytestmark = pytest.mark.integration  # seconds: reports, fits of models, or many runs

ANY = {
    "discrete": True,
    "contextual": True,
    "objectives": True,
    "no_objective": True,
    "explore": False,
    "log_scale": True,
    "bounds": True,
}
_ENERGY = {"energy": [7070.0, 7200.0]}
_STACK = {"energy": {"type": "DiscreteVariable", "values": [7080.0 + 1.5 * i for i in range(40)]}}


def _absorption(point: Mapping[str, Any]) -> float:
    return 0.5 + math.atan((point["energy"] - 7118.0) / 1.5) / math.pi


SPECTRA = [
    Problem(
        "a spectrum",
        "",
        {"variables": _ENERGY, "objectives": {"mu": "MAXIMIZE"}, "constants": {"sample": "Fe"}, "observables": ["i0"]},
        lambda p: {"mu": _absorption(p), "i0": 1e5},
    ),
    Problem(
        "spectra of two spots",
        "no objective",
        {"variables": _ENERGY, "observables": ["a", "b"]},
        lambda p: {"a": _absorption(p), "b": 2.0 * _absorption(p) + 0.1},
    ),
    Problem(
        "a stack",
        "discrete",
        {"variables": _STACK, "objectives": {"mu": "MAXIMIZE"}},
        lambda p: {"mu": _absorption(p)},
    ),
    Problem(
        "two objectives",
        "objectives",
        {"variables": _ENERGY, "objectives": {"a": "MAXIMIZE", "b": "MINIMIZE"}},
        lambda p: {"a": _absorption(p), "b": -_absorption(p)},
    ),
    Problem(
        "a ring current",
        "contextual",
        {"variables": {**_ENERGY, "current": "CONTEXTUAL"}, "objectives": {"mu": "MAXIMIZE"}},
        lambda p: {"mu": _absorption(p) * 400.0 / p["current"]},
    ),
    *(p for p in problems() if p.feature in ("constraints", "explore", "log scale")),
]
"""One variable, the energy of a monochromator."""
SHIPPED: dict[str, dict[str, Any]] = {
    "bayesian": {**ANY, "no_objective": False},
    "coordinate_scan": {**ANY, "objectives": False, "no_objective": False},
    "energy": {**ANY, "constraints": False, "log_scale": False, "on": SPECTRA},
    "grid": ANY,
    # Two continuous axes and nothing else; the problem without an objective has a filter too.
    "mapping": {
        **ANY,
        "constraints": False,
        "discrete": False,
        "no_objective": False,
        "log_scale": False,
    },
    # Two continuous axes and nothing else; the problem without an objective has a filter too.
    "roi": {**ANY, "constraints": False, "discrete": False, "no_objective": False, "log_scale": False},
    "sobol": ANY,
}
"""The features of each agent; a new agent adds one line."""


def test_every_registered_agent_is_in_the_list() -> None:
    assert set(registry.names(registry.AGENTS)) >= set(SHIPPED)
    ours = {
        name
        for name in registry.names(registry.AGENTS)
        if registry.load(registry.AGENTS, name).__module__.startswith("ebl_autonomy.")
    }
    assert ours == set(SHIPPED)


@pytest.mark.parametrize(
    "name",
    # The Bayesian agent fits about sixty models on all the problems.
    [pytest.param(n, marks=pytest.mark.integration if n == "bayesian" else ()) for n in sorted(SHIPPED)],
)
def test_shipped_agents_keep_the_contract(name: str) -> None:
    check_agent(registry.load(registry.AGENTS, name), **SHIPPED[name])


def test_problems_cover_every_feature_and_give_every_outcome() -> None:
    features = {"", "constraints", "discrete", "contextual", "objectives", "no objective", "explore", "log scale"}
    assert {p.feature for p in problems()} == features
    for problem in problems():
        vocs = problem.vocs()
        point = dict.fromkeys(vocs.variables, 1.0) | {n: c.value for n, c in vocs.constants.items()}
        assert set(problem.measure(point)) >= set(vocs.all_names)


class Foreign(Generator):
    """A minimal third-party gest-api generator: random points, no constraints."""

    def __init__(self, vocs: VOCS) -> None:
        super().__init__(vocs)
        self.vocs = vocs
        self.rng = np.random.default_rng(1)

    def _validate_vocs(self, vocs: VOCS) -> None:
        if (
            vocs.constraints
            or len(vocs.objectives) != 1
            or any(not hasattr(v, "domain") for v in vocs.variables.values())
        ):
            raise ValueError("only continuous variables, one objective and no constraints")

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        return [
            {
                **{n: float(self.rng.uniform(*v.domain)) for n, v in self.vocs.variables.items() if n != "current"},
                **{n: c.value for n, c in self.vocs.constants.items()},
            }
            for _ in range(num_points or 1)
        ]


def test_a_generator_that_we_did_not_write_passes() -> None:
    check_agent(Foreign, constraints=False)


class OneAtATime(Foreign):
    """Refuses batches, as gest-api allows."""

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        if num_points not in (None, 1):
            raise ValueError(f"one point at a time, not {num_points}")
        return super().suggest(1)


def test_refusing_a_batch_is_allowed() -> None:
    check_agent(OneAtATime, constraints=False)


class OutOfDomain(Foreign):
    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        return [{**p, "x": 1e9} for p in super().suggest(num_points)]


class NotANumber(Foreign):
    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        return [{**p, "x": math.nan} for p in super().suggest(num_points)]


class Text(Foreign):
    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        return [{**p, "x": str(p["x"])} for p in super().suggest(num_points)]


class TooMany(Foreign):
    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        return super().suggest((num_points or 1) + 1)


class Forgets(Foreign):
    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        return [{n: v for n, v in p.items() if n != "exposure"} for p in super().suggest(num_points)]


class ChangesResults(Foreign):
    def ingest(self, results: list[dict[str, Any]]) -> None:
        for result in results:
            result["seen"] = True


class ChangesVOCS(Foreign):
    def __init__(self, vocs: VOCS) -> None:
        super().__init__(vocs)
        vocs.variables["x"].default_value = 3.0


class BreaksOnNaN(Foreign):
    def ingest(self, results: list[dict[str, Any]]) -> None:
        for result in results:
            assert result.get("f", 0.0) == result.get("f", 0.0), "NaN"


class RefusesWithoutWords(Foreign):
    def _validate_vocs(self, vocs: VOCS) -> None:
        if vocs.constraints:
            raise ValueError


class Crashes(Foreign):
    def _validate_vocs(self, vocs: VOCS) -> None:
        if vocs.constraints:
            raise KeyError("constraints")


class IgnoresConstraints(Foreign):
    def _validate_vocs(self, vocs: VOCS) -> None:
        if len(vocs.objectives) != 1:
            raise ValueError("one objective")


class Snapless(SobolAgent):
    """Treats a discrete variable as continuous."""

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        return [{n: v + 0.5 if n == "filter" else v for n, v in p.items()} for p in super().suggest(num_points)]


class Outside(SobolAgent):
    """Proposes points a fifth outside the unit cube."""

    by: ClassVar[float] = 0.2

    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        return [(np.full(self.space.dim, 1.0 + self.by), Decision(reason="outside"))] * count


class JustOutside(Outside):
    """Proposes points outside the unit cube by more than rounding, but by less than a motor resolves."""

    by = 1e-6


class Remembers(SobolAgent):
    """Depends on the number of calls, not only on results."""

    name: ClassVar[str] = "remembers"
    asked = 0

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        self.asked += 1
        if self.asked % 2:
            self._pending.clear()
            self._results = self._results[: self.asked // 3]
        return super().suggest(num_points)


class KeepsWaiting(SobolAgent):
    """Waits for the result of a withdrawn proposal."""

    def withdraw(self, points: Any) -> None:
        pass


class Favours(SobolAgent):
    """Returns a best point although there is no objective."""

    def best(self) -> Any:
        if self.results and not self.space.objectives:
            return Best({name: self.results[0][name] for name in self.space.names}, {})
        return super().best()


class NotJSON(SobolAgent):
    def config(self) -> dict[str, Any]:
        return {**super().config(), "options": {"seed": {1, 2}}}


class NoReason(SobolAgent):
    def decisions(self) -> list[Any]:
        return []


class Invents(SobolAgent):
    def best(self) -> Any:
        best = super().best()
        return type(best)({**best.point, "x": 0.123}, best.outcome)


class Hesitates(SobolAgent):
    """Returns another best point at the second call."""

    asked = False

    def best(self) -> Any:
        best = super().best()
        if self.asked:
            return best
        self.asked = True
        first = self.results[0]
        return type(best)({name: first[name] for name in best.point}, best.outcome, feasible=best.feasible)


class LeavesTheBounds(SobolAgent):
    def search_within(self, bounds: Any) -> None:
        self.space.within(bounds)


class ForgetsTheBounds(SobolAgent):
    """Recommends results of the whole domain."""

    def _reachable(self, i: int) -> bool:
        return True

    def _as_best(self, result: dict[str, Any], feasible: bool) -> Any:
        best = super()._as_best(result, feasible)
        return type(best)({name: result[name] for name in best.point}, best.outcome, feasible=best.feasible)


class TakesAnyBounds(SobolAgent):
    def search_within(self, bounds: Any) -> None:
        with contextlib.suppress(ValueError):
            super().search_within(bounds)


class Repeats(SobolAgent):
    """Measures every point three times before it goes on."""

    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        shares = [(self._made + i) // 3 / 40.0 for i in range(count)]
        return [(np.full(self.space.dim, share % 1.0), Decision(reason="next")) for share in shares]


class Linear(SobolAgent):
    """Takes a variable over decades, and searches its value."""

    def __init__(self, vocs: Any, seed: int = 0, **options: Any) -> None:
        super().__init__(vocs, seed, **options)
        self.space.logarithmic[:] = False
        self.space._scales = {i: scale for i, scale in self.space._scales.items() if isinstance(scale, Ranks)}
        self.space._measure()


class KeepsReferences(Foreign):
    """Keeps references to the caller's dicts."""

    def __init__(self, vocs: VOCS) -> None:
        super().__init__(vocs)
        self.known: list[dict[str, Any]] = []

    def ingest(self, results: list[dict[str, Any]]) -> None:
        self.known.extend(results)

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        assert all("f" in result for result in self.known), "a known result has no f"
        return super().suggest(num_points)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (OutOfDomain, r"must lie in"),
        (NotANumber, r"must be finite"),
        (Text, r"must be a number"),
        (TooMany, r"answered 2 points"),
        (Forgets, r"keys missing \{'exposure'\}"),
        (ChangesResults, r"changed the caller's results"),
        (ChangesVOCS, r"caller's VOCS was changed"),
        (BreaksOnNaN, r"NaN"),
        (KeepsReferences, r"has no f"),
        (RefusesWithoutWords, r"empty message"),
        (Crashes, r"raised KeyError"),
        (IgnoresConstraints, r"refuse what is not handled"),
    ],
)
def test_broken_generators_are_found(broken: Callable[[VOCS], Generator], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_agent(broken, constraints=False)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Outside, r"'x' is 5\.0: it must lie in \[-1\.0, 4\.0\]"),
        (JustOutside, r"'x' is 4\.00000\d+: it must lie in \[-1\.0, 4\.0\]"),
        (Snapless, r"must be one of"),
        (Remembers, r"depend on nothing else|answered|best"),
        (KeepsWaiting, r"a proposal that was withdrawn must be forgotten"),
        (Favours, r"observables only: best\(\) is .* without an objective"),
        (NotJSON, r"not strict JSON"),
        (NoReason, r"one per point"),
        (Invents, r"never measured"),
        (Hesitates, r"asked once more"),
        (LeavesTheBounds, r"after search_within\(.* lies outside in"),
        (ForgetsTheBounds, r"after search_within\(.* lies outside in"),
        (TakesAnyBounds, r"search_within\(\{'no such variable'.* was taken: refuse it"),
    ],
)
def test_broken_agents_of_our_own_kind_are_found(broken: type[Agent], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_agent(broken)


@pytest.mark.parametrize(
    ("broken", "claims", "message"),
    [
        (Repeats, {"discrete": True}, r"a wheel: .* for the third time"),
        (Linear, {"log_scale": True}, r"decades: .* search the logarithm"),
        (SobolAgent, {"bounds": False}, r"search_within\(\) exists"),
    ],
)
def test_claims_of_our_own_kind_are_checked(broken: type[Agent], claims: dict[str, bool], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_agent(broken, **claims)


def test_a_claim_that_does_not_hold_is_found() -> None:
    with pytest.raises(AssertionError, match=r"search_within\(\) is missing"):
        check_agent(Foreign, constraints=False, bounds=True)
    with pytest.raises(AssertionError, match="two objectives: the constructor refused what it should handle"):
        check_agent(CoordinateScanAgent, objectives=True)
    with pytest.raises(AssertionError, match="observables only: the constructor refused what it should handle"):
        check_agent(CoordinateScanAgent, no_objective=True)
    with pytest.raises(AssertionError, match="the constructor took a VOCS with no objective: refuse"):
        check_agent(SobolAgent, no_objective=False)
