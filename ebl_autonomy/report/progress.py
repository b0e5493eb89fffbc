"""How a run is getting on, in one line: a bluesky callback for IPython, scripts and the command line."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ebl_autonomy.records import METADATA_KEY, PRIMARY, RunMetadata
from ebl_autonomy.space import Space, make_vocs

__all__ = ["ProgressBar"]


class ProgressBar:
    """Points measured, the best value so far and the time left; subscribe it to a RunEngine.

    Parameters
    ----------
    console : rich Console, optional
        Where to draw; standard error by default, so that output stays clean.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[best]}"),
            TimeRemainingColumn(),
            console=console or Console(stderr=True),
        )
        self._task: Any = None
        self._space: Space | None = None
        self._unit = ""
        self._streams: dict[str, str] = {}
        self.best = math.nan

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        if name == "start" and METADATA_KEY in doc:
            metadata = RunMetadata.read(doc[METADATA_KEY])
            self._space = Space(make_vocs(metadata.agent["vocs"]))
            self._unit = metadata.units.get(next(iter(self._space.objectives), ""), "")
            self.best = math.nan
            self._progress.start()
            self._task = self._progress.add_task(str(metadata.agent["agent"]), total=metadata.max_points, best="")
        elif name == "descriptor":
            self._streams[doc["uid"]] = doc.get("name", "")
        elif name == "event" and self._space is not None and self._streams.get(doc["descriptor"]) == PRIMARY:
            self._point(self._space, doc["data"])
        elif name == "stop" and self._task is not None:
            self._progress.stop()
            self._task = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def _point(self, space: Space, data: dict[str, Any]) -> None:
        if not space.objectives:  # somebody else's generator may only explore
            self._progress.update(self._task, advance=1)
            return
        name = space.objectives[0]
        value, sign = float(data.get(name, math.nan)), float(space.signs[0])
        better = math.isnan(self.best) or sign * value > sign * self.best
        if math.isfinite(value) and better and space.feasible({n: float(data[n]) for n in space.limits if n in data}):
            self.best = value
        text = "" if math.isnan(self.best) else f"best {name} {self.best:.4g} {self._unit}"
        self._progress.update(self._task, advance=1, best=text)
