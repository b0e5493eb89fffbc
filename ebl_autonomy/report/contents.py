"""Everything that the page of a run shows, as one JSON document; made from the run's record alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from gest_api.generator import Generator
from pydantic import BaseModel, ConfigDict

from ebl_autonomy.agents.base import latest_context
from ebl_autonomy.agents.protocols import Maps
from ebl_autonomy.analysis.slices import slice_through
from ebl_autonomy.data.mapped import Mapped
from ebl_autonomy.data.surveys import fine_scans
from ebl_autonomy.errors import EblError
from ebl_autonomy.records import Recommendation, RunRecord, to_float
from ebl_autonomy.report.map_contents import MapSection, map_section
from ebl_autonomy.report.map_images import Images, errors_of
from ebl_autonomy.report.phase_contents import RegionPhases, region_phases
from ebl_autonomy.report.spectrum_contents import Curves, SpectrumSection, spectrum_section
from ebl_autonomy.report.standing import Standing, standing_of
from ebl_autonomy.report.summary import RowsInOrder, Summary, summarise
from ebl_autonomy.space import Limit, Space
from ebl_autonomy.steering import restore_agent

__all__ = [
    "ConstraintFound",
    "Contents",
    "ModelSection",
    "ModelSlice",
    "ObjectiveFound",
    "report_contents",
    "suspect_rows",
]

Told = TypeVar("Told")

SAMPLES: Final = {1: 61, 2: 25}
"""Values of each variable, by the number of variables of a slice."""


class ObjectiveFound(BaseModel):
    """What was found of one objective.

    Attributes
    ----------
    name, goal, unit : str
        The goal is ``"MINIMIZE"`` or ``"MAXIMIZE"``.
    first, best : float or None
        The first valid reading, and the best one that satisfies all constraints.
    recommended, std : float or None
        At the recommended point: what the model says, or else what was read there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    goal: str
    unit: str
    first: float | None
    best: float | None
    recommended: float | None
    std: float | None


class ConstraintFound(BaseModel):
    """How one constraint was kept.

    Attributes
    ----------
    name, unit : str
    low, high : float or None
        None for an open side.
    recommended, std, read : float or None
        At the recommended point: what the model says, or else what was read there; and the reading.
    holds : bool or None
        Whether `recommended` satisfies the constraint; None if there is none.
    satisfied, measured : int
        Rows that satisfy this constraint, and rows in which the outcome is valid.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    unit: str
    low: float | None
    high: float | None
    recommended: float | None
    std: float | None
    read: float | None
    holds: bool | None
    satisfied: int
    measured: int


class ModelSlice(BaseModel):
    """The model where one or two motors move and all others stay at the recommended point.

    Attributes
    ----------
    names : list of str
        The motors that move.
    values : list of list of float
        The positions of each, in its own unit.
    mean, std : dict of str to list
        The prediction of each outcome: n numbers, or n lists with one number for each position of the second motor.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    names: list[str]
    values: list[list[float]]
    mean: dict[str, Any]
    std: dict[str, Any]


class ModelSection(BaseModel):
    """What the agent's model says.

    Attributes
    ----------
    note : str
        Why there are no slices; empty if there are.
    explanation : str
        What the agent believes and how good its model is, in words.
    slices : list of ModelSlice
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    note: str = ""
    explanation: str = ""
    slices: list[ModelSlice] = []


class Contents(BaseModel):
    """The content of a report.

    Attributes
    ----------
    summary : Summary
    verdict : Standing
    recommended, front : Recommendation or None, list of Recommendation
        As the run recorded them at its end; of a run that ended early, what its agent recommends of the same results.
    recommended_afterwards : bool
        Whether the run did not record the recommendation.
    suspects : dict of str to list of int
        See `suspect_rows`. The best readings and the gains leave them out.
    suspect_readings : list of str
        The same in words, one line for each.
    suspects_at_best : list of str
        The outcomes of the best reading that are suspect, which the (first) objective and the constraints never are.
    objectives : list of ObjectiveFound
    constraints : list of ConstraintFound
    model : ModelSection
    map : MapSection or None
        Of a run without an objective over the two motors of a map.
    spectrum : SpectrumSection or None
        Of a run without an objective over one motor.
    phases : list of RegionPhases or None
        Of a run that holds the phase maps of a survey, which no agent steered; empty if no region has one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    summary: Summary
    verdict: Standing
    recommended: Recommendation | None
    front: list[Recommendation]
    recommended_afterwards: bool
    suspects: dict[str, list[int]]
    suspect_readings: list[str]
    suspects_at_best: list[str]
    objectives: list[ObjectiveFound]
    constraints: list[ConstraintFound]
    model: ModelSection
    map: MapSection | None = None
    spectrum: SpectrumSection | None = None
    phases: list[RegionPhases] | None = None


def report_contents(
    record: RunRecord,
    *,
    client: Any = None,
    agent: Generator | None = None,
    regions: Sequence[Mapping[str, Any]] | None = None,
    truth: Mapping[str, Any] | None = None,
) -> Contents:
    """The content of the report of a run.

    Parameters
    ----------
    record : RunRecord
    client : tiled container, optional
        The container of the run. It has the past runs (``prior=``) that the run's agent knew, and the fine scans of a
        survey whose coarse map this is.
    agent : Generator, optional
        The run's agent with all of its results. By default it is made again from the record, which works for the agents
        that are registered under a name.
    regions : sequence of mapping, optional
        Regions of the map, best first: ``label``, ``x`` and ``y`` (low, high; motor units), and perhaps ``score`` and
        ``reason``. By default those of the fine scans in `client`.
    truth : mapping of str to array, shape (rows, columns), optional
        The true map of some channels, if it is known: the maps are then scored against it.

    Raises
    ------
    BadInputError
        If a region or a true map is not as described.
    """
    asked = _Agent(record, client, agent)
    suspects = asked.suspect_rows()
    rows = RowsInOrder(record, suspects)
    recommended, front = record.recommended, list(record.front)
    afterwards = recommended is None and bool(rows.space.objectives) and len(rows) > 0
    if afterwards:
        recommended = asked.recommendation()
        front = asked.front() if len(rows.space.objectives) > 1 else []
    objectives = [_objective(record, rows, i, recommended) for i in range(len(rows.space.objectives))]
    return Contents(
        summary=summarise(record, rows),
        verdict=standing_of(record, rows),
        recommended=recommended,
        front=front,
        recommended_afterwards=afterwards and recommended is not None,
        suspects=suspects,
        suspect_readings=rows.suspect_readings(record.metadata.units),
        suspects_at_best=rows.suspects_at_best(),
        objectives=objectives,
        constraints=[_constraint(record, rows, n, limit, recommended) for n, limit in rows.space.limits.items()],
        model=asked.section(rows.space, recommended),
        phases=region_phases(record),
        **_mapped(record, rows, asked, client, regions, truth),
    )


def _mapped(
    record: RunRecord,
    rows: RowsInOrder,
    asked: _Agent,
    client: Any,
    regions: Sequence[Mapping[str, Any]] | None,
    truth: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The section of the map or of the spectrum that the run measured, if it did."""
    mapped = Mapped.of(record.start, record.metadata, rows.space)
    if mapped is None:
        return {}
    measured, agent = mapped.measured(rows.results), asked.agent
    errors, _ = asked.tried(lambda: errors_of(agent))
    if not mapped.is_map:
        curves, note = asked.tried(lambda: Curves.of_agent(agent, mapped))
        counts = {name: int(np.isfinite(values).sum()) for name, values in measured.values.items()}
        phases, _ = asked.tried(lambda: agent.phases() if hasattr(agent, "phases") else None)
        section = spectrum_section(record, mapped, counts, curves, errors=errors or {}, phases=phases, note=note)
        return {"spectrum": section}
    images, note = asked.tried(lambda: Images.of_agent(agent, mapped) if isinstance(agent, Maps) else None)
    if images is None or not any(np.isfinite(one).any() for one in images.mean.values()):
        images = Images.measured(mapped, measured)
    boxes = fine_scans(client, record.uid) if regions is None else regions
    told = map_section(record, mapped, measured, images, errors=errors or {}, note=note, regions=boxes, truth=truth)
    return {"map": told}


def suspect_rows(record: RunRecord, client: Any = None) -> dict[str, list[int]]:
    """By outcome, the rows, counted from 0, whose readings the run's agent takes for outliers.

    A run that has come to its end tells them itself. A run that was cut short may lack the agent's word on its last
    rows, and one of an earlier version has no such words: then the agent is made again and asked, if that is possible.

    Parameters
    ----------
    record : RunRecord
    client : tiled container, optional
        See `report_contents`.
    """
    return _Agent(record, client, None).suspect_rows()


class _Agent:
    """The run's agent, as far as it can be made again, and asked."""

    def __init__(self, record: RunRecord, client: Any, agent: Generator | None) -> None:
        self._record, self._agent, self._why = record, agent, ""
        if agent is None and record.results:
            try:
                self._agent = restore_agent(record, client=client)
            except EblError as error:
                self._why = f"The agent cannot be made again from the run: {error}"
            except (Exception, SystemExit) as error:  # noqa: BLE001 - somebody else's agent; the page must not fail
                self._why = f"The agent cannot be made again from the run: {type(error).__name__}: {error}"

    @property
    def agent(self) -> Any:
        """The agent; None if it cannot be made again."""
        return self._agent

    def tried(self, ask: Callable[[], Told]) -> tuple[Told | None, str]:
        """An answer of the agent, or why it failed; `ModelSection` says why there is no agent."""
        if self._agent is None:
            return None, ""
        try:
            return ask(), ""
        except (Exception, SystemExit) as error:  # noqa: BLE001 - somebody else's agent; the page must not fail
            return None, f"The agent could not be asked: {error}"

    def recommendation(self) -> Recommendation | None:
        found = self._asked("best")
        return found if isinstance(found, Recommendation) else None

    def front(self) -> list[Recommendation]:
        return [one for one in self._asked("front") or () if isinstance(one, Recommendation)]

    def suspect_rows(self) -> dict[str, list[int]]:
        """See the function of this name; the agent numbers its results, unmeasured ones included."""
        told = self._record.suspects
        if told is not None and self._record.left:
            return dict(told)
        found = self._asked("suspects")
        if not isinstance(found, Mapping):
            return dict(told or {})
        row_of: list[int | None] = []
        for proposal in self._record.proposals:
            row_of += proposal.rows or [None] * len(proposal.results)
        return {name: sorted(row for i in numbers if (row := row_of[i]) is not None) for name, numbers in found.items()}

    def section(self, space: Space, recommended: Recommendation | None) -> ModelSection:
        explanation = self._record.explanation or str(self._asked("explain") or "")
        if self._agent is None:
            return ModelSection(note=self._why or "There are no results yet.", explanation=explanation)
        name = str(self._record.metadata.agent.get("agent", ""))
        predict: Callable[..., Any] | None = getattr(self._agent, "predict", None)
        if not callable(predict):
            return ModelSection(note=f"The agent {name!r} gives no predictions.", explanation=explanation)
        if not space.objectives:  # there is no best point: the map or the spectrum shows the model
            return ModelSection(explanation=explanation)
        if recommended is None:
            return ModelSection(note="There is no recommended point to go through.", explanation=explanation)
        point = {**latest_context(space, self._record.results), **space.constants, **recommended.point}
        wanted = [[name] for name in space.names]
        if len(space.names) == 2:
            wanted.append(list(space.names))
        try:
            cuts = [slice_through(predict, space, point, names, SAMPLES[len(names)]) for names in wanted]
        except (Exception, SystemExit) as error:  # noqa: BLE001 - somebody else's agent; the page must not fail
            return ModelSection(note=f"The model could not be asked: {error}", explanation=explanation)
        slices = [
            ModelSlice(
                names=list(cut.names),
                values=[axis.tolist() for axis in cut.values],
                mean={outcome: values.tolist() for outcome, values in cut.mean.items()},
                std={outcome: values.tolist() for outcome, values in cut.std.items()},
            )
            for cut in cuts
            if cut is not None
        ]
        note = "" if slices else f"The agent {name!r} has no model, or too few points for one."
        return ModelSection(note=note, explanation=explanation, slices=slices)

    def _asked(self, method: str) -> Any:
        """The answer of a method of the agent; None if it has no such method, or no answer."""
        ask = getattr(self._agent, method, None)
        if not callable(ask):
            return None
        try:
            return ask()
        except (Exception, SystemExit):  # noqa: BLE001 - somebody else's agent; the page must not fail
            return None


def _objective(record: RunRecord, rows: RowsInOrder, i: int, recommended: Recommendation | None) -> ObjectiveFound:
    name, sign = rows.space.objectives[i], float(rows.space.signs[i])
    values = np.array([to_float(result[name]) for result in rows.results], dtype=float)
    valid = values[np.isfinite(values)]
    usable = values[np.isfinite(values) & rows.feasible & ~rows.suspect(name)]
    value, std, _ = _at(recommended, name)
    return ObjectiveFound(
        name=name,
        goal="MAXIMIZE" if sign > 0 else "MINIMIZE",
        unit=record.metadata.units.get(name, ""),
        first=float(valid[0]) if len(valid) else None,
        best=float(sign * (sign * usable).max()) if len(usable) else None,
        recommended=value,
        std=std,
    )


def _constraint(
    record: RunRecord, rows: RowsInOrder, name: str, limit: Limit, recommended: Recommendation | None
) -> ConstraintFound:
    measured = [value for value in (to_float(result[name]) for result in rows.results) if math.isfinite(value)]
    value, std, read = _at(recommended, name)
    return ConstraintFound(
        name=name,
        unit=record.metadata.units.get(name, ""),
        low=_finite(limit.low),
        high=_finite(limit.high),
        recommended=value,
        std=std,
        read=read,
        holds=None if value is None else limit.holds(value),
        satisfied=sum(map(limit.holds, measured)),
        measured=len(measured),
    )


def _at(recommended: Recommendation | None, name: str) -> tuple[float | None, float | None, float | None]:
    """An outcome at the recommended point: the model's mean, or else the reading; the std; and the reading."""
    if recommended is None:
        return None, None, None
    read = _finite(recommended.outcome.get(name))
    mean, std = _finite(recommended.mean.get(name)), _finite(recommended.std.get(name))
    return (read, None, read) if mean is None else (mean, std, read)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
