"""The three findings of a run in words, the same on the page, the progress bar and the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ebl_autonomy.records import BestReading, Recommendation

__all__ = [
    "NOTHING",
    "at",
    "findings",
    "number",
    "percent",
    "quantity",
    "recommended_values",
    "with_error",
    "with_unit",
]

NOTHING = "–"
"""An en dash, which is what a table shows for nothing."""


def number(value: Any, digits: int = 4) -> str:
    """A number to `digits` significant digits; `NOTHING` for None and NaN."""
    if value is None or math.isnan(float(value)):
        return NOTHING
    return f"{float(value):.{digits}g}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads well."""
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.2g} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 5970.0 else f"{seconds / 3600.0:.1f} h"


def percent(share: float) -> str:
    """A share in percent to two digits; nearly the whole is never 100 %."""
    if 0.95 < share < 1.0:
        return f"{math.floor(1000.0 * share) / 10.0:g} %"
    return f"{100.0 * share:.2g} %" if abs(share) < 0.995 else f"{100.0 * share:.0f} %"


def with_error(mean: float | None, std: float | None) -> str:
    """Mean ± standard deviation, to two digits of the latter; the mean alone if there is no positive one."""
    if mean is None or not math.isfinite(mean):
        return NOTHING
    if std is None or not (math.isfinite(std) and std > 0.0):
        return number(mean)
    decimals = 1 - math.floor(math.log10(std))
    if decimals < 0 or decimals > 6:  # neither hundreds with zeros that mean nothing nor a row of leading zeros
        return f"{mean:.4g} ± {std:.2g}"
    return f"{mean:.{decimals}f} ± {std:.{decimals}f}"


def findings(
    recommended: Recommendation | None,
    best_reading: BestReading | None,
    left_at: Mapping[str, float],
    objectives: Sequence[str],
    units: Mapping[str, str] | None = None,
) -> list[str]:
    """One line for each of the three findings that the run has.

    Parameters
    ----------
    recommended, best_reading, left_at
        See `Summary`.
    objectives : sequence of str
        Those whose values are told.
    units : mapping of str to str, optional
        Of objectives and motors.
    """
    units = units or {}
    lines = []
    if recommended is not None:
        lines.append(
            f"recommended: {recommended_values(recommended, objectives, units)} at {at(recommended.point, units)}"
        )
    if best_reading is not None:
        value = quantity(objectives[0], number(best_reading.outcome.get(objectives[0])), units)
        lines.append(f"best reading: {value} at {at(best_reading.point, units)}")
    if left_at:
        lines.append(f"left at: {at(left_at, units)}")
    return lines


def recommended_values(recommended: Recommendation, objectives: Sequence[str], units: Mapping[str, str]) -> str:
    """The objectives at the recommended point: what the model says, or else what was read there."""
    told = []
    for name in objectives:
        value = recommended.mean.get(name, recommended.outcome.get(name))
        told.append(quantity(name, with_error(value, recommended.std.get(name)), units))
    return ", ".join(told) + ("" if recommended.feasible else " (breaks a constraint)")


def at(point: Mapping[str, float], units: Mapping[str, str] | None = None, digits: int = 4) -> str:
    """A point in words; `units` are those of the motors."""
    return ", ".join(quantity(name, number(value, digits), units or {}) for name, value in point.items())


def quantity(name: str, value: str, units: Mapping[str, str]) -> str:
    """The name and the value of a motor or an outcome, with its unit if it has one."""
    return f"{name} {value} {units.get(name, '')}".rstrip()


def with_unit(name: str, units: Mapping[str, str]) -> str:
    """The name of a motor or an outcome with its unit, for the axis of a figure."""
    return f"{name} ({units[name]})" if units.get(name) else name
