"""Points and simulated seconds to the best beam on the simulated beamline, through the RunEngine, against other agents.

A run has arrived when it measures a point whose true beam widths are both within 10 % of the best possible. Simulated
seconds are those of the beamline: travel and settling of motors, and exposures. The final width is the one that the
plan leaves behind: true width over best possible width, in the worse direction. Figures are medians over seeds, which
draw the misalignment. botorch's own recipe and BayesianAgent on botorch decide in seconds instead of milliseconds, so
they get fewer points.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from bluesky import RunEngine

from benchmarks.recipe import BotorchRecipe
from benchmarks.reporting import Report, count, median, ratio, shared_out, table
from ebl_autonomy.agents import make_agent
from ebl_autonomy.cli.demo import alignment
from ebl_autonomy.plans import optimize
from ebl_autonomy.sim_devices import SimBeamline
from ebl_autonomy.sim_devices.layout import Tier
from ebl_autonomy.space import FloatArray, make_vocs

POINTS: dict[Tier, int] = {"A": 60, "B": 120, "C": 200}
WITHIN = 1.1
"""A run has arrived at this many times the best width."""
OURS = "bayesian"
LABELS = {
    OURS: "BayesianAgent",
    "coordinate_scan": "CoordinateScanAgent",
    "sobol": "SobolAgent",
    "botorch": "BayesianAgent(engine='botorch')",
    "recipe": "botorch's recipe",
}
ON_BOTORCH = ("botorch", "recipe")
"""They need seconds for each decision, so they get fewer points."""


@dataclass(frozen=True)
class Task:
    """One alignment to run."""

    agent: str
    tier: Tier
    seed: int
    points: int


@dataclass(frozen=True)
class Alignment:
    """The result of a task.

    Attributes
    ----------
    widths : FloatArray, shape (points,)
        Relative true width, see `width`, of the best point so far; infinite before any beam is seen.
    seconds : FloatArray, shape (points,)
        Simulated seconds at the end of each exposure.
    final : float
        Relative true width where the motors end.
    wall : float
        Wall-clock seconds per point.
    """

    task: Task
    widths: FloatArray
    seconds: FloatArray
    final: float
    wall: float

    def points_to(self, budget: int) -> float:
        """The number of points to arrival; infinite if it is more than `budget`."""
        (within,) = np.nonzero(self.widths[:budget] <= WITHIN)
        return float(within[0] + 1) if len(within) else math.inf

    def seconds_to(self, budget: int) -> float:
        """The simulated seconds to arrival, likewise."""
        points = self.points_to(budget)
        return float(self.seconds[int(points) - 1]) if math.isfinite(points) else math.inf


def align(task: Task) -> Alignment:
    """Align the beamline once, through the RunEngine."""
    beamline = SimBeamline(seed=task.seed, tier=task.tier)
    motors = beamline.motors()
    rows: list[tuple[float, dict[str, float]]] = []

    def note(name: str, document: dict[str, Any]) -> None:
        if all(motor.name in document["data"] for motor in motors) and "camera_valid" in document["data"]:
            # Documents are emitted while the plan waits, so the clock still shows when the exposure ended.
            rows.append((beamline.clock.now(), {motor.name: document["data"][motor.name] for motor in motors}))

    agent = contender(beamline, task.agent, task.seed)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _engine()(optimize([beamline.camera], motors, agent, max_points=task.points), {"event": note})
    wall = time.perf_counter() - began
    widths = np.minimum.accumulate([width(beamline, point) for _, point in rows])
    return Alignment(task, widths, np.array([at for at, _ in rows]), width(beamline), wall / len(rows))


@cache
def _engine() -> RunEngine:
    """One RunEngine for each process, because each leaves a thread behind."""
    return RunEngine({})


def contender(beamline: SimBeamline, agent: str, seed: int) -> Any:
    """An agent of this package, or botorch's recipe on the same VOCS."""
    if agent == "recipe":
        return BotorchRecipe(make_vocs(alignment(beamline, agent, seed)["vocs"]), seed)
    return make_agent(config(beamline, agent, seed))


def config(beamline: SimBeamline, agent: str, seed: int) -> dict[str, Any]:
    """The configuration of an agent of this package for the alignment that the demo shows."""
    if agent != "botorch":
        return alignment(beamline, agent, seed)
    configuration = alignment(beamline, OURS, seed)
    configuration["options"].pop("composite", None)  # botorch's surrogate models the objective as a whole
    configuration["options"]["engine"] = "botorch"
    return configuration


def width(beamline: SimBeamline, point: dict[str, float] | None = None) -> float:
    """True width at a point over the best possible width, in the worse direction; infinite without a beam.

    Without a point, where the motors stand.
    """
    here, best = beamline.truth.outcome(point), beamline.truth.best_fwhm()
    wider = float(np.max([here["camera_fwhm_x"] / best[0], here["camera_fwhm_y"] / best[1]]))  # NaN without a beam
    return wider if math.isfinite(wider) else math.inf


def prepare() -> None:
    """Load and compile everything, so that no alignment waits for it."""
    align(Task(OURS, "A", 0, 12))


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tiers", nargs="+", choices=list(POINTS), default=list(POINTS))
    parser.add_argument("--points", type=int, help=f"the budget (default by tier: {POINTS})")
    parser.add_argument("--seeds", type=int, default=10, help="how many (default 10)")
    parser.add_argument("--first-seed", type=int, default=0)
    usual = [agent for agent in LABELS if agent != "botorch"]
    parser.add_argument(
        "--agents",
        nargs="+",
        choices=list(LABELS),
        default=usual,
        metavar="AGENT",
        help=f"of {', '.join(LABELS)} (default: {', '.join(usual)})",
    )
    parser.add_argument("--botorch-seeds", type=int, default=10, help="how many those on botorch get (default 10)")
    parser.add_argument("--botorch-points", type=int, default=40, help="their budget at most (default 40)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")


def lines(options: argparse.Namespace) -> Iterator[str]:
    """The report, tier by tier."""
    tasks = {tier: _tasks(tier, options) for tier in options.tiers}
    answers = shared_out(align, [task for part in tasks.values() for task in part], options.jobs, prepare, "alignment")
    for tier, part in tasks.items():
        done = list(itertools.islice(answers, len(part)))
        runs = {agent: [run for run in done if run.task.agent == agent] for agent in LABELS if agent in options.agents}
        yield f"\n### Tier {tier}: {len(SimBeamline(tier=tier).motors())} motors\n"
        yield table(HEAD, [[LABELS[agent], *row(alignments)] for agent, alignments in runs.items()])
        yield ""
        if OURS in runs:
            yield from (f"* {against(agent, runs)}" for agent in runs if agent != OURS)


def _tasks(tier: Tier, options: argparse.Namespace) -> list[Task]:
    """All alignments of a tier, the longest first."""
    tasks = []
    for agent in sorted(options.agents, key=lambda agent: agent not in ON_BOTORCH):
        points, seeds = options.points or POINTS[tier], options.seeds
        if agent in ON_BOTORCH:
            points, seeds = min(points, options.botorch_points), min(seeds, options.botorch_seeds)
        tasks += [Task(agent, tier, options.first_seed + i, points) for i in range(seeds)]
    return tasks


HEAD = [
    "",
    "seeds",
    "points each",
    "points to 10 %",
    "simulated s to 10 %",
    "final width, median",
    "worst",
    "wall ms a point",
]


def row(runs: Sequence[Alignment]) -> list[str]:
    """The row of an agent's alignments in the table."""
    return [
        str(len(runs)),
        str(runs[0].task.points),
        count([run.points_to(len(run.widths)) for run in runs]),
        count([run.seconds_to(len(run.widths)) for run in runs]),
        f"{median([run.final for run in runs]):.2f}",
        f"{max(run.final for run in runs):.2f}",
        f"{1e3 * statistics.median(run.wall for run in runs):.0f}",
    ]


def against(agent: str, runs: dict[str, list[Alignment]]) -> str:
    """BayesianAgent's figures over another agent's, with the seeds and the budget that both have."""
    theirs = {run.task.seed: run for run in runs[agent]}
    ours = {run.task.seed: run for run in runs[OURS] if run.task.seed in theirs}
    budget = min(len(run.widths) for run in [*theirs.values(), *ours.values()])
    figures = {
        "points": lambda run: run.points_to(budget),
        "simulated seconds": lambda run: run.seconds_to(budget),
        "best measured width": lambda run: run.widths[budget - 1],
    }
    ratios = [
        f"{name} {ratio(*(median([figure(of[seed]) for seed in ours]) for of in (ours, theirs)))}"
        for name, figure in figures.items()
    ]
    seeds = f"{len(ours)} seed{'s' * (len(ours) > 1)}"
    return f"against {LABELS[agent]}: {', '.join(ratios)} ({seeds} in common, within {budget} points)"


REPORT = Report("alignment", __doc__, arguments, lines)
