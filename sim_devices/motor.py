"""A motor that takes simulated time, has backlash and, like a motor record, refuses positions outside its limits."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ophyd.positioner import SoftPositioner
from ophyd.status import MoveStatus

from ebl_autonomy.sim_devices.clock import Clock
from ebl_autonomy.sim_devices.labels import MOTOR, NoOffset
from ebl_autonomy.space import AxisTravel

__all__ = ["DoneStatus", "SimMotor"]


class DoneStatus:
    """A status that is already done. An ophyd status starts a thread, which costs more than the simulated move."""

    done = True
    success = True

    def add_callback(self, callback: Callable[[Any], None]) -> None:
        callback(self)

    def exception(self, timeout: float | None = 0.0) -> None:
        return None

    def wait(self, timeout: float | None = None) -> None:
        return None


@dataclass
class _Move:
    """A move under way; that of a stuck motor takes for ever."""

    start: float
    target: float
    seconds: float
    began: float = field(default_factory=time.monotonic)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def position(self) -> float:
        """Where the motor is now."""
        share = min((time.monotonic() - self.began) / self.seconds, 1.0) if self.seconds else 1.0
        return self.start + share * (self.target - self.start)


class SimMotor(SoftPositioner):
    """An ophyd positioner on a simulated clock.

    Parameters
    ----------
    name : str
    clock : Clock
    limits : (float, float)
        Soft limits, in `egu`.
    egu : str
        Unit of the positions.
    velocity : float
        Speed, `egu` per second.
    acceleration : float
        Seconds to reach the velocity, as in EPICS.
    settle_time : float
        Simulated seconds of rest after a move.
    backlash : float
        Lost motion, in `egu`: after a reversal the optic stands still until the motor has taken up the play. Approached
        from below, the optic is at the readback; approached from above, it is higher by the backlash.
    resolution : float
        Smallest step, in `egu`; 0 for a continuous motor.
    position : float
        Start position, in `egu`.
    labels : tuple of str
        ophyd labels, by which bluesky's magics find the motor.
    """

    user_offset = NoOffset()

    def __init__(
        self,
        name: str,
        clock: Clock,
        limits: tuple[float, float],
        *,
        egu: str,
        velocity: float,
        acceleration: float = 0.2,
        settle_time: float = 0.05,
        backlash: float = 0.0,
        resolution: float = 0.0,
        position: float = 0.0,
        labels: tuple[str, ...] = (MOTOR,),
    ) -> None:
        self._clock = clock
        self.velocity = velocity
        self.acceleration = acceleration
        self.backlash = backlash
        self.resolution = resolution
        self.stuck = False
        self.slack = 0.0
        """Lag of the optic behind the readback, in `egu`, from 0 to the backlash; hidden from readings."""
        self._rest = settle_time
        self._move: _Move | None = None
        self._lock = threading.Lock()
        """A move either ends or is stopped."""
        # ophyd would wait for the settling in wall seconds; here it is part of the simulated move.
        super().__init__(name=name, egu=egu, limits=limits, source=f"sim:{name}", settle_time=0.0, labels=labels)
        self._position = float(position)

    @property
    def settle_time(self) -> float:
        """Simulated seconds of rest after a move."""
        return self._rest

    @property
    def actual(self) -> float:
        """True position of the optic, in `egu`."""
        return float(self.position) + self.slack

    def seconds(self, distance: float) -> float:
        """Simulated seconds of a move by `distance` (in `egu`), with a trapezoidal profile and settling."""
        # The backlash adds no time: the play is taken up on the way. A motor record would overshoot and come back.
        return float(AxisTravel(self.velocity, self.acceleration, self.settle_time).seconds(distance))

    def set(
        self, new_position: float, *, timeout: float | None = None, moved_cb: Any = None, wait: bool = False
    ) -> Any:
        """Move to a position, in `egu`.

        Raises
        ------
        LimitError
            If the position lies outside the limits (ophyd's error); the motor has not moved.
        ValueError
            If the position is not finite.
        """
        if self._clock.waits or self.stuck or wait or moved_cb is not None:
            return self.move(new_position, wait=wait, timeout=timeout, moved_cb=moved_cb)
        self.check_value(new_position)
        target = self._rounded(new_position)
        self._clock.arrive(self.seconds(target - self.position))
        self._go(target)
        return DoneStatus()

    def stop(self, *, success: bool = False) -> None:
        with self._lock:
            move, self._move = self._move, None
        if move is None:
            return  # not moving: a failed ophyd status stops its motor a second time
        self._go(self._rounded(move.position))
        move.stopped.set()
        super().stop(success=success)

    def _done_moving(self, *args: Any, **kwargs: Any) -> None:
        self._moving = False
        super()._done_moving(*args, **kwargs)

    def place(self, position: float) -> None:
        """Set the position at once. For the IOC, whose motor records handle time and limits themselves."""
        self._go(self._rounded(position))

    def check_value(self, pos: float) -> None:
        if not math.isfinite(pos):
            raise ValueError(f"position={pos} of {self.name} is not finite: give a finite number")
        super().check_value(pos)

    def describe(self) -> dict[str, dict[str, Any]]:
        low, high = self.limits
        return {
            self.name: {
                "source": self.source,
                "dtype": "number",
                "shape": [],
                "units": self.egu,
                "lower_ctrl_limit": low,
                "upper_ctrl_limit": high,
            }
        }

    def read_configuration(self) -> dict[str, dict[str, Any]]:
        now = time.time()
        return {
            f"{self.name}_{key}": {"value": float(getattr(self, key)), "timestamp": now} for key in self._configuration
        }

    def describe_configuration(self) -> dict[str, dict[str, Any]]:
        return {
            f"{self.name}_{key}": {"source": self.source, "dtype": "number", "shape": []} for key in self._configuration
        }

    @property
    def hints(self) -> dict[str, list[str]]:
        return {"fields": [self.name]}

    _configuration = ("velocity", "acceleration", "settle_time", "backlash")

    def _setup_move(self, position: float, status: MoveStatus) -> None:
        target, start = self._rounded(position), float(self.position)
        seconds = self._clock.arrive(self.seconds(target - start))
        self._run_subs(sub_type=self.SUB_START, timestamp=time.time())
        self._started_moving = self._moving = True
        stuck = self.stuck
        move = self._move = _Move(start, target, math.inf if stuck else seconds)

        def go() -> None:
            if move.stopped.wait(None if stuck else seconds):
                return
            with self._lock:
                if self._move is not move:
                    return  # stopped just now
                self._move = None
            self._go(target)
            self._done_moving(success=True)

        threading.Thread(target=go, daemon=True, name=f"{self.name}-move").start()

    def _go(self, target: float) -> None:
        self.slack = min(max(self.slack - (target - float(self.position)), 0.0), self.backlash)
        self._set_position(target)

    def _rounded(self, position: float) -> float:
        if self.resolution > 0:
            return round(position / self.resolution) * self.resolution
        return float(position)
