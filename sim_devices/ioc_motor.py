"""A motor record over a simulated motor, with the behaviour that EPICS clients rely on: above all put completion."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from caproto import AlarmSeverity, AlarmStatus
from caproto.server import PVGroup, pvproperty

from ebl_autonomy.sim_devices.clock import Clock
from ebl_autonomy.sim_devices.motor import SimMotor

__all__ = ["MotorRecord"]

TICK_S: Final = 0.02
"""Wall seconds between two readback updates of a moving motor."""
PRECISION: Final = 5

_DIRECTION_BIT, _DONE_BIT, _MOVING_BIT = 0x1, 0x2, 0x400  # of MSTA


class MotorRecord(PVGroup):
    """A motor record over one `SimMotor`.

    A put to VAL (or DVAL, RLV, TWF, TWR, HOMF, HOMR) completes when the motor has stopped: DMOV goes to 0 before the
    motor moves, the last RBV is posted before DMOV returns to 1, and the put completes last. A put during a move
    redirects the motor, and both puts complete at the new setpoint. STOP ends a move at the current position, and VAL
    follows. A setpoint outside the soft limits moves nothing: LVIO is 1, and VAL returns to its old value with a HIGH
    or LOW alarm until a setpoint is accepted. A non-zero BDST makes every move arrive from the same side.

    Parameters
    ----------
    prefix : str
        The record's name.
    device : SimMotor
        Its positions are the dial coordinates of the record.
    clock : Clock
        A move takes its simulated seconds divided by the clock's speed; no time if the speed is infinite.
    """

    motor = pvproperty(value=0.0, name="", record="motor", precision=PRECISION)

    def __init__(self, prefix: str, device: SimMotor, clock: Clock) -> None:
        super().__init__(prefix)
        self._device, self._clock = device, clock
        self._target = float(device.position)
        self._mover: asyncio.Task[None] | None = None
        self._arrived = False
        """Whether the mover no longer follows the target and only posts the final position."""
        self._disturbed = asyncio.Event()
        self._end_flight: Callable[[], None] | None = None
        """Ends the line that is flown with the motor; None if it flies none."""
        self._halted = False
        self._go_ahead = asyncio.Event()
        self._go_ahead.set()
        fields = self.motor.field_inst
        # Not a putter: caproto checks the limits before it calls a putter, and answers with an error and without LVIO.
        self.motor.verify_value = partial(self._put_value, self.motor)
        handlers: dict[str, Callable[[Any, Any], Coroutine[Any, Any, Any]]] = {
            "dial_desired_value": self._put_dial,
            "relative_value": self._put_relative,
            "tweak_motor_forward": self._put_tweak,
            "tweak_motor_reverse": self._put_tweak,
            "home_forward": self._put_home,
            "home_reverse": self._put_home,
            "jog_motor_forward": self._put_jog,
            "jog_motor_reverse": self._put_jog,
            "stop": self._put_stop,
            "stop_pause_move_go": self._put_mode,
            "velocity": self._put_velocity,
            "seconds_to_velocity": self._put_acceleration,
            "user_high_limit": self._put_user_limit,
            "user_low_limit": self._put_user_limit,
            "dial_high_limit": self._put_dial_limit,
            "dial_low_limit": self._put_dial_limit,
            "user_offset": self._put_offset,
            "user_direction": self._put_direction,
            "set_use_mode": self._put_use,
            "set_set_mode": self._put_use,
        }
        for attribute, handler in handlers.items():
            getattr(fields, attribute).putter = handler

    async def prepare(self) -> None:
        """Fill every field from the motor. Call this before the server starts."""
        device, fields = self._device, self.motor.field_inst
        low, high = device.limits
        step = device.resolution or 10.0**-PRECISION
        start: dict[str, Any] = {
            "description": device.name,
            "engineering_units": device.egu,
            "device_type": 0,
            "velocity": device.velocity,
            "max_velocity": device.velocity,
            "base_velocity": 0.0,
            "jog_velocity": device.velocity,
            "home_velocity": device.velocity,
            "seconds_to_velocity": device.acceleration,
            "readback_settle_time": float(device.settle_time),
            "bl_distance": 0.0,  # correcting backlash is left to the user, as with the soft motor
            "bl_velocity": device.velocity,
            "motor_step_size": step,
            "encoder_step_size": step,
            "readback_step_size": step,
            "retry_deadband": step,
            "setpoint_deadband": 0.0,
            "egu_s_per_revolution": 200.0 * step,
            "steps_per_revolution": 200,
            "tweak_step_size": 100.0 * step,
            "dial_high_limit": high,
            "dial_low_limit": low,
            "limit_violation": 0,
            "done_moving_to_value": 1,
            "motor_status": _DONE_BIT,
            "stop_pause_move_go": "Go",
            "output_specification": f"@sim({device.name})",
        }
        for attribute, value in start.items():
            await getattr(fields, attribute).write(value, verify_value=False)
        for channel in (self.motor, fields.user_readback_value, fields.dial_readback_value):
            await channel.write_metadata(units=device.egu, precision=PRECISION)
        await self._show_user_limits()
        await self._show_position()
        await self.motor.write(self.user(self._target), verify_value=False)

    # What the records of a flown line need

    def user(self, dial: float) -> float:
        """The user coordinate of a dial coordinate."""
        return self._sign() * dial + float(self.motor.field_inst.user_offset.value)

    def dial(self, user: float) -> float:
        """The dial coordinate of a user coordinate."""
        return self._sign() * (user - float(self.motor.field_inst.user_offset.value))

    def check(self, user: float) -> None:
        """Raise a ValueError if a position, in user coordinates, lies outside the record's soft limits."""
        if not self._is_allowed([self.dial(user)]):
            fields = self.motor.field_inst
            low, high = fields.user_low_limit.value, fields.user_high_limit.value
            raise ValueError(f"{self._device.name}={user:g} lies outside the record's limits [{low:g}, {high:g}]")

    async def move(self, user: float) -> bool:
        """Move to a position, in user coordinates; whether the motor has stopped there."""
        target = self.dial(user)
        await self.motor.write(user)
        return bool(abs(float(self._device.position) - target) <= float(self.motor.field_inst.retry_deadband.value))

    async def halt(self) -> None:
        """Stop the motor, as a put to STOP does."""
        await self._halt()

    def follow(self, flight: asyncio.Task[None], end: Callable[[], None]) -> asyncio.Task[None]:
        """Post the readback of a motor that others move until `flight` is done.

        As in a move, DMOV is 0 until the last readback is posted, and then VAL is the position. A put to STOP, and a
        setpoint, first call `end`, which must make the flight end soon.
        """
        self._halted, self._arrived, self._end_flight = False, True, end
        self._mover = asyncio.create_task(self._follow(flight))
        return self._mover

    # Fields that a client may put

    async def _put_value(self, instance: Any, value: float) -> float:
        fields = self.motor.field_inst
        if not math.isfinite(value):
            raise ValueError(f"{self._device.name}.VAL={value}: give a finite position")
        if fields.set_use_switch.value == "Set":
            if fields.offset_freeze_switch.value == "Variable":
                offset = value - self._sign() * self._device.position
                await fields.user_offset.write(offset, verify_value=False)
            else:
                self._device.place(self.dial(value))
            self._target = float(self._device.position)
            await self._show_user_limits()
            await self._show_position()
            return value
        if not self._is_allowed(self._waypoints(self.dial(value))):
            await fields.limit_violation.write(1)
            status = AlarmStatus.HIGH if value > self.user(self._target) else AlarmStatus.LOW
            await instance.alarm.write(status=status, severity=AlarmSeverity.MAJOR_ALARM)
            return self.user(self._target)
        await fields.limit_violation.write(0)
        await instance.alarm.write(status=AlarmStatus.NO_ALARM, severity=AlarmSeverity.NO_ALARM)
        await instance.write(value, verify_value=False)
        await fields.dial_desired_value.write(self.dial(value), verify_value=False)
        await self._travel(self.dial(value))
        return self.user(self._target)

    async def _put_dial(self, instance: Any, value: float) -> float:
        await self.motor.write(self.user(value))
        return self._target

    async def _put_relative(self, instance: Any, value: float) -> float:
        await self.motor.write(self.user(self._target) + value)
        return 0.0

    async def _put_tweak(self, instance: Any, value: int) -> int:
        if value:
            fields = self.motor.field_inst
            step = float(fields.tweak_step_size.value)
            await self.motor.write(
                self.user(self._target) + (step if instance is fields.tweak_motor_forward else -step)
            )
        return 0

    async def _put_home(self, instance: Any, value: int) -> int:
        if value:
            await self.motor.write(self.user(0.0))  # the home switch is at dial 0
        return 0

    async def _put_jog(self, instance: Any, value: int) -> int:
        fields = self.motor.field_inst
        if value:
            forward = instance is fields.jog_motor_forward
            self._aim(self.dial(float((fields.user_high_limit if forward else fields.user_low_limit).value)))
        else:
            await self._halt()
        return value

    async def _put_stop(self, instance: Any, value: int) -> int:
        if value:
            await self._halt()
        return 0

    async def _put_mode(self, instance: Any, value: Any) -> Any:
        if value in ("Go", "Move"):
            self._go_ahead.set()
        elif value == "Pause":
            self._go_ahead.clear()
            self._disturbed.set()
        else:
            self._go_ahead.set()
            await self._halt()
        return value

    async def _put_velocity(self, instance: Any, value: float) -> float:
        highest = float(self.motor.field_inst.max_velocity.value)
        if not value > 0:
            raise ValueError(f"{self._device.name}.VELO={value}: give a positive velocity")
        self._device.velocity = min(value, highest) if highest > 0 else value
        return self._device.velocity

    async def _put_acceleration(self, instance: Any, value: float) -> float:
        if not value > 0:
            raise ValueError(f"{self._device.name}.ACCL={value}: give a positive time")
        self._device.acceleration = value
        return value

    async def _put_user_limit(self, instance: Any, value: float) -> float:
        fields = self.motor.field_inst
        is_high = (instance is fields.user_high_limit) == (self._sign() > 0)
        dial = fields.dial_high_limit if is_high else fields.dial_low_limit
        await dial.write(self.dial(value), verify_value=False)
        await self._show_user_limits()
        return value

    async def _put_dial_limit(self, instance: Any, value: float) -> float:
        await instance.write(value, verify_value=False)
        await self._show_user_limits()
        return value

    async def _put_offset(self, instance: Any, value: float) -> float:
        await instance.write(value, verify_value=False)
        await self._show_coordinates()
        return value

    async def _put_direction(self, instance: Any, value: Any) -> Any:
        await instance.write(value, verify_value=False)
        await self._show_coordinates()
        return value

    async def _put_use(self, instance: Any, value: int) -> int:
        if value:
            fields = self.motor.field_inst
            await fields.set_use_switch.write("Set" if instance is fields.set_set_mode else "Use")
        return 0

    # Moving

    async def _travel(self, dial: float) -> None:
        """Move to a dial position; return when the motor has stopped, at whatever position."""
        # Shielded: when a client disconnects, its put is cancelled but the motor goes on.
        await asyncio.shield(self._aim(dial))

    def _aim(self, dial: float) -> asyncio.Task[None]:
        self._target, self._halted = dial, False
        self._disturbed.set()
        if self._end_flight is not None:
            self._end_flight()
        if self._mover is None or self._mover.done() or self._arrived:
            self._arrived = False
            self._mover = asyncio.create_task(self._move(self._mover))
        return self._mover

    async def _halt(self) -> None:
        if self._mover is not None and not self._mover.done():
            self._halted = True
            self._go_ahead.set()
            self._disturbed.set()
            if self._end_flight is not None:
                self._end_flight()
            await asyncio.shield(self._mover)

    async def _move(self, before: asyncio.Task[None] | None) -> None:
        fields = self.motor.field_inst
        if before is not None:
            await asyncio.wait([before])
        await fields.done_moving_to_value.write(0)
        await fields.motor_is_moving.write(1)
        arrived = False
        while not arrived:
            await self._go_ahead.wait()  # while SPMG is Pause
            if self._halted:
                break
            self._disturbed.clear()
            target = self._target
            for waypoint in self._waypoints(target):
                if not (arrived := await self._leg(waypoint)):
                    break
            arrived = arrived and target == self._target
        self._arrived = True
        if self._halted:
            self._target = float(self._device.position)
            for jog in (fields.jog_motor_forward, fields.jog_motor_reverse):
                await jog.write(0, verify_value=False)
        await self._show_position()
        await self.motor.write(self.user(self._target), verify_value=False)
        await fields.motor_is_moving.write(0)
        await fields.motor_status.write(_DONE_BIT)
        await fields.done_moving_to_value.write(1)

    async def _follow(self, flight: asyncio.Task[None]) -> None:
        fields = self.motor.field_inst
        await fields.done_moving_to_value.write(0)
        await fields.motor_is_moving.write(1)
        while not flight.done():
            await asyncio.wait([flight], timeout=TICK_S)
            await self._show_position()
        self._end_flight = None
        if self._mover is not asyncio.current_task():
            return  # a setpoint has ended the flight: that move goes on, and posts the rest
        self._target = float(self._device.position)
        await self._show_position()
        await self.motor.write(self.user(self._target), verify_value=False)
        await fields.motor_is_moving.write(0)
        await fields.done_moving_to_value.write(1)

    def _is_allowed(self, dials: Sequence[float]) -> bool:
        """Whether dial positions lie within the soft limits. In a motor record, equal limits mean no limits."""
        fields = self.motor.field_inst
        low, high = float(fields.dial_low_limit.value), float(fields.dial_high_limit.value)
        return low >= high or (low <= min(dials) and max(dials) <= high)

    def _waypoints(self, target: float) -> list[float]:
        backlash = float(self.motor.field_inst.bl_distance.value)
        distance = target - float(self._device.position)
        if backlash and distance and (backlash > 0) != (distance > 0):
            return [target - backlash, target]
        return [target]

    async def _leg(self, target: float) -> bool:
        """Move straight to a dial position; False if the move was interrupted."""
        device, fields = self._device, self.motor.field_inst
        start, began = float(device.position), time.monotonic()
        forward = target >= start
        await fields.direction_of_travel.write(int(forward))
        await fields.motor_status.write(_MOVING_BIT | (_DIRECTION_BIT if forward else 0))
        if device.stuck:
            await self._disturbed.wait()
            return False
        seconds = self._clock.arrive(device.seconds(target - start))
        while (passed := time.monotonic() - began) < seconds:
            try:
                await asyncio.wait_for(self._disturbed.wait(), min(TICK_S, seconds - passed))
            except TimeoutError:
                share = min((time.monotonic() - began) / seconds, 1.0)
                device.place(start + share * (target - start))
                await self._show_position()
            else:
                return False
        device.place(target)
        return True

    # Fields that a client reads

    def _sign(self) -> float:
        return -1.0 if self.motor.field_inst.user_direction.value == "Neg" else 1.0

    async def _show_position(self) -> None:
        fields, dial = self.motor.field_inst, float(self._device.position)
        steps = round(dial / float(fields.motor_step_size.value))
        await fields.raw_readback_value.write(steps)
        await fields.dial_readback_value.write(dial)
        await fields.difference_dval_drbv.write(self._target - dial)
        await fields.user_readback_value.write(self.user(dial))

    async def _show_user_limits(self) -> None:
        fields = self.motor.field_inst
        ends = [self.user(float(limit.value)) for limit in (fields.dial_low_limit, fields.dial_high_limit)]
        low, high = min(ends), max(ends)
        limits = {f"{end}_{kind}_limit": v for end, v in (("lower", low), ("upper", high)) for kind in ("ctrl", "disp")}
        for channel in (self.motor, fields.user_readback_value):
            await channel.write_metadata(**limits)
        await fields.user_low_limit.write(low, verify_value=False)
        await fields.user_high_limit.write(high, verify_value=False)

    async def _show_coordinates(self) -> None:
        await self._show_user_limits()
        await self._show_position()
        await self.motor.write(self.user(self._target), verify_value=False)
