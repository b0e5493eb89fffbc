"""Counts the proposals in a row that gave nothing valid, and ends the run if there are too many."""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ebl_autonomy.errors import MeasurementError
from ebl_autonomy.plans.deriving import DERIVATION
from ebl_autonomy.plans.failures import devices_of
from ebl_autonomy.records import ROW
from ebl_autonomy.steering import Proposal

__all__ = ["FailuresInARow"]

logger = logging.getLogger(__name__)

MOST_FAILURES: Final = 5
MOST_INVALID: Final = 25
"""More than of failures: a wide search sees no beam for many points, and the agent learns from that where beam is."""
MOST_REASONS: Final = 10
"""Number of different reasons of invalid rows that are logged."""


class FailuresInARow:
    """The proposals since the last valid row. A flown line with one valid row is valid.

    Parameters
    ----------
    most : int or None
        Number of consecutive proposals without a valid row after which the run ends. By default 5 proposals that could
        not be measured or of which a derivation failed, and 25 if all that is wrong is that an outcome is NaN.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most_failures = MOST_FAILURES if most is None else most
        self._most_invalid = MOST_INVALID if most is None else most
        self._failures = self._invalid = 0
        self._blamed: Counter[str] = Counter()
        """Number of these failures that each device caused."""
        self._reasons: Counter[str] = Counter()
        """Number of the invalid proposals by reason."""
        self._logged: set[str] = set()

    def measured(self, proposal: Proposal, rows: Sequence[Mapping[str, Any]]) -> None:
        """Count a measured proposal; a new reason why a row is invalid is logged at once.

        Raises
        ------
        MeasurementError
            If this proposal without a valid row is one too many.
        """
        reasons = [str(row[ROW.invalid_reason]) for row in rows if not row.get(ROW.valid, True)]
        for reason in reasons:
            self._log(proposal, reason)
        if len(reasons) < len(rows):
            self._failures = self._invalid = 0
            self._blamed.clear()
            self._reasons.clear()
            return
        self._invalid += 1
        self._failures = self._failures + 1 if reasons[0].startswith(DERIVATION) else 0
        self._reasons[kind_of(reasons[0])] += 1
        self._end_if_too_many(reasons[0], None)

    def failed(self, error: Exception) -> None:
        """Count a proposal that could not be measured.

        Raises
        ------
        MeasurementError
            If this failure is one too many, with the devices that are to blame; `error` is its cause.
        """
        self._failures += 1
        self._invalid += 1
        self._blamed.update(devices_of(error))
        self._end_if_too_many(f"{type(error).__name__}: {error}", error)

    def _end_if_too_many(self, reason: str, cause: Exception | None) -> None:
        if self._failures < self._most_failures and self._invalid < self._most_invalid:
            return
        devices = " and ".join(self._blamed)
        counted = [f"{times} times because of {name}" for name, times in self._blamed.most_common()]
        if self._reasons:
            counted += [f"{times} times invalid: {kind}" for kind, times in self._reasons.most_common(MOST_REASONS)]
            what, remedy = "gave no valid row", f"Repair {devices or 'the device'}, or what makes the rows invalid"
            remedy += " (a derivation returns NaN where there is nothing to see)"
        else:
            what, remedy = "could not be measured", f"Repair {devices or 'the device'}"
        told = f" ({', '.join(counted)})" if counted else ""
        raise MeasurementError(
            f"{self._invalid} proposals in a row {what}{told}, the last because: {reason}. What was measured is in the "
            f"run. {remedy}, or raise max_failures."
        ) from cause

    def _log(self, proposal: Proposal, reason: str) -> None:
        if (kind := kind_of(reason)) not in self._logged and len(self._logged) < MOST_REASONS:
            self._logged.add(kind)
            logger.warning("proposal %s gives an invalid row: %s", proposal.proposal_id, reason)


def kind_of(reason: str) -> str:
    """The reason of an invalid row without the numbers of that row."""
    return re.sub(r"[-+]?\d+(\.\d*)?(e[-+]?\d+)?", "…", reason)[:80]
