"""Under which name a run has stored what a variable stands for, which need not be the name of the variable.

A scan of a positioner ``gap`` stores ``gap_readback``; the VOCS of a later run may call it by either name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ebl_autonomy.data.streams import StoredStream

__all__ = ["StoredDevices"]


class StoredDevices:
    """The devices whose readings some streams of a run hold.

    Parameters
    ----------
    start : mapping
        The run's start document.
    streams : sequence of StoredStream
    """

    def __init__(self, start: Mapping[str, Any], streams: Sequence[StoredStream]) -> None:
        self.keys: dict[str, list[str]] = {}
        """The keys of each device's readings, by device name."""
        hints: dict[str, list[str]] = {}
        for stream in streams:
            for name, keys in stream.object_keys.items():
                known = self.keys.setdefault(name, [])
                known.extend(key for key in keys if key not in known)
            hints.update(stream.hints)
        # A scan says which reading it plots against, in the order of its motors.
        dimensions = [fields for fields, *_ in (start.get("hints") or {}).get("dimensions") or []]
        motors = [str(name) for name in start.get("motors") or []]
        if len(dimensions) == len(motors):
            hints = {**{name: list(map(str, fields)) for name, fields in zip(motors, dimensions, strict=True)}, **hints}
        self._hints = hints

    def position_key(self, device: str) -> str | None:
        """The key of a device's position: its name, or else the only one that is hinted, or the only one."""
        keys = self.keys.get(device, [])
        if device in keys:
            return device
        hinted = [key for key in self._hints.get(device, []) if key in keys]
        found = hinted or keys
        return found[0] if len(found) == 1 else None

    def stored_name(self, variable: str, columns: Collection[str], steered: Collection[str] = ()) -> str:
        """The column of a variable; its own name if the run has no other one.

        Parameters
        ----------
        variable : str
            The name of a motor, or of one of its readings.
        columns : collection of str
            The columns of the stream.
        steered : collection of str
            Variables of the run's own agent, which are preferred, because their proposed values are known.
        """
        owners = sorted(device for device in self.keys if self.position_key(device) == variable)
        same = [variable, *(key for key in [self.position_key(variable)] if key), *owners]
        for names in (steered, columns):
            for name in same:
                if name in names and name in columns:
                    return name
        return variable

    def gives(self, device: str, columns: Collection[str]) -> bool:
        """Whether one of `columns` is a reading of a device."""
        return device in columns or any(key in columns for key in self.keys.get(device, ()))
