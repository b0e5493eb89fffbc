"""What goes wrong at a real beamline, on purpose and by seed: drifts of the beam and faults of the devices."""

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
    """How the incoming beam moves in simulated time; all terms add, in µm at the focus.

    Attributes
    ----------
    sine_um, sine_period_s : float
        A slow sine, such as a hall's air conditioning.
    walk_um, walk_time_s : float
        An Ornstein-Uhlenbeck process of this standard deviation and correlation time.
    steps_um, steps_every_s : float
        Rare jumps of this standard deviation, at a mean interval.
    linear_um_per_hour : float

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
                raise BadInputError(f"{name}={getattr(self, name)!r}: give a size in µm, 0 for none")


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
        """Displacement (x, y) of the focus, µm; times must not decrease."""
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
    """A device fault between two exposures.

    Attributes
    ----------
    kind : FaultKind
    first, last : int
        Numbers of the first and last exposure (counted from 1) that it affects.
    device : str
        Name of the motor, for ``"stuck motor"``: it sticks in the moves before these exposures.

    Raises
    ------
    BadInputError
        If there is no such kind, the numbers are in the wrong order, or a device is named without need or missing.
    """

    kind: FaultKind
    first: int
    last: int
    device: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise BadInputError(f"there is no fault {self.kind!r}: there are {list(get_args(FaultKind))}")
        if not 1 <= self.first <= self.last:
            raise BadInputError(f"a fault from exposure {self.first} to {self.last}: count from 1, first before last")
        if (self.kind == "stuck motor") != bool(self.device):
            raise BadInputError(f"{self.kind!r} with device={self.device!r}: only a stuck motor names its device")

    def holds(self, exposure: int) -> bool:
        """Whether it affects this exposure."""
        return self.first <= exposure <= self.last
