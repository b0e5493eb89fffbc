"""Traces how a proposal walks from an agent to a motor, and a reading from a detector back to the agent.

A small `optimize` runs on the simulated beamline under a profiler, which is then asked two things.

*The call path*: which of our functions lie between the two ends in the tree of calls, up from the one to the first that
called both, and down to the other. What the RunEngine or an executor calls for us belongs to the function of ours that
yielded the message or submitted the work.

*The handlers*: which functions beside that path were given the value and handed it on. A function hands a value on if
it writes it into one of its arguments, or returns it in something that a later function on the walk has in its hands.
A function that only records the value is left out.
"""

from __future__ import annotations

import dis
import inspect
import math
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import takewhile
from types import CodeType, FrameType
from typing import Any

from bluesky import RunEngine

from ebl_autonomy.agents import SobolAgent
from ebl_autonomy.plans import optimize
from ebl_autonomy.sim_devices import SimBeamline, SimCamera, SimMotor

__all__ = ["trace_walks"]

OBJECTIVE = "camera_spot_area"
FOLLOWED = 2
"""Which proposal is followed: not the first, before which there is nothing to tell the agent."""


def trace_walks() -> dict[str, list[str]]:
    """The functions of ours that a value passes, in order, each once, as ``module.function`` below ``ebl_autonomy``.

    Returns
    -------
    dict
        ``"proposal"``: from the agent's `suggest` to the motor's `set`. ``"reading"``: from the detector's `read` to
        the agent's `ingest`.
    """
    beamline = SimBeamline(tier="A")
    beamline.camera.trigger()  # compiles what is compiled, which need not be traced
    motors = beamline.motors()
    vocs = {"variables": {m.name: list(m.limits) for m in motors}, "objectives": {OBJECTIVE: "MINIMIZE"}}
    agent = SobolAgent(vocs)
    follower = Follower(agent)
    threading.setprofile(follower)
    sys.setprofile(follower)
    try:
        RE = RunEngine({})  # here, because its loop has a thread
        RE(optimize([beamline.camera], motors, agent, max_points=FOLLOWED + 1))
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    if list(follower.walks) != ["proposal", "reading"]:
        raise RuntimeError(f"only {list(follower.walks)} arrived: see where the value is changed on its way")
    return follower.walks


@dataclass(eq=False)
class Call:
    """One call of one of our functions.

    Attributes
    ----------
    parent : Call or None
        What called it, yielded the message for it, or submitted it.
    number, end : int
        When it began and ended, in calls that had begun by then.
    given, left : dict of str to list
        What held the followed value in each argument, when it began and when it ended.
    returned : list
        What held it in the result.
    """

    name: str
    code: CodeType
    parent: Call | None
    number: int
    given: dict[str, list[Any]]
    end: float = math.inf
    left: dict[str, list[Any]] = field(default_factory=dict)
    returned: list[Any] = field(default_factory=list)

    def lineage(self) -> list[Call]:
        """This call and those that led to it, innermost first."""
        return [self, *(self.parent.lineage() if self.parent else [])]

    @property
    def writes(self) -> bool:
        """Whether the value is in more places of an argument than it was."""
        return any(len(self.left.get(name, ())) > len(holders) for name, holders in self.given.items())

    @property
    def hands_on(self) -> bool:
        return bool(self.given and self.returned) or self.writes


class Follower:
    """A profiler for all threads, which follows one value at a time through the calls of our functions.

    Parameters
    ----------
    agent : Agent
        Its first variable's value is followed to a motor, and then a reading back to it.

    Attributes
    ----------
    walks : dict of str to list of str
        The names on each walk, once its value has arrived.
    """

    def __init__(self, agent: SobolAgent) -> None:
        self.walks: dict[str, list[str]] = {}
        self._suggest, self._ingest = (inspect.unwrap(f).__code__ for f in (type(agent).suggest, type(agent).ingest))
        self._variable = agent.space.names[0]
        self._value = math.nan  # nothing equals it
        self._start: Call | None = None
        self._since: list[Call] = []
        """Calls that began since the value is followed."""
        self._begun = self._suggested = 0
        self._open: dict[FrameType, Call] = {}
        self._yielded: Call | None = None
        """What yielded the latest message, the innermost of a chain of generators."""
        self._submitted: Call | None = None
        """What submitted work to an executor the last time."""
        self._just_yielded = False
        self._lock = threading.RLock()

    def __call__(self, frame: FrameType, event: str, result: Any) -> None:
        if event not in ("call", "return"):
            return  # of a function in C
        with self._lock:
            if event == "call" and frame.f_code is ThreadPoolExecutor.submit.__code__:
                self._submitted = self._caller(frame)
            if not _module(frame).startswith("ebl_autonomy.") or frame.f_code.co_filename == "<string>":
                return  # not ours, or made by dataclass
            yields = event == "return" and dis.opname[frame.f_code.co_code[frame.f_lasti]] == "YIELD_VALUE"
            if event == "call" and frame not in self._open:
                self._begin(frame)
            elif yields and frame in self._open and not self._just_yielded:
                if frame.f_code.co_flags & inspect.CO_GENERATOR:  # a coroutine only waits
                    self._yielded = self._open[frame]
            elif event == "return" and not yields and frame in self._open:
                self._end(frame, result)
            self._just_yielded = yields

    def _begin(self, frame: FrameType) -> None:
        name = f"{_module(frame)}.{frame.f_code.co_qualname}".removeprefix("ebl_autonomy.").replace(".<locals>", "")
        self._begun += 1
        call = Call(name, frame.f_code, self._caller(frame), self._begun, self._in_arguments(frame))
        self._open[frame] = call
        self._since.append(call)
        if call.given and call.code is SimMotor.set.__code__ and not self.walks:
            self._arrive("proposal", call)
        elif call.given and call.code is self._ingest and list(self.walks) == ["proposal"]:
            self._arrive("reading", call)

    def _end(self, frame: FrameType, result: Any) -> None:
        call = self._open.pop(frame)
        call.end = self._begun
        call.left, call.returned = self._in_arguments(frame), list(_holders(result, self._value))
        if call.code is self._suggest:
            self._suggested += 1
            if self._suggested == FOLLOWED:
                self._follow(result[0][self._variable], call)
        elif call.code is SimCamera.read.__code__ and list(self.walks) == ["proposal"] and self._start is None:
            self._follow(result[OBJECTIVE]["value"], call)

    def _follow(self, value: float, start: Call | None) -> None:
        self._value, self._start, self._since = value, start, []

    def _arrive(self, name: str, end: Call) -> None:
        assert self._start is not None
        up, down = self._start.lineage(), end.lineage()
        shared = next(call for call in up if call in down)
        path = [*takewhile(lambda c: c is not shared, up), shared]
        path += reversed(list(takewhile(lambda c: c is not shared, down)))
        beside = [call for call in self._since if call.hands_on and call not in path]
        walk = [station for call in path for station in (call, *_handlers(call, [*path, *beside], beside))]
        self.walks[name] = list(dict.fromkeys(call.name for call in walk))
        self._follow(math.nan, None)

    def _caller(self, frame: FrameType) -> Call | None:
        outer = frame.f_back
        is_submitted = False
        while outer is not None:
            if outer in self._open:
                return self._open[outer]
            is_submitted = is_submitted or _module(outer) == "concurrent.futures.thread"
            outer = outer.f_back
        return self._submitted if is_submitted else self._yielded

    def _in_arguments(self, frame: FrameType) -> dict[str, list[Any]]:
        code, values = frame.f_code, frame.f_locals
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        found = {name: list(_holders(values.get(name), self._value)) for name in names}
        return {name: holders for name, holders in found.items() if holders}


def _handlers(caller: Call, all_of_us: Sequence[Call], beside: Sequence[Call]) -> Iterator[Call]:
    """Those called by `caller`, and by them, that handed the value on to one of us."""
    for call in beside:
        if call.parent is caller and (call.writes or any(_takes(other, call) for other in all_of_us)):
            yield call
            yield from _handlers(call, all_of_us, beside)


def _takes(other: Call, call: Call) -> bool:
    """Whether another call has something in its hands that `call` returned, after it did."""
    held: list[Any] = []
    if other.number > call.end:
        held += [holder for holders in other.given.values() for holder in holders]
    if other.end > call.end:
        held += [*other.returned, *(holder for holders in other.left.values() for holder in holders)]
    # Not the number itself: what is passed on is the thing that it came in.
    returned = [thing for thing in call.returned if not isinstance(thing, float)]
    return other is not call and any(thing is holder for thing in returned for holder in held)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _holders(thing: Any, value: float, into_objects: bool = True) -> Iterator[Any]:
    """Everything in `thing` that has the number in it, `thing` included.

    Attributes are looked into, but not those of an object inside an object: a session holds everything there is. Frozen
    dataclasses are values, such as an admitted move, and are looked into wherever they are.
    """
    if isinstance(thing, float):
        if thing == value:
            yield thing
        return
    if isinstance(thing, Mapping):
        parts, deeper = list(thing.values()), into_objects
    elif isinstance(thing, (list, tuple)):
        parts, deeper = list(thing), into_objects
    elif _is_value(thing):
        parts, deeper = list(vars(thing).values()), into_objects
    elif into_objects and type(thing).__module__.startswith("ebl_autonomy."):
        parts, deeper = list(getattr(thing, "__dict__", {}).values()), False
    else:
        return
    inside = [holder for part in parts for holder in _holders(part, value, deeper)]
    if inside:
        yield thing
        yield from inside


def _is_value(thing: Any) -> bool:
    parameters = getattr(type(thing), "__dataclass_params__", None)
    return type(thing).__module__.startswith("ebl_autonomy.") and parameters is not None and parameters.frozen
