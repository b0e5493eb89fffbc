"""Runs of maps and spectra to report on: small devices, and agents whose maps are made of their results."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ophyd.sim import NullStatus

from ebl_autonomy.agents.base import Agent, AgentOptions
from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.records import Decision, RunMetadata, RunRecord, assemble_record
from ebl_autonomy.sim_devices import Clock, SimMotor
from ebl_autonomy.space import make_vocs, vocs_dict


def blobs(x: Any, y: Any) -> dict[str, Any]:
    """Two channels over 20 x 12 µm: spots of different widths, and a gradient with an edge."""
    spots = [(4.0, 3.0, 1.2, 400.0), (14.0, 8.0, 0.7, 900.0), (9.0, 10.0, 2.0, 300.0)]
    iron = 20.0 + sum(h * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2.0 * w**2)) for a, b, w, h in spots)
    return {"fe": iron, "cr": 0.2 + 0.02 * x + 0.5 * (x + 0.5 * y > 14.0)}


class Spectrometer:
    """Reads `blobs` where two motors stand."""

    name, parent = "xrf", None

    def __init__(self, x: Any, y: Any, clock: Clock, seed: int = 0) -> None:
        self.x, self.y, self.clock = x, y, clock
        self.random = np.random.default_rng(seed)
        self.values: dict[str, float] = {}

    def trigger(self) -> NullStatus:
        self.clock.spend(0.1)
        true = blobs(float(self.x.position), float(self.y.position))
        self.values = {"fe": float(self.random.poisson(true["fe"])), "cr": float(true["cr"])}
        return NullStatus()

    def read(self) -> dict[str, Any]:
        values = {**self.values, "clock": self.clock.now()}
        return {name: {"value": value, "timestamp": 0.0} for name, value in values.items()}

    def describe(self) -> dict[str, Any]:
        keys = {"fe": "counts", "cr": "", "clock": "s"}
        return {key: {"source": "test", "dtype": "number", "shape": [], "units": unit} for key, unit in keys.items()}


def stage(clock: Clock) -> tuple[SimMotor, SimMotor]:
    ends = {"x": (-10.0, 30.0), "y": (-10.0, 22.0)}  # with room for the run-up of lines
    x, y = (SimMotor(name, clock, limits, egu="um", velocity=50.0) for name, limits in ends.items())
    return x, y


class PixelOptions(AgentOptions):
    step: float = 0.5
    line: str | None = None


class PixelAgent(Agent):
    """Measures pixels at random, or lines at random, and knows its maps by the distances of its results."""

    name = "pixels"
    Options = PixelOptions

    def __init__(self, vocs: Any, seed: int = 0, **options: Any) -> None:
        super().__init__(vocs, seed, **options)
        low, high = self.space.low, self.space.high
        assert isinstance(self.options, PixelOptions)
        self.pixels = PixelGrid.of_step((low[0], high[0]), (low[1], high[1]), self.options.step)
        self._order = np.random.default_rng(seed).permutation(self.pixels.size).tolist()

    def _validate_vocs(self, vocs: Any) -> None:
        pass

    def _propose(self, count: int) -> list[Any]:
        proposals = []
        for _ in range(count):
            row, column = divmod(self._order.pop(), self.pixels.shape[1])
            values = [self.pixels.centres_x[column], self.pixels.centres_y[row]]
            if len(self.space.names) > 2:  # every other proposal is a line of eight pixels
                length = (
                    8.0 * self.pixels.step[0] if column + 8 < self.pixels.shape[1] and len(self._order) % 2 else 0.0
                )
                values = [self.pixels.edges_x[column] if length else values[0], values[1], length]
            unit = self.space.unit([dict(zip(self.space.names, map(float, values), strict=True))])[0]
            proposals.append((unit, Decision(reason="random", model_version="idw")))
        return proposals

    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        return self.pixels.centres_x, self.pixels.centres_y

    def map(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        x_name, y_name = self.space.names[:2]
        x, y = np.meshgrid(*self.axes())
        found = {}
        for name in self.vocs.output_names:
            told = np.array([[r[x_name], r[y_name], r[name]] for r in self.results if math.isfinite(r[name])])
            if not len(told):
                found[name] = np.full(x.shape, np.nan), np.full(x.shape, np.nan)
                continue
            distance = np.hypot(x[..., None] - told[:, 0], y[..., None] - told[:, 1]) + 1e-3
            weights = distance**-3.0
            mean = (weights * told[:, 2]).sum(-1) / weights.sum(-1)
            found[name] = mean, np.std(told[:, 2]) * (1.0 - np.exp(-0.3 * distance.min(-1)))
        return found

    def predicted_error(self) -> dict[str, float]:
        return dict.fromkeys(self.vocs.output_names, 0.25)


class EdgeAgent(Agent):
    """Measures a spectrum in even steps, and knows it by interpolation."""

    name = "edges"

    def _validate_vocs(self, vocs: Any) -> None:
        pass

    def _propose(self, count: int) -> list[Any]:
        start = len(self.results)
        return [
            (np.array([((start + k) * 0.618) % 1.0]), Decision(reason="golden", model_version="linear"))
            for k in range(count)
        ]

    def spectrum(self, energies: Any) -> tuple[np.ndarray, np.ndarray]:
        energy = self.space.names[0]
        told = sorted((r[energy], r[n]) for r in self.results for n in self.vocs.output_names[:1] if np.isfinite(r[n]))
        x, mu = np.array(told).T
        away = np.abs(np.asarray(energies)[:, None] - x).min(1)
        return np.interp(energies, x, mu), 0.005 + 0.004 * away

    def edge(self) -> dict[str, float]:
        return {self.vocs.output_names[0]: 7112.4}

    def predicted_error(self) -> dict[str, float]:
        return {self.vocs.output_names[0]: 0.012}


def xanes(energy: Any) -> Any:
    step = 0.5 + np.arctan((np.asarray(energy) - 7112.0) / 2.0) / np.pi
    return step + 0.5 * np.exp(-(((np.asarray(energy) - 7120.0) / 4.0) ** 2))


def record_of(
    points: Sequence[Sequence[float]],
    values: Mapping[str, Sequence[float]],
    *,
    x: tuple[float, float] = (0.0, 20.0),
    y: tuple[float, float] = (0.0, 12.0),
    agent: str = "pixels",
    options: Mapping[str, Any] | None = None,
    units: Mapping[str, str] | None = None,
    start: Mapping[str, Any] | None = None,
) -> RunRecord:
    """A run over x and y without an objective, one row for each proposal, as read from its streams."""
    n, ids = len(points), [f"{k:05d}" for k in range(len(points))]
    vocs = {"variables": {"x": list(x), "y": list(y)}, "observables": list(values)}
    metadata = RunMetadata(
        package_version="0",
        agent={
            "agent": agent,
            "vocs": vocs_dict(make_vocs(vocs)),
            "options": {"step": 0.5} if options is None else options,
        },
        motors=["x", "y"],
        outcomes=list(values),
        positions_from_rows=["x", "y"],
        units={"x": "um", "y": "um"} if units is None else units,
        max_points=max(n, 1),
        batch=1,
        finish="stay",
    )
    at = {"x": [float(p[0]) for p in points], "y": [float(p[1]) for p in points]}
    nothing = {f"{name}{suffix}": [math.nan] * n for name in values for suffix in ("_mean", "_std")}
    decisions = {
        "proposal_id": ids, **at, **nothing, "batch": list(range(n)), "acquisition": [math.nan] * n, "reason": [""] * n,
        "points_known": list(range(n)), "seconds_to_decide": [0.01] * n, "model_version": [""] * n,
    }  # fmt: skip
    primary: dict[str, Any] = {
        "proposal_id": ids, **at, **{name: list(map(float, v)) for name, v in values.items()}, "valid": [True] * n,
        "invalid_reason": [""] * n, "time": [100.0 + k for k in range(n)],
    }  # fmt: skip
    primary |= {"seconds_moving": [0.5] * n, "seconds_measuring": [0.25] * n}
    primary |= {"seconds_elapsed": [0.8 * (k + 1) for k in range(n)]}
    return assemble_record(
        {"time": 99.0, "uid": "11111111-2222-3333-4444-555555555555", "plan_name": "adaptive_map", **(start or {})},
        {"exit_status": "success", "reason": "max_points", "time": 101.0 + n},
        metadata,
        decisions=decisions if n else {},
        primary=primary if n else {},
        abandoned={},
        baseline={"x": [3.0, 1.0], "y": [0.0, 1.0], "time": [99.0, 100.0 + n]},
    )
