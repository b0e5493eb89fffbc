"""One raster of a rectangle, point by point or line by line, as a run of its own: the part that surveys are made of."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from bluesky.utils import MsgGenerator

from ebl_autonomy.agents.grid import GridAgent
from ebl_autonomy.errors import BadInputError, RefusedError
from ebl_autonomy.guard import Envelope
from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.plans.acquisition import Acquisition, AtPoint, FlyLine, Snake
from ebl_autonomy.plans.devices import read_positions, read_travel
from ebl_autonomy.plans.result import RunResult
from ebl_autonomy.plans.steered_run import check_steered, steer
from ebl_autonomy.plans.stubs import make_gate, move_motors
from ebl_autonomy.scales import FloatArray
from ebl_autonomy.space import make_vocs
from ebl_autonomy.steering import Until

__all__ = ["Budget", "Raster", "Stage", "fixed_motors"]

MOVE_S: Final = 60.0
"""Least wall seconds that the setting of a fixed motor may take."""
SPARE: Final = 0.1
"""How much shorter than the longest allowed step the steps of a way are, because motors stop beside their targets."""


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

    def bounded(self, motors: Mapping[str, tuple[float, float]]) -> "Budget":
        """The same budget with limits of motors for which the envelope has none."""
        return replace(self, envelope=self.envelope.model_copy(update={"limits": {**motors, **self.envelope.limits}}))

    def rules_for(
        self, moving: Sequence[Any], stage: "Stage", at: Mapping[str, float] | None = None
    ) -> MsgGenerator[Envelope]:
        """The envelope of the motors of one run, while the others of the stage stand still.

        Parameters
        ----------
        at : mapping of str to float, optional
            Positions where others will stand; by default where they stand now.

        Raises
        ------
        BadInputError
            If the others stand in a forbidden region.
        """
        names = [motor.name for motor in moving]
        others = {motor.name: motor for motor in stage.motors if motor.name not in names}
        standing = {**(yield from read_positions(others)), **(at or {})}
        return self.envelope.with_standing(names, standing)


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
    others : sequence of Movable
        Motors that stand still during a scan, such as the energy.
    """

    detectors: Sequence[Any]
    x: Any
    y: Any
    flyers: Sequence[Any] = ()
    dwell: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    others: Sequence[Any] = ()

    @property
    def motors(self) -> list[Any]:
        """All motors of the plan."""
        return [self.x, self.y, *self.others, *([] if self.dwell is None else [self.dwell])]

    def at_point(self) -> AtPoint:
        """The acquisition of a single point."""
        return AtPoint(self.detectors, self.settings.get("trigger_timeout_s"))

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
        if self.stage.dwell is not None:
            yield from fixed_motors({self.stage.dwell: self.dwell_s}, self.stage, budget)
        arguments, settings = yield from self._of_run(budget, plan_name, md)
        return (yield from steer(*arguments, **settings))

    def check(self, budget: Budget, plan_name: str, md: Mapping[str, Any]) -> MsgGenerator[None]:
        """Raise what `run` would raise before anything moves, and refuse lines that do not fit within the limits.

        Raises
        ------
        BadInputError
            If an argument of the run is unusable, or the rows cannot be flown.
        """
        refusal = yield from self.refusal(budget, plan_name, md)
        if refusal is not None:
            raise BadInputError(
                f"the rows cannot be flown, each pixel in {self.dwell_s:g} s: {refusal.message}. Leave room for the "
                "run-up at both ends of the area, or give more time for each pixel"
            ) from refusal

    def refusal(self, budget: Budget, plan_name: str, md: Mapping[str, Any]) -> MsgGenerator[RefusedError | None]:
        """Why the rows cannot be flown within the limits; None if they can, or are not flown. Nothing moves.

        Raises
        ------
        BadInputError
            If an argument of the run is unusable.
        """
        arguments, settings = yield from self._of_run(budget, plan_name, md)
        experiment = yield from check_steered(*arguments, **settings)
        if not self.stage.flyers:
            return None
        for y in self.grid.centres_y[:2]:  # one in each direction; the others end at the same places
            try:
                experiment.session.gate.admit({self.stage.y.name: float(y)}, {}, line_of=experiment.acquisition.line)
            except RefusedError as error:
                if error.rule == "limits":
                    return error
        return None

    def _of_run(
        self, budget: Budget, plan_name: str, md: Mapping[str, Any]
    ) -> MsgGenerator[tuple[tuple[Any, ...], dict[str, Any]]]:
        """The arguments of `steer`."""
        stage = self.stage
        acquisition: Acquisition = stage.at_point()
        if stage.flyers:
            acquisition = FlyLine(stage.flyers, [stage.x], Snake(stage.x.name, stage.y.name, self.grid, self.dwell_s))
        at = {} if stage.dwell is None else {stage.dwell.name: self.dwell_s}
        moved = [stage.y] if stage.flyers else [stage.y, stage.x]
        settings = {
            "plan_name": plan_name,
            "max_points": self.grid.size,
            "until": budget.until,
            "envelope": (yield from budget.rules_for([stage.x, stage.y], stage, at)),
            "md": {**md, "shape": list(self.grid.shape), "extents": [list(self.grid.y), list(self.grid.x)]},
            "finish": "stay",
            "pixels": dict(zip((stage.x.name, stage.y.name), self.grid.step, strict=True)),
            **stage.settings_for([stage.x.name, stage.y.name]),
        }
        return (acquisition, moved, self.agent), settings

    def map_of(self, channel: str) -> FloatArray:
        """One channel as an array of the grid's shape; NaN where a pixel was not measured."""
        columns = self.columns()
        return self.grid.mean(columns[self.stage.x.name], columns[self.stage.y.name], columns[channel])

    def columns(self) -> dict[str, list[float]]:
        """The results as columns: positions and channels."""
        names, results = [self.stage.x.name, self.stage.y.name, *self.channels], self.agent.results
        return {name: [float(result[name]) for result in results] for name in names}


def fixed_motors(targets: Mapping[Any, float], stage: Stage, budget: Budget) -> MsgGenerator[None]:
    """Move motors that stand still during the next run, within the budget's limits and around its forbidden regions.

    Raises
    ------
    BadInputError
        If a motor has no limits.
    RefusedError, DeviceFailedError, DeviceTimeoutError
        See `move_motors`.
    """
    motors = {motor.name: motor for motor in stage.motors}
    gate = yield from make_gate(stage.motors, budget.envelope)
    here = yield from read_positions(motors)
    goal = {motor.name: float(value) for motor, value in targets.items()}
    seconds = MOVE_S
    for name, value in goal.items():
        axis = yield from read_travel(motors[name])
        if axis is not None:
            seconds = max(seconds, 3.0 * float(axis.seconds(abs(value - here[name]))))
    spare = {name: SPARE * step for name, step in budget.envelope.max_step.items()}
    for step in gate.plan_route(here, goal, bound_by_domain=False, tolerance=spare):
        yield from move_motors(motors, step.target, seconds, gate)


def _centres(edges: tuple[float, float], centres: Any) -> list[float]:
    """The domain of a variable whose grid points are the centres of pixels."""
    return [float(centres[0]), float(centres[-1])] if len(centres) > 1 else list(edges)
