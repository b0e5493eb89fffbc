"""The limits, regions and budgets that a user sets beyond the VOCS's domain and the devices' own limits."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, field_validator

from ebl_autonomy.errors import BadInputError, unknown_text, validated

__all__ = ["Envelope", "Interval", "Region", "renamed"]


def _with_open_sides(interval: Any) -> Any:
    """An interval in which None stands for an open side, as numbers."""
    if isinstance(interval, np.ndarray):
        interval = interval.tolist()
    if not isinstance(interval, Sequence) or len(interval) != 2:
        return interval
    low, high = interval
    return (-math.inf if low is None else low, math.inf if high is None else high)


def _as_json(interval: tuple[float, float]) -> tuple[float | None, float | None]:
    low, high = interval
    return (low if math.isfinite(low) else None, high if math.isfinite(high) else None)


Interval = Annotated[
    tuple[float, float], BeforeValidator(_with_open_sides), PlainSerializer(_as_json, when_used="json")
]
"""Low and high end, in motor units; infinite, or None in JSON, on an open side."""


class Region(BaseModel):
    """A forbidden box: no point may lie inside it, and no move may cross it.

    Attributes
    ----------
    box : dict of str to (low, high)
        Interval of each motor in motor units, ends included. The box is unbounded along a motor that is not named, so
        a box of two motors forbids that combination at all positions of the other motors.
    sweep : bool
        Whether to refuse also a move whose path might cross the box, as is the default. Motors move at the same time
        and at different speeds, so the path can run anywhere in the smallest box around start and target: that box must
        be clear. With False only the points themselves are judged.
    reason : str
        Shown when the region refuses a point, for example ``"beam stop in the way"``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    box: dict[str, Interval] = Field(min_length=1)
    sweep: bool = True
    reason: str = ""

    @field_validator("box")
    @classmethod
    def _ordered(cls, box: dict[str, Interval]) -> dict[str, Interval]:
        return {name: _ordered_interval(name, interval) for name, interval in box.items()}

    def contains(self, point: Mapping[str, float]) -> bool:
        """Whether `point` lies inside the box; False if it lacks one of the box's motors."""
        return all(name in point and low <= point[name] <= high for name, (low, high) in self.box.items())


class Envelope(BaseModel):
    """The limits, forbidden regions and budgets that a user sets beyond the VOCS's domain and the devices' own limits.

    Attributes
    ----------
    limits : dict of str to (low, high)
        Interval of each motor in motor units. A motor without limits of its own and without an entry here is bounded by
        the domain of its variable; a motor that is no variable needs an entry.
    forbidden : list of Region
    max_step : dict of str to float
        Largest single move of each motor, in motor units.
    max_points, max_seconds, max_dose : optional
        Budgets of the whole run: recorded rows (a fly line has many), wall-clock seconds, and the dose of all
        exposures. An exposure without a row, because it failed, counts with the dose that was read, or else with the
        largest dose of an exposure so far.
    dose_key : str, optional
        Event key that holds the dose of one row; required with `max_dose`.
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
        """The given envelope, the envelope that a JSON mapping describes, or one without restrictions for None.

        Raises
        ------
        BadInputError
            If `envelope` is not a mapping, or has an unknown key or a wrong value, which the message names.
        """
        return validated(cls, envelope, "envelope")

    @property
    def region_motors(self) -> set[str]:
        """The motors that the forbidden regions name."""
        return {name for region in self.forbidden for name in region.box}

    def boxes_over(self, names: Collection[str]) -> list[dict[str, Interval]]:
        """The boxes of the forbidden regions that name no motor but these, in motor units."""
        return [dict(region.box) for region in self.forbidden if {*region.box} <= {*names}]

    def renamed(self, aliases: Mapping[str, str]) -> Envelope:
        """The envelope with the motors that have an alias under the names that the aliases stand for.

        Raises
        ------
        BadInputError
            If a motor has entries under two names.
        """

        return self.model_copy(
            update={
                "limits": renamed(self.limits, aliases),
                "max_step": renamed(self.max_step, aliases),
                "forbidden": [
                    region.model_copy(update={"box": renamed(region.box, aliases)}) for region in self.forbidden
                ],
            }
        )

    def with_standing(self, moving: Collection[str], at: Mapping[str, float]) -> Envelope:
        """The envelope of some motors while all others stand still.

        A forbidden region whose other motors stand inside of it forbids the same positions of the moving ones; a region
        beside which they stand cannot be reached.

        Parameters
        ----------
        moving : collection of str
            The motors that may move.
        at : mapping of str to float
            Positions of the others, in motor units.

        Raises
        ------
        BadInputError
            If the motors that stand still are in a forbidden region, wherever the moving ones go.
        """
        forbidden = []
        for region in self.forbidden:
            box = {name: interval for name, interval in region.box.items() if name in moving}
            others = {name: interval for name, interval in region.box.items() if name not in moving}
            if any(not low <= at[name] <= high for name, (low, high) in others.items()):
                continue
            if not box:
                stand = ", ".join(f"{name} = {at[name]:.6g}" for name in others)
                raise BadInputError(
                    f"{stand} lies in the forbidden region {region.box}{f' ({region.reason})' if region.reason else ''}"
                    ": move it out before the run, or change the region"
                )
            forbidden.append(region.model_copy(update={"box": box}))
        return self.model_copy(
            update={
                "limits": {name: ends for name, ends in self.limits.items() if name in moving},
                "max_step": {name: step for name, step in self.max_step.items() if name in moving},
                "forbidden": forbidden,
            }
        )

    def check_names(self, motors: Sequence[str]) -> None:
        """Refuse an envelope that names unknown motors, because a misspelt rule would protect nothing.

        Raises
        ------
        BadInputError
            If a named motor is not among `motors`, or `max_dose` lacks a `dose_key`.
        """
        named = {f"limits.{name}": name for name in self.limits} | {f"max_step.{name}": name for name in self.max_step}
        for i, region in enumerate(self.forbidden):
            named.update({f"forbidden.{i}.box.{name}": name for name in region.box})
        for path, name in named.items():
            if name not in motors:
                raise BadInputError(f"envelope.{path}: {unknown_text(name, motors, 'motors')}")
        if self.max_dose is not None and self.dose_key is None:
            raise BadInputError("the envelope has max_dose but no dose_key: name the event key that holds the dose")


def renamed(entries: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """Entries of motors, with each alias of a motor replaced by the name that it stands for.

    Raises
    ------
    BadInputError
        If a motor has entries under two names.
    """
    if twice := [name for name in entries if aliases.get(name) in entries]:
        raise BadInputError(f"{twice[0]!r} and {aliases[twice[0]]!r} are the same motor: use one of the names")
    return {aliases.get(name, name): entry for name, entry in entries.items()}


def _ordered_interval(name: str, interval: Interval) -> Interval:
    low, high = interval
    if not low <= high:
        raise ValueError(f"{name!r} has [{low}, {high}]: the lower end must not be above the upper one")
    return low, high
