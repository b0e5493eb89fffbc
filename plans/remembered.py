"""The runs that this process has steered, for a plan that comes after them; the oldest are forgotten."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.records import BestReading, Recommendation, RunMetadata

__all__ = ["RememberedRun", "recall", "remember"]

MOST_RUNS: Final = 50

_runs: dict[str, "RememberedRun"] = {}
"""By uid, oldest first."""


@dataclass(frozen=True)
class RememberedRun:
    """What a later plan needs of a run.

    Attributes
    ----------
    uid : str
    metadata : RunMetadata
        With the envelope, the limits and the tolerances that the run had.
    recommended : Recommendation or None
    best_reading : BestReading or None
    motors : mapping of str to motor
        The devices by name; empty if this process does not know them.
    """

    uid: str
    metadata: RunMetadata
    recommended: Recommendation | None
    best_reading: BestReading | None
    motors: Mapping[str, Any]


def remember(run: RememberedRun) -> None:
    """Keep a run that has ended; forget the oldest beyond `MOST_RUNS`."""
    _runs.pop(run.uid, None)
    _runs[run.uid] = run
    for uid in list(_runs)[:-MOST_RUNS]:
        del _runs[uid]


def recall(uid: str) -> RememberedRun | None:
    """The run of a uid or of its first characters; None if this process has not steered it, or not lately.

    Raises
    ------
    BadInputError
        If more than one run begins so.
    """
    found = [run for known, run in _runs.items() if uid and known.startswith(uid)]
    if len(found) > 1:
        raise BadInputError(f"{uid!r} is the beginning of {[run.uid for run in found]}: give more characters")
    return found[0] if found else None
