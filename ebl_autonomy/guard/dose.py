"""The dose of a run: every exposure counts, whether or not it left a row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ebl_autonomy.records import DOSE, to_float

__all__ = ["DoseCount"]


@dataclass(frozen=True)
class DoseCount:
    """The dose of all exposures so far.

    An exposure whose dose was not read, because it failed, counts like the largest one so far. Before any dose is
    known, such exposures are counted in `unpriced`, and the first known dose prices them.

    Attributes
    ----------
    key : str or None
        Event key that holds the dose of one row; with None, nothing is counted.
    spent : float
        In the unit of `key`; infinite if a reading was not a dose, because an unknown dose must not count as zero.
    unpriced : int
        Number of exposures whose dose is not in `spent`.
    largest : float
        Largest dose of one exposure; NaN before any is known.
    unknown : str
        Which reading was not a dose, for the message; empty if all were.
    """

    key: str | None
    spent: float = 0.0
    unpriced: int = 0
    largest: float = math.nan
    unknown: str = ""

    def after(self, rows: Sequence[Mapping[str, Any]]) -> DoseCount:
        """The count after one more exposure, whose rows were read."""
        if self.key is None:
            return self
        dose = 0.0
        for row in rows:
            one = to_float(row.get(self.key))
            if not (math.isfinite(one) and one >= 0.0):
                unknown = f" ({self.key} read {row.get(self.key)!r}, which is not a dose)"
                return replace(self, spent=math.inf, unknown=self.unknown or unknown)
            dose += one
        spent = self.spent + dose * (1 + self.unpriced)
        return replace(
            self, spent=spent, unpriced=0, largest=dose if math.isnan(self.largest) else max(self.largest, dose)
        )

    def after_lost(self, readings: Sequence[Mapping[str, Any]] = ()) -> DoseCount:
        """The count after an exposure that left no row; `readings` holds what was read of it."""
        if self.key is None:
            return self
        if readings and all(self.key in row for row in readings):
            return self.after(readings)
        if math.isnan(self.largest):
            return replace(self, unpriced=self.unpriced + 1)
        return replace(self, spent=self.spent + self.largest)

    def restored(self, spent: float, unpriced: int) -> DoseCount:
        """The count that a run recorded last; `spent` is NaN if a dose was unknown."""
        unknown = math.isnan(spent)
        because = " (an earlier exposure of the run had no known dose)"
        return replace(
            self,
            spent=math.inf if unknown else spent,
            unpriced=unpriced,
            unknown=(self.unknown or because) if unknown else "",
        )

    def event(self) -> dict[str, float | int]:
        """The count as keys of an event; empty if nothing is counted."""
        if self.key is None:
            return {}
        return {DOSE.spent: self.spent if math.isfinite(self.spent) else math.nan, DOSE.unpriced: self.unpriced}
