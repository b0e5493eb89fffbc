"""A prior mean: a known function of the motors, treated as a past experiment that measured it.

The model infers the correlation of the present experiment with this past from the measurements, so a wrong prior mean
loses weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final

import numpy as np

from ebl_autonomy import registry
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import FloatArray, Space

__all__ = ["LABEL", "load", "name_of", "sample"]

LABEL: Final = "prior mean"
"""Label of the prior mean among the past experiments of an agent."""

SPREAD: Final = 512
"""Number of space-filling points at which the function is evaluated first."""
ROUNDS: Final = 6
"""Number of further evaluations around the best points, each closer to them."""
KEPT: Final = 48
"""Number of best points that each round starts from, and of best and of space-filling points that become results."""

Function = Callable[[Any], Any]


def load(given: Any) -> Function:
    """The prior mean function, from an entry point's name, ``"module:attribute"`` or a callable.

    Raises
    ------
    BadInputError
        If no function of that name exists, or the object is not callable.
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
        raise BadInputError(
            f"prior_mean {given!r} is a {type(found).__name__}: it must be callable with points, shape (n, d)"
        )
    return found  # type: ignore[no-any-return]  # the check guarantees only that it is callable


def name_of(given: Any) -> str | None:
    """The name of the function in a configuration, for `load`; or a text that says why there is no such name."""
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
    """Values of the function as results: around its optimum, and spread over the domain.

    Raises
    ------
    BadInputError
        If the function does not return one number per point, or one per point and outcome.
    """
    from scipy.stats import qmc  # half a second to import, and plans import this module

    units = np.asarray(qmc.Sobol(space.dim, seed=seed).random(SPREAD))
    values = _values(function, space, units, len(outcomes))
    rng = np.random.default_rng(seed)
    for round_ in range(ROUNDS):  # closer to the optimum in each round
        best = units[np.argsort(-_score(values, space), kind="stable")[:KEPT]]
        near = np.clip(best + 0.2 * 0.5**round_ * rng.standard_normal(best.shape), 0.0, 1.0)
        units, values = np.vstack([units, near]), np.vstack([values, _values(function, space, near, len(outcomes))])
    order = np.argsort(-_score(values, space), kind="stable")
    # Every other one of the best points, so that they are less clustered, and evenly spaced ones of the first.
    chosen = np.unique(np.concatenate([order[: 2 * KEPT : 2], np.arange(0, SPREAD, SPREAD // KEPT)]))
    points = space.points(units[chosen])
    return [
        {**point, **dict.fromkeys(space.context, math.nan), **dict(zip(outcomes, map(float, row), strict=True))}
        for point, row in zip(points, values[chosen], strict=True)
    ]


def _score(values: FloatArray, space: Space) -> FloatArray:
    return np.asarray(np.nan_to_num(space.signs[0] * values[:, 0], nan=-np.inf))


def _values(function: Function, space: Space, units: FloatArray, outcomes: int) -> FloatArray:
    """Values at points of the unit cube, shape (n, outcomes); NaN for outcomes that the function does not return."""
    points = np.array([[p[name] for name in space.names] for p in space.points(units)])
    answer = _call(function, points)
    if answer.shape == (len(points),):
        answer = answer[:, None]
    if answer.ndim != 2 or answer.shape[0] != len(points) or answer.shape[1] not in (1, outcomes):
        raise BadInputError(
            f"prior_mean returned shape {answer.shape} for points of shape {points.shape}: return the objective, "
            f"shape ({len(points)},), or all {outcomes} outcomes, shape ({len(points)}, {outcomes})"
        )
    values = np.full((len(points), outcomes), math.nan)
    values[:, : answer.shape[1]] = answer
    return values


def _call(function: Function, points: FloatArray) -> FloatArray:
    """Call a function of arrays, or a torch module in its own precision."""
    parameters = getattr(function, "parameters", None)
    if parameters is None:
        return np.asarray(function(points), dtype=float)
    import torch  # a torch module implies that torch is installed

    first = next(iter(parameters()), None)
    dtype = torch.get_default_dtype() if first is None else first.dtype
    with torch.no_grad():
        return np.asarray(function(torch.as_tensor(points, dtype=dtype)).numpy(), dtype=float)
