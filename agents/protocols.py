"""What a plan may tell a generator, or ask it, beyond the gest-api standard; each is optional for a generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from ebl_autonomy.records import Decision
from ebl_autonomy.space import FloatArray, Travel

__all__ = [
    "AvoidsBoxes",
    "BoundsAware",
    "Explains",
    "HasPixels",
    "Maps",
    "OrdersBatches",
    "PositionAware",
    "Spectra",
    "Suspects",
    "TravelAware",
    "Withdraws",
]


@runtime_checkable
class Explains(Protocol):
    """A generator that explains its proposals."""

    def decisions(self) -> list[Decision]:
        """One `Decision` per point of the latest ``suggest``, in the same order."""


@runtime_checkable
class Suspects(Protocol):
    """A generator that takes some readings for outliers, such as glitches of a detector."""

    def suspects(self) -> Mapping[str, Sequence[int]]:
        """The suspect results of each outcome that has some, by their numbers, from 0 in the order of ``ingest``."""


@runtime_checkable
class Maps(Protocol):
    """A generator that knows a map of each of its outcomes; reports and the live view draw it."""

    def map(self) -> Mapping[str, tuple[FloatArray, FloatArray]]:
        """Mean and standard deviation of each channel, in its unit, shape (rows, columns) each; NaN where unknown."""

    def axes(self) -> tuple[FloatArray, FloatArray]:
        """Centres of the columns (x), and of the rows (y), evenly spaced, in motor units."""


@runtime_checkable
class HasPixels(Protocol):
    """A generator that measures pixels: a reading counts for the one where the motors were read."""

    @property
    def pixel_sizes(self) -> Mapping[str, float]:
        """Size of a pixel along each axis, in motor units."""


@runtime_checkable
class Spectra(Protocol):
    """A generator that knows the spectrum of each of its outcomes; reports and the live view draw it."""

    def spectrum(self, energies: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation at n energies, shape (n,), or (n, m) of m outcomes in the order of the VOCS."""


@runtime_checkable
class TravelAware(Protocol):
    """A generator that weighs the expected gain of a point against the time that it takes."""

    def set_travel(self, travel: Travel, measure_s: float) -> None:
        """Take the motion profiles of the motors, and the duration of a measurement after their arrival, in seconds."""


@runtime_checkable
class PositionAware(Protocol):
    """A generator that uses the present position of the beamline for its first proposal."""

    def start_from(self, point: Mapping[str, float]) -> None:
        """Take `point` as the default value of each variable that has none."""


@runtime_checkable
class BoundsAware(Protocol):
    """A generator that can search a part of its domain, such as the part that the motors can reach."""

    def search_within(self, bounds: Mapping[str, tuple[float, float]]) -> None:
        """Search only this part of the domain, in motor units; called before the first suggest."""


@runtime_checkable
class AvoidsBoxes(Protocol):
    """A generator that proposes nothing where motors may not be."""

    def avoid(self, boxes: Sequence[Mapping[str, tuple[float, float]]]) -> None:
        """Propose no point inside of these boxes, in motor units; each call replaces the one before."""


@runtime_checkable
class OrdersBatches(Protocol):
    """A generator whose batches are measured in its own order, and not in the order with the least travel."""

    orders_batches: bool
    """The presence of the attribute tells; its value is True."""


@runtime_checkable
class Withdraws(Protocol):
    """A generator that forgets proposals that will receive no result."""

    def withdraw(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Forget the proposals at `points`; points that are not pending are ignored."""
