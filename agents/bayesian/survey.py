"""The survey: a few quasi-random points of the whole domain, which tell how the search should go on.

A start that is better than points far away is likely near a peak, and is best searched motor by motor. A start that is
not is worth no probes: points of the whole domain tell more of where the best hill is, and the model needs no more than
a few. The first two points of the survey tell these cases apart.

Where the readings tell their noise, there is no survey: a response nearby is then told from noise, so probes find the
slope in any landscape. Without that, differences of neighbours may be noise, and those of far points are larger. Nor is
there one under limits on outcomes, or with a product of factors: whoever gives these has a beam, and far points, which
break the limits and have no beam, would only bend the models.

The points are those of a scrambled Sobol sequence (Owen 1998, J. Complexity 14, 466), one sequence in each search, so
no two of them are close to each other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.stats import qmc

from ebl_autonomy.space import FloatArray, evenly

if TYPE_CHECKING:
    from ebl_autonomy.agents.bayesian.state import SearchState

__all__ = ["BROAD", "DARK", "FIRST", "NARROW", "SAME_PLACE", "index", "is_turn", "new_point", "points", "surroundings"]

FIRST: Final = 2
"""Number of points of the survey that tell what the surroundings are."""
TRIES: Final = 64
"""Number of points, at least, that are drawn to find one that is not known yet."""
SAME_PLACE: Final = 1e-3
"""Shares of the domain within which motors stand at the same point: readbacks differ."""

DARK: Final = "dark"
"""Nothing responds, here or far away."""
NARROW: Final = "narrow"
"""The start is better than the far points: it lies near a peak."""
BROAD: Final = "broad"
"""A far point is better than the start, or the start is invalid."""


def points(dim: int) -> int:
    """Number of points of a survey of broad surroundings."""
    return 3 + dim // 4


def surroundings(merits: FloatArray, responded: bool) -> str | None:
    """What the start and the first points of the survey tell: `DARK`, `NARROW` or `BROAD`; None before they are known.

    Parameters
    ----------
    merits : FloatArray, shape (n,)
        Merits of the results, the start's first, more is better; NaN if invalid.
    responded : bool
        Whether an outcome has responded in these results.
    """
    if len(merits) < 1 + FIRST:
        return None
    if not responded:
        return DARK
    start, far = merits[0], merits[1 : 1 + FIRST]
    known = far[np.isfinite(far)]
    if not np.isfinite(start):
        return BROAD
    if not len(known):
        return NARROW
    return NARROW if start > known.max() else BROAD


def is_turn(number: int) -> bool:
    """Whether it is the turn of the whole domain, if every other proposal is to be one of its points.

    The other turns are those of the probes in the dark: the first probe is proposal 3.
    """
    return number % 2 == 0


def index(dim: int, number: int) -> int:
    """Index in the sequence of the point of the whole domain that proposal `number` is, after the survey."""
    return points(dim) + number // 2


def new_point(
    state: SearchState, seed: int, index: int, out: FloatArray, within_limits: bool = False
) -> FloatArray | None:
    """Point `index` of the sequence, shape (d,), or the next one that is neither measured nor pending.

    A large batch, which is requested before anything is known, takes more points of the sequence than a survey has.

    Parameters
    ----------
    state : SearchState
    seed, index : int
    out : FloatArray, shape (p, d)
        Points of the unit cube of motors that are proposed and not yet measured.
    within_limits : bool
        Whether to pass over points where the model expects that a limit on an outcome is broken. Needs a model.

    Returns
    -------
    FloatArray, shape (d,), or None
        In searched coordinates; None if all variables are discrete, and all allowed points are known, or if the model
        expects that all drawn points break a limit.
    """
    stop = 2 * index + TRIES
    sequence = qmc.Sobol(state.space.dim, seed=seed).random_base2(math.ceil(math.log2(stop)))
    drawn = evenly(np.asarray(sequence[index:stop]), {axis: state.ladders[axis] for axis in state.unordered})
    places = state.space.snap(state.coordinates.unit(drawn, state.best_measured))
    known = np.vstack([state.places, out])
    for point, place in zip(drawn, places, strict=True):
        if (np.abs(known - place).max(axis=1) > SAME_PLACE).all() and not (within_limits and _breaks(state, point)):
            return np.asarray(point)
    if within_limits:
        return None
    lattice = state.lattice(out)
    return drawn[0] if lattice is None else lattice.new(np.random.default_rng([seed, index]))


def _breaks(state: SearchState, point: FloatArray) -> bool:
    """Whether the model expects that a limit on an outcome is broken at a point, shape (d,)."""
    mean, _ = state.surrogate.predict(state.inputs_now(point[None]))
    return bool(state.goal.violation(mean)[0] > 0.0)
