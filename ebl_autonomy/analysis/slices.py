"""A model along one motor, or over two, through one point: what a figure shows of a model of many motors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import FloatArray, Space

__all__ = ["Predict", "Slice", "slice_through"]

Predict = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, tuple[FloatArray, FloatArray]]]
"""Maps n points to the mean and the standard deviation of each outcome, shape (n,) each, in the outcome's unit.

It is empty as long as there is no model. `ebl_autonomy.agents.Agent.predict` is such a function.
"""

SAMPLES: Final = {1: 101, 2: 33}
"""Values of each variable, by the number of variables of a slice."""


@dataclass(frozen=True)
class Slice:
    """A model's prediction where one or two variables vary and all others stay at one point.

    Attributes
    ----------
    names : tuple of str
        The variables that vary: one, or two.
    point : dict of str to float
        The point that the slice goes through, in the variables' own units.
    values : tuple of FloatArray, shape (n,) each
        The values of each variable that varies, ascending, in its own unit.
    mean, std : dict of str to FloatArray, shape (n,) or (n_first, n_second)
        The prediction of each outcome, in the outcome's unit.
    """

    names: tuple[str, ...]
    point: dict[str, float]
    values: tuple[FloatArray, ...]
    mean: dict[str, FloatArray]
    std: dict[str, FloatArray]


def slice_through(
    predict: Predict, space: Space, point: Mapping[str, Any], names: Sequence[str], samples: int | None = None
) -> Slice | None:
    """The slice of a model through a point, over the whole domain of one or two variables.

    Parameters
    ----------
    predict : Predict
    space : Space
    point : mapping of str to float
        Every variable, contextual ones included, in its own unit. Other keys are passed on to `predict`.
    names : sequence of str, length 1 or 2
        The variables that vary.
    samples : int, optional
        Values of each variable, evenly spaced as the space is searched; the default is `SAMPLES`. A discrete variable
        has all of its values instead.

    Returns
    -------
    Slice or None
        None if there is no model yet.

    Raises
    ------
    BadInputError
        If `names` are not one or two different variables of the space, or the point lacks a variable.
    """
    if not 1 <= len(names) <= 2 or len(set(names)) < len(names) or not set(names) <= set(space.names):
        raise BadInputError(f"a slice along {list(names)}: name one or two of the variables {space.names}")
    if missing := [name for name in (*space.names, *space.context) if name not in point]:
        raise BadInputError(f"a slice through {dict(point)}, which lacks {missing}: give all variables")
    values = tuple(_values(space, name, samples or SAMPLES[len(names)]) for name in names)
    grid = np.meshgrid(*values, indexing="ij")
    rows = zip(*(axis.ravel() for axis in grid), strict=True)
    predicted = predict([{**point, **dict(zip(names, map(float, row), strict=True))} for row in rows])
    if not predicted:
        return None
    return Slice(
        names=tuple(names),
        point={name: float(point[name]) for name in space.names},
        values=values,
        mean={name: np.reshape(mean, grid[0].shape) for name, (mean, _) in predicted.items()},
        std={name: np.reshape(std, grid[0].shape) for name, (_, std) in predicted.items()},
    )


def _values(space: Space, name: str, samples: int) -> FloatArray:
    """The values of a variable over its domain, ascending, shape (n,)."""
    if name in space.choices:
        return np.sort(space.choices[name])
    unit = np.full((samples, space.dim), 0.5)
    unit[:, space.names.index(name)] = np.linspace(0.0, 1.0, samples)
    return np.array([point[name] for point in space.points(unit)], dtype=float)
