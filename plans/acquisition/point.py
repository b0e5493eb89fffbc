"""At a point: trigger the detectors, read them with the motors, and record one row."""

from collections.abc import Mapping, Sequence
from typing import Any

from bluesky.protocols import NamedMovable, Readable
from bluesky.utils import MsgGenerator

from ebl_autonomy.plans.acquisition.protocol import Row
from ebl_autonomy.plans.attempt import Attempt
from ebl_autonomy.plans.devices import unique
from ebl_autonomy.plans.readings import Readings, separate
from ebl_autonomy.plans.stubs import TRIGGER_S, trigger_detectors

__all__ = ["AtPoint"]


class AtPoint:
    """One row per proposal, with the detectors' readings; see `Acquisition`.

    Parameters
    ----------
    detectors : sequence of Readable
    trigger_timeout_s : float, optional
        Wall seconds that a trigger may take; 60 by default.
    """

    kind = "point"
    rows_per_proposal = 1
    positions_from_rows: frozenset[str] = frozenset()

    def __init__(self, detectors: Sequence[Readable[Any]], trigger_timeout_s: float | None = None) -> None:
        self.detectors: Sequence[Readable[Any]] = unique(detectors)
        self.staged: Sequence[Any] = self.detectors
        self.motors: Mapping[str, NamedMovable[Any]] = {}
        self._trigger_timeout_s = TRIGGER_S if trigger_timeout_s is None else trigger_timeout_s

    def describe(self) -> MsgGenerator[dict[str, Any] | None]:
        """See `Acquisition.describe`; without the detectors that can describe themselves only later."""
        readings = Readings(self.detectors)
        yield from readings.ask("given")
        return readings.keys

    def line(self, target: Mapping[str, float]) -> None:
        """See `Acquisition.line`: the motors stand still."""

    def acquire(self, attempt: Attempt) -> MsgGenerator[list[Row]]:
        """See `Acquisition.acquire`."""
        attempt.expose()
        motors = list(attempt.recorder.experiment.motors.values())
        read = separate([*motors, *self.detectors])
        triggered = [device for device in self.detectors if any(device is one for one in read)]
        yield from trigger_detectors(triggered, self._trigger_timeout_s)
        attempt.check_uninterrupted()
        return [(yield from attempt.record_row(self.detectors))]
