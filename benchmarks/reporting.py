"""What all reports share: how one is registered, tables, figures' looks, progress, and workers to share the runs."""

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
"""Okabe and Ito's, which all eyes tell apart; the first is ours."""

NEITHER = "neither reaches it"


@dataclass(frozen=True)
class Report:
    """One sub-command.

    Attributes
    ----------
    name : str
    doc : str
        Its help; the first line stands in the list of sub-commands.
    arguments : callable
        ``arguments(parser)`` adds its options, the defaults of which make a run of `make bench`.
    run : callable
        ``run(options) -> Iterator[str]``: what it has to say, in Markdown, as soon as it can be said.
    figure : bool
        Whether it has an option ``--plot``.
    """

    name: str
    doc: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Iterator[str]]
    figure: bool = False


def add_plot(parser: argparse.ArgumentParser) -> None:
    """The option of reports that have a figure."""
    parser.add_argument("--plot", type=Path, help="where to draw it (.png)")


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table that can be read without rendering: the first column to the left, numbers to the right."""
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
    """A page with `text` between its marks ``<!-- name -->`` and the next ``<!-- end -->``."""
    marks = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    return marks.sub(lambda found: f"{found[1]}\n{text.strip()}\n\n{found[2]}", page)


def median(values: Sequence[float]) -> float:
    """The middle value; infinite ones (never reached) count as such, instead of making it undefined."""
    ordered = sorted(values)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return high if math.isinf(high) else 0.5 * (low + high)


def count(values: Sequence[float]) -> str:
    """The median of how many it took, and how many of the seeds got there at all."""
    middle = median(values)
    reached = sum(map(math.isfinite, values))
    return f"{f'{middle:.0f}' if math.isfinite(middle) else 'never'} ({reached}/{len(values)})"


def ratio(ours: float, theirs: float) -> str:
    """Ours over theirs, both of which may be infinite: never reached."""
    if math.isinf(ours):
        return NEITHER if math.isinf(theirs) else "only they reach it"
    return "only we reach it" if math.isinf(theirs) else f"{ours / theirs:.2f} x"


def shared_out(
    work: Callable[[Task], Answer], tasks: Sequence[Task], jobs: int, prepare: Callable[[], None], label: str
) -> Iterator[Answer]:
    """``work(task)`` of each task, in order, as soon as it is done; `jobs` fresh processes first `prepare`."""
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
    """A line on stderr: how many of how many are done, and for how long it has been going.

    Parameters
    ----------
    label : str
    total : int
    """

    EVERY_S = 30.0
    """Seconds between lines where there is no terminal to rewrite one."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done = label, total, 0
        self._began = time.monotonic()
        self._said = -math.inf
        self._terminal = sys.stderr.isatty()
        self._say()

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        self._say()

    def _say(self) -> None:
        now = time.monotonic()
        if not self._terminal and now - self._said < self.EVERY_S and self.done < self.total:
            return
        self._said = now
        text = f"{self.label}: {self.done} of {self.total}, {(now - self._began) / 60:.1f} min"
        if self._terminal:
            print(f"\r{text}", end="\n" if self.done == self.total else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


def quantiles(values: Sequence[float]) -> tuple[float, float, float, float]:
    """Median, mean, 99th percentile, largest."""
    return float(np.median(values)), float(np.mean(values)), float(np.percentile(values, 99)), float(np.max(values))
