"""A user's stub inside our run: its messages pass through here, and those that would collide are changed."""

import itertools
from collections.abc import Collection, Iterable
from typing import Any

from bluesky.utils import Msg, MsgGenerator, ensure_generator, root_ancestor

from ebl_autonomy.guard import Move
from ebl_autonomy.plans.devices import read_position
from ebl_autonomy.plans.recorder import Attempt
from ebl_autonomy.records import ABANDONED, BASELINE, DECISIONS, EXPLANATION, PRIMARY, PROPOSAL_ID, RECOMMENDED

__all__ = ["nested"]

OUR_STREAMS = {PRIMARY, DECISIONS, ABANDONED, BASELINE, RECOMMENDED, EXPLANATION}
"""An event of the stub's in one of these goes to ``measured_<name>`` instead."""

_run_keys = itertools.count()


def nested(stub: Iterable[Msg], attempt: Attempt, staged: Collection[Any]) -> MsgGenerator[Any]:
    """Run a stub within an attempt, and return what it returns.

    * An event of the stub's that lies in our run gets the proposal's id, and a stream of its own.
    * A run that the stub opens gets a key of its own, so that both can be open, and names our run in its start
      document under ``ebl_proposal``. One that the stub leaves open is closed.
    * Devices that the plan holds staged are neither staged nor unstaged.
    * A motor that the agent steers, or that the plan moves, is set only if the gate lets the move pass.

    Parameters
    ----------
    stub : iterable of Msg
    attempt : Attempt
    staged : collection of devices
        Held staged by the plan.

    Raises
    ------
    RefusedError
        If the gate refuses a move and the stub does not handle that.
    Exception
        Whatever the stub raises.
    """
    nesting = _Nesting(attempt, staged)
    steps = ensure_generator(stub)
    answer: Any = None
    failure: Exception | None = None
    try:
        while True:
            try:
                message = steps.throw(failure) if failure is not None else steps.send(answer)
            except StopIteration as stop:
                returned = stop.value
                break
            answer, failure = None, None
            try:
                answer = yield from nesting.passed(message)
            except Exception as error:  # noqa: BLE001 - the stub decides what it does about it
                failure = error
    except Exception:
        yield from nesting.close_runs("fail")
        raise
    yield from nesting.close_runs("success")
    return returned


class _Nesting:
    """The state of one stub on its way."""

    def __init__(self, attempt: Attempt, staged: Collection[Any]) -> None:
        self._attempt = attempt
        self._experiment = attempt.recorder.experiment
        self._staged = {id(root_ancestor(device)) for device in staged} | {id(device) for device in staged}
        self._runs: list[str] = []
        self._tag = attempt.recorder.binding
        self._tag.put({PROPOSAL_ID: attempt.proposal.proposal_id})
        self._bundling_ours = False
        self._positions: dict[str, float] = {}

    def passed(self, message: Msg) -> MsgGenerator[Any]:
        """Let one message pass, changed if need be; returns the answer to it."""
        if message.command in ("stage", "unstage") and id(message.obj) in self._staged:
            return [message.obj]
        if message.command == "open_run" and message.run is None:
            return (yield from self._open_run(message))
        if message.command == "set":
            yield from self._judge(message)
        ours = message.run is None and not self._runs
        if message.run is None and self._runs:
            message = message._replace(run=self._runs[-1])
        if message.command == "close_run" and message.run in self._runs:
            self._runs.remove(message.run)
        if ours and message.command == "create":
            message = self._renamed(message)
            self._bundling_ours = True
        if ours and message.command in ("save", "drop") and self._bundling_ours:
            self._bundling_ours = False
            if message.command == "save":
                yield Msg("read", self._tag)
        return (yield message)

    def close_runs(self, exit_status: str) -> MsgGenerator[None]:
        """Close the runs that the stub left open."""
        while self._runs:
            yield Msg("close_run", None, run=self._runs.pop(), exit_status=exit_status, reason="")

    def _open_run(self, message: Msg) -> MsgGenerator[Any]:
        key = f"ebl-nested-{next(_run_keys)}"
        link = {"run": self._attempt.recorder.run_uid, PROPOSAL_ID: self._attempt.proposal.proposal_id}
        answer = yield message._replace(run=key, kwargs={**message.kwargs, "ebl_proposal": link})
        self._runs.append(key)
        return answer

    @staticmethod
    def _renamed(message: Msg) -> Msg:
        name = message.kwargs.get("name", message.args[0] if message.args else None)
        if name not in OUR_STREAMS:
            return message
        return message._replace(args=(), kwargs={**message.kwargs, "name": f"measured_{name}"})

    def _judge(self, message: Msg) -> MsgGenerator[None]:
        motors = self._experiment.motors
        name = getattr(message.obj, "name", "")
        if motors.get(name) is not message.obj:
            return
        if not self._positions:
            for one, motor in motors.items():
                self._positions[one] = yield from read_position(motor)
        target = {**self._positions, name: float(message.args[0])}
        self._experiment.session.gate.check_move(Move(target, dict(self._positions), bound_by_domain=False))
        self._positions = target
        self._attempt.motion.lost = True
