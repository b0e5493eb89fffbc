"""Places boxes on floors so that arrows between them cross little and run straight: Sugiyama's method, in small.

Sugiyama, Tagawa and Toda 1981, IEEE Trans. Syst. Man Cybern. 11, 109. An arrow that passes a floor gets a place on it
like a box, as narrow as a lane. First the order on each floor is found, then the places are drawn towards what they are
connected with.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, pairwise

import numpy as np
from scipy.optimize import isotonic_regression

__all__ = ["needed", "place"]

STARTS = 40
Arrow = tuple[str, str]


def needed(imports: Mapping[str, Sequence[str]]) -> list[Arrow]:
    """The arrows that do not follow from others (the transitive reduction of an acyclic graph)."""

    def reached(name: str) -> set[str]:
        return {further for other in imports[name] for further in ({other} | reached(other))}

    return [
        (name, other)
        for name, others in imports.items()
        for other in others
        if not any(other in reached(between) for between in others if between != other)
    ]


def place(
    floors: Mapping[str, int], arrows: Sequence[Arrow], width: float, gap: float, lane: float
) -> tuple[dict[str, float], dict[Arrow, list[tuple[float, int]]]]:
    """Where the boxes stand, and on which way the arrows pass the floors between.

    Parameters
    ----------
    floors : mapping of str to int
        Box to floor, 0 at the top; arrows lead to floors with higher numbers.
    arrows : sequence of (str, str)
    width, gap, lane : float
        Of a box, between neighbours, and of an arrow that passes a floor.

    Returns
    -------
    places : dict of str to float
        The middle of each box.
    routes : dict of (str, str) to list of (float, int)
        Position and floor of each arrow, from box to box.
    """
    rows: list[list[str]] = [[] for _ in range(max(floors.values()) + 1)]
    for name, floor in floors.items():
        rows[floor].append(name)
    chains = {}
    for start, end in arrows:
        passed = [f"{start}>{end}@{floor}" for floor in range(floors[start] + 1, floors[end])]
        chains[start, end] = [start, *passed, end]
        for name, floor in zip(passed, range(floors[start] + 1, floors[end]), strict=True):
            rows[floor].append(name)
    links = [link for chain in chains.values() for link in pairwise(chain)]
    rows = _uncrossed(rows, links)
    middle = _pulled(rows, links, {n: width if n in floors else lane for row in rows for n in row}, gap)
    routes = {
        arrow: [(middle[name], floor) for name, floor in zip(chain, range(floors[arrow[0]], 99), strict=False)]
        for arrow, chain in chains.items()
    }
    return {name: middle[name] for name in floors}, routes


def _uncrossed(rows: list[list[str]], links: Sequence[Arrow]) -> list[list[str]]:
    """The rows, each reordered: of many starts, what crosses least and is shortest once no single move helps."""
    row_of = {name: i for i, row in enumerate(rows) for name in row}
    below: list[list[Arrow]] = [[] for _ in rows]
    for a, b in links:
        below[row_of[a]].append((a, b))

    def cost(candidate: Sequence[Sequence[str]], floors: Iterable[int]) -> tuple[int, float]:
        at = {name: i - (len(row) - 1) / 2 for row in candidate for i, name in enumerate(row)}
        crossed, length = 0, 0.0
        for floor in floors:
            crossed += sum((at[a] - at[c]) * (at[b] - at[d]) < 0 for (a, b), (c, d) in combinations(below[floor], 2))
            length += sum(abs(at[a] - at[b]) for a, b in below[floor])
        return crossed, length

    def improved(candidate: list[list[str]]) -> list[list[str]]:
        before: list[list[str]] = []
        while candidate != before:
            before = [list(row) for row in candidate]
            for i, row in enumerate(candidate):
                touched = range(max(i - 1, 0), i + 1)
                candidate[i] = min(
                    _moves(row), key=lambda order: cost([*candidate[:i], order, *candidate[i + 1 :]], touched)
                )
        return candidate

    rng = np.random.default_rng(0)
    found = (improved([list(rng.permutation(row)) for row in rows]) for _ in range(STARTS))
    return min(found, key=lambda candidate: cost(candidate, range(len(rows))))


def _moves(row: Sequence[str]) -> list[list[str]]:
    """The row, and the row with any one thing moved to any other place."""
    rests = [(name, [*row[:i], *row[i + 1 :]]) for i, name in enumerate(row)]
    return [list(row), *([*rest[:k], name, *rest[k:]] for name, rest in rests for k in range(len(row)))]


def _pulled(rows: list[list[str]], links: Sequence[Arrow], widths: Mapping[str, float], gap: float) -> dict[str, float]:
    """Middles of all things: each is drawn to the mean of its neighbours, and its row keeps order and distances."""
    box = max(widths.values())
    pulls: dict[str, list[tuple[str, float]]] = {name: [] for row in rows for name in row}
    for a, b in links:
        # A lane that bends is uglier than a box that stands a little aside.
        strength = 8.0 if max(widths[a], widths[b]) < box else 2.0 if min(widths[a], widths[b]) < box else 1.0
        pulls[a].append((b, strength))
        pulls[b].append((a, strength))
    spaced = {}
    for row in rows:
        steps = [0.5 * (widths[a] + widths[b]) + gap for a, b in pairwise(row)]
        spaced.update(dict(zip(row, np.concatenate([[0.0], np.cumsum(steps)]), strict=True)))
    middle = {name: spaced[name] - 0.5 * spaced[row[-1]] for row in rows for name in row}
    for _ in range(500):
        for row in rows:
            wanted, weights = [], []
            for name in row:
                at, strength = zip(*((middle[other], w) for other, w in pulls[name] or [(name, 1.0)]), strict=True)
                wanted.append(np.average(at, weights=strength) - spaced[name])
                weights.append(sum(strength))
            fitted = isotonic_regression(wanted, weights=weights).x
            middle.update({name: float(x + spaced[name]) for name, x in zip(row, fitted, strict=True)})
    centre = 0.5 * (min(middle.values()) + max(middle.values()))
    assert all(math.isfinite(x) for x in middle.values())
    return {name: x - centre for name, x in middle.items()}
