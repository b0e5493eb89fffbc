"""The user's own stub: it measures with the motors at the target, as it likes, and returns outcomes by name.

The stub may hold complete steps of bluesky: `bps.trigger_and_read`, a `bp.scan` with a run of its own, a fly. Its
messages pass through here, so that its events carry the proposal's id, its runs do not collide with ours, devices that
are staged already are not staged twice, and motors that an agent steers move only through the gate.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from bluesky.protocols import NamedMovable, Readable
from bluesky.utils import MsgGenerator

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans.acquisition.nesting import nested
from ebl_autonomy.plans.acquisition.protocol import Row
from ebl_autonomy.plans.recorder import Attempt
from ebl_autonomy.records import to_float

__all__ = ["Measure", "UserStub"]

Outcomes = Mapping[str, float]
Measure = Callable[[Sequence[Readable[Any]], Mapping[str, float]], MsgGenerator[Outcomes | Sequence[Outcomes]]]
"""A user's own way to measure: ``measure(detectors, point)`` returns outcomes by name, or one such mapping per row."""


class UserStub:
    """Rows from a stub of the user's; see `Acquisition`.

    Parameters
    ----------
    measure : Measure
    detectors : sequence of Readable
        Handed to the stub, and staged for the whole run.
    positions_from_rows : collection of str
        Variables whose values each returned mapping holds, because the stub moves their motors from row to row.

    Raises
    ------
    BadInputError
        If `measure` is no function.
    """

    kind = "stub"
    rows_per_proposal = 1

    def __init__(
        self, measure: Measure, detectors: Sequence[Readable[Any]], positions_from_rows: Collection[str] = ()
    ) -> None:
        if not callable(measure):
            raise BadInputError(f"measure={measure!r}: give a plan stub measure(detectors, point), or leave it out")
        self.detectors: Sequence[Readable[Any]] = list(detectors)
        self.staged: Sequence[Any] = self.detectors
        self.motors: Mapping[str, NamedMovable[Any]] = {}
        self.positions_from_rows = frozenset(positions_from_rows)
        self._measure = measure
        self._many: bool | None = None
        """Whether the stub returns many rows per proposal; a run keeps to what the first answer was."""

    def describe(self) -> MsgGenerator[dict[str, Any] | None]:
        """See `Acquisition.describe`: what the stub returns is known only once it has run."""
        yield from ()
        return None

    def line(self, target: Mapping[str, float]) -> None:
        """See `Acquisition.line`: the stub moves for itself, message by message through the gate."""

    def acquire(self, attempt: Attempt) -> MsgGenerator[list[Row]]:
        """See `Acquisition.acquire`."""
        stub = _steps(self._measure(self.detectors, dict(attempt.proposal.target)))
        answer = yield from nested(stub, attempt, [*self.detectors, *attempt.recorder.experiment.motors.values()])
        attempt.check_uninterrupted()
        many = not isinstance(answer, Mapping)
        rows = [self._outcomes(attempt, one) for one in _listed(answer)]
        if self._many is None:
            self._many = many
        if self._many != many:
            raise BadInputError("measure= returned one mapping for some proposals and a list for others: always do one")
        if many:
            positions = {name: float(value) for name, value in attempt.proposal.target.items()}
            return (yield from attempt.record_rows([{**positions, **row} for row in rows]))
        return [(yield from attempt.record_row([], rows[0]))]

    @staticmethod
    def _outcomes(attempt: Attempt, outcome: Mapping[str, Any]) -> dict[str, float]:
        """What the stub returned for one row, as numbers."""
        experiment = attempt.recorder.experiment
        needed = [name for name in experiment.session.outcomes if name not in experiment.functions]
        if missing := [name for name in needed if name not in outcome]:
            raise BadInputError(f"measure= returned {sorted(outcome)}, which lacks {missing}")
        return {str(name): to_float(value) for name, value in outcome.items()}


def _steps(measuring: Any) -> Any:
    """What the user's stub yields; a function that yields nothing has measured already, and held the RunEngine up.

    Raises
    ------
    BadInputError
        If it cannot be run.
    """
    if isinstance(measuring, Mapping) or not isinstance(measuring, Iterable):
        raise BadInputError(
            f"measure= answered {measuring!r} at once: it must be a plan stub, with 'yield from' for each step, such "
            "as bps.trigger_and_read(detectors)"
        )
    return measuring


def _listed(answer: Any) -> list[Mapping[str, Any]]:
    """One mapping per row.

    Raises
    ------
    BadInputError
        If the answer is neither a mapping nor a list of mappings.
    """
    if isinstance(answer, Mapping):
        return [answer]
    if isinstance(answer, Sequence) and answer and all(isinstance(one, Mapping) for one in answer):
        return list(answer)
    raise BadInputError(
        f"measure= returned {answer!r}: it must return a mapping of outcome names to numbers, or a list of mappings"
    )
