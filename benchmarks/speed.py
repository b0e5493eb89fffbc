"""Points per second of `optimize` against a bare scan, and delays of the RunEngine's loop while an agent decides."""

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from bluesky import RunEngine
from bluesky.plans import list_scan
from ophyd.sim import SynAxis, SynGauss

from benchmarks.reporting import Report, quantiles, table
from ebl_autonomy import VOCS, connect
from ebl_autonomy.agents import BayesianAgent, SobolAgent
from ebl_autonomy.plans import optimize

POINTS = 500
ROUNDS = 3
KNOWN = 100
DECISIONS = 100
BEAT_S = 0.001


def lines(options: argparse.Namespace) -> Iterator[str]:
    """The report: points per second, then delays."""
    bare, plain, live, flushed = throughput()
    yield f"{POINTS} points with two motors and a detector of `ophyd.sim`, median of {ROUNDS} rounds taken in turn:\n"
    yield table(
        ["", "points/s", "ratio"],
        [
            ["bare bluesky.plans.list_scan", f"{bare:.0f}", ""],
            ["optimize(SobolAgent), no Tiled", f"{plain:.0f}", f"{plain / bare:.2f} x"],
            ["optimize(SobolAgent), live in Tiled, final flush included", f"{live:.0f}", f"{live / bare:.2f} x"],
        ],
    )
    yield f"\nRows found in Tiled when the plan had ended: {flushed} of {POINTS}."
    busy, idle = stalls()
    yield f"\nLateness of the RunEngine's loop over {DECISIONS} decisions at {KNOWN} known points and more, 4 motors:\n"
    rows = []
    for label, late in (("while BayesianAgent decides", busy), ("while nothing runs", idle)):
        middle, _, p99, longest = quantiles(late)
        rows.append([label, *(f"{value:.2f} ms" for value in (middle, p99, longest)), len(late)])
    yield table(["", "median", "99th percentile", "longest", "beats"], rows)


def throughput() -> tuple[float, float, float, int]:
    """Points per second of a bare scan and of `optimize` without and with Tiled; and the rows in Tiled at the end."""
    points = SobolAgent(_vocs(2), seed=0).suggest(POINTS)
    rates: dict[str, list[float]] = {"bare": [], "plain": [], "live": []}
    rows = POINTS
    with tempfile.TemporaryDirectory() as folder:
        connected = _engine()
        with connect(connected, directory=Path(folder)) as tiled:
            for _ in range(ROUNDS):
                motors, det = _devices(2)
                positions = [x for m in motors for x in (m, [p[m.name] for p in points])]
                rates["bare"].append(_rate(_engine(), list_scan([det], *positions)))
                rates["plain"].append(_rate(_engine(), _optimize(det, motors)))
                rates["live"].append(_rate(connected, _optimize(det, motors)))
                table = tiled.client.values().last()["primary"].base["internal"]
                rows = min(rows, len(table.read(["seq_num"])))
    bare, plain, live = (statistics.median(values) for values in rates.values())
    return bare, plain, live, rows


def stalls() -> tuple[list[float], list[float]]:
    """Delays of the RunEngine's loop in milliseconds, one per beat: while an agent decides, and while nothing runs."""
    RE = _engine()
    motors, det = _devices(4)
    agent = _Timed(_vocs(4), seed=0)
    points = SobolAgent(agent.vocs, seed=0).suggest(KNOWN)
    agent.ingest([{**p, "det": float(np.exp(-sum(v**2 for v in p.values())))} for p in points])
    beats: list[float] = []
    with _heart(RE, beats):
        RE(optimize([det], motors, agent, max_points=DECISIONS, envelope=_envelope(4)))
    busy = _late(beats, agent.spans)
    beats.clear()
    with _heart(RE, beats):
        time.sleep(sum(stop - start for start, stop in agent.spans))
    return busy, _late(beats, [(beats[0], beats[-1])])


class _Timed(BayesianAgent):
    """Notes when it decides."""

    name = "timed"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.spans: list[tuple[float, float]] = []

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        start = time.perf_counter()
        points = super().suggest(num_points)
        self.spans.append((start, time.perf_counter()))
        return points


@contextmanager
def _heart(RE: RunEngine, beats: list[float]) -> Iterator[None]:
    async def beat() -> None:
        while True:
            beats.append(time.perf_counter())
            await asyncio.sleep(BEAT_S)

    future = asyncio.run_coroutine_threadsafe(beat(), RE.loop)
    try:
        yield
    finally:
        future.cancel()


def _late(beats: Sequence[float], spans: Sequence[tuple[float, float]]) -> list[float]:
    gaps = itertools.pairwise(beats)
    return [
        1e3 * (after - before - BEAT_S)
        for before, after in gaps
        if any(start <= before and before <= stop for start, stop in spans)
    ]


def _engine() -> RunEngine:
    return RunEngine({})


def _devices(n: int) -> tuple[list[SynAxis], SynGauss]:
    motors = [SynAxis(name=f"m{i}") for i in range(n)]
    return motors, SynGauss("det", motors[0], "m0", center=0.3, Imax=1.0)


def _vocs(n: int) -> VOCS:
    return VOCS(variables={f"m{i}": [-2.0, 2.0] for i in range(n)}, objectives={"det": "MAXIMIZE"})


def _envelope(n: int) -> dict[str, Any]:
    return {"limits": {f"m{i}": [-2.0, 2.0] for i in range(n)}}  # simulated axes have no limits of their own


def _optimize(det: SynGauss, motors: list[SynAxis]) -> Any:
    agent = SobolAgent(_vocs(len(motors)), seed=0)
    return optimize([det], motors, agent, max_points=POINTS, envelope=_envelope(len(motors)))


def _rate(RE: RunEngine, plan: Any) -> float:
    began = time.perf_counter()
    RE(plan)
    return POINTS / (time.perf_counter() - began)


REPORT = Report("speed", __doc__, lambda parser: None, lines)
