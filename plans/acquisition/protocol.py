"""How one admitted proposal becomes one or more recorded rows: the protocol that every plan of ours composes."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from bluesky.protocols import NamedMovable, Readable
from bluesky.utils import MsgGenerator

from ebl_autonomy.guard import Line
from ebl_autonomy.plans.recorder import Attempt

__all__ = ["Acquisition", "Row"]

Row = dict[str, Any]
"""One row as it was recorded: event key to value."""


@runtime_checkable
class Acquisition(Protocol):
    """How one admitted proposal becomes one or more recorded rows.

    The plan moves the motors to the proposal's target and then calls `acquire`; it tries again after an interruption or
    a failure, and tells the agent of the rows that `acquire` returns.

    Attributes
    ----------
    kind : str
        Written into the run's metadata.
    rows_per_proposal : int
        How many rows a proposal is expected to give.
    positions_from_rows : frozenset of str
        Variables whose values results take from each row; see `ebl_autonomy.records.ResultLayout`.
    detectors : sequence of Readable
        Named in the start document.
    staged : sequence of devices
        Staged for the whole run.
    motors : mapping of str to motor
        Motors that the acquisition moves, beside those that the agent steers; the gate judges them too.
    """

    kind: str
    rows_per_proposal: int
    positions_from_rows: frozenset[str]
    detectors: Sequence[Readable[Any]]
    staged: Sequence[Any]
    motors: Mapping[str, NamedMovable[Any]]

    def describe(self) -> MsgGenerator[dict[str, Any] | None]:
        """The data keys that its rows will have beside the motors'; None if that is known only once it has measured."""
        ...

    def line(self, target: Mapping[str, float]) -> Line | None:
        """The line that is flown from `target`, for the gate; None if the motors stand still."""
        ...

    def acquire(self, attempt: Attempt) -> MsgGenerator[list[Row]]:
        """Measure with the motors at the target, and record one row or more through the attempt.

        Raises
        ------
        InterruptedReadingError
            If a pause or a suspender fell into it; nothing was recorded, and the plan tries again.
        LineCutError
            If it was cut and must not be repeated; nothing was recorded, and the plan abandons the proposal.
        Exception
            Whatever a device raises; nothing was recorded.
        """
        ...
