"""A user's stub that measures with the motors at the target, and returns outcomes by name.

The stub may contain complete bluesky steps: `bps.trigger_and_read`, a `bp.scan` with its own run, a flight. Its
messages are checked on the way (see `nested`): its events carry the proposal's id, its runs do not collide with ours,
no device is staged twice, and the motors that an agent steers move only through the gate.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, Final

import numpy as np
from bluesky.protocols import NamedMovable, Readable
from bluesky.utils import MsgGenerator, ensure_generator

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans.acquisition.nesting import nested
from ebl_autonomy.plans.acquisition.protocol import Row
from ebl_autonomy.plans.attempt import Attempt
from ebl_autonomy.plans.motion import LOOK
from ebl_autonomy.plans.user_functions import called, watched
from ebl_autonomy.records import ROW, to_float

__all__ = ["Measure", "UserStub"]

MOVE_BACK: Final = (
    "the measuring stub left it there: move it back before the stub returns, or return the position with each row and "
    "name the motor in positions_from_rows of UserStub"
)

Outcomes = Mapping[str, float]
Measure = Callable[[Sequence[Readable[Any]], Mapping[str, float]], MsgGenerator[Outcomes | Sequence[Outcomes]]]
"""A measuring stub: ``measure(detectors, point)`` returns outcomes by name, or a list of such mappings, one per row."""


class UserStub:
    """Rows from a user's stub; see `Acquisition`.

    Parameters
    ----------
    measure : Measure
    detectors : sequence of Readable
        Passed to the stub, and staged for the whole run.
    positions_from_rows : collection of str
        Variables whose positions each returned mapping holds, because the stub moves their motors from row to row.
    rows_per_proposal : int
        Number of rows that the stub returns, for budgets.

    Raises
    ------
    BadInputError
        If `measure` is not callable.
    """

    kind = "stub"

    def __init__(
        self,
        measure: Measure,
        detectors: Sequence[Readable[Any]],
        positions_from_rows: Collection[str] = (),
        rows_per_proposal: int = 1,
    ) -> None:
        if not callable(measure):
            raise BadInputError(f"measure={measure!r}: give a plan stub measure(detectors, point), or leave it out")
        self.detectors: Sequence[Readable[Any]] = list(detectors)
        self.staged: Sequence[Any] = self.detectors
        self.motors: Mapping[str, NamedMovable[Any]] = {}
        self.positions_from_rows = frozenset(positions_from_rows)
        self.rows_per_proposal = rows_per_proposal
        self._measure = measure
        self._many: bool | None = None
        """Whether the stub returns many rows per proposal; the first return value decides for the whole run."""

    def describe(self) -> MsgGenerator[dict[str, Any] | None]:
        """See `Acquisition.describe`: the outcomes are known only after the stub has run."""
        yield from ()
        self._many = None
        return None

    def line(self, target: Mapping[str, float]) -> None:
        """See `Acquisition.line`: none, because the gate judges each move of the stub separately."""

    def acquire(self, attempt: Attempt) -> MsgGenerator[list[Row]]:
        """See `Acquisition.acquire`."""
        attempt.expose()
        what = f"the measuring stub {getattr(self._measure, '__name__', repr(self._measure))!r:.80}"
        stub = _steps(called(what, self._measure, self.detectors, dict(attempt.proposal.target)))
        steps = watched(ensure_generator(stub), what, self._measure, attempt.is_interrupted)
        answer = yield from nested(steps, attempt, attempt.recorder.experiment.staged)
        attempt.check_uninterrupted()
        many = not isinstance(answer, Mapping)
        rows = [self._outcomes(attempt, one) for one in _listed(answer)]
        if self._many is None:
            self._many = many
        if self._many != many:
            raise BadInputError("measure= returned one mapping for some proposals and a list for others: always do one")
        moved = attempt.motion.lost  # a move that passed through the gate
        yield from attempt.motion.find()
        attempt.readings = rows
        attempt.check_targets(attempt.motion.here, MOVE_BACK if moved else LOOK)
        if many:
            return (yield from attempt.record_rows([{**attempt.motion.here, **row} for row in rows]))
        return [(yield from attempt.record_row([], rows[0]))]

    def _outcomes(self, attempt: Attempt, outcome: Mapping[str, Any]) -> dict[str, float]:
        """The outcomes that the stub returned for one row, as floats.

        Raises
        ------
        BadInputError
            If an outcome or a position is missing, an outcome is no number, or a name is already in use.
        """
        experiment = attempt.recorder.experiment
        needed = [name for name in experiment.session.outcomes if name not in experiment.functions]
        if missing := [name for name in (*needed, *sorted(self.positions_from_rows)) if name not in outcome]:
            raise BadInputError(f"measure= returned {sorted(outcome)}, which lacks {missing}")
        if wrong := {name: outcome[name] for name in needed if not _is_number(outcome[name])}:
            raise BadInputError(
                f"measure= returned {wrong!r:.200}: each outcome must be one number, or NaN if there is none"
            )
        taken = {*vars(ROW).values(), *experiment.functions, *experiment.motors} - self.positions_from_rows
        if clash := sorted(taken & set(outcome)):
            raise BadInputError(f"measure= returned {clash}, which the row already has: leave them out, or rename them")
        return {str(name): to_float(value) for name, value in outcome.items()}


def _is_number(value: Any) -> bool:
    """Whether a value is one number; None stands for NaN."""
    return value is None or isinstance(value, Real) or (isinstance(value, np.ndarray) and value.ndim == 0)


def _steps(measuring: Any) -> Any:
    """The messages of the user's stub. A plain function would have measured already, and blocked the RunEngine.

    Raises
    ------
    BadInputError
        If the measurement is not a plan.
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
