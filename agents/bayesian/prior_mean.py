"""A function of the motors that somebody knew beforehand, taken as a past experiment that measured it.

A model of the present correlates with that past as far as the measurements confirm it, so a wrong prior loses weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final

import numpy as np
from scipy.stats import qmc

from ebl_autonomy import registry
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import FloatArray, Space

__all__ = ["LABEL", "load", "name_of", "sample"]

LABEL: Final = "prior mean"
"""What an agent calls it among its past experiments."""

SPREAD: Final = 512
"""How many points of the domain the function is computed at first."""
ROUNDS: Final = 6
"""How often it is computed again, each time around its best points and closer to them."""
KEPT: Final = 48
"""How many of the best points each round starts from; and how many of the best, and of all, become results."""

Function = Callable[[Any], Any]


def load(given: Any) -> Function:
    """The function itself, from an entry point's name, ``"module:attribute"`` or a callable.

    Raises
    ------
    BadInputError
        If there is no function of that name, or what was found cannot be called.
    """
    found = given
    if isinstance(given, str):
        if ":" in given:
            module, _, attribute = given.partition(":")
            try:
                found = getattr(import_module(module), attribute)
            except (ImportError, AttributeError) as error:
                raise BadInputError(f"prior_mean {given!r} cannot be imported: {error}") from error
        else:
            found = registry.load(registry.PRIOR_MEANS, given)
    if not callable(found):
        raise BadInputError(f"prior_mean {given!r} is a {type(found).__name__}: it must be callable with points (n, d)")
    return found  # type: ignore[no-any-return]  # callable is all that is asked of it


def name_of(given: Any) -> str | None:
    """What stands for the function in a configuration: a name for `load`, or a text that says why there is none."""
    if given is None or isinstance(given, str):
        return given
    module, name = getattr(given, "__module__", ""), getattr(given, "__qualname__", type(given).__name__)
    path = f"{module}:{name}"
    try:
        importable = load(path) is given
    except BadInputError:
        importable = False
    return path if importable else f"<{name}, which has no name to import it by>"


def sample(function: Function, space: Space, outcomes: Sequence[str], seed: int) -> list[dict[str, float]]:
    """The function's values as results: where it is best, and spread over the domain.

    Raises
    ------
    BadInputError
        If it does not give one number per point, or one per point and outcome.
    """
    units = np.asarray(qmc.Sobol(space.dim, seed=seed).random(SPREAD))
    values = _values(function, space, units, len(outcomes))
    rng = np.random.default_rng(seed)
    for round_ in range(ROUNDS):  # closer to where it is best, round by round
        best = units[np.argsort(-_score(values, space), kind="stable")[:KEPT]]
        near = np.clip(best + 0.2 * 0.5**round_ * rng.standard_normal(best.shape), 0.0, 1.0)
        units, values = np.vstack([units, near]), np.vstack([values, _values(function, space, near, len(outcomes))])
    order = np.argsort(-_score(values, space), kind="stable")
    # Every other one of the best, so that they do not all lie in one place, and some of the first, evenly.
    chosen = np.unique(np.concatenate([order[: 2 * KEPT : 2], np.arange(0, SPREAD, SPREAD // KEPT)]))
    points = space.points(units[chosen])
    return [
        {**point, **dict.fromkeys(space.context, math.nan), **dict(zip(outcomes, map(float, row), strict=True))}
        for point, row in zip(points, values[chosen], strict=True)
    ]


def _score(values: FloatArray, space: Space) -> FloatArray:
    return np.asarray(np.nan_to_num(space.signs[0] * values[:, 0], nan=-np.inf))


def _values(function: Function, space: Space, units: FloatArray, outcomes: int) -> FloatArray:
    """Values at points of the unit cube, shape (n, outcomes); NaN for outcomes that the function does not give."""
    points = np.array([[p[name] for name in space.names] for p in space.points(units)])
    answer = _call(function, points)
    if answer.shape == (len(points),):
        answer = answer[:, None]
    if answer.ndim != 2 or answer.shape[0] != len(points) or answer.shape[1] not in (1, outcomes):
        raise BadInputError(
            f"prior_mean gave shape {answer.shape} for points of shape {points.shape}: it must give the objective, "
            f"shape ({len(points)},), or all {outcomes} outcomes, shape ({len(points)}, {outcomes})"
        )
    values = np.full((len(points), outcomes), math.nan)
    values[:, : answer.shape[1]] = answer
    return values


def _call(function: Function, points: FloatArray) -> FloatArray:
    """Call a function of arrays, or a torch module, in its own precision."""
    parameters = getattr(function, "parameters", None)
    if parameters is None:
        return np.asarray(function(points), dtype=float)
    import torch  # a torch module is there, so torch is

    first = next(iter(parameters()), None)
    dtype = torch.get_default_dtype() if first is None else first.dtype
    with torch.no_grad():
        return np.asarray(function(torch.as_tensor(points, dtype=dtype)).numpy(), dtype=float)
