"""Which reading may be taken for the target of a run: no early one that stands alone.

An agent that knows outliers tells a glitch from a peak when it has about a dozen results. Before that, a reading that
reaches the target counts if others support it: the best of them comes near, or another reading at the same place
reaches the target too. Else it is measured once more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np

from ebl_autonomy.space import Space
from ebl_autonomy.steering.proposal import Proposal

__all__ = ["CONFIRMATION", "EARLY", "TargetFound", "target_found"]

EARLY: Final = 12
"""So many results until the model of an agent tells a glitch from a peak."""
SAME_PLACE: Final = 1e-6
"""Shares of the domain within which two proposals ask for the same point."""
CONFIRMATION: Final = "once more, because nothing else supports that the target is reached"
"""The reason of a proposal that an early reading is measured again."""

Told = Sequence[tuple[Proposal, Mapping[str, Any]]]
"""Results in order, each with its proposal."""


class TargetFound:
    """What the readings say about the target.

    Attributes
    ----------
    row : int or None
        The first reading that reaches the target and counts.
    alone : list of int
        Early readings that reach it and are to be measured once more.
    """

    def __init__(self) -> None:
        self.row: int | None = None
        self.alone: list[int] = []


def target_found(
    told: Told, reaching: Collection[int], suspects: Collection[int], space: Space, known: int
) -> TargetFound:
    """Look for a reading that may be taken for the target.

    Parameters
    ----------
    told : sequence of (Proposal, result), length n
    reaching : collection of int
        The results that reach the target, by number.
    suspects : collection of int
        The results that the agent takes for outliers; none of them counts.
    space : Space
    known : int
        Number of results that the agent knows.
    """
    found = TargetFound()
    trusted = sorted(set(reaching) - set(suspects))
    for row in trusted:
        again = _again(told, row, space)
        if row < EARLY and again and not set(again) & set(trusted):
            continue  # it was measured again, and refuted
        if again or known >= EARLY or _is_supported(told, row, trusted, suspects, space):
            found.row = row
            return found
        found.alone.append(row)
    return found


def _again(told: Told, row: int, space: Space) -> list[int]:
    """The results of other proposals for the same point."""
    own = told[row][0]
    others = [i for i, (proposal, _) in enumerate(told) if proposal is not own]
    if not others:
        return []
    units = space.unit([told[i][0].proposed for i in [row, *others]])
    there = (np.abs(units[1:] - units[0]) <= SAME_PLACE).all(axis=1)
    return [i for i, same in zip(others, there, strict=True) if same]


def _is_supported(told: Told, row: int, trusted: Sequence[int], suspects: Collection[int], space: Space) -> bool:
    """Whether another reading reaches the target, or the best other one is nearer to it than to the worst."""
    if len(trusted) > 1:
        return True
    scores = [space.score(result) for i, (_, result) in enumerate(told) if i != row and i not in suspects]
    others = np.array([score for score in scores if np.isfinite(score)])
    if len(others) < 2:
        return False
    return bool(space.score(told[row][1]) - others.max() <= np.ptp(others))
