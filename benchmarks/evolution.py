"""CMA-ES (Hansen and Ostermeier 2001) by the package ``cma``, asked for points in any number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.textbook import Costs
from ebl_autonomy.space import VOCS, FloatArray, Space

STEP = 0.25
"""The initial standard deviation, as a share of the domain."""


class CmaEs:
    """The strategy with its defaults. It starts where the beamline stands, then from random points (IPOP).

    A generation is complete when as many results as its size have arrived, whichever points they answer. So batches of
    any size and results out of order are taken, and one point at a time is the plain method.

    Parameters
    ----------
    vocs : VOCS
    seed : int
    """

    def __init__(self, vocs: VOCS, seed: int) -> None:
        self.space = Space(vocs)
        self.costs = Costs(self.space)
        self.rng = np.random.default_rng(seed)
        self.size: int | None = None
        self.strategy = self._started(self.space.unit([self.space.standing()])[0])
        self.finished: list[tuple[FloatArray, float]] = []
        self.asked: list[tuple[dict[str, float], FloatArray, Any]] = []
        """Points without results, their coordinates as sampled, and the strategy that sampled them."""

    def suggest(self, num_points: int | None = None) -> list[dict[str, float]]:
        sampled = np.array(self.strategy.ask(num_points or 1))
        points = self.space.points(np.clip(sampled, 0.0, 1.0))
        self.asked.extend((point, u, self.strategy) for point, u in zip(points, sampled, strict=True))
        return points

    def ingest(self, results: Sequence[Mapping[str, Any]]) -> None:
        for result in results:
            answers = [all(result[name] == point[name] for name in point) for point, _, _ in self.asked]
            _, sampled, strategy = self.asked.pop(answers.index(True))
            if strategy is self.strategy:  # else it was asked before a restart
                self.finished.append((sampled, self.costs.of(result)))
        while len(self.finished) >= self.strategy.popsize:
            generation = self.finished[: self.strategy.popsize]
            del self.finished[: self.strategy.popsize]
            self.strategy.tell([u for u, _ in generation], [cost for _, cost in generation])
            if self.strategy.stop():
                self.size = 2 * self.strategy.popsize
                self.finished.clear()
                self.strategy = self._started(self.rng.random(self.space.dim))

    def _started(self, start: FloatArray) -> Any:
        import cma

        options = {"bounds": [0.0, 1.0], "seed": int(self.rng.integers(1, 2**31)), "verbose": -9}
        if self.size is not None:
            options["popsize"] = self.size
        return cma.CMAEvolutionStrategy(start, STEP, options)
