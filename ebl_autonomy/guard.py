"""The gate between every decision and every motor: a proposal passes it whole, or is refused with value and rule.

Nothing is clipped. What an agent, a plan or a remote caller proposes is checked against the VOCS's domain, the
devices' own limits, the user's limits, forbidden regions and step limits, and the budgets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from gest_api.vocs import ContextualVariable, DiscreteVariable
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ebl_autonomy.errors import BadInputError, BudgetSpentError, RefusedError, validation_text
from ebl_autonomy.space import VOCS

__all__ = ["Envelope", "Gate", "Region"]

Interval = tuple[float, float]


class Region(BaseModel):
    """A box that no point may lie in.

    Attributes
    ----------
    box : dict of str to (low, high)
        Motors and their intervals, ends included, in motor units; a motor that is not named is unbounded, so that
        a box of two motors forbids these two together whatever the others do.
    sweep : bool
        Refuse also a move whose path might cross the box. Motors move at the same time at speeds of their own, so
        the path can be anywhere between start and goal: the smallest box around the two is what must stay clear.
    reason : str
        Shown when the region refuses a point, for example ``"beam stop in the way"``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    box: dict[str, Interval] = Field(min_length=1)
    sweep: bool = False
    reason: str = ""

    @field_validator("box")
    @classmethod
    def _ordered(cls, box: dict[str, Interval]) -> dict[str, Interval]:
        return {name: _ordered_interval(name, interval) for name, interval in box.items()}


class Envelope(BaseModel):
    """What the user allows, on top of the VOCS's domain and the devices' own limits.

    Attributes
    ----------
    limits : dict of str to (low, high)
        Per motor, in motor units. A motor that has no limits of its own needs one here.
    forbidden : list of Region
    max_step : dict of str to float
        The largest single move of a motor, in motor units.
    max_points, max_seconds, max_dose : optional
        Budgets of the whole run: accepted points, wall seconds, and the sum of the readings of `dose_key`.
    dose_key : str, optional
        Event key that tells the dose of one point; needed with `max_dose`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    limits: dict[str, Interval] = {}
    forbidden: list[Region] = []
    max_step: dict[str, float] = {}
    max_points: int | None = Field(default=None, ge=1)
    max_seconds: float | None = Field(default=None, gt=0)
    max_dose: float | None = Field(default=None, gt=0)
    dose_key: str | None = None

    @field_validator("limits")
    @classmethod
    def _ordered(cls, limits: dict[str, Interval]) -> dict[str, Interval]:
        return {name: _ordered_interval(name, interval) for name, interval in limits.items()}

    @field_validator("max_step")
    @classmethod
    def _positive(cls, max_step: dict[str, float]) -> dict[str, float]:
        for name, step in max_step.items():
            if not step > 0:
                raise ValueError(f"max_step of {name!r} is {step}: it must be positive")
        return max_step

    @classmethod
    def of(cls, envelope: Envelope | Mapping[str, Any] | None) -> Envelope:
        """The envelope itself, the one that a JSON mapping describes, or one that allows everything.

        Raises
        ------
        BadInputError
            If it is no mapping, or the mapping has an unknown key or a wrong value: names it.
        """
        if isinstance(envelope, Envelope):
            return envelope
        if not isinstance(envelope, Mapping | None):
            raise BadInputError(f"envelope={_short(envelope)}: give an Envelope, or a mapping of its fields")
        try:
            made = cls.model_validate(dict(envelope or {}))
        except ValidationError as error:
            raise BadInputError(
                f"envelope: {validation_text(error)}. Its keys are {sorted(cls.model_fields)}."
            ) from error
        return made

    def check_names(self, motors: list[str]) -> None:
        """Refuse an envelope that speaks of motors which are not there: a misspelt rule would protect nothing."""
        named = {*self.limits, *self.max_step, *(name for region in self.forbidden for name in region.box)}
        if unknown := sorted(named - set(motors)):
            raise BadInputError(f"the envelope names {unknown}, which are not among the motors {motors}")
        if self.max_dose is not None and self.dose_key is None:
            raise BadInputError("the envelope has max_dose but no dose_key: name the event key that tells the dose")


class Gate:
    """Checks proposals of one run, and keeps its budgets.

    Parameters
    ----------
    vocs : VOCS
    envelope : Envelope
    limits : mapping of str to (low, high)
        The devices' own limits, for every variable that is moved.

    Raises
    ------
    BadInputError
        If a motor has neither limits of its own nor some in the envelope, or the envelope names unknown motors.
    """

    def __init__(self, vocs: VOCS, envelope: Envelope, limits: Mapping[str, Interval | None]) -> None:
        self._vocs = vocs
        self.envelope = envelope
        self._moved = [n for n, v in vocs.variables.items() if not isinstance(v, ContextualVariable)]
        envelope.check_names(self._moved)
        self.limits: dict[str, Interval] = {}
        for name in self._moved:
            own, given = limits.get(name), envelope.limits.get(name)
            if own is None and given is None:
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
        self.dose = 0.0
        self._unknown = ""

    def check_domain(self) -> None:
        """Refuse a VOCS whose domain no allowed point lies in, before anything moves."""
        for name in self._moved:
            low, high = _domain(self._vocs.variables[name])
            limit = self.limits[name]
            if high < limit[0] or low > limit[1]:
                raise BadInputError(
                    f"variable {name!r} has the domain [{low}, {high}], which lies outside the motor's limits "
                    f"{limit}: change the one or the other"
                )

    def check(self, proposal: Any, here: Mapping[str, float]) -> dict[str, float]:
        """The targets of the motors, exactly as proposed.

        Parameters
        ----------
        proposal : anything
            What an agent answered; a mapping of variable name to number if the agent behaves.
        here : mapping of str to float
            Where the motors stand (or will stand, within a batch), for the step limits.

        Raises
        ------
        RefusedError
            With the rule (``"type"``, ``"keys"``, ``"domain"``, ``"limits"``, ``"forbidden"``, ``"step"``), the value
            and the remedy.
        """
        target = self._numbers(proposal)
        self.check_target(target, here)
        return target

    def check_target(self, target: Mapping[str, float], here: Mapping[str, float], domain: bool = True) -> None:
        """The same rules for a point that the plan itself goes to, such as back to the start.

        Parameters
        ----------
        target, here : mapping of str to float
        domain : bool
            Whether the VOCS's domain binds; where the motors came from may lie outside it.

        Raises
        ------
        RefusedError
        """
        for name, value in target.items():
            if domain:
                self._check_domain_of(name, value)
            low, high = self.limits[name]
            if not low <= value <= high:
                raise RefusedError("limits", f"{name} = {value!r} is outside its limits [{low}, {high}]")
            step, most = abs(value - float(here.get(name, value))), self.envelope.max_step.get(name, math.inf)
            if not step <= most:
                raise RefusedError(
                    "step", f"{name} would move by {step!r} from {here[name]!r} to {value!r}, more than {most}"
                )
        for region in self.envelope.forbidden:
            self._check_region(region, target, here)

    def check_budget(self, seconds: float) -> None:
        """Whether another point may be measured.

        Parameters
        ----------
        seconds : float
            Wall seconds since the run began.

        Raises
        ------
        BudgetSpentError
            With rule ``"points"``, ``"seconds"`` or ``"dose"``.
        """
        envelope = self.envelope
        if envelope.max_points is not None and self.points >= envelope.max_points:
            raise BudgetSpentError("points", f"{self.points} points were measured, {envelope.max_points} are allowed")
        if envelope.max_seconds is not None and seconds >= envelope.max_seconds:
            raise BudgetSpentError("seconds", f"{seconds:.1f} s have passed, {envelope.max_seconds} s are allowed")
        if envelope.max_dose is not None and self.dose >= envelope.max_dose:
            raise BudgetSpentError("dose", f"the dose is {self.dose}{self._unknown}, {envelope.max_dose} is allowed")

    def spend(self, readings: Mapping[str, Any]) -> None:
        """Count one accepted point and its dose."""
        self.points += 1
        key = self.envelope.dose_key
        if key is not None:
            dose = float(readings.get(key, math.nan))
            if not (math.isfinite(dose) and dose >= 0):
                # An unknown dose must not pass for none: it uses the budget up.
                self._unknown = f" ({key} read {dose}, which is no dose)"
                dose = math.inf
            self.dose += dose

    def _numbers(self, proposal: Any) -> dict[str, float]:
        if not isinstance(proposal, Mapping):
            raise RefusedError("type", f"a proposal must map variables to numbers, this is {_short(proposal)}")
        missing = [name for name in self._moved if name not in proposal]
        known = {*self._vocs.variables, *self._vocs.constants, "_id"}
        unknown = [key for key in proposal if key not in known]
        if missing or unknown:
            raise RefusedError("keys", f"the proposal lacks {missing} and has unknown {_short(unknown)}")
        return {name: self._number(name, proposal[name]) for name in self._moved}

    @staticmethod
    def _number(name: str, value: Any) -> float:
        # bool is a Real, but nobody means it as a position.
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
            raise RefusedError("type", f"{name} = {_short(value)} is no number")
        number = float(value)
        if not math.isfinite(number):
            raise RefusedError("type", f"{name} = {number} is not finite")
        return number

    def _check_domain_of(self, name: str, value: float) -> None:
        variable = self._vocs.variables[name]
        if isinstance(variable, DiscreteVariable):
            if value not in {float(v) for v in variable.values}:
                raise RefusedError("domain", f"{name} = {value!r} is none of its values {sorted(variable.values)}")
            return
        low, high = _domain(variable)
        if not low <= value <= high:
            raise RefusedError("domain", f"{name} = {value!r} is outside the variable's domain [{low}, {high}]")

    @staticmethod
    def _check_region(region: Region, target: Mapping[str, float], here: Mapping[str, float]) -> None:
        because = f" ({region.reason})" if region.reason else ""
        if all(low <= target[name] <= high for name, (low, high) in region.box.items()):
            raise RefusedError(
                "forbidden",
                f"{ {n: target[n] for n in region.box} } lies in the forbidden region {region.box}{because}",
            )
        if region.sweep and all(
            min(target[name], here.get(name, target[name])) <= high
            and max(target[name], here.get(name, target[name])) >= low
            for name, (low, high) in region.box.items()
        ):
            raise RefusedError(
                "forbidden",
                f"the way to { {n: target[n] for n in region.box} } may cross the region {region.box}{because}",
            )


def _ordered_interval(name: str, interval: Interval) -> Interval:
    low, high = interval
    if not low <= high:
        raise ValueError(f"{name!r} has [{low}, {high}]: the lower end must not be above the upper one")
    return low, high


def _domain(variable: Any) -> Interval:
    if isinstance(variable, DiscreteVariable):
        values = [float(v) for v in variable.values]
        return min(values), max(values)
    low, high = variable.domain
    return float(low), float(high)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
