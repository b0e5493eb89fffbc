"""The run of a survey that no agent steered: it holds the phase maps of the regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ebl_autonomy.records.keys import SURVEY
from ebl_autonomy.records.metadata import RunMetadata
from ebl_autonomy.records.results import to_float
from ebl_autonomy.records.run import RunRecord

__all__ = ["PhaseMapsRecord", "StoredPhases", "phase_maps_record", "phases_of", "survey_stage"]

PREFIX = "phases_"
"""Beginning of the names of the streams, and of the keys in each."""


@dataclass(frozen=True, eq=False)
class StoredPhases:
    """The phases of one region, as the run holds them.

    Attributes
    ----------
    label : str
        Of the region.
    names : tuple of str
        The phases.
    energies : tuple of float
        At which the region was mapped, eV.
    x, y : array, shape (nx,) and (ny,)
        Centres of the pixels, in motor units, ascending; empty if the run was cut short before it wrote them.
    amounts, std : dict of str to array, shape (ny, nx)
        Amount of each phase, in units of its reference, and its standard deviation; NaN where it is not known.
    """

    label: str
    names: tuple[str, ...]
    energies: tuple[float, ...]
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    amounts: dict[str, npt.NDArray[np.float64]]
    std: dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True, repr=False)
class PhaseMapsRecord(RunRecord):
    """The record of a run that holds the phase maps of a survey. No agent steered it: it has no proposals and no rows.

    Attributes
    ----------
    coarse : str
        The uid of the survey's coarse map.
    phase_maps : tuple of StoredPhases
        One for each region, best first.
    """

    coarse: str = ""
    phase_maps: tuple[StoredPhases, ...] = field(default=())

    def __repr__(self) -> str:
        return f"<PhaseMapsRecord {self.uid}: {survey_stage(self.start)} of the survey {self.coarse}>"


def phases_of(start: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """What the start document of a run of phase maps says of each region; None for any other run."""
    survey = start.get(SURVEY)
    described = survey.get("phase_maps") if isinstance(survey, Mapping) else None
    if not isinstance(described, Sequence) or isinstance(described, str):
        return None
    return [one for one in described if isinstance(one, Mapping)]


def phase_maps_record(
    start: dict[str, Any], stop: dict[str, Any] | None, streams: Sequence[Mapping[str, Sequence[Any]]]
) -> PhaseMapsRecord:
    """Assemble the record.

    Parameters
    ----------
    start, stop : dict
        The documents of a run for which `phases_of` is not None.
    streams : sequence of mapping
        The columns of the streams ``phases_0``, ``phases_1``, … of the regions in turn.
    """
    described = phases_of(start) or []
    regions = tuple(_stored(one, columns) for one, columns in zip(described, streams, strict=True))
    survey = start[SURVEY]
    motors = [str(name) for name in start.get("motors") or ("x", "y")][:2]
    metadata = RunMetadata(
        package_version="",
        agent={"agent": "", "vocs": {"variables": _extent(regions, motors)}, "options": {}},
        motors=motors,
        outcomes=[],
        units={str(name): str(unit) for name, unit in (survey.get("units") or {}).items()},
        max_points=0,
        batch=1,
        finish="stay",
    )
    return PhaseMapsRecord(
        uid=str(start["uid"]),
        start=start,
        stop=stop,
        metadata=metadata,
        proposals=(),
        results=(),
        rows={},
        baseline={},
        coarse=str(survey.get("coarse", "")),
        phase_maps=regions,
    )


def _extent(regions: Sequence[StoredPhases], motors: Sequence[str]) -> dict[str, list[float]]:
    """The part of the sample that the maps lie in, in motor units."""
    found = {}
    for name, axes in zip(motors, ([one.x for one in regions], [one.y for one in regions]), strict=False):
        values = np.concatenate([np.zeros(0), *axes])
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
        found[name] = [low, high if high > low else low + 1.0]
    return found


def _stored(described: Mapping[str, Any], columns: Mapping[str, Sequence[Any]]) -> StoredPhases:
    names = tuple(str(name) for name in described.get("phases") or ())

    def array(key: str) -> npt.NDArray[np.float64]:
        return np.asarray(next(iter(columns.get(PREFIX + key, ())), ()), dtype=float)

    kinds = (
        {n: array(f"{kind}_{n}") for n in names if columns.get(f"{PREFIX}{kind}_{n}")} for kind in ("amount", "std")
    )
    amounts, std = kinds
    energies = tuple(float(energy) for energy in described.get("energies") or ())
    return StoredPhases(str(described.get("label", "")), names, energies, array("x"), array("y"), amounts, std)


def survey_stage(start: Mapping[str, Any]) -> str:
    """What a run is to its survey, in words, such as ``"fine scan 2 of 5"``; empty for a run that belongs to none."""
    described = phases_of(start)
    if described is not None:
        return f"phase maps of {len(described)} {'region' if len(described) == 1 else 'regions'}"
    survey = start.get(SURVEY)
    if not isinstance(survey, Mapping):
        return ""
    if "coarse" not in survey:
        return "coarse map"
    number = survey.get("number")
    which = f"{number + 1 if isinstance(number, int) else '?'} of {survey.get('of', '?')}"  # plans count from 0
    if survey.get("spot"):
        return f"choice of energies in region {which}"
    if "energy" in survey:
        return f"region {which} at {to_float(survey['energy']):.6g} eV"
    return f"fine scan {which}"
