"""The three findings of a run in words, the same on the page, the progress bar and the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ebl_autonomy.records import BestReading, Recommendation

__all__ = ["NOTHING", "at", "findings", "number", "with_error"]

NOTHING = "–"
"""An en dash, which is what a table shows for nothing."""


def number(value: Any) -> str:
    """Four digits; `NOTHING` for None and NaN."""
    if value is None or math.isnan(float(value)):
        return NOTHING
    return f"{float(value):.4g}"


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
    unit = {name: f" {symbol}" for name, symbol in (units or {}).items() if symbol}
    lines = []
    if recommended is not None:
        told = [
            f"{name} {with_error(recommended.mean.get(name, recommended.outcome.get(name)), recommended.std.get(name))}"
            f"{unit.get(name, '')}"
            for name in objectives
        ]
        broken = "" if recommended.feasible else " (breaks a constraint)"
        lines.append(f"recommended: {', '.join(told)}{broken} at {at(recommended.point, units)}")
    if best_reading is not None:
        name = objectives[0]
        value = f"{name} {number(best_reading.outcome.get(name))}{unit.get(name, '')}"
        lines.append(f"best reading: {value} at {at(best_reading.point, units)}")
    if left_at:
        lines.append(f"left at: {at(left_at, units)}")
    return lines


def at(point: Mapping[str, float], units: Mapping[str, str] | None = None) -> str:
    """A point in words; `units` are those of the motors."""
    unit = {name: f" {symbol}" for name, symbol in (units or {}).items() if symbol}
    return ", ".join(f"{name} {number(value)}{unit.get(name, '')}" for name, value in point.items())
