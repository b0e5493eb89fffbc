"""The plans that a session runs, made from the plain data of a case."""

from __future__ import annotations

import datetime
import enum
import math
import random
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from bluesky.plans import list_scan
from gest_api.generator import Generator

from ebl_autonomy import VOCS
from ebl_autonomy.agents import GridAgent, SobolAgent
from ebl_autonomy.errors import NoMoreProposals
from ebl_autonomy.plans import explore, optimize

from .devices import DOMAIN, Camera, Detector, Motor, Odd, Wide
from .tape import Tape

__all__ = ["BOX", "LIMIT", "MAX_STEP", "Bench", "Walker", "envelope"]

LIMIT = 0.8
"""The upper limit of a motor that has a limit on one side only, in motor units."""
MAX_STEP = 0.35
"""The largest step where steps are limited, in motor units."""
BOX = (0.35, 0.6)
"""The forbidden interval of the first two motors, in motor units."""


class Bench:
    """The devices of one session, and the plans that use them.

    Parameters
    ----------
    tape : Tape
    case : mapping
        The case as plain data.
    files : Path
        Where detectors write their files.
    """

    def __init__(self, tape: Tape, case: Mapping[str, Any], files: Path) -> None:
        limits = (-math.inf, LIMIT) if case["more"].get("one_sided") else None
        self.motors = [Motor(f"m{i}", tape, limits, case["seed"]) for i in (1, 2, 3)]
        self.in_use = self.motors
        """The motors of the latest plan."""
        self.detector = Detector(self.motors, tape)
        self.think: Any = lambda: None
        """Called whenever an agent thinks."""
        self.tape = tape
        self._region = bool(case["more"].get("region"))
        self._files = files

    def plan(self, drawn: Mapping[str, Any]) -> Any:
        """The plan of one drawn entry."""
        motors = self.in_use = self.motors[: drawn["motors"]]
        self.detector.pace_s = drawn["pace_s"]
        kind = drawn["plan"]
        if kind in ("sobol", "grid", "bayesian", "walk"):
            return self._steered(drawn, motors)
        detectors: list[Any] = [self.detector]
        if kind == "images":
            detectors.append(Camera(drawn["shape"], drawn["dtype"]))
        elif kind == "odd":
            detectors.append(Odd(drawn["keys"]))
        elif kind == "wide":
            detectors.append(Wide())
        elif kind == "files":
            detectors.append(self._hdf5())
        rng = random.Random(drawn["seed"])
        positions = [x for m in motors for x in (m, [rng.uniform(*DOMAIN) for _ in range(drawn["points"])])]
        return _scan(detectors, positions, odd_metadata(drawn.get("md", ())))

    def _steered(self, drawn: Mapping[str, Any], motors: list[Motor]) -> Any:
        names = [motor.name for motor in motors]
        vocs = VOCS(variables={name: list(DOMAIN) for name in names}, objectives={"det": "MAXIMIZE"})
        agent: Any
        if drawn["plan"] == "sobol":
            agent = _Thinking(SobolAgent(vocs, seed=drawn["seed"]), self)
        elif drawn["plan"] == "grid":
            agent = _Thinking(GridAgent(vocs, points_per_axis=[3] * len(names)), self)
        elif drawn["plan"] == "bayesian":
            from ebl_autonomy.agents import BayesianAgent

            agent = _Thinking(BayesianAgent(vocs, seed=drawn["seed"]), self)
        else:
            agent = Walker(vocs, drawn["seed"], 3 * drawn["points"], self)
        limits = envelope(names, steps=drawn["plan"] == "walk", region=self._region)
        common: dict[str, Any] = {"max_points": drawn["points"], "batch": drawn["batch"], "envelope": limits}
        if drawn["seed"] % 4 == 0:
            return explore([self.detector], motors, agent, **common)
        return optimize([self.detector], motors, agent, finish=drawn["finish"], **common)

    def _hdf5(self) -> Any:
        from ophyd_async.core import StaticPathProvider, UUIDFilenameProvider
        from ophyd_async.sim import SimBlobDetector

        self._files.mkdir(parents=True, exist_ok=True)
        return SimBlobDetector(StaticPathProvider(UUIDFilenameProvider(), self._files), name="blob")


def _scan(detectors: list[Any], positions: list[Any], md: dict[str, Any]) -> Any:
    """A scan; devices of ophyd-async are connected first."""
    for device in detectors:
        if hasattr(device, "connect"):
            from ophyd_async.plan_stubs import ensure_connected

            yield from ensure_connected(device)
    return (yield from list_scan(detectors, *positions, md=md))


def envelope(names: list[str], steps: bool, region: bool) -> dict[str, Any]:
    """The envelope of a steered plan. The box is on the positive side: the start, at 0, is outside."""
    made: dict[str, Any] = {"limits": {name: [-2.0, 2.0] for name in names}}
    if steps:
        made["max_step"] = dict.fromkeys(names, MAX_STEP)
    if region:
        made["forbidden"] = [{"box": {name: list(BOX) for name in names[:2]}, "sweep": True, "reason": "beam stop"}]
    return made


class _Thinking(Generator):
    """An agent of this package, during whose thinking somebody may act; everything else is the agent's own."""

    def __init__(self, agent: Any, bench: Bench) -> None:
        self._agent, self._bench = agent, bench
        self.vocs = agent.vocs

    def _validate_vocs(self, vocs: VOCS) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("_agent", "_bench"):
            raise AttributeError(name)
        return getattr(self._agent, name)

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        self._bench.think()
        return self._agent.suggest(num_points)

    def ingest(self, results: list[dict[str, Any]]) -> None:
        self._bench.tape.put("told", results=results)
        self._agent.ingest(results)


class Walker(Generator):
    """Walks at random in steps that are mostly allowed, from where it was told the last point was.

    Parameters
    ----------
    vocs : VOCS
    seed : int
    proposals : int
        Number of proposals after which it has no more.
    bench : Bench
    """

    def __init__(self, vocs: VOCS, seed: int, proposals: int, bench: Bench) -> None:
        self.vocs = vocs
        self._rng = random.Random(seed)
        self._left = proposals
        self._at = dict.fromkeys(vocs.variables, 0.0)
        self._bench = bench

    def _validate_vocs(self, vocs: VOCS) -> None:
        pass

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        self._bench.think()
        count = min(num_points or 1, self._left)
        if count == 0:
            raise NoMoreProposals("the walk is over")
        self._left -= count
        return [
            {name: min(max(x + self._rng.uniform(-0.4, 0.4), DOMAIN[0]), DOMAIN[1]) for name, x in self._at.items()}
            for _ in range(count)
        ]

    def ingest(self, results: list[dict[str, Any]]) -> None:
        self._bench.tape.put("told", results=results)
        for result in results:
            if math.isfinite(result["det"]):
                self._at = {name: float(result[name]) for name in self._at}


class _Colour(enum.Enum):
    RED = "red"


def odd_metadata(kinds: Any) -> dict[str, Any]:
    """Metadata that is no JSON."""
    every: dict[str, Any] = {
        "date": datetime.datetime(2026, 3, 1, 12, 30, tzinfo=datetime.UTC),
        "timedelta": datetime.timedelta(seconds=90),
        "path": Path("some") / "file.h5",
        "uuid": uuid.UUID(int=7),
        "enum": _Colour.RED,
        "complex": 1 + 2j,
        "big": 10**22 + 1,
        "nested": {"a": {"b": (1, 2.5, "c")}, "array": np.arange(3)},
        "set": {1, 2, 3},
        "nan": math.nan,
    }
    return {f"odd_{kind}": every[kind] for kind in kinds}
