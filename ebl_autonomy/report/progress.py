"""How a run is getting on, in one line: a bluesky callback for IPython, scripts and the command line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ebl_autonomy.records import (
    MEAN,
    METADATA_KEY,
    PRIMARY,
    READING,
    RECOMMENDATION,
    RECOMMENDED,
    STD,
    RunMetadata,
    to_float,
)
from ebl_autonomy.report.wording import number, with_error
from ebl_autonomy.space import BestSoFar, Space, make_vocs

__all__ = ["ProgressBar"]


class ProgressBar:
    """Points measured, the best reading so far and the time left; at the end what the agent recommends.

    Subscribe it to a RunEngine.

    Parameters
    ----------
    console : rich Console, optional
        Where to draw; standard error by default, so that output stays clean.

    Attributes
    ----------
    best_reading : float
        Of the (first) objective in the latest run; NaN if there is none.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[found]}"),
            TimeRemainingColumn(),
            console=console or Console(stderr=True),
        )
        self._task: Any = None
        self._best: BestSoFar | None = None
        self._unit = ""
        self._run = ""
        self._streams: dict[str, str] = {}

    @property
    def best_reading(self) -> float:
        return self._best.value if self._best is not None else math.nan

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        if name == "start" and METADATA_KEY in doc:
            metadata = RunMetadata.read(doc[METADATA_KEY])
            self._best = BestSoFar(Space(make_vocs(metadata.agent["vocs"])))
            self._run = doc["uid"]
            self._unit = metadata.units.get(next(iter(self._best.space.objectives), ""), "")
            self._progress.start()
            self._task = self._progress.add_task(str(metadata.agent["agent"]), total=metadata.max_points, found="")
        elif name == "descriptor" and doc["run_start"] == self._run:  # a user's stub may open runs of its own in ours
            self._streams[doc["uid"]] = doc.get("name", "")
        elif name in ("event", "event_page") and self._best is not None and self._task is not None:
            stream = self._streams.get(doc["descriptor"])
            for row in _rows(name, doc):
                if stream == PRIMARY:
                    self._point(self._best, row)
                elif stream == RECOMMENDED and row[RECOMMENDATION.kind] == "recommended":
                    self._recommended(self._best.space, row)
        elif name == "stop" and self._task is not None and doc["run_start"] == self._run:
            self._progress.stop()
            self._task = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def _point(self, best: BestSoFar, row: Mapping[str, Any]) -> None:
        space = best.space
        # Somebody else's generator may only explore, and have no objective.
        best.take({name: to_float(row.get(name)) for name in (*space.objectives, *space.limits)})
        self._progress.update(self._task, advance=1)
        if math.isfinite(best.value):
            self._tell(f"best reading {space.objectives[0]} {number(best.value)}")

    def _recommended(self, space: Space, row: Mapping[str, Any]) -> None:
        for objective in space.objectives[:1]:
            mean, std = to_float(row[objective + MEAN]), to_float(row[objective + STD])
            value = mean if math.isfinite(mean) else to_float(row[objective + READING])
            self._tell(f"recommended {objective} {with_error(value, std)}")

    def _tell(self, found: str) -> None:
        self._progress.update(self._task, found=f"{found} {self._unit}".strip())


def _rows(name: str, doc: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The rows of an event, or of an event page, as key to value."""
    if name == "event":
        yield doc["data"]
        return
    for i in range(len(doc["seq_num"])):
        yield {key: values[i] for key, values in doc["data"].items()}
