"""Scripted parts of a run: an agent with a list of points, motors that record moves, a pause during an exposure."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from bluesky import RunEngine
from gest_api.generator import Generator
from ophyd.sim import SynAxis
from ophyd.status import Status
from simple import Bowl, truth, vocs

from ebl_autonomy import VOCS

Point = dict[str, Any]


def at(x: float, y: float = 0.0) -> Point:
    return {"mx": x, "my": y}


class Scripted(Generator):
    """Proposes the points of a list in order, until the list is empty; records what it ingests, call by call."""

    def __init__(self, points: Sequence[Mapping[str, Any]], given: VOCS | None = None) -> None:
        self.vocs = given or vocs()
        self.points = [dict(point) for point in points]
        self.calls: list[list[Point]] = []

    @property
    def told(self) -> list[Point]:
        """All ingested results, in order."""
        return [result for call in self.calls for result in call]

    def _validate_vocs(self, vocs: VOCS) -> None:
        pass

    def suggest(self, num_points: int | None = None) -> list[Point]:
        count = num_points or 1
        proposed, self.points = self.points[:count], self.points[count:]
        return proposed

    def ingest(self, results: list[Point]) -> None:
        self.calls.append(list(results))


class RecordedAxis(SynAxis):
    """A motor that moves at once and records the start and the end of each move."""

    def __init__(self, name: str, start: float = 0.0) -> None:
        super().__init__(name=name, value=start)
        self.moves: list[tuple[float, float]] = []

    def set(self, value: float, **kwargs: Any) -> Any:
        self.moves.append((float(self.position), float(value)))
        return super().set(value, **kwargs)

    @property
    def longest(self) -> float:
        """Length of its longest move; 0 if it never moved."""
        return max((abs(there - here) for here, there in self.moves), default=0.0)


def pause_in_exposure(RE: RunEngine, bowl: Bowl, number: int, defer: bool = False) -> None:
    """Make trigger `number` (counted from 1) request a pause, and finish only after the RunEngine has received it."""
    expose = bowl.trigger

    def trigger() -> Any:
        if bowl.triggers + 1 != number:
            return expose()
        bowl.triggers += 1
        status = Status(bowl)

        def pause() -> None:
            RE.request_pause(defer)
            bowl.value = truth(bowl.mx.position, bowl.my.position)
            status.set_finished()

        threading.Thread(target=pause, daemon=True).start()
        return status

    bowl.trigger = trigger  # type: ignore[method-assign]
