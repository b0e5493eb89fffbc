"""What a report tells of a spectrum: what the agent has rebuilt of the readings, its edge, and its phases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from ebl_autonomy.agents.protocols import Spectra
from ebl_autonomy.data.mapped import Mapped
from ebl_autonomy.records import RunRecord
from ebl_autonomy.report.wording import NOTHING, number, with_error
from ebl_autonomy.space import FloatArray

__all__ = ["ChannelSpectrum", "Curves", "SpectrumSection", "spectrum_section"]

SAMPLES: Final = 401
"""Positions at which a spectrum is drawn."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Spectra along one variable.

    Attributes
    ----------
    x : FloatArray, shape (n,)
        In motor units, ascending.
    mean, std : dict of str to FloatArray, shape (n,)
        By channel; without the channels of which nothing is known.
    edge : dict of str to float
        Position of the edge of each channel that has one.
    """

    x: FloatArray
    mean: dict[str, FloatArray]
    std: dict[str, FloatArray]
    edge: dict[str, float]

    @classmethod
    def of_agent(cls, agent: Any, mapped: Mapped, samples: int = SAMPLES) -> Self | None:
        """What an agent knows of its spectra; None if it knows nothing."""
        x = np.linspace(*mapped.domain[mapped.x], samples)
        pairs: dict[str, tuple[Any, Any]] = {}
        if isinstance(agent, Spectra):
            mean, std = (np.asarray(one, dtype=float).reshape(samples, -1) for one in agent.spectrum(x))
            pairs = {name: (mean[:, i], std[:, i]) for i, name in enumerate(mapped.channels[: mean.shape[1]])}
        elif callable(predict := getattr(agent, "predict", None)):
            pairs = dict(predict([{mapped.x: float(value)} for value in x]))
        known = {
            name: (np.asarray(mean, dtype=float), np.asarray(std, dtype=float))
            for name, (mean, std) in pairs.items()
            if name in mapped.channels and np.isfinite(np.asarray(mean, dtype=float)).any()
        }
        if not known:
            return None
        edge = getattr(agent, "edge", None)
        edges = edge() if callable(edge) else {}
        edges = edges if isinstance(edges, Mapping) else dict.fromkeys(mapped.channels[:1], edges)
        found = {str(name): float(at) for name, at in edges.items() if at is not None and math.isfinite(float(at))}
        return cls(x, {n: pair[0] for n, pair in known.items()}, {n: pair[1] for n, pair in known.items()}, found)


class ChannelSpectrum(BaseModel):
    """One spectrum.

    Attributes
    ----------
    name, unit : str
    points : int
        Valid readings.
    mean, std : list of float or None
        What the agent has rebuilt at each of `SpectrumSection.values`; empty if it tells nothing.
    edge : float or None
        Position of the edge, in the motor's unit.
    predicted_error : float or None
    phases : dict of str to (float, float)
        Fraction of each phase, and its standard deviation (NaN if it is not known).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    unit: str
    points: int
    mean: list[float | None] = []
    std: list[float | None] = []
    edge: float | None = None
    predicted_error: float | None = None
    phases: dict[str, tuple[float, float | None]] = {}


class SpectrumSection(BaseModel):
    """The spectra of a run without an objective over one motor.

    Attributes
    ----------
    x : str
    values : list of float
        Positions of the rebuilt spectra, in the motor's unit.
    channels : list of ChannelSpectrum
    note : str
        Why nothing is rebuilt, if the agent failed; else empty.
    sentences : list of str
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    x: str
    values: list[float] = []
    channels: list[ChannelSpectrum]
    note: str = ""
    sentences: list[str] = []


def spectrum_section(
    record: RunRecord,
    mapped: Mapped,
    counts: Mapping[str, int],
    curves: Curves | None,
    *,
    errors: Mapping[str, float],
    phases: Any = None,
    note: str = "",
) -> SpectrumSection:
    """See `SpectrumSection`.

    Parameters
    ----------
    record : RunRecord
    mapped : Mapped
    counts : mapping of str to int
        Valid readings of each channel.
    curves : Curves, optional
    errors : mapping of str to float
        That the agent predicts.
    phases : mapping, optional
        By channel and phase, a mapping with ``fraction`` and ``fraction_std``.
    note : str
        See `SpectrumSection`.
    """
    units = record.metadata.units
    channels = [
        ChannelSpectrum(
            name=name,
            unit=units.get(name, ""),
            points=counts[name],
            mean=_listed(curves.mean.get(name, ())) if curves is not None else [],
            std=_listed(curves.std.get(name, ())) if curves is not None else [],
            edge=curves.edge.get(name) if curves is not None else None,
            predicted_error=errors.get(name),
            phases=_phases(phases, name),
        )
        for name in mapped.channels
    ]
    unit = f" {units[mapped.x]}" if units.get(mapped.x) else ""
    return SpectrumSection(
        x=mapped.x,
        values=curves.x.tolist() if curves is not None else [],
        channels=channels,
        note=note,
        sentences=_sentences(record, channels, unit),
    )


def _listed(values: FloatArray | Sequence[float]) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]


def _phases(told: Any, name: str) -> dict[str, tuple[float, float | None]]:
    own = told.get(name) if isinstance(told, Mapping) else None
    found: dict[str, tuple[float, float | None]] = {}
    for phase, parts in own.items() if isinstance(own, Mapping) else ():
        if isinstance(parts, Mapping) and math.isfinite(float(parts.get("fraction", math.nan))):
            std = float(parts.get("fraction_std", math.nan))
            found[str(phase)] = float(parts["fraction"]), std if math.isfinite(std) else None
    return found


def _sentences(record: RunRecord, channels: Sequence[ChannelSpectrum], unit: str) -> list[str]:
    sentences = []
    if record.stop_reason:
        sentences.append(f"Why it ended: {record.stop_reason}.")
    for one in channels:
        told = [f"{one.points} {'reading' if one.points == 1 else 'readings'}"]
        if one.edge is not None:
            told.append(f"the edge at {number(one.edge, 6)}{unit}")
        if one.predicted_error is not None:
            told.append(f"an expected error of {number(one.predicted_error, 2)}")
        for phase, (fraction, std) in one.phases.items():
            told.append(f"{phase} {with_error(fraction, std) if fraction is not None else NOTHING}")
        sentences.append(f"{one.name}: {', '.join(told)}.")
    return sentences
