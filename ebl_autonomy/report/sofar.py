"""A run as far as its documents have told: for the progress bar and the live view, wherever the documents come from."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ebl_autonomy.data.mapped import Mapped
from ebl_autonomy.records import (
    DECISION,
    DECISIONS,
    MEAN,
    METADATA_KEY,
    PRIMARY,
    PROPOSAL_ID,
    READING,
    RECOMMENDATION,
    RECOMMENDED,
    ROW,
    STD,
    SUSPECTS,
    ReadingId,
    ResultLayout,
    RunMetadata,
    Suspicions,
    to_float,
)
from ebl_autonomy.report.wording import at, number, percent, quantity, with_error
from ebl_autonomy.space import BestSoFar, Space, make_vocs

__all__ = ["ResultsInOrder", "RunSoFar", "is_ours"]


def is_ours(start: Mapping[str, Any]) -> bool:
    """Whether a start document belongs to a run of this package."""
    return METADATA_KEY in start


class ResultsInOrder:
    """Results in the order in which they were measured, and the best of them up to each.

    Parameters
    ----------
    space : Space

    Attributes
    ----------
    space : Space
    results : list of dict, length n
        Variables and outcomes.
    values : list of float, length n
        The (first) objective; NaN where it was not measured, or if there is none.
    feasible : list of bool, length n
        Whether all outcome constraints hold.
    doubted : list of bool, length n
        Whether the agent takes the (first) objective or a constraint for an outlier: such a result is never the best.
    suspects : dict of str to set of int
        Of each outcome that has some, the results that the agent takes for outliers, by their positions.
    best_values : list of float, length n
        The best reading up to each result; NaN before the first.
    best_row : int or None
        The row of the best reading.
    invalid : int
        Number of results without a value of an objective or of a constraint; without an objective, of those without
        a value of any outcome.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.invalid = 0
        self.results: list[dict[str, Any]] = []
        self.values: list[float] = []
        self.feasible: list[bool] = []
        self.doubted: list[bool] = []
        self.suspects: dict[str, set[int]] = {}
        self.best_values: list[float] = []
        self.best_row: int | None = None
        self._best = BestSoFar(space)

    def append(self, result: dict[str, Any], *, suspects: Collection[str] = ()) -> None:
        """Add the next result; the agent takes its outcomes `suspects` for outliers."""
        row = len(self.results)
        for name in suspects:
            self.suspects.setdefault(name, set()).add(row)
        doubted = bool(self.space.doubted(dict.fromkeys(suspects, (row,))))
        if self._best.take(result, doubted=doubted):
            self.best_row = row
        self.doubted.append(doubted)
        self.results.append(result)
        self.values.append(to_float(result.get(next(iter(self.space.objectives), ""))))
        self.feasible.append(self.space.feasible(result))
        self.best_values.append(self._best.value)
        self.invalid += not self._is_valid(result)

    def suspect(self, *objectives: str) -> NDArray[np.bool_]:
        """Whether any of these objectives, or a constraint beside them, is suspect, shape (n,)."""
        return np.isin(np.arange(len(self)), list(self.space.doubted(self.suspects, objectives)))

    def _is_valid(self, result: Mapping[str, Any]) -> bool:
        needed, told = (*self.space.objectives, *self.space.limits), self.space.vocs.output_names
        finite = (math.isfinite(to_float(result.get(name))) for name in (needed or told))
        return all(finite) if needed or not told else any(finite)

    def __len__(self) -> int:
        return len(self.results)

    def copy(self) -> Self:
        """The results as they are now, which another thread may look at."""
        twin = copy(self)
        twin.results, twin.values = list(self.results), list(self.values)
        twin.feasible, twin.best_values = list(self.feasible), list(self.best_values)
        twin.doubted, twin.suspects = list(self.doubted), {name: set(rows) for name, rows in self.suspects.items()}
        return twin


class RunSoFar:
    """The rows of one run and what was recommended; documents of other runs are ignored.

    Parameters
    ----------
    start : dict
        The start document of a run for which `is_ours` holds.

    Attributes
    ----------
    uid : str
    metadata : RunMetadata
    space : Space
    rows : ResultsInOrder
    mapped : Mapped or None
        The map or the spectrum that a run without an objective measures.
    seconds : float
        Wall seconds from the start of the run to the latest row; NaN before it.
    recommended : str
        The recommended values of the objectives in words; empty before the end.
    model_decided : bool
        Whether a model made the latest proposal.
    """

    def __init__(self, start: Mapping[str, Any]) -> None:
        self.uid = str(start["uid"])
        self.metadata = RunMetadata.read(start[METADATA_KEY])
        self.space = Space(make_vocs(self.metadata.agent["vocs"]))
        self.rows = ResultsInOrder(self.space)
        self.mapped = Mapped.of(start, self.metadata, self.space)
        self.seconds = math.nan
        self.recommended = ""
        self._pixels: set[int] = set()
        self.model_decided = False
        self._layout = ResultLayout.of(self.metadata)
        self._streams: dict[str, str] = {}
        self._proposed: dict[str, dict[str, Any]] = {}
        self._ids: list[ReadingId] = []
        """What other streams call each row."""
        self._suspicions = Suspicions()
        self._attempts: dict[str, int] = {}
        """Of each proposal with rows, the attempt at it that made them."""

    def take(self, name: str, doc: Mapping[str, Any]) -> str:
        """Take one document.

        Returns
        -------
        str
            The stream of ours to which it added events, ``"stop"`` at the end of the run, or an empty string.
        """
        if name == "descriptor" and doc["run_start"] == self.uid:  # a user's stub may open runs of its own in ours
            self._streams[doc["uid"]] = doc.get("name", "")
        elif name in ("event", "event_page"):
            stream = self._streams.get(doc["descriptor"], "")
            for row in _rows(name, doc):
                if stream == DECISIONS:
                    self.model_decided = bool(row[DECISION.model_version])
                    self._proposed[str(row[PROPOSAL_ID])] = {n: to_float(row.get(n)) for n in self.space.names}
                elif stream == PRIMARY:
                    self._measured(row)
                elif stream == RECOMMENDED and row[RECOMMENDATION.kind] == "recommended":
                    self.recommended = self._recommended(row)
                elif stream == SUSPECTS:
                    self._suspicions.take(row)
            if stream == SUSPECTS:
                self._keep(range(len(self._ids)))
            return stream
        elif name == "stop" and doc["run_start"] == self.uid:
            return "stop"
        return ""

    def best_in_words(self) -> str:
        """The best reading with its unit, or that no point holds the constraints yet; empty before the first value."""
        row, objective = self.rows.best_row, next(iter(self.space.objectives), "")
        if row is not None:
            return f"best {quantity(objective, number(self.rows.values[row]), self.metadata.units)}"
        if self.space.limits and any(map(math.isfinite, self.rows.values)):
            return "no point holds the constraints yet"
        return ""

    def best_point_in_words(self) -> str:
        """The motors of the best reading, with their units; empty without any."""
        row = self.rows.best_row
        if row is None:
            return ""
        point = {name: self.rows.results[row][name] for name in self.space.names}
        return at(point, self.metadata.units)

    def covered_in_words(self) -> str:
        """The share of the map's pixels that were measured; empty if there is no map, or its pixels are not known."""
        if self.mapped is None or self.mapped.grid is None or not len(self.rows):
            return ""
        return f"{percent(len(self._pixels) / self.mapped.grid.size)} of {self.mapped.grid.size:,} pixels"

    def _cover(self, results: Sequence[Mapping[str, Any]]) -> None:
        if self.mapped is not None and self.mapped.grid is not None:
            self._pixels |= self.mapped.measured(results).numbers_on(self.mapped.grid)

    def _measured(self, row: Mapping[str, Any]) -> None:
        self.seconds = to_float(row.get(ROW.seconds_elapsed))
        proposal, attempt = str(row.get(PROPOSAL_ID, "")), int(row.get(ROW.attempt, 1))
        if attempt > self._attempts.get(proposal, attempt):  # rows of an earlier attempt at the proposal do not count
            self._keep([i for i, (owner, _) in enumerate(self._ids) if owner != proposal])
            self._pixels = set()
            self._cover(self.rows.results)
        self._attempts[proposal] = attempt
        unknown = dict.fromkeys(self.space.names, math.nan)
        self.rows.append(self._layout.measured(row, {**unknown, **self._proposed.get(proposal, {})}))
        self._ids.append((proposal, int(row.get(ROW.row, 0))))
        self._cover(self.rows.results[-1:])

    def _keep(self, kept: Iterable[int]) -> None:
        """Compare some of the rows anew, which are all that count."""
        ids, results = self._ids, self.rows.results
        self.rows, self._ids = ResultsInOrder(self.space), []
        for i in kept:
            self.rows.append(results[i], suspects=self._suspicions.of(ids[i]))
            self._ids.append(ids[i])

    def _recommended(self, row: Mapping[str, Any]) -> str:
        told = []
        for objective in self.space.objectives:
            mean, std = to_float(row[objective + MEAN]), to_float(row[objective + STD])
            value = mean if math.isfinite(mean) else to_float(row[objective + READING])
            told.append(quantity(objective, with_error(value, std), self.metadata.units))
        return f"recommended {', '.join(told)}" if told else ""


def _rows(name: str, doc: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The rows of an event, or of an event page, as key to value."""
    if name == "event":
        yield doc["data"]
        return
    for i in range(len(doc["seq_num"])):
        yield {key: values[i] for key, values in doc["data"].items()}
