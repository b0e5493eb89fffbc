"""What the devices of one event read: each key from one device, and a device that contains another is read for both."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal

from bluesky.protocols import Stageable, Triggerable
from bluesky.utils import MsgGenerator, RunEngineControlException, separate_devices

from ebl_autonomy.errors import BadInputError, DeviceFailedError
from ebl_autonomy.plans.devices import ask
from ebl_autonomy.plans.failures import is_no_answer

__all__ = ["External", "Readings", "When", "separate", "unread"]

When = Literal["given", "staged", "triggered"]
"""How far a device is when it is asked: as it was given to the plan, staged, or triggered at the first point."""

_NEVER: Final = (NameError, NotImplementedError, ImportError, SyntaxError)
"""Errors that no state of a device mends."""


def separate(devices: Sequence[Any]) -> list[Any]:
    """The devices without those that another one contains, each once: bluesky's rule for one event."""
    return list(separate_devices(devices))


def unread(positions: Mapping[str, float], readings: Mapping[str, Any]) -> dict[str, float]:
    """The positions of the motors that were not read under their own names."""
    return {name: position for name, position in positions.items() if name not in readings}


class Readings:
    """The data keys of the devices that are read into one event.

    Some devices can describe themselves only after they were staged, or after their first trigger; bluesky asks them
    when it has read them for the first time.

    Parameters
    ----------
    devices : sequence of Readable
        Those that another one contains are read as a part of it.
    motors : sequence of motors
        Those of the devices that are no detectors.

    Attributes
    ----------
    keys : dict of str to mapping
        The data keys that are known.
    late : list of Readable
        Devices that could not describe themselves yet.
    """

    def __init__(self, devices: Sequence[Any], motors: Sequence[Any] = ()) -> None:
        self.keys: dict[str, Any] = {}
        self.late = separate(devices)
        self._owners: dict[str, Any] = {}
        self._motors = list(motors)

    def ask(self, when: When) -> MsgGenerator[None]:
        """Ask the devices that have not described themselves yet.

        Raises
        ------
        BadInputError
            If a device cannot describe itself, and no later state can change that; or two devices have the same key.
        DeviceFailedError
            If a device does not answer after it was triggered.
        """
        waiting = []
        for device in self.late:
            try:
                described: Mapping[str, Any] = yield from ask(device.describe)
                if not isinstance(described, Mapping):
                    raise TypeError(f"describe() returned {described!r}, which is no mapping")
            except RunEngineControlException:
                raise
            except Exception as error:  # noqa: BLE001 - a device may raise anything
                _check_can_wait(device, error, when)
                waiting.append(device)
            else:
                self._take(device, described)
        self.late = waiting

    def check_read(self, device: Any, reading: Collection[str]) -> MsgGenerator[None]:
        """Check that a device reads the keys that it describes, as each event of a stream must.

        Raises
        ------
        DeviceFailedError
            If it reads others; names the keys.
        """
        known = {key for key, owner in self._owners.items() if owner is device}
        if not known or not self._unlike(known, reading):
            return
        described = yield from ask(device.describe)  # staging may have added keys, such as those of a file
        for key in known - set(described):
            del self._owners[key], self.keys[key]
        self._take(device, described)
        if said := self._unlike(described, reading):
            raise DeviceFailedError([device.name], f"{said}: make both give the same keys")

    def _unlike(self, described: Collection[str], reading: Collection[str]) -> str:
        """How a reading differs from a description; empty if it does not."""
        missing = sorted(k for k in described if k not in reading and self.keys[k].get("external") != "STREAM:")
        strange = sorted(key for key in reading if key not in described)
        said = [f"its describe() has {missing}, which its read() lacks"] if missing else []
        said += [f"its read() has {strange}, which its describe() lacks"] if strange else []
        return " and ".join(said)

    def is_external(self, key: str) -> bool:
        """Whether a detector writes the value of `key` into a file, so that no row holds it."""
        return "external" in self.keys.get(key, ())

    def numbers(self) -> list[str]:
        """The keys that are one number in each row, without those of the motors."""
        return sorted(
            key
            for key, one in self.keys.items()
            if one["dtype"] in ("number", "integer", "boolean")
            and math.prod(one.get("shape") or [1]) == 1
            and not self.is_external(key)
            and not any(self._owners[key] is motor for motor in self._motors)
        )

    def external_text(self, key: str) -> str:
        """Why `key` has no value in a row, and what to use instead."""
        return (
            f"{self._owners[key].name!r} writes {key!r} into an external file, so that its value is not in the row. "
            f"What is read are the numbers {self.numbers()}: use one of them, or derive= one from them, or let the "
            "detector read one out, for example with a statistics plugin"
        )

    def _take(self, device: Any, described: Mapping[str, Any]) -> None:
        for key in described:
            if (other := self._owners.get(key, device)) is not device:
                raise BadInputError(
                    f"the devices {other.name!r} and {device.name!r} both read a key {key!r}, which can have only one "
                    "value in a row: rename one of them, or leave it out"
                )
            self._owners[key] = device
        self.keys.update(described)


class External:
    """Shows derivations the readings of one row, and tells which of those in external files they asked for.

    Parameters
    ----------
    readings : Readings
    """

    def __init__(self, readings: Readings) -> None:
        self.readings = readings
        self.asked: list[str] = []

    def shown(self, values: dict[str, Any]) -> "_Shown":
        """The readings without those that are only references to files."""
        return _Shown(self, {key: value for key, value in values.items() if not self.readings.is_external(key)})


class _Shown(dict[str, Any]):
    """The readings that have a value."""

    def __init__(self, external: External, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._external = external

    def __missing__(self, key: str) -> Any:
        if self._external.readings.is_external(key):
            self._external.asked.append(key)
        raise KeyError(key)


def _check_can_wait(device: Any, error: Exception, when: When) -> None:
    """Whether a device that could not describe itself may do so later.

    Staging and the first trigger may give a device what its description needs, such as a file, or an attribute with the
    size of a frame. They define no missing name, and do not connect the device.
    """
    said = f"{type(error).__name__}: {error}"
    if is_no_answer(error):
        if when == "triggered":
            raise DeviceFailedError([device.name], said) from error
        raise BadInputError(f"{device.name!r} does not answer ({said}): connect it, or leave it out") from error
    to_come = {
        "given": isinstance(device, (Stageable, Triggerable)),
        "staged": isinstance(device, Triggerable),
        "triggered": False,
    }[when]
    if isinstance(error, _NEVER) or not to_come:
        after = {"given": "", "staged": " even after it was staged", "triggered": " even after it was triggered"}[when]
        raise BadInputError(
            f"{device.name!r} cannot be described{after} ({said}): repair its describe(), or leave it out"
        ) from error
