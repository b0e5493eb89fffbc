"""The simulated microprobe as ophyd-async devices: the same names, keys, sample and clock as `SimMicroprobe`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ophyd_async.core import AsyncStatus, Device

from ebl_autonomy.sim_devices.flyer import LineOfRows, SimFlyer
from ebl_autonomy.sim_devices.labels import DETECTOR, MOTOR, DeviceGroup
from ebl_autonomy.sim_devices.microprobe import SimMicroprobe
from ebl_autonomy.sim_devices.motor import SimMotor
from ebl_autonomy.sim_devices.probe_detectors import ProbeDetector
from ebl_autonomy.sim_devices.statuses import finished

__all__ = ["AsyncDwell", "AsyncLineFlyer", "AsyncMicroprobe", "AsyncProbeDetector", "AsyncProbeMotor"]


class AsyncFace(Device):
    """What is read of a device of the microprobe, read by awaiting."""

    def __init__(self, device: Any) -> None:
        self._sim = device
        super().__init__(device.name)

    async def read(self) -> dict[str, Any]:
        return dict(self._sim.read())

    async def describe(self) -> dict[str, Any]:
        return dict(self._sim.describe())


class AsyncProbeDetector(AsyncFace):
    """A detector of the microprobe (bluesky Readable and Triggerable)."""

    _ophyd_labels_ = frozenset({DETECTOR})
    _sim: ProbeDetector

    @property
    def exposure(self) -> float:
        """The exposure time, s."""
        return self._sim.exposure

    @property
    def hints(self) -> dict[str, list[str]]:
        return self._sim.hints

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        await finished(self._sim.trigger())

    async def read_configuration(self) -> dict[str, Any]:
        return self._sim.read_configuration()

    async def describe_configuration(self) -> dict[str, Any]:
        return self._sim.describe_configuration()


class AsyncDwell(AsyncFace):
    """The exposure time of all detectors, s (bluesky Movable, Locatable and Readable)."""

    _sim: Any

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest value."""
        low, high = self._sim.limits
        return float(low), float(high)

    @property
    def position(self) -> float:
        """The value now; a plan asks `locate`."""
        return float(self._sim.position)

    async def check_value(self, value: float) -> None:
        """Raise a LimitError (ophyd's) if a value lies outside the limits."""
        self._sim.check_value(value)

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        await finished(self._sim.set(value))

    async def locate(self) -> Any:
        return {"setpoint": self.position, "readback": self.position}


class AsyncProbeMotor(AsyncDwell):
    """A motor of the microprobe (bluesky Movable, Locatable, Stoppable and Readable); it refuses as `SimMotor` does."""

    _ophyd_labels_ = frozenset({MOTOR})
    _sim: SimMotor

    @property
    def hints(self) -> dict[str, list[str]]:
        return self._sim.hints

    @property
    def velocity(self) -> float:
        """Speed, motor units per second."""
        return self._sim.velocity

    @property
    def acceleration_time(self) -> float:
        """Seconds to reach the velocity."""
        return self._sim.acceleration

    @property
    def settle_time(self) -> float:
        """Simulated seconds of rest after a move."""
        return self._sim.settle_time

    @property
    def backlash(self) -> float:
        """Lost motion, in motor units."""
        return self._sim.backlash

    async def read_configuration(self) -> dict[str, Any]:
        return self._sim.read_configuration()

    async def describe_configuration(self) -> dict[str, Any]:
        return self._sim.describe_configuration()

    async def stop(self, success: bool = False) -> None:
        """Stop the motor where it is; its move fails unless `success`."""
        self._sim.stop(success=success)


class AsyncLineFlyer(Device):
    """Flies lines and records rows as `SimFlyer` does (bluesky Flyable, Preparable, EventPageCollectable)."""

    def __init__(self, flyer: SimFlyer) -> None:
        self._sim = flyer
        super().__init__(flyer.name)

    @AsyncStatus.wrap
    async def prepare(self, value: LineOfRows) -> None:
        """Move to the start of a line; see `SimFlyer.prepare`."""
        await finished(self._sim.prepare(value))

    @AsyncStatus.wrap
    async def kickoff(self) -> None:
        """Start the flight; see `SimFlyer.kickoff`."""
        await finished(self._sim.kickoff())

    @AsyncStatus.wrap
    async def complete(self) -> None:
        """Wait until the line is flown; fails if the flyer is stopped."""
        await finished(self._sim.complete())

    async def stop(self, success: bool = False) -> None:
        """Stop the flight."""
        self._sim.stop(success=success)

    async def describe_collect(self) -> dict[str, Any]:
        return self._sim.describe_collect()

    async def collect_pages(self) -> AsyncIterator[Any]:
        """All rows of the latest flight as one event page; no page if there are no rows."""
        for page in self._sim.collect_pages():
            yield page


class AsyncMicroprobe(DeviceGroup):
    """The microprobe with ophyd-async devices over those of a `SimMicroprobe`, whose attributes it has.

    Parameters
    ----------
    sim : SimMicroprobe
        Holds the sample, the clock and the truth; its own devices may be used beside these.
    """

    def __init__(self, sim: SimMicroprobe) -> None:
        self.sim = sim
        self.x, self.y, self.energy = (AsyncProbeMotor(motor) for motor in (sim.x, sim.y, sim.energy))
        self.dwell = AsyncDwell(sim.dwell)
        self.xrf, self.transmission, self.absorption, self.i0 = (AsyncProbeDetector(one) for one in sim.detectors)
        self.clock = sim.clock
        self.flyer = AsyncLineFlyer(sim.flyer)

    def __repr__(self) -> str:
        return f"<AsyncMicroprobe: {self.sim!r}>"

    @property
    def detectors(self) -> list[AsyncProbeDetector]:
        """All detectors; those that are triggered together share an exposure."""
        return [self.xrf, self.transmission, self.absorption, self.i0]

    @property
    def baseline(self) -> list[Any]:
        """Devices to record at the start and the end of a run."""
        return [self.energy, self.dwell, self.clock]
