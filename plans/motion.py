"""Moves the motors of one run, and reads where they stand before and after each move."""

import logging
import math
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from bluesky.protocols import NamedMovable
from bluesky.utils import FailedStatus, Msg, MsgGenerator, RunEngineControlException

from ebl_autonomy.errors import OffTargetError, RefusedError
from ebl_autonomy.guard import AdmittedMove, Gate, Move
from ebl_autonomy.plans.coupled import Setting, neighbours, settings
from ebl_autonomy.plans.devices import check_value, read_positions
from ebl_autonomy.plans.events import EventTag, InterruptedReadingError
from ebl_autonomy.plans.failures import blaming, is_no_answer
from ebl_autonomy.plans.stubs import carry_out
from ebl_autonomy.plans.tolerances import Tolerances
from ebl_autonomy.records import to_float
from ebl_autonomy.space import Travel

__all__ = ["Motion", "check_setting"]

logger = logging.getLogger(__name__)

READBACK_S: Final = 0.5
"""Seconds in which a readback may follow a motor that says it has arrived: monitors arrive in no order."""
READBACK_STEP_S: Final = 0.05
MOST_PLANS: Final = 200
"""Number of plans of one walk: each time that motors stand too far beside the way, the rest is planned anew."""
LOOK: Final = "look at the motor, or raise position_tolerance if it can do no better"


class Motion:
    """The motors of one run.

    Parameters
    ----------
    motors : mapping of str to motor
    gate : Gate
    travel : Travel
        Speeds of the motors that report them.
    start : mapping of str to float
        Current positions, in motor units.
    tag : EventTag
        Counts the interruptions.
    timeout_s : float, optional
        Wall seconds that a move may take. By default 10 s plus three times the duration that the motors' speeds give,
        or 60 s if a motor reports no speed.
    tolerances : Tolerances, optional
        Largest distances between targets and positions; see `find_tolerances`.

    Attributes
    ----------
    here : dict of str to float
        Positions of the motors when they were last read.
    held : dict of str to float
        Positions of the other axes of the motors' pseudo positioners, by axis name: where they stood at the beginning,
        after the last interruption, or where a stub has set them.
    lost : bool
        Whether a motor may have been sent elsewhere since the last move, so that the next move sets all motors.
    """

    def __init__(
        self,
        motors: Mapping[str, NamedMovable[Any]],
        gate: Gate,
        travel: Travel,
        start: Mapping[str, float],
        tag: EventTag,
        timeout_s: float | None,
        tolerances: Tolerances | None = None,
    ) -> None:
        self.motors = dict(motors)
        self.here = dict(start)
        self.held: dict[str, float] = {}
        self._neighbours = neighbours(self.motors)
        self._held_at = -1
        """Number of interruptions when `held` was read; -1 before that."""
        self.lost = False
        self.tolerances = tolerances or Tolerances()
        self._sent: dict[str, float] = {}
        """Targets of the last move, which a motor that still stands there need not be sent to again."""
        self._sent_at = tag.interruptions
        self._gate, self._travel, self._tag, self._timeout_s = gate, travel, tag, timeout_s

    def find(self) -> MsgGenerator[None]:
        """Read the positions of the motors; once more after a pause, in which a user may have moved them."""
        mark = -1
        while mark != self._tag.interruptions:
            mark = self._tag.interruptions
            if self._neighbours and self._held_at != mark:
                # Not read at each move: what is read and set again and again would drift.
                self.held = yield from read_positions(self._neighbours)
                self._held_at = mark
            self.here.update((yield from read_positions(self.motors)))

    @property
    def standing(self) -> dict[str, float]:
        """The positions of the motors, and those at which the other axes of their pseudo positioners are held."""
        return {**self.held, **self.here}

    def check_values(self, admitted: AdmittedMove) -> MsgGenerator[None]:
        """Let the motors themselves check the target and both ends of the line, before anything moves.

        Raises
        ------
        RefusedError
            If a motor refuses a position, with the rule ``"limits"``.
        """
        ends = admitted.line.ends() if admitted.line is not None else ({}, {})
        for positions in ({**admitted.target, **ends[0]}, ends[1]):
            for setting in settings(self.motors, positions, {**admitted.here, **admitted.target}):
                yield from check_setting(setting, positions)

    def found(self) -> MsgGenerator[dict[str, float]]:
        """The positions of those motors that give one, at the end of a run."""
        positions = {}
        for name, motor in self.motors.items():
            try:
                positions.update((yield from read_positions({name: motor})))
            except RunEngineControlException:
                raise
            except Exception as error:  # noqa: BLE001 - a device may raise anything; the run is ending
                logger.warning("%s gives no position at the end of the run: %s", name, error)
        return positions

    def go(self, admitted: AdmittedMove) -> MsgGenerator[None]:
        """Make an admitted move and read where the motors stand; motors that fly its line are left to their flyer.

        Raises
        ------
        DeviceTimeoutError, DeviceFailedError, LimitError
            See `move_motors`.
        OffTargetError
            If a motor stands further from its target than its tolerance.
        InterruptedReadingError
            If the RunEngine was paused or suspended since the move was judged; what had begun to move was stopped.
        """
        flown = admitted.line.start if admitted.line is not None else {}
        targets = {name: value for name, value in admitted.target.items() if name not in flown}
        known = not self.lost and self._sent_at == self._tag.interruptions
        moving = [name for name, value in targets.items() if not (known and self._stands_at(name, value))]
        self._sent = {}  # a move that fails leaves its motors anywhere
        mark = self._tag.interruptions
        yield from self._carry_out(admitted, moving, mark)
        yield from self._arrive(targets)
        self._sent, self._sent_at, self.lost = targets, mark, admitted.line is not None

    def check(
        self,
        asked: Mapping[str, float],
        positions: Mapping[str, Any],
        exempt: Collection[str] = (),
        remedy: str = LOOK,
    ) -> None:
        """Check that motors stand where they were sent.

        Parameters
        ----------
        asked, positions : mapping of str to float
            Targets, and the positions that were read, in motor units.
        exempt : collection of str
            Motors that move while they measure.
        remedy : str

        Raises
        ------
        OffTargetError
            If a motor stands further from its target than its tolerance.
        """
        off = [
            name
            for name, value in asked.items()
            if name in positions and name not in exempt and self._is_off(name, value, positions[name])
        ]
        if off:
            whole = [name for name in off if _in_whole_numbers(asked[name], positions[name])]
            if whole and remedy == LOOK:
                remedy = f"if {' and '.join(whole)} can only be whole numbers, give the variable the dtype 'integer'"
            said = "; ".join(
                f"{name} was sent to {asked[name]!r} and reads {positions[name]!r}, further off than its tolerance "
                f"{self.tolerances.of(name, asked[name]):.6g}"
                for name in off
            )
            raise OffTargetError(off, f"{said}: {remedy}")

    def _carry_out(self, admitted: AdmittedMove, moving: Sequence[str], mark: int) -> MsgGenerator[None]:
        """Make a move that its motors have checked, unless there was an interruption since `mark`."""

        def check_uninterrupted() -> None:
            if self._tag.interruptions != mark:
                raise InterruptedReadingError("the RunEngine was paused or suspended before the motors moved")

        timeout_s = self.timeout(admitted.target)
        yield from carry_out(self.motors, admitted, timeout_s, moving, check_uninterrupted, checked=True)

    def _stands_at(self, name: str, target: float) -> bool:
        """Whether a motor need not be sent to its target: a noisy encoder must not move a motor that was sent there."""
        return self.here[name] == target or (self._sent.get(name) == target and not self._is_off(name, target))

    def _is_off(self, name: str, target: float, position: Any = None) -> bool:
        """Whether a position, by default the last one that was read, is not at the target."""
        tolerance = self.tolerances.of(name, target)
        if tolerance is None:
            return position is None and self.here.get(name) != target
        distance = abs(target - to_float(self.here[name] if position is None else position))
        return not distance <= tolerance + math.ulp(target)

    def _arrive(self, targets: Mapping[str, float]) -> MsgGenerator[None]:
        """Read where the motors stand until all are at their targets, for `READBACK_S` at most."""
        deadline = time.monotonic() + READBACK_S
        while True:
            yield from self.find()
            try:
                self.check(targets, self.here)
            except OffTargetError:
                if time.monotonic() >= deadline:
                    raise
                yield Msg("sleep", None, READBACK_STEP_S)
            else:
                return

    def walk(self, target: Mapping[str, float], bound_by_domain: bool = True) -> MsgGenerator[str]:
        """Like `travel`, at the end of a run.

        Returns
        -------
        str
            Why the motors are not at the target; empty if they are. A refusal or a failed move raises nothing, because
            the measured rows are already safe.
        """
        try:
            yield from self.travel(target, bound_by_domain)
        except RunEngineControlException:
            raise
        except Exception as error:  # noqa: BLE001 - a device may raise anything; the last move must not fail the run
            return str(error)
        return ""

    def travel(self, target: Mapping[str, float], bound_by_domain: bool = True) -> MsgGenerator[None]:
        """Go to `target` through the gate, around forbidden regions and in steps if the envelope limits steps.

        The gate judges the whole way, and the motors check its corners, before the first step. After a pause the way is
        planned anew.

        Raises
        ------
        RefusedError
            If the gate refuses the way, or a motor a corner of it.
        DeviceTimeoutError, DeviceFailedError, OffTargetError, LimitError
            See `go`.
        """
        goal = {name: float(target[name]) for name in self.motors if name in target}
        while True:
            mark = self._tag.interruptions
            try:
                yield from self._walk_once(goal, bound_by_domain, mark)
            except RunEngineControlException:
                raise
            except Exception:
                if self._tag.interruptions != mark:
                    continue
                raise
            if self._tag.interruptions == mark:
                return

    def approach(self, target: Mapping[str, float]) -> MsgGenerator[None]:
        """Go towards `target` as `travel` does, up to where a single move leads there.

        Only the limits bound the way: the gate has judged the proposal by the domain, beyond which the run-up of a line
        may begin.

        Raises
        ------
        RefusedError, DeviceTimeoutError, DeviceFailedError, OffTargetError, LimitError
            See `travel`.
        InterruptedReadingError
            If the RunEngine was paused or suspended on the way.
        """
        self._sent = {}
        goal = {name: float(target[name]) for name in self.motors if name in target}
        yield from self._walk_once(goal, False, self._tag.interruptions, to_the_end=False)

    def _walk_once(
        self, goal: Mapping[str, float], bound_by_domain: bool, mark: int, to_the_end: bool = True
    ) -> MsgGenerator[None]:
        """Plan the way and go it, with a new plan where motors stand so far beside it that a step is refused."""
        yield from self.find()
        for plans_left in reversed(range(MOST_PLANS)):
            steps = self._gate.plan_route(self.standing, goal, bound_by_domain, self.tolerances.at(goal))
            for step in steps:
                yield from self.check_values(step)
            for step in steps if to_the_end else steps[:-1]:
                try:  # a motor may stand beside its target by as much as its tolerance
                    judged = self._gate.check_move(Move(step.target, self.standing, bound_by_domain=False))
                except RefusedError:
                    if not plans_left:
                        raise
                    break
                yield from self._carry_out(judged, list(step.target), mark)
                yield from self._arrive(step.target)
            else:
                return

    def timeout(self, target: Mapping[str, float]) -> float:
        """Wall seconds that a move to `target` may take."""
        if self._timeout_s is not None:
            return self._timeout_s
        if not all(name in self._travel.axes for name in target):
            return 60.0
        return 10.0 + 3.0 * self._travel.seconds(self.here, {**self.here, **target})


def _in_whole_numbers(asked: float, reads: Any) -> bool:
    """Whether a motor seems to round its target to a whole number."""
    reads = to_float(reads)
    return not float(asked).is_integer() and reads.is_integer() and abs(asked - reads) < 1.0


def check_setting(setting: Setting, targets: Mapping[str, float]) -> MsgGenerator[None]:
    """Let the device of a setting check it, before anything moves.

    Parameters
    ----------
    setting : Setting
    targets : mapping of str to float
        Targets of the motors by name, for the message.

    Raises
    ------
    RefusedError
        If the device refuses the setting, with the rule ``"limits"``.
    DeviceFailedError, DeviceTimeoutError
        If the device does not answer.
    """
    try:
        yield from check_value(setting.device, setting.value)
    except (RunEngineControlException, FailedStatus):  # the latter of an earlier step
        raise
    except Exception as error:
        if is_no_answer(error):
            with blaming(setting.device, f"it cannot check {setting.value!r}"):
                raise
        refuses = ", ".join(f"motor {name!r} itself refuses {targets[name]!r}" for name in setting.names)
        raise RefusedError("limits", f"{refuses} ({type(error).__name__}: {error})") from error
