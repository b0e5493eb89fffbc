"""Which readings of a run its agent takes for outliers, as far as the run's stream `suspects` has told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ebl_autonomy.records.keys import SUSPECT

__all__ = ["ReadingId", "Suspicions"]

ReadingId = tuple[str, int]
"""A row of a run: its proposal, and its number among the rows of the proposal."""


class Suspicions:
    """The last word of an agent on each reading. A reading may become suspect later, and be cleared later still.

    Parameters
    ----------
    columns : mapping of str to sequence, optional
        The stream `suspects` so far.

    Attributes
    ----------
    readings : dict of str to set of ReadingId
        The suspect readings of each outcome that has some.
    """

    def __init__(self, columns: Mapping[str, Sequence[Any]] | None = None) -> None:
        self.readings: dict[str, set[ReadingId]] = {}
        columns = columns or {}
        for i in range(len(columns.get(SUSPECT.outcome, ()))):
            self.take({key: values[i] for key, values in columns.items()})

    def take(self, event: Mapping[str, Any]) -> None:
        """Take the next event of the stream."""
        outcome = str(event[SUSPECT.outcome])
        readings = self.readings.setdefault(outcome, set())
        reading = (str(event[SUSPECT.proposal_id]), int(event[SUSPECT.row]))
        if event[SUSPECT.suspect]:
            readings.add(reading)
        else:
            readings.discard(reading)
        if not readings:
            del self.readings[outcome]

    def of(self, reading: ReadingId) -> list[str]:
        """The outcomes of a reading that are suspect."""
        return [outcome for outcome, readings in self.readings.items() if reading in readings]

    def among(self, rows: Sequence[ReadingId]) -> dict[str, list[int]]:
        """The suspect readings of each outcome, by their positions in a sequence of rows."""
        found = {
            outcome: [i for i, row in enumerate(rows) if row in readings] for outcome, readings in self.readings.items()
        }
        return {outcome: positions for outcome, positions in found.items() if positions}
