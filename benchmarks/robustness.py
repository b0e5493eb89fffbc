"""Regret of the recommended point where a local or a trusting search fails: false hills, outliers, many motors, ...

The regret is the share of the range between start and optimum that the *recommended* point lacks, by the truth without
noise: BayesianAgent's ``best()``, for botorch's recipe the measured point with the best posterior mean, for the others
the best reading. A recommended point that breaks a limit or gives no valid reading counts as 1. Seeds draw the whole
landscape, the start and the noise (see `benchmarks.situations`). With batches, a mark counts the results known by then.

Ratios are formed over the seeds that both methods have, against the method that does best by that ratio. "Behind"
means by more than the seeds scatter: the interquartile ranges do not overlap. A ratio in parentheses is within them.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import OURS, PEERS, Contender
from benchmarks.reporting import Report, median, shared_out, table
from benchmarks.situations import KINDS, Situation
from ebl_autonomy.errors import AgentError, BadInputError
from ebl_autonomy.space import BestSoFar

MARKS = (20, 40, 80)
RESOLUTION = 1e-3
"""Smaller regrets count as this in comparisons, because no beamline can tell them apart."""
EQUAL = 1.05
"""Ratios up to this count as equal."""
CONTENDERS = [name for name in PEERS if name != "xopt"]
SLOW_SEEDS = 3


@dataclass(frozen=True)
class Task:
    """One search to run."""

    kind: str
    contender: str
    seed: int
    points: int = MARKS[-1]

    @cached_property
    def key(self) -> str:
        """Its name in a cache. It changes with the situation, so a stale run is never taken."""
        fingerprint = KINDS[self.kind].situation(self.seed).fingerprint
        return f"{self.kind}/{self.contender}/{self.seed}/{self.points}/{fingerprint}"


@dataclass(frozen=True)
class Outcome:
    """The result of a task.

    Attributes
    ----------
    regret : dict of int to float
        Of the point that was recommended when so many points were known, for each mark; infinite if refused.
    cpu_ms : float
        CPU milliseconds for each point, of the decisions, the simulated measurements and the recommendations.
    refused : str
        The reason if the method does not take the situation; else empty.
    """

    regret: dict[int, float]
    cpu_ms: float = math.nan
    refused: str = ""


def search(task: Task) -> tuple[Task, Outcome]:
    """Let a method search, in batches or with several measurements at a time if the situation says so."""
    situation = KINDS[task.kind].situation(task.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other packages warn about their own internals
        try:
            contender = PEERS[task.contender].make(situation, task.seed)
        except BadInputError as error:
            return task, Outcome({mark: math.inf for mark in MARKS if mark <= task.points}, refused=str(error))
        regret: dict[int, float] = {}
        results: list[dict[str, Any]] = []
        began = time.process_time()
        for arrived in measured(situation, contender, task):
            known = len(results) + len(arrived)
            if any(len(results) < mark < known for mark in MARKS):  # a mark within a batch
                before = situation.regret(recommended(situation, contender, results))
                regret |= {mark: before for mark in MARKS if len(results) < mark < known}
            contender.ingest(arrived)
            results.extend(arrived)
            if known in MARKS:
                regret[known] = situation.regret(recommended(situation, contender, results))
        cpu = time.process_time() - began
    return task, Outcome(regret, 1e3 * cpu / task.points)


def measured(situation: Situation, contender: Contender, task: Task) -> Iterator[list[dict[str, Any]]]:
    """Ask for points and measure them; yield the results to ingest, `task.points` in all.

    The generator continues after the results have been ingested. Measurements that are under way at the same time take
    between half and twice the usual time each, and each result is told as soon as it is known.
    """
    rng = np.random.default_rng([task.seed, 47])
    under_way: list[tuple[float, Mapping[str, Any]]] = []
    asked, now = 0, 0.0
    while asked < task.points or under_way:
        free = situation.batch if situation.workers == 1 else situation.workers - len(under_way)
        if count := min(free, task.points - asked):
            points = contender.suggest(count)
            asked += len(points)
            under_way += [(now + float(rng.uniform(0.5, 2.0)), point) for point in points]
        ending = len(under_way)
        if situation.workers > 1:
            under_way.sort(key=lambda item: item[0])
            now, ending = under_way[0][0], 1
        yield [situation.measure(point, rng) for _, point in under_way[:ending]]
        del under_way[:ending]


def recommended(situation: Situation, contender: Any, results: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The point that a method recommends, or the best allowed reading if it recommends none; None before any."""
    if hasattr(contender, "best"):
        try:
            best: Mapping[str, Any] = contender.best().point
        except AgentError:
            return None
        return best
    if hasattr(contender, "recommended") and (point := contender.recommended()) is not None:
        chosen: Mapping[str, Any] = point
        return chosen
    best_so_far, first = BestSoFar(situation.space), None
    for result in results:
        if best_so_far.take(result):
            first = result
    return first


def prepare() -> None:
    """Load and compile everything, so that no search waits for it."""
    for kind in ("narrow_4", "small_feasible_4", "batches_6"):
        search(Task(kind, OURS, 0, 20))


def arguments(parser: argparse.ArgumentParser) -> None:
    families = list(dict.fromkeys(kind.family for kind in KINDS.values()))
    parser.add_argument("--kinds", nargs="+", choices=[*families, *KINDS], default=families, metavar="KIND")
    parser.add_argument("--contenders", nargs="+", choices=list(PEERS), default=CONTENDERS, metavar="NAME")
    parser.add_argument("--seeds", type=int, default=10, help="seeds of each fast method (default 10)")
    parser.add_argument(
        "--slow-seeds", type=int, default=SLOW_SEEDS, help=f"seeds of each slow method (default {SLOW_SEEDS})"
    )
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--points", type=int, choices=MARKS, default=MARKS[-1])
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument(
        "--cache", type=Path, help="a JSON file with the runs of other methods, which are not run again"
    )
    parser.add_argument("--every", action="store_true", help="a second table, with the medians of every method")


def lines(options: argparse.Namespace) -> Iterator[str]:
    """The report: one table of all kinds."""
    kinds = [name for name, kind in KINDS.items() if name in options.kinds or kind.family in options.kinds]
    contenders = [name for name in PEERS if name in options.contenders and PEERS[name].installed]
    for name in options.contenders:
        if not PEERS[name].installed:
            yield f"{PEERS[name].label} is left out: {PEERS[name].needs} is not installed."
    tasks = [task for kind in kinds for task in _tasks(kind, contenders, options)]
    found = run(tasks, options.jobs, options.cache)
    yield table(*rows(kinds, found, options.points))
    yield ""
    yield from (f"* {line}" for line in summary(kinds, found, options.points))
    if options.every:
        yield ""
        yield table(*medians(kinds, found, options.points))


def _tasks(kind: str, contenders: Sequence[str], options: argparse.Namespace) -> list[Task]:
    return [
        Task(kind, name, options.first_seed + i, options.points)
        for name in contenders
        if takes(name, kind)
        for i in range(min(options.seeds, options.slow_seeds) if PEERS[name].seeds else options.seeds)
    ]


def takes(contender: str, kind: str) -> bool:
    """Whether a method can solve such a situation: one that needs each result takes no batches."""
    situation = KINDS[kind].situation(0)
    return not PEERS[contender].sequential or (situation.batch == 1 and situation.workers == 1)


def run(tasks: Sequence[Task], jobs: int, cache: Path | None = None) -> dict[str, dict[str, dict[int, Outcome]]]:
    """The outcomes by kind, contender and seed.

    With a cache, the runs of other methods that it holds are taken from it, and new ones are added as soon as they end,
    to what other processes have added. Our own are always run, because our code is what changes.
    """
    kept = _read(cache) if cache is not None else {}
    missing = [task for task in tasks if task.contender == OURS or task.key not in kept]
    fresh: dict[str, Outcome] = {}
    work = map(search, missing) if jobs == 1 else shared_out(search, missing, jobs, prepare, "robustness")
    for task, outcome in work:
        fresh[task.key] = outcome
        if cache is not None and task.contender != OURS:
            kept = _read(cache) | {task.key: outcome}
            _write(cache, kept)
    found: dict[str, dict[str, dict[int, Outcome]]] = {}
    for task in tasks:
        outcome = fresh[task.key] if task.key in fresh else kept[task.key]
        found.setdefault(task.kind, {}).setdefault(task.contender, {})[task.seed] = outcome
    return found


def _read(cache: Path) -> dict[str, Outcome]:
    if not cache.exists():
        return {}
    return {
        key: Outcome({int(mark): value for mark, value in kept["regret"].items()}, kept["cpu_ms"], kept["refused"])
        for key, kept in json.loads(cache.read_text()).items()
    }


def _write(cache: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Replace the file at once, so that an interrupted run leaves a whole one."""
    part = cache.with_suffix(".part")
    part.write_text(json.dumps({key: asdict(outcome) for key, outcome in outcomes.items()}))
    part.replace(cache)


@dataclass(frozen=True)
class Comparison:
    """Our regrets with the best other method's, at one mark, over the seeds that both have.

    Attributes
    ----------
    peer : str
    ratio : float
        Our median over theirs.
    behind : bool
        Whether ours is worse by more than the seeds scatter.
    worst_ratio : float
        Our worst seed over the worst seed of the method whose worst is best.
    """

    peer: str
    ratio: float
    behind: bool
    worst_ratio: float


def regrets(runs: Mapping[int, Outcome], mark: int, seeds: Sequence[int] | None = None) -> list[float]:
    """The regrets at a mark, none below `RESOLUTION`."""
    return [max(runs[seed].regret[mark], RESOLUTION) for seed in (seeds if seeds is not None else sorted(runs))]


def compared(found: Mapping[str, Mapping[int, Outcome]], mark: int) -> Comparison | None:
    """Compare the methods on one kind; None without ours or without others."""
    if OURS not in found or len(found) == 1:
        return None
    judged = []
    worst_ratios = []
    for name, runs in found.items():
        common = sorted(set(runs) & set(found[OURS]))
        if name == OURS or not common:
            continue
        ours, theirs = (regrets(found[who], mark, common) for who in (OURS, name))
        ratio = _over(median(ours), median(theirs))
        behind = ratio > EQUAL and _quartile(ours, 0.25) > _quartile(theirs, 0.75)
        judged.append((ratio, name, behind))
        worst_ratios.append(_over(max(ours), max(theirs)))
    # Of equal ratios, the one that is certain.
    best, peer, behind = max(judged, key=lambda item: (item[0], item[2]))
    return Comparison(peer, best, behind, max(worst_ratios))


def _over(ours: float, theirs: float) -> float:
    return 1.0 if ours == theirs else ours / theirs


def _quartile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share, method="inverted_cdf"))  # interpolates nothing, so values may be infinite


def rows(
    kinds: Sequence[str], found: Mapping[str, Mapping[str, Mapping[int, Outcome]]], points: int
) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table: one row for each kind and mark."""
    head = ["situation", "points", "ours", "worst", "best other", "median", "worst", "behind by", "worst seed"]
    body = []
    for kind in kinds:
        for i, mark in enumerate(mark for mark in MARKS if mark <= points):
            title = f"{kind}: {KINDS[kind].title}" if i == 0 else ""
            row = [title, str(mark), *_middle_and_worst(found[kind].get(OURS), mark)]
            comparison = compared(found[kind], mark)
            if comparison is None:
                body.append([*row, "", "", "", "", ""])
                continue
            peer = comparison.peer
            row += [PEERS[peer].label, *_middle_and_worst(found[kind][peer], mark)]
            behind = f"{comparison.ratio:.2g} x" if comparison.ratio > EQUAL else ""
            worst = f"{comparison.worst_ratio:.2g} x" if comparison.worst_ratio > EQUAL else ""
            body.append([*row, behind if comparison.behind or not behind else f"({behind})", worst])
    return head, body


def _middle_and_worst(runs: Mapping[int, Outcome] | None, mark: int) -> list[str]:
    if not runs:
        return ["", ""]
    values = [outcome.regret[mark] for outcome in runs.values()]
    if any(outcome.refused for outcome in runs.values()):
        return ["refused", "refused"]
    return [f"{median(values):.4f}", f"{max(values):.4f}"]


def summary(
    kinds: Sequence[str], found: Mapping[str, Mapping[str, Mapping[int, Outcome]]], points: int
) -> Iterator[str]:
    """For each mark, where ours is behind by more than the seeds scatter; then its CPU time."""
    for mark in (mark for mark in MARKS if mark <= points):
        comparisons = {kind: compared(found[kind], mark) for kind in kinds}
        behind = [kind for kind, comparison in comparisons.items() if comparison and comparison.behind]
        worst = [kind for kind, c in comparisons.items() if c and c.worst_ratio > EQUAL]
        yield f"@{mark}: behind in {len(behind)} of {len(kinds)}{': ' * bool(behind)}{', '.join(behind)}"
        yield f"@{mark}: a worse worst seed in {len(worst)} of {len(kinds)}{': ' * bool(worst)}{', '.join(worst)}"
    cpu = [outcome.cpu_ms for kind in kinds for outcome in found[kind].get(OURS, {}).values() if not outcome.refused]
    if cpu:
        yield f"CPU ms a point of {PEERS[OURS].label}: {np.median(cpu):.2g} in the median run, {max(cpu):.2g} at most"


def medians(
    kinds: Sequence[str], found: Mapping[str, Mapping[str, Mapping[int, Outcome]]], points: int
) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table of the medians of every method at each mark."""
    marks = [mark for mark in MARKS if mark <= points]
    names = [name for name in PEERS if any(name in found[kind] for kind in kinds)]
    head = ["medians @" + ", ".join(map(str, marks)), *(PEERS[name].label for name in names)]
    body = []
    for kind in kinds:
        cells = []
        for name in names:
            runs = found[kind].get(name)
            middles = [median([outcome.regret[mark] for outcome in runs.values()]) for mark in marks] if runs else []
            cells.append(" ".join(f"{middle:.3f}" for middle in middles))
        body.append([kind, *cells])
    return head, body


REPORT = Report("robustness", __doc__, arguments, lines)
