"""What a gate judges: a move of the motors, with the line that is flown at its end and the decision behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from ebl_autonomy.records import Decision

__all__ = ["AdmittedMove", "Line", "Move", "note_admission", "watch_admissions"]


@dataclass(frozen=True)
class Line:
    """A straight line that is flown at constant speed, in motor units.

    Attributes
    ----------
    start, stop : dict of str to float
        Where the first row begins and the last one ends; the motors that fly. Both name the same motors.
    rows : int
        Rows that are recorded on the way.
    seconds : float
        From start to stop.
    overrun : dict of str to float
        How far a motor goes beyond both ends to gain and lose its speed; 0 for those that are not named.

    Raises
    ------
    ValueError
        If start and stop name different motors, or a number is out of range.
    """

    start: Mapping[str, float]
    stop: Mapping[str, float]
    rows: int
    seconds: float
    overrun: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if set(self.start) != set(self.stop) or not self.start:
            raise ValueError(
                f"a line from {dict(self.start)} to {dict(self.stop)}: both ends must name the same motors"
            )
        if self.rows < 1 or not self.seconds > 0.0:
            raise ValueError(
                f"a line of {self.rows} rows in {self.seconds} s: give at least one row and a positive time"
            )

    def ends(self) -> tuple[dict[str, float], dict[str, float]]:
        """Where the motors really turn round: the two ends with their overrun."""
        first, last = {}, {}
        for name, start in self.start.items():
            stop, extra = self.stop[name], abs(self.overrun.get(name, 0.0))
            direction = 0.0 if stop == start else (1.0 if stop > start else -1.0)
            first[name], last[name] = start - direction * extra, stop + direction * extra
        return first, last

    def positions(self) -> dict[str, list[float]]:
        """Where each row is measured if no device tells: the middle of its share of the line, by motor."""
        return {
            name: [start + (self.stop[name] - start) * (i + 0.5) / self.rows for i in range(self.rows)]
            for name, start in self.start.items()
        }


@dataclass(frozen=True)
class Move:
    """One move of the motors, before it begins.

    Attributes
    ----------
    target : dict of str to float
        Where the motors shall stand.
    here : dict of str to float
        Where they stand now. Rules on the way are not judged for motors that are not named.
    line : Line, optional
        Flown from the target on.
    decision : Decision, optional
        What the agent says about the proposal that asks for the move.
    bound_by_domain : bool
        Whether the VOCS's domain holds; where the motors came from may lie outside it.
    """

    target: Mapping[str, float]
    here: Mapping[str, float] = field(default_factory=dict)
    line: Line | None = None
    decision: Decision | None = None
    bound_by_domain: bool = True


@dataclass(frozen=True)
class AdmittedMove:
    """A move that a gate has let pass; only gates make them, and no stub of ours moves motors without one.

    Attributes
    ----------
    target, here, line
        Those of the `Move`.
    """

    target: Mapping[str, float]
    here: Mapping[str, float]
    line: Line | None = None


_watchers: list[Callable[[AdmittedMove], None]] = []


def note_admission(admitted: AdmittedMove) -> None:
    """Tell everybody who watches what a gate has let pass."""
    for watcher in _watchers:
        watcher(admitted)


@contextmanager
def watch_admissions(watcher: Callable[[AdmittedMove], None]) -> Iterator[None]:
    """Call `watcher` for each move that any gate lets pass: how `check_plan` finds motions that passed none."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)
