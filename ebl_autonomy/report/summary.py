"""The numbers of a run, in one place for the report, the command line and JSON."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from ebl_autonomy.records import ROW, RunRecord
from ebl_autonomy.space import FloatArray, Space, make_vocs

__all__ = ["Summary", "best_so_far", "objective_values", "space_of", "summarise"]


class Summary(BaseModel):
    """One run in numbers.

    Attributes
    ----------
    objective, goal : str
        Name of the (first) objective, and MINIMIZE or MAXIMIZE; empty for a run that only explored.
    points, invalid, refused, abandoned, pending : int
        How the proposals ended.
    reasons : dict of str to int
        Why proposals were refused or abandoned, or rows invalid.
    first, best : float or None
        The objective at the first valid point and at the best feasible one.
    best_point, start_point : dict
        Of the motors.
    seconds : dict of str to float
        Wall seconds: deciding, moving, measuring, total; and `clock` seconds where the run has a clock.
    points_to_target, seconds_to_target : int and float, or None
        Points and seconds, of the run's clock if it has one, until the target was reached; without a target, until 99 %
        of what was gained had been gained.
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
    refused: int
    abandoned: int
    pending: int
    reasons: dict[str, int]
    first: float | None
    best: float | None
    best_point: dict[str, float]
    start_point: dict[str, float]
    seconds: dict[str, float]
    points_to_target: int | None = None
    seconds_to_target: float | None = None


def space_of(record: RunRecord) -> Space:
    """The space that the run's agent searched."""
    return Space(make_vocs(record.metadata.agent["vocs"]))


def objective_values(record: RunRecord, space: Space) -> FloatArray:
    """The objective of each accepted row, NaN where it is invalid or there is no objective, shape (n,)."""
    values = record.rows.get(next(iter(space.objectives), ""), [None] * len(record.rows.get(ROW.proposal_id, [])))
    return np.array([math.nan if v is None else float(v) for v in values], dtype=float)


def best_so_far(record: RunRecord, space: Space) -> tuple[FloatArray, int | None]:
    """The best feasible objective up to each row, shape (n,), and the row that holds the best."""
    values = objective_values(record, space)
    best, index, curve = math.nan, None, np.full(len(values), math.nan)
    for i, value in enumerate(values):
        outcome = {name: _float(record.rows[name][i]) for name in space.limits if name in record.rows}
        better = math.isnan(best) or space.signs[0] * value > space.signs[0] * best
        if math.isfinite(value) and better and space.feasible(outcome):
            best, index = float(value), i
        curve[i] = best
    return curve, index


def summarise(record: RunRecord) -> Summary:
    """See `Summary`."""
    space, rows = space_of(record), record.rows
    values = objective_values(record, space)
    _, index = best_so_far(record, space)
    status = Counter(proposal.status for proposal in record.proposals)
    valid = values[np.isfinite(values)]
    accepted = {p.proposal_id: p for p in record.proposals if p.status == "accepted"}
    ids = rows.get(ROW.proposal_id, [])
    best_point = accepted[ids[index]].point if index is not None and ids[index] in accepted else {}
    reasons = Counter(p.reason for p in record.proposals if p.reason)
    baseline = record.baseline
    return Summary(
        uid=record.uid,
        agent=str(record.metadata.agent.get("agent", "")),
        objective=next(iter(space.objectives), ""),
        goal=("MAXIMIZE" if space.signs[0] > 0 else "MINIMIZE") if space.objectives else "",
        status=str((record.stop or {}).get("exit_status", "open")),
        stop_reason=str((record.stop or {}).get("reason", "")),
        points=len(values),
        invalid=int((~np.isfinite(values)).sum()) if space.objectives else 0,
        refused=status["refused"],
        abandoned=status["abandoned"],
        pending=status["pending"],
        reasons=dict(reasons.most_common(10)),
        first=float(valid[0]) if len(valid) else None,
        best=float(values[index]) if index is not None else None,
        best_point={name: float(best_point[name]) for name in record.metadata.motors if name in best_point},
        start_point={m: _float(baseline[m][0]) for m in record.metadata.motors if baseline.get(m)},
        seconds=_seconds(record),
        **_to_target(record, space),
    )


def _to_target(record: RunRecord, space: Space) -> dict[str, Any]:
    """See `Summary.points_to_target`."""
    curve, index = best_so_far(record, space)
    if index is None:
        return {}
    gains = space.signs[0] * curve
    target = record.metadata.until.get("target")
    first = gains[np.isfinite(gains)][0]
    wanted = space.signs[0] * target if target is not None else first + 0.99 * (gains[index] - first)
    reached = np.flatnonzero(gains >= wanted)
    if not len(reached):
        return {}
    i = int(reached[0])
    times = record.rows.get(record.metadata.clock or "clock")
    if times is None:
        spent = [record.rows[key][: i + 1] for key in (ROW.seconds_moving, ROW.seconds_measuring)]
        deciding = [p.seconds_to_decide for p in record.proposals[: i + 1]]
        seconds = float(np.nansum([*map(_float, spent[0]), *map(_float, spent[1]), *deciding]))
    else:
        seconds = _float(times[i]) - _clock(record)[0]
    return {"points_to_target": i + 1, "seconds_to_target": seconds}


def _seconds(record: RunRecord) -> dict[str, float]:
    rows = record.rows
    seconds = {
        "deciding": float(np.nansum([p.seconds_to_decide for p in record.proposals] or [0.0])),
        "moving": float(np.nansum([_float(v) for v in rows.get(ROW.seconds_moving, [])] or [0.0])),
        "measuring": float(np.nansum([_float(v) for v in rows.get(ROW.seconds_measuring, [])] or [0.0])),
    }
    if record.stop is not None:
        seconds["total"] = float(record.stop["time"]) - float(record.start["time"])
    times = _clock(record)
    if len(times) > 1:
        seconds["clock"] = times[-1] - times[0]
    return seconds


def _clock(record: RunRecord) -> list[float]:
    """What the run's clock showed at its start and end, or else at its points; empty if it has none."""
    clock = record.metadata.clock or "clock"
    return [_float(v) for v in record.baseline.get(clock) or record.rows.get(clock) or []]


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)
