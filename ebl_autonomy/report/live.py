"""A figure of a run while it is measured: a bluesky callback for IPython, and for any other source of documents."""

from __future__ import annotations

import logging
import math
import textwrap
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import matplotlib as mpl
from bluesky.callbacks.mpl_plotting import QtAwareCallback
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ebl_autonomy.analysis.slices import Slice, slice_through
from ebl_autonomy.records import DECISIONS, RECOMMENDED
from ebl_autonomy.report.drawing import RED, spans_decades
from ebl_autonomy.report.map_panels import MapOrSpectrum, draw_mapped
from ebl_autonomy.report.panels import LEGEND, draw_front, draw_line, draw_map, draw_objective, grid_of
from ebl_autonomy.report.sofar import ResultsInOrder, RunSoFar, is_ours
from ebl_autonomy.report.wording import with_unit

__all__ = ["LiveView"]

logger = logging.getLogger(__name__)

FIGURE_SIZE: Final = (10.0, 6.4)
MOST_SLICES: Final = 12
SHARE: Final = 0.1
"""Largest share of the time that is spent on drawing, and on slices of the model."""


@dataclass(frozen=True)
class Frame:
    """What one drawing shows.

    Attributes
    ----------
    run : RunSoFar
        For what does not change during the run: variables, outcomes, units.
    rows : ResultsInOrder
    slices : tuple of Slice
        One for each motor, or one over two motors; empty without a model.
    known : MapOrSpectrum
        Of a run without an objective.
    title : str
        The best so far in words, or how much of a map was measured.
    alarm : bool
        Whether no point holds the constraints yet.
    """

    run: RunSoFar
    rows: ResultsInOrder
    slices: tuple[Slice, ...]
    known: MapOrSpectrum
    title: str
    alarm: bool


class LiveView:
    """The best so far, the objective against points, the model along each motor, and the front of two objectives.

    Of a run without an objective: the map of each channel over two motors, or the spectrum along one.

    Subscribe it to a RunEngine, or to any other source of documents, such as a `RemoteDispatcher`. Documents alone give
    everything except the model: for that, pass the agent that the plan uses. Drawing happens beside the run, at most
    every `every_s` seconds and for a tenth of the time, and no error of it reaches the run.

    Parameters
    ----------
    agent : Agent, optional
        Its model is asked just after each decision is recorded, when the plan does not use it.
    figure : matplotlib Figure, optional
        Where to draw; a new window, or a new output of the notebook's cell, by default.
    every_s : float
        Least wall seconds between two drawings.

    Attributes
    ----------
    figure : matplotlib Figure
    """

    def __init__(self, agent: Any = None, *, figure: Figure | None = None, every_s: float = 0.5) -> None:
        self._agent = agent
        self._every_s = every_s
        self._screen = _Screen(figure)
        self.figure = self._screen.figure
        self._lock = threading.Lock()
        self._run: RunSoFar | None = None
        self._slices: tuple[Slice, ...] = ()
        self._known = MapOrSpectrum()
        self._model_due = 0.0
        self._news = threading.Event()
        self._ended = threading.Event()
        self._drawer: threading.Thread | None = None

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        try:
            self._take(name, doc)
        except Exception:  # a callback that raises ends the run
            logger.exception("the live view failed, and does not follow this run any more")
            self._finish()
            self._run = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()
        self.wait()

    def wait(self, timeout_s: float = 10.0) -> None:
        """Wait until the end of the latest run has been drawn."""
        if self._drawer is not None:
            self._drawer.join(timeout_s)

    def save(self, path: Path | str) -> None:
        """Write the figure to a file, whose suffix gives the format; after a run, with the run's end."""
        if self._ended.is_set():
            self.wait()
        with self._screen.lock:
            self.figure.savefig(path)

    # -- in the RunEngine's thread -----------------------------------------------------------------------------

    def _take(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "start":
            if is_ours(doc):
                self._begin(RunSoFar(doc))
            return
        run = self._run
        if run is None:
            return
        with self._lock:
            told = run.take(name, doc)
        at_end = told == ("stop" if run.mapped is not None else RECOMMENDED)
        if (told == DECISIONS and run.model_decided) or at_end:
            try:
                self._look_at_model(run, at_end)
            except Exception:  # of somebody's agent
                logger.exception("the agent's model cannot be shown, and is not asked any more in this run")
                self._slices, self._known, self._model_due = (), MapOrSpectrum(), math.inf
        if told == "stop":
            self._finish()
            self._run = None
        elif told:
            self._news.set()

    def _begin(self, run: RunSoFar) -> None:
        self._finish()
        self._run, self._slices, self._known, self._model_due = run, (), MapOrSpectrum(), 0.0
        self._news, self._ended = threading.Event(), threading.Event()
        self._drawer = threading.Thread(
            target=self._draw_until_the_end, args=(run, self._news, self._ended), name="ebl-autonomy-live", daemon=True
        )
        self._drawer.start()

    def _finish(self) -> None:
        self._ended.set()
        self._news.set()

    def _look_at_model(self, run: RunSoFar, at_end: bool) -> None:
        """Ask the agent for slices of its model, or for its maps or spectra.

        A decision that the model made, a recommendation, or the end of the run has just been recorded: so no other
        thread uses the agent, and its model is up to date with the results.
        """
        agent, began = self._agent, time.monotonic()
        if agent is None or len(run.rows) == run.rows.invalid:
            return
        if began < self._model_due and (not at_end or math.isinf(self._model_due)):
            return
        if list(agent.space.names) != run.space.names:
            return  # of another run
        if run.mapped is not None:
            self._known = MapOrSpectrum.of_agent(agent, run.mapped)
        elif run.space.objectives and any(map(math.isfinite, run.rows.values)):
            point = {**run.rows.results[-1], **agent.best().point}
            names = run.space.names
            wanted = [names] if len(names) == 2 else [[name] for name in names[:MOST_SLICES]]
            slices = [slice_through(agent.predict, agent.space, point, each) for each in wanted]
            self._slices = tuple(one for one in slices if one is not None and run.space.objectives[0] in one.mean)
        seconds = time.monotonic() - began
        self._model_due = began + max(self._every_s, seconds / SHARE)

    # -- beside it ---------------------------------------------------------------------------------------------

    def _draw_until_the_end(self, run: RunSoFar, news: threading.Event, ended: threading.Event) -> None:
        last = False
        while not last:
            news.wait()
            news.clear()
            last = ended.is_set()
            with self._lock:
                frame = _frame(run, self._slices, self._known)
            began = time.monotonic()
            try:
                self._screen.show(frame)
            except Exception:  # whatever a graphical back-end raises; the run goes on
                logger.exception("the live view cannot be drawn, and is not drawn any more in this run")
                return
            if not last:
                ended.wait(max(self._every_s, (time.monotonic() - began) / SHARE))


def _frame(run: RunSoFar, slices: tuple[Slice, ...], known: MapOrSpectrum) -> Frame:
    rows, metadata = run.rows.copy(), run.metadata
    invalid = f", {rows.invalid} invalid" if rows.invalid else ""
    title = [f"{metadata.agent['agent']}: {len(rows)} of {metadata.max_points} points{invalid}"]
    if best := run.best_in_words():
        where = f" at {run.best_point_in_words()}" if rows.best_row is not None else ""
        title += textwrap.wrap(f"{best}{where}", 130)
    if run.recommended:
        title.append(run.recommended)
    if run.mapped is not None:
        told = ", ".join(filter(None, [run.covered_in_words(), known.in_words(run.mapped)]))
        title += textwrap.wrap(told, 130)
    alarm = bool(rows.values) and rows.best_row is None and bool(run.space.limits)
    return Frame(run, rows, slices, known, "\n".join(title), alarm)


def draw(figure: Figure, frame: Frame) -> None:
    """Draw a frame in place of what the figure shows."""
    run, rows = frame.run, frame.rows
    space, objectives, units = run.space, run.space.objectives, run.metadata.units
    figure.clear()
    figure.suptitle(frame.title, x=0.01, ha="left", fontsize=9, color=RED if frame.alarm else "#333333")
    if run.mapped is not None:
        measured = run.mapped.measured(rows.results)
        latest = max(run.metadata.batch, run.metadata.rows_per_proposal)
        draw_mapped(figure, run.mapped, space, measured, frame.known, units, latest)
    if not objectives:
        return
    label = with_unit(objectives[0], units)
    names = space.names[:MOST_SLICES]
    lines, columns = (1, 1) if space.dim == 2 else grid_of(len(names))
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.0, 0.85 * lines if space.dim > 2 else 1.2))
    top, bottom = parts
    several = len(objectives) > 1
    draw_objective(top.add_subplot(1, 2 if several else 1, 1), rows, label)
    if several:
        draw_front(top.add_subplot(1, 2, 2), rows, [with_unit(name, units) for name in objectives[:2]])
    if space.dim == 2:
        labels = [*(with_unit(name, units) for name in space.names), label]
        draw_map(bottom.add_subplot(), rows, objectives[0], labels, next(iter(frame.slices), None))
        return
    along = {one.names[0]: one for one in frame.slices}
    first = None
    for k, name in enumerate(names):
        axes = bottom.add_subplot(lines, columns, k + 1, sharey=first)
        first = first or axes
        labels = [with_unit(name, units), label if k % columns == 0 else ""]
        draw_line(axes, rows, name, objectives[0], labels, along.get(name))
        axes.tick_params(labelleft=k % columns == 0)
    if first is not None:
        if spans_decades(rows.values):
            first.set_yscale("log")
        if rows.values:
            bottom.legend(*first.get_legend_handles_labels(), loc="outside upper right", **LEGEND)


class _Screen:
    """Where the figure is: a window, the output of a notebook's cell, or nowhere but in memory.

    Attributes
    ----------
    figure : matplotlib Figure
    lock : Lock
        Held while the figure is drawn.
    """

    def __init__(self, figure: Figure | None) -> None:
        self.lock = threading.Lock()
        self._output: Any = None
        self._inline = figure is None and "inline" in mpl.get_backend().lower()
        if figure is None and not self._inline:
            from matplotlib import pyplot  # opens the window

            figure = pyplot.figure("ebl_autonomy", figsize=FIGURE_SIZE, layout="constrained", clear=True)
        if figure is None:
            figure = Figure(figsize=FIGURE_SIZE, layout="constrained")
            FigureCanvasAgg(figure)
        self.figure = figure
        self._teleported = _InTheMainThread(self._show)

    def show(self, frame: Frame) -> None:
        """Draw a frame, in the thread that the graphical back-end wants."""
        self._teleported("frame", {"frame": frame})

    def _show(self, frame: Frame) -> None:
        with self.lock:
            draw(self.figure, frame)
            if self._inline:
                from IPython import display as ipython

                if self._output is None:
                    self._output = ipython.display(self.figure, display_id=True)
                else:
                    self._output.update(self.figure)
            else:
                self.figure.canvas.draw_idle()


class _InTheMainThread(QtAwareCallback):
    """Calls a function in the main thread if Qt draws, as bluesky's own plots do, and directly otherwise."""

    def __init__(self, function: Callable[[Frame], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._function = function

    def frame(self, doc: Mapping[str, Any]) -> None:
        self._function(doc["frame"])
