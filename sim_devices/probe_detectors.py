"""The detectors of the simulated microprobe: fluorescence, transmission and dark field, absorption, I0."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from ebl_autonomy.sim_devices.labels import DETECTOR
from ebl_autonomy.space import FloatArray

if TYPE_CHECKING:
    from ebl_autonomy.sim_devices.spectrum import Spectrum

__all__ = ["Absorption", "Fluorescence", "Incident", "ProbeDetector", "Shot", "Transmission", "poisson"]

LARGEST_POISSON: Final = 1e12
"""Mean above which a normal distribution stands for Poisson's, whose samplers end at the largest integer."""
LARGEST_LOSS: Final = 700.0
"""Largest optical depth that is told from infinity."""


@dataclass(frozen=True)
class Shot:
    """What reached the detectors in one exposure.

    Attributes
    ----------
    seconds : float
        Exposure time.
    incident : float
        Expected photons of I0 in the exposure.
    i0 : float
        Counted photons of I0.
    rates : FloatArray, shape (elements,)
        Fluorescence, counts per second without dead time.
    depth : float
        Optical depth ``ln(I0 / I)`` of the sample.
    scatter : float
        Share of the beam that is scattered into the dark field.
    energy_ev : float
    stamp : float
        Wall time at the end of the exposure.
    is_lost : bool
        Whether the detectors read NaN instead.
    """

    seconds: float
    incident: float
    i0: float
    rates: FloatArray
    depth: float
    scatter: float
    energy_ev: float
    stamp: float
    is_lost: bool = False


class Ticket(Protocol):
    """A detector's part in an exposure: when it is done, and then what was seen."""

    status: Any
    shot: Shot | None


class Source(Protocol):
    """What a detector needs from the microprobe."""

    @property
    def exposure_s(self) -> float:
        """Exposure time of all detectors, s."""
        ...

    def join(self, detector: str) -> Ticket:
        """Take part in the exposure that is being triggered."""
        ...

    def close(self) -> None:
        """The latest exposure is being read."""
        ...

    def snapshot(self) -> Shot:
        """What the detectors see now, without time passing."""
        ...


class ProbeDetector:
    """A detector of the microprobe (bluesky Readable and Triggerable).

    Parameters
    ----------
    name : str
    source : Source
    seed : sequence of int
        Seeds the detector's own noise.
    """

    parent = None
    _ophyd_labels_ = frozenset({DETECTOR})

    def __init__(self, name: str, source: Source, seed: Sequence[int]) -> None:
        self.name = name
        self._source = source
        self._rng = np.random.default_rng(list(seed))
        self._ticket: Ticket | None = None
        self._reading: dict[str, dict[str, Any]] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {', '.join(self.describe())}>"

    @property
    def exposure(self) -> float:
        """The exposure time, s; agents that weigh travel against measurements ask for it."""
        return self._source.exposure_s

    @property
    def hints(self) -> dict[str, list[str]]:
        return {"fields": [key for key, spec in self.describe().items() if spec["dtype"] == "number"]}

    def trigger(self) -> Any:
        """Expose, together with the detectors that are triggered at the same place and not read yet."""
        self._ticket = self._source.join(self.name)
        return self._ticket.status

    def read(self) -> dict[str, dict[str, Any]]:
        ticket = self._ticket
        if ticket is not None and ticket.shot is not None:
            self._source.close()
            self._ticket = None
            self.take(ticket.shot)
        elif not self._reading:
            self.take(self._source.snapshot())
        return {key: dict(item) for key, item in self._reading.items()}

    def take(self, shot: Shot) -> None:
        """Detect what reached the detector in an exposure."""
        values = self._detect(shot)
        if shot.is_lost:
            values = {key: math.nan if isinstance(value, float) else 0 * value for key, value in values.items()}
        self._reading = {key: {"value": value, "timestamp": shot.stamp} for key, value in values.items()}

    def describe(self) -> dict[str, dict[str, Any]]:
        return {key: self._key(unit) for key, unit in self._units().items()}

    def read_configuration(self) -> dict[str, dict[str, Any]]:
        now = time.time()
        return {key: {"value": value, "timestamp": now} for key, (value, _) in self._settings().items()}

    def describe_configuration(self) -> dict[str, dict[str, Any]]:
        return {key: self._key(unit) for key, (_, unit) in self._settings().items()}

    def _key(self, unit: str) -> dict[str, Any]:
        return {"source": f"sim:{self.name}", "dtype": "number", "shape": [], **({"units": unit} if unit else {})}

    def _units(self) -> Mapping[str, str]:
        raise NotImplementedError

    def _detect(self, shot: Shot) -> dict[str, Any]:
        raise NotImplementedError

    def _settings(self) -> dict[str, tuple[float, str]]:
        return {}


class Incident(ProbeDetector):
    """The incident intensity: key ``i0``, the photons that the ion chamber counts."""

    def _units(self) -> Mapping[str, str]:
        return {self.name: "counts"}

    def _detect(self, shot: Shot) -> dict[str, Any]:
        return {self.name: shot.i0}


class Fluorescence(ProbeDetector):
    """The fluorescence detector: keys ``<name>_<element>``, ``<name>_live_time`` and ``<name>_real_time``.

    The dead time is non-paralysable: of a true rate n it counts n / (1 + n τ), and at most 1 / τ. Counts of an element
    times real time over live time are an unbiased estimate of its counts without dead time.

    Parameters
    ----------
    name, source, seed
        See `ProbeDetector`.
    elements : sequence of str
    dead_time_s : float
        The dead time τ after each photon, s.
    spectrum : Spectrum, optional
        Adds the key ``<name>_spectrum``.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        seed: Sequence[int],
        elements: Sequence[str],
        dead_time_s: float,
        spectrum: Spectrum | None = None,
    ) -> None:
        super().__init__(name, source, seed)
        self.elements = tuple(elements)
        self.dead_time_s = dead_time_s
        self.spectrum = spectrum

    def describe(self) -> dict[str, dict[str, Any]]:
        keys = super().describe()
        if self.spectrum is not None:
            keys[f"{self.name}_spectrum"] = {
                **self._key("counts"),
                "dtype": "array",
                "dtype_numpy": "<i8",
                "shape": [self.spectrum.bins],
            }
        return keys

    def _units(self) -> Mapping[str, str]:
        counts = {f"{self.name}_{element}": "counts" for element in self.elements}
        return {**counts, f"{self.name}_live_time": "s", f"{self.name}_real_time": "s"}

    def _detect(self, shot: Shot) -> dict[str, Any]:
        live = shot.seconds / (1.0 + float(shot.rates.sum()) * self.dead_time_s)
        counts = poisson(self._rng, shot.rates * live)
        values: dict[str, Any] = {
            f"{self.name}_{element}": float(n) for element, n in zip(self.elements, counts, strict=True)
        }
        values[f"{self.name}_live_time"] = live
        values[f"{self.name}_real_time"] = shot.seconds
        if self.spectrum is not None:
            values[f"{self.name}_spectrum"] = self.spectrum.draw(counts, shot.energy_ev, self._rng)
        return values

    def _settings(self) -> dict[str, tuple[float, str]]:
        settings = {f"{self.name}_dead_time": (self.dead_time_s, "s")}
        if self.spectrum is not None:
            settings[f"{self.name}_bin_width"] = (self.spectrum.bin_ev, "eV")
        return settings


class Transmission(ProbeDetector):
    """The detectors behind the sample: keys ``<name>_counts`` and ``darkfield_counts``."""

    def _units(self) -> Mapping[str, str]:
        return {f"{self.name}_counts": "counts", "darkfield_counts": "counts"}

    def _detect(self, shot: Shot) -> dict[str, Any]:
        means = np.array([shot.incident * transmitted(shot.depth), shot.incident * shot.scatter])
        bright, dark = poisson(self._rng, means)
        return {f"{self.name}_counts": float(bright), "darkfield_counts": float(dark)}


class Absorption(ProbeDetector):
    """The energy-resolved absorption: keys ``<name>_mu`` (``ln(I0 / I)``) and ``<name>_it``, the transmitted photons.

    Without a single photon of I or of I0, half a photon stands in their place, so that the reading stays finite.
    """

    def _units(self) -> Mapping[str, str]:
        return {f"{self.name}_mu": "", f"{self.name}_it": "counts"}

    def _detect(self, shot: Shot) -> dict[str, Any]:
        (passed,) = poisson(self._rng, np.array([shot.incident * transmitted(shot.depth)]))
        mu = math.log(max(shot.i0, 0.5) / max(float(passed), 0.5))
        return {f"{self.name}_mu": mu, f"{self.name}_it": float(passed)}


def transmitted(depth: float) -> float:
    """The share of the beam that passes an optical depth."""
    return math.exp(-min(max(depth, -LARGEST_LOSS), LARGEST_LOSS))


def poisson(rng: np.random.Generator, mean: FloatArray) -> FloatArray:
    """Poisson counts of any finite mean; an array of the shape of `mean`."""
    small = np.minimum(mean, LARGEST_POISSON)
    counts = rng.poisson(small).astype(float)
    if mean.max() > LARGEST_POISSON:
        counts = np.where(mean > small, np.rint(mean + np.sqrt(mean) * rng.standard_normal(mean.shape)), counts)
    return np.asarray(counts)
