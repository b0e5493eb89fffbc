"""One raster of a rectangle, point by point or line by line, as a run of its own: the part that surveys are made of."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from bluesky.utils import MsgGenerator

from ebl_autonomy.agents.grid import GridAgent
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.guard import Envelope
from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.plans.acquisition import Acquisition, AtPoint, FlyLine, Snake
from ebl_autonomy.plans.devices import read_travel
from ebl_autonomy.plans.result import RunResult
from ebl_autonomy.plans.steered_run import steer
from ebl_autonomy.plans.stubs import make_gate, move_motors
from ebl_autonomy.scales import FloatArray
from ebl_autonomy.space import make_vocs
from ebl_autonomy.steering import Until

__all__ = ["Budget", "Raster", "Stage", "fixed_motors"]

MOVE_S: Final = 60.0
"""Least wall seconds that the setting of a fixed motor may take."""


@dataclass(frozen=True)
class Budget:
    """What is left of the budgets of a plan that makes several runs.

    Attributes
    ----------
    until : Until
        Its seconds are those that are left.
    envelope : Envelope
        Its budgets are those that are left; its other rules hold for each run.
    began : float
        Time of ``time.monotonic`` at which the plan began, s.
    spent : str
        Which budget is used up; empty if none is.
    """

    until: Until
    envelope: Envelope
    began: float
    spent: str = ""

    @classmethod
    def of(cls, until: Any, envelope: Any) -> "Budget":
        """The whole budget.

        Raises
        ------
        BadInputError
            If a rule is invalid, or is a rule on an objective, which a map does not have.
        """
        rules = Until.of(until)
        if rules.target is not None or rules.improvement is not None:
            raise BadInputError("until: target and improvement are rules on an objective, and a map has none")
        return cls(rules, Envelope.of(envelope), time.monotonic())

    def after(self, run: RunResult) -> "Budget":
        """The budget that is left after a run."""
        until, envelope, now = self.until, self.envelope, time.monotonic()
        used = {
            "seconds": (until.seconds, run.seconds),
            "max_seconds": (envelope.max_seconds, now - self.began),
            "max_points": (envelope.max_points, run.rows),
            "max_dose": (envelope.max_dose, run.dose),
        }
        left = {name: most - spent for name, (most, spent) in used.items() if most is not None}
        if gone := [name for name, amount in left.items() if amount <= 0]:
            return replace(self, spent=f"{gone[0]}: the budget for all runs is used up")
        seconds = left.pop("seconds", None)
        return Budget(
            until if seconds is None else until.model_copy(update={"seconds": seconds}),
            envelope.model_copy(update=left),
            now,
        )

    def rules_for(self, motors: Sequence[str]) -> Envelope:
        """The envelope with the limits and steps of these motors only: those of the others are judged elsewhere."""
        envelope = self.envelope
        return envelope.model_copy(
            update={
                "limits": {name: ends for name, ends in envelope.limits.items() if name in motors},
                "max_step": {name: step for name, step in envelope.max_step.items() if name in motors},
            }
        )


@dataclass(frozen=True)
class Stage:
    """The devices of a scan in two dimensions.

    Attributes
    ----------
    detectors : sequence of Readable
    x, y : Movable
    flyers : sequence of Flyable
        Fly each row along `x` if there are any; see `FlyLine`.
    dwell : Movable, optional
        Sets the exposure of the detectors, s.
    settings : mapping
        More arguments of `steer`, the same for all runs.
    """

    detectors: Sequence[Any]
    x: Any
    y: Any
    flyers: Sequence[Any] = ()
    dwell: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def at_point(self) -> AtPoint:
        """The acquisition of a single point."""
        return AtPoint(self.detectors, self.settings.get("trigger_timeout_s", 60.0))

    def settings_for(self, motors: Sequence[str]) -> dict[str, Any]:
        """The settings of a run with these motors: a run refuses a tolerance of a motor that it does not move."""
        settings = dict(self.settings)
        if isinstance(given := settings.get("position_tolerance"), Mapping):
            settings["position_tolerance"] = {name: within for name, within in given.items() if name in motors}
        return settings


@dataclass
class Raster:
    """A raster over a rectangle.

    Attributes
    ----------
    stage : Stage
    grid : PixelGrid
    channels : sequence of str
        The event keys of the outcomes.
    dwell_s : float
        Seconds for each pixel.
    agent : GridAgent
        Has the results after the run.
    """

    stage: Stage
    grid: PixelGrid
    channels: Sequence[str]
    dwell_s: float
    agent: GridAgent = field(init=False)

    def __post_init__(self) -> None:
        stage, grid = self.stage, self.grid
        x: Any = _centres(grid.x, grid.centres_x)
        if stage.flyers:
            x = {"type": "ContextualVariable"}
        vocs = make_vocs(
            {
                "variables": {stage.y.name: _centres(grid.y, grid.centres_y), stage.x.name: x},
                "observables": list(self.channels),
            }
        )
        counts = [grid.shape[0]] if stage.flyers else list(grid.shape)
        self.agent = GridAgent(vocs, points_per_axis=counts)

    def run(self, budget: Budget, plan_name: str, md: Mapping[str, Any]) -> MsgGenerator[RunResult]:
        """Measure the raster; see `steer` for what it raises."""
        stage, names = self.stage, [self.stage.x.name, self.stage.y.name]
        acquisition: Acquisition = stage.at_point()
        if stage.flyers:
            acquisition = FlyLine(stage.flyers, [stage.x], Snake(stage.x.name, stage.y.name, self.grid, self.dwell_s))
        if stage.dwell is not None:
            yield from fixed_motors({stage.dwell: self.dwell_s}, budget)
        return (
            yield from steer(
                acquisition,
                [stage.y] if stage.flyers else [stage.y, stage.x],
                self.agent,
                plan_name=plan_name,
                max_points=self.grid.size,
                until=budget.until,
                envelope=budget.rules_for(names),
                md={**md, "shape": list(self.grid.shape), "extents": [list(self.grid.y), list(self.grid.x)]},
                finish="stay",
                **stage.settings_for(names),
            )
        )

    def map_of(self, channel: str) -> FloatArray:
        """One channel as an array of the grid's shape; NaN where a pixel was not measured."""
        columns = self.columns()
        row, column = self.grid.indices(columns[self.stage.x.name], columns[self.stage.y.name])
        values = np.full(self.grid.shape, np.nan)
        inside = row >= 0
        values[row[inside], column[inside]] = np.asarray(columns[channel])[inside]
        return values

    def columns(self) -> dict[str, list[float]]:
        """The results as columns: positions and channels."""
        names, results = [self.stage.x.name, self.stage.y.name, *self.channels], self.agent.results
        return {name: [float(result[name]) for result in results] for name in names}


def fixed_motors(targets: Mapping[Any, float], budget: Budget) -> MsgGenerator[None]:
    """Set motors that stand still during the next run, through a gate with the limits of the budget's envelope.

    Raises
    ------
    BadInputError
        If a motor has no limits.
    RefusedError, DeviceFailedError, DeviceTimeoutError
        See `move_motors`.
    """
    motors = {motor.name: motor for motor in targets}
    rules = budget.rules_for(list(motors)).model_copy(update={"forbidden": [], "max_step": {}})
    gate = yield from make_gate(list(motors.values()), rules)
    seconds = MOVE_S
    for motor in motors.values():
        axis = yield from read_travel(motor)
        if axis is not None:
            low, high = gate.limits[motor.name]
            seconds = max(seconds, 3.0 * float(axis.seconds(high - low)))
    yield from move_motors(motors, {motor.name: value for motor, value in targets.items()}, seconds, gate)


def _centres(edges: tuple[float, float], centres: Any) -> list[float]:
    """The domain of a variable whose grid points are the centres of pixels."""
    return [float(centres[0]), float(centres[-1])] if len(centres) > 1 else list(edges)
