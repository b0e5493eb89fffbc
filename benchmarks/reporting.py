"""What all reports share: their registration, tables, colours, progress, and worker processes."""

from __future__ import annotations

import argparse
import math
import multiprocessing
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

Task = TypeVar("Task")
Answer = TypeVar("Answer")

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "0.5")
"""The palette of Okabe and Ito, which colour-blind readers can tell apart. The first is for this package."""

NEITHER = "neither reaches it"


@dataclass(frozen=True)
class Report:
    """One report, which is a sub-command of ``python -m benchmarks``.

    Attributes
    ----------
    name : str
    doc : str
        Its help. The first line appears in the list of sub-commands.
    arguments : callable
        ``arguments(parser)`` adds its options. Their defaults are those of `make bench`.
    run : callable
        ``run(options) -> Iterator[str]`` yields the report in Markdown, each part as soon as it is measured.
    figure : bool
        Whether it has the option ``--plot``.
    """

    name: str
    doc: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Iterator[str]]
    figure: bool = False


def add_plot(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--plot`` of reports that have a figure."""
    parser.add_argument("--plot", type=Path, help="where to draw it (.png)")


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table that can be read unrendered: the first column aligned to the left, the others to the right."""
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    cells.insert(1, rule)
    lines = (
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in cells
    )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def filled(page: str, name: str, text: str) -> str:
    """The page with `text` between the marks ``<!-- name -->`` and ``<!-- end -->``."""
    marks = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    return marks.sub(lambda found: f"{found[1]}\n{text.strip()}\n\n{found[2]}", page)


def median(values: Sequence[float]) -> float:
    """The median, of values that may be infinite (never reached)."""
    ordered = sorted(values)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return high if math.isinf(high) else 0.5 * (low + high)


def count(values: Sequence[float]) -> str:
    """The median of the values as text, and how many of them are finite."""
    middle = median(values)
    reached = sum(map(math.isfinite, values))
    return f"{f'{middle:.0f}' if math.isfinite(middle) else 'never'} ({reached}/{len(values)})"


def ratio(ours: float, theirs: float) -> str:
    """``ours / theirs`` as text. Either may be infinite (never reached)."""
    if math.isinf(ours):
        return NEITHER if math.isinf(theirs) else "only they reach it"
    return "only we reach it" if math.isinf(theirs) else f"{ours / theirs:.2f} x"


def shared_out(
    work: Callable[[Task], Answer], tasks: Sequence[Task], jobs: int, prepare: Callable[[], None], label: str
) -> Iterator[Answer]:
    """Yield ``work(task)`` for each task, in order. The work is done by `jobs` new processes, which first `prepare`."""
    progress = Progress(label, len(tasks))
    context = multiprocessing.get_context("spawn")  # torch and numba do not survive a fork
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=prepare) as pool:
        futures = [pool.submit(work, task) for task in tasks]
        for future in futures:
            future.add_done_callback(lambda _: progress.step())
        try:
            yield from (future.result() for future in futures)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class Progress:
    """A line on stderr that says how many tasks are done, and the time since the start.

    Parameters
    ----------
    label : str
    total : int
    """

    EVERY_S = 30.0
    """Seconds between lines if stderr is no terminal, where a line cannot be rewritten."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done = label, total, 0
        self._began = time.monotonic()
        self._printed = -math.inf
        self._terminal = sys.stderr.isatty()
        self._print()

    def step(self) -> None:
        """Count one more task as done."""
        self.done += 1
        self._print()

    def _print(self) -> None:
        now = time.monotonic()
        if not self._terminal and now - self._printed < self.EVERY_S and self.done < self.total:
            return
        self._printed = now
        text = f"{self.label}: {self.done} of {self.total}, {(now - self._began) / 60:.1f} min"
        if self._terminal:
            print(f"\r{text}", end="\n" if self.done == self.total else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


def quantiles(values: Sequence[float]) -> tuple[float, float, float, float]:
    """Median, mean, 99th percentile and maximum."""
    return float(np.median(values)), float(np.mean(values)), float(np.percentile(values, 99)), float(np.max(values))
