"""What is compared: agents of this package, textbook methods, and other packages, behind one protocol."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.evolution import CmaEs
from benchmarks.problems import AlignmentProblem
from benchmarks.recipe import BotorchRecipe
from benchmarks.textbook import PENALTY, NelderMead
from ebl_autonomy.agents import BayesianAgent, CoordinateScanAgent, SobolAgent
from ebl_autonomy.space import VOCS

__all__ = ["OURS", "PEERS", "Contender", "Peer", "Problem", "kind"]


class Problem(Protocol):
    """What a method may know of a problem before it begins."""

    @property
    def vocs(self) -> VOCS:
        """Variables with the present position as default values, objectives, constraints."""

    @property
    def objectives(self) -> Mapping[str, str]:
        """``"MAXIMIZE"`` or ``"MINIMIZE"``, as in a VOCS."""

    @property
    def reference(self) -> Mapping[str, float] | None:
        """With two objectives, the worst value of each that is worth anything."""


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
    sequential : bool
        Whether it needs each result before it can propose the next point.
    """

    label: str
    make: Callable[[Any, int], Contender]
    notes: dict[str, str]
    seeds: int | None = None
    needs: str = "ebl_autonomy"
    sequential: bool = False

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


class Xopt:
    """Xopt's expected improvement (of the hypervolume for two objectives) with its defaults, after 2d Sobol points."""

    def __init__(self, problem: Problem, seed: int) -> None:
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
        self.names = [*vocs.variables, *vocs.output_names]
        self.variables = list(vocs.variables)
        self.start = BotorchRecipe(vocs, seed, problem.reference)

    def suggest(self, num_points: int | None = None) -> list[dict[str, float]]:
        if len(self.start.results) < len(self.start.start):
            return self.start.suggest(1)
        (point,) = self.generator.suggest(1)
        return [{name: float(point[name]) for name in self.variables}]

    def ingest(self, results: Sequence[Mapping[str, Any]]) -> None:
        self.start.ingest(results)
        self.generator.ingest([{name: result[name] for name in self.names} for result in results])


def _sobol(problem: Problem, seed: int) -> Contender:
    first = next(iter(problem.objectives.items()))
    # The sequence ignores results, so one objective is enough.
    return SobolAgent({"variables": problem.vocs.model_dump()["variables"], "objectives": dict([first])}, seed=seed)


def _ours(problem: Problem, seed: int) -> Contender:
    vocs = problem.vocs.model_dump()
    for name in getattr(problem, "unordered_names", ()):  # no other method can be told
        vocs["variables"][name]["ordered"] = False
    return BayesianAgent(vocs, seed=seed, reference=dict(problem.reference or {}))


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
        sequential=True,
    ),
    "cma_es": Peer(
        "CMA-ES",
        lambda problem, seed: CmaEs(problem.vocs, seed),
        {**_SCALAR, "constraints": f"a penalty of {PENALTY:g} times the relative excess"},
        needs="cma",
    ),
    "sobol": Peer("SobolAgent", _sobol, {"constraints": "never looks at them"}),
    "botorch": Peer(
        "botorch's recipe", lambda problem, seed: BotorchRecipe(problem.vocs, seed, problem.reference), {}, seeds=6
    ),
    "xopt": Peer("Xopt", Xopt, {}, seeds=2, needs="xopt"),
}
