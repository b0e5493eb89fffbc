"""What the devices of one event read: each key from one device, and a device that contains another is read for both."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from bluesky.protocols import Stageable, Triggerable
from bluesky.utils import MsgGenerator, RunEngineControlException, separate_devices

from ebl_autonomy.errors import BadInputError, DeviceFailedError
from ebl_autonomy.plans.devices import ask
from ebl_autonomy.plans.failures import is_no_answer

__all__ = ["External", "Readings", "When", "external_text", "separate"]

When = Literal["given", "staged", "triggered"]
"""How far a device is when it is asked: as it was given to the plan, staged, or triggered at the first point."""

_NEVER: Final = (NameError, NotImplementedError, ImportError, SyntaxError)
"""Errors that no state of a device mends."""
_MISTAKES: Final = (*_NEVER, AttributeError, TypeError, LookupError, ArithmeticError, AssertionError)
"""Errors of a mistaken `describe`, if staging does not mend them."""


def separate(devices: Sequence[Any]) -> list[Any]:
    """The devices without those that another one contains, each once: bluesky's rule for one event."""
    return list(separate_devices(devices))


class Readings:
    """The data keys of the devices that are read into one event.

    Some devices can describe themselves only after they were staged, or after their first trigger; bluesky asks them
    when it has read them for the first time.

    Parameters
    ----------
    devices : sequence of Readable
        Those that another one contains are read as a part of it.

    Attributes
    ----------
    keys : dict of str to mapping
        The data keys that are known.
    late : list of Readable
        Devices that could not describe themselves yet.
    """

    def __init__(self, devices: Sequence[Any]) -> None:
        self.keys: dict[str, Any] = {}
        self.late = separate(devices)
        self._owners: dict[str, Any] = {}

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

    def owner(self, key: str) -> str:
        """Name of the device that reads `key`."""
        return str(self._owners[key].name)

    def _take(self, device: Any, described: Mapping[str, Any]) -> None:
        for key in described:
            if (other := self._owners.get(key, device)) is not device:
                raise BadInputError(
                    f"the devices {other.name!r} and {device.name!r} both read a key {key!r}, which can have only one "
                    "value in a row: rename one of them, or leave it out"
                )
            self._owners[key] = device
        self.keys.update(described)


def external_text(name: str, keys: Mapping[str, Any]) -> str:
    """Why the reading `name`, which a detector writes into a file, has no value in a row; and what to use instead."""
    read = {key: one["dtype"] for key, one in keys.items() if "external" not in one}
    numbers = sorted(key for key, dtype in read.items() if dtype in ("number", "integer"))
    return (
        f"the detector writes {name!r} into an external file, so that its value is not in the row: use a number that "
        f"is read ({numbers}), derive one from these with derive=, or let the detector read one out, for example "
        "with a statistics plugin"
    )


class External:
    """Shows derivations the readings of one row, and tells which of those in external files they asked for.

    Parameters
    ----------
    keys : mapping
        The data keys of the row.
    """

    def __init__(self, keys: Mapping[str, Any]) -> None:
        self.keys = keys
        self.asked: list[str] = []

    def shown(self, readings: dict[str, Any]) -> "_Shown":
        """The readings without those that are only references to files."""
        return _Shown(self, {key: value for key, value in readings.items() if "external" not in self.keys.get(key, ())})


class _Shown(dict[str, Any]):
    """The readings that have a value."""

    def __init__(self, external: External, readings: Mapping[str, Any]) -> None:
        super().__init__(readings)
        self._external = external

    def __missing__(self, key: str) -> Any:
        if "external" in self._external.keys.get(key, ()):
            self._external.asked.append(key)
        raise KeyError(key)


def _check_can_wait(device: Any, error: Exception, when: When) -> None:
    """Whether a device that could not describe itself may do so later.

    Staging and the first trigger may give a device what its description needs, such as a file or the size of a frame.
    They mend no mistake in its program, and do not connect it.
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
    staging_helps = when == "given" and isinstance(device, Stageable)
    unset = "'NoneType'" in str(error)  # an attribute that a later step sets
    mistaken = isinstance(error, _NEVER if staging_helps or unset else _MISTAKES)
    if mistaken or not to_come:
        after = {"given": "", "staged": " even after it was staged", "triggered": " even after it was triggered"}[when]
        raise BadInputError(
            f"{device.name!r} cannot be described{after} ({said}): repair its describe(), or leave it out"
        ) from error
