"""Labels of the simulated devices, by which bluesky's IPython magics find them: `%wa` and `%ct`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Final

__all__ = ["DETECTOR", "MOTOR", "DeviceGroup", "Devices", "NoOffset"]

MOTOR: Final = "motors"
DETECTOR: Final = "detectors"


class DeviceGroup:
    """A group of devices with the attributes of an ophyd device that the magics use to look into it.

    So `%wa` lists ``bl.kbv.pitch`` if only ``bl`` is in the user's namespace.
    """

    _ophyd_labels_: frozenset[str] = frozenset()

    @property
    def component_names(self) -> tuple[str, ...]:
        """Names of the attributes that are devices with labels, or groups."""
        return tuple(
            name
            for name, value in vars(self).items()
            if not name.startswith("_") and (isinstance(value, DeviceGroup) or hasattr(value, "_ophyd_labels_"))
        )

    @property
    def read_attrs(self) -> list[str]:
        """See `component_names`."""
        return list(self.component_names)


class Devices(DeviceGroup, SimpleNamespace):
    """A group of devices by name."""


class NoOffset:
    """The user offset of a motor that has none, which `%wa` shows."""

    def get(self) -> float:
        return 0.0
