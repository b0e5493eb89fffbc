"""The contract of an agent: a gest-api generator that a plan can trust."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from gest_api.generator import Generator

from ebl_autonomy.agents.base import Agent, make_agent
from ebl_autonomy.errors import BadInputError, SpentError
from ebl_autonomy.space import VOCS, Space, vocs_dict

__all__ = ["check_agent"]

_PROBLEMS: dict[str, dict[str, Any]] = {
    "two variables": {"variables": {"x": [-1.0, 2.0], "y": [10.0, 11.0]}, "objectives": {"f": "MINIMIZE"}},
    "one variable, maximised": {"variables": {"x": [-1e-3, 1e-3]}, "objectives": {"f": "MAXIMIZE"}},
    "a constant": {
        "variables": {"x": [0.0, 1.0], "y": [0.0, 1.0]},
        "objectives": {"f": "MINIMIZE"},
        "constants": {"energy": 7.1},
    },
    "constraints": {
        "variables": {"x": [-1.0, 2.0], "y": [10.0, 11.0]},
        "objectives": {"f": "MINIMIZE"},
        "constraints": {"g": ["GREATER_THAN", 0.2], "h": ["BOUNDS", -5.0, 5.0]},
    },
    "a discrete variable": {
        "variables": {"x": [0.0, 1.0], "n": {1.0, 2.0, 4.0}},
        "objectives": {"f": "MINIMIZE"},
    },
    "a contextual variable": {
        "variables": {"x": [0.0, 1.0], "current": "CONTEXTUAL"},
        "objectives": {"f": "MINIMIZE"},
    },
    "two objectives": {"variables": {"x": [0.0, 1.0]}, "objectives": {"f": "MINIMIZE", "g": "MAXIMIZE"}},
}


def check_agent(make: Callable[[VOCS], Generator], *, points: int = 12, batches: Sequence[int] = (1, 2)) -> None:
    """Hold a generator to what our plans rely on.

    On each of a set of small problems (constraints, constants, discrete, contextual variables, two objectives) it must
    either refuse the VOCS with a ``ValueError`` or handle it: suggest as many points as asked for, inside the domain,
    finite, with the right keys; take results with NaN outcomes, standard deviations and points it did not suggest; and
    leave the caller's objects alone. An agent of our own base class must also be a pure function of its
    configuration and results.

    Parameters
    ----------
    make : callable
        Makes a fresh generator for a VOCS.
    points : int
        Results per problem.
    batches : sequence of int
        Batch sizes to ask for.

    Raises
    ------
    AssertionError
        Says which rule was broken, on which problem.
    """
    handled = 0
    for title, fields in _PROBLEMS.items():
        vocs = VOCS(**copy.deepcopy(fields))
        try:
            make(vocs)
        except ValueError:
            continue  # refused, which is allowed; ignoring what the VOCS asks for is not
        handled += 1
        for batch in batches:
            _check_loop(make, vocs, title, batch, points)
        if isinstance(make(vocs), Agent):
            _check_pure(make, vocs, title, points)
    assert handled, "the agent refuses every problem, even one objective of two continuous variables"


def _check_loop(make: Callable[[VOCS], Generator], vocs: VOCS, title: str, batch: int, points: int) -> None:
    before, agent, space = copy.deepcopy(vocs_dict(vocs)), make(vocs), Space(vocs)
    given = 0
    while given < points:
        try:
            answer = agent.suggest(batch)
        except SpentError:
            break
        assert isinstance(answer, list), f"{title}: suggest({batch}) gave a {type(answer).__name__}, not a list"
        assert len(answer) == batch, f"{title}: suggest({batch}) gave {len(answer)} points"
        for point in answer:
            _check_point(point, vocs, space, title)
        results = [_measure(point, vocs, given + k) for k, point in enumerate(answer)]
        kept = copy.deepcopy(results)
        agent.ingest(results)
        assert str(results) == str(kept), f"{title}: ingest changed the caller's results"
        given += batch
    foreign = {**{n: float(space.low[i]) for i, n in enumerate(space.names)}, **dict.fromkeys(space.context, 1.0)}
    agent.ingest([_measure({**foreign, **space.constants}, vocs, 1)])
    assert vocs_dict(vocs) == before, f"{title}: the agent changed the caller's VOCS"


def _check_point(point: Any, vocs: VOCS, space: Space, title: str) -> None:
    assert isinstance(point, dict), f"{title}: a point is a {type(point).__name__}, not a dict"
    needed = {*vocs.variables, *vocs.constants}
    assert needed <= set(point) <= needed | {"_id"}, (
        f"{title}: the point has the keys {sorted(point)}, not {sorted(needed)}"
    )
    for i, name in enumerate(space.names):
        value = point[name]
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        assert number, f"{title}: {name} = {value!r} is no number"
        assert math.isfinite(value), f"{title}: {name} = {value!r} is not finite"
        assert space.low[i] <= value <= space.high[i], f"{title}: {name} = {value!r} is outside its domain"
        if name in space.choices:
            assert value in space.choices[name], f"{title}: {name} = {value!r} is none of its values"
    for name, value in space.constants.items():
        assert point[name] == value, f"{title}: the constant {name} came back as {point[name]!r}, not {value!r}"


def _check_pure(make: Callable[[VOCS], Generator], vocs: VOCS, title: str, points: int) -> None:
    agent = make(vocs)
    assert isinstance(agent, Agent)
    results: list[dict[str, Any]] = []
    for k in range(points):
        try:
            (point,) = agent.suggest(1)
        except SpentError:
            return
        results.append(_measure(point, vocs, k))
        agent.ingest(results[-1:])
    config = json.loads(json.dumps(agent.config()))
    again = make_agent(config)
    assert again.config() == agent.config(), f"{title}: the configuration does not survive JSON"
    again.ingest(results)
    try:
        expected = agent.suggest(1)
    except SpentError:
        return
    assert again.suggest(1) == expected, f"{title}: the same configuration and results gave another proposal"
    try:
        agent.ingest([{}])
    except BadInputError:
        return
    raise AssertionError(f"{title}: a result without any key was taken")


def _measure(point: dict[str, Any], vocs: VOCS, k: int) -> dict[str, Any]:
    """A smooth outcome with a little of everything: standard deviations, and an invalid measurement now and then."""
    moved = sum(math.sin(3.0 * float(v)) for n, v in point.items() if n in vocs.variables)
    result = {**point, **{n: 1.0 + 0.1 * k for n in vocs.variables if n not in Space(vocs).names}}
    for i, name in enumerate(vocs.output_names):
        result[name] = math.nan if k % 5 == 3 else moved + 0.3 * i
        result[f"{name}_std"] = 0.01
    return result
