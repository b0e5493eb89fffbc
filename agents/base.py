"""The base of all agents of this package: bookkeeping of results and proposals, configuration, the best point.

An agent is a pure function of its configuration, its results in order, and its pending proposals: a subclass keeps no
other state that its answers depend on. So a run is a checkpoint.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from gest_api.generator import Generator
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ebl_autonomy.agents.making import make_agent, parts_of
from ebl_autonomy.errors import AgentError, BadInputError, validation_text
from ebl_autonomy.records import AGENT_ID, ASKED, STD, Decision, Recommendation, to_float
from ebl_autonomy.space import VOCS, FloatArray, Space, make_vocs, outcome_names, vocs_dict

Point = dict[str, Any]
Prediction = dict[str, tuple[FloatArray, FloatArray]]
"""Maps each outcome to its predicted mean and standard deviation, shape (n,) each, in the outcome's unit."""


class AgentOptions(BaseModel):
    """Options of every agent; an unknown option is an error that names it.

    Attributes
    ----------
    seed : int
        The only source of randomness.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0)


class Agent(Generator):
    """Base of the agents of this package: a gest-api ``Generator`` with a configuration and a best point.

    Its proposals depend only on its configuration, its results in order, and its pending proposals. A proposal is
    pending from `suggest` until a result answers it or it is withdrawn.

    Parameters
    ----------
    vocs : VOCS or mapping
        Variables, objectives, constraints, constants, observables.
    seed : int
        The only source of randomness.
    **options
        See the class's `Options`.

    Raises
    ------
    BadInputError
        If the VOCS needs something that this agent does not support, or an option is unknown or out of range.
    """

    name: ClassVar[str]
    """The name under which the agent is registered (entry point ``ebl_autonomy.agents``)."""
    Options: ClassVar[type[AgentOptions]] = AgentOptions
    returns_id = True

    def __init__(self, vocs: VOCS | Mapping[str, Any], seed: int = 0, **options: Any) -> None:
        try:
            self.options = self.Options(seed=seed, **options)
        except ValidationError as error:
            raise BadInputError(validation_text(error, self.Options, type(self).__name__)) from error
        self.vocs = make_vocs(vocs)
        super().__init__(self.vocs)
        self.space = Space(self.vocs)
        self._results: list[Point] = []
        self._asked: list[Point] = []
        """Of each result, the point that was proposed; the point of the result itself if that is not known."""
        self._ids: list[Any] = []
        """Of each result, the id of the proposal that it answers; None if that is not known."""
        self._next_id = 0
        self._pending: list[Point] = []
        self._decisions: list[Decision] = []

    def __repr__(self) -> str:
        aims = [
            f"{'maximize' if sign > 0 else 'minimize'} {name}"
            for name, sign in zip(self.space.objectives, self.space.signs, strict=True)
        ]
        limits = f" under {_few(list(self.space.limits))}" if self.space.limits else ""
        counts = [f"{len(self._results)} results", *([f"{len(self._pending)} pending"] if self._pending else [])]
        return (
            f"<{type(self).__name__}: {_few(aims, ' and ') or 'explore'} over {_few(self.space.names)}{limits}; "
            f"{', '.join(counts)}>"
        )

    # -- gest-api ----------------------------------------------------------------------------------------------

    def suggest(self, num_points: int | None = None) -> list[Point]:
        """The next points to measure.

        Parameters
        ----------
        num_points : int, optional
            Number of points; 1 by default.

        Returns
        -------
        list of dict
            Points: variables and constants by name, contextual variables at their latest measured values, and under
            ``_id`` an integer that no other proposal of this agent has.

        Raises
        ------
        BadInputError
            If `num_points` is not a positive integer.
        AgentError
            If the agent made a non-finite point or the wrong number of points.
        NoMoreProposals
            If the agent has fewer than `num_points` points left.
        """
        if num_points is not None and (isinstance(num_points, bool) or not isinstance(num_points, (int, np.integer))):
            raise BadInputError(f"suggest({num_points!r}): the number of points must be a positive integer")
        count = 1 if num_points is None else int(num_points)
        if count < 1:
            raise BadInputError(f"suggest({num_points!r}): the number of points must be a positive integer")
        points: list[Point] = []
        self._decisions = []
        context = latest_context(self.space, self._results)
        for unit, decision in self._propose(count):
            if not np.isfinite(unit).all():
                raise AgentError(f"{type(self).__name__} proposed {unit}, which is not finite: its model has failed")
            (values,) = self.space.points(unit)
            points.append({**values, **context, **self.space.constants})
            self._decisions.append(decision)
        if len(points) != count:
            raise AgentError(f"{type(self).__name__} made {len(points)} proposals where {count} were requested")
        first = max(self._next_id, self._made)
        for number, point in enumerate(points, first):
            point[AGENT_ID] = number
        self._next_id = first + count
        self._pending.extend(dict(point) for point in points)
        return points

    def ingest(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Add measured results.

        Parameters
        ----------
        results : sequence of mapping
            Each result holds every variable and outcome of the VOCS, and optionally ``<name>_std``, the standard
            deviation of an outcome in its own unit. A NaN or infinite outcome is an invalid measurement. A result with
            the ``_id`` of a pending proposal ends it, wherever the motors were read; a result without an id ends the
            proposal at exactly the same variables. ``<variable>_asked`` are the proposed values, for an agent that did
            not make the proposal itself. Other keys are ignored.

        Raises
        ------
        BadInputError
            If a key is missing or a value is not a number; no result is added in this case.
        """
        taken = [(self._checked(result), self._checked_asked(result)) for result in results]
        for given, (result, asked) in zip(results, taken, strict=True):
            proposed = self._forget_pending(given)
            self._results.append(result)
            self._asked.append(asked or proposed or {name: result[name] for name in self.space.names})
            self._ids.append(given.get(AGENT_ID))
            if type(given.get(AGENT_ID)) is int:
                self._next_id = max(self._next_id, given[AGENT_ID] + 1)
        if taken:
            self._learn()

    def withdraw(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Forget proposals that will receive no result, for example because their run has ended.

        Parameters
        ----------
        points : sequence of mapping
            Points as `suggest` returned them. Each withdraws the pending proposal with its ``_id``; a point without an
            id, the one with exactly the same variables. Other points are ignored.
        """
        for point in points:
            self._forget_pending(point)

    def finalize(self) -> None:
        """Do nothing: agents hold no files or connections, and a background fit ends by itself."""

    # -- beyond gest-api ---------------------------------------------------------------------------------------

    @property
    def results(self) -> tuple[Point, ...]:
        """All ingested results, in order, with the ids of their proposals.

        With ``<variable>_asked`` if the motors were read elsewhere than proposed.
        """
        told = []
        for result, asked, by_id in zip(self._results, self._asked, self._ids, strict=True):
            elsewhere = any(result[name] != value for name, value in asked.items())
            told.append(
                {
                    **result,
                    **({} if by_id is None else {AGENT_ID: by_id}),
                    **({name + ASKED: value for name, value in asked.items()} if elsewhere else {}),
                }
            )
        return tuple(told)

    @property
    def pending(self) -> tuple[Point, ...]:
        """The pending proposals, in the order in which they were made."""
        return tuple(dict(point) for point in self._pending)

    def decisions(self) -> list[Decision]:
        """The explanation of each point of the latest ``suggest``, in the same order."""
        return list(self._decisions)

    def start_from(self, point: Mapping[str, float]) -> None:
        """Take the present position of the beamline as the default value of each variable that has none.

        The call has no effect if the agent has results or pending proposals, so that a run can be continued. A position
        outside the domain is ignored, because the agent may not propose it.

        Parameters
        ----------
        point : mapping of str to float
            Positions in the variables' own units.
        """
        if self._results or self._pending:
            return
        whole = Space(self.vocs)
        for name, low, high in zip(whole.names, whole.low, whole.high, strict=True):
            variable = self.vocs.variables[name]
            if variable.default_value is None and name in point:
                value = float(point[name])
                if low <= value <= high:
                    variable.default_value = value

    def search_within(self, bounds: Mapping[str, tuple[float, float]]) -> None:
        """Search only this part of the domain.

        All later proposals and recommendations lie inside. Results outside it are still learned from. An option that is
        a share of the domain is a share of this part. The present position, if outside, is replaced by the nearest
        point inside. The part belongs neither to the VOCS nor to ``config()``: whoever restores the agent repeats the
        call. Each call replaces the one before; without any bounds, the whole domain is searched.

        Parameters
        ----------
        bounds : mapping of str to (low, high)
            In motor units, of some or all variables; an end may be infinite or lie outside the domain.

        Raises
        ------
        BadInputError
            If a variable is unknown, nothing of its domain lies within its bounds, the agent can propose nothing there,
            or proposals are pending; the agent searches as before.
        """
        part = Space(self.vocs).within(bounds)
        if self._pending:
            raise BadInputError(
                f"search_within({dict(bounds)}): {len(self._pending)} proposals are pending; call it before the first "
                "suggest, or withdraw them"
            )
        self._search_instead("space", part)

    def best(self) -> Recommendation:
        """The best feasible measured point of the searched part; if none is feasible, the best of the valid ones.

        With several objectives, it is the point nearest to the best of each.

        Raises
        ------
        AgentError
            If no valid result has been ingested, or the VOCS has no objective.
        """
        if not self.space.objectives:
            raise AgentError(
                f"the VOCS has no objective, so none of the {len(self._results)} results is better than the others: "
                "read them all from the agent's results"
            )
        valid = [i for i, result in enumerate(self._results) if self._scored(result) and self._reachable(i)]
        if not valid:
            raise AgentError(
                f"no valid measurement of {' and '.join(map(repr, self.space.objectives))} among {len(self._results)} "
                "results inside the searched domain: there is no best point yet"
            )
        feasible = [i for i in valid if self.space.feasible(self._results[i])]
        candidates = [self._results[i] for i in self._trusted(feasible) or feasible or valid]
        chosen = candidates[self._best_index(candidates)]
        return self._as_best(chosen, bool(feasible))

    def predict(self, points: Sequence[Mapping[str, Any]]) -> Prediction:
        """The model's prediction at n points; empty for an agent without a model. See `Prediction`."""
        return {}

    def config(self) -> dict[str, Any]:
        """The agent as JSON: ``{"agent": name, "vocs": {...}, "options": {...}}``."""
        return {"agent": self.name, "vocs": vocs_dict(self.vocs), "options": self.options.model_dump(mode="json")}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The agent that ``config()`` described, without its results.

        Raises
        ------
        BadInputError
            If a key is missing or unknown, or the configuration describes an agent of another class.
        """
        name, vocs, options = parts_of(config)
        if name == getattr(cls, "name", None):  # works without an entry point
            return cls(vocs, **options)
        agent = make_agent(config)
        if not isinstance(agent, cls):
            raise BadInputError(f"the configuration describes a {name!r}, not a {cls.__name__}")
        return agent

    def ingest_prior(self, results: Sequence[Mapping[str, Any]], label: str = "prior") -> None:
        """Add results of a past experiment, which may or may not apply to the present one.

        Parameters
        ----------
        results : sequence of mapping
            As for `ingest`; all from the same past experiment.
        label : str
            Name of the past experiment, for example the uid of its run.

        Raises
        ------
        BadInputError
            If this agent cannot learn from the past, or a key is missing.
        """
        raise BadInputError(
            f"{type(self).__name__} learns nothing from past results ({label!r}): use 'bayesian', or leave prior= out"
        )

    # -- for subclasses ----------------------------------------------------------------------------------------

    @abstractmethod
    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        """`count` points of the unit cube, shape (d,) each, with their decisions.

        A point outside the cube is proposed unchanged and refused by the plan's gate: see `Space.points`.
        """

    def _learn(self) -> None:
        """Update the agent after new results; most agents do nothing here."""

    def _space_changed(self) -> None:
        """Update the agent after `space` was replaced; most agents do nothing here."""

    def _search_instead(self, name: str, value: Any) -> None:
        """Replace `space`, or another attribute that says what is searched; if that is refused, all is as before."""
        before = getattr(self, name)
        setattr(self, name, value)
        try:
            self._space_changed()
        except BadInputError:
            setattr(self, name, before)
            self._space_changed()
            raise

    def _reachable(self, i: int) -> bool:
        """Whether result `i` lies in the searched part. The proposal decides, because motors read slightly off it."""
        return self.space.holds(self._asked[i])

    def _best_index(self, candidates: Sequence[Point]) -> int:
        """Index of the best of the candidates, which are all valid and either all feasible or all infeasible."""
        measured = [[float(result[name]) for result in candidates] for name in self.space.objectives]
        return most_wanted(self.space.signs[:, None] * np.array(measured))

    def _scored(self, result: Point) -> bool:
        """Whether every objective was measured."""
        return all(math.isfinite(result[name]) for name in self.space.objectives)

    def _trusted(self, feasible: Sequence[int]) -> Sequence[int]:
        """The feasible results, by index, that are likely to be feasible again."""
        return feasible

    def _as_best(self, result: Point, feasible: bool) -> Recommendation:
        """A result with the model's prediction at its point."""
        prediction = self.predict([result])
        return Recommendation(
            point=self.space.clipped(result),
            outcome={name: float(result[name]) for name in outcome_names(self.vocs)},
            mean={name: float(mean[0]) for name, (mean, _) in prediction.items()},
            std={name: float(std[0]) for name, (_, std) in prediction.items()},
            feasible=feasible,
        )

    def _validate_vocs(self, vocs: VOCS) -> None:
        if len(vocs.objectives) != 1:
            raise BadInputError(
                f"{type(self).__name__} takes one objective, the VOCS has {list(vocs.objectives)}: "
                "keep one and make the others constraints"
            )

    def _rng(self) -> np.random.Generator:
        """Random numbers that depend only on the seed, the number of results and the number of pending proposals."""
        return np.random.default_rng([self.options.seed, len(self._results), len(self._pending)])

    @property
    def _made(self) -> int:
        """Number of results plus pending proposals."""
        return len(self._results) + len(self._pending)

    def _checked(self, result: Mapping[str, Any]) -> Point:
        needed = [*self.space.names, *self.space.context, *outcome_names(self.vocs)]
        missing = [name for name in needed if name not in result]
        if missing:
            raise BadInputError(f"the result {dict(result)} lacks {missing}: give all variables and outcomes")
        known = [*needed, *(name + STD for name in outcome_names(self.vocs) if name + STD in result)]
        taken: Point = {}
        for key in known:
            value = result[key]
            try:
                if isinstance(value, (str, bytes)):  # float() would accept "1.5"
                    raise TypeError
                taken[key] = float(value)
            except (TypeError, ValueError) as error:
                raise BadInputError(f"the result's {key!r} is {value!r}: it must be a number") from error
            if not math.isfinite(taken[key]):
                if key in self.space.names:
                    raise BadInputError(f"the result's variable {key!r} is {value!r}: it must be finite")
                taken[key] = math.nan
        return taken

    def _checked_asked(self, result: Mapping[str, Any]) -> Point | None:
        """The proposed variables that a result holds; None if it lacks one."""
        if not all(name + ASKED in result for name in self.space.names):
            return None
        point = {name: to_float(result[name + ASKED]) for name in self.space.names}
        if not all(map(math.isfinite, point.values())):
            raise BadInputError(f"the result's proposed values are {point}: they must be finite")
        return point

    def _forget_pending(self, answered: Mapping[str, Any]) -> Point | None:
        """Remove the pending proposal that a result or a withdrawal answers; returns its variables, or None."""
        by_id, names = answered.get(AGENT_ID), self.space.names
        for i, point in enumerate(self._pending):
            same = all(point[n] == answered.get(n) for n in names) if by_id is None else point[AGENT_ID] == by_id
            if same:
                del self._pending[i]
                return {name: point[name] for name in names}
        return None


def _few(names: Sequence[str], separator: str = ", ") -> str:
    """The first names of a list, and how many more there are."""
    shown = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
    return separator.join(shown)


def latest_context(space: Space, results: Sequence[Point]) -> dict[str, float]:
    """The contextual variables at their latest measured values; without any, at their defaults or 0."""
    for result in reversed(results):
        values = {name: float(result[name]) for name in space.context}
        if all(math.isfinite(value) for value in values.values()):
            return values
    return {name: float(space.vocs.variables[name].default_value or 0.0) for name in space.context}


def most_wanted(gains: FloatArray) -> int:
    """Index of the best of n points by m gains, shape (m, n); more is better.

    With m > 1, it is the point nearest to the best value of each gain, in units of the gain's range.
    """
    if len(gains) == 1:
        return int(np.argmax(gains[0]))
    span = np.ptp(gains, axis=1, keepdims=True)
    short = (gains.max(axis=1, keepdims=True) - gains) / np.where(span > 0.0, span, 1.0)
    return int(np.argmin(np.sum(short**2, axis=0)))
