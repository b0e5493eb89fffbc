"""What a report tells of the phase maps of a survey: the amount of each phase in each region."""

from __future__ import annotations

import math

import numpy as np
from pydantic import BaseModel, ConfigDict

from ebl_autonomy.records import RunRecord, StoredPhases
from ebl_autonomy.records.phases import PhaseMapsRecord

__all__ = ["PhaseFound", "RegionPhases", "region_phases"]

Interval = tuple[float, float]


class PhaseFound(BaseModel):
    """One phase of a region.

    Attributes
    ----------
    name : str
    share : float or None
        Of the summed amounts of all phases in the region; negative amounts, which are noise, count as nothing.
    mean, std : float or None
        Mean amount of a pixel in units of the phase's reference, and root mean square of its standard deviation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    share: float | None
    mean: float | None
    std: float | None


class RegionPhases(BaseModel):
    """The phase maps of one region in numbers.

    Attributes
    ----------
    label : str
    x, y : (low, high) or None
        The centres of the outer pixels, in motor units; None if the run was cut short before it wrote the maps.
    energies : list of float
        In eV.
    pixels, known : int
        All pixels of the region, and those with a fit, which were measured at every energy.
    phases : list of PhaseFound
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    x: Interval | None
    y: Interval | None
    energies: list[float]
    pixels: int
    known: int
    phases: list[PhaseFound]


def region_phases(record: RunRecord) -> list[RegionPhases] | None:
    """The regions whose phase maps a run holds, which may be none; None for any other run."""
    return [_region(one) for one in record.phase_maps] if isinstance(record, PhaseMapsRecord) else None


def _region(one: StoredPhases) -> RegionPhases:
    known = np.logical_and.reduce([np.isfinite(values) for values in one.amounts.values()] or [np.zeros((0, 0), bool)])
    total = sum(_positive(values) for values in one.amounts.values())
    return RegionPhases(
        label=one.label,
        x=(float(one.x[0]), float(one.x[-1])) if len(one.x) else None,
        y=(float(one.y[0]), float(one.y[-1])) if len(one.y) else None,
        energies=list(one.energies),
        pixels=len(one.x) * len(one.y),
        known=int(known.sum()),
        phases=[
            PhaseFound(
                name=name,
                share=_finite(_positive(values) / total) if total > 0.0 else None,
                mean=_finite(np.nanmean(values)) if np.isfinite(values).any() else None,
                std=_spread(one.std.get(name)),
            )
            for name, values in one.amounts.items()
        ],
    )


def _positive(values: np.ndarray) -> float:
    return float(np.nansum(np.maximum(values, 0.0)))


def _spread(std: np.ndarray | None) -> float | None:
    known = np.zeros(0) if std is None else std[np.isfinite(std)]
    return _finite(np.sqrt(np.mean(known**2))) if len(known) else None


def _finite(value: float | np.floating) -> float | None:
    return float(value) if math.isfinite(value) else None
