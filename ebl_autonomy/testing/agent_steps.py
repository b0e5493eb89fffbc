"""Asks and tells one agent of one problem, with the checks that each answer must pass."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

from gest_api.generator import Generator
from gest_api.vocs import ContextualVariable, DiscreteVariable

from ebl_autonomy.agents.protocols import Explains
from ebl_autonomy.errors import AgentError
from ebl_autonomy.records import AGENT_ID, Recommendation
from ebl_autonomy.space import VOCS
from ebl_autonomy.testing.problems import Problem

__all__ = ["AgentSteps", "Result"]

Result = dict[str, Any]


class AgentSteps:
    """What the rules for agents are made of: asking, measuring and telling, each checked on the way."""

    def __init__(
        self,
        make_agent: Callable[[VOCS], Generator],
        problem: Problem,
        rounds: int,
        batch: int,
        invalid: bool,
        noise: bool,
        bounds: bool | None,
    ) -> None:
        self.bounds = bounds
        self.make_agent = make_agent
        self.problem = problem
        self.rounds, self.batch, self.invalid, self.noise = rounds, batch, invalid, noise
        self.vocs = problem.vocs()
        self.before = self.vocs.model_dump()
        self.measured = 0

    def suggested(self, agent: Any, count: int) -> list[Result]:
        points = agent.suggest(count)
        self.require(
            isinstance(points, Sequence) and not isinstance(points, (str, bytes)),
            f"suggest({count}) answered a {type(points).__name__}: it must be a list of dicts",
        )
        self.require(
            len(points) == count, f"suggest({count}) answered {len(points)} points: give {count} or raise a ValueError"
        )
        for point in points:
            self.allowed(point)
        if isinstance(agent, Explains):
            self.explained(agent, count)
        return [dict(point) for point in points]

    def allowed(self, point: Any) -> None:
        self.require(isinstance(point, Mapping), f"a suggested point is a {type(point).__name__}: it must be a dict")
        context = {n for n, v in self.vocs.variables.items() if isinstance(v, ContextualVariable)}
        known = {*self.vocs.variables, *self.vocs.constants}
        missing, unknown = known - set(point) - context, set(point) - known - {AGENT_ID}
        self.require(not missing and not unknown, f"point {point}: keys missing {missing}, unknown {unknown}")
        for name, variable in self.vocs.variables.items():
            if name not in point:
                continue
            value = point[name]
            self.require(
                isinstance(value, Real) and not isinstance(value, bool),
                f"{name!r} is {value!r}, a {type(value).__name__}: it must be a number",
            )
            self.require(math.isfinite(value), f"{name!r} is {value!r}: it must be finite")
            if isinstance(variable, DiscreteVariable):
                self.require(
                    value in variable.values, f"{name!r} is {value}: it must be one of {sorted(variable.values)}"
                )
            else:
                low, high = variable.domain
                self.require(low <= value <= high, f"{name!r} is {value}: it must lie in [{low}, {high}]")
        for name, constant in self.vocs.constants.items():
            self.require(
                point[name] == constant.value, f"constant {name!r} is {point[name]!r} instead of {constant.value!r}"
            )

    def ingest(self, agent: Any, results: list[Result]) -> None:
        given = copy.deepcopy(results)
        agent.ingest(given)
        self.require(
            repr(given) == repr(results),
            f"ingest changed the caller's results: {given} instead of {results}: copy them",
        )
        # The caller may reuse its dicts, so the agent must not keep references to them.
        for result in given:
            result.clear()

    def explained(self, agent: Explains, count: int) -> None:
        decisions = agent.decisions()
        self.require(
            len(decisions) == count,
            f"decisions() has {len(decisions)} entries after suggest({count}): one per point",
        )
        for decision in decisions:
            self.require(bool(decision.reason), f"{decision} has no reason: say in words why the point was chosen")
            bad = [name for name, std in decision.std.items() if not std >= 0.0]
            self.require(not bad, f"{decision}: the standard deviation of {bad} is negative or NaN")

    def no_best(self, agent: Any, when: str) -> None:
        if callable(getattr(agent, "config", None)) and callable(getattr(agent, "best", None)):
            try:
                best = agent.best()
            except AgentError:
                return
            raise AssertionError(f"{self.problem.name}: best() is {best} {when}: raise an AgentError")

    def best_is_one_of(self, agent: Any, results: list[Result]) -> None:
        if not self.vocs.objectives:
            self.no_best(agent, "without an objective")
            return
        if not callable(getattr(agent, "best", None)):
            return
        best = agent.best()
        if not isinstance(best, Recommendation):
            return  # another type of best point
        again = agent.best()
        self.require(
            dict(again.point) == dict(best.point),
            f"best() is {best.point}, and when asked once more {again.point}: both calls must return the same point",
        )
        measured = [{name: result[name] for name in best.point} for result in results]
        self.require(dict(best.point) in measured, f"best() is {best.point}, which was never measured")
        valid = [r for r in results if not any(math.isnan(r[name]) for name in self.vocs.objectives)]
        feasible = [r for r in valid if self.feasible(r)]
        self.require(
            best.feasible == bool(feasible),
            f"best() has feasible={best.feasible}, but {len(feasible)} points are feasible",
        )

    def feasible(self, result: Result) -> bool:
        return all(constraint.check(result[name]) for name, constraint in self.vocs.constraints.items())

    def measure(self, point: Mapping[str, Any]) -> Result:
        self.measured += 1
        result = self.problem.measure(point, self.measured)
        return result | ({AGENT_ID: point[AGENT_ID]} if AGENT_ID in point else {})

    def foreign(self, count: int) -> list[Result]:
        """Results at points on the diagonal of the domain."""
        results = []
        for k in range(count):
            share = (k + 0.5) / count
            point: Result = {name: constant.value for name, constant in self.vocs.constants.items()}
            for name, variable in self.vocs.variables.items():
                if isinstance(variable, DiscreteVariable):
                    values = sorted(variable.values)
                    point[name] = float(values[k % len(values)])
                elif not isinstance(variable, ContextualVariable):
                    low, high = variable.domain
                    point[name] = low + share * (high - low)
            results.append(self.measure(point))
        return results

    def untouched(self) -> None:
        self.require(
            self.vocs.model_dump() == self.before,
            f"the caller's VOCS was changed to {self.vocs.model_dump()}: work on a deep copy",
        )

    def require(self, holds: bool, message: str) -> None:
        if not holds:
            raise AssertionError(f"{self.problem.name}: {message}")
