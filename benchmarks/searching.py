"""Regret against the number of points, on alignment problems whose truth is known, compared with other methods.

Regret is the share of the way from no beam to the optimum that the best point so far lacks, by the truth without noise.
For two objectives, it is the missing share of the hypervolume. For a drifting beam, it is the mean over the points so
far, because a good point is worthless when the beam has left it. Figures are medians over seeds, which draw the
misalignment and the noise. Slow methods get fewer seeds. Ratios are formed over the seeds that both methods have.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.peers import OURS, PEERS, Peer, kind
from benchmarks.problems import PROBLEMS, AlignmentProblem
from benchmarks.reporting import COLOURS, NEITHER, Report, add_plot, count, median, ratio, shared_out, table
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import FloatArray

MARKS = (10, 20, 40, 80)
LEVELS = {"90 %": 0.1, "99 %": 0.01}
RESOLUTION = 1e-4
"""Smaller regrets count as this in ratios, because no beamline can tell them apart."""


@dataclass(frozen=True)
class Task:
    """One search to run."""

    peer: str
    problem: str
    seed: int
    points: int


@dataclass(frozen=True)
class Run:
    """The result of a task.

    Attributes
    ----------
    regret, losses : FloatArray, shape (points,)
        See `AlignmentProblem`.
    violations : int
    cpu_ms : float
        CPU milliseconds of one suggest + ingest, the mean over the run.
    refused : str
        The reason if the method does not take the problem; else empty.
    """

    task: Task
    regret: FloatArray = field(default_factory=lambda: np.empty(0))
    losses: FloatArray = field(default_factory=lambda: np.empty(0))
    violations: int = 0
    cpu_ms: float = math.nan
    refused: str = ""

    def at(self, points: int) -> float:
        return float(self.regret[points - 1])

    def reached(self, level: float) -> float:
        """The number of points to a loss of at most `level`; infinite if none has it."""
        (within,) = np.nonzero(self.losses <= level)
        return float(within[0] + 1) if len(within) else math.inf

    def second_half(self) -> float:
        return float(np.mean(self.losses[len(self.losses) // 2 :]))


def search(task: Task) -> Run:
    """Let a method search, one point at a time."""
    problem = PROBLEMS[task.problem](task.seed)
    rng = np.random.default_rng([task.seed, 47])
    points = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other packages warn about their own internals
        try:
            contender = PEERS[task.peer].make(problem, task.seed)
        except BadInputError as error:
            return Run(task, refused=str(error))
        cpu = 0.0
        for number in range(task.points):
            began = time.process_time()
            (point,) = contender.suggest(1)
            asked = time.process_time()
            result = problem.measure({name: float(point[name]) for name in problem.bounds}, number, rng)
            measured = time.process_time()
            contender.ingest([result])
            cpu += asked - began + time.process_time() - measured
            points.append(result)
    return Run(
        task, problem.regret(points), problem.losses(points), problem.violations(points), 1e3 * cpu / len(points)
    )


def prepare() -> None:
    """Load and compile everything, so that no search waits for it."""
    for problem in ("pair", "heat"):
        search(Task(OURS, problem, 0, 15))


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=20, help="seeds of each fast method (default 20)")
    few = ", ".join(f"{peer.label} {peer.seeds}" for peer in PEERS.values() if peer.seeds)
    parser.add_argument("--slow-seeds", type=int, help=f"seeds of each slow method (default: {few})")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--points", type=int, default=80)
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS), metavar="PROBLEM")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS), metavar="PEER")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    add_plot(parser)


def lines(options: argparse.Namespace) -> Iterator[str]:
    """The report, problem by problem."""
    peers = [name for name in PEERS if name in options.peers and PEERS[name].installed]
    for name in options.peers:
        if not PEERS[name].installed:
            yield f"{PEERS[name].label} is left out: {PEERS[name].needs} is not installed."
    tasks = {problem: _tasks(problem, peers, options) for problem in options.problems}
    answers = shared_out(search, [task for part in tasks.values() for task in part], options.jobs, prepare, "searching")
    found = {}
    for problem, part in tasks.items():
        found[problem] = by_peer(list(itertools.islice(answers, len(part))))
        yield from _problem_lines(PROBLEMS[problem], found[problem], peers)
    if options.plot is not None:
        draw(found, options.plot)


def _tasks(problem: str, peers: Sequence[str], options: argparse.Namespace) -> list[Task]:
    """All searches of a problem, the slow ones first, so that no process runs alone at the end."""
    return [
        Task(name, problem, options.first_seed + i, options.points)
        for name in sorted(peers, key=lambda name: PEERS[name].seeds or math.inf)
        if PEERS[name].takes(PROBLEMS[problem])
        for i in range(_seeds(PEERS[name], options))
    ]


def _seeds(peer: Peer, options: argparse.Namespace) -> int:
    return min(options.seeds, (options.slow_seeds or peer.seeds) if peer.seeds else options.seeds)


def by_peer(runs: Sequence[Run]) -> dict[str, dict[int, Run]]:
    """The runs by peer and seed, BayesianAgent's first."""
    found: dict[str, dict[int, Run]] = {}
    for name in PEERS:
        mine = {run.task.seed: run for run in runs if run.task.peer == name}
        if mine:
            found[name] = mine
    return found


def _problem_lines(
    problem: type[AlignmentProblem], results: dict[str, dict[int, Run]], peers: Sequence[str]
) -> Iterator[str]:
    done = {name: runs for name, runs in results.items() if not any(run.refused for run in runs.values())}
    yield f"\n### {problem.name}: {problem.title}\n"
    if done:
        yield table(*rows(problem, done))
    yield ""
    for name in peers:
        refused = next((run.refused for run in results.get(name, {}).values() if run.refused), "")
        note = f"refused: {refused}" if refused else PEERS[name].notes.get(kind(problem), "")
        if note:
            yield f"* {PEERS[name].label}: {note}."
    if OURS in done and len(done) > 1:
        yield from (f"* {line}" for line in ratios(problem, done))


def rows(problem: type[AlignmentProblem], done: dict[str, dict[int, Run]]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of a problem."""
    points = len(next(iter(next(iter(done.values())).values())).regret)
    marks = [mark for mark in MARKS if mark <= points]
    word = "mean regret" if problem.drifts else "regret"
    head = ["", "seeds", *(f"{word} @{mark}" for mark in marks), *(f"points to {level}" for level in LEVELS)]
    head += ["second half"] * problem.drifts + ["violations"] * bool(problem.limits) + ["CPU ms a point"]
    body = []
    for name, by_seed in done.items():
        runs = list(by_seed.values())
        row = [PEERS[name].label, str(len(runs))]
        row += [f"{median([run.at(mark) for run in runs]):.4f}" for mark in marks]
        row += [count([run.reached(level) for run in runs]) for level in LEVELS.values()]
        if problem.drifts:
            row.append(f"{median([run.second_half() for run in runs]):.4f}")
        if problem.limits:
            row.append(f"{median([run.violations for run in runs]):.0f}")
        body.append([*row, f"{median([run.cpu_ms for run in runs]):.3g}"])
    return head, body


def ratios(problem: type[AlignmentProblem], done: dict[str, dict[int, Run]]) -> Iterator[str]:
    """BayesianAgent's figures over those of the best other method, with the seeds that both have."""
    points = len(next(iter(done[OURS].values())).regret)
    for mark in (mark for mark in MARKS if 20 <= mark <= points):
        yield f"regret @{mark}: " + _against_best(done, lambda run, mark=mark: max(run.at(mark), RESOLUTION))
    if problem.drifts:
        yield "second half: " + _against_best(done, lambda run: max(run.second_half(), RESOLUTION))
    yield "points to 99 %: " + _against_best(done, lambda run: run.reached(LEVELS["99 %"]))


def _against_best(done: dict[str, dict[int, Run]], figure: Callable[[Run], float]) -> str:
    compared = []
    for name, runs in done.items():
        common = sorted(set(runs) & set(done[OURS]))
        if name == OURS or not common:
            continue
        ours = median([figure(done[OURS][seed]) for seed in common])
        theirs = median([figure(runs[seed]) for seed in common])
        # Two infinite figures are equal, although their ratio is undefined.
        badness = 1.0 if ours == theirs else ours / theirs
        compared.append((badness, name, ratio(ours, theirs), len(common)))
    _, name, text, seeds = max(compared)
    if text == NEITHER:
        return "no peer reaches it, nor do we"
    return f"{text} against {PEERS[name].label}, the best peer ({seeds} seed{'s' * (seeds > 1)} in common)"


def draw(found: dict[str, dict[str, dict[int, Run]]], path: Path) -> None:
    """Median regret against points, one panel for each problem."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    panels = figure.subplots(2, math.ceil(len(found) / 2), squeeze=False).ravel()
    colours = dict(zip(PEERS, COLOURS, strict=False))
    handles = {}
    for axes, (problem, results) in zip(panels, found.items(), strict=False):
        for name, by_seed in reversed(results.items()):  # BayesianAgent on top
            runs = [run for run in by_seed.values() if not run.refused]
            if not runs:
                continue
            middle = np.median([run.regret for run in runs], axis=0)
            (handles[name],) = axes.plot(
                np.arange(1, len(middle) + 1),
                np.maximum(middle, RESOLUTION),
                color=colours[name],
                linewidth=2.5 if name == OURS else 1.2,
                linestyle="--" if PEERS[name].seeds else "-",
            )
        drifts = PROBLEMS[problem].drifts
        axes.set_title(PROBLEMS[problem].title, fontsize=10, loc="left")
        axes.set(xlabel="points", ylabel="mean regret" if drifts else "regret", yscale="linear" if drifts else "log")
        if drifts:
            axes.set_ylim(0.0, 1.0)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(found) :]:
        axes.axis("off")
    seeds = {name: max(len(r.get(name, {})) for r in found.values()) for name in handles}
    shown = [name for name in PEERS if name in handles]
    place = {"loc": "center"} if len(panels) > len(found) else {"loc": "outside lower center", "ncols": len(shown)}
    host = panels[-1] if len(panels) > len(found) else figure
    host.legend(
        [handles[name] for name in shown],
        [f"{PEERS[name].label} ({seeds[name]} seed{'s' * (seeds[name] > 1)})" for name in shown],
        frameon=False,
        **place,
    )
    figure.savefig(path, dpi=110)


REPORT = Report("searching", __doc__, arguments, lines, figure=True)
