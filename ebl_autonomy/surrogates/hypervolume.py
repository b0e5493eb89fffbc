"""Pareto fronts of objectives that are all to be maximised, and the area that points dominate in two of them."""

from __future__ import annotations

from typing import Final

import numpy as np

from ebl_autonomy.space import FloatArray

__all__ = ["front", "reference", "strips", "undominated", "volume"]

MARGIN: Final = 0.1
"""The least distance of the default reference point from the worst value, as a share of the range."""


def front(values: FloatArray) -> np.ndarray:
    """The rows that no other row dominates, by rising first objective; of equal rows the first.

    Parameters
    ----------
    values : FloatArray, shape (n, 2)
        Without NaN.

    Returns
    -------
    ndarray of int, shape (k,)
    """
    order = np.lexsort((-values[:, 1], -values[:, 0]))  # by falling first objective, ties by falling second
    kept, top = [], -np.inf
    for i in order:
        if values[i, 1] > top:
            kept.append(int(i))
            top = values[i, 1]
    return np.array(kept[::-1], dtype=int)


def undominated(values: FloatArray) -> np.ndarray:
    """Whether each row of `values`, shape (n, objectives), is dominated by no other row: shape (n,).

    A row dominates another if it is no worse in any objective and better in one.
    """
    no_worse = (values[:, None, :] >= values[None, :, :]).all(axis=2)
    better = (values[:, None, :] > values[None, :, :]).any(axis=2)
    return np.asarray(~(no_worse & better).any(axis=0))


def reference(values: FloatArray, expected: FloatArray | None = None) -> FloatArray:
    """The default reference point of areas, shape (objectives,): a little below the worst value of each objective.

    A few values alone would put it so high that the ends of the front are worth nothing. With values that a model
    expects elsewhere, it also lies below the worst of the front of all, by a margin that is the larger the fewer points
    of the front are known (Ishibuchi et al. 2018, Evol. Comput. 26, 411).

    Parameters
    ----------
    values : FloatArray, shape (n, objectives)
        The values that are reached, n > 0, without NaN.
    expected : FloatArray, shape (k, 2), optional
        Those that may be reached, without NaN.
    """
    low, span = values.min(axis=0), np.ptp(values, axis=0)
    corner: FloatArray = low - MARGIN * np.where(span > 0.0, span, 1.0)
    if expected is None or not len(expected):
        return corner
    together = np.vstack([values, expected])
    best = together[front(together)]
    span = np.ptp(best, axis=0)
    margin = max(MARGIN, 1.0 / max(len(front(values)) - 1, 1))
    lowest: FloatArray = np.minimum(corner, best.min(axis=0) - margin * np.where(span > 0.0, span, 1.0))
    return lowest


def strips(values: FloatArray, corner: FloatArray) -> FloatArray:
    """The area above `corner`, cut into strips at the points of the front of `values`, shape (n, 2).

    Returns
    -------
    FloatArray, shape (k + 1, 3)
        For each strip, where it begins and ends in the first objective, and the height of the front there.
    """
    above = values[(values > corner).all(axis=1)] if len(values) else values.reshape(0, 2)
    best = above[front(above)]
    ends = np.array([corner[0], *best[:, 0], np.inf])
    heights = np.array([*best[:, 1], corner[1]])
    return np.ascontiguousarray(np.stack([ends[:-1], ends[1:], heights], axis=1))


def volume(values: FloatArray, corner: FloatArray) -> float:
    """The area between the point `corner`, shape (2,), and the front of `values`, shape (n, 2)."""
    cut = strips(values, corner)[:-1]
    return float(np.sum((cut[:, 1] - cut[:, 0]) * (cut[:, 2] - corner[1])))
