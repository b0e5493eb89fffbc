"""Points and fly lines in one run: a proposal says by its length which of the two it is."""

from collections.abc import Mapping, Sequence
from typing import Any

from bluesky import plan_stubs as bps
from bluesky.protocols import NamedMovable, Readable
from bluesky.utils import MsgGenerator

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.guard import Line
from ebl_autonomy.plans.acquisition.fly import RAW_ROW, FlyLine
from ebl_autonomy.plans.acquisition.lines import Stretch
from ebl_autonomy.plans.acquisition.point import AtPoint
from ebl_autonomy.plans.acquisition.protocol import Row
from ebl_autonomy.plans.attempt import Attempt
from ebl_autonomy.plans.devices import unique
from ebl_autonomy.plans.failures import blaming
from ebl_autonomy.plans.stubs import TRIGGER_S, trigger_detectors

__all__ = ["PointOrLine"]


class PointOrLine:
    """A point where a proposal has no length, and a fly line of that length otherwise; see `Acquisition`.

    Each row holds what both ways of measuring read: the motors' positions, and the readings that the detectors at a
    point and the flyers have in common.

    Parameters
    ----------
    detectors : sequence of Readable
        Triggered and read at a point.
    flyers : sequence of Flyable
        See `FlyLine`.
    motor : motor
        The flying motor.
    stretch : Stretch
        Makes the lines.
    trigger_timeout_s : float, optional
        Wall seconds that a trigger may take; 60 by default.
    when_cut : {"abandon", "repeat"}
        See `FlyLine`.

    Raises
    ------
    BadInputError
        If a flyer cannot fly.
    """

    kind = "point or line"
    rows_per_proposal = 1

    def __init__(
        self,
        detectors: Sequence[Readable[Any]],
        flyers: Sequence[Any],
        motor: NamedMovable[Any],
        stretch: Stretch,
        trigger_timeout_s: float | None = None,
        when_cut: str = "abandon",
    ) -> None:
        self._point = AtPoint(detectors, trigger_timeout_s)
        self._fly = FlyLine(flyers, [motor], stretch, when_cut=when_cut)
        self._stretch = stretch
        self._trigger_timeout_s = TRIGGER_S if trigger_timeout_s is None else trigger_timeout_s
        self.detectors: Sequence[Readable[Any]] = unique([*self._point.detectors, *self._fly.detectors])
        self.staged: Sequence[Any] = unique([*self._point.staged, *self._fly.staged])
        self.motors: Mapping[str, NamedMovable[Any]] = self._fly.motors
        self.positions_from_rows = self._fly.positions_from_rows
        self._common: frozenset[str] = frozenset()
        """The keys that both ways of measuring read, without those of the flying motor."""

    def describe(self) -> MsgGenerator[dict[str, Any] | None]:
        """See `Acquisition.describe`.

        Raises
        ------
        BadInputError
            If the flyers and the detectors read nothing in common.
        """
        at_point = yield from self._point.describe()
        flown = yield from self._fly.describe()
        if flown is None:
            raise BadInputError(
                "the flyers write their readings into files, whose keys are known only after a flight: measure lines "
                "alone, with measure=FlyLine(...) in optimize or explore, or give flyers that are collected"
            )
        keys = dict(at_point or {})
        self._common = frozenset(set(keys) & set(flown)) - set(self.motors)
        if not self._common:
            raise BadInputError(
                f"the flyers read {sorted(flown)} and the detectors {sorted(keys)}, which have nothing in common: give "
                "the same detectors to both"
            )
        return {**{key: flown[key] for key in self.motors}, **{key: keys[key] for key in sorted(self._common)}}

    def line(self, target: Mapping[str, float]) -> Line | None:
        """See `Acquisition.line`."""
        return self._fly.line(target) if self._stretch.is_line(target) else None

    def acquire(self, attempt: Attempt) -> MsgGenerator[list[Row]]:
        """See `Acquisition.acquire`."""
        admitted = attempt.proposal.admitted
        assert admitted is not None
        kept = frozenset({*self._common, *self.motors, *admitted.target, RAW_ROW})
        if admitted.line is not None:
            return (yield from self._fly.acquire(attempt, kept))
        attempt.expose()
        yield from trigger_detectors(list(self._point.detectors), self._trigger_timeout_s)
        attempt.check_uninterrupted()
        readings: dict[str, Any] = {}
        for detector in self._point.detectors:
            with blaming(detector, "it cannot be read"):
                read = yield from bps.read(detector)
            readings.update({key: one["value"] for key, one in (read or {}).items()})
        attempt.check_uninterrupted()
        yield from attempt.motion.find()
        here = {name: attempt.motion.here[name] for name in admitted.target}
        attempt.readings = [readings]
        attempt.motion.check(admitted.target, here)
        row = {**readings, **here, RAW_ROW: 0}
        return (yield from attempt.record_rows([{key: row[key] for key in row if key in kept}]))
