"""Past runs as priors of `optimize`: ingested once, before anything moves, and named in the start document."""

import threading
from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.plans import grid_scan, list_scan
from gest_api.generator import Generator
from ophyd.sim import SynAxis
from simple import BOUNDS, ENVELOPE, Documents, sobol, vocs

from ebl_autonomy import connect, read_run
from ebl_autonomy.agents import BayesianAgent, SobolAgent
from ebl_autonomy.data import Connection, ingest_run
from ebl_autonomy.errors import BadInputError, DataError
from ebl_autonomy.plans import optimize
from ebl_autonomy.records import RunMetadata

pytestmark = pytest.mark.integration


@pytest.fixture
def past(RE: RunEngine, tiled: Connection, bench: Any) -> str:
    """The uid of a past scan without an agent."""
    bowl, motors = bench
    return str(RE(grid_scan([bowl], motors[0], -1, 1, 3, motors[1], -1, 1, 3)).run_start_uids[0])


@pytest.fixture
def documents(past: str, RE: RunEngine) -> Documents:
    """The documents that are emitted after the past run."""
    return Documents(RE)


class Learner(SobolAgent):
    """Records its priors and the thread that passed them; does not learn from them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.priors: list[tuple[str, list[Any]]] = []
        self.threads: list[threading.Thread] = []

    def ingest_prior(self, results: Any, label: str = "prior") -> None:
        self.threads.append(threading.current_thread())
        self.priors.append((label, list(results)))


class Unlearned(Generator):
    """A third-party generator without `ingest_prior`."""

    def __init__(self) -> None:
        self.vocs = vocs()

    def _validate_vocs(self, vocs: Any) -> None:
        pass

    def suggest(self, num_points: int | None = None) -> list[Any]:
        return [{"mx": 0.1, "my": 0.2}] * (num_points or 1)

    def ingest(self, results: Any) -> None:
        pass


def test_the_past_is_told_before_anything_moves_and_off_the_loop(
    RE: RunEngine, tiled: Connection, bench: Any, past: str, documents: Documents
) -> None:
    bowl, motors = bench
    agent = Learner(vocs())
    before: list[str] = []
    ingest_prior = agent.ingest_prior

    def watching(results: Any, label: str) -> None:
        before.extend(commands)
        ingest_prior(results, label)

    agent.ingest_prior = watching  # type: ignore[method-assign]
    commands: list[str] = []
    RE.msg_hook = lambda msg: commands.append(msg.command)
    uid = RE(optimize([bowl], motors, agent, max_points=3, envelope=ENVELOPE, prior=[past])).plan_result.uid
    assert not {"open_run", "stage", "set", "trigger"} & set(before)
    ((label, results),) = agent.priors
    assert label == past
    assert [(r["mx"], r["my"]) for r in results] == [(x, y) for x in (-1.0, 0.0, 1.0) for y in (-1.0, 0.0, 1.0)]
    assert [r["bowl"] for r in results] == [(r["mx"] - 0.5) ** 2 + (r["my"] + 0.25) ** 2 for r in results]
    assert agent.threads[0] not in (RE._th, threading.main_thread())
    assert len(agent.results) == 3  # priors are not among the run's own results
    assert documents.start["ebl_autonomy"]["prior"] == [past]
    assert read_run(uid, tiled.client).metadata.prior == [past]


def test_runs_may_be_named_by_scan_id_and_counted_back(RE: RunEngine, tiled: Connection, bench: Any, past: str) -> None:
    bowl, motors = bench
    RE.md["scan_id"] = 7_654_320
    (second,) = RE(list_scan([bowl], motors[0], [0.1, 0.2], motors[1], [0.3, 0.4])).run_start_uids
    (third,) = RE(list_scan([bowl], motors[0], [0.3, 0.4], motors[1], [0.3, 0.4])).run_start_uids
    # The first run with priors is the latest for the second one.
    for prior, uids in (([-1, "-3", 7_654_321], [third, past, second]), (["7654322", -4], [third, past])):
        agent = Learner(vocs())
        result = RE(optimize([bowl], motors, agent, max_points=1, envelope=ENVELOPE, prior=prior)).plan_result
        assert [label for label, _ in agent.priors] == uids
        assert read_run(result.uid, tiled.client).metadata.prior == uids
    with pytest.raises(BadInputError, match=r"prior=-1: give a list of runs or uids, for example prior=\[-1\]"):
        RE(optimize([bowl], motors, Learner(vocs()), max_points=1, envelope=ENVELOPE, prior=-1))  # type: ignore[arg-type]


def test_runs_themselves_may_be_given_and_none_is_taken_twice(
    RE: RunEngine, tiled: Connection, bench: Any, past: str
) -> None:
    bowl, motors = bench
    (other,) = RE(list_scan([bowl], motors[0], [0.1, 0.2], motors[1], [0.3, 0.4])).run_start_uids
    agent = Learner(vocs())

    def named(prior: Any) -> list[str]:
        result = RE(optimize([bowl], motors, agent, max_points=2, envelope=ENVELOPE, prior=prior)).plan_result
        return read_run(result.uid, tiled.client).metadata.prior

    assert named([tiled.client[past], past, tiled.client[past]]) == [past]
    assert named((past, other)) == [past, other]
    assert named([other[:8]]) == [past, other]
    assert named([]) == [past, other]  # the agent still knows them, so a replay of this run needs them
    assert [label for label, _ in agent.priors] == [past, other]
    assert [len(results) for _, results in agent.priors] == [9, 2]
    fresh = Learner(vocs())
    RE(optimize([bowl], motors, fresh, max_points=2, envelope=ENVELOPE, prior=[past]))
    assert [label for label, _ in fresh.priors] == [past]  # another agent ingests the run again


def test_uids_are_looked_up_where_the_latest_open_connection_goes(
    RE: RunEngine, tiled: Connection, bench: Any, past: str, tmp_path: Path
) -> None:
    bowl, motors = bench
    agent = Learner(vocs())

    def plan() -> Any:
        return optimize([bowl], motors, agent, max_points=2, envelope=ENVELOPE, prior=[past])

    with connect(None, directory=tmp_path / "empty"), pytest.raises(BadInputError, match=f"no run '{past}'"):
        RE(plan())
    RE(plan())
    assert [label for label, _ in agent.priors] == [past]


WRONG: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "an unknown run": (Learner, ["nonsense"], BadInputError, "no run 'nonsense'.* lists the latest"),
    "one good, one unknown": (Learner, ["past", "nonsense"], BadInputError, "no run 'nonsense'"),
    "other motors": (Learner, ["other motors"], DataError, r"lacks \['mx', 'my'\], it has .*'mz'.*Leave it out"),
    "no list": (Learner, "past", BadInputError, r"give a list of runs or uids"),
    "no run": (Learner, [4.2], BadInputError, "4.2 is no run"),
    "an agent without priors": (lambda _: Unlearned(), ["past"], BadInputError, "Unlearned has no ingest_prior"),
    "an agent that learns nothing": (SobolAgent, ["past"], BadInputError, "SobolAgent learns nothing from past"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_bad_priors_are_refused_before_anything_moves(
    RE: RunEngine, tiled: Connection, bench: Any, past: str, name: str
) -> None:
    make, prior, kind, says = WRONG[name]
    bowl, motors = bench
    (others,) = RE(list_scan([bowl], SynAxis(name="mz"), [0.0, 1.0])).run_start_uids
    known = {"past": past, "other motors": others}
    given = known[prior] if isinstance(prior, str) else [known.get(run, run) for run in prior]
    documents, agent = Documents(RE), make(vocs())
    moved: list[float] = []
    for motor in motors:
        motor.subscribe(lambda value, **kw: moved.append(value), run=False)
    with pytest.raises(kind, match=says):
        RE(optimize([bowl], motors, agent, max_points=3, envelope=ENVELOPE, prior=given))
    assert moved == []
    assert documents.all == []
    assert getattr(agent, "priors", []) == []  # one bad prior leaves the agent unchanged


def test_without_a_connection_the_remedy_is_named(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    with pytest.raises(BadInputError, match=r"prior=\['uid'\].* Call connect\(RE\) first, or pass the runs"):
        RE(optimize([bowl], motors, Learner(vocs()), max_points=3, envelope=ENVELOPE, prior=["uid"]))


def test_metadata_of_runs_before_there_were_priors_still_holds() -> None:
    old = RunMetadata(
        package_version="0", agent={}, motors=[], outcomes=[], max_points=1, batch=1, finish="best"
    ).model_dump(mode="json")
    assert old.pop("prior") == []
    assert RunMetadata.model_validate(old).prior == []


def test_a_run_with_priors_can_be_replayed(RE: RunEngine, tiled: Connection, bench: Any, past: str) -> None:
    bowl, motors = bench
    (first,) = RE(optimize([bowl], motors, sobol(), max_points=12, envelope=ENVELOPE)).run_start_uids
    agent = BayesianAgent(vocs(), seed=0)
    plan = optimize([bowl], motors, agent, max_points=8, envelope=ENVELOPE, prior=[past, first])
    record = read_run(RE(plan).plan_result.uid, tiled.client)
    assert record.metadata.prior == [past, first]
    again = BayesianAgent.from_config(record.metadata.agent)
    for uid in record.metadata.prior:
        ingest_run(again, uid, tiled.client)
    again.ingest(list(record.results))
    assert again.suggest(1) == agent.suggest(1)
    assert all(BOUNDS[name][0] <= value <= BOUNDS[name][1] for name, value in agent.best().point.items())
