"""CPU time of a decision with n points known: suggest + ingest, refits included, against botorch on the same points.

Both start from the same n points, then measure what they propose and go on from there, with one thread each. botorch's
recipe fits its hyper-parameters before every point. BayesianAgent fits them when the number of points has grown by a
fifth, or when measurements contradict the model. Therefore at least 60 steps are measured, and more than a fifth of n,
so that refits are among them. The first decision of BayesianAgent is left out, because it takes in all n points at
once, which does not happen in a run. The ratio is that of the means, which include all refits. A long refit runs during
the measurement that follows, so the time that a plan waits is reported too: wall-clock time, with an exposure between
decisions.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recipe import BotorchRecipe
from benchmarks.reporting import COLOURS, Progress, Report, add_plot, quantiles, table
from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.space import VOCS

DIM = 6
NAMES = [f"x{i}" for i in range(DIM)]
STEPS = 60
GROWTH = 0.22
"""The least number of steps, as a share of the known points, so that a refit is among them."""
EXPOSURE_S = 0.2
WAITED_UP_TO = 1000
"""The largest number of known points for which the plan's wait is measured."""
SIZES = {10: 5, 50: 5, 100: 5, 200: 5, 500: 3, 1000: 2, 2000: 0, 3000: 0}
"""Numbers of known points, and how many steps botorch's recipe makes with each."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", nargs="+", type=int, choices=list(SIZES), default=list(SIZES), metavar="N")
    add_plot(parser)


def lines(options: argparse.Namespace) -> Iterator[str]:
    """The report: a table by number of known points."""
    rows, drawn = [], []
    progress = Progress("deciding", len(options.sizes))
    cost(BayesianAgent(vocs(), seed=0), 20, 5)  # load and compile
    theirs_of(10, 1)
    for n in options.sizes:
        steps = max(STEPS, int(np.ceil(GROWTH * n)))
        ours = cost(BayesianAgent(vocs(), seed=0), n, steps)
        waited = waits(BayesianAgent(vocs(), seed=0), n, steps) if n <= WAITED_UP_TO else []
        theirs = float(np.mean(theirs_of(n, SIZES[n]))) if SIZES[n] else None
        middle, mean, p99, longest = quantiles(ours)
        row = [n, len(ours), *(f"{value:.1f} ms" for value in (middle, mean, p99, longest))]
        row += [f"{theirs:.0f} ms ({SIZES[n]})", f"{theirs / mean:.0f} x"] if theirs else ["", ""]
        row += [f"{value:.1f} ms" for value in (np.median(waited), max(waited))] if waited else ["", ""]
        rows.append(row)
        drawn.append((n, middle, longest, theirs))
        progress.step()
    yield f"{DIM} variables, one thread. The plan's wait is wall-clock time, with exposures of {EXPOSURE_S} s.\n"
    head = ["points", "steps", "median", "mean", "99th percentile", "longest", "botorch, mean (steps)", "ratio"]
    yield table([*head, "a plan waits, median", "longest"], rows)
    if options.plot is not None:
        draw(drawn, options.plot)


def theirs_of(n: int, steps: int) -> list[float]:
    """CPU milliseconds of each step of botorch's recipe."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cost(BotorchRecipe(vocs(), seed=0), n, steps, skipped=0)


def cost(generator: Any, n: int, steps: int, skipped: int = 1) -> list[float]:
    """CPU milliseconds of each of `steps` decisions with n points known, after `skipped` ones that do not count."""
    return _timed(generator, n, steps, skipped, time.process_time, 0.0)


def waits(generator: Any, n: int, steps: int) -> list[float]:
    """Wall-clock milliseconds that a plan waits for each decision, with an exposure in between."""
    return _timed(generator, n, steps, 1, time.perf_counter, EXPOSURE_S)


def _timed(
    generator: Any, n: int, steps: int, skipped: int, clock: Callable[[], float], exposure_s: float
) -> list[float]:
    rng = np.random.default_rng(0)
    known = [dict(zip(NAMES, map(float, row), strict=True)) for row in rng.random((n, DIM))]
    generator.ingest([measured(point, rng) for point in known])
    times = []
    for _ in range(skipped + steps):
        began = clock()
        (point,) = generator.suggest(1)
        asked = clock()
        result = measured(point, rng)
        time.sleep(exposure_s)
        resumed = clock()
        generator.ingest([result])
        times.append(1e3 * (asked - began + clock() - resumed))
    return times[skipped:]


def vocs() -> VOCS:
    return VOCS(variables={name: [0.0, 1.0] for name in NAMES}, objectives={"f": "MINIMIZE"})


def measured(point: Mapping[str, float], rng: np.random.Generator) -> dict[str, float]:
    """A quadratic function with a ripple, and noise."""
    x = np.array([point[name] for name in NAMES])
    ripple = 0.3 * np.sin(5.0 * x[0] * x[1])
    return {**point, "f": float(np.sum((x - 0.4) ** 2) + ripple + 0.01 * rng.normal())}


def draw(rows: list[tuple[int, float, float, float | None]], path: Path) -> None:
    """Draw CPU time against points."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    n = [row[0] for row in rows]
    axes.plot(n, [row[1] for row in rows], "o-", color=COLOURS[0], label="BayesianAgent, median")
    axes.plot(n, [row[2] for row in rows], "o:", color=COLOURS[0], label="BayesianAgent, longest: with a refit")
    axes.plot(
        [row[0] for row in rows if row[3]],
        [row[3] for row in rows if row[3]],
        "s-",
        color=COLOURS[1],
        label="botorch's recipe: SingleTaskGP + qLogNoisyEI",
    )
    axes.axhline(10.0, color="0.6", linewidth=1)
    axes.text(n[0], 11.0, "10 ms", color="0.4")
    axes.set(xscale="log", yscale="log", xlabel="points known", ylabel="CPU time of suggest + ingest (ms)")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


REPORT = Report("deciding", __doc__, arguments, lines, figure=True)
