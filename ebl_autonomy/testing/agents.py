"""The contract of a generator that plans rely on; a one-line test checks your own generator."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, Final

from gest_api.generator import Generator
from gest_api.vocs import ContextualVariable, DiscreteVariable

from ebl_autonomy.agents.protocols import BoundsAware, Withdraws
from ebl_autonomy.errors import AgentError
from ebl_autonomy.records import AGENT_ID, Recommendation
from ebl_autonomy.space import VOCS
from ebl_autonomy.testing.agent_steps import AgentSteps, Result
from ebl_autonomy.testing.problems import Problem, problems
from ebl_autonomy.vocs import is_logarithmic

__all__ = ["check_agent"]


READ_OFF: Final = 0.003
"""How far off its target a motor may read in `check_agent`, as a share of the domain."""


def check_agent(
    make_agent: Callable[[VOCS], Generator],
    *,
    constraints: bool | None = True,
    discrete: bool | None = None,
    contextual: bool | None = None,
    objectives: bool | None = None,
    no_objective: bool | None = None,
    explore: bool | None = None,
    log_scale: bool | None = None,
    bounds: bool | None = None,
    invalid: bool = True,
    noise: bool = True,
    rounds: int = 6,
    batch: int = 3,
    on: Sequence[Problem] | None = None,
) -> None:
    """Check that a gest-api generator keeps its contract on a set of small problems.

    A generator suggests exactly the requested number of points, or refuses with a ValueError. Its points have the right
    keys, finite values inside the domain, and allowed values of discrete variables. It takes foreign, NaN and noisy
    results, and results at positions slightly off its proposals, as motors read them. It leaves the caller's VOCS and
    results unchanged, and refuses features that it does not support.

    A generator with ``config`` and ``from_config`` survives a round trip through JSON and proposes the same point from
    the same results; if it has ``withdraw``, it does so after the withdrawal of pending proposals too. ``decisions()``
    and ``best()`` are checked if they exist. With ``search_within``, all proposals and recommendations lie inside, and
    results outside are taken.

    A generator that claims discrete variables tries every value of a wheel before one for the third time. A generator
    that claims logarithmic scales makes proposals in the lower half of the decades.

    Parameters
    ----------
    make_agent : callable
        Makes a new generator for a VOCS.
    constraints, discrete, contextual, objectives, no_objective, explore, log_scale : bool, optional
        Whether the generator supports outcome constraints, discrete variables, contextual variables, two objectives,
        observables without an objective, an EXPLORE objective, and variables on a logarithmic scale. True: the feature
        must work. False: the constructor must refuse the feature with a ValueError. None: either.
    bounds : bool, optional
        Whether the generator has ``search_within``; see `ebl_autonomy.agents.base.BoundsAware`. None: either.
    invalid : bool
        Whether the generator takes NaN outcomes.
    noise : bool
        Whether the generator takes ``<outcome>_std`` in addition to an outcome.
    rounds : int
        Number of rounds of suggest and ingest per problem.
    batch : int
        Size of the batches.
    on : sequence of Problem, optional
        The problems, of a generator that takes only variables of a certain number or kind; by default all of
        `ebl_autonomy.testing.problems`.

    Raises
    ------
    AssertionError
        If the generator breaks a rule; the message names the problem, the rule and the generator's answer.
    """
    claims = {
        "": True,
        "constraints": constraints,
        "discrete": discrete,
        "contextual": contextual,
        "objectives": objectives,
        "no objective": no_objective,
        "explore": explore,
        "log scale": log_scale,
    }
    for problem in problems() if on is None else on:
        _Check(make_agent, problem, rounds, batch, invalid, noise, bounds).run(claims[problem.feature])


class _Check(AgentSteps):
    """The rules, for one generator on one problem."""

    def run(self, handles: bool | None) -> None:
        agent = self.built(handles)
        if agent is None:
            return
        self.one_by_one(agent)
        self.in_batches()
        self.foreign_first()
        self.read_elsewhere()
        if callable(getattr(agent, "config", None)) and callable(getattr(type(agent), "from_config", None)):
            self.from_json()
            self.withdrawn()
        self.within_bounds(agent)
        if handles and all(isinstance(variable, DiscreteVariable) for variable in self.vocs.variables.values()):
            self.tries_every_value()
        if handles and self.problem.feature == "log scale":
            self.searches_decades()
        self.untouched()
        agent.finalize()

    def built(self, handles: bool | None) -> Generator | None:
        """The new generator; None if it refused the VOCS and may do so."""
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
            f"{agent!r} is not a gest-api generator: it needs suggest(num_points) and ingest(results)",
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
            # In another order than proposed, as a plan measures to save travel; the last result in a separate ingest.
            results = [self.measure(point) for point in reversed(points)]
            self.ingest(agent, results[:-1])
            self.suggested(agent, 1)
            self.ingest(agent, results[-1:])
        self.ingest(agent, [])
        self.suggested(agent, 1)

    def foreign_first(self) -> None:
        """Results at points that the generator never proposed, for example from an earlier run or another agent."""
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

    def read_elsewhere(self) -> None:
        """Motors read slightly off: the results still answer the proposals, and the generator goes on."""
        told_exactly, _ = self.rounds_of(0.0)
        told_readings, agent = self.rounds_of(READ_OFF)
        self.require(
            len(told_readings) == len(told_exactly),
            f"told positions {READ_OFF:.1%} of the domain off its proposals, it made {len(told_readings)} proposals, "
            f"but {len(told_exactly)} if told the exact ones: bind results to proposals by their '_id'",
        )
        self.require(
            not self.stalls(told_readings) or self.stalls(told_exactly),
            f"told positions {READ_OFF:.1%} of the domain off its proposals, it proposed {told_readings[-1]} again and "
            "again: bind results to proposals by their '_id'",
        )
        pending = getattr(agent, "pending", ())
        self.require(
            not (told_readings and AGENT_ID in told_readings[0] and pending),
            f"after results for all proposals, {pending} are still pending: bind results to proposals by their '_id'",
        )

    def rounds_of(self, off: float) -> tuple[list[Result], Any]:
        """The proposals of a new generator whose results lie off by a share of the domain, and the generator."""
        agent = self.make_agent(self.vocs)
        points: list[Result] = []
        for _ in range(2 * self.rounds):
            try:
                (point,) = self.suggested(agent, 1)
            except ValueError:
                break  # a complete design
            points.append(point)
            read = dict(point)
            for name, variable in self.vocs.variables.items():
                if name in read and not isinstance(variable, (DiscreteVariable, ContextualVariable)):
                    low, high = variable.domain
                    inwards = 1.0 if read[name] <= 0.5 * (low + high) else -1.0
                    read[name] += inwards * off * (high - low)
            self.ingest(agent, [self.measure(read)])
        return points, agent

    def stalls(self, points: list[Result]) -> bool:
        last = [{name: point[name] for name in self.vocs.variables if name in point} for point in points[-3:]]
        return len(last) == 3 and last[0] == last[1] == last[2]

    def from_json(self) -> None:
        """The run is a checkpoint: the same configuration and results give the same next proposal."""
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
            raise AssertionError(f"{self.problem.name}: config() is not strict JSON ({error}): {config}") from error
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
                f"the same configuration and results gave {proposals[0]}, but {other} in a new object: "
                "a proposal may depend on nothing else",
            )

    def withdrawn(self) -> None:
        """After the withdrawal of all pending proposals, only configuration and results matter."""
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
        for point in (*proposed, *expected):
            point.pop(AGENT_ID, None)  # a withdrawn proposal has used an id up
        self.require(
            proposed == expected,
            f"after withdraw() of all pending proposals it proposed {proposed}, a new one with the same results "
            f"{expected}: "
            "a proposal that was withdrawn must be forgotten",
        )

    def within_bounds(self, agent: Any) -> None:
        """Search a part of the domain: proposals and recommendations inside, results from everywhere."""
        self.require(
            self.bounds is None or self.bounds == isinstance(agent, BoundsAware),
            f"search_within() {'is missing' if self.bounds else 'exists'}, contrary to bounds={self.bounds}",
        )
        if not isinstance(agent, BoundsAware):
            return
        bounds = {name: _part(variable) for name, variable in self.vocs.variables.items() if _is_chosen(variable)}
        outside = self.foreign(4)
        runs: list[list[Result]] = []
        before = self.measured
        for _ in range(2):
            self.measured = before  # on which the outcomes of some problems depend
            narrow: Any = self.make_agent(self.vocs)
            narrow.search_within(bounds)
            self.ingest(narrow, outside)
            points: list[Result] = []
            for _ in range(self.rounds):
                try:
                    points += self.suggested(narrow, 1)
                except ValueError:
                    break  # a complete design
                self.ingest(narrow, [self.measure(points[-1])])
            runs.append(points)
        self.require(runs[0] == runs[1], f"the same bounds and results gave {runs[0]}, and in a new object {runs[1]}")
        for point in (*runs[0], *self.recommended(narrow)):
            wrong = [name for name, (low, high) in bounds.items() if not low <= point[name] <= high]
            self.require(not wrong, f"after search_within({bounds}) the point {dict(point)} lies outside in {wrong}")
        fresh: Any = self.make_agent(self.vocs)
        for refused in ({"no such variable": (0.0, 1.0)}, dict.fromkeys(bounds, (math.nan, math.nan))):
            try:
                fresh.search_within(refused)
            except ValueError:
                continue
            self.require(False, f"search_within({refused}) was taken: refuse it with a ValueError")

    def recommended(self, agent: Any) -> list[Mapping[str, float]]:
        """The best point of a generator with results, if it has one."""
        if not self.vocs.objectives or not callable(getattr(agent, "best", None)):
            return []
        try:
            best = agent.best()
        except AgentError as error:
            raise AssertionError(f"{self.problem.name}: best() found none of the results inside: {error}") from error
        return [best.point] if isinstance(best, Recommendation) else []

    def tries_every_value(self) -> None:
        """A known point of a wheel tells nothing new while there are others, except once, for the noise."""
        agent = self.make_agent(self.vocs)
        values = {tuple(point) for point in product(*(variable.values for variable in self.vocs.variables.values()))}
        tried: list[tuple[float, ...]] = []
        for _ in range(2 * len(values) + 1):
            try:
                (point,) = self.suggested(agent, 1)
            except ValueError:
                break  # a complete design
            tried.append(tuple(point[name] for name in self.vocs.variables))
            self.require(
                tried.count(tried[-1]) < 3 or set(tried) == values,
                f"it proposed {tried}: the last point for the third time, before it had tried "
                f"{sorted(values - set(tried))}",
            )
            self.ingest(agent, [self.measure(point)])
        self.require(set(tried) == values, f"it proposed {tried}, and never {sorted(values - set(tried))}")

    def searches_decades(self) -> None:
        """On a linear scale, hardly one point in a thousand would lie in the lower half of six decades."""
        agent = self.make_agent(self.vocs)
        lower = 0
        for _ in range(2 * self.rounds):
            (point,) = self.suggested(agent, 1)
            lower += any(
                point[name] < 0.9 * math.sqrt(math.prod(variable.domain))
                for name, variable in self.vocs.variables.items()
                if is_logarithmic(variable)
            )
            self.ingest(agent, [self.measure(point)])
        self.require(
            lower >= 2,
            f"of {2 * self.rounds} proposals, {lower} lie in the lower half of the decades: search the logarithm of a "
            "variable with log_scale",
        )


def _is_chosen(variable: object) -> bool:
    return not isinstance(variable, ContextualVariable)


def _part(variable: Any) -> tuple[float, float]:
    """The lowest third of a domain; of a discrete variable, all values but the largest."""
    if isinstance(variable, DiscreteVariable):
        values = sorted(map(float, variable.values))
        return values[0], values[-2]
    low, high = variable.domain
    if is_logarithmic(variable):
        return low, low * float((high / low) ** (1.0 / 3.0))
    return low, low + (high - low) / 3.0
