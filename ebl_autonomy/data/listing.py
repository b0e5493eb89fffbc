"""What a list of runs shows of each: which one, who steered it, how far it came, and how it ended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ebl_autonomy.data.lookup import latest_runs, start_of
from ebl_autonomy.data.mapped import Mapped
from ebl_autonomy.data.streams import StoredStream
from ebl_autonomy.errors import EblError
from ebl_autonomy.records import (
    METADATA_KEY,
    PRIMARY,
    PROPOSAL_ID,
    ROW,
    SUSPECTS,
    Columns,
    RunMetadata,
    Suspicions,
    last_attempts,
    reading_ids,
    reason_of,
    row_at,
    survey_stage,
    to_float,
)
from ebl_autonomy.space import BestSoFar, Space, make_vocs

__all__ = ["RunSummary", "runs"]


@dataclass(frozen=True)
class RunSummary:
    """One line about a run.

    Attributes
    ----------
    uid : str
    scan_id : int or None
    time : float
        Start, seconds since the epoch.
    plan : str
    agent : str
        Empty for a run that no agent steered.
    points : int or None
        Rows of `primary`; of a run that an agent steered, without repeated attempts. None if that cannot be read.
    objective : str
        The (first) objective; empty if there is none.
    best : float or None
        The best reading of the objective among the rows that hold all constraints and that the agent does not suspect.
    unit : str
        Of the objective.
    status : str
        Exit status, or ``"open"`` without a stop document.
    reason : str
        Why it ended.
    seconds : float or None
        Wall seconds from its start to its end; None while it is open.
    share : float or None
        Of a map, the share of its pixels that were measured; None if the run is no map, or its pixels are not known.
    pixels : int or None
        Of such a map, the number of its pixels.
    stage : str
        What the run is to the survey that it belongs to, such as ``"coarse map"``; empty if it belongs to none.
    """

    uid: str
    scan_id: int | None
    time: float
    plan: str
    agent: str
    points: int | None
    objective: str
    best: float | None
    unit: str
    status: str
    reason: str
    seconds: float | None = None
    share: float | None = None
    pixels: int | None = None
    stage: str = ""


def runs(client: Any, limit: int = 20) -> list[RunSummary]:
    """The latest runs, newest first."""
    return [_summary(node) for node in latest_runs(client, limit)]


def _summary(node: Any) -> RunSummary:
    start, stop = start_of(node), dict(node.metadata.get("stop") or {})
    ours = start.get(METADATA_KEY)
    found = _steered(node, start, ours) if isinstance(ours, Mapping) else {}
    events = stop.get("num_events")
    counted = events.get(PRIMARY, 0) if isinstance(events, Mapping) else None
    scan_id = start.get("scan_id")
    taken = to_float(stop.get("time")) - to_float(start.get("time"))
    return RunSummary(
        uid=str(start.get("uid", "")),
        scan_id=scan_id if isinstance(scan_id, int) else None,
        time=to_float(start.get("time")),
        plan=str(start.get("plan_name", "")),
        agent=found.get("agent", ""),
        points=found.get("points", counted),
        objective=found.get("objective", ""),
        best=found.get("best"),
        unit=found.get("unit", ""),
        status=str(stop.get("exit_status", "open")),
        reason=reason_of(str(stop.get("reason") or "")),
        seconds=taken if math.isfinite(taken) else None,
        share=found.get("share"),
        pixels=found.get("pixels"),
        stage=survey_stage(start),
    )


def _best(node: Any, metadata: RunMetadata, space: Space, rows: Columns) -> float | None:
    """The best reading of a run that has an objective; None if there is none."""
    said = StoredStream(node, SUSPECTS).columns() if metadata.tells_suspects else {}
    doubted = space.doubted(Suspicions(said).readings)
    best = BestSoFar(space)
    for i, reading in enumerate(reading_ids(rows)):
        outcome = {name: to_float(row_at(rows, i).get(name)) for name in metadata.outcomes}
        best.take(outcome, doubted=reading in doubted)
    return best.value if math.isfinite(best.value) else None


def _steered(node: Any, start: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """What a run that an agent steered says of itself; as much as can be read, because one bad run hides no other."""
    found: dict[str, Any] = {"agent": str((ours.get("agent") or {}).get("agent", ""))}
    try:
        metadata = RunMetadata.read(ours)
        space = Space(make_vocs(metadata.agent["vocs"]))
        objective = next(iter(space.objectives), "")
        found |= {"objective": objective, "unit": metadata.units.get(objective, "")}
        mapped = Mapped.of(start, metadata, space)
        axes = [mapped.x, mapped.y] if mapped is not None and mapped.grid is not None else []
        binding = [PROPOSAL_ID, ROW.row, ROW.attempt]
        rows = last_attempts(StoredStream(node, PRIMARY).columns([*axes, *metadata.outcomes, *binding], arrays=False))
        found["points"] = len(rows.get(PROPOSAL_ID, ()))
        if mapped is not None and mapped.grid is not None:
            read = mapped.measured([row_at(rows, i) for i in range(found["points"])])
            found |= {"share": len(read.numbers_on(mapped.grid)) / mapped.grid.size, "pixels": mapped.grid.size}
        if objective:
            found["best"] = _best(node, metadata, space, rows)
    except (EblError, KeyError, TypeError, ValueError):
        pass
    return found
