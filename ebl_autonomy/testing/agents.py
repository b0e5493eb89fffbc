"""What every generator must keep to, so that plans can rely on it: run it on your own in one line of a test."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

from gest_api.generator import Generator
from gest_api.vocs import ContextualVariable, DiscreteVariable

from ebl_autonomy.agents.base import Explains, Withdraws
from ebl_autonomy.errors import AgentError
from ebl_autonomy.records import Best
from ebl_autonomy.space import VOCS
from ebl_autonomy.testing.problems import Problem, problems

__all__ = ["check_agent"]

Result = dict[str, Any]


def check_agent(
    make_agent: Callable[[VOCS], Generator],
    *,
    constraints: bool | None = True,
    discrete: bool | None = None,
    contextual: bool | None = None,
    objectives: bool | None = None,
    no_objective: bool | None = None,
    explore: bool | None = None,
    invalid: bool = True,
    noise: bool = True,
    rounds: int = 6,
    batch: int = 3,
) -> None:
    """Hold a gest-api generator to its contract, over a set of small problems.

    It must suggest exactly as many points as it is asked for, or refuse with a ValueError; points of the right keys,
    finite numbers inside the domain, discrete values among those allowed; take foreign, NaN and noisy results; leave
    the caller's VOCS and results alone; refuse what it cannot do instead of ignoring it. One with ``config`` and
    ``from_config`` must survive JSON, and propose the same point again from the same results; if it has ``withdraw``,
    also after proposals that are out have been withdrawn. ``decisions()`` and ``best()`` are checked where they exist.

    Parameters
    ----------
    make_agent : callable
        A new generator for a VOCS.
    constraints, discrete, contextual, objectives, no_objective, explore : bool, optional
        Whether it handles outcome constraints, discrete variables, contextual variables, two objectives, observables
        without any objective, and an objective to EXPLORE. True: it must work. False: its constructor must refuse with
        a ValueError. None: either.
    invalid : bool
        Whether it takes NaN outcomes.
    noise : bool
        Whether it takes ``<outcome>_std`` beside an outcome.
    rounds : int
        Of suggest and ingest, per problem.
    batch : int
        Size of the batches that are tried.

    Raises
    ------
    AssertionError
        Names the problem, the rule and what the generator did.
    """
    claims = {
        "": True,
        "constraints": constraints,
        "discrete": discrete,
        "contextual": contextual,
        "objectives": objectives,
        "no objective": no_objective,
        "explore": explore,
    }
    for problem in problems():
        _Check(make_agent, problem, rounds, batch, invalid, noise).run(claims[problem.feature])


class _Check:
    """One generator on one problem."""

    def __init__(
        self,
        make_agent: Callable[[VOCS], Generator],
        problem: Problem,
        rounds: int,
        batch: int,
        invalid: bool,
        noise: bool,
    ) -> None:
        self.make_agent = make_agent
        self.problem = problem
        self.rounds, self.batch, self.invalid, self.noise = rounds, batch, invalid, noise
        self.vocs = problem.vocs()
        self.before = self.vocs.model_dump()
        self.measured = 0

    def run(self, handles: bool | None) -> None:
        agent = self.built(handles)
        if agent is None:
            return
        self.one_by_one(agent)
        self.in_batches()
        self.foreign_first()
        if callable(getattr(agent, "config", None)) and callable(getattr(type(agent), "from_config", None)):
            self.from_json()
            self.withdrawn()
        self.untouched()
        agent.finalize()

    def built(self, handles: bool | None) -> Generator | None:
        """The generator; None if it refused, as it should or may."""
        try:
            agent = self.make_agent(self.vocs)
        except ValueError as error:
            self.require(
                handles is not True,
                f"the constructor refused what it should handle: {type(error).__name__}: {error}",
            )
            self.require(bool(str(error).strip()), "the constructor refused with an empty message: say what is missing")
            return None
        except Exception as error:
            raise AssertionError(
                f"{self.problem.name}: the constructor raised {type(error).__name__}: {error}; "
                "refuse with a ValueError (or BadInputError) that names what is missing"
            ) from error
        self.require(
            handles is not False, f"the constructor took a VOCS with {self.problem.feature}: refuse what is not handled"
        )
        self.require(
            isinstance(agent, Generator) or (callable(getattr(agent, "suggest", None)) and hasattr(agent, "ingest")),
            f"{agent!r} is no gest-api generator: it needs suggest(num_points) and ingest(results)",
        )
        self.untouched()
        return agent

    def one_by_one(self, agent: Generator) -> None:
        results: list[Result] = []
        self.no_best(agent, "before anything was measured")
        for number in range(self.rounds):
            points = self.suggested(agent, 1)
            result = self.measure(points[0])
            if self.noise and number % 2:
                result |= {name + "_std": 0.01 for name in self.vocs.output_names}
            if self.invalid and number == self.rounds - 2:
                result |= dict.fromkeys(self.vocs.output_names, math.nan)
            results.append(result)
            self.ingest(agent, [result])
        self.best_is_one_of(agent, results)
        self.suggested(agent, 1)

    def in_batches(self) -> None:
        agent = self.make_agent(self.vocs)
        for _ in range(max(2, self.rounds // self.batch)):
            try:
                points = self.suggested(agent, self.batch)
            except ValueError:
                return  # gest-api lets a generator refuse a number of points
            # Measured in another order than proposed, as a plan does to save travel; the last in an ingest of its own.
            results = [self.measure(point) for point in reversed(points)]
            self.ingest(agent, results[:-1])
            self.suggested(agent, 1)
            self.ingest(agent, results[-1:])
        self.ingest(agent, [])
        self.suggested(agent, 1)

    def foreign_first(self) -> None:
        """Points that it never proposed: an earlier run, another agent."""
        agent = self.make_agent(self.vocs)
        self.ingest(agent, self.foreign(4))
        self.suggested(agent, 1)
        if self.invalid:
            agent = self.make_agent(self.vocs)
            nothing = [
                result | dict.fromkeys(self.vocs.output_names, math.nan) for result in self.foreign(self.rounds + 2)
            ]
            self.ingest(agent, nothing)
            self.suggested(agent, 1)

    def from_json(self) -> None:
        """The run is the checkpoint: configuration and results give the same next proposal."""
        agent: Any = self.make_agent(self.vocs)
        results = []
        for _ in range(self.rounds):
            (point,) = self.suggested(agent, 1)
            results.append(self.measure(point))
            self.ingest(agent, results[-1:])
        config = agent.config()
        try:
            text = json.dumps(config, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"{self.problem.name}: config() is no strict JSON ({error}): {config}") from error
        twins = [type(agent).from_config(json.loads(text)) for _ in range(2)]
        for twin in twins:
            self.require(
                json.loads(json.dumps(twin.config())) == json.loads(text),
                f"from_config(config()).config() differs: {twin.config()} instead of {config}",
            )
        self.ingest(twins[0], results)
        for result in results:
            self.ingest(twins[1], [result])
        proposals = [self.suggested(one, 1) for one in (agent, *twins)]
        for other in proposals[1:]:
            self.require(
                other == proposals[0],
                f"the same configuration and results gave {proposals[0]} and, in a new object, {other}: "
                "a proposal may depend on nothing else",
            )

    def withdrawn(self) -> None:
        """Without proposals that are out, configuration and results are again all that there is."""
        agent: Any = self.make_agent(self.vocs)
        if not isinstance(agent, Withdraws):
            return
        try:
            points = self.suggested(agent, self.batch)
        except ValueError:
            points = self.suggested(agent, 1)
        results = [self.measure(points[0])]
        self.ingest(agent, results)
        agent.withdraw([*points[1:], *self.foreign(2)])
        new = self.make_agent(self.vocs)
        self.ingest(new, results)
        proposed, expected = self.suggested(agent, 1), self.suggested(new, 1)
        self.require(
            proposed == expected,
            f"after withdraw() of what was out it proposed {proposed}, and a new one with the same results {expected}: "
            "a proposal that was withdrawn must be forgotten",
        )

    # -- steps -------------------------------------------------------------------------------------------------

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
        missing, unknown = known - set(point) - context, set(point) - known - {"_id"}
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
        # The caller may go on using its dicts: the agent must not hold on to them.
        for result in given:
            result.clear()

    def explained(self, agent: Explains, count: int) -> None:
        decisions = agent.decisions()
        self.require(
            len(decisions) == count, f"decisions() has {len(decisions)} entries after suggest({count}): one per point"
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
        if not isinstance(best, Best):
            return  # somebody else's idea of a best point
        again = agent.best()
        self.require(
            dict(again.point) == dict(best.point),
            f"best() is {best.point}, and asked once more {again.point}: it must be told with all that is known",
        )
        measured = [{name: result[name] for name in best.point} for result in results]
        self.require(dict(best.point) in measured, f"best() is {best.point}, which was never measured")
        valid = [r for r in results if not any(math.isnan(r[name]) for name in self.vocs.objectives)]
        feasible = [r for r in valid if self.feasible(r)]
        self.require(
            best.feasible == bool(feasible), f"best() says feasible={best.feasible}, of {len(feasible)} feasible points"
        )

    def feasible(self, result: Result) -> bool:
        return all(constraint.check(result[name]) for name, constraint in self.vocs.constraints.items())

    def measure(self, point: Mapping[str, Any]) -> Result:
        self.measured += 1
        result = self.problem.measure(point, self.measured)
        return result | ({"_id": point["_id"]} if "_id" in point else {})

    def foreign(self, count: int) -> list[Result]:
        """Points on the diagonal of the domain, measured."""
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
