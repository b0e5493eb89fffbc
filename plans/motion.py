"""Moves the motors of one run, and keeps track of their positions."""

import logging
from collections.abc import Mapping
from typing import Any

from bluesky.protocols import NamedMovable
from bluesky.utils import MsgGenerator, RunEngineControlException

from ebl_autonomy.guard import AdmittedMove, Gate
from ebl_autonomy.plans.devices import check_value, read_position
from ebl_autonomy.plans.events import EventTag
from ebl_autonomy.plans.stubs import carry_out
from ebl_autonomy.space import Travel

__all__ = ["Motion"]

logger = logging.getLogger(__name__)


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

    Attributes
    ----------
    here : dict of str to float
        Last known positions of the motors.
    lost : bool
        Whether a move was cut short, so that the positions must be read again.
    is_known : bool
        Whether `here` is valid: False after a move was cut short, and after a pause, in which a user may have moved
        motors.
    """

    def __init__(
        self,
        motors: Mapping[str, NamedMovable[Any]],
        gate: Gate,
        travel: Travel,
        start: Mapping[str, float],
        tag: EventTag,
        timeout_s: float | None,
    ) -> None:
        self.motors = dict(motors)
        self.here = dict(start)
        self.lost = False
        self._known_at = tag.interruptions
        self._gate, self._travel, self._tag, self._timeout_s = gate, travel, tag, timeout_s

    @property
    def is_known(self) -> bool:
        return not self.lost and self._known_at == self._tag.interruptions

    def find(self) -> MsgGenerator[None]:
        """Read the positions of the motors."""
        self._known_at = self._tag.interruptions
        for name, motor in self.motors.items():
            self.here[name] = yield from read_position(motor)

    def found(self) -> MsgGenerator[dict[str, float]]:
        """The positions of those motors that give one, at the end of a run."""
        positions = {}
        for name, motor in self.motors.items():
            try:
                positions[name] = yield from read_position(motor)
            except RunEngineControlException:
                raise
            except Exception as error:  # noqa: BLE001 - a device may raise anything; the run is ending
                logger.warning("%s gives no position at the end of the run: %s", name, error)
        return positions

    def go(self, admitted: AdmittedMove) -> MsgGenerator[None]:
        """Make an admitted move; motors that fly its line are left to their flyer.

        Raises
        ------
        DeviceTimeoutError, DeviceFailedError, LimitError
            See `move_motors`.
        """
        flown = admitted.line.start if admitted.line is not None else {}
        moving = [
            name
            for name, value in admitted.target.items()
            if name not in flown and (self.lost or value != self.here.get(name))
        ]
        yield from carry_out(self.motors, admitted, self.timeout(admitted.target), moving)

    def walk(self, target: Mapping[str, float], bound_by_domain: bool = True) -> MsgGenerator[str]:
        """Go to `target` through the gate, around forbidden regions and in steps if the envelope limits steps.

        The gate judges the whole way, and the motors check its corners, before the first step.

        Returns
        -------
        str
            Why the motors are not at the target; empty if they are. A refusal or a failed move raises nothing, because
            the measured rows are already safe.
        """
        goal = {name: float(target[name]) for name in self.motors if name in target}
        while True:
            mark = self._tag.interruptions
            try:
                yield from self.find()
                steps = self._gate.plan_route(self.here, goal, bound_by_domain)
                for step in steps:
                    for name, value in step.target.items():
                        yield from check_value(self.motors[name], value)
                for step in steps:
                    yield from carry_out(self.motors, step, self.timeout(step.target))
                    self.here.update(step.target)
            except RunEngineControlException:
                raise
            except Exception as error:  # noqa: BLE001 - a device may raise anything; the last move must not fail the run
                if self._tag.interruptions != mark:
                    continue
                return str(error)
            if self._tag.interruptions == mark:
                return ""

    def timeout(self, target: Mapping[str, float]) -> float:
        """Wall seconds that a move to `target` may take."""
        if self._timeout_s is not None:
            return self._timeout_s
        if not all(name in self._travel.axes for name in target):
            return 60.0
        return 10.0 + 3.0 * self._travel.seconds(self.here, {**self.here, **target})
