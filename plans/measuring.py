"""One proposal to one row: through the guard, to the point, measured, read - again if something came in between."""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import Msg, MsgGenerator, RunEngineControlException
from ophyd.utils import LimitError

from ebl_autonomy.errors import BadInputError, MeasurementError, RefusedError
from ebl_autonomy.plans.deriving import derived_values
from ebl_autonomy.plans.devices import read_position
from ebl_autonomy.plans.events import InterruptedReadingError, plain, save_event
from ebl_autonomy.plans.recorder import Journal, Proposal
from ebl_autonomy.plans.setup import Experiment
from ebl_autonomy.plans.stubs import move_motors, trigger_detectors, waypoints
from ebl_autonomy.records import PRIMARY, ROW, STD, Best

__all__ = ["Measure", "Measurer"]

Measure = Callable[[Sequence[Readable[Any]], Mapping[str, float]], MsgGenerator[Mapping[str, float]]]
"""A user's own way to measure: ``measure(detectors, point)`` returns outcomes by name."""

logger = logging.getLogger(__name__)


class Measurer:
    """Moves and measures for one run, and knows where the motors stand.

    Parameters
    ----------
    experiment, journal
    measure : Measure or None
        Takes the place of triggering and reading the detectors.
    retries, max_failures : int
    move_timeout_s, trigger_timeout_s : float

    Raises
    ------
    BadInputError
        If `measure` is no function, or a number is out of range.
    """

    def __init__(
        self,
        experiment: Experiment,
        journal: Journal,
        measure: Measure | None,
        retries: int,
        max_failures: int,
        move_timeout_s: float | None,
        trigger_timeout_s: float,
    ) -> None:
        if measure is not None and not callable(measure):
            raise BadInputError(f"measure={measure!r}: give a plan stub measure(detectors, point), or leave it out")
        _check_at_least("retries", retries, 0)
        _check_at_least("max_failures", max_failures, 1)
        for name, seconds in (("move_timeout_s", move_timeout_s), ("trigger_timeout_s", trigger_timeout_s)):
            if seconds is not None and not seconds > 0:
                raise BadInputError(f"{name}={seconds!r}: give a positive number of seconds")
        self.x = experiment
        self.journal = journal
        self.here = dict(experiment.start)
        self.best: Best | None = None
        self.best_score: float | None = None
        self._measure = measure
        self._retries = retries
        self._max_failures = max_failures
        self._move_timeout_s = move_timeout_s
        self._trigger_timeout_s = trigger_timeout_s
        self._lost = False
        """Whether a move was cut short, so that the motors must be asked where they stand."""
        self._failures_in_a_row = 0
        self._blamed: Counter[str] = Counter()
        """How many of those failures each device caused."""
        self._began = time.monotonic()

    def begin(self) -> None:
        """Start the run's stop watch."""
        self._began = time.monotonic()

    def seconds(self) -> float:
        """Wall seconds since the run began."""
        return time.monotonic() - self._began

    def pass_gate(self, proposal: Proposal) -> MsgGenerator[bool]:
        """Let the guard check a proposal; a refusal is recorded."""
        try:
            # Within a batch, where a move starts depends on the order: rules on the way are judged when its turn comes.
            proposal.target = self.x.gate.check(proposal.answer, self.here if self.x.batch == 1 else {})
        except RefusedError as error:
            yield from self.journal.refuse(proposal, error.rule, error.message)
            return False
        return True

    def measure(self, proposal: Proposal) -> MsgGenerator[None]:
        """Measure one allowed proposal: accepted, or abandoned with the reason after so many retries.

        Raises
        ------
        MeasurementError
            If too many proposals in a row could not be measured.
        """
        tag, failures, attempts = self.journal.tag, 0, 0
        while True:
            attempts += 1
            yield Msg("checkpoint")  # a deferred pause (one Ctrl-C) stops here, between points
            mark = tag.interruptions
            try:
                if self._lost:
                    yield from self._find_here()
                self.x.gate.check(proposal.answer, self.here)
                yield from self._attempt(proposal, attempts)
            except InterruptedReadingError:
                self._lost = True
                continue
            except RefusedError as error:
                yield from self.journal.refuse(proposal, error.rule, error.message)
                return
            except (RunEngineControlException, BadInputError):
                raise
            except Exception as error:  # noqa: BLE001 - a device may raise anything; the run must survive it
                self._lost = True
                if tag.interruptions != mark:
                    continue  # stopping the motors made the move fail: no fault of the point
                failures += 1
                logger.warning("proposal %s, attempt %d: %s", proposal.proposal_id, attempts, error)
                if failures > self._retries or isinstance(error, LimitError):
                    yield from self._give_up(proposal, error, attempts)
                    return
            else:
                self._accept(proposal)
                return

    def walk_to(self, target: Mapping[str, float], where: str, domain: bool = True) -> MsgGenerator[None]:
        """Move the motors to `target` through the guard, in steps if the envelope limits steps.

        A refusal or a failing move is logged and the motors stay: what was measured is already safe.
        """
        motors = self.x.motors
        goal = {name: float(target[name]) for name in motors}
        tag = self.journal.tag
        while True:
            mark = tag.interruptions
            try:
                yield from self._find_here()
                for point in waypoints(self.here, goal, self.x.gate.envelope.max_step):
                    self.x.gate.check_target(point, self.here, domain=domain)
                    yield from move_motors(motors, point, self._timeout(point))
                    self.here = dict(point)
            except RunEngineControlException:
                raise
            except Exception as error:  # noqa: BLE001 - as above; a last move must not lose the run's results
                if tag.interruptions != mark:
                    continue
                logger.warning("the motors were not moved to %s %s: %s", where, goal, error)
                return
            if tag.interruptions == mark:
                return

    # -- one attempt -------------------------------------------------------------------------------------------

    def _attempt(self, proposal: Proposal, attempt: int) -> MsgGenerator[None]:
        mark = self.journal.tag.interruptions
        began = time.perf_counter()
        targets = {n: v for n, v in proposal.target.items() if self._lost or v != self.here.get(n)}
        if targets:
            yield from move_motors(self.x.motors, targets, self._timeout(proposal.target))
        self._stay_or_raise(mark)
        self.here, self._lost = dict(proposal.target), False
        moved = time.perf_counter()
        given: dict[str, Any] = {}
        detectors: Sequence[Readable[Any]] = self.x.detectors
        if self._measure is None:
            yield from trigger_detectors(detectors, self._trigger_timeout_s)
        else:
            outcome = yield from _steps(self._measure(detectors, dict(proposal.target)))
            given = _outcomes(outcome, self.x.outcomes, self.x.functions)
            detectors = []
        self._stay_or_raise(mark)

        def finish(readings: dict[str, Any]) -> dict[str, Any]:
            values = {**given}
            derived, failed = derived_values(self.x.functions, {**readings, **given})
            values.update(derived)
            reason = failed or self._invalid({**readings, **values})
            values.update(
                {
                    ROW.proposal_id: proposal.proposal_id,
                    ROW.attempt: attempt,
                    ROW.valid: not reason,
                    ROW.invalid_reason: reason,
                    ROW.seconds_moving: moved - began,
                    ROW.seconds_measuring: time.perf_counter() - moved,
                }
            )
            return values

        devices: list[Any] = [*self.x.motors.values(), *detectors]
        proposal.row = yield from save_event(PRIMARY, devices, self.journal.tag, self.journal.watch, finish)

    def _stay_or_raise(self, mark: int) -> None:
        if self.journal.tag.interruptions != mark:
            raise InterruptedReadingError("the RunEngine was paused or suspended on the way to the point")

    def _accept(self, proposal: Proposal) -> None:
        self._failures_in_a_row = 0
        self._blamed.clear()
        row, space = proposal.row, self.x.space
        self.x.gate.spend(row)
        outcome = {name: plain(row[name]) for name in self.x.outcomes}
        proposal.result = {
            **proposal.target,
            **{name: plain(row[name]) for name in space.context},
            **space.constants,
            **outcome,
            **{name + STD: plain(row[name + STD]) for name in self.x.outcomes if name + STD in row},
        }
        if "_id" in proposal.answer:
            proposal.result["_id"] = proposal.answer["_id"]
        self.journal.accepted(proposal)
        score = space.score(outcome) if space.objectives else math.nan
        least = -math.inf if self.best_score is None else self.best_score
        if score > least and space.feasible(outcome):
            self.best_score = score
            self.best = Best(point=dict(proposal.target), outcome=outcome)

    def _give_up(self, proposal: Proposal, error: Exception, attempts: int) -> MsgGenerator[None]:
        reason = f"{type(error).__name__}: {error}"
        yield from self.journal.abandon(proposal, "device", reason, attempts)
        self._failures_in_a_row += 1
        self._blamed.update(getattr(error, "devices", ()))
        if self._failures_in_a_row >= self._max_failures:
            blamed = ", ".join(f"{times} times because of {name}" for name, times in self._blamed.most_common())
            raise MeasurementError(
                f"{self._failures_in_a_row} proposals in a row could not be measured{blamed and f' ({blamed})'}, "
                f"the last because: {reason}. What was measured is in the run. "
                f"Mend {' and '.join(self._blamed) or 'the device'}, or raise max_failures."
            ) from error

    def _find_here(self) -> MsgGenerator[None]:
        for name, motor in self.x.motors.items():
            self.here[name] = yield from read_position(motor)

    def _timeout(self, target: Mapping[str, float]) -> float:
        if self._move_timeout_s is not None:
            return self._move_timeout_s
        if not all(name in self.x.travel.axes for name in target):
            return 60.0
        return 10.0 + 3.0 * self.x.travel.seconds(self.here, target)

    def _invalid(self, values: Mapping[str, Any]) -> str:
        """Why a row is no measurement of the objectives and constraints; empty if it is one."""
        for name in (*self.x.vocs.objectives, *self.x.vocs.constraints):
            if not math.isfinite(plain(values.get(name))):
                return f"{name} is {values.get(name)}"
        return ""


def _check_at_least(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BadInputError(f"{name}={value!r}: give an integer of at least {least}")


def _steps(measuring: Any) -> Any:
    """What the user's stub yields; a function that yields nothing has measured already, and held the RunEngine up.

    Raises
    ------
    BadInputError
        If it cannot be run.
    """
    if isinstance(measuring, Mapping) or not isinstance(measuring, Iterable):
        raise BadInputError(
            f"measure= answered {measuring!r} at once: it must be a plan stub, with 'yield from' for each step, such "
            "as bps.trigger_and_read(detectors)"
        )
    return measuring


def _outcomes(outcome: Any, needed: Sequence[str], functions: Mapping[str, Any]) -> dict[str, float]:
    """What the user's stub returned, as numbers.

    Raises
    ------
    BadInputError
        If it is no mapping, or lacks an outcome that nothing else gives.
    """
    if not isinstance(outcome, Mapping):
        raise BadInputError(f"measure= returned {outcome!r}: it must return a mapping of outcome names to numbers")
    if missing := [name for name in needed if name not in outcome and name not in functions]:
        raise BadInputError(f"measure= returned {sorted(outcome)}, which lacks {missing}")
    return {str(name): plain(value) for name, value in outcome.items()}
