"""The protocol behind which an admitted proposal becomes one or more recorded rows."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from bluesky.protocols import NamedMovable, Readable
from bluesky.utils import MsgGenerator

from ebl_autonomy.guard import Line
from ebl_autonomy.plans.attempt import Attempt

__all__ = ["Acquisition", "Row"]

Row = dict[str, Any]
"""One row as it was recorded: event key to value."""


@runtime_checkable
class Acquisition(Protocol):
    """How one admitted proposal becomes one or more recorded rows.

    The plan moves the motors to the proposal's target and then calls `acquire`. It retries after an interruption or a
    failure, and passes the returned rows to the agent as results.

    Attributes
    ----------
    kind : str
        Written into the run's metadata.
    rows_per_proposal : int
        How many rows a proposal is expected to give.
    positions_from_rows : frozenset of str
        Variables whose motors the acquisition moves from row to row, so that they need not stand at the proposal's
        target; each row holds their positions.
    detectors : sequence of Readable
        Named in the start document.
    staged : sequence of devices
        Staged for the whole run.
    motors : mapping of str to motor
        Motors that the acquisition moves, besides those that the agent steers; the gate judges their moves too.
    """

    kind: str
    rows_per_proposal: int
    positions_from_rows: frozenset[str]
    detectors: Sequence[Readable[Any]]
    staged: Sequence[Any]
    motors: Mapping[str, NamedMovable[Any]]

    def describe(self) -> MsgGenerator[dict[str, Any] | None]:
        """The data keys of its rows, besides those of the motors; None if they are known only after a measurement."""
        ...

    def line(self, target: Mapping[str, float]) -> Line | None:
        """The line that is flown for `target`, for the gate to judge; None if the motors stand still."""
        ...

    def acquire(self, attempt: Attempt) -> MsgGenerator[list[Row]]:
        """Measure with the motors at the target, and record one row or more through the attempt.

        Call `Attempt.expose` just before the sample sees the beam, so that the dose of a failed attempt counts.

        Raises
        ------
        InterruptedReadingError
            If a pause or a suspender interrupted the measurement; nothing was recorded, and the plan retries.
        LineCutError
            If a line was cut and must not be repeated; nothing was recorded, and the plan abandons the proposal.
        Exception
            Whatever a device raises; nothing was recorded.
        """
        ...
