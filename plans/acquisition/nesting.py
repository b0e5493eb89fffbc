"""Runs a user's stub inside our run: passes its messages on, and changes those that would collide."""

import itertools
import math
from collections.abc import Collection, Mapping
from typing import Any

from bluesky import plan_stubs as bps
from bluesky.utils import FailedStatus, IllegalMessageSequence, Msg, MsgGenerator, root_ancestor
from ophyd import PseudoPositioner

from ebl_autonomy.errors import DeviceTimeoutError, RefusedError
from ebl_autonomy.guard import Move
from ebl_autonomy.plans.attempt import Attempt
from ebl_autonomy.plans.coupled import ancestors, axis_of, axis_targets, neighbours, settings
from ebl_autonomy.plans.devices import read_positions
from ebl_autonomy.plans.failures import blamed, failure
from ebl_autonomy.plans.motion import check_setting
from ebl_autonomy.plans.timely import timely
from ebl_autonomy.records import BASELINE, OUR_STREAMS, PROPOSAL_ID

__all__ = ["nested"]

_run_keys = itertools.count()


def nested(steps: MsgGenerator[Any], attempt: Attempt, staged: Collection[Any]) -> MsgGenerator[Any]:
    """Run a stub within an attempt; returns the stub's return value.

    * An event that the stub reads into our run also holds the proposal's id. If its stream has the name of one of ours,
      the event goes to ``measured_<name>``.
    * A run that the stub opens gets its own run key, so that both runs can be open, and names our run in its start
      document under ``ebl_proposal``. A run, an event or a monitor that the stub leaves open is closed.
    * Devices that the plan has staged are neither staged nor unstaged; those that write files begin new ones.
    * A wait without a time limit gets ``trigger_timeout_s`` if it is for triggers alone, else ``move_timeout_s``, where
      they are given. So a device whose status is lost fails, and the plan does not hang.
    * A motor that the agent steers, or that the plan moves, is set only if the gate admits the move, and only directly:
      not through one of its signals or through a device that contains it.

    Parameters
    ----------
    steps : generator of Msg
        The stub's messages.
    attempt : Attempt
    staged : collection of devices
        Devices that the plan has staged.

    Raises
    ------
    RefusedError
        If the gate refuses a move and the stub does not handle the refusal.
    DeviceFailedError, DeviceTimeoutError
        If a device fails or is late, and the stub does not handle the error that it gets; names the device.
    Exception
        Whatever else the stub raises.
    """
    nesting = _Nesting(attempt, staged)
    answer: Any = None
    thrown: Exception | None = None
    try:
        while True:
            try:
                message = steps.throw(thrown) if thrown is not None else steps.send(answer)
            except StopIteration as stop:
                returned = stop.value
                break
            answer, thrown = None, None
            try:
                answer = yield from nesting.passed(message)
            except Exception as error:  # noqa: BLE001 - passed on to the stub, which may handle it
                thrown = error
                nesting.note_failure(message, error)
                nesting.forget_positions()
    except Exception as error:
        named = nesting.blamed(error)
        yield from nesting.close("fail")
        if named is error:
            raise
        raise named from error
    yield from nesting.close("success")
    return returned


class _Nesting:
    """The state of one running stub."""

    def __init__(self, attempt: Attempt, staged: Collection[Any]) -> None:
        self._attempt = attempt
        self._experiment = attempt.recorder.experiment
        self._staged = {id(root_ancestor(device)) for device in staged} | {id(device) for device in staged}
        self._runs: list[str] = []
        """Keys of the stub's open runs that it opened without a key, innermost last."""
        self._keyed: list[Any] = []
        """Keys of the stub's open runs that it opened with a key."""
        self._monitored: list[Msg] = []
        self._bundling_ours = False
        self._here: dict[str, float] | None = None
        """Positions at the start of the current moves; None if they must be read first."""
        self._known_at = attempt.recorder.tag.interruptions
        """Number of interruptions when the positions were read."""
        self._under_way: dict[str, float] = {}
        self._moving: set[Any] = set()
        """The groups in which devices do more than to be triggered."""
        self._begun: dict[str, Any] = {}
        """The latest status of each device that the stub has set, triggered or the like, by device name."""
        self._thrown: tuple[Msg, Exception] | None = None
        """The latest message that raised an error, and the error."""
        self._tag = attempt.recorder.binding
        self._tag.put({PROPOSAL_ID: attempt.proposal.proposal_id})

    def passed(self, message: Msg) -> MsgGenerator[Any]:
        """Pass one message on, changed if necessary; returns the response to it."""
        if message.command in ("stage", "unstage") and id(message.obj) in self._staged:
            if hasattr(message.obj, "collect_asset_docs"):
                # Its files belong to the run for which it is staged, so it is handed over to the stub and back.
                yield from bps.unstage(message.obj, wait=True)
                yield from bps.stage(message.obj, wait=True)
            return [message.obj]
        if message.command == "open_run":
            return (yield from self._open_run(message))
        if message.command == "read":
            message = message._replace(obj=timely(message.obj))
        if message.command == "wait":
            message = self._limited(message)
        elif message.command != "trigger" and "group" in message.kwargs:
            self._moving.add(message.kwargs["group"])
        if message.command in ("set", "prepare", "kickoff"):
            message = yield from self._judged(message)
        if message.command == "close_run":
            message = self._closing(message)
        elif message.run is None and self._runs:
            message = message._replace(run=self._runs[-1])
        elif message.run is None:
            message = yield from self._in_our_run(message)
        if message.command == "monitor":
            self._monitored.append(message)
        elif message.command == "unmonitor":
            self._monitored = [one for one in self._monitored if one.obj is not message.obj]
        answer = yield message
        if message.command == "wait":
            self.forget_positions()
        elif hasattr(answer, "done"):
            self._begun[str(getattr(message.obj, "name", message.obj))] = answer
        return answer

    def note_failure(self, message: Msg, error: Exception) -> None:
        """Remember the message that raised an error, which the stub gets now."""
        self._thrown = (message, error)

    def blamed(self, error: Exception) -> Exception:
        """The error that ends the stub; one that names the device, if a device caused it."""
        if isinstance(error, FailedStatus):
            return failure(self._begun, error)
        if self._thrown is None or self._thrown[1] is not error:
            return error  # the stub's own
        message = self._thrown[0]
        if message.command == "wait" and isinstance(error, TimeoutError):
            names = [name for name, status in self._begun.items() if not status.done]
            return (
                DeviceTimeoutError(names, f"no answer from {names} {self._late_text(message, error)}")
                if names
                else error
            )
        return error if message.obj is None else blamed(message.obj, error, f"its {message.command!r} failed")

    def _limited(self, message: Msg) -> Msg:
        """A wait with a time limit, if there is one for what is waited for."""
        limit = getattr(self._experiment, self._limit_name(message))
        if limit is None or message.kwargs.get("timeout") is not None:
            return message
        return message._replace(kwargs={**message.kwargs, "timeout": limit, "error_on_timeout": True})

    def _limit_name(self, message: Msg) -> str:
        """The argument of the plan that limits a wait."""
        group = message.kwargs.get("group", message.args[0] if message.args else None)
        return "move_timeout_s" if group is None or group in self._moving else "trigger_timeout_s"

    def _late_text(self, message: Msg, error: Exception) -> str:
        """Within which limit of a wait there was no answer, and the remedy."""
        own = message.kwargs.get("timeout")
        if own is not None:
            return f"within {own:g} s, the timeout of the stub's own wait: raise it"
        name = self._limit_name(message)
        limit = getattr(self._experiment, name)
        if limit is None:  # the device's own
            return f"in time: {error}"
        return f"within {limit:g} s: raise {name}, or give the wait a timeout of its own"

    def forget_positions(self) -> None:
        """Read the positions of the motors again before the next move."""
        self._here, self._under_way = None, {}

    def close(self, exit_status: str) -> MsgGenerator[None]:
        """Close the runs, events and monitors that the stub left open."""
        if self._bundling_ours:
            yield Msg("drop")
        for message in self._monitored:
            yield Msg("unmonitor", message.obj, run=message.run)
        for key in [*reversed(self._runs), *reversed(self._keyed)]:
            yield Msg("close_run", None, run=key, exit_status=exit_status, reason="left open by the measuring stub")
        self._runs, self._keyed = [], []

    def _open_run(self, message: Msg) -> MsgGenerator[Any]:
        key = message.run if message.run is not None else f"ebl-nested-{next(_run_keys)}"
        link = {"run": self._attempt.recorder.run_uid, PROPOSAL_ID: self._attempt.proposal.proposal_id}
        answer = yield message._replace(run=key, kwargs={**message.kwargs, "ebl_proposal": link})
        (self._runs if message.run is None else self._keyed).append(key)
        return answer

    def _closing(self, message: Msg) -> Msg:
        if message.run is None:
            if not self._runs:
                raise IllegalMessageSequence("the measuring stub closes a run that it did not open")
            return message._replace(run=self._runs.pop())
        self._keyed = [key for key in self._keyed if key != message.run]
        return message

    def _in_our_run(self, message: Msg) -> MsgGenerator[Msg]:
        if message.command in ("create", "declare_stream", "monitor", "collect"):
            message = _renamed(message)
        if message.command == "create":
            self._bundling_ours = True
        elif message.command in ("save", "drop") and self._bundling_ours:
            self._bundling_ours = False
            if message.command == "save":
                yield Msg("read", self._tag)
        return message

    def _judged(self, message: Msg) -> MsgGenerator[Msg]:
        """The message, if the gate admits what it moves; axes of one pseudo positioner are set together."""
        motors: Mapping[str, Any] = self._experiment.motors
        device: Any = message.obj
        name = str(getattr(device, "name", ""))
        names = {id(axis_of(motor)): variable for variable, motor in motors.items()}
        others = neighbours(motors)
        axes: dict[Any, Any] = {}
        if id(axis_of(device)) in names and not isinstance(device, PseudoPositioner):
            axes = {device: message.args[0] if message.args else math.nan}
        elif message.command == "set":  # bluesky merges the axes of a pseudo positioner in one `mv`
            axes = axis_targets(device, message.args, message.kwargs)
        if not any(id(axis) in names or axis in others.values() for axis in axes):
            for moved, motor in motors.items():
                if _moves_with(device, motor):
                    raise RefusedError("limits", f"{message.command} of {name} would move {moved}: set {moved} itself")
            return message
        if message.command != "set":
            raise RefusedError("limits", f"{message.command} of {name}: lines of a steered motor need a FlyLine")
        targets = {names.get(id(axis), axis.name): float(target) for axis, target in axes.items()}
        tag, motion = self._attempt.recorder.tag, self._attempt.motion
        while self._here is None or self._known_at != tag.interruptions:  # a hand may have moved motors in a pause
            self.forget_positions()
            self._known_at = tag.interruptions
            self._here = yield from read_positions(motors)
        # Motors that are set one after the other without a wait in between move together, as in one `mv`.
        self._under_way.update({axis: target for axis, target in targets.items() if axis in motors})
        motion.lost = True
        gate = self._experiment.session.gate
        gate.check_move(Move(dict(self._under_way), self._here, bound_by_domain=False))
        (setting,) = settings({**others, **motors}, targets, {**motion.held, **self._here, **self._under_way})
        yield from check_setting(setting, targets)
        motion.held.update({axis: target for axis, target in targets.items() if axis in motion.held})
        if isinstance(device, PseudoPositioner) or setting.device is not device:
            kwargs = {key: value for key, value in message.kwargs.items() if key == "group"}
            return message._replace(obj=setting.device, args=(setting.value,), kwargs=kwargs)
        return message


def _renamed(message: Msg) -> Msg:
    name = message.kwargs.get("name", message.args[0] if message.command == "create" and message.args else None)
    if name not in OUR_STREAMS and name != BASELINE:  # which a SupplementalData of the RunEngine may write
        return message
    args = () if message.command == "create" else message.args
    return message._replace(args=args, kwargs={**message.kwargs, "name": f"measured_{name}"})


def _moves_with(device: Any, motor: Any) -> bool:
    """Whether setting `device` also moves `motor`: its part, its parent, or an axis of its pseudo positioner."""
    if any(motor is one for one in ancestors(device)) or any(device is one for one in ancestors(motor)):
        return True
    parent = getattr(motor, "parent", None)
    return isinstance(parent, PseudoPositioner) and getattr(device, "parent", None) is parent
