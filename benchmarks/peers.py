"""What is compared: agents of this package, textbook methods, and other packages, behind one protocol."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from benchmarks.problems import AlignmentProblem
from benchmarks.recipe import BotorchRecipe
from ebl_autonomy.agents import BayesianAgent, CoordinateScanAgent, SobolAgent
from ebl_autonomy.space import VOCS, FloatArray, Space

__all__ = ["OURS", "PEERS", "Contender", "Peer", "kind"]

PENALTY = 5.0
"""What is subtracted from the objective where an outcome exceeds a limit by the limit's own size. For methods without
constraints."""
CONVERGED = 1e-3
"""The size of a simplex that has converged, as a share of the domain and in units of the objective."""


class Contender(Protocol):
    """A generator in the sense of gest-api."""

    def suggest(self, num_points: int | None = None) -> Sequence[Mapping[str, Any]]:
        """Points to measure next."""

    def ingest(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Take measurements: variables, outcomes, ``<outcome>_std``."""


@dataclass(frozen=True)
class Peer:
    """One method of searching.

    Attributes
    ----------
    label : str
    make : callable
        ``make(problem, seed) -> Contender``.
    notes : dict of str to str
        What is done about each kind of problem (see `kind`) that the method does not solve as it is. The text begins
        with "left out" if nothing is.
    seeds : int, optional
        The largest number of seeds, for a slow method.
    needs : str
        The module that must be installed.
    """

    label: str
    make: Callable[[AlignmentProblem, int], Contender]
    notes: dict[str, str]
    seeds: int | None = None
    needs: str = "ebl_autonomy"

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.needs) is not None

    def takes(self, problem: type[AlignmentProblem]) -> bool:
        """Whether it can solve such a problem."""
        return not self.notes.get(kind(problem), "").startswith("left out")


def kind(problem: type[AlignmentProblem]) -> str:
    """The kind of a problem: "one objective", "two objectives" or "constraints"."""
    if len(problem.objectives) > 1:
        return "two objectives"
    return "constraints" if problem.limits else "one objective"


class NelderMead:
    """scipy's adaptive simplex. It starts where the beamline stands, with steps of a quarter, then from random points.

    scipy calls a function, but here the values come from outside. Therefore each call of `suggest` runs the search
    again up to the first point without a measured value. The cost is quadratic in the number of points, which is about
    100.

    Parameters
    ----------
    vocs : VOCS
    seed : int
        Of the random starting points.
    """

    def __init__(self, vocs: VOCS, seed: int) -> None:
        self.space = Space(vocs)
        self.seed = seed
        self.answers: list[float] = []

    def suggest(self, num_points: int | None = None) -> list[dict[str, float]]:
        return self.space.points(self._next())

    def ingest(self, results: Sequence[Mapping[str, Any]]) -> None:
        self.answers.extend(self._cost(result) for result in results)

    def _next(self) -> FloatArray:
        from scipy.optimize import minimize

        known = iter(self.answers)

        def answered(u: FloatArray) -> float:
            try:
                return next(known)
            except StopIteration:
                raise _UnansweredError(u.copy()) from None

        rng = np.random.default_rng(self.seed)
        start = self.space.unit([self.space.standing()])[0]
        try:
            while True:
                steps = np.where(start > 0.5, -0.25, 0.25) * np.eye(self.space.dim)
                simplex = np.vstack([start, start + steps])
                minimize(
                    answered,
                    start,
                    method="Nelder-Mead",
                    bounds=[(0.0, 1.0)] * self.space.dim,
                    options={"initial_simplex": simplex, "adaptive": True, "xatol": CONVERGED, "fatol": CONVERGED},
                )
                start = rng.random(self.space.dim)
        except _UnansweredError as question:
            return question.point

    def _cost(self, result: Mapping[str, Any]) -> float:
        excess = [
            max(float(result[name]) - limit.high, limit.low - float(result[name]), 0.0)
            / max(abs(end) for end in (limit.low, limit.high) if np.isfinite(end))
            for name, limit in self.space.limits.items()
        ]
        return PENALTY * sum(excess) - self.space.score(result)


class _UnansweredError(Exception):
    def __init__(self, point: FloatArray) -> None:
        super().__init__(point)
        self.point = point


class Xopt:
    """Xopt's expected improvement (of the hypervolume for two objectives) with its defaults, after 2d Sobol points."""

    def __init__(self, problem: AlignmentProblem, seed: int) -> None:
        import torch
        from xopt.generators.bayesian import ExpectedImprovementGenerator, MOBOGenerator

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        vocs = problem.vocs
        self.generator: Any
        if problem.reference is None:
            self.generator = ExpectedImprovementGenerator(vocs=vocs)
        else:
            self.generator = MOBOGenerator(vocs=vocs, reference_point=dict(problem.reference))
        self.names = [*problem.bounds, *vocs.output_names]
        self.variables = list(problem.bounds)
        self.start = BotorchRecipe(vocs, seed, problem.reference)

    def suggest(self, num_points: int | None = None) -> list[dict[str, float]]:
        if len(self.start.results) < len(self.start.start):
            return self.start.suggest(1)
        (point,) = self.generator.suggest(1)
        return [{name: float(point[name]) for name in self.variables}]

    def ingest(self, results: Sequence[Mapping[str, Any]]) -> None:
        self.start.ingest(results)
        self.generator.ingest([{name: result[name] for name in self.names} for result in results])


def _sobol(problem: AlignmentProblem, seed: int) -> Contender:
    first = next(iter(problem.objectives.items()))
    # The sequence ignores results, so one objective is enough.
    return SobolAgent({"variables": problem.vocs.model_dump()["variables"], "objectives": dict([first])}, seed=seed)


def _ours(problem: AlignmentProblem, seed: int) -> Contender:
    return BayesianAgent(problem.vocs, seed=seed, reference=dict(problem.reference or {}))


OURS = "bayesian"
_SCALAR = {"two objectives": "left out: knows one objective"}
PEERS: dict[str, Peer] = {
    OURS: Peer("BayesianAgent", _ours, {}),
    "coordinate_scan": Peer(
        "CoordinateScanAgent", lambda problem, seed: CoordinateScanAgent(problem.vocs, seed=seed), _SCALAR
    ),
    "nelder_mead": Peer(
        "Nelder-Mead",
        lambda problem, seed: NelderMead(problem.vocs, seed),
        {**_SCALAR, "constraints": f"a penalty of {PENALTY:g} times the relative excess"},
    ),
    "sobol": Peer("SobolAgent", _sobol, {"constraints": "never looks at them"}),
    "botorch": Peer(
        "botorch's recipe", lambda problem, seed: BotorchRecipe(problem.vocs, seed, problem.reference), {}, seeds=6
    ),
    "xopt": Peer("Xopt", Xopt, {}, seeds=2, needs="xopt"),
}
