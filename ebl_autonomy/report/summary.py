"""The numbers of a run, in one place for the report, the command line and JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ebl_autonomy.records import ROW, BestReading, Recommendation, RunRecord, to_float
from ebl_autonomy.report.sofar import ResultsInOrder
from ebl_autonomy.report.wording import number, quantity
from ebl_autonomy.space import FloatArray, Space, make_vocs

__all__ = ["RowsInOrder", "Summary", "summarise"]


class Summary(BaseModel):
    """One run in numbers.

    Attributes
    ----------
    objective, goal : str
        Name of the (first) objective, and MINIMIZE or MAXIMIZE; empty for a run that only explored.
    points, invalid : int
        Rows that were recorded, and how many of them have no finite objective, or without one no finite outcome at all.
        A flown line has many rows.
    accepted, refused, abandoned, pending : int
        How the proposals ended.
    reasons : dict of str to int
        Why proposals were refused or abandoned, or rows invalid.
    first : float or None
        The objective at the first valid row.
    recommended : Recommendation or None
        What the agent recommended at the end, with mean and standard deviation; of several objectives the compromise.
    front : list of Recommendation
        Of several objectives, the points that no other one betters in all of them.
    best_reading : BestReading or None
        The best value that was read among the valid rows that hold all constraints and are not suspect.
    best, best_point : float or None, dict
        The objective and the motors of `best_reading`.
    start_point, left_at : dict
        Where the motors were before the first point, and where they were left; empty if that was not recorded.
    left_where : str
        Where they were left in words, such as ``"are at the recommended point"``, or why they are not.
    seconds : dict of str to float
        Wall seconds: deciding, moving, measuring, total; and `clock` seconds where the run has a clock.
    points_to_target, seconds_to_target : int and float, or None
        Rows, and seconds from the start of the run, until the target was reached; without a target, until 99 % of what
        was gained in the (first) objective had been gained. The seconds are those of the run's clock if it has one, and
        otherwise wall seconds with everything in them: pauses, retries and refused proposals.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    uid: str
    agent: str
    objective: str
    goal: str
    status: str
    stop_reason: str
    points: int
    invalid: int
    accepted: int
    refused: int
    abandoned: int
    pending: int
    reasons: dict[str, int]
    first: float | None
    recommended: Recommendation | None
    front: list[Recommendation]
    best_reading: BestReading | None
    best: float | None
    best_point: dict[str, float]
    start_point: dict[str, float]
    left_at: dict[str, float]
    left_where: str = ""
    seconds: dict[str, float]
    points_to_target: int | None = None
    seconds_to_target: float | None = None


class RowsInOrder:
    """The rows of a run as its agent was told of them, in the order in which they were measured.

    Parameters
    ----------
    record : RunRecord
    suspects : mapping of str to collection of int, optional
        By outcome, the rows that the run's agent takes for outliers: none of them is the best. The default is what the
        run tells.

    Attributes
    ----------
    space : Space
        That the run's agent searched.
    results : list of dict, length n
        Variables and outcomes of each row.
    rows : list of int, length n
        Number of each row in `RunRecord.rows`.
    owners : list of int, length n
        Whose row it is: the position in `RunRecord.proposals`.
    values : FloatArray, shape (n,)
        The (first) objective; NaN where it was not measured, or if there is none.
    feasible : BoolArray, shape (n,)
        Whether all outcome constraints hold.
    best_values : FloatArray, shape (n,)
        The best reading up to each row; NaN before the first.
    best_row : int or None
        The row of the best reading.
    """

    def __init__(self, record: RunRecord, suspects: Mapping[str, Collection[int]] | None = None) -> None:
        self.space = Space(make_vocs(record.metadata.agent["vocs"]))
        told = {
            row: (owner, result)
            for owner, proposal in enumerate(record.proposals)
            if proposal.rows  # the agent was told of refused proposals too
            for row, result in zip(proposal.rows, proposal.results, strict=True)
        }
        self.rows = sorted(told)
        self.owners = [told[row][0] for row in self.rows]
        self._suspects = (record.suspects or {}) if suspects is None else suspects
        sets = {name: frozenset(numbers) for name, numbers in self._suspects.items()}
        self._ordered = ordered = ResultsInOrder(self.space)
        for row in self.rows:
            ordered.append(told[row][1], suspects=[name for name, numbers in sets.items() if row in numbers])
        self.results, self.best_row = ordered.results, ordered.best_row
        self.values: FloatArray = np.array(ordered.values, dtype=float)
        self.feasible = np.array(ordered.feasible, dtype=bool)
        self.best_values: FloatArray = np.array(ordered.best_values, dtype=float)

    def __len__(self) -> int:
        return len(self.results)

    def suspect_readings(self, units: Mapping[str, str]) -> list[str]:
        """One line for each suspect reading: its row, its point in the figures, which count from 1, and its value.

        Parameters
        ----------
        units : mapping of str to str
            Of the outcomes.
        """
        return [
            f"row {row} (point {i + 1}): {quantity(name, number(result.get(name)), units)}"
            for i, (row, result) in enumerate(zip(self.rows, self.results, strict=True))
            for name, rows in self._suspects.items()
            if row in rows
        ]

    def suspect(self, *objectives: str) -> NDArray[np.bool_]:
        """See `ResultsInOrder.suspect`."""
        return self._ordered.suspect(*objectives)

    def suspects_at_best(self) -> list[str]:
        """The outcomes of the best reading that are suspect."""
        return [name for name, positions in self._ordered.suspects.items() if self.best_row in positions]

    def best_reading(self, record: RunRecord) -> BestReading | None:
        """The best reading of the run; see `BestReading`."""
        if self.best_row is None:
            return None
        result = self.results[self.best_row]
        return BestReading(
            record.proposals[self.owners[self.best_row]].proposal_id,
            {name: float(result[name]) for name in self.space.names},
            {name: to_float(result[name]) for name in record.metadata.outcomes},
        )


def summarise(record: RunRecord, rows: RowsInOrder | None = None) -> Summary:
    """See `Summary`; `rows` are those of the record, with the suspects that are known."""
    metadata, ends = record.metadata, record.baseline
    rows = RowsInOrder(record) if rows is None else rows
    space, values = rows.space, rows.values
    status = Counter(proposal.status for proposal in record.proposals)
    valid = values[np.isfinite(values)]
    best = rows.results[rows.best_row] if rows.best_row is not None else {}
    reasons = Counter(p.reason for p in record.proposals if p.reason)
    return Summary(
        uid=record.uid,
        agent=str(metadata.agent.get("agent", "")),
        objective=next(iter(space.objectives), ""),
        goal=("MAXIMIZE" if space.signs[0] > 0 else "MINIMIZE") if space.objectives else "",
        status=str((record.stop or {}).get("exit_status", "open")),
        stop_reason=record.stop_reason,
        points=len(rows),
        invalid=int((~np.isfinite(values)).sum()) if space.objectives else _unread(rows, metadata.outcomes),
        accepted=status["accepted"],
        refused=status["refused"],
        abandoned=status["abandoned"],
        pending=status["pending"],
        reasons=dict(reasons.most_common(10)),
        first=float(valid[0]) if len(valid) else None,
        recommended=record.recommended,
        front=list(record.front),
        best_reading=rows.best_reading(record),
        best=float(values[rows.best_row]) if rows.best_row is not None else None,
        best_point={name: float(best[name]) for name in metadata.motors if name in best},
        start_point={name: to_float(ends[name][0]) for name in metadata.motors if len(ends.get(name, ()))},
        left_at=record.left_at,
        left_where=record.left_where,
        seconds=_seconds(record),
        **_to_target(record, rows),
    )


def _unread(rows: RowsInOrder, outcomes: Sequence[str]) -> int:
    """Number of rows in which no outcome was read."""
    finite = ((math.isfinite(to_float(result.get(name))) for name in outcomes) for result in rows.results)
    return sum(not any(one) for one in finite) if outcomes else 0


def _to_target(record: RunRecord, rows: RowsInOrder) -> dict[str, Any]:
    """See `Summary.points_to_target`."""
    if rows.best_row is None:
        return {}
    sign = rows.space.signs[0]
    gains = sign * rows.best_values
    target = record.metadata.until.get("target")
    first = gains[np.isfinite(gains)][0]
    wanted = sign * target if target is not None else first + 0.99 * (gains[rows.best_row] - first)
    reached = np.flatnonzero(gains >= wanted)
    if not len(reached):
        return {}
    i = int(reached[0])
    return {"points_to_target": i + 1, "seconds_to_target": _seconds_until(record, i)}


def _seconds_until(record: RunRecord, row: int) -> float | None:
    """Seconds from the start of the run to a row; see `Summary.seconds_to_target`."""
    columns = record.rows
    if (clock := columns.get(record.metadata.clock or "clock")) is not None:
        seconds = to_float(clock[row]) - _clock(record)[0]
    elif ROW.seconds_elapsed in columns:
        seconds = to_float(columns[ROW.seconds_elapsed][row])
    else:  # the first schema had no such column
        seconds = to_float(columns["time"][row]) - float(record.start["time"]) if "time" in columns else math.nan
    return seconds if math.isfinite(seconds) else None


def _seconds(record: RunRecord) -> dict[str, float]:
    measured = [proposal.rows for proposal in record.proposals]
    seconds = {
        "deciding": _sum([proposal.seconds_to_decide for proposal in record.proposals]),
        "moving": _spent(record, ROW.seconds_moving, measured),
        "measuring": _spent(record, ROW.seconds_measuring, measured),
    }
    if record.stop is not None:
        seconds["total"] = float(record.stop["time"]) - float(record.start["time"])
    times = _clock(record)
    if len(times) > 1:
        seconds["clock"] = times[-1] - times[0]
    return seconds


def _spent(record: RunRecord, key: str, proposals: Sequence[Sequence[int]]) -> float:
    """Seconds under `key` of some proposals, given by their rows: each row has those of its whole proposal so far."""
    return _sum([to_float(record.rows[key][rows[-1]]) for rows in proposals if rows])


def _sum(seconds: Sequence[float]) -> float:
    return float(np.nansum(np.array(seconds, dtype=float)))


def _clock(record: RunRecord) -> list[float]:
    """What the run's clock showed at its start and end, or else at its points; empty if it has none."""
    clock = record.metadata.clock or "clock"
    return [to_float(v) for v in record.baseline.get(clock) or record.rows.get(clock) or []]
