"""The layout that the local and the EPICS beamline share: motors, tiers and the camera frame."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

from ebl_autonomy.errors import BadInputError

__all__ = ["MIRRORS", "MIRROR_MOTORS", "MOTORS", "PIXELS", "Tier", "baseline_devices", "image_key", "tier_motors"]

Tier = Literal["A", "B", "C"]

MIRRORS: Final = ("kbv", "kbh")
MIRROR_MOTORS: Final[dict[str, dict[str, Any]]] = {
    "pitch": {"limits": (-120.0, 120.0), "egu": "urad", "velocity": 20.0, "backlash": 0.2, "resolution": 0.01},
    "height": {"limits": (-100.0, 100.0), "egu": "um", "velocity": 25.0, "backlash": 0.2, "resolution": 0.01},
    "bend_up": {"limits": (-100.0, 100.0), "egu": "um", "velocity": 10.0, "backlash": 0.1, "resolution": 0.01},
    "bend_down": {"limits": (-100.0, 100.0), "egu": "um", "velocity": 10.0, "backlash": 0.1, "resolution": 0.01},
}
_OTHERS: Final[dict[str, dict[str, Any]]] = {
    "mono_pitch": {"limits": (-20.0, 20.0), "egu": "urad", "velocity": 2.0, "backlash": 0.05, "resolution": 0.01},
    "mono_energy": {"limits": (5000.0, 9000.0), "egu": "eV", "velocity": 5.0, "position": 7100.0},
    "slits_h_gap": {"limits": (10.0, 200.0), "egu": "um", "velocity": 50.0, "position": 60.0},
    "slits_v_gap": {"limits": (10.0, 200.0), "egu": "um", "velocity": 50.0, "position": 100.0},
    "slits_h_center": {"limits": (-200.0, 200.0), "egu": "um", "velocity": 50.0},
    "slits_v_center": {"limits": (-200.0, 200.0), "egu": "um", "velocity": 50.0},
    "camera_z": {"limits": (-10.0, 10.0), "egu": "mm", "velocity": 1.0},
}
MOTORS: Final = {f"{m}_{n}": spec for m in MIRRORS for n, spec in MIRROR_MOTORS.items()} | _OTHERS
"""The keyword arguments of every `SimMotor`, by motor name."""

PIXELS: Final = 256
"""Number of rows, and of columns, of a frame."""

_OF_MIRRORS: Final[dict[str, tuple[str, ...]]] = {
    "A": ("pitch", "height"),
    "B": tuple(MIRROR_MOTORS),
    "C": tuple(MIRROR_MOTORS),
}
_OF_THE_REST: Final[dict[str, tuple[str, ...]]] = {
    "A": (),
    "B": (),
    "C": ("mono_pitch", "slits_h_center", "slits_v_center", "camera_z"),
}


def tier_motors(tier: str) -> list[str]:
    """Names of the motors that a tier misaligns: 4 (A), 8 (B) or 12 (C).

    Raises
    ------
    BadInputError
        If the tier is unknown.
    """
    if tier not in get_args(Tier):
        raise BadInputError(f"tier={tier!r}: use one of {list(get_args(Tier))}")
    return [*(f"{mirror}_{name}" for mirror in MIRRORS for name in _OF_MIRRORS[tier]), *_OF_THE_REST[tier]]


def baseline_devices(beamline: Any) -> list[Any]:
    """Devices to record at the start and the end of a run."""
    b = beamline
    return [b.camera.frame, b.ring, b.i0, b.mono.energy, b.slits.h_gap, b.slits.v_gap, b.clock]


def image_key(source: str) -> dict[str, Any]:
    """The data key of a frame in a descriptor."""
    return {"source": source, "dtype": "array", "dtype_numpy": "<u2", "shape": [PIXELS, PIXELS], "units": "counts"}
