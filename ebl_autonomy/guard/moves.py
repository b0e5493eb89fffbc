"""The moves that a gate judges, each with the fly line that follows it and the decision behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from ebl_autonomy.records import Decision

__all__ = ["AdmittedMove", "Line", "Move", "note_admission", "watch_admissions"]


@dataclass(frozen=True)
class Line:
    """A straight fly line at constant speed, in motor units.

    Attributes
    ----------
    start, stop : dict of str to float
        Positions of the flying motors where the first row begins and the last row ends. Both name the same motors.
    rows : int
        Number of rows recorded along the line.
    seconds : float
        Time from start to stop.
    overrun : dict of str to float
        Distance that a motor travels beyond each end to accelerate and decelerate; 0 for motors that are not named.

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
        """The positions at which the motors begin and stop moving: both ends of the line with the overrun."""
        first, last = {}, {}
        for name, start in self.start.items():
            stop, extra = self.stop[name], abs(self.overrun.get(name, 0.0))
            direction = 0.0 if stop == start else (1.0 if stop > start else -1.0)
            first[name], last[name] = start - direction * extra, stop + direction * extra
        return first, last

    def positions(self) -> dict[str, list[float]]:
        """Assumed position of each row if no device reports it, by motor: the middle of its section of the line."""
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
        Target positions, in motor units.
    here : dict of str to float
        Present positions, in motor units. Rules about the path are not judged for motors that are not named.
    line : Line, optional
        The fly line that starts at the target.
    decision : Decision, optional
        The agent's decision behind the proposal that requests the move.
    bound_by_domain : bool
        Whether the target must lie in the VOCS's domain; the motors' original positions may lie outside it.
    """

    target: Mapping[str, float]
    here: Mapping[str, float] = field(default_factory=dict)
    line: Line | None = None
    decision: Decision | None = None
    bound_by_domain: bool = True


@dataclass(frozen=True)
class AdmittedMove:
    """A move that a gate has admitted. Only gates create it, and every stub of this package needs one to move motors.

    Attributes
    ----------
    target, here, line
        As in `Move`.
    """

    target: Mapping[str, float]
    here: Mapping[str, float]
    line: Line | None = None


_watchers: list[Callable[[AdmittedMove], None]] = []


def note_admission(admitted: AdmittedMove) -> None:
    """Report an admitted move to all watchers."""
    for watcher in _watchers:
        watcher(admitted)


@contextmanager
def watch_admissions(watcher: Callable[[AdmittedMove], None]) -> Iterator[None]:
    """Call `watcher` for each move that any gate admits; `check_plan` uses it to find moves that passed no gate."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)
