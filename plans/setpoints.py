"""Soft devices: a setting that an agent chooses beside the motors, and computed arrays that a run records."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from ophyd.status import Status

from ebl_autonomy.scales import FloatArray

__all__ = ["SoftArrays", "SoftSetpoint"]


class SoftSetpoint:
    """A number that is set at once (bluesky Movable, Readable, Checkable).

    Parameters
    ----------
    name : str
    limits : (low, high)
        In the setpoint's own unit.
    units : str
    """

    parent = None

    def __init__(self, name: str, limits: tuple[float, float], units: str = "") -> None:
        self.name, self.limits, self.egu = name, limits, units
        self.position = 0.0

    def check_value(self, value: float) -> None:
        """Check a value.

        Raises
        ------
        ValueError
            If the value is outside the limits.
        """
        low, high = self.limits
        if not low <= value <= high:
            raise ValueError(f"{self.name} was set to {value!r}: its limits are [{low}, {high}]")

    def set(self, value: float) -> Status:
        self.check_value(value)
        self.position = float(value)
        done = Status(self)
        done.set_finished()
        return done

    def read(self) -> dict[str, dict[str, Any]]:
        return {self.name: {"value": self.position, "timestamp": time.time()}}

    def describe(self) -> dict[str, dict[str, Any]]:
        key = {"source": f"setpoint:{self.name}", "dtype": "number", "shape": []}
        return {self.name: {**key, **({"units": self.egu} if self.egu else {})}}


class SoftArrays:
    """Computed arrays, to be read into an event (bluesky Readable).

    Parameters
    ----------
    name : str
        Prefix of the keys: ``<name>_<array>``.
    arrays : mapping of str to array
    """

    parent = None

    def __init__(self, name: str, arrays: Mapping[str, FloatArray]) -> None:
        self.name = name
        self._arrays = {f"{name}_{key}": np.asarray(values, dtype=float) for key, values in arrays.items()}

    def read(self) -> dict[str, dict[str, Any]]:
        now = time.time()
        return {key: {"value": values, "timestamp": now} for key, values in self._arrays.items()}

    def describe(self) -> dict[str, dict[str, Any]]:
        return {
            key: {
                "source": f"computed:{self.name}",
                "dtype": "array",
                "shape": list(values.shape),
                "dtype_numpy": values.dtype.str,
            }
            for key, values in self._arrays.items()
        }
