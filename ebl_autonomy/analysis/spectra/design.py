"""Which energies separate reference spectra best: optimal designs by greedy choice and exchange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import FloatArray

__all__ = ["choose_energies", "weights_covariance"]

CRITERIA: Final = ("A", "D")
PASSES: Final = 20


def choose_energies(
    columns: FloatArray,
    count: int,
    *,
    std: FloatArray | None = None,
    prior_std: FloatArray | float = 1.0,
    of_interest: int | None = None,
    known: Sequence[int] = (),
    criterion: str = "A",
) -> npt.NDArray[np.int_]:
    """The energies whose measurement determines the amounts of the references best.

    The readings are a linear combination of the columns, with independent noise; the amounts have independent normal
    priors. Energies are chosen one by one, then each is exchanged for a better one until none is (Fedorov 1972, Theory
    of Optimal Experiments). Each energy is chosen at most once.

    Parameters
    ----------
    columns : FloatArray, shape (k, q)
        The references at k candidate energies, and other unknowns such as a background.
    count : int
        Number of energies to choose.
    std : FloatArray, shape (k,), optional
        Standard deviation of a reading at each candidate; by default 1 % of the largest reference.
    prior_std : FloatArray, shape (q,), or float
        Standard deviation of each amount before any measurement; small for a phase that is known to be absent.
    of_interest : int, optional
        The first so many amounts matter, the others are only unknown; by default all matter.
    known : sequence of int
        Candidates that are measured already.
    criterion : {"A", "D"}
        Least sum of the variances of the amounts, or least volume of their joint confidence region.

    Returns
    -------
    int array, shape (count,)
        Places of the chosen candidates, ascending.

    Raises
    ------
    BadInputError
        If fewer than `count` candidates are left, or a shape or an option is wrong.
    """
    scaled, prior = _scaled(columns, std, prior_std)
    if criterion not in CRITERIA:
        raise BadInputError(f"criterion={criterion!r}: give one of {list(CRITERIA)}")
    free = np.ones(len(scaled), dtype=bool)
    free[list(known)] = False
    if not 0 < count <= free.sum():
        raise BadInputError(f"{count} energies of {free.sum()} that are left: give a number from 1 to {free.sum()}")
    focus = np.zeros(scaled.shape[1], dtype=bool)
    focus[: scaled.shape[1] if of_interest is None else of_interest] = True
    information = np.diag(1.0 / prior**2) + scaled[list(known)].T @ scaled[list(known)]
    chosen: list[int] = []
    for _ in range(count):
        best = int(np.argmax(np.where(free, _gains(information, scaled, focus, criterion), -np.inf)))
        chosen.append(best)
        free[best] = False
        information = information + np.outer(scaled[best], scaled[best])
    for _ in range(PASSES):
        changed = False
        for place, old in enumerate(chosen):
            without = information - np.outer(scaled[old], scaled[old])
            free[old] = True
            gains = np.where(free, _gains(without, scaled, focus, criterion), -np.inf)
            new = int(np.argmax(gains))
            if gains[new] <= gains[old] * (1.0 + 1e-9):
                new = old
            free[new] = False
            chosen[place] = new
            information = without + np.outer(scaled[new], scaled[new])
            changed |= new != old
        if not changed:
            break
    return np.sort(np.array(chosen))


def weights_covariance(
    columns: FloatArray, std: FloatArray | None = None, prior_std: FloatArray | float = 1.0
) -> FloatArray:
    """Covariance of the amounts after measurements at n energies, shape (q, q); arguments as in `choose_energies`."""
    scaled, prior = _scaled(columns, std, prior_std)
    return np.asarray(np.linalg.inv(np.diag(1.0 / prior**2) + scaled.T @ scaled), dtype=float)


def _gains(information: FloatArray, scaled: FloatArray, focus: npt.NDArray[np.bool_], criterion: str) -> FloatArray:
    """What each candidate improves the criterion by, shape (k,)."""
    covariance = np.linalg.inv(information)
    told = scaled @ covariance
    own = np.sum(told * scaled, axis=1)
    if criterion == "D" and focus.all():
        return np.asarray(np.log1p(own), dtype=float)
    if criterion == "A":
        return np.asarray(np.sum(told[:, focus] ** 2, axis=1) / (1.0 + own), dtype=float)
    # The volume of the amounts of interest alone: the determinant of their block after the update of rank one.
    block = covariance[np.ix_(focus, focus)]
    part = np.sum(np.linalg.solve(block, told[:, focus].T).T * told[:, focus], axis=1) / (1.0 + own)
    return np.asarray(-np.log1p(-np.minimum(part, 1.0 - 1e-15)), dtype=float)


def _scaled(
    columns: FloatArray, std: FloatArray | None, prior_std: FloatArray | float
) -> tuple[FloatArray, FloatArray]:
    columns = np.asarray(columns, dtype=float)
    if columns.ndim != 2 or not np.all(np.isfinite(columns)):
        raise BadInputError(f"columns of the shape {columns.shape}: give finite references, one column each")
    error = (
        np.full(len(columns), 0.01 * max(float(np.max(np.abs(columns), initial=0.0)), 1e-12)) if std is None else std
    )
    error = np.asarray(error, dtype=float)
    if error.shape != (len(columns),) or not np.all(error > 0.0):
        raise BadInputError(
            f"std of the shape {error.shape}: give a positive number for each of {len(columns)} energies"
        )
    prior = np.broadcast_to(np.asarray(prior_std, dtype=float), columns.shape[1:])
    if not np.all(prior > 0.0):
        raise BadInputError(f"prior_std={prior_std}: give positive numbers")
    return columns / error[:, None], np.array(prior)
