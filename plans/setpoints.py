"""Settings that an agent chooses beside the motors, and that no device holds: the length of the next fly line."""

import time
from typing import Any

from ophyd.status import Status

__all__ = ["SoftSetpoint"]


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
