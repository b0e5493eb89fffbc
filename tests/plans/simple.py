"""Small devices and document readers that the plan tests share."""

import math
import threading
import time
from collections import defaultdict
from typing import Any

from bluesky import RunEngine
from ophyd import Device
from ophyd.sim import NullStatus, SynAxis
from ophyd.status import Status

from ebl_autonomy import VOCS
from ebl_autonomy.agents import SobolAgent

BOUNDS = {"mx": (-2.0, 2.0), "my": (-2.0, 2.0)}
ENVELOPE = {"limits": BOUNDS}


def vocs(**more: Any) -> VOCS:
    return VOCS(variables={k: list(v) for k, v in BOUNDS.items()}, objectives={"bowl": "MINIMIZE"}, **more)


def sobol(seed: int = 0) -> SobolAgent:
    return SobolAgent(vocs(), seed=seed)


def truth(x: float, y: float) -> float:
    return (x - 0.5) ** 2 + (y + 0.25) ** 2


def begin(thread: threading.Thread, begun: list[threading.Thread]) -> list[threading.Thread]:
    """Start a thread; returns the threads that are still alive."""
    thread.start()
    return [*(one for one in begun if one.is_alive()), thread]


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()


class SlowAxis(SynAxis):
    """A motor that takes some wall time, so that a pause can interrupt a move."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(name=name)
        self.seconds = seconds
        self._stopped = threading.Event()
        self._moves: list[threading.Thread] = []

    def set(self, value: float, **kwargs: Any) -> Status:
        status = Status(self)
        stopped = self._stopped = threading.Event()

        def move() -> None:
            if not stopped.wait(self.seconds):
                self.sim_state["setpoint"] = self.sim_state["readback"] = value
            status.set_finished()

        self._moves = begin(threading.Thread(target=move, daemon=True), self._moves)
        return status

    def stop(self, *, success: bool = False) -> None:
        self._stopped.set()

    def rest(self) -> None:
        """Stop, and wait until the statuses of all moves are done."""
        self.stop()
        join(self._moves)


class Bowl:
    """A detector with a bowl-shaped reading of the two motors, taken at the trigger; `fail` scripts its failures."""

    name = "bowl"
    parent = None

    def __init__(self, mx: SynAxis, my: SynAxis, seconds: float = 0.0) -> None:
        self.mx, self.my, self.seconds = mx, my, seconds
        self.value = math.nan
        self.triggers = 0
        self.fail: Any = None
        self._exposures: list[threading.Thread] = []

    def trigger(self) -> Any:
        self.triggers += 1
        if self.fail is not None and (outcome := self.fail(self.triggers)) is not None:
            if isinstance(outcome, Exception):
                raise outcome
            self.value = outcome
            return NullStatus()
        if self.seconds:
            time.sleep(0)
            status = Status(self)

            def expose() -> None:
                self.value = truth(self.mx.position, self.my.position)
                status.set_finished()

            timer = threading.Timer(self.seconds, expose)
            timer.daemon = True
            self._exposures = begin(timer, self._exposures)
            return status
        self.value = truth(self.mx.position, self.my.position)
        return NullStatus()

    def rest(self) -> None:
        """Wait until the statuses of all exposures are done."""
        join(self._exposures)

    def read(self) -> dict[str, Any]:
        return {"bowl": {"value": self.value, "timestamp": time.time()}}

    def describe(self) -> dict[str, Any]:
        return {"bowl": {"source": "test", "dtype": "number", "shape": []}}


class Staged(Device):
    """A device that notes how it is staged, triggered and unstaged."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.calls: list[str] = []

    def stage(self) -> Any:
        self.calls.append("stage")
        return super().stage()

    def unstage(self) -> Any:
        self.calls.append("unstage")
        return super().unstage()

    def trigger(self) -> Any:
        self.calls.append("trigger")
        return NullStatus()


class Documents:
    """All documents of a run, and its events by stream."""

    def __init__(self, RE: RunEngine) -> None:
        self.all: list[tuple[str, dict[str, Any]]] = []
        self._streams: dict[str, str] = {}
        self.events: dict[str, list[dict[str, Any]]] = defaultdict(list)
        RE.subscribe(self)

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        self.all.append((name, doc))
        if name == "descriptor":
            self._streams[doc["uid"]] = doc["name"]
        if name == "event":
            self.events[self._streams[doc["descriptor"]]].append(doc["data"])
        if name == "event_page":
            for i in range(len(doc["seq_num"])):
                row = {key: values[i] for key, values in doc["data"].items()}
                self.events[self._streams[doc["descriptor"]]].append(row)

    @property
    def start(self) -> dict[str, Any]:
        return next(doc for name, doc in self.all if name == "start")

    @property
    def stop(self) -> dict[str, Any]:
        return next(doc for name, doc in reversed(self.all) if name == "stop")
