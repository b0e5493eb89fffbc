"""Motors that know where they truly are, and detectors whose readings hold where the motors truly were.

All of them put what happens to them on the tape. They are bare protocol devices, so nothing but this module stands
between a plan and the truth.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ophyd.sim import NullStatus
from ophyd.status import Status

from .tape import Tape

__all__ = ["DOMAIN", "ENCODER_NOISE", "SETTLE_S", "TRUE", "Camera", "Detector", "Motor", "Odd", "Wide"]

DOMAIN = (-1.0, 1.0)
"""Where agents look, in motor units."""
ENCODER_NOISE = 1e-4
"""Largest difference between a motor's readback and its true position, in motor units."""
TRUE = "true_"
"""Prefix of the detector's keys that hold the true positions at the exposure."""
SETTLE_S = 0.004
"""Duration of a move, s."""
STEPS = 4


class Motor:
    """A motor that takes some milliseconds.

    Parameters
    ----------
    name : str
    tape : Tape
    limits : (float, float), optional
        Its own limits. The motor does not enforce them: a move beyond them shows on the tape.
    seed : int
        Seeds the noise of the encoder.
    """

    parent = None

    def __init__(self, name: str, tape: Tape, limits: tuple[float, float] | None = None, seed: int = 0) -> None:
        self.name = name
        if limits is not None:
            self.limits = limits
        self.true = 0.0
        """True position, in motor units."""
        self._tape, self._rng = tape, random.Random(f"{name}-{seed}")
        self._stopped = threading.Event()
        self._stop_next: float | None = None
        self._lock = threading.Lock()

    @property
    def position(self) -> float:
        """The readback, in motor units."""
        return self.true + self._rng.uniform(-ENCODER_NOISE, ENCODER_NOISE)

    def push(self, to: float, why: str) -> None:
        """Somebody's hand, or the control room, moves the motor."""
        with self._lock:
            self._tape.put("push", motor=self.name, start=self.true, end=to, why=why)
            self.true = to

    def stop_next_move(self, share: float) -> None:
        """Somebody stops the next move after a share of its way; as with a motor record, the move counts as done."""
        self._stop_next = share

    def set(self, value: float) -> Status:
        """Move; the tape holds start and target before anything moves, and the end."""
        status = Status(self)
        start, target = self.true, float(value)
        share, self._stop_next = self._stop_next, None
        self._tape.put("move", motor=self.name, start=start, target=target)
        stopped = self._stopped = threading.Event()

        def go() -> None:
            end = target if share is None else start + share * (target - start)
            for step in range(1, STEPS + 1):
                if stopped.wait(SETTLE_S / STEPS):
                    break
                with self._lock:
                    self.true = start + (end - start) * step / STEPS
            else:
                with self._lock:
                    self.true = end
            self._tape.put("moved", motor=self.name, end=self.true)
            status.set_finished()

        threading.Thread(target=go, daemon=True).start()
        return status

    def stop(self, *, success: bool = False) -> None:
        self._stopped.set()

    def read(self) -> dict[str, Any]:
        return {self.name: {"value": self.position, "timestamp": time.time()}}

    def describe(self) -> dict[str, Any]:
        return {self.name: {"source": f"faults:{self.name}", "dtype": "number", "shape": [], "units": "mm"}}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        return {}


class Detector:
    """A point detector: a peak over the true positions at the exposure, which it reports as well."""

    parent = None
    name = "det"

    def __init__(self, motors: Sequence[Motor], tape: Tape) -> None:
        self.pace_s = 0.0
        """Duration of an exposure, s; what is exposed is where the motors are at its beginning."""
        self._motors, self._tape = motors, tape
        self._count = 0
        self._reading: dict[str, Any] = {}

    def trigger(self) -> Any:
        self._count += 1
        true = {motor.name: motor.true for motor in self._motors}
        self._tape.put("exposure", number=self._count, true=true)
        height = math.exp(-sum((x - 0.3) ** 2 for x in true.values()))
        self._reading = {"det": height, "det_count": self._count, **{TRUE + name: x for name, x in true.items()}}
        if self.pace_s == 0.0:
            return NullStatus()
        status = Status(self)
        timer = threading.Timer(self.pace_s, status.set_finished)
        timer.daemon = True
        timer.start()
        return status

    def read(self) -> dict[str, Any]:
        now = time.time()
        return {key: {"value": value, "timestamp": now} for key, value in self._reading.items()}

    def describe(self) -> dict[str, Any]:
        number = {"source": "faults:det", "dtype": "number", "shape": []}
        counter = {"source": "faults:det", "dtype": "integer", "shape": []}
        return {"det": number, "det_count": counter, **{TRUE + motor.name: number for motor in self._motors}}

    def read_configuration(self) -> dict[str, Any]:
        return {"det_gain": {"value": 3, "timestamp": time.time()}}

    def describe_configuration(self) -> dict[str, Any]:
        return {"det_gain": {"source": "faults:det", "dtype": "integer", "shape": []}}


class Camera:
    """An image per exposure; no two are equal, and none is zero anywhere."""

    parent = None
    name = "camera"

    def __init__(self, shape: Sequence[int], dtype: str) -> None:
        self._shape, self._dtype = tuple(shape), np.dtype(dtype)
        self._count = 0

    def trigger(self) -> Any:
        self._count += 1
        return NullStatus()

    def read(self) -> dict[str, Any]:
        values = 1 + (np.arange(math.prod(self._shape)) + 31 * self._count) % 250
        image = values.reshape(self._shape).astype(self._dtype)
        return {"camera_image": {"value": image, "timestamp": time.time()}}

    def describe(self) -> dict[str, Any]:
        key = {"source": "faults:camera", "dtype": "array", "shape": list(self._shape)}
        return {"camera_image": {**key, "dtype_numpy": self._dtype.str}}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        return {}


class _Table:
    """A device whose readings are functions of the number of its exposures."""

    parent = None
    name = "odd"

    def __init__(self) -> None:
        self._count = 0
        self._keys: dict[str, tuple[Any, str, list[int | None]]] = {}

    def trigger(self) -> Any:
        self._count += 1
        return NullStatus()

    def read(self) -> dict[str, Any]:
        now = time.time()
        return {key: {"value": make(self._count), "timestamp": now} for key, (make, _, _) in self._keys.items()}

    def describe(self) -> dict[str, Any]:
        return {
            key: {"source": "faults:odd", "dtype": dtype, "shape": shape}
            for key, (_, dtype, shape) in self._keys.items()
        }

    def read_configuration(self) -> dict[str, Any]:
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        return {}


class Wide(_Table):
    """More keys than one SQL table of Tiled has columns."""

    def __init__(self, count: int = 530) -> None:
        super().__init__()
        self._keys = {f"channel_{i}": (lambda n, i=i: n + i / 1000, "number", []) for i in range(count)}


class Odd(_Table):
    """Readings, and names of readings, that a table of numbers cannot hold as they are.

    Parameters
    ----------
    kinds : sequence of str
        Some of `cases.ODD_KEYS`.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        super().__init__()
        every: Mapping[str, dict[str, tuple[Any, str, list[int | None]]]] = {
            "short_array": {"odd_short": (lambda n: np.array([n, n + 1, n + 2]), "array", [3])},
            "ragged": {"odd_ragged": (lambda n: list(range(n % 4 + 1)), "array", [None])},
            "texts": {"odd_texts": (lambda n: [f"a{n}", "b"], "array", [2])},
            "enum": {"odd_enum": (lambda n: ["Off", "On"][n % 2], "integer", [])},
            "int_then_float": {"odd_int": (lambda n: n if n < 4 else n + 0.5, "integer", [])},
            "uint64": {"odd_uint64": (lambda n: 2**64 - n, "integer", [])},
            "long_name": {f"odd_{'long_' * 14}": (lambda n: n * 0.5, "number", [])},
            "case": {"odd_Case": (lambda n: n * 0.25, "number", []), "odd_case": (lambda n: -n * 0.25, "number", [])},
            "digit": {"2theta": (lambda n: n * 1.5, "number", [])},
            "underscore": {"_hidden": (lambda n: n * 2.5, "number", [])},
            "not_ascii": {"odd_\u00e9nergie": (lambda n: n * 3.5, "number", [])},
            "space": {"odd key": (lambda n: n * 4.5, "number", [])},
            "boolean": {"odd_bool": (lambda n: n % 2 == 0, "boolean", [])},
            "table": {"odd_table": (lambda n: [[n, 1], [2, 3]], "array", [2, 2])},
            "none": {"odd_none": (lambda n: None if n % 3 == 0 else float(n), "number", [])},
            "empty": {"odd_empty": (lambda n: [], "array", [0])},
            "nan": {"odd_nan": (lambda n: math.nan if n % 2 else float(n), "number", [])},
        }
        for kind in kinds:
            self._keys |= every[kind]
