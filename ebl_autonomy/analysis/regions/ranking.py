"""Which regions come first."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np

from ebl_autonomy.analysis.regions.candidates import Candidate
from ebl_autonomy.analysis.regions.clusters import Population
from ebl_autonomy.analysis.regions.options import Rank, Region

__all__ = ["ranked_by"]

NEIGHBOURS: Final = 3
"""Number of similar regions that a rare one is far from."""


def ranked_by(candidates: list[Candidate], population: Population, rank: Rank) -> list[Candidate]:
    """The candidates with their scores, the best first; equal ones by confidence, then area."""
    scored = [_scored(one, i, population, rank) for i, one in enumerate(candidates)]
    sign = 1.0 if rank.ascending else -1.0
    return sorted(scored, key=lambda one: (sign * one.score, -one.confidence, -one.features["area"]))


def _scored(one: Candidate, i: int, population: Population, rank: Rank) -> Candidate:
    features, confidence = one.features, one.confidence
    if rank.by in ("ratio", "feature"):
        if rank.of not in features:  # a channel was not measured here
            return replace(one, score=-math.inf if not rank.ascending else math.inf, confidence=0.0)
        std = features[f"{rank.of}_std"] * (-1.0 if rank.ascending else 1.0) if rank.by == "ratio" else 0.0
        return replace(one, score=features[str(rank.of)] - std)
    if rank.by == "rule":
        return replace(one, score=one.degree)
    if rank.by == "similarity":
        assert rank.to is not None
        example = rank.to.features if isinstance(rank.to, Region) else rank.to
        distance = float(population.distances(example)[i])
        return replace(one, score=math.exp(-0.5 * distance**2))
    if rank.by == "rarity":
        distances = np.sort(np.delete(population.distances(features), i))[:NEIGHBOURS]
        return replace(one, score=float(distances.mean()) if len(distances) else 0.0)
    if rank.by == "cluster":
        assert rank.cluster is not None
        member = one.memberships[rank.cluster] if rank.cluster < len(one.memberships) else 0.0
        return replace(one, score=member, confidence=confidence * member)
    return replace(one, score=confidence)
