"""Kinds of regions: fuzzy c-means on composition and shape, pooled over earlier maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ebl_autonomy.scales import FloatArray

__all__ = ["Population", "memberships_of"]

Features = Mapping[str, float]

FUZZINESS: Final = 2.0
"""The exponent m of fuzzy c-means (Bezdek 1981)."""
SEPARATE: Final = 0.35
"""Least mean silhouette of clusters that are taken for more than one."""
MOST: Final = 5
"""Number of clusters that are tried if none is given."""
SAMPLED: Final = 1000
"""Regions of which the silhouette is computed, apart from the first two of each cluster."""
FLOOR: Final = 1e-3
"""Smallest share of a channel in a composition: below, everything is none."""


@dataclass(frozen=True, eq=False)
class Population:
    """Regions as vectors: the logarithms of each channel's share of the net rate and of the area, and eccentricity.

    Attributes
    ----------
    vectors : FloatArray, shape (n, d)
        Standardised over all n regions.
    mean, scale : FloatArray, shape (d,)
    names : tuple of str
        The channels that all regions have.
    tables : tuple of mapping of str to float
        Their features.
    """

    vectors: FloatArray
    mean: FloatArray
    scale: FloatArray
    names: tuple[str, ...]
    tables: tuple[Features, ...]

    @classmethod
    def of(cls, tables: Sequence[Features], example: Features | None = None) -> Population:
        """The population of regions with these features (see `features_of`); at least one.

        With an `example`, only the channels that it has too.
        """
        seen = [*tables, *([] if example is None else [example])]
        common = set.intersection(*({key[:-4] for key in one if key.endswith("_net")} for one in seen))
        names = tuple(sorted(common))
        raw = np.array([_vector(one, names) for one in tables])
        scale = raw.std(axis=0)
        # What hardly differs says nothing; without a scale, its noise would count as much as everything else.
        return cls(
            (raw - raw.mean(axis=0)) / np.where(scale > 1e-6, scale, 1.0),
            raw.mean(axis=0), np.where(scale > 1e-6, scale, 1.0), names, tuple(tables),
        )  # fmt: skip

    def place(self, features: Features) -> FloatArray:
        """Where a region lies among the population, shape (d,)."""
        return np.asarray((_vector(features, self.names) - self.mean) / self.scale)

    def distances(self, features: Features) -> FloatArray:
        """Distance of each of the population from a region, shape (n,), in standard deviations per dimension.

        Channels that the region lacks do not count: one may not have been measured around it.
        """
        if any(f"{name}_net" not in features for name in self.names):
            return Population.of(self.tables, features).distances(features)
        return np.asarray(np.sqrt(np.mean((self.vectors - self.place(features)) ** 2, axis=1)))


def memberships_of(population: Population, clusters: int | None, seed: int) -> FloatArray:
    """Membership of each region in each cluster, shape (n, k); each row sums to 1.

    Fuzzy c-means of scikit-fuzzy, started from k-means. The clusters are in the order of their sizes, the largest
    first.

    Parameters
    ----------
    population : Population
    clusters : int, optional
        Number of clusters; at most n. Without it, that with the best silhouette (Rousseeuw 1987), and 1 if no number
        separates the regions.
    seed : int
    """
    vectors = population.vectors
    number = min(clusters, len(vectors)) if clusters is not None else _number(vectors, seed)
    if number == 1:
        return np.ones((len(vectors), 1))
    from skfuzzy.cluster import cmeans

    labels = _kmeans(vectors, number, seed)
    # Its own start would draw from numpy's global generator.
    start = np.full((number, len(vectors)), 0.1 / number)
    start[labels, np.arange(len(vectors))] += 0.9
    found = cmeans(vectors.T, number, FUZZINESS, error=1e-6, maxiter=500, init=start)
    memberships = np.nan_to_num(np.asarray(found[1]).T, nan=1.0 / number)
    memberships /= memberships.sum(axis=1, keepdims=True)
    centres = np.asarray(found[0])
    order = sorted(range(number), key=lambda i: (-float(memberships[:, i].sum().round(6)), tuple(centres[i])))
    return np.asarray(memberships[:, order])


def _vector(features: Features, names: Sequence[str]) -> list[float]:
    net = [max(features[f"{name}_net"], 0.0) for name in names]
    total = sum(net) or 1.0
    shares = [math.log(max(value / total, FLOOR)) for value in net]
    return [*shares, math.log(max(features["area"], 1e-300)), features["eccentricity"]]


def _kmeans(vectors: FloatArray, number: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    return np.asarray(KMeans(number, n_init=10, random_state=seed).fit_predict(vectors))


def _number(vectors: FloatArray, seed: int) -> int:
    different = len(np.unique(vectors.round(9), axis=0))
    if len(vectors) < 4 or different < 2:
        return 1
    from sklearn.metrics import silhouette_score

    scores = {1: SEPARATE}
    for number in range(2, min(MOST, different, len(vectors) - 1) + 1):
        labels = _kmeans(vectors, number, seed)
        few = _sample(labels, seed)
        scores[number] = float(silhouette_score(vectors[few], labels[few]))
    return max(scores, key=lambda number: scores[number])


def _sample(labels: np.ndarray, seed: int) -> np.ndarray:
    """Regions for the silhouette, which takes the square of their number in memory: some of each cluster."""
    order = np.random.default_rng(seed).permutation(len(labels))
    first = [order[labels[order] == label][:2] for label in np.unique(labels)]
    return np.unique(np.concatenate([order[:SAMPLED], *first]))
