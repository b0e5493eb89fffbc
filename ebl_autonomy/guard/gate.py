"""The gate between every decision and every motor: it admits a whole move, or refuses it with the value and the rule.

The gate never clips. It checks what an agent, a plan or a remote caller proposes against the VOCS's domain, the
devices' own limits, the user's limits, forbidden regions and step limits, and the budgets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, Final

import numpy as np
from gest_api.vocs import ContextualVariable, DiscreteVariable

from ebl_autonomy.errors import BadInputError, BudgetSpentError, RefusedError
from ebl_autonomy.guard.crossing import because, check_inside, check_straight, check_sweep, named
from ebl_autonomy.guard.dose import DoseCount
from ebl_autonomy.guard.envelope import Envelope, Interval, Region
from ebl_autonomy.guard.moves import AdmittedMove, Line, Move, note_admission
from ebl_autonomy.guard.routes import detour, waypoints
from ebl_autonomy.records import Decision
from ebl_autonomy.space import VOCS

__all__ = ["Gate", "Rule"]

Rule = Callable[[Move], None]
"""A custom rule: raises `RefusedError` if the move must not be made, for example because the decision behind it is too
uncertain."""

ROUNDING: Final = 1e-9
"""Relative amount by which a step may exceed its limit, because evenly spaced way-points are rounded."""


class Gate:
    """Judges the moves of one run and keeps its budgets.

    Parameters
    ----------
    vocs : VOCS or None
        Proposals must lie in its domain; None for motors that no agent steers.
    envelope : Envelope
    limits : mapping of str to (low, high) or None
        The devices' own limits of every motor that may move, in motor units: the VOCS's variables and other motors.
        None for a motor without limits of its own, which its variable's domain then bounds.
    rules : sequence of Rule
        Custom rules, judged last.

    Attributes
    ----------
    limits : dict of str to (low, high)
        Effective limits of each motor, in motor units: the overlap of its own limits and the envelope's; the domain of
        a variable whose motor has neither.
    bounded_by_domain : list of str
        The motors that have limits neither of their own nor in the envelope.
    points : int
        Number of recorded rows.
    doses : DoseCount
        The dose of all exposures, by the envelope's ``dose_key``.

    Raises
    ------
    BadInputError
        If a motor that is no variable has limits neither of its own nor in the envelope, the two intervals of a motor
        do not overlap, or the envelope names unknown motors.
    """

    def __init__(
        self,
        vocs: VOCS | None,
        envelope: Envelope,
        limits: Mapping[str, Interval | None],
        rules: Sequence[Rule] = (),
    ) -> None:
        variables = vocs.variables if vocs is not None else {}
        self._variables = {n: v for n, v in variables.items() if not isinstance(v, ContextualVariable)}
        self._choices = {
            name: {float(value) for value in variable.values}
            for name, variable in self._variables.items()
            if isinstance(variable, DiscreteVariable)
        }
        self._known_keys = {*variables, *(vocs.constants if vocs is not None else ()), "_id"}
        self._rules = tuple(rules)
        self.envelope = envelope
        motors = [*self._variables, *(name for name in limits if name not in self._variables)]
        envelope.check_names(motors)
        self.limits: dict[str, Interval] = {}
        self.bounded_by_domain: list[str] = []
        for name in motors:
            own, given = limits.get(name), envelope.limits.get(name)
            if own is None and given is None:
                if name in self._variables:
                    self.limits[name] = _domain(self._variables[name])
                    self.bounded_by_domain.append(name)
                    continue
                raise BadInputError(
                    f"motor {name!r} has no limits of its own: set its soft limits, or give "
                    f"envelope={{'limits': {{{name!r}: [low, high]}}}}"
                )
            low = max(interval[0] for interval in (own, given) if interval is not None)
            high = min(interval[1] for interval in (own, given) if interval is not None)
            if low > high:
                raise BadInputError(f"motor {name!r}: its own limits {own} and the envelope's {given} do not overlap")
            self.limits[name] = (low, high)
        self.points = 0
        self.doses = DoseCount(envelope.dose_key)

    def walls(self, start: Mapping[str, float]) -> list[Region]:
        """The regions that no way leads around from `start`: they name one motor alone, and no move may cross them."""
        return [
            region
            for region in self.envelope.forbidden
            if region.sweep and {*region.box} <= {*start} and len(region.box) == 1
        ]

    def search_bounds(self, start: Mapping[str, float] | None = None) -> dict[str, Interval]:
        """The part of each variable's domain that its motor can reach, in motor units; the ends of a discrete variable
        are values of it.

        Parameters
        ----------
        start : mapping of str to float, optional
            Where motors stand that reach only their own side of `walls`, in motor units.

        Raises
        ------
        BadInputError
            If a motor can reach no value of its variable, or only one end of its domain.
        """
        bounds = {}
        for name, variable in self._variables.items():
            (low, high), limit = _domain(variable), self._reach(name, start or {})
            reached = {max(low, limit[0]), min(high, limit[1])}
            if name in self._choices:
                reached = {value for value in self._choices[name] if limit[0] <= value <= limit[1]}
            if high < limit[0] or low > limit[1] or not reached:
                raise BadInputError(
                    f"variable {name!r} has the domain {self._domain_text(name)}, which lies outside the motor's "
                    f"limits {limit}: change the domain or the limits"
                )
            if len(reached) == 1 and name not in self._choices:
                raise BadInputError(
                    f"variable {name!r} has the domain {self._domain_text(name)}, of which the motor's limits {limit} "
                    f"leave only {min(reached)}: change the domain or the limits, or make it a constant"
                )
            bounds[name] = (min(reached), max(reached))
        return bounds

    def _reach(self, name: str, start: Mapping[str, float]) -> Interval:
        """The limits of a motor, without what lies in or behind a wall."""
        low, high = self.limits[name]
        for region in self.walls(start):
            if name in region.box:
                first, last = region.box[name]
                if start[name] < first:
                    high = min(high, math.nextafter(first, -math.inf))
                else:
                    low = max(low, math.nextafter(last, math.inf))
        return low, high

    def narrowed(self, bounds: Mapping[str, Interval]) -> list[str]:
        """The variables of which `bounds` (see `search_bounds`) hold only a part of the domain."""
        return [name for name, ends in bounds.items() if ends != _domain(self._variables[name])]

    def _domain_text(self, name: str) -> str:
        return str(sorted(self._choices[name]) if name in self._choices else list(_domain(self._variables[name])))

    # -- moves -------------------------------------------------------------------------------------------------

    def check(self, proposal: Any, here: Mapping[str, float]) -> dict[str, float]:
        """The targets of the motors, in motor units, exactly as proposed; see `admit`.

        Raises
        ------
        RefusedError
            As `admit` does.
        """
        return dict(self.admit(proposal, here).target)

    def admit(
        self,
        proposal: Any,
        here: Mapping[str, float],
        decision: Decision | None = None,
        line_of: Callable[[Mapping[str, float]], Line | None] | None = None,
    ) -> AdmittedMove:
        """Judge the move that a proposal requests.

        Parameters
        ----------
        proposal : anything
            What the agent returned; a valid proposal maps variable names to numbers.
        here : mapping of str to float
            Present motor positions, in motor units. If empty, rules about the path are not judged and the move must not
            be made.
        decision : Decision, optional
            What the agent says about the proposal.
        line_of : callable, optional
            Maps the target to the fly line that starts there.

        Returns
        -------
        AdmittedMove
            The admitted move, with targets exactly as proposed.

        Raises
        ------
        RefusedError
            With the rule (``"type"``, ``"keys"``, ``"domain"``, ``"limits"``, ``"forbidden"``, ``"step"``), the value
            and the remedy.
        """
        self._check_form(proposal)
        target = {name: float(proposal[name]) for name in self._variables}
        self._check_domain(target)
        line = line_of(target) if line_of is not None else None
        return self.check_move(Move(target, here, line, decision))

    def check_move(self, move: Move) -> AdmittedMove:
        """Judge one move of any origin, for example of a plan that returns the motors or of a user's stub.

        Raises
        ------
        RefusedError
            As `admit` does, and if the move names a motor that this gate does not know.
        """
        if strangers := sorted({*move.target, *(move.line.start if move.line else ())} - set(self.limits)):
            raise RefusedError("limits", f"{strangers} are not among the motors of this gate, {sorted(self.limits)}")
        if move.bound_by_domain:
            self._check_domain(move.target)
        self._check_point(move.target)
        first = {**move.here, **move.target}  # motors that stand still are part of where a move ends
        if move.line is not None:
            first.update(move.line.ends()[0])
        self._check_step(move.here, first)
        for region in self.envelope.forbidden:
            check_inside(region, first)
            if region.sweep:
                check_sweep(region, move.here, first)
        if move.line is not None:
            self._check_line(move.line, first, move.bound_by_domain)
        for rule in self._rules:
            rule(move)
        admitted = AdmittedMove(dict(move.target), dict(move.here), move.line)
        note_admission(admitted)
        return admitted

    def plan_route(
        self,
        here: Mapping[str, float],
        goal: Mapping[str, float],
        bound_by_domain: bool = True,
        tolerance: Mapping[str, float] | None = None,
    ) -> list[AdmittedMove]:
        """The steps of a way to `goal`: straight, or around the forbidden regions, each step judged.

        Parameters
        ----------
        here : mapping of str to float
            Present positions of the motors, in motor units.
        goal : mapping of str to float
            Targets of the motors that move, in motor units.
        bound_by_domain : bool
            Whether the goal must lie in the VOCS's domain. The way itself may leave it, but never the limits.
        tolerance : mapping of str to float, optional
            How far from its target a motor may stop, in motor units: steps are shorter than `Envelope.max_step` by as
            much, or by half of it at most, so that the next one is not too long.

        Raises
        ------
        RefusedError
            If a rule refuses the goal, or no allowed way leads there.
        """
        if bound_by_domain:
            self._check_domain(goal)
        spare = tolerance or {}
        lengths = {name: most - min(spare.get(name, 0.0), 0.5 * most) for name, most in self.envelope.max_step.items()}
        try:
            return self._judged_steps(here, [dict(goal)], lengths)
        except RefusedError as error:
            if error.rule != "forbidden":
                raise
            straight = error

        def is_clear(start: Mapping[str, float], stop: Mapping[str, float]) -> bool:
            return self._is_clear(start, stop, lengths)

        corners = detour(here, goal, self.envelope.forbidden, self.limits, self._choices, is_clear)
        if corners is None:
            raise RefusedError("forbidden", f"{straight.message}, and no way leads around it") from straight
        return self._judged_steps(here, corners, lengths)

    def _judged_steps(
        self, here: Mapping[str, float], corners: Sequence[Mapping[str, float]], lengths: Mapping[str, float]
    ) -> list[AdmittedMove]:
        steps, at = [], dict(here)
        for corner in corners:
            for point in self._waypoints(at, corner, lengths):
                steps.append(self.check_move(Move(point, dict(at), bound_by_domain=False)))
                at.update(steps[-1].target)
        return steps

    def _on_values(self, point: Mapping[str, float]) -> dict[str, float]:
        """A point of a way, with discrete variables at the nearest of their values: they stop nowhere else."""
        return {
            name: min(self._choices[name], key=lambda choice: abs(choice - value)) if name in self._choices else value
            for name, value in point.items()
        }

    def _waypoints(
        self, start: Mapping[str, float], stop: Mapping[str, float], lengths: Mapping[str, float]
    ) -> list[dict[str, float]]:
        *between, last = waypoints(start, stop, lengths)
        return [*map(self._on_values, between), last]

    def _is_clear(self, start: Mapping[str, float], stop: Mapping[str, float], lengths: Mapping[str, float]) -> bool:
        """Whether the motors may go straight from one point to another, with stops on the way as `lengths` demand."""
        stops = self._waypoints(start, stop, lengths)
        try:
            for region in self.envelope.forbidden:
                for point in stops:
                    check_inside(region, {**start, **point})
                if region.sweep:
                    check_sweep(region, start, stop)
        except RefusedError:
            return False
        return True

    def check_start(self, here: Mapping[str, float]) -> None:
        """Refuse to begin where every move would be refused.

        Raises
        ------
        BadInputError
            If the motors stand in a forbidden region that no move may cross.
        """
        for region in self.envelope.forbidden:
            if region.sweep and region.contains(here):
                raise BadInputError(
                    f"the motors stand at {named(region, here)}, in the forbidden region {region.box}"
                    f"{because(region)}: move them out of it before the run, or change the region"
                )

    def _check_line(self, line: Line, first: Mapping[str, float], bound_by_domain: bool) -> None:
        begin, end = line.ends()
        for part in (line.start, line.stop) if bound_by_domain else ():
            self._check_domain(part)
        for part in (begin, end):
            try:
                self._check_point(part)
            except RefusedError as error:
                run_up = {name: extra for name, extra in line.overrun.items() if extra}
                raise RefusedError(
                    error.rule,
                    f"{error.message}; the line ends there, with the run-up {run_up}: shorten the line or fly slower",
                ) from error
        self._check_step(begin, end)
        for region in self.envelope.forbidden:
            check_straight(region, first, {**first, **end})

    def _check_point(self, target: Mapping[str, float]) -> None:
        for name, value in target.items():
            low, high = self.limits[name]
            if not low <= value <= high:
                raise RefusedError("limits", f"{name} = {value!r} is outside its limits [{low}, {high}]")

    def _check_step(self, here: Mapping[str, float], target: Mapping[str, float]) -> None:
        for name, most in self.envelope.max_step.items():
            if name not in target or name not in here:
                continue
            if not abs(target[name] - here[name]) <= most * (1.0 + ROUNDING):
                raise RefusedError(
                    "step",
                    f"{name} would move by {abs(target[name] - here[name])!r} from {here[name]!r} to {target[name]!r}, "
                    f"more than {most}",
                )

    def _check_domain(self, target: Mapping[str, float]) -> None:
        for name, value in target.items():
            variable = self._variables.get(name)
            if name in self._choices:
                if value not in self._choices[name]:
                    raise RefusedError(
                        "domain", f"{name} = {value!r} is not among its values {sorted(self._choices[name])}"
                    )
            elif variable is not None:
                low, high = _domain(variable)
                if not low <= value <= high:
                    raise RefusedError("domain", f"{name} = {value!r} is outside the variable's domain [{low}, {high}]")

    def _check_form(self, proposal: Any) -> None:
        if not isinstance(proposal, Mapping):
            raise RefusedError("type", f"a proposal must map variables to numbers, but this is {_short(proposal)}")
        missing = [name for name in self._variables if name not in proposal]
        unknown = [key for key in proposal if key not in self._known_keys]
        if missing or unknown:
            raise RefusedError("keys", f"the proposal lacks {missing} and has unknown {_short(unknown)}")
        for name in self._variables:
            value = proposal[name]
            # bool is a Real, but not a position.
            if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
                raise RefusedError("type", f"{name} = {_short(value)} is not a number")
            if not math.isfinite(value):
                raise RefusedError("type", f"{name} = {value} is not finite")

    # -- budgets -----------------------------------------------------------------------------------------------

    def check_budget(self, seconds: float, rows: int = 1) -> None:
        """Check whether `rows` more rows may be measured.

        Parameters
        ----------
        seconds : float
            Wall-clock seconds since the start of the run.
        rows : int
            Number of rows that the next proposal will record.

        Raises
        ------
        BudgetSpentError
            If a budget is used up, with the rule ``"points"``, ``"seconds"`` or ``"dose"``.
        """
        envelope = self.envelope
        if envelope.max_points is not None and self.points + rows > envelope.max_points:
            more = f", the next proposal has {rows}" if rows > 1 else ""
            raise BudgetSpentError(
                "points", f"{self.points} points were measured, {envelope.max_points} are allowed{more}"
            )
        if envelope.max_seconds is not None and seconds >= envelope.max_seconds:
            raise BudgetSpentError("seconds", f"{seconds:.1f} s have passed, {envelope.max_seconds} s are allowed")
        if envelope.max_dose is not None and self.dose >= envelope.max_dose:
            raise BudgetSpentError(
                "dose",
                f"the dose is {float(f'{self.dose:.9g}')}{self.doses.unknown}, {envelope.max_dose} is allowed",
            )

    @property
    def dose(self) -> float:
        """The dose of all exposures so far; infinite if one is unknown."""
        return self.doses.spent

    def spend(self, *rows: Mapping[str, Any]) -> None:
        """Count the recorded rows of one exposure and their dose."""
        self.points += len(rows)
        self.doses = self.doses.after(rows)

    def lose(self, readings: Sequence[Mapping[str, Any]] = ()) -> None:
        """Count the dose of an exposure that left no row; `readings` holds what was read of it."""
        self.doses = self.doses.after_lost(readings)


def _domain(variable: Any) -> Interval:
    if isinstance(variable, DiscreteVariable):
        values = [float(v) for v in variable.values]
        return min(values), max(values)
    low, high = variable.domain
    return float(low), float(high)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
