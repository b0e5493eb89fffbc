"""Reproducible imperfections of a beamline: drift of the beam and faults of the devices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ebl_autonomy.errors import BadInputError

__all__ = ["Drift", "Fault", "FaultKind", "Wander"]

FaultKind = Literal["stuck motor", "beam dump", "shutter closed", "nan", "timeout", "late frame"]


@dataclass(frozen=True)
class Drift:
    """Drift of the incoming beam in simulated time: the sum of all terms, in µm at the focus.

    Attributes
    ----------
    sine_um, sine_period_s : float
        Amplitude and period of a slow sine, such as the hall's air conditioning causes.
    walk_um, walk_time_s : float
        Standard deviation and correlation time of an Ornstein-Uhlenbeck process.
    steps_um, steps_every_s : float
        Standard deviation and mean interval of rare jumps.
    linear_um_per_hour : float
        Speed of a linear drift in a random direction.

    Raises
    ------
    BadInputError
        If a time is not positive, or a size is negative.
    """

    sine_um: float = 0.0
    sine_period_s: float = 1200.0
    walk_um: float = 0.0
    walk_time_s: float = 300.0
    steps_um: float = 0.0
    steps_every_s: float = 1800.0
    linear_um_per_hour: float = 0.0

    def __post_init__(self) -> None:
        for name in ("sine_period_s", "walk_time_s", "steps_every_s"):
            if not getattr(self, name) > 0.0:
                raise BadInputError(f"{name}={getattr(self, name)!r}: give a positive number of seconds")
        for name in ("sine_um", "walk_um", "steps_um"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise BadInputError(f"{name}={getattr(self, name)!r}: give a finite size in µm, 0 for no drift")


class Wander:
    """The two-dimensional drift of one beamline, as a function of its clock.

    Parameters
    ----------
    drift : Drift
    seed : int
    """

    def __init__(self, drift: Drift, seed: int) -> None:
        self.drift = drift
        self._rng = np.random.default_rng([seed, 77])
        self._phase = self._rng.uniform(0.0, 2.0 * math.pi, 2)
        self._direction = self._rng.standard_normal(2)
        self._direction /= np.linalg.norm(self._direction)
        self._walk = self._rng.standard_normal(2) * drift.walk_um
        self._steps = np.zeros(2)
        self._last = 0.0
        self._next_step = self._rng.exponential(drift.steps_every_s)

    def at(self, seconds: float) -> tuple[float, float]:
        """Displacement (x, y) of the focus, µm. Calls must not go back in time."""
        d, passed = self.drift, max(seconds - self._last, 0.0)
        keep = math.exp(-passed / d.walk_time_s)
        # Exact transition of the Ornstein-Uhlenbeck process over any interval.
        self._walk = keep * self._walk + d.walk_um * math.sqrt(1.0 - keep**2) * self._rng.standard_normal(2)
        while self._next_step <= seconds:
            self._steps = self._steps + d.steps_um * self._rng.standard_normal(2)
            self._next_step += self._rng.exponential(d.steps_every_s)
        self._last = max(self._last, seconds)
        sine = d.sine_um * np.sin(2.0 * math.pi * seconds / d.sine_period_s + self._phase)
        line = d.linear_um_per_hour * seconds / 3600.0 * self._direction
        x, y = self._walk + self._steps + sine + line
        return float(x), float(y)


@dataclass(frozen=True)
class Fault:
    """A device fault that holds for a range of exposures.

    Attributes
    ----------
    kind : FaultKind
    first, last : int
        Numbers (counted from 1) of the first and the last affected exposure.
    device : str
        Name of the motor of a ``"stuck motor"``; the motor sticks in the moves before these exposures.

    Raises
    ------
    BadInputError
        If the kind is unknown, `last` is before `first`, or `device` is missing or does not apply to the kind.
    """

    kind: FaultKind
    first: int
    last: int
    device: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise BadInputError(f"there is no fault {self.kind!r}: use one of {list(get_args(FaultKind))}")
        if not 1 <= self.first <= self.last:
            raise BadInputError(
                f"first={self.first}, last={self.last}: exposures count from 1, and last must not be before first"
            )
        if (self.kind == "stuck motor") != bool(self.device):
            raise BadInputError(f"{self.kind!r} with device={self.device!r}: only a stuck motor names its device")

    def holds(self, exposure: int) -> bool:
        """Whether the fault affects this exposure."""
        return self.first <= exposure <= self.last
