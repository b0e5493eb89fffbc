"""Runs that earlier versions of this package wrote are read as they were, and a newer version's are refused clearly."""

import importlib.util
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from bluesky import RunEngine

from ebl_autonomy.agents import make_agent
from ebl_autonomy.data import connect, past_results, read_run
from ebl_autonomy.data.server import EmbeddedServer
from ebl_autonomy.data.writer import LiveWriter
from ebl_autonomy.errors import DataError
from ebl_autonomy.records import AGENT_ID, METADATA_KEY, SCHEMA_VERSION, RunMetadata
from ebl_autonomy.report import summarise, write_report
from ebl_autonomy.space import outcome_names
from ebl_autonomy.steering import restore_session

RUNS = Path(__file__).parent / "runs"
FIXTURES = sorted(path.stem for path in RUNS.glob("schema_*.jsonl"))
PRESENT = f"schema_{SCHEMA_VERSION.replace('.', '_')}"
CLOSE = 1e-3
"""How near a proposal must be: the search for it ends elsewhere in the last digits on another processor."""

Documents = list[tuple[str, dict[str, Any]]]


def documents(fixture: str) -> dict[str, Documents]:
    """The documents of each run of a fixture."""
    found: dict[str, Documents] = defaultdict(list)
    for line in (RUNS / f"{fixture}.jsonl").read_text(encoding="utf-8").splitlines():
        run, kind, doc = json.loads(line)
        found[run].append((kind, doc))
    return dict(found)


CASES = [(fixture, run) for fixture in FIXTURES for run in documents(fixture)]


def put(client: Any, folder: Path, runs: list[Documents]) -> None:
    """Write runs into Tiled, as a session does."""
    writer = LiveWriter(lambda: client, lambda: True, folder)
    for run in runs:
        for kind, doc in run:
            writer(kind, doc)
    assert writer.flush(60.0)
    writer.close()


@pytest.fixture(scope="module")
def client(tiled_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a server that has the runs of all fixtures."""
    folder = tmp_path_factory.mktemp("schemas")
    with connect(None, tiled_server.uri, tiled_server.api_key, folder) as connection:
        put(connection.client, folder / "spool", [run for name in FIXTURES for run in documents(name).values()])
        yield connection.client


@pytest.mark.integration
@pytest.mark.parametrize(("fixture", "run"), CASES)
def test_a_run_of_any_schema_is_read_as_it_was(fixture: str, run: str, client: Any, tmp_path: Path) -> None:
    expected = json.loads((RUNS / f"{fixture}_results.json").read_text(encoding="utf-8"))[run]
    record = read_run(documents(fixture)[run][0][1]["uid"], client)
    assert [dict(result) for result in record.results] == [pytest.approx(r, nan_ok=True) for r in expected["results"]]
    assert {p.proposal_id: p.status for p in record.proposals} == expected["statuses"]

    agent = make_agent(record.metadata.agent)
    agent.ingest([dict(result) for result in record.results])
    following = agent.suggest(len(expected["next"]))
    asked = [{name: value for name, value in point.items() if name != AGENT_ID} for point in following]
    assert asked == [pytest.approx(p, abs=CLOSE) for p in expected["next"]]

    session = restore_session(record, max_points=record.metadata.max_points + 9)
    batch = session.ask()
    assert len(batch) == record.metadata.batch
    for proposal, point in zip(batch, expected["next"], strict=False):
        assert {n: proposal.proposed[n] for n in session.space.names} == pytest.approx(
            {n: point[n] for n in session.space.names}, abs=CLOSE
        )

    uid, past = past_results(record.uid, agent.vocs, client)
    names = [*session.space.names, *session.space.context, *outcome_names(agent.vocs)]
    told = [r for p in record.proposals if p.status == "accepted" for r in p.results]
    assert uid == record.uid
    assert sorted(([r[n] for n in names] for r in past), key=str) == [
        pytest.approx(values, nan_ok=True) for values in sorted(([r[n] for n in names] for r in told), key=str)
    ]

    summary = summarise(record)
    assert summary.points == len(told)
    assert summary.best_reading is not None
    first = "schema_2_2" if run == "aborted" else "schema_2_0"
    assert (summary.recommended is not None) == (fixture >= first)
    assert write_report(record, tmp_path).read_text(encoding="utf-8").count("<svg") >= 3


@pytest.mark.integration
def test_what_a_run_says_of_its_suspects_is_read(client: Any) -> None:
    for fixture, run, suspects in (
        ("schema_2_2", "bayesian", None),  # it does not tell
        (PRESENT, "bayesian", {}),
        (f"{PRESENT}_glitch", "glitch", {"bowl": [1]}),
    ):
        assert read_run(documents(fixture)[run][0][1]["uid"], client).suspects == suspects


@pytest.mark.integration
def test_what_a_later_minor_version_adds_is_ignored(client: Any, tmp_path: Path) -> None:
    run = documents(PRESENT)["aborted"]
    text = json.dumps(run).replace(run[0][1]["uid"], str(uuid4()))
    later: Documents = [(kind, doc) for kind, doc in json.loads(text)]
    later[0][1][METADATA_KEY].update(schema_version="2.97", mood="good", agent_version={"major": 3})
    put(client, tmp_path, [later])
    record = read_run(later[0][1]["uid"], client)
    assert record.metadata.schema_version == "2.97"
    assert record.results == read_run(run[0][1]["uid"], client).results


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("3.0", r"schema version 3\.0, this package reads versions up to 2: install a newer ebl-autonomy"),
        ("x", "schema_version 'x', which is not a version number"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_remedy(version: str, says: str) -> None:
    start = documents(PRESENT)["aborted"][0][1]
    start[METADATA_KEY]["schema_version"] = version
    with pytest.raises(DataError, match=says):
        read_run(SimpleNamespace(metadata={"start": start}))


def test_damaged_metadata_are_refused_by_name() -> None:
    start = documents("schema_1")["aborted"][0][1]
    del start[METADATA_KEY]["agent"]
    with pytest.raises(DataError, match=r"schema version 1\) is damaged: .*agent"):
        RunMetadata.read(start[METADATA_KEY])


@pytest.mark.parametrize("fixture", FIXTURES)
def test_a_fixture_is_small_and_of_the_schema_in_its_name(fixture: str) -> None:
    assert (RUNS / f"{fixture}.jsonl").stat().st_size < 60_000
    for run in documents(fixture).values():
        version = str(run[0][1][METADATA_KEY]["schema_version"])
        assert fixture.removesuffix("_lines").removesuffix("_glitch") == f"schema_{version.replace('.', '_')}"


def keys(run: Documents) -> dict[str, set[str]]:
    """The keys of each stream of a run, and those of its metadata."""
    streams = {doc["name"]: set(doc["data_keys"]) for kind, doc in run if kind == "descriptor"}
    return {**streams, "start": set(run[0][1][METADATA_KEY])}


@pytest.mark.parametrize("run", ["bayesian", "aborted", "line", "glitch"])
def test_the_schema_has_not_drifted(run: str, RE: RunEngine) -> None:
    file = importlib.util.spec_from_file_location("make_fixture", RUNS / "make_fixture.py")
    assert file is not None
    assert file.loader is not None
    make_fixture = importlib.util.module_from_spec(file)
    file.loader.exec_module(make_fixture)
    end = next(end for end, runs in make_fixture.FILES.items() if run in runs)
    assert f"{PRESENT}{end}" in FIXTURES, (
        f"there is no fixture of schema version {SCHEMA_VERSION}: run tests/data/runs/make_fixture.py {PRESENT}"
    )
    written, kept = keys(make_fixture.record(RE, run)), keys(documents(f"{PRESENT}{end}")[run])
    assert written == kept, (
        f"a run no longer holds what schema version {SCHEMA_VERSION} says: raise SCHEMA_VERSION in "
        "ebl_autonomy/records/metadata.py and record a fixture, as tests/data/runs/README.md tells"
    )
