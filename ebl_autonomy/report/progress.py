"""How a run is getting on, in one line: a bluesky callback for IPython, scripts and the command line."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ebl_autonomy.records import PRIMARY, RECOMMENDED, SUSPECTS, to_float
from ebl_autonomy.report.sofar import RunSoFar, is_ours
from ebl_autonomy.report.statusline import StatusLine
from ebl_autonomy.report.wording import duration

__all__ = ["ProgressBar"]

logger = logging.getLogger(__name__)

REDRAW_S: Final = 0.1
"""Least time between two drawings of moves, wall seconds."""


class ProgressBar:
    """Points measured, the best reading so far, invalid points and the time left; then what the agent recommends.

    Of a run without an objective, the share of the map's pixels that were measured, and the time so far.

    Subscribe it to a RunEngine, or to any other source of documents, such as a `RemoteDispatcher`. It needs no display.
    On a terminal it is one line, which disappears at the end of the run and while the run is paused. Elsewhere, such as
    in the log of a queueserver, it is one line at the end.

    Parameters
    ----------
    console : rich Console, optional
        Where to draw; standard error by default, so that output stays clean.

    Attributes
    ----------
    best_reading : float
        Of the (first) objective in the latest run, without those that the agent suspects; NaN if there is none.
    """

    def __init__(self, console: Console | None = None) -> None:
        # In a notebook rich would make a new output of each line.
        self._console = console or Console(stderr=True, force_jupyter=False)
        self._columns = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            auto_refresh=False,
            console=self._console,
        )
        self._line = StatusLine()
        self._task: Any = None
        self._found = ""
        self._moves: dict[str, str] = {}
        self._waits = 0
        self._drawn = -math.inf
        self._run: RunSoFar | None = None

    @property
    def best_reading(self) -> float:
        rows = None if self._run is None else self._run.rows
        return math.nan if rows is None or rows.best_row is None else rows.values[rows.best_row]

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        try:
            self._take(name, doc)
        except Exception:  # a callback that raises ends the run
            logger.exception("the progress bar failed, and is not drawn any more in this run")
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.hide()

    def show_moves(self, statuses: Iterable[Any] | None) -> None:
        """Show in the same line what the RunEngine waits for: ``RE.waiting_hook = bar.show_moves``.

        Parameters
        ----------
        statuses : iterable of Status, optional
            Those that the RunEngine waits for; None when it does not wait any more.
        """
        self._waits += 1
        self._moves = {}
        for status in statuses or ():
            if hasattr(status, "watch") and not status.done:
                status.watch(partial(self._moved, self._waits))
        if statuses is None and self._task is not None:
            self._draw()

    def _moved(
        self,
        wait: int,
        *,
        name: str | None = None,
        current: Any = None,
        initial: Any = None,
        target: Any = None,
        **_: Any,
    ) -> None:
        """Take how far a device is, from any thread."""
        if wait != self._waits or self._task is None:
            return  # the RunEngine does not wait for it any more, for example because it is paused
        way, done = to_float(target) - to_float(initial), to_float(current) - to_float(initial)
        share = f" {100.0 * min(max(done / way, 0.0), 1.0):.0f} %" if way and math.isfinite(done / way) else ""
        self._moves[str(name)] = f"{name}{share}"
        if time.monotonic() - self._drawn > REDRAW_S:
            self._draw()

    def _take(self, name: str, doc: dict[str, Any]) -> None:
        if name == "start" and is_ours(doc):
            self._end()
            self._run = RunSoFar(doc)
            metadata = self._run.metadata
            self._task = self._columns.add_task(str(metadata.agent["agent"]), total=metadata.max_points)
            self._found = ""
            self._draw()
        elif self._run is not None and self._task is not None:
            told = self._run.take(name, doc)
            if told in (PRIMARY, RECOMMENDED, SUSPECTS):
                self._columns.update(self._task, completed=len(self._run.rows))
                self._found = _found(self._run)
                self._draw()
            elif told == "stop":
                if not self._console.is_terminal:
                    self._console.print(self._text())
                self._end()

    def _end(self) -> None:
        self._line.hide()
        if self._task is not None:
            self._columns.remove_task(self._task)
            self._task = None

    def _draw(self) -> None:
        console = self._console
        if not console.is_terminal or console.quiet:
            return
        text = self._text()
        self._drawn = time.monotonic()
        text.truncate(console.width - 1, overflow="ellipsis")
        with console.capture() as captured:
            console.print(text, end="", no_wrap=True)
        self._line.show(captured.get(), text.cell_len, cast(TextIO, console.file))

    def _text(self) -> Text:
        with self._console.capture() as captured:
            self._console.print(self._columns.make_tasks_table(self._columns.tasks))
        text = Text.from_ansi(captured.get().partition("\n")[0])
        text.rstrip()
        moves = ", ".join([*self._moves.values()])
        return text.append(f" {self._found}" + (f" (waits for {moves})" if moves else ""))


def _found(run: RunSoFar) -> str:
    if run.recommended:
        return run.recommended
    if not run.space.objectives:  # there is no best point, and how far it is counts
        elapsed = f"{duration(run.seconds)} so far" if math.isfinite(run.seconds) else ""
        invalid = f"{run.rows.invalid} invalid" if run.rows.invalid else ""
        return ", ".join(filter(None, [run.covered_in_words(), invalid, elapsed]))
    invalid = f"{run.rows.invalid} invalid" if run.rows.invalid else ""
    where = f"at {run.best_point_in_words()}" if run.rows.best_row is not None else ""
    return ", ".join(filter(None, [run.best_in_words(), invalid])) + f" {where}".rstrip()
