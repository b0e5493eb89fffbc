"""Records small runs as the installed version of this package writes them, and what it reads back: see README.md.

    python tests/data/runs/make_fixture.py schema_2_3

writes ``schema_2_3.jsonl`` and ``schema_2_3_results.json`` beside this file, and the same of ``schema_2_3_lines`` and
``schema_2_3_glitch``. An older version of the package makes a fixture of its own schema if it is first on PYTHONPATH.
"""

import json
import math
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.utils import RunEngineInterrupted
from ophyd.sim import SynAxis, SynGauss, SynSignal

from ebl_autonomy import VOCS, connect, plans, read_run, records
from ebl_autonomy.agents import BayesianAgent, SobolAgent, make_agent
from ebl_autonomy.plans import optimize

Documents = list[tuple[str, dict[str, Any]]]

HERE = Path(__file__).parent
VARIABLES: dict[str, Any] = {"mx": [-2.0, 2.0], "my": [-2.0, 2.0]}
ENVELOPE = {"limits": VARIABLES, "forbidden": [{"box": {"mx": (1.0, 2.0), "my": (-2.0, 2.0)}}]}
BATCH = 2


class Bench:
    """A stub that measures a bowl, with its error, an edge and the current; by the count of its calls it fails."""

    def __init__(self, fates: Mapping[int, str]) -> None:
        self.motors = [SynAxis(name="mx"), SynAxis(name="my")]
        self.detector = SynGauss("det", self.motors[0], "mx", center=0.0, Imax=1.0)
        self.calls = 0
        self._fates = fates

    def measure(self, detectors: Any, point: Mapping[str, float]) -> Any:
        self.calls += 1
        fate = self._fates.get(self.calls, "")
        yield from bps.null()
        if fate == "fail":
            raise RuntimeError("no beam")
        if fate == "pause":
            yield from bps.pause()
        x, y = point["mx"], point["my"]
        value = math.nan if fate == "invalid" else (x - 0.5) ** 2 + (y + 0.25) ** 2
        return {"bowl": value, "bowl_std": 0.01, "edge": x + y, "current": 100.0 - self.calls}


def bayesian(RE: RunEngine) -> None:
    """Batches, a constraint, constants, a context; of the rows one is invalid, one a second attempt, one abandoned."""
    bench = Bench({3: "invalid", 5: "fail", 8: "fail", 9: "fail"})
    vocs = VOCS(
        variables={**VARIABLES, "current": {"type": "ContextualVariable"}},
        objectives={"bowl": "MINIMIZE"},
        constraints={"edge": ["LESS_THAN", 1.0]},
        constants={"sample": 3},
    )
    RE(
        optimize(
            [bench.detector], bench.motors, BayesianAgent(vocs, seed=4), max_points=9, batch=BATCH,
            measure=bench.measure, derive={"twice": lambda row: 2.0 * row["bowl"]}, envelope=ENVELOPE,
            baseline=[SynSignal(func=lambda: 21.5, name="temperature")],
        )
    )  # fmt: skip


def aborted(RE: RunEngine) -> None:
    """The user pauses at the beginning of a batch, and aborts."""
    bench = Bench({3: "pause"})
    agent = SobolAgent(VOCS(variables=VARIABLES, objectives={"bowl": "MINIMIZE"}), seed=1)
    plan = optimize(
        [], bench.motors, agent, max_points=9, batch=BATCH, measure=bench.measure, envelope={"limits": VARIABLES}
    )
    try:
        RE(plan)
    except RunEngineInterrupted:
        RE.abort("enough")


def line(RE: RunEngine) -> None:
    """Flown lines: many rows per proposal."""
    from ebl_autonomy.plans import FlyLine, Sweep
    from ebl_autonomy.sim_devices import Clock, SimFlyer, SimMotor

    clock = Clock(math.inf)
    x, y = (SimMotor(n, clock, (-5.0, 5.0), egu="mm", velocity=50.0, settle_time=0.0) for n in ("mx", "my"))
    flyer = SimFlyer("flyer", x, SynGauss("bowl", y, "my", center=0.0, Imax=1.0, noise="none"), clock)
    agent = SobolAgent(VOCS(variables=VARIABLES, objectives={"bowl": "MAXIMIZE"}), seed=2)
    sweep = Sweep("mx", -0.5, 0.5, rows=3, seconds=0.3, relative=True)
    RE(optimize([], [x, y], agent, max_points=9, measure=FlyLine([flyer], [x], sweep)))


def glitch(RE: RunEngine) -> None:
    """An agent that takes one reading for an outlier, and later clears it."""

    class Wavering(SobolAgent):
        def suspects(self) -> dict[str, list[int]]:
            return {"bowl": [2]} if len(self.results) == 4 else {"bowl": [1]} if len(self.results) > 2 else {}

    bench = Bench({})
    agent = Wavering(VOCS(variables=VARIABLES, objectives={"bowl": "MINIMIZE"}), seed=1)
    RE(optimize([], bench.motors, agent, max_points=6, measure=bench.measure, envelope={"limits": VARIABLES}))


RUNS: dict[str, Callable[[RunEngine], None]] = {
    "bayesian": bayesian,
    "aborted": aborted,
    "line": line,
    "glitch": glitch,
}
FILES = {"": ("bayesian", "aborted"), "_lines": ("line",), "_glitch": ("glitch",)}
"""The runs of a fixture by the end of its file's name: no file is too long to be looked at."""


def record(RE: RunEngine, name: str) -> Documents:
    """The documents of one run."""
    documents: Documents = []
    token = RE.subscribe(lambda kind, doc: documents.append((kind, dict(doc))))
    try:
        RUNS[name](RE)
    finally:
        RE.unsubscribe(token)
    return documents


def read_back(run: Any) -> dict[str, Any]:
    """What is promised to stay: results, how proposals ended, and the next proposals of an agent that knows them."""
    agent = make_agent(run.metadata.agent)
    agent.ingest([dict(result) for result in run.results])
    return {
        "results": [dict(result) for result in run.results],
        "statuses": {proposal.proposal_id: proposal.status for proposal in run.proposals},
        "next": [{name: x for name, x in point.items() if name != "_id"} for point in agent.suggest(BATCH)],
    }


def write(fixture: str, names: tuple[str, ...]) -> None:
    """Record the runs, and write their documents and what is read back."""
    RE = RunEngine({})
    told: dict[str, Any] = {}
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder, connect(RE, directory=Path(folder)) as tiled:
        for name in names:
            documents = record(RE, name)
            tiled.flush()
            told[name] = read_back(read_run(documents[0][1]["uid"], tiled.client))
            lines += [json.dumps([name, *one], separators=(",", ":")) + "\n" for one in documents]
    (HERE / f"{fixture}.jsonl").write_text("".join(lines), encoding="utf-8")
    (HERE / f"{fixture}_results.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for end, names in FILES.items():
        if end == "_glitch" and not hasattr(records, "SUSPECTS"):
            continue  # schemas before 2.3 knew no suspects
        if end != "_lines" or hasattr(plans, "FlyLine"):  # schema 1 knew no lines
            write(sys.argv[1] + end, names)
